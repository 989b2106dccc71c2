"""What the sandbox's tests share: a running sandbox and a plain client of one dealer.

The client knows nothing of the pipeline's own client, and shows statuses, headers and bytes as
they came.
"""

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from haier_pipeline.sandbox import CREDENTIALS, contract
from haier_pipeline.sandbox.server import RunningSandbox, running_sandbox
from haier_pipeline.sandbox.settings import Settings

PATH_OF = {interface: path for path, interface in reversed(contract.PATHS.items())}
PROPER: dict[str, dict[str, Any]] = {
    "token": {
        "client_id": "sandbox",
        "client_secret": CREDENTIALS["client_secret"],
        "grant_type": "client_credentials",
    },
    "listing": {
        "customerCode": CREDENTIALS["customer_code"],
        "sendToCode": CREDENTIALS["send_to_code"],
        "supplierCode": "1001",
        "searchType": "PTJSH",
        "passWord": CREDENTIALS["password"],
    },
    "prices": {
        "customerCode": CREDENTIALS["customer_code"],
        "sendToCode": CREDENTIALS["send_to_code"],
        "priceType": "PT",
        "passWord": CREDENTIALS["password"],
        "productCodes": ["GA0SZC00U"],
    },
    "stock": {
        "salesCode": CREDENTIALS["customer_code"],
        "senderCode": CREDENTIALS["send_to_code"],
        "productCode": "GA0SZC00U",
        "countyCode": "110101",
        "source": "JSH-B",
        "sellerPassword": CREDENTIALS["seller_password"],
    },
    "balance": {
        "customerCode": CREDENTIALS["customer_code"],
        "customerPassword": CREDENTIALS["password"],
    },
    "logistics": {
        "orderCode": "SO.20190106.000003",
        "sellerCode": CREDENTIALS["customer_code"],
        "sellerPassword": CREDENTIALS["seller_password"],
    },
}


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def data(self) -> Any:
        """The data, whether in an envelope or bare."""
        value = self.json
        return value["data"] if isinstance(value, dict) and "success" in value else value


class Dealer:
    """One client of the platform: proper requests, changed where a test says so.

    ``scheme`` is the word before the token, none by default.
    """

    def __init__(self, url: str, client_id: str = "sandbox") -> None:
        self.netloc = urlsplit(url).netloc
        self.client_id = client_id
        self.token = ""
        self.scheme = ""

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection(self.netloc, timeout=10)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def login(self) -> "Dealer":
        self.token = self.call("token", client_id=self.client_id).json["token"]
        return self

    @property
    def authorization(self) -> str:
        return f"{self.scheme} {self.token}".strip()

    def body(self, interface: str, **changes: Any) -> bytes:
        """A proper body, with fields changed, or left out where the change is None."""
        fields = PROPER[interface] | changes
        return json.dumps({k: v for k, v in fields.items() if v is not None}).encode()

    def call(self, interface: str, **changes: Any) -> Answer:
        headers = {"Content-Type": "application/json", "Authorization": self.authorization}
        return self.send("POST", PATH_OF[interface], self.body(interface, **changes), **headers)

    def request(self, interface: str, **changes: Any) -> bytes:
        """The bytes of a call."""
        body = self.body(interface, **changes)
        head = (
            f"POST {PATH_OF[interface]} HTTP/1.1\r\nHost: {self.netloc}\r\n"
            f"Authorization: {self.authorization}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def open(self, interface: str, **changes: Any) -> socket.socket:
        """A raw connection on which the call has been sent."""
        host, _, port = self.netloc.partition(":")
        sock = socket.create_connection((host, int(port)), timeout=10)
        sock.sendall(self.request(interface, **changes))
        return sock

    def control(self, method: str, topic: str, value: Any = None) -> Answer:
        body = None if value is None else json.dumps(value).encode()
        return self.send(method, f"/_sandbox/{topic}", body)

    def fault(self, **rule: Any) -> None:
        answer = self.control("POST", "faults", [rule])
        assert answer.status == 200, answer.content

    def report(self) -> dict[str, Any]:
        figures: dict[str, Any] = self.control("GET", "report").json
        return figures


@pytest.fixture
def running() -> Iterator[RunningSandbox]:
    """A sandbox of 60 products on a fixed day, without latency or limit."""
    settings = Settings().changed({"products": 60, "rate": 0, "date": "2026-11-22"})
    with running_sandbox(settings) as running:
        yield running


@pytest.fixture
def dealer(running: RunningSandbox) -> Dealer:
    return Dealer(running.url).login()


@pytest.fixture
def new_dealer() -> type[Dealer]:
    """For tests with a sandbox of their own; test modules cannot import this file."""
    return Dealer


@pytest.fixture
def other_client(running: RunningSandbox) -> Dealer:
    """A dealer without a token, and not the default one."""
    return Dealer(running.url, "sandbox-2")


@pytest.fixture
def codes(running: RunningSandbox) -> list[str]:
    """Procurable products, each with stock in 110101 on the fixed day."""
    catalog, day = running.sandbox.catalog, running.sandbox.today()
    return [code for code in catalog.procurable_codes() if catalog.stock(code, "110101", day)]
