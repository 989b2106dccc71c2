"""Callbacks: stored first, applied after, and never counted twice (fault matrix, rows 60 to 62)."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import Engine, text

from haier_pipeline.catalog.database import open_engine
from haier_pipeline.catalog.orders import callbacks, pushes
from haier_pipeline.domain.partition import SHANGHAI
from haier_pipeline.errors import Conflict
from haier_pipeline.platform.callbacks import signature
from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync.dealer_editor import DealerEditor
from haier_pipeline.sync.dealers import ENVIRONMENT_DEALER as DEALER
from haier_pipeline.sync.dealers import Dealers
from haier_pipeline.sync.order_book import Orders
from haier_pipeline.sync.order_callbacks import CallbackAnswer, CallbackDesk
from haier_pipeline.sync.run import Outcome
from haier_pipeline_tests.orders.conftest import KEY, an_order, no_sandbox

CONFIRM = "hmm.scm_heorder.confirm"
CANCEL = "hmm.scm_heorder.cancel"
OUT_OF_STOCK = "hmm.scm_heorder.oostock"
FORM = "application/x-www-form-urlencoded"

Add = Callable[..., None]
Push = Callable[..., Outcome | None]
States = Callable[[], dict[str, str]]
Call = Callable[..., CallbackAnswer]


def form(method: str, data: Any, *, at: int = 0, **changes: str) -> bytes:
    moment = datetime(2026, 1, 15, 12, 0, tzinfo=SHANGHAI) + timedelta(seconds=at)
    fields = {
        "AppKey": CREDENTIALS["ylh_callback_app_key"],
        "TimeStamp": f"{moment:%Y%m%d%H%M%S}",
        "Method": method,
        "Data": data if isinstance(data, str) else json.dumps(data, ensure_ascii=False),
    } | changes
    secret = fields.pop("secret", CREDENTIALS["ylh_callback_secret"])
    fields.setdefault("Sign", signature(fields, secret))
    return urlencode(fields).encode()


@pytest.fixture
def desk(orders: Orders) -> Iterator[CallbackDesk]:
    desk = CallbackDesk(orders)
    yield desk
    desk.close()


@pytest.fixture
def call(desk: CallbackDesk, orders: Orders) -> Call:
    """Sends a callback and has it applied."""

    def work(method: str, data: Any, **more: Any) -> CallbackAnswer:
        answer = desk.receive(DEALER, form(method, data, **more), FORM)
        callbacks.apply_pending(orders.store)
        return answer

    return work


def events(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(
            connection.execute(
                text("SELECT * FROM order_event WHERE method IS NOT NULL ORDER BY id")
            ).mappings()
        )


def test_a_confirmation_is_stored_answered_and_applied(
    orders: Orders, add: Add, push_all: Push, call: Call
) -> None:
    add("A1")
    push_all()
    answer = call(CONFIRM, {"PlatformOrderNo": "A1", "ExtOrderNo": "SO.1", "State": 1})
    assert (answer.status, answer.outcome) == (200, "stored")
    assert answer.body["success"] is True
    assert answer.body["code"] == "success"
    assert answer.body["data"] == {
        "statusCode": 200, "message": "received", "platformOrderNo": "A1"}  # fmt: skip
    shown = orders.show(DEALER, "A1")
    assert (shown["state"], shown["haier_order_no"]) == ("confirmed", "SO.1")
    assert shown["confirmed_at"] is not None
    assert shown["events"][-1]["kind"] == "confirmed"
    assert shown["events"][-1]["applied_at"] is not None


def test_what_is_stored_is_applied_by_itself_soon_after(
    add: Add, push_all: Push, desk: CallbackDesk, states: States
) -> None:
    add("A1")
    push_all()
    desk.receive(DEALER, form(CONFIRM, {"PlatformOrderNo": "A1", "State": 1}), FORM)
    deadline = time.monotonic() + 10
    while states()["A1"] != "confirmed" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert states() == {"A1": "confirmed"}


def test_a_repetition_changes_nothing_and_is_answered_as_the_first(
    engine: Engine, add: Add, push_all: Push, call: Call, states: States
) -> None:
    add("A1")
    push_all()
    data = {"PlatformOrderNo": "A1", "ExtOrderNo": "SO.1", "State": "1"}
    first = call(CONFIRM, data)
    second = call(CONFIRM, data)
    assert (first.outcome, second.outcome) == ("stored", "repeated")
    assert first.body["success"] is second.body["success"] is True
    assert len(events(engine)) == 1
    assert states() == {"A1": "confirmed"}


@pytest.mark.parametrize(
    ("changes", "dealer"),
    [
        ({"AppKey": "somebody"}, DEALER),
        ({"secret": "another"}, DEALER),
        ({"Sign": ""}, DEALER),
        ({"Sign": "00000000000000000000000000000000"}, DEALER),
        ({}, "nobody"),
    ],
)
def test_what_is_not_signed_right_is_refused_and_kept_nowhere(
    changes: dict[str, Any], dealer: str, engine: Engine, add: Add, desk: CallbackDesk
) -> None:
    add("A1")
    body = form(CONFIRM, {"PlatformOrderNo": "A1", "State": 1}, **changes)
    answer = desk.receive(dealer, body, FORM)
    assert (answer.status, answer.outcome) == (401, "refused")
    assert answer.body["success"] is False
    assert events(engine) == []


def test_where_the_callbacks_secret_is_not_set_nothing_is_believed(
    engine: Engine, order_variables: dict[str, str]
) -> None:
    without = {key: value for key, value in order_variables.items() if "callback" not in key}
    dealers = Dealers(
        engine, environment=without, allowed_hosts=("127.0.0.1",), secret_keys=(KEY,),
        sandbox=no_sandbox,
    )  # fmt: skip
    desk = CallbackDesk(Orders(engine, dealers, (KEY,)))
    body = form(CONFIRM, {"PlatformOrderNo": "A1"}, secret="", AppKey="")
    assert desk.receive(DEALER, body, FORM).status == 401


def test_the_previous_secret_is_accepted_while_it_is_being_changed(
    engine: Engine, order_variables: dict[str, str]
) -> None:
    changed = {
        **order_variables,
        "ylh_callback_secret": "the-next-secret",
        "ylh_callback_secret_previous": CREDENTIALS["ylh_callback_secret"],
    }
    dealers = Dealers(
        engine, environment=changed, allowed_hosts=("127.0.0.1",), secret_keys=(KEY,),
        sandbox=no_sandbox,
    )  # fmt: skip
    desk = CallbackDesk(Orders(engine, dealers, (KEY,)))
    data = {"PlatformOrderNo": "A1", "State": 1}
    assert desk.receive(DEALER, form(CONFIRM, data), FORM).status == 200
    assert desk.receive(DEALER, form(CONFIRM, data, secret="the-next-secret"), FORM).status == 200


def test_a_callback_of_nobodys_order_is_kept_and_applied_when_the_order_appears(
    orders: Orders, engine: Engine, add: Add, call: Call
) -> None:
    answer = call(CONFIRM, {"PlatformOrderNo": "A1", "ExtOrderNo": "SO.1", "State": 1})
    assert (answer.status, answer.body["code"]) == (200, "order_not_found")
    assert answer.body["success"] is False
    assert events(engine)[0]["order_id"] is None
    assert [one["platform_order_no"] for one in orders.unmatched(DEALER)] == ["A1"]
    add("A1")
    shown = orders.show(DEALER, "A1")
    assert (shown["state"], shown["haier_order_no"]) == ("confirmed", "SO.1")
    assert orders.unmatched(DEALER) == []
    assert call(CONFIRM, {"PlatformOrderNo": "A1", "ExtOrderNo": "SO.1", "State": 1}).outcome == (
        "repeated"
    )


def test_a_callback_stored_at_the_same_moment_as_its_order_is_found_by_the_sweep(
    orders: Orders, engine: Engine, add: Add, desk: CallbackDesk, states: States
) -> None:
    add("A1")
    desk.receive(DEALER, form(CONFIRM, {"PlatformOrderNo": "A1", "State": 1}), FORM)
    desk.close()
    with engine.begin() as connection:
        # As if neither had seen the other.
        connection.execute(text("UPDATE order_event SET order_id = NULL, applied_at = NULL"
                                " WHERE method IS NOT NULL"))  # fmt: skip
        connection.execute(text("UPDATE retail_order SET state = 'new'"))
    assert orders.apply_pending() == 1
    assert states() == {"A1": "confirmed"}


def test_the_confirmation_may_come_before_the_answer_to_the_push_is_stored(
    orders: Orders, engine: Engine, add: Add, call: Call, states: States
) -> None:
    add("A1")
    candidates = pushes.to_send(engine, DEALER, by_hand=True)
    [claimed], _ = pushes.claim(orders.store, DEALER, candidates)
    call(CONFIRM, {"PlatformOrderNo": "A1", "ExtOrderNo": "SO.1", "State": 1})
    assert states() == {"A1": "confirmed"}
    pushes.answer(orders.store, DEALER, [pushes.Answered(claimed, "taken")])
    assert states() == {"A1": "confirmed"}
    assert orders.show(DEALER, "A1")["pushed_at"] is not None


def test_the_order_of_arrival_does_not_matter(
    orders: Orders, add: Add, push_all: Push, call: Call, states: States
) -> None:
    said = [
        (CONFIRM, {"State": 1, "ExtOrderNo": "SO.{so_id}"}, 1),
        (CONFIRM, {"State": 0, "FailMsg": "不予受理"}, 2),
        (OUT_OF_STOCK, {"State": 1, "failMsg": "库存不足"}, 3),
        (CANCEL, {"State": 2, "itemList": [item(received=1, rejected=1)]}, 4),
    ]
    numbers = [f"P{number}" for number in range(24)]
    add(*numbers)
    push_all()
    for so_id, order in zip(numbers, itertools.permutations(said), strict=True):
        for method, data, at in order:
            told = {key: str(value).format(so_id=so_id) if key == "ExtOrderNo" else value
                    for key, value in data.items()}  # fmt: skip
            call(method, {"PlatformOrderNo": so_id, **told}, at=at)
    assert set(states().values()) == {"partly_cancelled"}
    for so_id in numbers:
        shown = orders.show(DEALER, so_id)
        assert shown["haier_order_no"] == f"SO.{so_id}"
        assert shown["items"][0]["received_quantity"] == 1
        assert shown["items"][0]["rejected_quantity"] == 1
        assert shown["attention"] == ["confirmed_and_refused"]


def item(received: int = 0, returned: int = 0, rejected: int = 0) -> dict[str, Any]:
    return {
        "productCode": "BD0000001",
        "totalQty": 2,
        "receiveQty": received,
        "returnQty": returned,
        "rejectQty": rejected,
    }


def test_quantities_of_an_unasked_cancellation_are_totals_and_never_added_up(
    orders: Orders, add: Add, push_all: Push, call: Call
) -> None:
    add("A1")
    push_all()
    call(CONFIRM, {"PlatformOrderNo": "A1", "ExtOrderNo": "SO.1", "State": 1})
    part = {"PlatformOrderNo": "A1", "State": 2, "itemList": json.dumps([item(rejected=1)])}
    call(CANCEL, part, at=1)
    call(CANCEL, part, at=2)
    shown = orders.show(DEALER, "A1")
    assert shown["state"] == "partly_cancelled"
    assert shown["items"][0]["rejected_quantity"] == 1
    call(CANCEL, {**part, "itemList": [item(rejected=2)]}, at=3)
    shown = orders.show(DEALER, "A1")
    assert (shown["state"], shown["items"][0]["rejected_quantity"]) == ("cancelled", 2)
    assert shown["cancelled_at"] is not None


@pytest.mark.parametrize("data", ["", "no JSON", "[1]", '{"State": 1}', '"text"', "{"])
def test_what_cannot_be_read_is_kept_as_unclear_and_answered_as_an_error(
    data: str, engine: Engine, call: Call
) -> None:
    answer = call(CONFIRM, data)
    assert (answer.status, answer.outcome, answer.body["code"]) == (200, "unreadable", "error")
    assert answer.body["success"] is False
    [event] = events(engine)
    assert (event["kind"], event["order_id"]) == ("unclear", None)
    assert call(CONFIRM, data).outcome == "unreadable"
    assert len(events(engine)) == 1


@pytest.mark.parametrize(
    ("method", "data"),
    [
        (CONFIRM, {"ExtOrderNo": "SO.1"}),
        (CANCEL, {"ExtOrderNo": "SO.1"}),
        ("hmm.scm_heorder.other", {"State": 1, "ExtOrderNo": "SO.1"}),
        (OUT_OF_STOCK, {"State": 0, "ExtOrderNo": "SO.1"}),
    ],
)
def test_what_moves_nothing_is_kept_and_shown_and_its_number_is_known_from_then(
    method: str, data: dict[str, Any], orders: Orders, add: Add, push_all: Push, call: Call
) -> None:
    add("A1")
    push_all()
    answer = call(method, {"PlatformOrderNo": "A1", **data})
    assert (answer.status, answer.body["success"]) == (200, True)
    shown = orders.show(DEALER, "A1")
    assert (shown["state"], shown["haier_order_no"]) == ("pushed", "SO.1")
    assert shown["attention"] == ["not_understood"]


def test_the_order_is_found_by_haiers_number_then_by_so_id_then_by_the_only_online_no(
    orders: Orders, add: Add, push_all: Push, call: Call
) -> None:
    add("A1")
    add("A2", online_no="SHOP-7")
    add("A3", "A4", online_no="SHOP-8")
    push_all()
    call(CONFIRM, {"PlatformOrderNo": "A1", "ExtOrderNo": "SO.1", "State": 1})
    call(CONFIRM, {"PlatformOrderNo": "SHOP-7", "ExtOrderNo": "SO.2", "State": 1})
    assert orders.show(DEALER, "A2")["state"] == "confirmed"
    # Nobody but Haier's number tells.
    call(OUT_OF_STOCK, {"PlatformOrderNo": "unknown", "ExtOrderNo": "SO.1", "State": 1}, at=9)
    assert orders.show(DEALER, "A1")["state"] == "out_of_stock"
    answer = call(CONFIRM, {"PlatformOrderNo": "SHOP-8", "State": 1})
    assert answer.body["code"] == "order_not_found"
    # Two numbers of two orders: of none.
    answer = call(CONFIRM, {"PlatformOrderNo": "A3", "ExtOrderNo": "SO.2", "State": 0})
    assert (answer.status, answer.body["success"]) == (200, True)
    assert orders.show(DEALER, "A3")["state"] == "pushed"
    assert orders.show(DEALER, "A2")["state"] == "confirmed"
    assert "two different orders" in orders.unmatched(DEALER)[0]["detail"]
    # A second number for one order is shown; the first stays.
    call(OUT_OF_STOCK, {"PlatformOrderNo": "A2", "ExtOrderNo": "SO.9", "State": 1}, at=9)
    shown = orders.show(DEALER, "A2")
    assert (shown["haier_order_no"], shown["attention"]) == ("SO.2", ["second_order_no"])


def test_while_the_database_is_away_haier_is_told_to_send_it_again(
    engine: Engine, orders: Orders, dealers: Dealers, add: Add
) -> None:
    add("A1")
    away = open_engine("postgresql://nobody@127.0.0.1:1/none", patience=0.0)
    desk = CallbackDesk(Orders(away, dealers, (KEY,)))
    answer = desk.receive(DEALER, form(CONFIRM, {"PlatformOrderNo": "A1", "State": 1}), FORM)
    assert (answer.status, answer.outcome, answer.body["success"]) == (503, "unavailable", False)
    assert events(engine) == []
    away.dispose()


def test_what_cannot_be_applied_is_applied_later_and_keeps_no_other_waiting(
    orders: Orders, engine: Engine, add: Add, push_all: Push, call: Call, states: States
) -> None:
    add("A1", "A2")
    push_all()
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                " $$BEGIN RAISE EXCEPTION 'a defect'; END$$"
            )
        )
        connection.execute(
            text(
                "CREATE TRIGGER refuse BEFORE UPDATE ON retail_order FOR EACH ROW"
                " WHEN (OLD.so_id = 'A1') EXECUTE FUNCTION refuse()"
            )
        )
    for so_id in ("A1", "A2"):
        answer = call(CONFIRM, {"PlatformOrderNo": so_id, "State": 1})
        assert answer.body["success"] is True
    assert states() == {"A1": "pushed", "A2": "confirmed"}
    with engine.begin() as connection:
        connection.execute(text("DROP TRIGGER refuse ON retail_order"))
    assert orders.apply_pending() == 1
    assert states() == {"A1": "confirmed", "A2": "confirmed"}


def test_haiers_words_are_kept_without_the_orders_person(
    orders: Orders, engine: Engine, add: Add, push_all: Push, call: Call
) -> None:
    add("A1")
    words = "收货人金丝雀赵（13987654321）金丝雀巷八十八号九单元不在服务范围"
    # Before the order is known only what looks like a telephone can be.
    call(CONFIRM, {"PlatformOrderNo": "A1", "State": 0, "FailMsg": words})
    call(CONFIRM, {"PlatformOrderNo": "A2", "State": 0, "FailMsg": words})
    add("A2")
    for event in events(engine):
        said = json.dumps(event["payload"], ensure_ascii=False) + str(event["detail"])
        assert "不在服务范围" in said
        for personal in ("金丝雀", "13987654321"):
            assert personal not in said
    assert orders.show(DEALER, "A1")["state"] == "refused"


def test_a_dealer_with_open_orders_cannot_be_deleted(
    orders: Orders, editor: DealerEditor, order_variables: dict[str, str]
) -> None:
    stored = editor.create("shop", order_variables)
    orders.add("shop", [an_order("B1")])
    with pytest.raises(Conflict, match="not ended"):
        editor.delete(stored)
    orders.cancel("shop", "B1", "no longer wanted", by="test")
    editor.delete(stored)


def test_the_sandbox_calls_back_and_is_answered(
    orders: Orders, add: Add, push_all: Push, order_sandbox: SandboxProcess, call: Call
) -> None:
    add("A1")
    push_all()
    order_sandbox.tell("A1", "accept")
    [told] = order_sandbox.callbacks()
    call(told["method"], told["data"])
    shown = orders.show(DEALER, "A1")
    assert shown["state"] == "confirmed"
    assert shown["haier_order_no"] == order_sandbox.orders()[0]["code"]
