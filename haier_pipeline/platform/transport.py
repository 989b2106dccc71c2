"""One bounded HTTP exchange: a POST goes out, decoded JSON comes back, or a reason why not.

Bounded in time (a deadline over the whole exchange, however slowly bytes trickle in), in size (of
the decoded body) and by a stop. Redirects are not followed and TLS is always verified. Lenient in
how an answer is coded and labelled, as plain requests is: compressions, character sets, byte order
marks, headers; strict in that it is complete. What a status means, whether to try again, and which
token to send, belongs to `client` and `token`.
"""

import codecs
import http.client
import importlib.util
import io
import math
import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
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
    """No attempt can work: the server did not prove who it is (row 12)."""


class MisconfiguredError(UntrustedError):
    """No attempt can work: this machine's own settings of proxy or certificates stand in the
    way."""


#: Completes a request before it is sent, as requests has it.
Auth = Callable[[requests.PreparedRequest], requests.PreparedRequest]


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, read to its end.

    ``body`` is decompressed and in UTF-8, ``retry_after`` in seconds.
    """

    status: int
    body: bytes
    retry_after: float | None


class Exchange:
    """One pooled session. Safe for threads.

    Proxies and an additional CA bundle are honoured from the usual variables (``HTTPS_PROXY``,
    ``NO_PROXY``, ``REQUESTS_CA_BUNDLE``), looked up once by requests; a bundle can change whom to
    trust, nothing can switch verification off. What of them cannot work is said before anything is
    sent. ``.netrc`` and cookies are not used.
    """

    def __init__(self, *, connections: int, stop: Interruption) -> None:
        self._session = requests.Session()
        self._sending = _Sending()
        self._session.mount("https://", _BoundedAdapter(connections, stop, self._sending))
        self._session.mount("http://", _BoundedAdapter(connections, stop, self._sending))
        self._lookup = threading.Lock()
        self._routes: dict[str, dict[str, Any]] = {}

    def close(self) -> None:
        self._session.close()

    @property
    def has_sent(self) -> bool:
        """Whether any byte of the last `post` of this thread has left for the platform."""
        return self._sending.has_begun

    def post(
        self,
        url: str,
        body: bytes,
        *,
        seconds: float,
        most_bytes: int,
        auth: Auth | None = None,
    ) -> Reply:
        """Send ``body`` and read the whole answer within ``seconds`` and ``most_bytes``.

        Raises `BrokenError`, `TooLargeError`, `UntrustedError` or `MisconfiguredError`, and
        `Cancelled` on a stop; their texts hold nothing of the request, and no proxy's password.
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
                "Accept-Encoding": "gzip, deflate",
                "User-Agent": "haier-pipeline",
            }
        )
        if auth is not None:
            request = auth(request)
        self._sending.has_begun = False
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
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            OSError,
            ValueError,
        ) as error:
            raise _translated(error, seconds) from None
        except zlib.error:
            raise BrokenError("the answer's compression is garbled") from None
        finally:
            if response is not None:
                # Returns the connection to the pool if the answer was read to its end.
                response.close()
        content = _as_utf8(content, response.headers.get("Content-Type", ""))
        return Reply(response.status_code, content, _retry_after(response.headers))

    def _route(self, url: str) -> dict[str, Any]:
        parts = urlsplit(url)
        with self._lookup:
            if parts.netloc not in self._routes:
                settings = self._session.merge_environment_settings(url, {}, True, None, None)
                if is_loopback(parts.hostname or ""):
                    settings["proxies"] = {}
                _require_usable(url, settings)
                self._routes[parts.netloc] = {
                    name: settings[name] for name in ("proxies", "verify", "cert")
                }
            return self._routes[parts.netloc]


def _require_usable(url: str, settings: Mapping[str, Any]) -> None:
    """Raise `MisconfiguredError` for a proxy or a CA bundle that no request can be sent with."""
    proxy = requests.utils.select_proxy(url, settings["proxies"])
    if proxy:
        variable = "HTTPS_PROXY or ALL_PROXY"
        try:
            address = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
        except (urllib3.exceptions.HTTPError, requests.RequestException, ValueError):
            address = None
        if address is None or not address.host:
            raise MisconfiguredError(f"the proxy of {variable} has no usable host and port")
        scheme = (address.scheme or "").lower()
        if scheme.startswith("socks"):
            if importlib.util.find_spec("socks") is None:
                raise MisconfiguredError(
                    f"{variable} names a SOCKS proxy, which needs the package PySocks; install it"
                    " or name an HTTP proxy"
                )
        elif scheme not in ("http", "https"):
            raise MisconfiguredError(f"the proxy of {variable} is none for HTTP or SOCKS")
    bundle = settings["verify"]
    if isinstance(bundle, str) and url.lower().startswith("https:"):
        variable = "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"
        path = Path(bundle)
        if not path.exists():
            raise MisconfiguredError(f"the file of {variable} does not exist: {bundle}")
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(**{"capath" if path.is_dir() else "cafile": bundle})
        except (OSError, ValueError):
            raise MisconfiguredError(
                f"the file of {variable} holds no readable certificates: {bundle}"
            ) from None


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


def encode(body: Mapping[str, Any] | Sequence[Any]) -> bytes:
    """Encode a request's body: an object, or a bare list."""
    content = dict(body) if isinstance(body, Mapping) else list(body)
    return simplejson.dumps(content, ensure_ascii=False).encode()


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


class _Sending(threading.local):
    """Whether a thread's request has begun to leave."""

    has_begun = False


class _NotingConnection(HTTPConnection):
    """A connection that notes the first byte of a request: from then on it may have arrived."""

    sending: _Sending

    def send(self, data: Any) -> None:
        if self.sock is None and self.auto_open:
            self.connect()
        self.sending.has_begun = True
        super().send(data)

    def _tunnel(self) -> None:
        try:
            super()._tunnel()
        finally:
            # What has been sent so far was for the proxy.
            self.sending.has_begun = False


class _BoundedAdapter(HTTPAdapter):
    """requests' adapter over connections whose answers have a deadline."""

    def __init__(self, connections: int, stop: Interruption, sending: _Sending) -> None:
        answer = staticmethod(partial(_DeadlineResponse, interruption=stop))
        own = {"response_class": answer, "sending": sending}
        self._connections = {
            "http": type("_Connection", (_NotingConnection,), own),
            "https": type("_TlsConnection", (_NotingConnection, HTTPSConnection), own),
        }
        super().__init__(pool_connections=4, pool_maxsize=connections)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = self._connections[pool.scheme]
        return pool


def _read(response: requests.Response, most_bytes: int) -> bytes:
    chunks: Iterator[bytes] = response.raw.stream(_CHUNK_BYTES, decode_content=False)
    label = response.headers.get("Content-Encoding", "")
    # Applied in this order, so taken off from the last on. A label that nobody knows says nothing:
    # whether the body is JSON is seen there.
    names = [name.strip().lower() for name in label.split(",")]
    for name in reversed([name for name in names if name in _COMPRESSIONS][:_MOST_COMPRESSIONS]):
        chunks = _decompressed(chunks, name)
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > most_bytes:
            raise TooLargeError(f"the answer is larger than {most_bytes // 1024} KB")
        parts.append(chunk)
    return b"".join(parts)


_COMPRESSIONS: Final = ("gzip", "x-gzip", "deflate")
_MOST_COMPRESSIONS: Final = 3
_GZIP_BITS: Final = 31
_GZIP_MARK: Final = b"\x1f\x8b"


def _decompressed(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    # Piece by piece, since a few kilobytes may stand for gigabytes; and to the end mark, since
    # zlib alone would take a prefix for the whole (rows 9 and 10).
    pending = _at_least(2, b"", chunks)
    if not pending:
        return
    bits = _window_bits(name, pending)
    decompressor = zlib.decompressobj(wbits=bits)
    while True:
        # Also without any input: zlib may hold back what did not fit into the last piece.
        piece = decompressor.decompress(pending, _CHUNK_BYTES)
        pending = decompressor.unconsumed_tail
        yield piece
        if decompressor.eof:
            pending = _at_least(2, decompressor.unused_data, chunks)
            # Another part may follow and belongs to the whole; anything else is padding.
            if bits != _GZIP_BITS or not pending.startswith(_GZIP_MARK):
                break
            decompressor = zlib.decompressobj(wbits=bits)
        elif not pending and len(piece) < _CHUNK_BYTES:
            pending = next(chunks, b"")
            if not pending:
                raise BrokenError("the answer's compressed body is cut off")
    # To the end of the answer, so that its connection can be used again; not for ever.
    for chunk in chunks:
        pending += chunk
        if len(pending) > _CHUNK_BYTES:
            break


def _at_least(count: int, found: bytes, chunks: Iterator[bytes]) -> bytes:
    """So many bytes, or all that there are."""
    while len(found) < count and (chunk := next(chunks, b"")):
        found += chunk
    return found


def _window_bits(name: str, beginning: bytes) -> int:
    if name != "deflate" or beginning.startswith(_GZIP_MARK):
        return _GZIP_BITS
    # The label means zlib's format, which has a checked header; some servers send the bare stream.
    is_zlib = beginning[0] & 0x0F == 8 and int.from_bytes(beginning[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS


# --------------------------------------------------------------------------------- character sets

_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: JSON begins with two ASCII characters, so the places of the zero bytes tell the width.
_ZEROS: Final = {
    (True, False): "utf-16-be",
    (False, True): "utf-16-le",
}
#: What a label may ask for besides UTF-8 and Chinese; the sender does not choose any decoder.
_LABELS: Final = frozenset({"big5", "big5hkscs", "shift_jis", "euc_jp", "euc_kr"})
_LATIN: Final = frozenset({"iso8859-1", "cp1252", "iso8859-15"})
_SLICE: Final = 1024**2


def _as_utf8(body: bytes, content_type: str) -> bytes:
    """The body in UTF-8: by its mark, by itself, by its label, as Chinese, in this order.

    A label counts only where the body is no UTF-8: it is wrong more often than that is chance.
    Raises `BrokenError` where nothing of it fits.
    """
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return body if encoding == "utf-8-sig" else _recoded(body, encoding)
    if b"\0" in body[:4]:
        if body[:3] == b"\0\0\0" or body[1:4] == b"\0\0\0":
            return _recoded(body, "utf-32-be" if body[:1] == b"\0" else "utf-32-le")
        encoding = _ZEROS.get((body[0] == 0, body[1:2] == b"\0"), "utf-8")
        return _recoded(body, encoding)
    if _is_utf8(body):
        return body
    label = _charset(content_type)
    for encoding in ([label] if label in _LABELS else []) + ["gb18030"]:
        try:
            return body.decode(encoding).encode()
        except UnicodeDecodeError:
            continue
    if label in _LATIN:
        return body.decode("latin-1").encode()
    raise BrokenError("the answer's characters are in no known encoding")


def _recoded(body: bytes, encoding: str) -> bytes:
    try:
        return body.decode(encoding).encode("utf-8", "surrogatepass")
    except UnicodeError:
        raise BrokenError("the answer's characters are garbled or cut off") from None


def _is_utf8(body: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        # In slices, so that a large listing is not held twice.
        for start in range(0, len(body), _SLICE):
            decoder.decode(body[start : start + _SLICE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _charset(content_type: str) -> str:
    """The name Python has for the label's character set; empty where it knows none."""
    found = re.search(r"charset\s*=\s*[\"']?([A-Za-z0-9_.:\-]{1,40})", content_type, re.IGNORECASE)
    try:
        return codecs.lookup(found[1]).name if found else ""
    except LookupError:
        return ""


# ------------------------------------------------------------------------------------- what failed


def _translated(error: Exception, seconds: float) -> Exception:
    causes = list(_causes(error))
    proxied = any(isinstance(cause, urllib3.exceptions.ProxyError) for cause in causes)
    for cause in causes:
        if isinstance(cause, ssl.SSLError) and _is_distrust(cause):
            return _distrusted(cause, proxied=proxied)
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            whose = "the proxy's host name" if proxied else "the host name"
            return BrokenError(f"{whose} cannot be resolved")
        if isinstance(cause, ConnectionRefusedError):
            by = " by the proxy" if proxied else ""
            return BrokenError(f"the connection was refused{by}")
        if isinstance(cause, urllib3.exceptions.IncompleteRead | http.client.IncompleteRead):
            return BrokenError("the answer was cut off")
        if isinstance(cause, OSError) and (refused := _TUNNEL.search(str(cause))):
            if refused[1] == "407":
                return MisconfiguredError(
                    "the proxy wants a user name and password, or other ones (HTTP 407)"
                )
            return BrokenError(f"the proxy did not connect (HTTP {refused[1]})")
    # Last, since urllib3 counts every connection that cannot be made among the timeouts.
    for cause in causes:
        if isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError | requests.Timeout):
            return BrokenError(f"no complete answer within {seconds:g} s")
    if proxied:
        return BrokenError("the proxy did not connect")
    if isinstance(error, requests.exceptions.InvalidProxyURL):
        return MisconfiguredError("the proxy's address cannot be used")
    return BrokenError("the connection broke")


_TUNNEL: Final = re.compile(r"Tunnel connection failed: ([0-9]{3})")


def _distrusted(cause: ssl.SSLError, *, proxied: bool) -> UntrustedError:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return UntrustedError("its TLS certificate cannot be verified")
    peer = "the proxy" if proxied else "the server"
    if cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
        return UntrustedError(f"{peer} does not speak HTTPS at that address")
    return UntrustedError(f"no TLS connection can be made with {peer} ({cause.reason})")


def _is_distrust(cause: ssl.SSLError) -> bool:
    # A connection that ends within the handshake is a network failure like any other.
    return not isinstance(
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
