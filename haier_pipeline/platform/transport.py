"""One bounded HTTP exchange: a POST goes out, decoded JSON comes back, or a reason why not.

Bounded in time (a deadline over the whole exchange, however slowly bytes trickle in), in size (of
the decoded body) and by a stop. Redirects are not followed and TLS is always verified. What a
status means, whether to try again, and which token to send, belongs to `client` and `token`.
"""

import http.client
import io
import math
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import simplejson
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection

from haier_pipeline.platform.config import is_loopback
from haier_pipeline.platform.pacing import Interruption

_CHUNK_BYTES: Final = 64 * 1024
#: A number with more digits than this is no amount, and PostgreSQL's jsonb may not take it.
_MOST_DIGITS: Final = 300


class ExchangeError(Exception):
    """No usable answer. `client` turns it into an error of the project; it goes no further."""


class BrokenError(ExchangeError):
    """The exchange came to nothing for a reason that may pass: network, time, a garbled body."""


class TooLargeError(ExchangeError):
    """The answer is larger than anything that could have been asked for (fault matrix, row 10)."""


class UntrustedError(ExchangeError):
    """The server did not prove who it is (row 12)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, read to its end. ``body`` is decompressed, ``retry_after`` in seconds."""

    status: int
    body: bytes
    retry_after: float | None


class Exchange:
    """One pooled session. Safe for threads.

    Proxies and an additional CA bundle are honoured from the usual variables (``HTTPS_PROXY``,
    ``NO_PROXY``, ``REQUESTS_CA_BUNDLE``), looked up once by requests; a bundle can change whom to
    trust, nothing can switch verification off. ``.netrc`` and cookies are not used.
    """

    def __init__(self, *, connections: int, stop: Interruption) -> None:
        self._session = requests.Session()
        self._session.mount("https://", _BoundedAdapter(connections, stop))
        self._session.mount("http://", _BoundedAdapter(connections, stop))
        self._lookup = threading.Lock()
        self._routes: dict[str, dict[str, Any]] = {}

    def close(self) -> None:
        self._session.close()

    def post(
        self,
        url: str,
        body: bytes,
        *,
        seconds: float,
        most_bytes: int,
        auth: Callable[[requests.PreparedRequest], requests.PreparedRequest] | None = None,
    ) -> Reply:
        """Send ``body`` and read the whole answer within ``seconds`` and ``most_bytes``.

        Raises `BrokenError`, `TooLargeError` or `UntrustedError`, and `Cancelled` on a stop; their
        texts hold nothing of the request.
        """
        request = requests.PreparedRequest()
        # Filled by hand: preparing costs as much again as sending, and url and headers are ours.
        request.method = "POST"
        request.url = url
        request.body = body
        request.headers = CaseInsensitiveDict(
            {
                "Content-Type": "application/json; charset=utf-8",
                "Content-Length": str(len(body)),
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "User-Agent": "haier-pipeline",
            }
        )
        if auth is not None:
            request = auth(request)
        route = self._route(url)
        response = None
        try:
            # Past the session's own send, which would add cookies, and read the whole body of a
            # redirect without any bound to find out where it leads.
            response = self._session.get_adapter(url).send(
                request,
                stream=True,
                timeout=urllib3.Timeout(total=seconds),  # type: ignore[arg-type] # stubs lack it
                **route,
            )
            content = _read(response, most_bytes)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise _translated(error, seconds) from None
        except zlib.error:
            raise BrokenError("the answer's compression is garbled") from None
        finally:
            if response is not None:
                # Returns the connection to the pool if the answer was read to its end.
                response.close()
        return Reply(response.status_code, content, _retry_after(response.headers))

    def _route(self, url: str) -> dict[str, Any]:
        parts = urlsplit(url)
        with self._lookup:
            if parts.netloc not in self._routes:
                settings = self._session.merge_environment_settings(url, {}, True, None, None)
                if is_loopback(parts.hostname or ""):
                    settings["proxies"] = {}
                self._routes[parts.netloc] = {
                    name: settings[name] for name in ("proxies", "verify", "cert")
                }
            return self._routes[parts.netloc]


def decode(body: bytes) -> Any:
    """Decode JSON with exact numbers. Raises `BrokenError` where it is none.

    NaN, Infinity and numbers beyond all reason come back as text, so that the field is rejected
    later and not the whole answer (row 20).
    """
    if not body.strip():
        raise BrokenError("the answer is empty")
    try:
        return simplejson.loads(
            body.decode("utf-8-sig"),
            parse_float=_number,
            parse_int=_integer,
            parse_constant=str,
        )
    except (ValueError, RecursionError):
        raise BrokenError("the answer is not JSON") from None


def encode(body: Mapping[str, Any]) -> bytes:
    """Encode a request's body."""
    return simplejson.dumps(dict(body), ensure_ascii=False).encode()


def _number(text: str) -> Decimal | str:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    return number if len(text) <= _MOST_DIGITS and abs(number.adjusted()) <= _MOST_DIGITS else text


def _integer(text: str) -> int | str:
    return int(text) if len(text) <= _MOST_DIGITS else text


# --------------------------------------------------------------------------------- reading bounds


class _DeadlineReader(io.RawIOBase):
    """The receiving side of a connection, with an end to the whole answer.

    A socket's own timeout only bounds the gap between two bytes (row 11). Here every read gets what
    is left until the deadline, in slices short enough to notice a stop.
    """

    _SLICE_SECONDS: Final = 0.2

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, stop: Interruption) -> None:
        self._sock = sock
        self._raw = raw
        self._stop = stop
        seconds = sock.gettimeout()
        self._deadline = math.inf if seconds is None else time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._sock.settimeout(min(left, self._SLICE_SECONDS))
            try:
                return self._sock.recv_into(buffer)
            except TimeoutError:
                self._stop.check()

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    """http.client's answer, status line and headers included, read through `_DeadlineReader`."""

    def __init__(
        self, sock: socket.socket, *args: Any, interruption: Interruption, **kwargs: Any
    ) -> None:
        super().__init__(sock, *args, **kwargs)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_DeadlineReader(sock, raw, interruption))


class _BoundedAdapter(HTTPAdapter):
    """requests' adapter over connections whose answers have a deadline."""

    def __init__(self, connections: int, stop: Interruption) -> None:
        answer = staticmethod(partial(_DeadlineResponse, interruption=stop))
        self._connections = {
            "http": type("_Connection", (HTTPConnection,), {"response_class": answer}),
            "https": type("_TlsConnection", (HTTPSConnection,), {"response_class": answer}),
        }
        super().__init__(pool_connections=4, pool_maxsize=connections)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = self._connections[pool.scheme]
        return pool


def _read(response: requests.Response, most_bytes: int) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    chunks = response.raw.stream(_CHUNK_BYTES, decode_content=False)
    if encoding in ("gzip", "x-gzip"):
        chunks = _decompressed(chunks)
    elif encoding not in ("identity", ""):
        raise BrokenError("the answer has a compression that was not asked for")
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > most_bytes:
            raise TooLargeError(f"the answer is larger than {most_bytes // 1024} KB")
        parts.append(chunk)
    return b"".join(parts)


def _decompressed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    # Piece by piece, since a few kilobytes may stand for gigabytes; and to the end mark, since
    # zlib alone would take a prefix for the whole (rows 9 and 10).
    decompressor = zlib.decompressobj(wbits=31)
    for chunk in chunks:
        pending = chunk
        while pending and not decompressor.eof:
            yield decompressor.decompress(pending, _CHUNK_BYTES)
            pending = decompressor.unconsumed_tail
    while not decompressor.eof:
        rest = decompressor.decompress(decompressor.unconsumed_tail, _CHUNK_BYTES)
        if not rest:
            raise BrokenError("the answer's compressed body is cut off")
        yield rest


def _translated(error: Exception, seconds: float) -> Exception:
    causes = list(_causes(error))
    if any(_is_distrust(cause) for cause in causes):
        return UntrustedError("its TLS certificate cannot be verified")
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return BrokenError("the host name cannot be resolved")
        if isinstance(cause, ConnectionRefusedError):
            return BrokenError("the connection was refused")
        if isinstance(cause, urllib3.exceptions.IncompleteRead | http.client.IncompleteRead):
            return BrokenError("the answer was cut off")
        if isinstance(cause, urllib3.exceptions.ProxyError):
            return BrokenError("the proxy did not connect")
    # Last, since urllib3 counts every connection that cannot be made among the timeouts.
    for cause in causes:
        if isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError | requests.Timeout):
            return BrokenError(f"no complete answer within {seconds:g} s")
    return BrokenError("the connection broke")


def _is_distrust(cause: object) -> bool:
    # A connection that ends within the handshake is a network failure like any other.
    return isinstance(cause, ssl.SSLError) and not isinstance(
        cause, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError | TimeoutError
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it wraps: requests and urllib3 nest by argument and attribute."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        item = waiting.pop()
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        waiting += [*item.args, getattr(item, "reason", None), item.__cause__, item.__context__]


def _retry_after(headers: "CaseInsensitiveDict[str]") -> float | None:
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isascii() and value.replace(".", "", 1).isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    try:
        # By the server's own clock where it tells it: ours may be wrong by minutes.
        now = parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError):
        now = time.time()
    return max(0.0, until - now)
