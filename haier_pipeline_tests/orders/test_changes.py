"""What is asked of an order once it is stored: cancelled, moved, resolved by a person."""

from collections.abc import Callable
from typing import Any

import pytest

from haier_pipeline.catalog.orders import callbacks
from haier_pipeline.domain.order import end_of_day
from haier_pipeline.errors import CallRefused, Conflict, InvalidInput, NotFound, TransientFailure
from haier_pipeline.platform.callbacks import Callback
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync.dealers import ENVIRONMENT_DEALER as DEALER
from haier_pipeline.sync.order_book import Orders
from haier_pipeline.sync.run import Outcome

CONFIRM = "hmm.scm_heorder.confirm"
CANCEL = "hmm.scm_heorder.cancel"
WHY = "no longer wanted"

Add = Callable[..., None]
Push = Callable[..., Outcome | None]


def told(orders: Orders, method: str, so_id: str, number: int = 1, **data: Any) -> None:
    """A callback as it is stored once its signature was found right."""
    said = {"PlatformOrderNo": so_id, **data}
    callback = Callback(method, f"{number:032}", None, so_id, data.get("ExtOrderNo"), payload=said)
    callbacks.keep(
        orders.store,
        DEALER,
        callbacks.Received(
            callback.method, callback.signature, callback.sent_at, so_id,
            callback.external_order_no, data.get("FailMsg"), said,
        ),
    )  # fmt: skip
    callbacks.apply_pending(orders.store)


@pytest.fixture
def confirmed(
    orders: Orders, add: Add, push_all: Push, order_sandbox: SandboxProcess
) -> SandboxProcess:
    """The order A1, which Haier has confirmed."""
    add("A1")
    push_all()
    order = order_sandbox.tell("A1", "accept")
    told(orders, CONFIRM, "A1", State=1, ExtOrderNo=order["code"])
    assert orders.show(DEALER, "A1")["state"] == "confirmed"
    return order_sandbox


def test_a_cancellation_is_asked_for_and_decided_by_its_callback(
    orders: Orders, confirmed: SandboxProcess
) -> None:
    assert orders.cancel(DEALER, "A1", WHY, by="anna")["state"] == "cancel_requested"
    with pytest.raises(Conflict, match="asked for already"):
        orders.cancel(DEALER, "A1", WHY, by="anna")
    told(orders, CANCEL, "A1", 2, State=0, FailMsg="补货中")
    shown = orders.show(DEALER, "A1")
    assert (shown["state"], shown["attention"]) == ("confirmed", ["cancel_refused"])
    # It may be asked again.
    assert orders.cancel(DEALER, "A1", WHY, by="anna")["state"] == "cancel_requested"
    told(orders, CANCEL, "A1", 3, State=1)
    assert orders.show(DEALER, "A1")["state"] == "cancelled"
    assert confirmed.report()["calls"]["cancel"] == 2


def test_a_request_that_haier_refuses_at_once_leaves_the_order_as_it_was(
    orders: Orders, confirmed: SandboxProcess
) -> None:
    confirmed.fault(kind="refuse", interface="cancel", message="金丝雀赵 的订单补货中", times=1)
    with pytest.raises(CallRefused, match="补货中") as refused:
        orders.cancel(DEALER, "A1", WHY, by="anna")
    assert "金丝雀" not in str(refused.value)
    shown = orders.show(DEALER, "A1")
    assert shown["state"] == "confirmed"
    assert "金丝雀" not in str(shown["events"])


def test_a_request_whose_answer_is_lost_stays_asked_for_and_may_be_repeated(
    orders: Orders, confirmed: SandboxProcess
) -> None:
    confirmed.fault(kind="status", interface="cancel", status=502)
    with pytest.raises(TransientFailure, match="not known whether"):
        orders.cancel(DEALER, "A1", WHY, by="anna")
    assert orders.show(DEALER, "A1")["state"] == "cancel_requested"
    confirmed.clear_faults()
    assert orders.cancel(DEALER, "A1", WHY, by="anna")["state"] == "cancel_requested"


def test_a_request_that_could_not_be_sent_was_none(
    orders: Orders, confirmed: SandboxProcess
) -> None:
    confirmed.fault(kind="status", interface="cancel", status=401)
    with pytest.raises(TransientFailure):
        orders.cancel(DEALER, "A1", WHY, by="anna")
    assert orders.show(DEALER, "A1")["state"] == "confirmed"


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201, None, 7])
def test_a_reason_must_be_given(reason: Any, orders: Orders, add: Add) -> None:
    add("A1")
    with pytest.raises(InvalidInput, match="reason"):
        orders.cancel(DEALER, "A1", reason, by="anna")


def test_an_unknown_order_is_said(orders: Orders) -> None:
    for work in (orders.show, orders.forget):
        with pytest.raises(NotFound, match="A9"):
            work(DEALER, "A9")
    with pytest.raises(NotFound, match="A9"):
        orders.cancel(DEALER, "A9", WHY, by="anna")


def test_a_confirmed_order_is_moved_to_the_end_of_a_day(
    orders: Orders, confirmed: SandboxProcess
) -> None:
    shown = orders.reschedule(DEALER, "A1", distribution_at="2026-12-03", by="anna")
    assert shown["distribution_at"] == end_of_day("2026-12-03")
    assert shown["install_at"] is None
    shown = orders.reschedule(DEALER, "A1", install_at="2026-12-04T09:00:00+08:00", by="anna")
    assert shown["install_at"] == end_of_day("2026-12-04")
    # What does not change is sent as it was.
    body = confirmed.orders()[0]["body"]
    assert body["distributionTime"] == round(end_of_day("2026-12-03").timestamp() * 1000)
    assert body["installTime"] == round(end_of_day("2026-12-04").timestamp() * 1000)
    assert [event["kind"] for event in shown["events"]].count("rescheduled") == 2


def test_only_a_confirmed_order_is_moved(orders: Orders, add: Add) -> None:
    add("A1")
    with pytest.raises(Conflict, match="is new"):
        orders.reschedule(DEALER, "A1", distribution_at="2026-12-03", by="anna")
    with pytest.raises(InvalidInput, match="must be given"):
        orders.reschedule(DEALER, "A1", by="anna")
    with pytest.raises(InvalidInput, match="install_at must be a time"):
        orders.reschedule(DEALER, "A1", install_at="tomorrow", by="anna")


def test_a_move_that_haier_refuses_changes_no_time(
    orders: Orders, confirmed: SandboxProcess
) -> None:
    confirmed.fault(kind="refuse", interface="reschedule", message="已出库", times=1)
    with pytest.raises(CallRefused, match="已出库"):
        orders.reschedule(DEALER, "A1", distribution_at="2026-12-03", by="anna")
    assert orders.show(DEALER, "A1")["distribution_at"] is None


def test_what_a_person_learnt_decides_until_something_newer_comes(
    orders: Orders, add: Add, push_all: Push
) -> None:
    add("A1")
    push_all()
    shown = orders.resolve(
        DEALER, "A1", "confirmed", "said by telephone", by="anna", haier_order_no="SO.7"
    )
    assert (shown["state"], shown["haier_order_no"]) == ("confirmed", "SO.7")
    assert shown["events"][-1]["detail"] == "said by telephone (by anna)"
    told(orders, CANCEL, "A1", State=1)
    assert orders.show(DEALER, "A1")["state"] == "cancelled"
    assert orders.resolve(DEALER, "A1", "delivered", "seen", by="anna")["state"] == "delivered"


def test_only_an_order_that_cannot_have_arrived_is_made_new_again(
    orders: Orders, add: Add, push_all: Push
) -> None:
    add("A1")
    with pytest.raises(Conflict, match="cannot have arrived"):
        orders.resolve(DEALER, "A1", "new", WHY, by="anna")
    push_all()
    told(orders, CONFIRM, "A1", State=0)
    with pytest.raises(Conflict, match="is refused"):
        orders.resolve(DEALER, "A1", "new", WHY, by="anna")
    with pytest.raises(InvalidInput, match="state must be one of"):
        orders.resolve(DEALER, "A1", "shipped", WHY, by="anna")
