"""The orders that the sandbox has taken: kept, judged later, moved on, told of by callbacks.

An order's way: pushed, judged (accepted, refused or out of stock), shipped, delivered. It moves on
by the clock, a setting's seconds a step, or when told; each step says what Haier would call the
dealer with. Kept in SQLite, in memory or in a file, so that sandboxes that follow each other, and
several at a time, know the same orders. HTTP and the checks of requests are elsewhere.
"""

import datetime as dt
import hashlib
import http.client
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

from haier_pipeline.domain.partition import SHANGHAI
from haier_pipeline.errors import InvalidInput
from haier_pipeline.sandbox.catalog import Draw, Record, SandboxCatalog
from haier_pipeline.sandbox.settings import Settings

CONFIRM = "hmm.scm_heorder.confirm"
CANCEL = "hmm.scm_heorder.cancel"
OUT_OF_STOCK = "hmm.scm_heorder.oostock"

#: What a call to ``/_sandbox/orders`` can tell an order to do.
DEEDS = ("accept", "refuse", "out_of_stock", "ship", "deliver", "cancel", "judge_cancel")
#: Known before it is judged, shown never.
_FATES = ("accept", "refuse", "out_of_stock")
#: Higher than the numbers of the orders that the catalog side makes up.
_FIRST_NUMBER = 900_000
_RETURN_SECONDS = 7 * 86_400
_CALLBACK_SECONDS = 10
_AGAIN_SECONDS = 5.0
_MOST_SENDS = 720
_OF_PEOPLE = ("consigneeName", "consigneeMobile", "town", "detailAddress", "remark")
_PICTURES = "https://cdn.sandbox.example/orders"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT, so_id TEXT, code TEXT UNIQUE,
    due REAL, doc TEXT, UNIQUE (source, so_id));
CREATE INDEX IF NOT EXISTS orders_due ON orders (due) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS callbacks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, so_id TEXT, method TEXT, data TEXT, due REAL,
    sends INTEGER DEFAULT 0, answer TEXT);
CREATE INDEX IF NOT EXISTS callbacks_due ON callbacks (due) WHERE due IS NOT NULL;
"""


class Refused(Exception):
    """The order side says no; ``code`` is its ``errCode``."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Desk:
    """Takes orders and moves them on. Thread-safe.

    ``settings`` and ``catalog`` are asked each time, since they change while it works. In a file
    no customer's name, mobile, address or remark is kept.
    """

    def __init__(
        self,
        path: str,
        settings: Callable[[], Settings],
        catalog: Callable[[], SandboxCatalog],
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._lock = threading.RLock()
        self._forgets_people = path != ":memory:"
        self._database = sqlite3.connect(
            path, check_same_thread=False, isolation_level=None, timeout=30
        )
        # A stand-in need not survive the machine.
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def clear(self) -> None:
        """Forget every order and callback."""
        with self._changing() as database:
            database.execute("DELETE FROM orders")
            database.execute("DELETE FROM callbacks")

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    # --------------------------------------------------------------------------- what is asked

    def push(self, body: Mapping[str, Any], today: dt.date) -> None:
        """Take an order. Raises `Refused` where the source has sent its ``soId`` before."""
        source, so_id = body["sourceSystem"], body["soId"]
        with self._changing() as database:
            known = self._find(source, so_id)
            if known is None:
                row = database.execute(
                    "INSERT INTO orders (source, so_id) VALUES (?, ?)", (source, so_id)
                )
                number = _FIRST_NUMBER + (row.lastrowid or 0)
                now = time.time()
                order: dict[str, Any] = {
                    "source": source,
                    "so_id": so_id,
                    "code": f"SO.{today:%Y%m%d}.{number:06}",
                    "stage": "pushed",
                    "pushed_at": now,
                    "pushes_refused": 0,
                    "due": self._after(now),
                    "body": {
                        name: value
                        for name, value in body.items()
                        if not (self._forgets_people and name in _OF_PEOPLE)
                    },
                }
                order["fate"], order["reason"] = self._fate(order)
                self._keep(order)
            else:
                known["pushes_refused"] += 1
                self._keep(known)
        if known is not None:
            raise Refused("SO_ID_REPEATED", f"订单号重复，请勿重复推送（soId {so_id}）")

    def cancel(self, body: Mapping[str, Any]) -> None:
        """Take a request to cancel; what comes of it is decided a step later."""
        with self._changing():
            order = self._find(body["sourceSystem"], body["soId"])
            if order is None:
                raise Refused("ORDER_UNKNOWN", "订单不存在")
            if order["stage"] in ("cancelled", "refused"):
                raise Refused("ORDER_CLOSED", "订单已取消，无需再次取消")
            order["cancel_due"] = self._after(time.time())
            order["cancel_asked"] = True
            self._keep(order)

    def reschedule(self, body: Mapping[str, Any]) -> None:
        """Move the times of a confirmed order."""
        with self._changing():
            order = self._by_code(body["retailOrderNo"])
            if order is None or order["stage"] == "pushed":
                raise Refused("ORDER_UNKNOWN", "订单不存在或尚未确认")
            if order["stage"] not in ("confirmed", "out_of_stock"):
                raise Refused("ORDER_MOVED", "订单已出库或已关闭，不能改期")
            for name in ("distributionTime", "installTime"):
                if name not in body or body[name] == order["body"].get(name):
                    continue
                moment = dt.datetime.fromtimestamp(body[name] / 1000, SHANGHAI)
                if moment.time() != dt.time(23, 59, 59):
                    raise Refused("TIME_WRONG", f"{name}时分秒必须为23:59:59")
                order["body"][name] = body[name]
            self._keep(order)

    def tracking(self, codes: Sequence[str]) -> list[Record]:
        """The delivery records of the confirmed ones among these orders."""
        found: list[Record] = []
        with self._lock:
            for code in codes:
                order = self._by_code(code)
                for place, record in enumerate((order or {}).get("records", ())):
                    entry: Record = {
                        "orderCode": code,
                        "deliveryRecordCode": record["code"],
                        "logisticsList": [],
                    }
                    if record["steps"]:
                        _, listed = self._delivery(code, place, record)
                        entry["logisticsList"] = [_parcel(code, place, listed)]
                    found.append(entry)
        return found

    def pictures(self, code: str) -> list[Record]:
        """The pictures of what has arrived."""
        with self._lock:
            order = self._by_code(code)
        if order is None:
            raise Refused("ORDER_UNKNOWN", "订单不存在")
        installs = "installTime" in order["body"]
        found: list[Record] = []
        for place, record in enumerate(order.get("records", ())):
            if len(record["steps"]) < 3:
                continue
            scenes = [(1, "送货签收照片"), *([(2, "安装完成照片")] if installs else [])]
            found.append(
                {
                    "orderNo": code,
                    "orderCode": record["code"],
                    "ylhOrderCode": record["code"],
                    "snNo": _serial(code, place),
                    "photosDeliveryList": [
                        {
                            "imgDesc": words,
                            "imgUrl": f"{_PICTURES}/{record['code']}/{scene}.jpg",
                            "rowId": f"{record['code']}-{scene}",
                            "scene": scene,
                        }
                        for scene, words in scenes
                    ],
                }
            )
        return found

    def logistics(self, code: str) -> dict[str, list[Record]] | None:
        """What the gateway's logistics interface knows of an order; None where it is not ours."""
        with self._lock:
            order = self._by_code(code)
        if order is None:
            return None
        lists: tuple[list[Record], list[Record], list[Record]] = ([], [], [])
        for place, record in enumerate(order.get("records", ())):
            kind, listed = self._delivery(code, place, record)
            lists[kind].append(listed)
        return SandboxCatalog.in_lists(lists)

    def _delivery(self, code: str, place: int, record: Mapping[str, Any]) -> tuple[int, Record]:
        steps = [_in_china(moment) for moment in record["steps"]]
        return self._catalog().delivery(code, place, _in_china(record["begun"]), steps)

    # -------------------------------------------------------------------------- what happens

    def _fate(self, order: Mapping[str, Any]) -> tuple[str, str]:
        """What will be said of an order, and why; a pure function of seed and number."""
        settings, body = self._settings(), order["body"]
        if body["sellerCode"] != settings.customer_code:
            return "refuse", "客户编码不存在"
        codes = [item["productCode"] for item in body["itemList"]]
        known = {record["productCode"] for record in self._catalog().listing(dt.date.min, codes)}
        unknown = [code for code in codes if code not in known]
        if unknown:
            return "refuse", f"商品不存在：{unknown[0]}"
        lot = Draw(settings.seed, "fate", order["so_id"]).below(100)
        if lot < settings.orders_refused:
            return "refuse", "收货地址不在服务范围内"
        if lot < settings.orders_refused + settings.orders_out_of_stock:
            return "out_of_stock", "库存不足，等待补货"
        return "accept", ""

    def tick(self, now: float) -> None:
        """Let the clock move on what is due."""
        with self._lock:
            due = self._database.execute(
                "SELECT 1 FROM orders WHERE due <= ? LIMIT 1", (now,)
            ).fetchone()
        if due is None:
            return
        with self._changing() as database:
            rows = database.execute("SELECT doc FROM orders WHERE due <= ?", (now,)).fetchall()
            for (doc,) in rows:
                order = json.loads(doc)
                if order.get("cancel_due") is not None and order["cancel_due"] <= now:
                    self._judge_cancel(order, now)
                elif order["stage"] == "pushed":
                    self._judge(order, order["fate"], order["reason"], now)
                elif order["stage"] == "confirmed":
                    self._ship(order, now)
                elif order["stage"] == "shipped":
                    self._deliver(order, now)
                else:
                    order["due"] = None
                self._keep(order)

    def tell(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Do at once what a control asks for; returns the order. Raises `InvalidInput`."""
        unknown = wish.keys() - {"so_id", "do", "reason", "state", "items", "record"}
        if unknown:
            raise InvalidInput(f"{min(unknown)}: not known; so_id, do and what belongs to it")
        if wish.get("do") not in DEEDS:
            raise InvalidInput(f"do: one of {', '.join(DEEDS)}")
        now = time.time()
        with self._changing() as database:
            row = database.execute(
                "SELECT doc FROM orders WHERE so_id = ?", (str(wish.get("so_id")),)
            ).fetchone()
            if row is None:
                raise InvalidInput("so_id: there is no such order")
            order: dict[str, Any] = json.loads(row[0])
            match wish["do"]:
                case "ship":
                    self._ship(order, now)
                case "deliver":
                    self._deliver(order, now, wish.get("record"))
                case "cancel":
                    self._cancel(order, wish, now)
                case "judge_cancel":
                    self._judge_cancel(order, now)
                case fate:
                    reason = wish.get("reason", "" if fate == "accept" else "人工处理")
                    self._judge(order, fate, str(reason), now)
            self._keep(order)
            return _shown(order)

    def _judge(self, order: dict[str, Any], fate: str, reason: str, now: float) -> None:
        order["stage"] = {"accept": "confirmed", "refuse": "refused"}.get(fate, fate)
        order["due"] = self._after(now) if fate == "accept" else None
        data: Record = {"PlatformOrderNo": self._platform_number(order)}
        if fate != "refuse":
            data["ExtOrderNo"] = order["code"]
            if not order.get("records"):
                draw = Draw("records", order["code"])
                order["records"] = [
                    {"code": f"{order['code']}.F{place + 1}", "begun": now, "steps": []}
                    for place in range(1 + draw.percent(20))
                ]
        self._call_back(
            order,
            OUT_OF_STOCK if fate == "out_of_stock" else CONFIRM,
            data,
            state=0 if fate == "refuse" else 1,
            reason=reason,
        )

    def _ship(self, order: dict[str, Any], now: float) -> None:
        if not order.get("records"):
            raise InvalidInput("so_id: the order is not accepted yet")
        order["stage"] = "shipped"
        order["due"] = self._after(now)
        for record in order["records"]:
            record["steps"] = record["steps"] or [now]

    def _deliver(self, order: dict[str, Any], now: float, place: object = None) -> None:
        """``place``: the number of one delivery record, from 1; where it is left out, all."""
        records = order.get("records") or []
        if place is not None and place not in range(1, len(records) + 1):
            raise InvalidInput(f"record: 1 to {len(records)}")
        if not records:
            raise InvalidInput("so_id: the order is not accepted yet")
        for number, record in enumerate(records, start=1):
            if place in (None, number):
                begun = record["steps"][:1] or [now]
                record["steps"] = [*begun, now, now]
            else:
                record["steps"] = record["steps"] or [now]
        arrived = all(len(record["steps"]) == 3 for record in records)
        order["stage"] = "delivered" if arrived else "shipped"
        order["due"] = None
        order["delivered_at"] = now

    def _judge_cancel(self, order: dict[str, Any], now: float) -> None:
        """Decide a request as the contract has it ("Cancel")."""
        order["cancel_due"] = None
        stage, reason = order["stage"], ""
        pieces = order["body"]["totalQty"]
        given_back: dict[str, Any]
        if stage == "shipped":
            # On its way it can be intercepted, or not.
            is_caught = Draw(self._settings().seed, "caught", order["so_id"]).percent(50)
            given_back = {"state": 1 if is_caught else 0, "rejected": pieces}
            reason = "" if is_caught else "货物已出库，无法拦截"
        elif stage == "delivered":
            is_late = now - order["delivered_at"] > _RETURN_SECONDS
            given_back = {"state": 0 if is_late else 1, "returned": pieces}
            reason = "超过七天，不能退货" if is_late else ""
        else:
            given_back = {"state": 1, "rejected": pieces}
        self._cancelled(order, given_back["state"], reason, _split(order, given_back))

    def _cancel(self, order: dict[str, Any], wish: Mapping[str, Any], now: float) -> None:  # noqa: ARG002 - as its siblings
        """A cancellation that nobody asked for, or one with an answer of its own."""
        state = wish.get("state", 1)
        items = wish.get("items")
        if state not in (0, 1, 2) or not isinstance(items, list | None):
            raise InvalidInput("state, items: 0, 1 or 2, and a list as in the callback")
        order["cancel_due"] = None
        if items is None:
            pieces = order["body"]["totalQty"]
            items = _split(order, {"state": state, "rejected": pieces})
        self._cancelled(order, state, str(wish.get("reason", "")), items)

    def _cancelled(
        self, order: dict[str, Any], state: int, reason: str, items: Sequence[Record]
    ) -> None:
        if state == 1:
            order["stage"], order["due"] = "cancelled", None
        listed: object = list(items)
        if self._settings().callback_items == "text":
            listed = json.dumps(listed, ensure_ascii=False)
        data: Record = {"PlatformOrderNo": self._platform_number(order)}
        if order.get("records"):
            data["ExtOrderNo"] = order["code"]
        data["itemList"] = listed
        self._call_back(order, CANCEL, data, state=state, reason=reason)

    def _platform_number(self, order: Mapping[str, Any]) -> str:
        name = {"so_id": "soId", "online_no": "onlineNo"}[self._settings().callback_number]
        number: str = order["body"][name]
        return number

    def _after(self, now: float) -> float | None:
        step = self._settings().order_step
        return None if step is None else now + step

    # ------------------------------------------------------------------------------ callbacks

    def _call_back(
        self, order: Mapping[str, Any], method: str, data: Record, *, state: int, reason: str
    ) -> None:
        settings = self._settings()
        match settings.callback_state:
            case "number":
                data["State"] = state
            case "text":
                data["State"] = str(state)
        if reason:
            data["failMsg" if method == OUT_OF_STOCK else "FailMsg"] = reason[:100]
        held = settings.callback_url is None or settings.callbacks_held
        self._database.execute(
            "INSERT INTO callbacks (so_id, method, data, due) VALUES (?, ?, ?, ?)",
            (
                order["so_id"],
                method,
                json.dumps(data, ensure_ascii=False, separators=(",", ":")),
                None if held else time.time(),
            ),
        )

    def callbacks(self) -> list[dict[str, Any]]:
        """Every callback there was; ``sends`` counts how often it went out, ``answer`` is the last
        one to it."""
        with self._lock:
            rows = self._database.execute(
                "SELECT id, so_id, method, data, sends, answer FROM callbacks ORDER BY id"
            ).fetchall()
        names = ("id", "so_id", "method", "data", "sends", "answer")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def send(self, wish: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Call the dealer back now, and say what was answered.

        ``ids`` of kept callbacks, in the order in which they are to go, also repeatedly; or one of
        its own: ``method`` and ``data``. ``secret`` and ``app_key`` to sign with, and ``timestamp``
        in place of the present one. Raises `InvalidInput`.
        """
        unknown = wish.keys() - {"ids", "method", "data", "secret", "app_key", "timestamp"}
        if unknown:
            raise InvalidInput(f"{min(unknown)}: not known")
        if self._settings().callback_url is None:
            raise InvalidInput("callback_url: set it first")
        kept = {entry["id"]: entry for entry in self.callbacks()}
        if "method" in wish:
            data = wish.get("data", {})
            text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
            chosen = [{"id": None, "method": str(wish["method"]), "data": text}]
        else:
            ids = wish.get("ids", list(kept))
            if not isinstance(ids, list) or not all(number in kept for number in ids):
                raise InvalidInput("ids: numbers of callbacks that there are")
            chosen = [kept[number] for number in ids]
        signing = {key: str(wish[key]) for key in ("secret", "app_key", "timestamp") if key in wish}
        return [self._deliver_callback(entry, **signing) for entry in chosen]

    def send_due(self, now: float) -> None:
        """Send the callbacks that are due; one that is not taken is sent again, ours, for an hour.

        Which kinds of refusal Haier sends again is written nowhere.
        """
        with self._lock:
            any_due = self._database.execute(
                "SELECT 1 FROM callbacks WHERE due <= ? LIMIT 1", (now,)
            ).fetchone()
        settings = self._settings()
        if any_due is None or settings.callback_url is None or settings.callbacks_held:
            return
        with self._changing() as database:
            # Not at once again, and not by another sandbox with the same file.
            rows = database.execute(
                "UPDATE callbacks SET due = ? WHERE due <= ? RETURNING id, method, data, sends",
                (now + _CALLBACK_SECONDS + _AGAIN_SECONDS, now),
            ).fetchall()
        for number, method, data, sends in sorted(rows):
            answer = self._deliver_callback({"id": number, "method": method, "data": data})
            again = answer["status"] != 200 and sends + 1 < _MOST_SENDS
            with self._changing() as database:
                database.execute(
                    "UPDATE callbacks SET due = ? WHERE id = ?",
                    (time.time() + _AGAIN_SECONDS if again else None, number),
                )

    def _deliver_callback(
        self, entry: Mapping[str, Any], *, secret: str = "", app_key: str = "", timestamp: str = ""
    ) -> dict[str, Any]:
        settings = self._settings()
        form = {
            "AppKey": app_key or settings.callback_app_key,
            "TimeStamp": timestamp or f"{dt.datetime.now(SHANGHAI):%Y%m%d%H%M%S}",
            "Method": entry["method"],
            "Data": entry["data"],
        }
        form["Sign"] = sign(form, secret or settings.callback_secret)
        answer = _post(settings.callback_url or "", form, as_json=settings.callback_body == "json")
        if entry["id"] is not None:
            with self._changing() as database:
                database.execute(
                    "UPDATE callbacks SET sends = sends + 1, answer = ? WHERE id = ?",
                    (json.dumps(answer, ensure_ascii=False), entry["id"]),
                )
        return {"id": entry["id"], **answer}

    # -------------------------------------------------------------------------------- storage

    def orders(self) -> list[dict[str, Any]]:
        """The orders as they stand, in the order in which they came."""
        with self._lock:
            rows = self._database.execute("SELECT doc FROM orders ORDER BY number").fetchall()
        return [_shown(json.loads(doc)) for (doc,) in rows]

    def _find(self, source: str, so_id: str) -> dict[str, Any] | None:
        return self._read("source = ? AND so_id = ?", source, so_id)

    def _by_code(self, code: str) -> dict[str, Any] | None:
        return self._read("code = ?", code)

    def _read(self, condition: str, *values: str) -> dict[str, Any] | None:
        row = self._database.execute(
            f"SELECT doc FROM orders WHERE {condition}",  # noqa: S608 - two texts of this module
            values,
        ).fetchone()
        order: dict[str, Any] | None = None if row is None else json.loads(row[0])
        return order

    def _keep(self, order: Mapping[str, Any]) -> None:
        moments = [order.get("due"), order.get("cancel_due")]
        due = min((moment for moment in moments if moment is not None), default=None)
        self._database.execute(
            "UPDATE orders SET code = ?, due = ?, doc = ? WHERE source = ? AND so_id = ?",
            (
                order["code"],
                due,
                json.dumps(order, ensure_ascii=False),
                order["source"],
                order["so_id"],
            ),
        )


def sign(form: Mapping[str, str], secret: str) -> str:
    """The signature of a form, as the vendor's text has it."""
    joined = "".join(f"{name}{form[name]}" for name in sorted(form) if form[name].strip())
    text = (secret + joined + secret).lower().encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest().upper()


def _post(url: str, form: Mapping[str, str], *, as_json: bool) -> dict[str, Any]:
    """What the dealer answered; status 0 where nobody did."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    content_type = "application/json" if as_json else "application/x-www-form-urlencoded"
    body = json.dumps(form, ensure_ascii=False) if as_json else urlencode(form)
    try:
        connection = kind(parts.netloc, timeout=_CALLBACK_SECONDS)
        try:
            connection.request(
                "POST",
                parts.path or "/",
                body.encode(),
                {"Content-Type": f"{content_type}; charset=utf-8"},
            )
            answer = connection.getresponse()
            return {"status": answer.status, "body": answer.read(65_536).decode("utf-8", "replace")}
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        return {"status": 0, "body": str(error)}


def _shown(order: Mapping[str, Any]) -> dict[str, Any]:
    """An order as the controls show it; what will become of it is not told."""
    return {key: value for key, value in order.items() if key not in ("fate", "reason", "due")}


def _split(order: Mapping[str, Any], given_back: Mapping[str, Any]) -> list[Record]:
    """The list of a cancellation: all of each line, or nothing."""
    items: list[Record] = []
    for item in order["body"]["itemList"]:
        pieces = item["itemQty"]
        is_all = given_back["state"] == 1
        received = pieces if "returned" in given_back else 0
        items.append(
            {
                "productCode": item["productCode"],
                "totalQty": pieces,
                "receiveQty": received,
                "returnQty": received if is_all else 0,
                "rejectQty": pieces if is_all and "rejected" in given_back else 0,
            }
        )
    return items


def _serial(code: str, place: int) -> str:
    return f"B{Draw('serial', code, place).between(10**11, 10**12 - 1)}"


def _parcel(code: str, place: int, listed: Mapping[str, Any]) -> Record:
    """A delivery of the gateway's logistics as the order side's tracking has it."""
    outbound = listed.get("getStoreOutboundLogisticsInfoResultDto")
    if outbound:
        carrier, name, number = "RRS", outbound[0]["logisticsCompanyName"], outbound[0]["expNo"]
    elif "logisticsNoList" in listed:
        parcel = listed["logisticsNoList"][0]
        carrier, name, number = "KD", parcel["logisticsName"], parcel["logisticsNo"]
    else:
        carrier, name, number = "ZP", "自有配送", listed["logisticsCode"]
    return {
        "logisticsCode": carrier,
        "logisticsName": name,
        "expNo": number,
        "barCodes": [_serial(code, place)],
    }


def _in_china(moment: float) -> dt.datetime:
    """Seconds since 1970 as the naive time that the wire has."""
    return dt.datetime.fromtimestamp(moment, SHANGHAI).replace(tzinfo=None, microsecond=0)
