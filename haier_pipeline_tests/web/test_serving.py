"""What one connection may cost the server: raw bytes against the real one, its clock made short."""

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from haier_pipeline.errors import InvalidInput
from haier_pipeline.settings import read_settings
from haier_pipeline.web import serving
from haier_pipeline.web.auth import MOST_FAILURES
from haier_pipeline.web.guard import MOST_HEADER_BYTES
from haier_pipeline_tests.web.callers import API, READER_TOKEN

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@contextmanager
def served(app: Any, **options: Any) -> Iterator[int]:
    """The app behind the server of ``haier api``; its port."""
    config = serving.configure(app, host="127.0.0.1", port=0, log_level="critical", **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def port(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(serving, "HEADER_SECONDS", 1.0)
    monkeypatch.setattr(serving, "REQUEST_SECONDS", 2.0)
    with served(app) as port:
        yield port


@contextmanager
def connected(port: int, *parts: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        for part in parts:
            sock.sendall(part)
        yield sock


def answer(sock: socket.socket) -> bytes:
    """Everything until the server hangs up."""
    received = b""
    with suppress(ConnectionResetError):
        while chunk := sock.recv(65_536):
            received += chunk
    return received


def trickled_until_closed(sock: socket.socket, drop: bytes) -> float:
    """Send a drop again and again; after how many seconds the server hung up."""
    began = time.monotonic()
    sock.settimeout(0.1)
    while time.monotonic() - began < 15:
        try:
            sock.sendall(drop)
            if sock.recv(65_536) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began


def test_half_a_request_is_not_waited_for(port: int) -> None:
    """However the rest trickles in, or does not."""
    for begun, drop in (
        (b"", b""),
        (HEALTH, b""),
        (HEALTH, b"X-A: b\r\n"),
        (b"", b"\r\n"),
        (b"POST /admin/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n", b"a"),
    ):
        with connected(port, begun) as sock:
            assert trickled_until_closed(sock, drop) < 8, (begun, drop)


def test_the_second_request_of_a_connection_has_no_more_time(port: int) -> None:
    with connected(port, HEALTH + b"\r\n") as sock:
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200")
        sock.sendall(HEALTH)
        assert trickled_until_closed(sock, b"X-A: b\r\n") < 8


def test_a_connection_serves_request_after_request(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for _ in range(3):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"status":"alive"}'
        time.sleep(0.7)
    connection.request("POST", f"{API}/config/", b"x" * 200_000)
    assert connection.getresponse().read().startswith(b'{"type"')
    connection.close()


def test_pipelined_requests_are_answered_each(port: int) -> None:
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with connected(port, (HEALTH + b"\r\n") * 5 + last) as sock:
        assert answer(sock).count(b"HTTP/1.1 200") == 6


@pytest.mark.parametrize(
    "header",
    [
        b"X-A: " + b"a" * MOST_HEADER_BYTES,
        b"\r\n".join(b"X-%d: a" % number for number in range(MOST_HEADER_BYTES // 8)),
        b"Cookie: " + b"; ".join(b"a%d=b" % number for number in range(MOST_HEADER_BYTES // 6)),
    ],
    ids=["one", "many", "cookies"],
)
def test_headers_are_bounded(port: int, header: bytes) -> None:
    with connected(port) as sock:
        with suppress(OSError):
            sock.sendall(HEALTH + header + b"\r\n\r\n")
        assert b" 431 " in answer(sock)[:20]


def test_endless_headers_end(port: int) -> None:
    with connected(port, HEALTH) as sock:
        began, sent = time.monotonic(), 0
        with suppress(OSError):
            while time.monotonic() - began < 10:
                sock.sendall(b"X-A: " + b"a" * 1_000 + b"\r\n")
                sent += 1_007
        # What lies in the sockets' own buffers is sent without being read.
        assert sent < 20_000_000
        assert time.monotonic() - began < 9


def test_many_half_requests_do_not_close_the_door(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MOST_CONNECTIONS", 20)
    with served(app) as port, ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(connected(port, HEALTH))
        began = time.monotonic()
        with connected(port, HEALTH + b"Connection: close\r\n\r\n") as sock:
            assert answer(sock).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - began < 5


def test_a_cookie_of_somebody_elses_is_not_even_read(port: int) -> None:
    """The framework takes seconds for one of 60 KB; what may be sent takes none."""
    cookie = b'Cookie: a="' + b"\\" * (MOST_HEADER_BYTES - 1_000)
    request = b"GET /admin/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + cookie
    # The first page of all is slower: its template is compiled.
    for _ in range(2):
        began = time.monotonic()
        with connected(port, request + b"\r\n\r\n") as sock:
            assert answer(sock).startswith(b"HTTP/1.1 200")
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("host", [b"[x", b"a b", b"a/b", b"a@b", b"\xff", b"a\r\nHost: b"])
def test_a_host_that_is_none_is_refused(port: int, host: bytes) -> None:
    request = b"GET /admin/ HTTP/1.1\r\nConnection: close\r\nHost: " + host + b"\r\n\r\n"
    with connected(port, request) as sock:
        assert answer(sock).startswith(b"HTTP/1.1 400")


def test_a_websocket_is_refused(port: int) -> None:
    upgrade = b"Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    upgrade += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    for path in (b"/admin/", b"/", f"{API}/logs/".encode()):
        with connected(port, b"GET " + path + b" HTTP/1.1\r\n" + upgrade) as sock:
            assert sock.recv(20).startswith(b"HTTP/1.1 400")


def test_the_cookies_of_many_restarts_are_no_obstacle(port: int) -> None:
    """Each process has a cookie of its own name, and a browser keeps them for hours."""
    old = "; ".join(f"haier_admin_{number:08x}={'a' * 43}" for number in range(100))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/admin/login", headers={"Cookie": old})
    page = connection.getresponse()
    secret = re.findall(r'name="csrf" value="([^"]+)"', page.read().decode())[0]
    cookies = f"{old}; {(page.getheader('Set-Cookie') or '').partition(';')[0]}"
    form = f"csrf={secret}&token={READER_TOKEN}"
    headers = {"Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/admin/login", form, headers)
    entered = connection.getresponse()
    entered.read()
    session = (entered.getheader("Set-Cookie") or "").partition(";")[0]
    connection.request("GET", "/admin/", headers={"Cookie": f"{cookies}; {session}"})
    assert connection.getresponse().status == 200
    connection.close()


# ------------------------------------------------------------------------------ where they are from


def wrong_token(port: int, forwarded: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Authorization": "Bearer wrong", "X-Forwarded-For": forwarded}
    connection.request("GET", f"{API}/logs/", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_nobody_says_himself_where_he_is_from(app: FastAPI) -> None:
    with served(app) as port:
        statuses = [wrong_token(port, f"192.0.2.{n}") for n in range(MOST_FAILURES + 1)]

    assert statuses == [401] * MOST_FAILURES + [429]


def test_a_trusted_proxy_says_it_and_a_subscriber_is_one_network(app: FastAPI) -> None:
    with served(app, trusted_proxies=("127.0.0.1",)) as port:
        # What the caller wrote himself stands before what the proxy appended.
        forged = [wrong_token(port, f"192.0.2.{n}, 198.51.100.9") for n in range(MOST_FAILURES)]
        network = [wrong_token(port, f"2001:db8:1:2::{n}") for n in range(MOST_FAILURES)]

        assert {*forged, *network} == {401}
        assert wrong_token(port, "192.0.2.66, 198.51.100.9") == 429
        assert wrong_token(port, "2001:db8:1:2:ffff::1") == 429
        assert wrong_token(port, "2001:db8:1:3::1") == 401
        assert wrong_token(port, "198.51.100.10") == 401


def test_a_right_token_is_let_in_whatever_others_send_from_there(app: FastAPI) -> None:
    with served(app) as port:
        for _ in range(MOST_FAILURES + 5):
            wrong_token(port, "")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request(
            "GET", f"{API}/logs/", headers={"Authorization": f"Bearer {READER_TOKEN}"}
        )
        assert connection.getresponse().status == 200
        connection.close()


@pytest.mark.parametrize("value", ["proxy", "127.0.0.1/40", "127.0.0.1;10.0.0.1"])
def test_a_proxy_that_is_no_address_stops_the_start(value: str) -> None:
    with pytest.raises(InvalidInput, match="HAIER_TRUSTED_PROXIES") as raised:
        read_settings({"HAIER_TRUSTED_PROXIES": value})
    assert value not in str(raised.value)


def test_proxies_are_read_as_addresses_and_networks() -> None:
    assert read_settings({}).trusted_proxies == ()
    found = read_settings({"HAIER_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/24,fd00::/8"})
    assert found.trusted_proxies == ("127.0.0.1", "10.0.0.0/24", "fd00::/8")
