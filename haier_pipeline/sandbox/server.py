"""The sandbox as a server: reads calls, enforces the contract, answers, and can be controlled.

``Sandbox`` decides what a call gets; ``_Server`` and ``_Connection`` move it over HTTP. Beside the
platform's interfaces, ``/_sandbox/`` (``report``, ``reset``, ``faults``, ``settings``) controls it,
without authentication: it listens on the loopback interface only. The catalog, the request rules,
the faults and the bytes have modules of their own.
"""

import base64
import contextlib
import datetime as dt
import json
import random
import secrets
import socketserver
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from haier_pipeline.domain.partition import SHANGHAI
from haier_pipeline.errors import InvalidInput
from haier_pipeline.sandbox import CREDENTIALS, contract, order_contract, wire
from haier_pipeline.sandbox.catalog import Record, SandboxCatalog, as_in_v1_0_7
from haier_pipeline.sandbox.contract import Call
from haier_pipeline.sandbox.faults import Faults, Rule, altered
from haier_pipeline.sandbox.orders import Desk, Refused
from haier_pipeline.sandbox.report import ORDER_INTERFACES, Report, Window
from haier_pipeline.sandbox.settings import Settings
from haier_pipeline.sandbox.wire import Reply

_HTML = b"<!DOCTYPE html><html><head><title>502</title></head><body>Bad gateway</body></html>"
_SOCKET_KINDS = frozenset({"truncate", "gzip_truncate", "oversize", "gzip_bomb", "drip", "reset"})
_MOST_BODY_BYTES = 16_000_000
_TICK_SECONDS = 0.1


_OPENINGS = {
    "vendor": (
        b'{"success":true,"code":0,"errCode":null,"infoMsgs":[],"warningMsgs":[],'
        b'"errorMsg":null,"data":'
    ),
    "message": b'{"success":true,"code":200,"message":"success","data":',
}


def _new_token(client: str) -> str:
    """A text that looks like the platform's JWT. Its name at the end lets tests search for it."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(wire.encode(value)).rstrip(b"=").decode()

    head, claims = part({"alg": "HS256", "typ": "JWT"}), part({"client_id": client})
    return f"{head}.{claims}.sandbox-token-{secrets.token_urlsafe(24)}"


class Sandbox:
    """The stand-in for the platform: give it calls, it answers. Thread-safe.

    ``orders`` is the file that the order side keeps its orders in; in memory by default.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        faults: Sequence[Rule] = (),
        orders: str = ":memory:",
    ) -> None:
        self.faults = Faults()
        self.faults.add(faults)
        self.seen = Report()
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._tokens: dict[str, float] = {}
        self._owners: dict[str, str] = {}
        self._of_orders: set[str] = set()
        self._windows: dict[str, Window] = {}
        self._whole_listing: bytes | None = None
        self.settings = Settings()
        self.catalog = SandboxCatalog()
        self.use(settings or Settings())
        self.desk = Desk(orders, lambda: self.settings, lambda: self.catalog)

    def use(self, settings: Settings) -> None:
        with self._lock:
            self.settings = settings
            self.catalog = SandboxCatalog(settings.seed, settings.products, settings.counties)
            self._whole_listing = None

    def today(self) -> dt.date:
        return self.settings.date or dt.datetime.now(SHANGHAI).date()

    def reset(self, *, faults: bool = False, tokens: bool = False, orders: bool = False) -> None:
        """Forgets what was seen; the faults, the tokens and the orders too where asked."""
        with self.seen.lock:
            self.seen.clear()
            self._windows.clear()
        if tokens:
            with self._lock:
                self._tokens.clear()
        if faults:
            self.faults.clear()
        if orders:
            self.desk.clear()

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
                return self._instead(delivery), None
        reply = self._proper(call, altering)
        if reply.status == 200 and delivery is None:
            # Before it is sent: nobody can then repeat a call whose answer is not yet noted.
            self.seen.answered(call.interface, call.client, call.raw)
        return reply, delivery if delivery is None or delivery.kind in _SOCKET_KINDS else None

    def _client_of(self, call: Call) -> str:
        if call.interface == "token":
            return str((call.body or {}).get("client_id", ""))
        if call.interface == "order_token":
            return order_contract.basic(call.headers.get("authorization", ""))[0]
        # Tokens that have ended still tell whose call it is.
        return self._owners.get(call.token, "")

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
        return self.refusal(429, f"more than {rate} calls in a second", headers=hint)

    def _proper(self, call: Call, altering: Sequence[Rule]) -> Reply:
        if call.interface == "token":
            return self._token(call)
        if call.interface == "order_token":
            return self._order_token(call)
        with self._lock:
            life_ends = self._tokens.get(call.token)
            if (call.token in self._of_orders) != (call.interface in ORDER_INTERFACES):
                # A token opens the side that gave it.
                life_ends = None
        if life_ends is None or time.monotonic() >= life_ends:
            return self.refusal(401, "not authorised: the token is missing, unknown or has ended")
        if call.interface in ORDER_INTERFACES:
            return self._order_answer(call)
        if self.settings.token_form not in (call.form, "either"):
            self.seen.wrong_form()
            return self.refusal(401, "not authorised: the Authorization header has another form")
        wrong = contract.complaint(call, listing_needs_codes=self.settings.listing_needs_codes)
        if wrong is not None:
            return self.refusal(400, wrong)
        stranger = contract.stranger(call, self.settings.customer_code, self.settings.send_to_code)
        if stranger is not None:
            code, reason = stranger
            return self.refusal(self.settings.refusal_status, reason, code=code)
        return Reply(200, self._enveloped(call.interface, self._data(call, altering)))

    def _token(self, call: Call) -> Reply:
        settings = self.settings
        if call.path != settings.token_path and settings.other_token_status != 200:
            return self.refusal(settings.other_token_status, "no tokens are given here")
        wrong = contract.complaint(call)
        if wrong is not None:
            return self.refusal(400, wrong)
        body = call.body or {}
        known = call.client.startswith(CREDENTIALS["client_id"])
        if not known or body["client_secret"] != CREDENTIALS["client_secret"]:
            return self.refusal(401, "unknown client")
        token = _new_token(call.client)
        life = settings.token_life
        with self._lock:
            if settings.one_token:
                for other in [t for t in self._tokens if self._owners.get(t) == call.client]:
                    del self._tokens[other]
            self._tokens[token] = time.monotonic() + life
            self._owners[token] = call.client
        self.seen.token_issued(call.client)
        answer = {"expires_at": int(time.time() + life), "expires_in": life, "token": token}
        match settings.token_answer:
            case "access_token":
                answer = {"access_token": token, "token_type": "Bearer", "expires_in": life}
            case "data":
                return Reply(200, self._in_envelope(wire.encode(answer)))
        return Reply(200, wire.encode(answer))

    def _order_token(self, call: Call) -> Reply:
        wrong = order_contract.token_complaint(call.raw, call.headers)
        if wrong is not None:
            return self.refusal(*wrong)
        token = _new_token(call.client)
        with self._lock:
            self._tokens[token] = time.monotonic() + self.settings.token_life
            self._owners[token] = call.client
            self._of_orders.add(token)
        self.seen.token_issued(call.client)
        answer = {
            "access_token": token,
            "token_type": self.settings.order_token_type,
            "expires_in": self.settings.token_life,
        }
        return Reply(200, wire.encode(answer))

    def _order_answer(self, call: Call) -> Reply:
        """What the order side says to a call whose token holds."""
        if call.form != "bearer":
            self.seen.wrong_form()
            return self.refusal(401, "not authorised: the word before the token is missing")
        body = _json(call.raw)
        wrong = order_contract.complaint(call.interface, body)
        if wrong is not None:
            return self._order_refusal("PARAMETER_WRONG", wrong)
        try:
            data = self._order_data(call.interface, body)
        except Refused as no:
            return self._order_refusal(no.code, no.reason)
        if self.settings.order_envelope == "short":
            return Reply(200, wire.encode({"data": data}))
        return Reply(200, _OPENINGS["vendor"] + wire.encode(data) + b"}")

    def _order_data(self, interface: str, body: Any) -> Any:
        match interface:
            case "push":
                self.desk.push(body, self.today())
            case "cancel":
                self.desk.cancel(body)
            case "reschedule":
                self.desk.reschedule(body)
            case "tracking":
                return self.desk.tracking(body)
            case _:
                return self.desk.pictures(body["orderNo"])
        return True

    def _order_refusal(self, code: str, reason: str) -> Reply:
        status = self.settings.order_refusal_status
        if self.settings.order_envelope == "short":
            return Reply(status, wire.encode({"errorMsg": reason, "data": False}))
        return self.refusal(status, reason, code=code, fields={"data": False})

    def _data(self, call: Call, altering: Sequence[Rule]) -> bytes:
        body = call.body or {}
        if call.interface == "logistics":
            return wire.encode(self._logistics(body))
        if call.interface == "listing" and not call.codes and not altering:
            return self._listing_of_everything()
        records = self._records(call, body)
        if call.interface == "prices" and self.settings.rebate_form == "policy":
            records = [as_in_v1_0_7(record) for record in records]
        if call.interface == "stock" and self.settings.stock_quantity == "number":
            records = [record | {"stock": int(record["stock"])} for record in records]
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

    def _logistics(self, body: Mapping[str, Any]) -> dict[str, list[Record]]:
        found = self.desk.logistics(body["orderCode"])
        if found is None:
            found = self.catalog.logistics(body["orderCode"], self.today())
        wanted = body.get("deliveryRecordCode")
        if wanted is None:
            return found
        return {
            name: [entry for entry in entries if entry["deliveryRecordCode"] == wanted]
            for name, entries in found.items()
        }

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
        return self._in_envelope(data) if interface in self.settings.envelope else data

    def _in_envelope(self, data: bytes) -> bytes:
        return _OPENINGS[self.settings.envelope_form] + data + b"}"

    def refusal(
        self,
        status: int,
        reason: str,
        *,
        code: str | None = None,
        fields: Mapping[str, Any] | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> Reply:
        """The envelope that says no; ``code`` is its ``errCode``, ``fields`` go on top."""
        envelope: dict[str, Any] = {"success": False, "code": status, "message": reason}
        if self.settings.envelope_form == "vendor":
            envelope = {
                "success": False,
                "code": 1,
                "errCode": code,
                "infoMsgs": [],
                "warningMsgs": [],
                "errorMsg": reason,
            }
        body = wire.encode(envelope | {"data": None} | dict(fields or {}))
        return Reply(status, body, tuple(headers))

    def _instead(self, rule: Rule) -> Reply:
        """The answer of a rule that gives its own."""
        arguments = rule.arguments
        match rule.kind:
            case "status":
                status = arguments["status"]
                headers = []
                if "retry_after" in arguments:
                    headers.append(("Retry-After", _retry_after(arguments["retry_after"])))
                if "body" not in arguments:
                    return self.refusal(status, "the sandbox was told to fail", headers=headers)
                body = arguments["body"]
                raw = body.encode() if isinstance(body, str) else wire.encode(body)
                return Reply(status, raw, tuple(headers))
            case "html":
                return Reply(200, _HTML, content_type="text/html; charset=utf-8")
            case "refuse":
                message = arguments.get("message", "系统繁忙，请稍后再试")
                fields = arguments.get("fields")
                return self.refusal(arguments.get("status", 200), message, fields=fields)
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

    def control(self, method: str, topic: str, value: Any) -> Any:
        """One call to ``/_sandbox/``; ``InvalidInput`` for a bad one, KeyError for an unknown."""
        match method, topic:
            case "GET", "report":
                return self.seen.figures()
            case "POST", "reset":
                options = value or {}
                known = {"faults", "tokens", "orders"}
                if not isinstance(options, dict) or not options.keys() <= known:
                    raise InvalidInput("faults, tokens, orders: what else to forget, true or false")
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
            case "GET", "orders":
                return self.desk.orders()
            case "GET", "callbacks":
                return self.desk.callbacks()
            case "POST", "orders" | "callbacks":
                if not isinstance(value, dict):
                    raise InvalidInput("an object is needed")
                return self.desk.tell(value) if topic == "orders" else self.desk.send(value)
            case _:
                raise KeyError(topic)
        return {}


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
            wire.send(self.connection, self._refusal(413, "the body is too large"))
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
            wire.send(self.connection, self._refusal(404, "no such interface"))
            return
        token = headers.get("authorization", "")
        scheme, _, word = token.partition(" ")
        has_scheme = scheme.lower() == "bearer"
        call = Call(
            interface,
            path,
            body,
            _json_object(body),
            token=word.strip() if has_scheme else token,
            form="bearer" if has_scheme else "bare",
            headers=headers,
        )
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
            return _complaint(400, str(error))
        except ValueError:
            return _complaint(400, "the body is not JSON")
        except KeyError:
            return _complaint(404, "no such control")

    def _refusal(self, status: int, reason: str) -> Reply:
        return self.server.sandbox.refusal(status, reason)


def _complaint(status: int, message: str) -> Reply:
    """What a control answers to a bad wish."""
    return Reply(status, wire.encode({"message": message}))


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _json_object(body: bytes) -> dict[str, Any] | None:
    value = _json(body)
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
    settings: Settings | None = None,
    *,
    faults: Sequence[Rule] = (),
    port: int = 0,
    orders: str = ":memory:",
) -> Iterator[RunningSandbox]:
    """Serves on 127.0.0.1 until the block ends; port 0 takes a free one."""
    sandbox = Sandbox(settings, faults, orders)
    with _Server(port, sandbox) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        thread.start()
        clock = threading.Thread(target=_keep_time, args=(sandbox,), daemon=True)
        clock.start()
        try:
            yield RunningSandbox(sandbox, f"http://127.0.0.1:{server.server_address[1]}")
        finally:
            sandbox.stopping.set()
            server.shutdown()
            thread.join()
            clock.join()
            sandbox.desk.close()


def _keep_time(sandbox: Sandbox) -> None:
    """Moves orders on and calls dealers back, until the end."""
    while not sandbox.stopping.wait(_TICK_SECONDS):
        try:
            sandbox.desk.tick(time.time())
            sandbox.desk.send_due(time.time())
        except sqlite3.OperationalError:
            # Another sandbox holds the file; the next look will do.
            continue
