"""The sandbox as a server: reads calls, enforces the contract, answers, and can be controlled.

``Sandbox`` decides what a call gets; ``_Server`` and ``_Connection`` move it over HTTP. Beside the
platform's interfaces, ``/_sandbox/`` (``report``, ``reset``, ``faults``, ``settings``) controls it,
without authentication: it listens on the loopback interface only. The catalog, the request rules,
the faults and the bytes have modules of their own.
"""

import contextlib
import datetime as dt
import json
import random
import secrets
import socketserver
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from zoneinfo import ZoneInfo

from haier_pipeline.errors import InvalidInput
from haier_pipeline.sandbox import CREDENTIALS, contract, wire
from haier_pipeline.sandbox.catalog import Record, SandboxCatalog
from haier_pipeline.sandbox.contract import Call
from haier_pipeline.sandbox.faults import Faults, Rule, altered
from haier_pipeline.sandbox.report import INTERFACES, Report, Window
from haier_pipeline.sandbox.wire import Reply

_SHANGHAI = ZoneInfo("Asia/Shanghai")
_HTML = b"<!DOCTYPE html><html><head><title>502</title></head><body>Bad gateway</body></html>"
_SOCKET_KINDS = frozenset({"truncate", "gzip_truncate", "oversize", "gzip_bomb", "drip", "reset"})
_MOST_BODY_BYTES = 16_000_000


@dataclass(frozen=True)
class Settings:
    """How the sandbox behaves when it behaves.

    ``rate``: calls allowed in any second to one client, 0 for no limit; refused calls take no place
    in the second. ``latency_ms``: bounds of the time an answer takes, uniform between them.
    ``date``: the catalog's day, None for today in Shanghai. ``token_life``: seconds.
    ``token_path``: where tokens are given; the other path is 404. ``counties``: where there are
    warehouses, None for everywhere. ``envelope``: the interfaces whose data come inside
    ``{"success", "code", "message", "data"}``. ``stock_shape``: ``list``, or ``object`` for the
    single warehouse of older answers.
    """

    products: int = 300
    seed: int = 1
    latency_ms: tuple[float, float] = (0.0, 0.0)
    rate: int = 100
    date: dt.date | None = None
    token_life: float = 3600
    token_path: str = contract.TOKEN_PATHS[0]
    counties: tuple[str, ...] | None = None
    envelope: tuple[str, ...] = ("prices", "stock", "balance", "logistics")
    stock_shape: str = "list"

    def changed(self, values: Mapping[str, object]) -> "Settings":
        """These settings with some others, from JSON; ``InvalidInput`` names what is wrong."""
        known = {setting.name for setting in fields(self)}
        new: dict[str, Any] = {}
        for key, value in values.items():
            if key not in known:
                raise InvalidInput(f"{key}: not a setting; there are {', '.join(sorted(known))}")
            try:
                new[key] = _READERS[key](value)
            except (TypeError, ValueError) as error:
                raise InvalidInput(f"{key}: {error}") from error
        return replace(self, **new)

    def as_json(self) -> dict[str, Any]:
        return {
            setting.name: str(value) if isinstance(value, dt.date) else value
            for setting in fields(self)
            for value in [getattr(self, setting.name)]
        }


def _read_count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("a whole number from 0")
    return value


def _read_latency(value: Any) -> tuple[float, float]:
    low, high = (float(bound) for bound in value)
    if not 0 <= low <= high < 3_600_000:
        raise ValueError("two bounds in milliseconds, the lower first")
    return low, high


def _read_life(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError("seconds, more than 0")
    return value


def _read_date(value: Any) -> dt.date | None:
    return None if value is None else dt.date.fromisoformat(value)


def _read_choice(*choices: str) -> Any:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return str(value)

    return read


def _read_counties(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not all(isinstance(code, str) and len(code) == 6 and code.isdigit() for code in value):
        raise ValueError("codes of six digits")
    return tuple(value)


def _read_envelope(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not set(value) <= set(INTERFACES[1:]):
        raise ValueError(f"a list of {', '.join(INTERFACES[1:])}")
    return tuple(value)


_READERS: Mapping[str, Any] = {
    "products": _read_count,
    "seed": _read_count,
    "latency_ms": _read_latency,
    "rate": _read_count,
    "date": _read_date,
    "token_life": _read_life,
    "token_path": _read_choice(*contract.TOKEN_PATHS),
    "counties": _read_counties,
    "envelope": _read_envelope,
    "stock_shape": _read_choice("list", "object"),
}


def _failure(status: int, message: str, *headers: tuple[str, str]) -> Reply:
    body = {"success": False, "code": str(status), "message": message, "data": None}
    return Reply(status, wire.encode(body), headers)


class Sandbox:
    """The stand-in for the platform: give it calls, it answers. Thread-safe."""

    def __init__(self, settings: Settings | None = None, faults: Sequence[Rule] = ()) -> None:
        self.faults = Faults()
        self.faults.add(faults)
        self.seen = Report()
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._tokens: dict[str, float] = {}
        self._owners: dict[str, str] = {}
        self._windows: dict[str, Window] = {}
        self._whole_listing: bytes | None = None
        self.settings = Settings()
        self.catalog = SandboxCatalog()
        self.use(settings or Settings())

    def use(self, settings: Settings) -> None:
        with self._lock:
            self.settings = settings
            self.catalog = SandboxCatalog(settings.seed, settings.products, settings.counties)
            self._whole_listing = None

    def today(self) -> dt.date:
        return self.settings.date or dt.datetime.now(_SHANGHAI).date()

    def reset(self, *, faults: bool = False, tokens: bool = False) -> None:
        """Forgets what was seen; the faults and the tokens too where asked."""
        with self.seen.lock:
            self.seen.clear()
            self._windows.clear()
        if tokens:
            with self._lock:
                self._tokens.clear()
        if faults:
            self.faults.clear()

    def answer(self, call: Call) -> tuple[Reply, Rule | None]:
        """What a call gets, and the fault that mistreats it on its way, if any."""
        call = replace(call, client=self._client_of(call))
        refusal = self._count(call)
        low, high = self.settings.latency_ms
        if high > 0:
            self.stopping.wait(random.uniform(low, high) / 1000)  # noqa: S311 - not a secret
        if refusal is not None:
            return refusal, None
        delivery, altering = self.faults.striking(call)
        for rule in altering:
            if rule.kind == "hang":
                self.stopping.wait(rule.arguments.get("seconds", 60.0))
        if delivery is not None and delivery.kind not in _SOCKET_KINDS:
            if delivery.kind == "revoke":
                with self._lock:
                    self._tokens.clear()
            else:
                return _instead(delivery), None
        reply = self._proper(call, altering)
        if reply.status == 200 and delivery is None:
            # Before it is sent: nobody can then repeat a call whose answer is not yet noted.
            self.seen.answered(call.interface, call.client, call.raw)
        return reply, delivery if delivery is None or delivery.kind in _SOCKET_KINDS else None

    def _client_of(self, call: Call) -> str:
        if call.interface == "token":
            return str((call.body or {}).get("client_id", ""))
        # Tokens that have ended still tell whose call it is.
        return self._owners.get(call.bearer or "", "")

    def _count(self, call: Call) -> Reply | None:
        """Notes the call; the refusal if its client has used up the second."""
        rate = self.settings.rate
        with self.seen.lock:
            now = time.monotonic()
            self.seen.arrived(call.interface, call.client, call.raw, now)
            self.seen.asked(call.interface, call.codes, call.county)
            window = self._windows.setdefault(call.client, Window())
            if not rate or window.size_at(now) < rate:
                window.add(now)
                return None
            number = self.seen.refused()
        hint = (("Retry-After", "1"),) if number % 2 else ()
        return _failure(429, f"more than {rate} calls in a second", *hint)

    def _proper(self, call: Call, altering: Sequence[Rule]) -> Reply:
        if call.interface == "token":
            return self._token(call)
        with self._lock:
            life_ends = self._tokens.get(call.bearer or "")
        if life_ends is None or time.monotonic() >= life_ends:
            return _failure(401, "not authorised: the token is missing, unknown or has ended")
        wrong = contract.complaint(call)
        if wrong is not None:
            return _failure(*wrong)
        return Reply(200, self._enveloped(call.interface, self._data(call, altering)))

    def _token(self, call: Call) -> Reply:
        if call.path != self.settings.token_path:
            return _failure(404, "no such interface")
        wrong = contract.complaint(call)
        if wrong is not None:
            return _failure(*wrong)
        body = call.body or {}
        known = call.client.startswith(CREDENTIALS["client_id"])
        if not known or body["client_secret"] != CREDENTIALS["client_secret"]:
            return _failure(401, "unknown client")
        token = f"sandbox-token-{secrets.token_urlsafe(24)}"
        life = self.settings.token_life
        with self._lock:
            self._tokens[token] = time.monotonic() + life
            self._owners[token] = call.client
        self.seen.token_issued(call.client)
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": life}
        return Reply(200, wire.encode(answer))

    def _data(self, call: Call, altering: Sequence[Rule]) -> bytes:
        body = call.body or {}
        if call.interface == "logistics":
            return wire.encode(self.catalog.logistics(body["orderCode"], self.today()))
        if call.interface == "listing" and not call.codes and not altering:
            return self._listing_of_everything()
        records = self._records(call, body)
        for rule in altering:
            records = altered(rule, call, records)
        if call.interface == "stock" and self.settings.stock_shape == "object" and records:
            return wire.encode(records[0])
        return wire.encode(records)

    def _records(self, call: Call, body: Mapping[str, Any]) -> list[Record]:
        today = self.today()
        match call.interface:
            case "listing":
                return self.catalog.listing(today, call.codes or None)
            case "prices":
                return self.catalog.prices(call.codes, today)
            case "stock":
                return self.catalog.stock(body["productCode"], body["countyCode"], today)
        return self.catalog.balances(body["customerCode"])

    def _listing_of_everything(self) -> bytes:
        """Encoded once, since it is the same every day and large for a large catalog."""
        listing = self._whole_listing
        if listing is None:
            catalog = self.catalog
            listing = wire.encode(catalog.listing(self.today()))
            with self._lock:
                if catalog is self.catalog:
                    self._whole_listing = listing
        return listing

    def _enveloped(self, interface: str, data: bytes) -> bytes:
        if interface not in self.settings.envelope:
            return data
        return b'{"success":true,"code":"200","message":"success","data":' + data + b"}"

    def control(self, method: str, topic: str, value: Any) -> Any:
        """One call to ``/_sandbox/``; ``InvalidInput`` for a bad one, KeyError for an unknown."""
        match method, topic:
            case "GET", "report":
                return self.seen.figures()
            case "POST", "reset":
                options = value or {}
                if not isinstance(options, dict) or not options.keys() <= {"faults", "tokens"}:
                    raise InvalidInput("faults, tokens: what else to forget, true or false")
                self.reset(**{key: bool(wish) for key, wish in options.items()})
            case "GET", "faults":
                return self.faults.as_json()
            case "POST", "faults":
                if not isinstance(value, list):
                    raise InvalidInput("a list of faults is needed")
                self.faults.add([Rule.parse(item) for item in value])
                return self.faults.as_json()
            case "DELETE", "faults":
                self.faults.clear()
            case "GET", "settings":
                return self.settings.as_json()
            case "POST", "settings":
                if not isinstance(value, dict):
                    raise InvalidInput("an object of settings is needed")
                self.use(self.settings.changed(value))
                return self.settings.as_json()
            case _:
                raise KeyError(topic)
        return {}


def _instead(rule: Rule) -> Reply:
    """The answer of a rule that gives its own."""
    arguments = rule.arguments
    match rule.kind:
        case "status":
            status = arguments["status"]
            headers = []
            if "retry_after" in arguments:
                headers.append(("Retry-After", _retry_after(arguments["retry_after"])))
            if "body" not in arguments:
                return _failure(status, "the sandbox was told to fail", *headers)
            body = arguments["body"]
            raw = body.encode() if isinstance(body, str) else wire.encode(body)
            return Reply(status, raw, tuple(headers))
        case "html":
            return Reply(200, _HTML, content_type="text/html; charset=utf-8")
        case "refuse":
            message = arguments.get("message", "系统繁忙，请稍后再试")
            return replace(_failure(500, message), status=200)
        case "redirect":
            location = arguments.get("location", "https://elsewhere.sandbox.example/")
            return Reply(arguments.get("status", 302), b"", (("Location", location),))
        case "empty":
            return Reply(200, b"")
        case "null":
            return Reply(200, b"null")
    if "text" in arguments:
        return Reply(200, arguments["text"].encode())
    return Reply(200, wire.encode(arguments["answer"]))


def _retry_after(value: str | float) -> str:
    if isinstance(value, str) and value.startswith("date:"):
        return formatdate(time.time() + int(value[5:]), usegmt=True)
    return str(value)


class _Connection(BaseHTTPRequestHandler):
    """One keep-alive connection in its thread.

    Reads requests itself: the email parser of the base class would take most of a call's time.
    """

    server: "_Server"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        self.close_connection = True
        try:
            request = self._read()
            if request is not None:
                self._serve(*request)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _read(self) -> tuple[str, str, dict[str, str], bytes] | None:
        line = self.rfile.readline(65_537)
        parts = line.decode("latin-1").split()
        if len(parts) != 3:
            return None
        method, path, version = parts
        headers: dict[str, str] = {}
        while (line := self.rfile.readline(65_537)) not in (b"\r\n", b"\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > _MOST_BODY_BYTES:
            wire.send(self.connection, _failure(413, "the body is too large"))
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            return None
        keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        self.close_connection = not keep or method == "HEAD"
        return method, path, headers, body

    def _serve(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        path = path.partition("?")[0]
        if path.startswith("/_sandbox/"):
            wire.send(self.connection, self._control(method, path.removeprefix("/_sandbox/"), body))
            return
        interface = contract.PATHS.get(path)
        if interface is None or method != "POST":
            wire.send(self.connection, _failure(404, "no such interface"))
            return
        written = headers.get("authorization", "").strip()
        bearer = written.removeprefix("Bearer ").strip() or None
        call = Call(interface, path, body, _json_object(body), bearer)
        reply, mistreatment = self.server.sandbox.answer(call)
        if mistreatment is None:
            wire.send(self.connection, reply)
        else:
            stopping = self.server.sandbox.stopping
            if not wire.mistreat(self.connection, reply, mistreatment, stopping):
                self.close_connection = True

    def _control(self, method: str, topic: str, body: bytes) -> Reply:
        try:
            value = json.loads(body) if body else None
            return Reply(200, wire.encode(self.server.sandbox.control(method, topic, value)))
        except InvalidInput as error:
            return _failure(400, str(error))
        except ValueError:
            return _failure(400, "the body is not JSON")
        except KeyError:
            return _failure(404, "no such control")


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    # A burst of new connections must not be answered with SYN retries a second later.
    request_queue_size = 1024

    def __init__(self, port: int, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        super().__init__(("127.0.0.1", port), _Connection)

    def server_bind(self) -> None:
        # HTTPServer would look up the host's name here, which can take seconds.
        socketserver.TCPServer.server_bind(self)

    def shutdown_request(self, request: Any) -> None:
        # A plain close: the base class says FIN first, which would spoil a reset.
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A peer that goes away is daily life here; anything else is a defect worth its traceback.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@dataclass(frozen=True)
class RunningSandbox:
    """A sandbox that serves in a thread of this process, at ``url``."""

    sandbox: Sandbox
    url: str


@contextlib.contextmanager
def running_sandbox(
    settings: Settings | None = None, *, faults: Sequence[Rule] = (), port: int = 0
) -> Iterator[RunningSandbox]:
    """Serves on 127.0.0.1 until the block ends; port 0 takes a free one."""
    sandbox = Sandbox(settings, faults)
    with _Server(port, sandbox) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        thread.start()
        try:
            yield RunningSandbox(sandbox, f"http://127.0.0.1:{server.server_address[1]}")
        finally:
            sandbox.stopping.set()
            server.shutdown()
            thread.join()
