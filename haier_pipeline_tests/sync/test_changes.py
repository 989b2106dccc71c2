"""What moved between two days of one dealer: read from two days of the sandbox, and alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal

import pytest
import time_machine
from sqlalchemy import Engine, text

from haier_pipeline import rules
from haier_pipeline.catalog import raw
from haier_pipeline.domain.partition import SHANGHAI, Partition
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync import derive, fetch
from haier_pipeline.sync.run import Outcome, SyncRun

MONDAY, TUESDAY, THURSDAY = date(2026, 11, 16), date(2026, 11, 17), date(2026, 11, 19)

OpenSync = Callable[..., SyncRun]


@contextmanager
def on(day: date, sandbox: SandboxProcess) -> Iterator[None]:
    """Let it be ten in the morning of that day, here and at the platform."""
    sandbox.set(date=day.isoformat())
    with time_machine.travel(datetime(day.year, day.month, day.day, 10, tzinfo=SHANGHAI)):
        yield


def sync(open_sync: OpenSync, day: date, *product_codes: str) -> Outcome:
    run = open_sync(sync_date=day)
    assert not fetch.fetch_listing(run, product_codes, accept_shrink=True).failed
    for step in (fetch.fetch_prices, fetch.fetch_stock, derive.price_products):
        assert not step(run).failed
    derive.load_catalog(run)
    changes = derive.find_changes(run)
    run.close()
    return changes


def first_code(engine: Engine) -> str:
    records = list(raw.read(engine, Partition("haier", MONDAY), "product_listings"))
    return records[0].product_code


def stored(engine: Engine, day: date) -> list[tuple[str, str, str | None, str | None]]:
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT product_code, kind, old_value, new_value FROM catalog_change"
                " WHERE sync_date = :day ORDER BY product_code, kind"
            ),
            {"day": day},
        )
        return [tuple(row) for row in rows]


def test_a_first_day_has_nothing_to_compare_with(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine
) -> None:
    with on(MONDAY, sandbox):
        outcome = sync(open_sync, MONDAY)
    assert outcome.result.status == "success"
    assert "first day" in outcome.result.message
    assert stored(engine, MONDAY) == []


def test_a_skipped_day_does_not_hide_what_moved(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine
) -> None:
    """Tuesday and Wednesday were skipped; Thursday is compared with Monday."""
    with on(MONDAY, sandbox):
        sync(open_sync, MONDAY)
    with on(THURSDAY, sandbox):
        outcome = sync(open_sync, THURSDAY)
    assert outcome.result.metadata["compared_with"] == "2026-11-16"
    with engine.connect() as connection:
        expected = connection.execute(
            text(
                "SELECT n.product_code,"
                " CASE WHEN n.supply_price > o.supply_price THEN 'price_up' ELSE 'price_down' END,"
                " o.supply_price::text, n.supply_price::text"
                " FROM priced_product_of_day o"
                " JOIN priced_product_of_day n USING (dealer, product_code)"
                " WHERE o.sync_date = :before AND n.sync_date = :now"
                " AND o.supply_price <> n.supply_price ORDER BY 1"
            ),
            {"before": MONDAY, "now": THURSDAY},
        ).all()
    assert expected, "the sandbox moved no price in three days: the test would show nothing"
    moved = [row for row in stored(engine, THURSDAY) if row[1].startswith("price_")]
    assert moved == [tuple(row) for row in expected]


def test_a_product_vanishes_comes_back_and_a_new_one_appears(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine
) -> None:
    sandbox.set(products=20)
    with on(MONDAY, sandbox):
        sync(open_sync, MONDAY)
    code = first_code(engine)
    sandbox.set(products=21)
    sandbox.fault(interface="listing", kind="vanish", codes=[code])
    with on(TUESDAY, sandbox):
        sync(open_sync, TUESDAY)
    sandbox.clear_faults()
    with on(THURSDAY, sandbox):
        sync(open_sync, THURSDAY)
    tuesday = {(row[0], row[1]) for row in stored(engine, TUESDAY)}
    thursday = {(row[0], row[1]) for row in stored(engine, THURSDAY)}
    assert (code, "vanished") in tuesday
    assert [kind for _, kind in tuesday].count("appeared") == 1
    assert (code, "back") in thursday
    assert "appeared" not in {kind for _, kind in thursday}


def test_chosen_products_make_nothing_vanish(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine
) -> None:
    with on(MONDAY, sandbox):
        sync(open_sync, MONDAY)
    code = first_code(engine)
    with on(TUESDAY, sandbox):
        sync(open_sync, TUESDAY, code)
    assert {row[1] for row in stored(engine, TUESDAY)}.isdisjoint({"vanished", "appeared", "back"})


def test_finding_changes_twice_stores_them_once(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine
) -> None:
    with on(MONDAY, sandbox):
        sync(open_sync, MONDAY)
    with on(TUESDAY, sandbox):
        first = sync(open_sync, TUESDAY)
        before = stored(engine, TUESDAY)
        again = derive.find_changes(open_sync(sync_date=TUESDAY))
    assert again.result.message == first.result.message
    assert stored(engine, TUESDAY) == before


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ((Decimal("10.00"), 5), (Decimal("10.0"), 6), []),
        ((Decimal("10.00"), 5), (Decimal("10.01"), 5), [("price_up", "10.00", "10.01")]),
        ((Decimal("10.00"), 5), (Decimal("9.99"), 5), [("price_down", "10.00", "9.99")]),
        ((None, 5), (Decimal("10.00"), 0), [("sold_out", "5", "0")]),
        ((None, 0), (None, 7), [("restocked", "0", "7")]),
        ((None, None), (None, 0), []),
        ((Decimal(1), 3), (None, None), []),
    ],
)
def test_a_move_is_told_only_where_both_days_know_the_value(
    old: tuple[Decimal | None, int | None],
    new: tuple[Decimal | None, int | None],
    expected: list[tuple[str, str, str]],
) -> None:
    columns = ["product_code", "supply_price", "stock"]
    changes = rules.find_changes(
        rules.frame([("A", *old)], columns),
        rules.frame([("A", *new)], columns),
        (),
        is_complete=True,
    )
    assert list(changes[["kind", "old_value", "new_value"]].itertuples(index=False, name=None)) == (
        expected
    )
