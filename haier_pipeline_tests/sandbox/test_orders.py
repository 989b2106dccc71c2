"""The sandbox's order side: what it takes and refuses, how orders go on, how it calls back."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import pytest

from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.orders import CANCEL, CONFIRM, OUT_OF_STOCK, sign
from haier_pipeline.sandbox.server import RunningSandbox, running_sandbox
from haier_pipeline.sandbox.settings import Settings

if TYPE_CHECKING:
    from haier_pipeline_tests.sandbox.conftest import Answer, Dealer

TOKEN = "/ylh-cloud-mgt-auth/oauth/token"
JST = "/ylh-cloud-service-jst-order/api/page/hmm/retailorder"
PUSH = f"{JST}/receive-hmm-retail-order"
CANCELS = f"{JST}/cancel-hmm-retail-order"
RESCHEDULE = "/ylh-cloud-service-order/api/page/retailorder/hmm/update-distribution-time"
PICTURES = "/ylh-cloud-service-order/api/page/retailorder/search/get-retail-order-delivery-img"
TRACKING = (
    "/ylh-cloud-service-stock/api/composite/stock/logistics/get-store-logistics-by-order-code"
)
FORM = "application/x-www-form-urlencoded"


class Shop:
    """One client of the order side: proper requests, changed where a test says so."""

    def __init__(self, dealer: "Dealer", code: str) -> None:
        self.dealer = dealer
        self.code = code
        self.token = self.login().json["access_token"]

    def login(self, **changes: str) -> "Answer":
        client = f"{CREDENTIALS['ylh_client_id']}:{CREDENTIALS['ylh_client_secret']}"
        form = {
            "grant_type": "password",
            "username": CREDENTIALS["ylh_username"],
            "password": CREDENTIALS["ylh_password"],
        }
        headers = {
            "Content-Type": FORM,
            "system-name": "ylh-open-api",
            "Authorization": f"Basic {base64.b64encode(client.encode()).decode()}",
        }
        for name, value in changes.items():
            (form if name in form else headers)[name] = value
        return self.dealer.send("POST", TOKEN, urlencode(form).encode(), **headers)

    def body(self, so_id: str = "P-1", **changes: Any) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "sourceSystem": "shop",
            "shopName": "店",
            "sellerCode": CREDENTIALS["customer_code"],
            "consigneeName": "王小明",
            "consigneeMobile": "13800138000",
            "onlineNo": f"online-{so_id}",
            "soId": so_id,
            "totalQty": 2,
            "totalAmt": 199.8,
            "createTime": 1795307400000,
            "province": "江苏省",
            "city": "南京市",
            "area": "鼓楼区",
            "detailAddress": "中山路1号",
            "deliveryInstall": "false",
            "itemList": [
                {
                    "productCode": self.code,
                    "itemQty": 2,
                    "retailPrice": 99.9,
                    "discountAmount": 0,
                    "actualPrice": 99.9,
                }
            ],
            **changes,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def call(self, path: str, body: Any, authorization: str = "") -> "Answer":
        headers = {"Authorization": authorization or f"bearer {self.token}"}
        return self.dealer.send("POST", path, json.dumps(body).encode(), **headers)

    def push(self, so_id: str = "P-1", **changes: Any) -> "Answer":
        return self.call(PUSH, self.body(so_id, **changes))

    def cancel(self, so_id: str = "P-1") -> "Answer":
        body = {"soId": so_id, "cancelTime": "1795307400000", "cancelReason": "不要了"}
        return self.call(CANCELS, body | {"sourceSystem": "shop"})

    def set(self, **settings: Any) -> None:
        answer = self.dealer.control("POST", "settings", settings)
        assert answer.status == 200, answer.content

    def tell(self, do: str, so_id: str = "P-1", **more: Any) -> "Answer":
        return self.dealer.control("POST", "orders", {"so_id": so_id, "do": do, **more})

    def order(self, so_id: str = "P-1") -> dict[str, Any]:
        orders: list[dict[str, Any]] = self.dealer.control("GET", "orders").json
        return next(order for order in orders if order["so_id"] == so_id)

    def callbacks(self) -> list[tuple[str, dict[str, Any]]]:
        kept = self.dealer.control("GET", "callbacks").json
        return [(entry["method"], json.loads(entry["data"])) for entry in kept]


@pytest.fixture
def shop(running: RunningSandbox, dealer: "Dealer", codes: list[str]) -> Shop:
    """A shop whose orders are all accepted, and move only when told."""
    shop = Shop(dealer, codes[0])
    shop.set(order_step=None, orders_refused=0, orders_out_of_stock=0)
    return shop


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[dict[str, str]], list[int]]]:
    """A dealer that notes the forms it is sent; the statuses are answered one after the other."""
    seen: list[dict[str, str]] = []
    statuses: list[int] = []

    class Noting(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            is_form = self.headers["Content-Type"].startswith(FORM)
            seen.append(dict(parse_qsl(text)) if is_form else json.loads(text))
            self.send_response(statuses.pop(0) if statuses else 200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Noting) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/callback/", seen, statuses
        server.shutdown()
        thread.join()


def wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            '{"ExtOrderNo":"SO.20260115.000001","PlatformOrderNo":"P-1001","State":1}',
            "C83A8BE991D2CEA73C389CA8AF5A55DE",
        ),
        (
            '{"PlatformOrderNo":"P-1001","State":0,"FailMsg":"库存不足"}',
            "FF42A0C115CAEB60255072578894D0CB",
        ),
    ],
)
def test_callbacks_are_signed_as_the_contract_s_vectors_are(data: str, expected: str) -> None:
    form = {
        "AppKey": "demo-app",
        "TimeStamp": "20260115120000",
        "Method": CONFIRM,
        "Data": data,
    }
    assert sign(form, "demo-Secret") == expected


def test_an_order_is_kept_and_its_repetition_refused(shop: Shop) -> None:
    assert shop.push().json == {
        "success": True,
        "code": 0,
        "errCode": None,
        "infoMsgs": [],
        "warningMsgs": [],
        "errorMsg": None,
        "data": True,
    }
    answer = shop.push(shopName="another").json
    assert (answer["success"], answer["data"]) == (False, False)
    assert "重复" in answer["errorMsg"]
    assert shop.push("P-1", sourceSystem="other").json["data"] is True
    assert shop.order()["pushes_refused"] == 1
    assert shop.order()["code"] == "SO.20261122.900001"


@pytest.mark.parametrize(
    "field",
    [
        *("sourceSystem", "shopName", "sellerCode", "consigneeName", "consigneeMobile", "onlineNo"),
        *("soId", "totalQty", "totalAmt", "createTime", "province", "city", "area"),
        *("detailAddress", "deliveryInstall", "itemList"),
    ],
)
def test_a_missing_field_of_an_order_is_refused_by_name(shop: Shop, field: str) -> None:
    wrong: tuple[Any, ...] = (None, "", [])
    for value in wrong:
        answer = shop.push(**dict[str, Any]({field: value})).json
        assert answer["success"] is False
        assert field in answer["errorMsg"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"createTime": 1795307400}, "createTime"),
        ({"deliveryInstall": True}, "deliveryInstall"),
        ({"deliveryInstall": "true"}, "deliveryInstall"),
        ({"distributionTime": 1795622399000, "installTime": 1795622399000}, "deliveryInstall"),
        ({"distributionTime": "1795622399000"}, "distributionTime"),
        ({"totalQty": 1}, "totalQty"),
        ({"totalAmt": 99.9}, "totalAmt"),
        ({"governmentOrder": "1"}, "governmentOrder"),
        ({"itemList": [{"productCode": "A", "itemQty": 1}]}, "retailPrice"),
    ],
)
def test_a_wrong_field_of_an_order_is_refused_by_name(
    shop: Shop, changes: dict[str, Any], named: str
) -> None:
    assert named in shop.push(**changes).json["errorMsg"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"grant_type": "client_credentials"}, 400),
        ({"system-name": ""}, 400),
        ({"Content-Type": "application/json"}, 400),
        ({"username": "x"}, 401),
        ({"password": "x"}, 401),
        ({"Authorization": "Basic c2FuZGJveDp4"}, 401),
        ({"Authorization": "Basic ???"}, 401),
    ],
)
def test_a_token_is_given_to_the_right_client_alone(
    shop: Shop, changes: dict[str, str], status: int
) -> None:
    assert shop.login(**changes).status == status


def test_a_token_opens_only_the_side_that_gave_it_and_wants_its_word(shop: Shop) -> None:
    assert shop.call(PUSH, shop.body(), authorization=shop.token).status == 401
    assert shop.call(PUSH, shop.body(), authorization=f"bearer {shop.dealer.token}").status == 401
    assert shop.call(PUSH, shop.body(), authorization=f"Bearer {shop.token}").status == 200
    shop.dealer.token = shop.token
    assert shop.dealer.call("stock").status == 401


def test_the_clock_leads_an_order_to_its_end_and_says_so(
    shop: Shop, receiver: tuple[str, list[dict[str, str]], list[int]]
) -> None:
    url, seen, _ = receiver
    shop.set(callback_url=url, order_step=0.05)
    shop.push()
    wait_for(lambda: shop.order()["stage"] == "delivered")
    wait_for(lambda: seen)
    (form,) = seen
    assert form.pop("Sign") == sign(form, CREDENTIALS["ylh_callback_secret"])
    assert form["AppKey"] == CREDENTIALS["ylh_callback_app_key"]
    assert form["Method"] == CONFIRM
    code = shop.order()["code"]
    assert json.loads(form["Data"]) == {"PlatformOrderNo": "P-1", "ExtOrderNo": code, "State": 1}
    entries = shop.call(TRACKING, [code]).json["data"]
    assert all(entry["logisticsList"][0]["expNo"] for entry in entries)
    assert shop.call(PICTURES, {"orderNo": code}).json["data"]


@pytest.mark.parametrize(
    ("settings", "changes", "method", "said"),
    [
        ({"orders_refused": 100}, {}, CONFIRM, "收货地址"),
        ({"orders_out_of_stock": 100}, {}, OUT_OF_STOCK, "库存不足"),
        ({}, {"sellerCode": "8800000000"}, CONFIRM, "客户编码"),
        ({}, {"itemList": [{"productCode": "GA0SZC00U", "itemQty": 2, "retailPrice": 99.9,
                            "discountAmount": 0, "actualPrice": 99.9}]}, CONFIRM, "商品不存在"),
    ],
)  # fmt: skip
def test_orders_are_judged_after_they_were_taken(
    shop: Shop, settings: dict[str, Any], changes: dict[str, Any], method: str, said: str
) -> None:
    shop.set(**settings)
    assert shop.push(**changes).json["data"] is True
    assert shop.callbacks() == []
    shop.set(order_step=0.01)
    shop.push("P-2", **changes)
    wait_for(shop.callbacks)
    ((found, data),) = shop.callbacks()
    assert found == method
    assert data["State"] == (1 if method == OUT_OF_STOCK else 0)
    assert said in (data.get("FailMsg") or data["failMsg"])
    assert ("ExtOrderNo" in data) == (method == OUT_OF_STOCK)


@pytest.mark.parametrize(
    ("deeds", "quantities"),
    [
        ([], (0, 0, 2)),
        (["accept"], (0, 0, 2)),
        (["out_of_stock"], (0, 0, 2)),
        (["accept", "deliver"], (2, 2, 0)),
    ],
)
def test_a_cancellation_is_decided_as_the_contract_has_it(
    shop: Shop, deeds: list[str], quantities: tuple[int, int, int]
) -> None:
    shop.push()
    for deed in deeds:
        shop.tell(deed)
    assert shop.cancel().json["data"] is True
    shop.tell("judge_cancel")
    method, data = shop.callbacks()[-1]
    assert (method, data["State"]) == (CANCEL, 1)
    (item,) = data["itemList"]
    assert item["totalQty"] == 2
    assert (item["receiveQty"], item["returnQty"], item["rejectQty"]) == quantities
    assert shop.order()["stage"] == "cancelled"
    assert shop.cancel().json["success"] is False


def test_goods_on_their_way_are_caught_or_not(shop: Shop) -> None:
    states = set()
    for number in range(12):
        shop.push(f"P-{number}")
        for deed in ("accept", "ship"):
            shop.tell(deed, f"P-{number}")
        shop.cancel(f"P-{number}")
        shop.tell("judge_cancel", f"P-{number}")
        method, data = shop.callbacks()[-1]
        assert method == CANCEL
        states.add((data["State"], data["itemList"][0]["rejectQty"], "FailMsg" in data))
    assert states == {(1, 2, False), (0, 0, True)}


def test_a_cancellation_may_come_unasked_and_in_part(shop: Shop) -> None:
    shop.push()
    shop.tell("accept")
    item = {"productCode": shop.code, "totalQty": 2, "receiveQty": 1, "returnQty": 0,
            "rejectQty": 1}  # fmt: skip
    shop.tell("cancel", state=2, items=[item], reason="用户拒收")
    _, data = shop.callbacks()[-1]
    assert (data["State"], data["itemList"], data["FailMsg"]) == (2, [item], "用户拒收")
    assert shop.order()["stage"] == "confirmed"


def test_an_unknown_order_cannot_be_cancelled_moved_or_shown(shop: Shop) -> None:
    assert "订单不存在" in shop.cancel("P-9").json["errorMsg"]
    moved = {"retailOrderNo": "SO.1", "installTime": 1795622399000}
    assert "订单不存在" in shop.call(RESCHEDULE, moved).json["errorMsg"]
    assert "订单不存在" in shop.call(PICTURES, {"orderNo": "SO.1"}).json["errorMsg"]
    assert shop.call(TRACKING, ["SO.1"]).json["data"] == []
    assert shop.call(TRACKING, []).json["success"] is False
    assert shop.call(TRACKING, ["SO.1"] * 101).json["success"] is False


def test_times_are_moved_to_the_end_of_a_day_and_others_sent_as_they_were(shop: Shop) -> None:
    shop.push(distributionTime=1795622400000)
    code = shop.tell("accept").json["code"]
    asked = {"retailOrderNo": code, "distributionTime": 1795622400000}
    assert shop.call(RESCHEDULE, asked | {"installTime": 1795622399000}).json["data"] is True
    assert (
        "23:59:59" in shop.call(RESCHEDULE, asked | {"installTime": 1795622400000}).json["errorMsg"]
    )
    assert shop.call(RESCHEDULE, {"retailOrderNo": code}).json["success"] is False


def test_kept_callbacks_go_out_in_any_order_and_again(
    shop: Shop, receiver: tuple[str, list[dict[str, str]], list[int]]
) -> None:
    url, seen, statuses = receiver
    shop.set(callback_url=url, callbacks_held=True)
    shop.push()
    shop.tell("accept")
    shop.tell("cancel")
    statuses += [200, 503]
    answers = shop.dealer.control("POST", "callbacks", {"ids": [2, 1, 2]}).json
    assert [answer["status"] for answer in answers] == [200, 503, 200]
    assert [form["Method"] for form in seen] == [CANCEL, CONFIRM, CANCEL]
    assert [entry["sends"] for entry in shop.dealer.control("GET", "callbacks").json] == [1, 2]
    own = {"method": "hmm.unknown", "data": {"PlatformOrderNo": "?"}, "secret": "another"}
    shop.dealer.control("POST", "callbacks", own | {"timestamp": "20260101000000"})
    form = dict(seen[-1])
    assert form["TimeStamp"] == "20260101000000"
    assert form.pop("Sign") == sign(form, "another")


def test_a_callback_that_is_not_taken_is_sent_again(
    shop: Shop,
    receiver: tuple[str, list[dict[str, str]], list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, seen, statuses = receiver
    monkeypatch.setattr("haier_pipeline.sandbox.orders._AGAIN_SECONDS", 0.05)
    statuses += [503, 500]
    shop.set(callback_url=url)
    shop.push()
    shop.tell("accept")
    wait_for(lambda: len(seen) == 3)
    time.sleep(0.5)
    assert len(seen) == 3
    assert len({form["Data"] for form in seen}) == 1


def test_callbacks_come_in_every_form_that_is_known(
    shop: Shop, receiver: tuple[str, list[dict[str, str]], list[int]]
) -> None:
    url, seen, _ = receiver
    shop.set(callback_url=url, callback_body="json", callback_number="online_no",
             callback_state="text", callback_items="text")  # fmt: skip
    shop.push()
    shop.tell("cancel")
    shop.set(callback_state="missing")
    shop.tell("accept")
    wait_for(lambda: len(seen) == 2)
    first, second = (json.loads(form["Data"]) for form in seen)
    assert (first["PlatformOrderNo"], first["State"]) == ("online-P-1", "1")
    assert json.loads(first["itemList"])[0]["rejectQty"] == 2
    assert "State" not in second


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"so_id": "P-1"},
        {"so_id": "P-1", "do": "dance"},
        {"so_id": "P-9", "do": "ship"},
        {"so_id": "P-1", "do": "ship"},
        {"so_id": "P-1", "do": "deliver", "record": 9},
        {"so_id": "P-1", "do": "cancel", "state": 7},
        {"so_id": "P-1", "do": "ship", "typo": 1},
    ],
)
def test_a_wish_that_cannot_be_granted_is_named(shop: Shop, wish: dict[str, Any]) -> None:
    shop.push()
    answer = shop.dealer.control("POST", "orders", wish)
    assert answer.status == 400
    assert answer.json["message"]


def test_sandboxes_with_one_file_know_the_same_orders(
    tmp_path: Path, new_dealer: "type[Dealer]", codes: list[str]
) -> None:
    settings = Settings().changed({"products": 60, "date": "2026-11-22", "order_step": None})
    file = str(tmp_path / "orders.db")
    with (
        running_sandbox(settings, orders=file) as first,
        running_sandbox(settings, orders=file) as second,
    ):
        shops = [Shop(new_dealer(each.url), codes[0]) for each in (first, second)]
        assert shops[0].push().json["data"] is True
        assert shops[1].push().json["success"] is False
        shops[1].tell("accept")
    with running_sandbox(settings, orders=file) as third:
        kept = Shop(new_dealer(third.url), codes[0]).order()
        assert kept["stage"] == "confirmed"
    # A file may outlive a trial with a real customer's order.
    assert "consigneeName" not in kept["body"]
    assert b"13800138000" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_reset_forgets_orders_where_it_is_asked_to(shop: Shop) -> None:
    shop.push()
    shop.dealer.control("POST", "reset", {})
    assert shop.order()["stage"] == "pushed"
    shop.dealer.control("POST", "reset", {"orders": True})
    assert shop.dealer.control("GET", "orders").json == []
    assert shop.push().json["data"] is True
