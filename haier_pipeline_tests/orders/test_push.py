"""Pushing: each order once, whatever happens on the way (fault matrix, rows 57 to 59, 61b)."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from haier_pipeline.catalog import log
from haier_pipeline.catalog.orders import pushes
from haier_pipeline.errors import AlreadyRunning, Conflict, InvalidInput, NotFound
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync import order_push
from haier_pipeline.sync.dealers import ENVIRONMENT_DEALER as DEALER
from haier_pipeline.sync.order_book import Orders
from haier_pipeline.sync.run import Outcome, SyncRun

Push = Callable[..., Outcome | None]
States = Callable[[], dict[str, str]]
Add = Callable[..., None]


def kinds(orders: Orders, so_id: str) -> list[str]:
    return [event["kind"] for event in orders.show(DEALER, so_id)["events"]]


def test_a_new_order_is_pushed_and_waits_for_its_confirmation(
    orders: Orders, add: Add, push_all: Push, states: States, order_sandbox: SandboxProcess
) -> None:
    add("A1", "A2")
    ended = push_all()
    assert ended is not None
    assert (ended.result.status, ended.result.success, ended.result.total) == ("success", 2, 2)
    assert states() == {"A1": "pushed", "A2": "pushed"}
    assert [order["so_id"] for order in order_sandbox.orders()] == ["A1", "A2"]
    assert kinds(orders, "A1") == ["created", "sent", "pushed"]
    shown = orders.show(DEALER, "A1")
    assert (shown["push_attempts"], shown["may_have_arrived"]) == (1, False)
    assert shown["pushed_at"] is not None
    [row] = log.entries(orders.engine, sync_type="order")
    assert (row.asset_key, row.status, row.total_count) == ("retail_orders", "success", 2)


def test_without_an_order_to_send_no_row_is_written(orders: Orders, push_all: Push) -> None:
    assert push_all() is None
    assert log.entries(orders.engine, sync_type="order") == []


def test_only_the_orders_that_were_named_are_pushed(
    add: Add, push_all: Push, states: States
) -> None:
    add("A1", "A2")
    push_all("A2")
    assert states() == {"A1": "new", "A2": "pushed"}
    with pytest.raises(NotFound, match="A9"):
        push_all("A9")
    with pytest.raises(InvalidInput, match="A2 is pushed"):
        push_all("A2")


def test_after_a_lost_answer_the_repetitions_refusal_counts_as_pushed(
    orders: Orders, add: Add, push_all: Push, order_sandbox: SandboxProcess
) -> None:
    add("A1")
    order_sandbox.fault(kind="reset", interface="push", when="before", times=1)
    ended = push_all()
    assert ended is not None
    assert ended.result.status == "success", ended.result
    shown = orders.show(DEALER, "A1")
    assert (shown["state"], shown["may_have_arrived"]) == ("pushed", True)
    assert shown["attention"] == ["perhaps_arrived"]
    assert len(order_sandbox.orders()) == 1


def test_a_refusal_of_an_order_that_cannot_have_arrived_is_one(
    orders: Orders, add: Add, push_all: Push, order_sandbox: SandboxProcess
) -> None:
    add("A1")
    refuse(order_sandbox, "地址不在范围 金丝雀赵 13987654321")
    ended = push_all()
    assert ended is not None
    assert ended.result.status == "failed"
    shown = orders.show(DEALER, "A1")
    assert (shown["state"], shown["may_have_arrived"]) == ("refused", False)
    assert "地址不在范围" in shown["state_reason"]
    assert "金丝雀" not in str(shown["events"]) + ended.result.message + shown["state_reason"]
    assert "13987654321" not in str(shown["events"]) + ended.result.message
    with pytest.raises(Conflict, match="refused"):
        orders.cancel(DEALER, "A1", "no longer wanted", by="test")
    orders.resolve(DEALER, "A1", "new", "the address is served now", by="test")
    order_sandbox.reset(faults=True)
    push_all()
    assert orders.show(DEALER, "A1")["state"] == "pushed"


def refuse(sandbox: SandboxProcess, words: str) -> None:
    sandbox.fault(kind="refuse", interface="push", message=words)


def test_after_three_refusals_in_the_same_words_nothing_more_is_sent(
    orders: Orders, add: Add, push_all: Push, states: States, order_sandbox: SandboxProcess
) -> None:
    add(*(f"A{number}" for number in range(8)))
    refuse(order_sandbox, "客户未授权")
    ended = push_all()
    assert ended is not None
    assert ended.result.status == "failed"
    assert "same words" in ended.result.message
    assert list(states().values()).count("refused") == 3
    assert order_sandbox.report()["calls"]["push"] == 3
    # A run by itself waits; the next one begins with another order, and stops after it.
    assert push_all(by_hand=False) is None
    assert order_push.waiting_seconds(orders, DEALER) > 5
    push_all()
    assert list(states().values()).count("refused") == 4
    order_sandbox.reset(faults=True)
    ended = push_all()
    assert ended is not None
    assert ended.result.status == "success"
    assert order_push.waiting_seconds(orders, DEALER) == 0
    assert list(states().values()).count("pushed") == 4


def test_where_the_credentials_are_wrong_orders_stay_new_and_the_run_stops(
    orders: Orders, add: Add, push_all: Push, states: States, order_sandbox: SandboxProcess
) -> None:
    add(*(f"A{number}" for number in range(8)))
    order_sandbox.fault(kind="status", interface="order_token", status=401)
    ended = push_all()
    assert ended is not None
    assert ended.result.status == "failed"
    assert set(states().values()) == {"new"}
    assert not orders.show(DEALER, "A0")["may_have_arrived"]
    first = order_push.waiting_seconds(orders, DEALER)
    push_all()
    assert order_push.waiting_seconds(orders, DEALER) > first > 0
    order_sandbox.reset(faults=True)
    push_all()
    assert set(states().values()) == {"pushed"}


def test_two_pushers_at_once_send_nothing_twice(
    orders: Orders,
    add: Add,
    open_run: Callable[..., SyncRun],
    order_sandbox: SandboxProcess,
    states: States,
) -> None:
    add(*(f"A{number:03}" for number in range(40)))
    order_sandbox.set(latency_ms=[30, 30])
    runs = [open_run(), open_run()]
    ended: list[Any] = []

    def work(run: SyncRun) -> None:
        try:
            ended.append(order_push.push(orders, run, by_hand=True))
        except AlreadyRunning as refusal:
            ended.append(refusal)

    threads = [threading.Thread(target=work, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(one, AlreadyRunning) for one in ended) == 1
    assert set(states().values()) == {"pushed"}
    assert order_sandbox.report()["calls"]["push"] == 40


def test_an_order_that_was_cancelled_before_it_is_sent_ends_here(
    orders: Orders, add: Add, push_all: Push, order_sandbox: SandboxProcess
) -> None:
    add("A1")
    assert orders.cancel(DEALER, "A1", "no longer wanted", by="test")["state"] == "cancelled"
    assert push_all() is None
    assert order_sandbox.orders() == []
    with pytest.raises(Conflict, match="cancelled already"):
        orders.cancel(DEALER, "A1", "no longer wanted", by="test")


def test_an_order_whose_answer_is_not_known_cannot_be_cancelled(
    orders: Orders, engine: Engine, add: Add
) -> None:
    add("A1", "A2")
    [candidate, _] = pushes.to_send(engine, DEALER, by_hand=True)
    pushes.claim(orders.store, DEALER, [candidate])
    with pytest.raises(Conflict, match="push it first"):
        orders.cancel(DEALER, "A1", "no longer wanted", by="test")
    # Neither may one that a restore has put back.
    orders.hold_after_restore()
    with pytest.raises(Conflict, match="push it first"):
        orders.cancel(DEALER, "A2", "no longer wanted", by="test")


def test_after_a_restore_new_orders_go_by_hand_only_and_a_refusal_counts_as_pushed(
    orders: Orders, add: Add, push_all: Push, states: States, order_sandbox: SandboxProcess
) -> None:
    add("A1")
    push_all()
    with orders.engine.begin() as connection:
        # As it was before.
        connection.execute(text("DELETE FROM order_event WHERE kind <> 'created'"))
        connection.execute(text("UPDATE retail_order SET state = 'new', push_attempts = 0"))
    assert orders.hold_after_restore() == [(DEALER, "A1", "new")]
    assert push_all(by_hand=False) is None
    assert order_push.dealers_to_push(orders) == []
    push_all()
    assert states() == {"A1": "pushed"}
    assert orders.show(DEALER, "A1")["attention"] == ["perhaps_arrived"]
    assert len(order_sandbox.orders()) == 1


def test_a_step_whose_commit_was_carried_out_unseen_counts_once(
    orders: Orders, engine: Engine, add: Add
) -> None:
    add("A1")
    candidates = pushes.to_send(engine, DEALER, by_hand=True)
    [first], _ = pushes.claim(orders.store, DEALER, candidates)
    [again], _ = pushes.claim(orders.store, DEALER, candidates)
    assert first == again
    assert not again.may_have_arrived
    answered = pushes.Answered(again, "taken")
    pushes.answer(orders.store, DEALER, [answered])
    pushes.answer(orders.store, DEALER, [answered])
    assert kinds(orders, "A1") == ["created", "sent", "pushed"]
    assert orders.show(DEALER, "A1")["push_attempts"] == 1


def test_who_looks_for_something_to_send_is_seen(orders: Orders, add: Add) -> None:
    assert orders.is_pusher_absent()
    assert order_push.dealers_to_push(orders) == []
    assert not orders.is_pusher_absent()
    add("A1")
    assert order_push.dealers_to_push(orders) == [DEALER]
