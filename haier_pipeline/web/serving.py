"""The HTTP server under REST and the pages, with the limits that uvicorn itself lacks.

How long a request may take to arrive, how large its headers are, how many connections there are,
whose forwarding headers are trusted: that belongs here. What is answered does not.

uvicorn with httptools, since hypercorn bounds the time between two bytes but not that of a whole
request, and granian wants worker processes of its own.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from haier_pipeline.web.guard import MOST_HEADER_BYTES

#: Seconds from the first byte of a request, or from the connection, to the end of its headers; and
#: to the end of its body.
HEADER_SECONDS: Final = 10.0
REQUEST_SECONDS: Final = 30.0
#: Seconds from there until the answer has been taken. A live query waits for at most 60 s, the test
#: of a connection for what the platform's client does.
ANSWER_SECONDS: Final = 300.0
#: Connections at a time. The files that the system lets a process open are a bound as well.
MOST_CONNECTIONS: Final = 500


def configure(
    app: ASGIApp, *, host: str, port: int, trusted_proxies: Sequence[str] = (), **options: Any
) -> uvicorn.Config:
    """The server's configuration; ``options`` go to uvicorn.

    Where a request came from is what the connection says, but for the proxies at these addresses
    and networks, whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=_bounded(_most_connections()),
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        # Named even where there are none: otherwise a variable of uvicorn's own is read.
        forwarded_allow_ips=list(trusted_proxies),
        **options,
    )


def run(app: ASGIApp, *, host: str, port: int, trusted_proxies: Sequence[str]) -> None:
    """Serve until Ctrl-C or SIGTERM; exit with 3 where the address cannot be listened on."""
    server = uvicorn.Server(configure(app, host=host, port=port, trusted_proxies=trusted_proxies))
    try:
        server.run()
    except KeyboardInterrupt:
        return
    if not server.started:
        sys.exit(3)


def _most_connections() -> int:
    if sys.platform == "win32":
        return MOST_CONNECTIONS
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_unlimited = files == resource.RLIM_INFINITY
    return MOST_CONNECTIONS if is_unlimited else min(MOST_CONNECTIONS, files // 2)


def _bounded(most_connections: int) -> type[asyncio.Protocol]:
    """The protocol class of one server, whose connections know each other."""
    #: Those that wait for a request or for the rest of one, the longest first.
    waiting: dict[Any, None] = {}

    class BoundedProtocol(HttpToolsProtocol):
        """One connection. A timer runs in each of its states, uvicorn's own between requests."""

        _timer: asyncio.TimerHandle | None = None
        #: Between the first byte of a request and its last.
        _is_reading = False
        _has_headers = False
        _header_bytes = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most_connections:
                # Connections with half a request make room for those that send whole ones.
                next(iter(waiting), self).transport.abort()
            self._wait(HEADER_SECONDS)

        def connection_lost(self, exc: Exception | None) -> None:
            self._wait(None)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._timer is None and self._is_idle():
                self._wait(HEADER_SECONDS)
            if not self._has_headers:
                self._header_bytes += len(data)
            super().data_received(data)
            is_too_large = not self._has_headers and self._header_bytes > MOST_HEADER_BYTES
            if is_too_large and not self.transport.is_closing():
                self._refuse()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._is_reading, self._has_headers = True, False

        def on_headers_complete(self) -> None:
            self._has_headers, self._header_bytes = True, 0
            self._wait(REQUEST_SECONDS)
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._is_reading, self._has_headers = False, False
            self._wait(HEADER_SECONDS if self._is_idle() else ANSWER_SECONDS)

        def on_response_complete(self) -> None:
            if self._is_reading:
                self._wait(REQUEST_SECONDS)
            elif self.pipeline or self.transport.get_write_buffer_size():
                # The rest of the answer is written on, for a limited time.
                self._wait(ANSWER_SECONDS)
            else:
                self._wait(None)
                waiting[self] = None
            super().on_response_complete()

        def timeout_keep_alive_handler(self) -> None:
            if not self.transport.get_write_buffer_size():
                super().timeout_keep_alive_handler()

        def _unsupported_upgrade_warning(self) -> None:
            # Not logged, since anybody may send it; the guard answers.
            pass

        def _is_idle(self) -> bool:
            """Whether every request so far is answered."""
            return self.cycle is None or bool(self.cycle.response_complete)

        def _wait(self, seconds: float | None) -> None:
            """Begin another state, in which the connection may be for that long."""
            waiting.pop(self, None)
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None
            if seconds is not None:
                self._timer = self.loop.call_later(seconds, self.transport.abort)
                if seconds != ANSWER_SECONDS:
                    waiting[self] = None

        def _refuse(self) -> None:
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
                b"content-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()

    return BoundedProtocol
