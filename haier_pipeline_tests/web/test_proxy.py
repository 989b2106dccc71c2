"""The nginx example of docs/security.md, run as printed, before servers that tell what came."""

import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import haier_pipeline

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
DOCUMENT = Path(haier_pipeline.__file__).parents[1] / "docs" / "security.md"
BASIC = {"Authorization": "Basic b3BlcmF0b3I6c2VjcmV0"}  # operator:secret

pytestmark = pytest.mark.skipif(not Path(NGINX).exists(), reason="nginx is not installed")


class Upstream(BaseHTTPRequestHandler):
    """Answers with its own name and what it was sent; a websocket gets a greeting."""

    protocol_version = "HTTP/1.1"
    name = ""

    def do_GET(self) -> None:
        if self.headers.get("Upgrade") == "websocket":
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            self.end_headers()
            self.wfile.write(b"greetings")
            self.close_connection = True
            return
        sent = "".join(f"{name}={value}\n" for name, value in self.headers.items())
        body = f"{self.name} {self.path}\n{sent}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def upstream(name: str) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Named", (Upstream,), {"name": name}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "haier.example.com")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "haier.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "haier.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of nginx with the example, its addresses and files replaced by the test's own."""
    folder = tmp_path_factory.mktemp("nginx")
    certificate(folder)
    # The password in clear: this is what nginx calls the format that anybody can write.
    (folder / "haier.htpasswd").write_text("operator:{PLAIN}secret\n")
    found = re.search(r"```nginx\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    assert found is not None
    with ExitStack() as stack:
        rest, dagster = (stack.enter_context(upstream(name)) for name in ("rest", "dagster"))
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        example = found[1]
        for printed, own in (
            ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
            ("/etc/ssl/certs/", f"{folder}/"),
            ("/etc/ssl/private/", f"{folder}/"),
            ("/etc/nginx/", f"{folder}/"),
            ("127.0.0.1:8300", f"127.0.0.1:{rest}"),
            ("http://127.0.0.1:3000", f"http://127.0.0.1:{dagster}"),
        ):
            assert printed in example
            example = example.replace(printed, own)
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"user root;\ndaemon off;\nworker_processes 1;\npid {folder}/pid;\n"
            f"error_log {folder}/error.log;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{temporary}{example}}}\n"
        )
        process = stack.enter_context(
            subprocess.Popen([NGINX, "-p", folder, "-c", folder / "nginx.conf"])
        )
        stack.callback(process.terminate)
        until = time.monotonic() + 10
        while not is_open(port) and time.monotonic() < until:
            assert process.poll() is None, (folder / "error.log").read_text()
            time.sleep(0.05)
        yield port


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def ask(
    port: int, path: str, headers: dict[str, str] | None = None, *, method: str = "GET"
) -> tuple[int, str]:
    connection = HTTPSConnection("127.0.0.1", port, context=trusting(), timeout=10)
    sent = {"Host": "haier.example.com", "Accept": "text/html", **(headers or {})}
    connection.request(method, path, headers=sent)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_dagster_is_closed_without_the_password(port: int) -> None:
    for path in ("/", "/graphql", "/runs", "/server_info", "/api", "/administration", "/apix"):
        assert ask(port, path)[0] == 401, path
        status, text = ask(port, path, BASIC)
        assert (status, text.split()[0]) == (200, "dagster"), path
        assert "Authorization=" not in text
        # As `haier dev` wants to be called.
        assert "Host=127.0.0.1:3000" in text


@pytest.mark.parametrize(
    "header",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://haier.example.com"},
    ],
)
def test_a_foreign_page_reaches_dagster_by_no_way(port: int, header: dict[str, str]) -> None:
    for path in ("/", "/graphql", "/graphql?query=mutation{x}", "/runs"):
        for method in ("GET", "POST"):
            assert ask(port, path, BASIC | header, method=method)[0] == 403, path
    assert b" 403 " in upgrade(port, BASIC | header)


def test_dagsters_own_pages_pass(port: int) -> None:
    headers: list[dict[str, str]] = [
        {},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://haier.example.com"},
    ]
    for header in headers:
        for method in ("GET", "POST"):
            status, text = ask(port, "/graphql", BASIC | header, method=method)
            assert (status, text.split()[0]) == (200, "dagster")
            assert "Origin=" not in text


def test_graphql_by_get_is_a_page_and_nothing_else(port: int) -> None:
    for path in ("/graphql", "/graphql/", "/%67raphql", "//graphql", "/graphql?query=mutation{x}"):
        assert ask(port, path, BASIC | {"Accept": "image/avif,*/*"})[0] == 403, path
        assert ask(port, path, BASIC | {"Accept": "text/html"})[0] == 200, path
    assert ask(port, "/runs", BASIC | {"Accept": "*/*"})[0] == 200


def test_another_name_that_leads_here_is_refused(port: int) -> None:
    for path in ("/", "/graphql", "/admin/login", "/healthz"):
        assert ask(port, path, BASIC | {"Host": "evil.example"})[0] == 421, path


def test_rest_and_the_pages_pass_with_their_own_login_and_the_callers_address(port: int) -> None:
    for path in ("/api/haier/logs/", "/admin", "/admin/login", "/docs", "/metrics", "/healthz"):
        status, text = ask(
            port, path, {"Authorization": "Bearer t", "X-Forwarded-For": "192.0.2.66"}
        )
        assert (status, text.split()[0]) == (200, "rest"), path
        assert "Authorization=Bearer t" in text
        assert "X-Forwarded-For=127.0.0.1" in text
        assert "192.0.2.66" not in text


def test_nobody_reports_materializations(port: int) -> None:
    assert ask(port, "/report_asset_materialization/x", BASIC)[0] == 403


def upgrade(port: int, headers: dict[str, str]) -> bytes:
    sent = {"Host": "haier.example.com", "Upgrade": "websocket", "Connection": "Upgrade", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        trusting().wrap_socket(plain) as sock,
    ):
        sock.sendall(f"GET /graphql HTTP/1.1\r\n{lines}\r\n".encode())
        received = b""
        while chunk := sock.recv(4096):
            received += chunk
            if b"greetings" in received or b"</html>" in received:
                break
        return received


def test_the_websocket_wants_the_password_and_our_own_page(port: int) -> None:
    ours = {"Origin": "https://haier.example.com"}

    assert b" 101 " in upgrade(port, BASIC | ours)
    assert b"greetings" in upgrade(port, BASIC | ours)
    assert b" 401 " in upgrade(port, ours)
    assert b" 403 " in upgrade(port, BASIC | {"Origin": "https://evil.example"})
