"""Ports, tried before anything is started on them. Serving on them does not belong here."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from pathlib import Path

from haier_pipeline.errors import InvalidInput

_LISTENS = "0A"


def require_free(port: int, host: str = "127.0.0.1", *, option: str = "--port") -> None:
    """Raises ``InvalidInput`` with one sentence where nobody could listen there; 0 is any port."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            raise InvalidInput(
                f"port {port} is taken{_by(port)}: end that, or choose another with {option}"
            ) from None
        if number == errno.EACCES:
            raise InvalidInput(
                f"port {port} is not for ordinary users: choose one above 1023 with {option}"
            ) from None
        raise InvalidInput(
            f"nobody can listen on {host}, port {port}: "
            f"{getattr(error, 'strerror', None) or 'this is no address'}; check --host"
        ) from None


def _by(port: int) -> str:
    """Who listens there, as far as this system lets us see it."""
    with suppress(OSError, ValueError):
        sockets = _listening(port)
        for process in Path("/proc").glob("[0-9]*"):
            # Another user's process does not let us look.
            with suppress(OSError):
                for link in (process / "fd").iterdir():
                    if link.readlink().name in sockets:
                        name = (process / "comm").read_text("utf-8", "replace").strip()
                        return f" by {name} (process {process.name})"
    return ""


def _listening(port: int) -> set[str]:
    """The sockets that listen on the port, as /proc names them: ``socket:[1234]``."""
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (Path("/proc/net") / table).read_text("ascii").splitlines()[1:]:
                cells = line.split()
                if cells[3] == _LISTENS and int(cells[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{cells[9]}]")
    return found
