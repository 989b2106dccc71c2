"""Where orders are: parcels, arrivals and pictures; asked for a hundred orders a call."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from haier_pipeline.catalog import log
from haier_pipeline.domain.order import is_tracking_due
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync import order_tracking
from haier_pipeline.sync.dealers import ENVIRONMENT_DEALER as DEALER
from haier_pipeline.sync.order_book import Orders
from haier_pipeline.sync.run import Outcome, SyncRun
from haier_pipeline_tests.orders.test_changes import CANCEL, CONFIRM, told

Add = Callable[..., None]
Push = Callable[..., Outcome | None]


@pytest.fixture
def track(orders: Orders, open_run: Callable[..., SyncRun]) -> Callable[..., None]:
    """Asks for everything that is open, or what is due, in a run of its own."""

    def work(*, only_due: bool = False) -> None:
        run = open_run()
        try:
            for ended in order_tracking.track(orders, run, only_due=only_due).values():
                assert ended.result.status == "success", ended.result
        finally:
            run.close()

    return work


@pytest.fixture
def confirmed(
    orders: Orders, add: Add, push_all: Push, order_sandbox: SandboxProcess
) -> SandboxProcess:
    """The order A1, which Haier has confirmed and not sent yet."""
    add("A1", install_at="2026-12-04T10:00:00")
    push_all()
    order = order_sandbox.tell("A1", "accept")
    told(orders, CONFIRM, "A1", State=1, ExtOrderNo=order["code"])
    return order_sandbox


def test_an_order_is_followed_until_it_has_arrived_and_its_pictures_are_known(
    orders: Orders, confirmed: SandboxProcess, track: Callable[..., None]
) -> None:
    track()
    shown = orders.show(DEALER, "A1")
    assert (shown["state"], shown["parcels"]) == ("confirmed", [])
    confirmed.tell("A1", "ship")
    track()
    shown = orders.show(DEALER, "A1")
    assert shown["state"] == "shipped"
    assert len(shown["parcels"]) == len(confirmed.orders()[0]["records"])
    assert all(parcel["tracking_no"] for parcel in shown["parcels"])
    assert all(parcel["serial_numbers"] for parcel in shown["parcels"])
    assert shown["pictures"] == []
    confirmed.tell("A1", "deliver")
    track()
    shown = orders.show(DEALER, "A1", viewer="anna")
    assert shown["state"] == "delivered"
    assert shown["delivered_at"] is not None
    assert {picture["scene"] for picture in shown["pictures"]} == {1, 2}
    assert {picture["url"] for picture in orders.show(DEALER, "A1")["pictures"]} == {"****"}
    kinds = [event["kind"] for event in shown["events"]]
    assert {"shipped", "delivered", "picture"} <= set(kinds)
    # Pictures once.
    calls = confirmed.report()["calls"]["pictures"]
    track()
    assert confirmed.report()["calls"]["pictures"] == calls
    types = {(row.asset_key, row.sync_type) for row in log.entries(orders.engine)}
    assert {("order_parcels", "logistics"), ("order_pictures", "logistics")} <= types


def test_an_order_has_arrived_only_when_every_delivery_record_of_it_has(
    orders: Orders, add: Add, push_all: Push, order_sandbox: SandboxProcess,
    track: Callable[..., None],
) -> None:  # fmt: skip
    numbers = [f"D{number}" for number in range(30)]
    add(*numbers)
    push_all()
    orders_there = [order_sandbox.tell(so_id, "accept") for so_id in numbers]
    two = next(order for order in orders_there if len(order["records"]) == 2)
    so_id = two["so_id"]
    told(orders, CONFIRM, so_id, State=1, ExtOrderNo=two["code"])
    order_sandbox.tell(so_id, "ship")
    order_sandbox.tell(so_id, "deliver", record=1)
    track()
    shown = orders.show(DEALER, so_id)
    assert shown["state"] == "shipped"
    assert [parcel["delivered_at"] is not None for parcel in shown["parcels"]] == [True, False]
    order_sandbox.tell(so_id, "deliver", record=2)
    track()
    assert orders.show(DEALER, so_id)["state"] == "delivered"


def test_a_parcel_of_a_refused_order_is_an_alarm(
    orders: Orders, confirmed: SandboxProcess, track: Callable[..., None], engine: Engine
) -> None:
    confirmed.tell("A1", "ship")
    track()
    told(orders, CANCEL, "A1", State=1)
    shown = orders.show(DEALER, "A1")
    assert (shown["state"], shown["attention"]) == ("cancelled", [])
    # It had parcels, so it is watched for a month; one that arrives all the same is an alarm.
    confirmed.tell("A1", "deliver")
    track()
    shown = orders.show(DEALER, "A1")
    assert (shown["state"], shown["attention"]) == ("cancelled", ["parcel_after_end"])
    with engine.begin() as connection:
        connection.execute(text("UPDATE retail_order SET ended_at = ended_at - interval '31 days'"))
    calls = confirmed.report()["calls"]["tracking"]
    track()
    assert confirmed.report()["calls"]["tracking"] == calls


@pytest.mark.parametrize(
    ("age", "asked", "is_due"),
    [
        (timedelta(hours=1), None, True),
        (timedelta(days=2), timedelta(minutes=50), True),
        (timedelta(days=2), timedelta(minutes=30), False),
        (timedelta(days=4), timedelta(hours=3), False),
        (timedelta(days=4), timedelta(hours=6), True),
        (timedelta(days=20), timedelta(hours=12), False),
        (timedelta(days=20), timedelta(days=1), True),
        (timedelta(days=70), timedelta(days=2), False),
        (timedelta(days=70), timedelta(days=7), True),
    ],
)
def test_an_order_is_asked_for_often_at_first_and_rarely_later(
    age: timedelta, asked: timedelta | None, is_due: bool
) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert is_tracking_due(now - age, None if asked is None else now - asked, now) is is_due


def test_by_schedule_only_those_are_asked_for_whose_turn_it_is(
    orders: Orders, confirmed: SandboxProcess, track: Callable[..., None]
) -> None:
    assert order_tracking.is_due(orders, DEALER)
    track(only_due=True)
    assert not order_tracking.is_due(orders, DEALER)
    track(only_due=True)
    assert confirmed.report()["calls"]["tracking"] == 1


def test_ten_thousand_open_orders_are_asked_for_in_a_hundred_calls(
    orders: Orders, add: Add, engine: Engine, order_sandbox: SandboxProcess,
    track: Callable[..., None],
) -> None:  # fmt: skip
    add("A1")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO retail_order (dealer, so_id, online_no, state, haier_order_no,"
                " province, city, area, total_amount, ordered_at, consignee_name,"
                " consignee_mobile, detail_address)"
                " SELECT dealer, 'T' || n, 'T' || n, 'confirmed', 'SO.' || n, province, city,"
                " area, total_amount, ordered_at, consignee_name, consignee_mobile,"
                " detail_address FROM retail_order, generate_series(1, 10000) n"
            )
        )
    track()
    calls = order_sandbox.report()["calls"]
    calls.pop("order_token", None)
    assert {name: count for name, count in calls.items() if count} == {"tracking": 100}
    [row] = log.entries(engine, sync_type="logistics")[1:]
    assert (row.total_count, row.success_count) == (10_000, 10_000)
