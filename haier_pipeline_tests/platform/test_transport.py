"""What the sandbox cannot show: raw bytes on a socket, and a server nobody vouches for."""

import codecs
import datetime as dt
import gzip
import ipaddress
import json
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import format_datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from haier_pipeline.errors import PlatformClosed
from haier_pipeline.platform.client import HaierClient
from haier_pipeline.platform.config import DealerConfig
from haier_pipeline.platform.pacing import Interruption
from haier_pipeline.platform.transport import (
    BrokenError,
    Exchange,
    ExchangeError,
    Reply,
    TooLargeError,
    UntrustedError,
    decode,
)

DealerAt = Callable[..., DealerConfig]

TEXT = '[{"productCode": "GA0SZC00U", "productBrandName": "海尔"}]'.encode()


def squeezed(text: bytes) -> bytes:
    return gzip.compress(text, mtime=0)


def bare(text: bytes) -> bytes:
    """A deflate stream without the header and the sum that zlib puts around it."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(text) + compressor.flush()


@contextmanager
def serving(
    answer: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """A server that reads a request and lets ``answer`` write whatever it likes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    if tls is not None:
                        connection = tls.wrap_socket(connection, server_side=True)
                    connection.recv(65536)
                    answer(connection)
                    # What is still unread of the request would turn the close into a reset.
                    connection.settimeout(0.2)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except OSError:
                    pass
                finally:
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        scheme = "http" if tls is None else "https"
        try:
            yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def post(url: str, seconds: float = 2.0) -> Reply:
    exchange = Exchange(connections=1, stop=Interruption(threading.Event()))
    try:
        return exchange.post(f"{url}/", b"{}", seconds=seconds, most_bytes=1000)
    finally:
        exchange.close()


def test_dripping_headers_are_stopped_by_the_deadline() -> None:
    """Fault matrix, row 11: the deadline counts from the first byte sent, not from the body on."""

    def drip(connection: socket.socket) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    with serving(drip) as url:
        began = time.monotonic()
        with pytest.raises(BrokenError, match=r"within 0\.5 s"):
            post(url, seconds=0.5)
        assert time.monotonic() - began < 0.8


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[1]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n[1]",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: 3\r\n\r\n[1]",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + squeezed(TEXT)[:-9],
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + squeezed(TEXT)[:9],
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
        + squeezed(TEXT[:4])
        + squeezed(TEXT[4:])[:-9],
        b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n" + zlib.compress(TEXT)[:-1],
        b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n" + bare(TEXT)[:-1],
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n[1]",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"\xff\xff\xff",
        b"HTTP/1.1 200 OK\r\n\r\n" + TEXT.decode().encode("utf-16")[:-1],
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ],
)
def test_a_prefix_or_a_garbled_answer_is_never_accepted(answer: bytes) -> None:
    """Fault matrix, row 9."""
    with serving(lambda connection: connection.sendall(answer)) as url, pytest.raises(BrokenError):
        post(url)


def answered(headers: str, body: bytes) -> bytes:
    lines = ["HTTP/1.1 200 OK", *([headers] if headers else []), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


GBK, UTF16 = "Content-Type: application/json; charset=GBK", TEXT.decode().encode("utf-16")
CHUNKED = b"%x;x=y\r\n%b\r\n0\r\nTrailer: 1\r\n\r\n" % (len(TEXT), TEXT)
LENGTH = f"Content-Length: {len(TEXT)}"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        *(("", TEXT), ("Content-Type:", TEXT), ("Content-Type: text/html", TEXT)),
        *((LENGTH, TEXT), (f"{LENGTH}\r\n{LENGTH}", TEXT), (LENGTH.upper(), TEXT)),
        ("Content-Type: application/json; charset=ISO-8859-1", TEXT),
        ("Content-Type: application/json; charset=no-such-set", TEXT),
        ("Content-Type: application/json; charset=punycode", TEXT),
        ("Content-Type: application/json; charset=gb2312", TEXT),
        ("Content-Type: application/json; charset=utf-8", TEXT.decode().encode("gbk")),
        (GBK, TEXT.decode().encode("gbk")),
        (f'{GBK[:-3]}"gb18030"', TEXT.decode().encode("gb18030")),
        ("Content-Type: text/plain", TEXT.decode().encode("gbk")),
        ("Content-Type: text/html; charset=big5", TEXT.decode().encode("big5", "ignore")),
        ("", codecs.BOM_UTF8 + TEXT),
        *(("", UTF16), ("", TEXT.decode().encode("utf-16-le"))),
        *(("", TEXT.decode().encode("utf-16-be")), ("", TEXT.decode().encode("utf-32"))),
        ("", TEXT.decode().encode("utf-32-be")),
        ("", b" \r\n" + TEXT + b" \r\n\r\n"),
        *(("Content-Encoding: gzip", squeezed(TEXT)), ("Content-Encoding: identity", TEXT)),
        *(("Content-Encoding: X-GZip", squeezed(TEXT)), ("Content-Encoding: IDENTITY", TEXT)),
        ("Content-Encoding:  gzip , identity", squeezed(TEXT)),
        ("Content-Encoding: gzip", squeezed(TEXT[:5]) + squeezed(TEXT[5:])),
        ("Content-Encoding: gzip", squeezed(TEXT) + b"\0" * 100),
        ("Content-Encoding: deflate", zlib.compress(TEXT)),
        *(("Content-Encoding: Deflate", bare(TEXT)), ("Content-Encoding: none", TEXT)),
        ("Content-Encoding: deflate, gzip", squeezed(zlib.compress(TEXT))),
        *(("Content-Encoding: utf-8", TEXT), ("Content-Encoding: br", TEXT)),
        ("Content-Encoding: gzip\r\nContent-Type: text/plain; charset=x", squeezed(UTF16)),
        ("Transfer-Encoding: CHUNKED", CHUNKED),
        ("Transfer-Encoding: chunked", b"%X\r\n%b\r\n0\r\n\r\n" % (len(TEXT), TEXT)),
        ("X-Folded: a\r\n b\r\nX-Latin: \xe9\xff\r\nX-Empty:", TEXT),
    ],
)  # fmt: skip
def test_an_answer_is_read_however_it_is_coded_and_labelled(headers: str, body: bytes) -> None:
    with serving(lambda connection: connection.sendall(answered(headers, body))) as url:
        assert decode(post(url).body)[0]["productBrandName"] in ("海尔", "海")


@pytest.mark.parametrize("status", ["200", "200 OK", "201 Created", "203 Other", "206 Partial"])
def test_the_words_beside_a_status_mean_nothing(status: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\n[1]".encode()
    with serving(lambda connection: connection.sendall(answer)) as url:
        assert post(url).body == b"[1]"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compression_bomb_is_stopped_by_what_it_holds(encoding: str) -> None:
    """Fault matrix, row 10."""
    body = (squeezed if encoding == "gzip" else zlib.compress)(b" " * 10**7)
    answer = answered(f"Content-Encoding: {encoding}", body)
    sends = serving(lambda connection: connection.sendall(answer))
    with sends as url, pytest.raises(TooLargeError):
        post(url)


# --------------------------------------------------------- what this machine is set up for


def blocked(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> str:
    """What is said of an address beyond this machine, which is never tried."""
    for name in ("ALL_PROXY", "HTTPS_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UntrustedError) as caught:
        post("https://openplat-test.haier.net")
    assert "canary" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"HTTPS_PROXY": "socks5://user:canary@127.0.0.1:1080"}, "SOCKS"),
        ({"ALL_PROXY": "socks5h://127.0.0.1:1080"}, "PySocks"),
        ({"https_proxy": "http://user:canary@127.0.0.1:99999"}, "no usable host and port"),
        ({"HTTPS_PROXY": "http://127.0.0.1:port"}, "no usable host and port"),
        ({"HTTPS_PROXY": "http://"}, "no usable host and port"),
        ({"HTTPS_PROXY": "ftp://127.0.0.1:21"}, "none for HTTP"),
        ({"REQUESTS_CA_BUNDLE": "/nowhere/ca.pem"}, "does not exist: /nowhere/ca.pem"),
        ({"CURL_CA_BUNDLE": "/nowhere/ca.pem"}, "does not exist"),
        ({"REQUESTS_CA_BUNDLE": __file__}, "no readable certificates"),
    ],
)
def test_a_setting_that_cannot_work_is_said_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    assert said in blocked(monkeypatch, variables)


def test_a_call_that_a_setting_stops_is_made_once_and_says_so(
    dealer_at: DealerAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.delenv("NO_PROXY", raising=False)
    config = dealer_at("https://openplat-test.haier.net")
    with HaierClient(config) as client, pytest.raises(PlatformClosed, match="PySocks") as caught:
        client.check_token()
    assert "attempts" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "user name and password"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", r"proxy did not connect \(HTTP 502\)"),
        (None, "refused by the proxy"),
    ],
)
def test_what_a_proxy_refuses_is_told_from_what_the_platform_does(
    monkeypatch: pytest.MonkeyPatch, answer: bytes | None, said: str
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(lambda connection: connection.sendall(answer or b"")) as url:
        monkeypatch.setenv("HTTPS_PROXY", url.replace("//", "//user:canary@"))
        if answer is not None:
            with pytest.raises(ExchangeError, match=said) as caught:
                post("https://openplat-test.haier.net")
            assert "canary" not in str(caught.value)
    if answer is None:
        with pytest.raises(ExchangeError, match=said):
            post("https://openplat-test.haier.net")


def test_a_host_that_nobody_knows_and_one_without_https_are_told_apart() -> None:
    with pytest.raises(BrokenError, match="cannot be resolved"):
        post("https://no-such-host.invalid")
    sends = serving(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n"))
    with sends as url, pytest.raises(UntrustedError, match="does not speak HTTPS"):
        post(url.replace("http:", "https:"))


def test_an_unreachable_server_is_a_broken_exchange() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(BrokenError, match="refused"):
        post(f"http://127.0.0.1:{port}")


def test_a_retry_date_is_read_by_the_servers_clock() -> None:
    """Fault matrix, row 5: the server's clock is a day behind ours."""
    then = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    lines = [
        "HTTP/1.1 503 Busy",
        f"Date: {format_datetime(then, usegmt=True)}",
        f"Retry-After: {format_datetime(then + dt.timedelta(seconds=20), usegmt=True)}",
        "Content-Length: 0\r\n\r\n",
    ]
    with serving(lambda connection: connection.sendall("\r\n".join(lines).encode())) as url:
        assert post(url).retry_after == 20


@pytest.fixture
def nobodys_tls(tmp_path: Path) -> ssl.SSLContext:
    """A server's side of TLS with a certificate that only vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    (tmp_path / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def test_a_certificate_nobody_vouches_for_closes_the_platform(
    nobodys_tls: ssl.SSLContext,
    dealer_at: DealerAt,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fault matrix, row 12: refused, unless the usual variable names the bundle that vouches."""
    content = json.dumps({"token": "x"}).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    with serving(lambda connection: connection.sendall(answer), nobodys_tls) as url:
        with HaierClient(dealer_at(url)) as client, pytest.raises(PlatformClosed) as caught:
            client.check_token()
        assert "certificate" in str(caught.value)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        with HaierClient(dealer_at(url)) as client:
            client.check_token()


@pytest.mark.parametrize("body", [b"", b" ", b"<html>", b"[1", b"\xff", b"[" * 100_000])
def test_what_is_not_json_is_broken(body: bytes) -> None:
    """Fault matrix, row 7."""
    with pytest.raises(BrokenError):
        decode(body)


def test_numbers_are_read_exactly_and_monsters_as_text() -> None:
    """Fault matrix, row 20."""
    value = decode(b"\xef\xbb\xbf[0.1, 1e400, NaN, -Infinity, 12345678901234567890.123]")
    assert [str(item) for item in value] == [
        "0.1",
        "1e400",
        "NaN",
        "-Infinity",
        "12345678901234567890.123",
    ]
    assert [type(item).__name__ for item in value[:3]] == ["Decimal", "str", "str"]


# ------------------------------------------------------------------- whether it may have arrived


def has_sent(url: str, times: int = 1) -> bool:
    """Whether a byte of the last of some posts to ``url``, which all break, has left."""
    exchange = Exchange(connections=1, stop=Interruption(threading.Event()))
    try:
        for _ in range(times):
            with pytest.raises(ExchangeError):
                exchange.post(f"{url}/", b"{}", seconds=2.0, most_bytes=1000)
        return exchange.has_sent
    finally:
        exchange.close()


def test_what_no_answer_came_to_may_have_arrived() -> None:
    with serving(lambda connection: connection.close()) as url:
        assert has_sent(url)


def test_where_no_connection_was_made_nothing_has_left(
    monkeypatch: pytest.MonkeyPatch, nobodys_tls: ssl.SSLContext
) -> None:
    with serving(lambda connection: connection.close()) as url:
        closed = url
    assert not has_sent(closed, times=2)
    with serving(lambda connection: connection.close(), nobodys_tls) as url:
        assert not has_sent(url)
    assert not has_sent("https://nobody.invalid")
    # What a proxy is told before it connects has not left for the platform.
    monkeypatch.delenv("NO_PROXY", raising=False)
    refusing = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
    with serving(lambda connection: connection.sendall(refusing)) as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        assert not has_sent("https://platform.example")


def test_what_was_found_out_before_belongs_to_its_own_thread_and_call() -> None:
    exchange = Exchange(connections=2, stop=Interruption(threading.Event()))
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"
    seen: list[bool] = []
    with serving(lambda connection: connection.sendall(answer)) as url:
        exchange.post(f"{url}/", b"{}", seconds=2.0, most_bytes=1000)
        assert exchange.has_sent
        other = threading.Thread(target=lambda: seen.append(exchange.has_sent))
        other.start()
        other.join()
    assert seen == [False]
    with pytest.raises(BrokenError):
        exchange.post(f"{url}/", b"{}", seconds=2.0, most_bytes=1000)
    assert not exchange.has_sent
    exchange.close()
