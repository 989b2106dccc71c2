"""Ports, tried before anything is started on them. Serving on them does not belong here."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from pathlib import Path

from haier_pipeline.errors import InvalidInput

_LISTENS = "0A"
# 127.0.0.0/8 and ::1 as /proc writes them, by the bytes of a little machine.
_LOOPBACK = ("7F", "00000000000000000000000001000000")


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


def open_to_others(port: int) -> bool:
    """Whether something on this machine listens on the port for other machines too."""
    return any(
        not (address.endswith(_LOOPBACK[0]) if len(address) == 8 else address == _LOOPBACK[1])
        for address, _ in _listening(port)
    )


def _by(port: int) -> str:
    """Who listens there, as far as this system lets us see it."""
    with suppress(OSError, ValueError):
        sockets = {name for _, name in _listening(port)}
        for process in Path("/proc").glob("[0-9]*"):
            # Another user's process does not let us look.
            with suppress(OSError):
                for link in (process / "fd").iterdir():
                    if link.readlink().name in sockets:
                        name = (process / "comm").read_text("utf-8", "replace").strip()
                        return f" by {name} (process {process.name})"
    return ""


def _listening(port: int) -> list[tuple[str, str]]:
    """What listens on the port: its address and its socket, as /proc names them."""
    found = []
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (Path("/proc/net") / table).read_text("ascii").splitlines()[1:]:
                cells = line.split()
                address, _, number = cells[1].rpartition(":")
                if cells[3] == _LISTENS and int(number, 16) == port:
                    found.append((address, f"socket:[{cells[9]}]"))
    return found
