"""What the sandbox cannot show: raw bytes on a socket, and a server nobody vouches for."""

import datetime as dt
import ipaddress
import json
import socket
import ssl
import threading
import time
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
from haier_pipeline.platform.transport import BrokenError, Exchange, Reply, decode

DealerAt = Callable[..., DealerConfig]


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
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\n[1]",
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ],
)
def test_a_prefix_or_a_garbled_answer_is_never_accepted(answer: bytes) -> None:
    """Fault matrix, row 9."""
    with serving(lambda connection: connection.sendall(answer)) as url, pytest.raises(BrokenError):
        post(url)


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
