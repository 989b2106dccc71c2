"""The client of the order side: what it sends, what an answer means, what it never says."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from haier_pipeline.domain.order import Item, end_of_day, is_so_id
from haier_pipeline.errors import (
    CallRefused,
    Cancelled,
    InvalidConfig,
    InvalidInput,
    PlatformClosed,
)
from haier_pipeline.platform.config import DealerConfig
from haier_pipeline.platform.orders import (
    Kind,
    OrderRequest,
    OrdersClient,
    Parcel,
    Picture,
    PushOutcome,
    TrackedDelivery,
    classify,
    masked_words,
    parse_pictures,
    parse_tracking,
)
from haier_pipeline.platform.transport import BrokenError, Reply, TooLargeError, UntrustedError
from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.catalog import SandboxCatalog
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sandbox.settings import Settings
from haier_pipeline_tests.ports import free_ports

NAME, MOBILE, ADDRESS = "王小明", "13800138000", "中山路18号5栋301"
CODES = SandboxCatalog(products=60).procurable_codes()
CHINA = ZoneInfo("Asia/Shanghai")


def order(so_id: str = "P-1001", **changes: Any) -> OrderRequest:
    values: dict[str, Any] = {
        "so_id": so_id,
        "online_no": so_id,
        "ordered_at": datetime(2026, 11, 22, 8, 30, tzinfo=CHINA),
        "consignee_name": NAME,
        "consignee_mobile": MOBILE,
        "province": "江苏省",
        "city": "南京市",
        "area": "鼓楼区",
        "detail_address": ADDRESS,
        "total_amount": Decimal("5798.00"),
        "items": (
            Item(CODES[0], 2, Decimal("2999.00"), Decimal("2899.00"), Decimal(100)),
            Item(CODES[1], 1, Decimal(99), Decimal(0), Decimal(99), is_gift=True),
        ),
        **changes,
    }
    return OrderRequest(**values)


@pytest.fixture
def desk(sandbox: SandboxProcess) -> SandboxProcess:
    """A sandbox without orders, in which nothing moves by itself and everything is accepted."""
    sandbox.reset(orders=True)
    defaults = Settings().as_json()
    sandbox.set(
        **{key: value for key, value in defaults.items() if key.startswith(("order", "callback"))}
    )
    sandbox.set(order_step=None, orders_refused=0, orders_out_of_stock=0)
    return sandbox


@pytest.fixture
def new_orders(
    dealer_at: Callable[..., DealerConfig], quick_backoff: None
) -> Iterator[Callable[..., OrdersClient]]:
    """Makes clients of an order side at any address; ``dealer`` changes keys."""
    with ExitStack() as stack:

        def make(url: str, dealer: dict[str, object] | None = None, **more: Any) -> OrdersClient:
            changes = {"ylh_rate_limit": 1000, **(dealer or {})}
            config = dealer_at(url, ylh_base_url=url, **changes)
            return stack.enter_context(OrdersClient(config, **more))

        yield make


@pytest.fixture
def client(desk: SandboxProcess, new_orders: Callable[..., OrdersClient]) -> OrdersClient:
    return new_orders(desk.url)


# ------------------------------------------------------------------------------------- requests


def test_an_order_goes_out_in_haiers_words(client: OrdersClient, desk: SandboxProcess) -> None:
    delivery = datetime(2026, 11, 25, 23, 59, 59, tzinfo=CHINA)
    sent = order(
        distribution_at=delivery,
        install_at=delivery.astimezone(UTC),
        town="湖南路街道",
        remark="请先打电话",
        is_government_order=True,
    )
    assert client.push(sent) == PushOutcome("taken", attempts=1, status=200)
    (kept,) = desk.orders()
    assert kept["body"] == {
        "sourceSystem": CREDENTIALS["ylh_source_system"],
        "shopName": CREDENTIALS["ylh_shop_name"],
        "sellerCode": CREDENTIALS["customer_code"],
        "consigneeName": NAME,
        "consigneeMobile": MOBILE,
        "onlineNo": "P-1001",
        "soId": "P-1001",
        "remark": "请先打电话",
        "totalQty": 3,
        "totalAmt": 5798.0,
        "createTime": 1795307400000,
        "province": "江苏省",
        "city": "南京市",
        "area": "鼓楼区",
        "town": "湖南路街道",
        "detailAddress": ADDRESS,
        "distributionTime": 1795622399000,
        "installTime": 1795622399000,
        "governmentOrder": True,
        "deliveryInstall": "true",
        "itemList": [
            {
                "productCode": CODES[0],
                "itemQty": 2,
                "retailPrice": 2999.0,
                "discountAmount": 100,
                "actualPrice": 2899.0,
                "isGift": False,
            },
            {
                "productCode": CODES[1],
                "itemQty": 1,
                "retailPrice": 99,
                "discountAmount": 99,
                "actualPrice": 0,
                "isGift": True,
            },
        ],
    }


@pytest.mark.parametrize(
    ("distribution", "install", "together"),
    [
        (None, None, "false"),
        (1, None, "false"),
        (None, 1, "false"),
        (1, 2, "false"),
        (1, 1, "true"),
    ],
)
def test_delivery_and_installation_are_one_visit_only_at_one_time(
    client: OrdersClient,
    desk: SandboxProcess,
    distribution: int | None,
    install: int | None,
    together: str,
) -> None:
    days: dict[str, Any] = {
        name: None if day is None else end_of_day(date(2026, 12, day))
        for name, day in (("distribution_at", distribution), ("install_at", install))
    }
    assert client.push(order(**days)).kind == "taken"
    body = desk.orders()[0]["body"]
    assert body["deliveryInstall"] == together
    assert ("distributionTime" in body, "installTime" in body) == (
        distribution is not None,
        install is not None,
    )


def test_the_development_hosts_test_code_can_stand_in_for_the_dealers(
    desk: SandboxProcess, new_orders: Callable[..., OrdersClient]
) -> None:
    new_orders(desk.url, {"ylh_seller_code": "TEST-1"}).push(order())
    assert desk.orders()[0]["body"]["sellerCode"] == "TEST-1"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"so_id": ""}, "so_id"),
        ({"so_id": "a b"}, "so_id"),
        ({"so_id": "a/b"}, "so_id"),
        ({"so_id": "x" * 65}, "so_id"),
        ({"so_id": "a\nb"}, "so_id"),
        ({"so_id": None}, "so_id"),
        ({"online_no": " "}, "online_no"),
        ({"consignee_name": ""}, "consignee_name"),
        ({"consignee_mobile": "\u3000"}, "consignee_mobile"),
        ({"province": ""}, "province"),
        ({"city": ""}, "city"),
        ({"area": ""}, "area"),
        ({"detail_address": ""}, "detail_address"),
        ({"remark": "a\0b"}, "remark"),
        ({"town": "\ud800"}, "town"),
        ({"ordered_at": datetime(2026, 11, 22, 8)}, "ordered_at"),  # noqa: DTZ001 - the point
        ({"ordered_at": datetime(1999, 1, 1, tzinfo=UTC)}, "ordered_at"),
        ({"install_at": datetime(2026, 11, 22, 8)}, "install_at"),  # noqa: DTZ001 - the point
        ({"items": ()}, "items"),
        ({"total_amount": Decimal("5798.01")}, "total_amount"),
        ({"total_amount": Decimal("NaN")}, "total_amount"),
        ({"total_amount": 5798.0}, "total_amount"),
        ({"items": (Item("", 1, Decimal(1), Decimal(1)),)}, "items[1].product_code"),
        ({"items": (Item("A", 0, Decimal(1), Decimal(1)),)}, "items[1].quantity"),
        ({"items": (Item("A", True, Decimal(1), Decimal(1)),)}, "items[1].quantity"),
        ({"items": (Item("A", 1, Decimal(-1), Decimal(1)),)}, "items[1].retail_price"),
        ({"items": (Item("A", 1, Decimal(1), Decimal("1e11")),)}, "items[1].actual_price"),
        (
            {"items": (Item("A", 1, Decimal(1), Decimal(1), Decimal("Infinity")),)},
            "items[1].discount_amount",
        ),
    ],
)
def test_what_cannot_be_an_order_cannot_be_made(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        order(**changes)
    assert f" {field} " in str(caught.value)
    for personal in (NAME, MOBILE, ADDRESS):
        assert personal not in str(caught.value)


def test_a_total_that_does_not_add_up_is_refused_with_both_sums() -> None:
    with pytest.raises(InvalidInput, match=r"is 1\.50, .* make 5798\.00"):
        order(total_amount=Decimal("1.50"))


def test_a_price_that_is_no_difference_is_the_dealers_own_business() -> None:
    item = Item(CODES[0], 1, Decimal(100), Decimal("33.33"), Decimal(1))
    assert order(items=(item,), total_amount=Decimal("33.33")).total_quantity == 1


@pytest.mark.parametrize(
    ("text", "good"), [("P-1", True), ("订单①", True), ("a/b", False), ("", False)]
)
def test_a_number_of_the_shop_has_a_form(text: str, good: bool) -> None:
    assert is_so_id(text) is good


def test_the_end_of_a_day_is_chinas() -> None:
    assert end_of_day(date(2026, 12, 1)).isoformat() == "2026-12-01T23:59:59+08:00"
    late = datetime(2026, 11, 30, 20, tzinfo=UTC)
    assert end_of_day(late).isoformat() == "2026-12-01T23:59:59+08:00"


def test_no_personal_data_shows_in_the_repr() -> None:
    for personal in (NAME, MOBILE, ADDRESS, "南京市"):
        assert personal not in repr(order())


# -------------------------------------------------------------------------------- what it means


def no(**fields: Any) -> dict[str, Any]:
    return {"success": False, "code": 1, "errorMsg": "缺少字段", "data": None, **fields}


def without_success(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in no(**fields).items() if key != "success"}


MEANINGS: list[tuple[int, Any, Kind]] = [
    (200, {"success": True, "code": 0, "data": True}, "taken"),
    (200, {"success": True}, "taken"),
    (200, {"data": True}, "taken"),
    (200, {"data": "true"}, "taken"),
    (200, {"data": None}, "taken"),
    (200, {"code": 0}, "taken"),
    (200, {"code": "0", "infoMsgs": ["已接收"]}, "taken"),
    (200, {"code": 200, "message": "success", "data": True}, "taken"),
    (200, {"code": "success", "data": True}, "taken"),
    (200, {"success": "true", "code": "0", "errorMsg": None, "data": "SO-1"}, "taken"),
    (200, {}, "taken"),
    (200, True, "taken"),
    (201, {"success": True, "data": True}, "taken"),
    (200, no(), "refused"),
    (200, no(data=True), "refused"),
    (200, {"success": True, "data": False}, "refused"),
    (200, {"success": True, "data": "false"}, "refused"),
    (200, {"success": "false"}, "refused"),
    (200, {"success": 0}, "refused"),
    (200, {"data": False}, "refused"),
    (200, {"data": {"success": False, "errorMsg": "缺少字段"}}, "refused"),
    (200, without_success(), "refused"),
    (200, without_success(code=500), "refused"),
    (200, without_success(code=None), "refused"),
    (200, no(code=500, errorMsg="系统繁忙"), "refused"),
    (200, False, "refused"),
    (400, no(), "refused"),
    (400, {"data": False}, "refused"),
    (404, no(), "refused"),
    (409, no(), "refused"),
    (415, no(), "refused"),
    (422, without_success(), "refused"),
    (200, None, "unknown"),
    (200, [], "unknown"),
    (200, "text", "unknown"),
    (200, 1, "unknown"),
    (200, {"success": "perhaps"}, "unknown"),
    (500, no(), "unknown"),
    (500, {"success": True, "data": True}, "unknown"),
    (502, {}, "unknown"),
    (503, no(), "unknown"),
    (504, None, "unknown"),
    (401, no(), "not_sent"),
    (403, no(), "not_sent"),
    (429, no(), "not_sent"),
    (302, {}, "not_sent"),
    (400, {"message": "bad request"}, "not_sent"),
    (404, {"code": 404, "message": "no route"}, "not_sent"),
    (404, {"timestamp": 1, "status": 404, "error": "Not Found", "path": "/"}, "not_sent"),
    (405, no(), "not_sent"),
    (410, None, "not_sent"),
    (200, no(code=401), "not_sent"),
    (200, no(code=403), "not_sent"),
    (200, no(code=429), "not_sent"),
    (200, no(errorMsg="token已过期"), "not_sent"),
]


@pytest.mark.parametrize(("status", "answer", "kind"), MEANINGS)
def test_an_answer_to_a_push_means(status: int, answer: Any, kind: Kind) -> None:
    """Each row of the contract's table, and what lies between them."""
    found, _ = classify(Reply(status, json.dumps(answer).encode(), None))
    assert found == kind


@pytest.mark.parametrize("body", [b"", b"<html></html>", b'{"success": tr', b"\xff"])
@pytest.mark.parametrize(
    ("status", "kind"), [(200, "unknown"), (500, "unknown"), (404, "not_sent"), (400, "not_sent")]
)
def test_an_answer_that_cannot_be_read_means(body: bytes, status: int, kind: Kind) -> None:
    assert classify(Reply(status, body, None))[0] == kind


@pytest.mark.parametrize("error", [BrokenError("x"), TooLargeError("x"), UntrustedError("x")])
def test_without_an_answer_it_counts_whether_a_byte_had_left(error: Any) -> None:
    assert classify(error, has_sent=True)[0] == "unknown"
    assert classify(error, has_sent=False)[0] == "not_sent"


# --------------------------------------------------------------------------------------- pushes


def test_a_repeated_number_is_refused_in_haiers_words(
    client: OrdersClient, desk: SandboxProcess
) -> None:
    """Fault matrix, row 59: never sent by this call before, so it is a refusal."""
    assert client.push(order()).kind == "taken"
    outcome = client.push(order())
    assert (outcome.kind, outcome.may_have_arrived, outcome.attempts) == ("refused", False, 1)
    assert "订单号重复，请勿重复推送" in outcome.message
    assert "P-1001" in outcome.message
    assert "P-1001" not in outcome.reason
    assert len(desk.orders()) == 1


@pytest.mark.parametrize("status", [200, 400, 404, 409, 415, 422])
@pytest.mark.parametrize("envelope", ["vendor", "short"])
def test_a_refusal_is_one_with_each_status_and_envelope(
    client: OrdersClient, desk: SandboxProcess, status: int, envelope: str
) -> None:
    desk.set(order_refusal_status=status, order_envelope=envelope)
    assert client.push(order()).kind == "taken"
    outcome = client.push(order())
    assert (outcome.kind, outcome.status) == ("refused", status)
    assert "订单号重复" in outcome.reason


def test_a_lost_answer_is_asked_for_again_and_the_refusal_may_be_for_the_repetition(
    client: OrdersClient, desk: SandboxProcess
) -> None:
    """Fault matrix, row 57."""
    desk.fault(interface="push", kind="reset", times=1)
    outcome = client.push(order())
    assert (outcome.kind, outcome.may_have_arrived, outcome.attempts) == ("refused", True, 2)
    assert len(desk.orders()) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "reset"},
        {"kind": "truncate"},
        {"kind": "html"},
        {"kind": "empty"},
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 500, "body": {"success": False, "errorMsg": "no"}},
        {"kind": "answer", "answer": []},
    ],
)
def test_an_answer_that_says_nothing_means_that_it_may_have_arrived(
    client: OrdersClient, desk: SandboxProcess, fault: dict[str, Any]
) -> None:
    desk.fault(interface="push", **fault)
    outcome = client.push(order())
    assert (outcome.kind, outcome.may_have_arrived, outcome.attempts) == ("unknown", True, 4)
    assert outcome.message.endswith(".")


@pytest.mark.parametrize("status", [403, 404, 410, 429, 302])
def test_what_is_not_the_orders_fault_leaves_it_unsent(
    client: OrdersClient, desk: SandboxProcess, status: int
) -> None:
    desk.fault(interface="push", kind="status", status=status, body="")
    outcome = client.push(order())
    assert (outcome.kind, outcome.may_have_arrived) == ("not_sent", False)
    assert outcome.attempts == (4 if status == 429 else 1)
    assert desk.orders() == []


def test_where_nobody_listens_nothing_was_sent(new_orders: Callable[..., OrdersClient]) -> None:
    (port,) = free_ports(1)
    outcome = new_orders(f"http://127.0.0.1:{port}").push(order())
    assert (outcome.kind, outcome.may_have_arrived) == ("not_sent", False)
    assert "ylh_base_url" in outcome.message


def test_what_may_have_arrived_stays_so_when_the_token_is_lost_after_it(
    client: OrdersClient, desk: SandboxProcess
) -> None:
    desk.fault(interface="push", kind="reset", times=1)
    desk.fault(interface="push", kind="status", status=403, skip=0, body="")
    outcome = client.push(order())
    assert (outcome.kind, outcome.may_have_arrived, outcome.attempts) == ("unknown", True, 2)


def test_a_stop_before_the_first_byte_leaves_it_unsent(
    desk: SandboxProcess, new_orders: Callable[..., OrdersClient]
) -> None:
    stop = threading.Event()
    client = new_orders(desk.url, stop=stop)
    stop.set()
    outcome = client.push(order())
    assert outcome.kind == "not_sent"
    assert isinstance(outcome.error, Cancelled)


def test_a_stop_while_the_answer_is_awaited_says_that_it_may_have_arrived(
    desk: SandboxProcess, new_orders: Callable[..., OrdersClient]
) -> None:
    stop = threading.Event()
    client = new_orders(desk.url, stop=stop)
    client.check_token()
    desk.fault(interface="push", kind="hang", seconds=3)
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Cancelled):
        client.push(order())


def test_haiers_words_never_repeat_who_it_is_for(
    client: OrdersClient, desk: SandboxProcess
) -> None:
    """Fault matrix, row 63."""
    said = (
        f"收货人{NAME}（{MOBILE}，{MOBILE[:3]}-{MOBILE[3:7]}-{MOBILE[7:]}）地址鼓楼区{ADDRESS}无效"
    )
    desk.fault(interface="push", kind="refuse", message=said)
    outcome = client.push(order())
    assert outcome.kind == "refused"
    for text in (outcome.message, outcome.reason, repr(outcome), repr(outcome.error)):
        for personal in (NAME, MOBILE, ADDRESS, "0013", "8000"):
            assert personal not in text
    assert "收货人" in outcome.message
    assert "无效" in outcome.reason


def test_words_are_masked_however_they_are_spelled() -> None:
    escaped = json.dumps({"name": NAME})
    assert NAME.encode("unicode_escape").decode() not in masked_words(escaped, NAME)
    assert masked_words("司机 139 1234 5678 鲁B12345", "") == "司机 ••• •••"
    assert masked_words("", NAME) == ""


# ---------------------------------------------------------------------------------------- token


@pytest.mark.parametrize("word", ["bearer", "Bearer"])
def test_the_token_is_sent_with_its_own_word(
    client: OrdersClient, desk: SandboxProcess, word: str
) -> None:
    desk.set(order_token_type=word)
    assert client.push(order()).kind == "taken"
    assert desk.report()["calls"]["order_token"] == 1
    assert desk.report()["wrong_form"] == 0


def test_many_workers_cost_one_token_and_a_revoked_one_one_more(
    client: OrdersClient, desk: SandboxProcess
) -> None:
    """Fault matrix, rows 1 and 4."""
    outcomes: list[PushOutcome] = []

    def push(numbers: range) -> None:
        outcomes.extend(client.push(order(f"P-{number}")) for number in numbers)

    def push_all(first: int) -> None:
        threads = [
            threading.Thread(target=push, args=(range(start, start + 3),))
            for start in range(first, first + 24, 3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    push_all(0)
    assert desk.report()["calls"]["order_token"] == 1
    desk.reset(tokens=True)
    push_all(100)
    assert desk.report()["calls"]["order_token"] == 1
    assert [outcome.kind for outcome in outcomes] == ["taken"] * 48
    assert len(desk.orders()) == 48


@pytest.mark.parametrize(
    "key", ["ylh_client_id", "ylh_client_secret", "ylh_username", "ylh_password"]
)
def test_wrong_credentials_leave_orders_unsent_and_are_not_repeated_in_words(
    desk: SandboxProcess, new_orders: Callable[..., OrdersClient], key: str
) -> None:
    """Fault matrix, row 61b and invariant D."""
    client = new_orders(desk.url, {key: "wrong-canary-value"})
    outcome = client.push(order())
    assert outcome.kind == "not_sent"
    assert "ylh_client_secret" in outcome.message
    assert "canary" not in outcome.message
    assert isinstance(outcome.error, PlatformClosed)
    assert desk.report()["calls"]["order_token"] == 1
    assert "push" not in desk.report()["calls"]


@pytest.mark.parametrize("answer", [{"access_token": None}, {}, [], {"error": "invalid_grant"}])
def test_a_token_answer_without_a_token_is_an_error(
    client: OrdersClient, desk: SandboxProcess, answer: Any
) -> None:
    """Fault matrix, row 3."""
    desk.fault(interface="order_token", kind="token", answer=answer)
    outcome = client.push(order())
    assert outcome.kind == "not_sent"
    assert "None" not in outcome.message


def test_a_secret_that_is_echoed_is_masked(client: OrdersClient, desk: SandboxProcess) -> None:
    """Fault matrix, invariant D."""
    secrets = [CREDENTIALS[key] for key in ("ylh_client_secret", "ylh_password")]
    secrets.append(CREDENTIALS["ylh_callback_secret"])
    desk.fault(interface="push", kind="refuse", message=" ".join(secrets))
    outcome = client.push(order())
    assert not any(secret in outcome.message for secret in secrets)
    assert not any(secret in repr(client) + repr(client.dealer) for secret in secrets)


def test_an_incomplete_set_is_refused_with_the_missing_names(
    dealer_at: Callable[..., DealerConfig],
) -> None:
    config = dealer_at("http://127.0.0.1:9", ylh_password=None, ylh_shop_name="")
    with pytest.raises(InvalidConfig) as caught:
        OrdersClient(config)
    assert caught.value.fields == ("ylh_base_url", "ylh_password", "ylh_shop_name")


# ------------------------------------------------------------------------- what is done to orders


def test_a_cancellation_is_taken_with_its_time_as_text(
    client: OrdersClient, desk: SandboxProcess
) -> None:
    client.push(order())
    at = datetime(2026, 11, 23, 4, tzinfo=UTC)
    assert client.cancel("P-1001", "不要了", at=at).kind == "taken"
    assert desk.orders()[0]["cancel_asked"] is True
    unknown = client.cancel("P-9", "不要了")
    assert (unknown.kind, unknown.reason) == ("refused", "订单不存在")
    with pytest.raises(InvalidInput):
        client.cancel("P-1001", " ")


def test_an_order_is_moved_to_the_end_of_a_day(client: OrdersClient, desk: SandboxProcess) -> None:
    client.push(order())
    code = desk.tell("P-1001", "accept")["code"]
    assert client.reschedule(code, end_of_day(date(2026, 12, 3))).kind == "taken"
    assert desk.orders()[0]["body"]["distributionTime"] == 1796313599000
    noon = client.reschedule(code, datetime(2026, 12, 4, 12, tzinfo=CHINA))
    assert noon.kind == "refused"
    assert "23:59:59" in noon.message
    with pytest.raises(InvalidInput):
        client.reschedule(code)


def test_a_hundred_orders_are_tracked_in_one_call(
    client: OrdersClient, desk: SandboxProcess
) -> None:
    for number in range(3):
        client.push(order(f"P-{number}"))
        desk.tell(f"P-{number}", "accept")
    codes = [kept["code"] for kept in desk.orders()]
    assert {delivery.parcels for delivery in client.tracking(codes)} == {()}
    desk.tell("P-0", "ship")
    desk.reset()
    found = client.tracking([*codes, *(f"SO.20250101.{number:06}" for number in range(97))])
    assert desk.report()["calls"]["tracking"] == 1
    assert {delivery.order_code for delivery in found} == set(codes)
    (first,) = [d for d in found if d.delivery_record_code == f"{codes[0]}.F1"]
    (parcel,) = first.parcels
    assert parcel.tracking_no
    assert parcel.serial_numbers
    assert client.tracking([]) == []
    with pytest.raises(InvalidInput):
        client.tracking(f"SO.{number}" for number in range(101))


def test_the_gateway_knows_the_parcels_of_the_order_side(
    client: OrdersClient,
    desk: SandboxProcess,
    new_client: Callable[..., Any],
) -> None:
    client.push(order())
    code = desk.tell("P-1001", "accept")["code"]
    desk.tell("P-1001", "deliver")
    tracked = client.tracking([code])
    records = new_client().get_logistics(code).records
    assert {r.value.delivery_record_code for r in records} == {
        d.delivery_record_code for d in tracked
    }
    said = json.dumps([record.payload for record in records], ensure_ascii=False)
    for delivery in tracked:
        assert str(delivery.parcels[0].tracking_no) in said
    assert "已签收" in said


def test_pictures_come_with_delivery_and_installation(
    client: OrdersClient, desk: SandboxProcess
) -> None:
    client.push(order(install_at=end_of_day(date(2026, 12, 3))))
    code = desk.tell("P-1001", "accept")["code"]
    assert client.pictures(code) == []
    desk.tell("P-1001", "deliver")
    pictures = client.pictures(code)
    assert {picture.scene for picture in pictures} == {1, 2}
    assert all(picture.delivery_record_code.startswith(f"{code}.F") for picture in pictures)
    assert "https" not in repr(pictures)
    with pytest.raises(CallRefused, match="订单不存在"):
        client.pictures("SO.1")


def test_a_tracking_answer_is_read_in_every_form() -> None:
    parcels = [
        {"logisticsCode": "RRS", "logisticsName": "日日顺", "expNo": 123, "barCodes": "A，B,"},
        {"expNo": " X1 ", "barCodes": ["C", None, 7]},
        {},
        "nothing",
    ]
    found = parse_tracking(
        [
            {"orderCode": "SO.1", "deliveryRecordCode": "SO.1.F1", "logisticsList": parcels},
            {"orderCode": "SO.2", "deliveryRecordCode": None, "logisticsList": None},
            {"orderCode": "SO.3", "logisticsList": {"expNo": "Y"}},
            {"orderCode": "SO.9", "logisticsList": []},
            {"logisticsList": []},
            {"orderCode": "SO.1", "logisticsList": "text"},
            "nothing",
        ],
        ["SO.1", "SO.2", "SO.3"],
    )
    assert list(found) == [
        TrackedDelivery(
            "SO.1",
            "SO.1.F1",
            (
                Parcel("RRS", "日日顺", "123", ("A", "B")),
                Parcel(None, None, "X1", ("C", "7")),
                Parcel(None, None, None),
            ),
        ),
        TrackedDelivery("SO.2", ""),
        TrackedDelivery("SO.3", "", (Parcel(None, None, "Y"),)),
    ]
    assert found.unreadable == 4
    assert parse_tracking(None, ["SO.1"]) == []
    assert parse_tracking({"logisticsList": None}, ["SO.1"]) == [TrackedDelivery("SO.1", "")]
    with pytest.raises(CallRefused):
        parse_tracking("text", ["SO.1"])


def test_a_picture_without_an_address_of_the_web_is_counted_and_left_out() -> None:
    photos = [
        {"imgUrl": "https://a.example/1.jpg", "imgDesc": None, "scene": "2"},
        {"imgUrl": "javascript:alert(1)"},
        {"imgDesc": "x"},
        {"imgUrl": "http://a.example/2.jpg", "scene": 9},
    ]
    found = parse_pictures(
        {"orderCode": "SO.1.F1", "snNo": 5, "photosDeliveryList": photos}, "SO.1"
    )
    assert list(found) == [
        Picture("SO.1", "SO.1.F1", "5", 2, None, "https://a.example/1.jpg"),
        Picture("SO.1", "SO.1.F1", "5", None, None, "http://a.example/2.jpg"),
    ]
    assert found.unreadable == 2


# -------------------------------------------------------------------------- the bytes themselves


def test_the_token_is_asked_for_by_form_and_basic_and_nothing_stands_in_the_address(
    new_orders: Callable[..., OrdersClient],
) -> None:
    """Against a server that only notes, so that client and sandbox cannot share a mistake."""
    seen: list[tuple[str, dict[str, str], bytes]] = []

    class Noting(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            answer: dict[str, Any] = {"success": True, "data": []}
            if self.path.endswith("/oauth/token"):
                answer = {"access_token": "canary", "token_type": "bearer", "expires_in": 600}
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Noting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        secret = {"ylh_client_id": "商户", "ylh_client_secret": "密:码", "ylh_password": "p&w=1"}
        client = new_orders(url, secret)
        assert client.push(order()).kind == "taken"
        client.tracking(["SO.1", "SO.2"])
        server.shutdown()
    (path, headers, body), (pushed, bearing, _), (tracked, _, codes) = seen
    assert path == "/ylh-cloud-mgt-auth/oauth/token"
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert headers["system-name"] == "ylh-open-api"
    assert headers["authorization"] == "Basic 5ZWG5oi3OuWvhjrnoIE="
    assert body == b"grant_type=password&username=sandbox-user&password=p%26w%3D1"
    assert bearing["authorization"] == "bearer canary"
    assert bearing["content-type"].startswith("application/json")
    assert pushed == (
        "/ylh-cloud-service-jst-order/api/page/hmm/retailorder/receive-hmm-retail-order"
    )
    assert tracked == (
        "/ylh-cloud-service-stock/api/composite/stock/logistics/get-store-logistics-by-order-code"
    )
    assert json.loads(codes) == ["SO.1", "SO.2"]


@pytest.mark.parametrize(
    ("base_url", "place"),
    [
        ("https://openplat-test.haier.net", "https://dev.ylhtest.com/ylh-cloud-mgt-auth-dev"),
        (
            "https://openplat-bj-aliyun-stage.haier.net",
            "https://pre.yilihuo.com/ylh-cloud-mgt-auth-pre",
        ),
        ("https://openplat-bj-aliyun.haier.net", "https://www.yilihuo.com/ylh-cloud-mgt-auth"),
    ],
)
def test_services_have_the_suffix_of_their_environment(base_url: str, place: str) -> None:
    config = DealerConfig.parse("haier", {**CREDENTIALS, "base_url": base_url})
    with OrdersClient(config) as client:
        assert client._address("order_token") == f"{place}/oauth/token"


def test_amounts_go_out_exactly() -> None:
    from haier_pipeline.platform.orders import _number
    from haier_pipeline.platform.transport import encode

    amounts = [Decimal("1E+3"), Decimal("0.10"), Decimal("2999.00"), Decimal("0E-8")]
    sent = encode([_number(amount) for amount in amounts]).decode()
    assert sent == "[1000, 0.10, 2999.00, 0]"


def test_a_token_is_renewed_before_its_end(
    client: OrdersClient, desk: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault matrix, row 41."""
    client.push(order("P-1"))
    monkeypatch.setattr(client._tokens, "_renew_at", 0.0)
    client.push(order("P-2"))
    assert desk.report()["calls"]["order_token"] == 2
