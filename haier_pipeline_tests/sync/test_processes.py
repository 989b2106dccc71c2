"""Syncs that are killed, that meet, and that outlive their day (fault matrix, rows 32 to 44)."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from sqlalchemy import Engine

from haier_pipeline.catalog import load as load_module
from haier_pipeline.catalog.locks import partition_lock
from haier_pipeline.domain.partition import SHANGHAI, Partition, today
from haier_pipeline.errors import AlreadyRunning
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync import derive, fetch

Expect = Callable[..., dict[str, str]]
Process = subprocess.Popen[str]

PROCESS = Path(__file__).with_name("sync_process.py")
ROOT = Path(__file__).parents[2]
KILLED = -9


@pytest.fixture
def start(
    shop: Any, database_url: str, dealer_variables: dict[str, str]
) -> Iterator[Callable[..., Process]]:
    """Starts a sync in a process of its own; what it says on the way is searched for secrets."""
    started: list[Process] = []

    def start(
        run_id: str, *, root_run_id: str | None = None, die: str | None = None, **dealer: str
    ) -> Process:
        wanted = {
            "url": database_url,
            "dealer": dealer_variables | dealer,
            "date": str(today()),
            "run_id": run_id,
            "root_run_id": root_run_id or run_id,
            "die": die,
        }
        process = subprocess.Popen(
            [sys.executable, str(PROCESS), json.dumps(wanted)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        shop.check_secrets(*process.communicate())


def await_lock(engine: Engine) -> None:
    """Until PostgreSQL has seen that the holder of the partition is dead (row 37)."""
    end = time.monotonic() + 5
    while True:
        try:
            with partition_lock(engine, Partition("haier", today())):
                return
        except AlreadyRunning:
            assert time.monotonic() < end
            time.sleep(0.02)


def ended(process: Process) -> int:
    return process.wait(timeout=60)


# --- killed: rows 32, 33, 35


def test_a_sync_killed_among_the_stock_calls_goes_on_where_it_was(
    shop: Any, sandbox: SandboxProcess, start: Callable[..., Process], undisturbed: Any,
    expect: Expect,
) -> None:  # fmt: skip
    """Fault matrix, row 32: it repeats at most the calls of its last seconds."""
    sandbox.set(products=220, latency_ms=[20, 60])
    process = start("killed", rate_limit="100")
    end = time.monotonic() + 60
    while sandbox.report()["calls"]["stock"] < 330:
        assert time.monotonic() < end
        time.sleep(0.02)
    process.kill()
    assert ended(process) == KILLED
    assert shop.catalog() == ([], [])
    await_lock(shop.engine)
    expect(shop.sync(run_id="next", root_run_id="killed", rate_limit="100"), everything="success")
    report = sandbox.report()
    assert report["calls"]["listing"] == 1
    # Answers are kept every half second; with those in flight that is less than two seconds' worth.
    assert report["repeated"] <= 200
    assert report["calls"]["stock"] - report["repeated"] <= report["pairs"] + 64
    of_stock = {e.run_id: e for e in shop.log() if e.asset_key == "stock_levels"}
    assert of_stock["killed"].status == "failed"
    assert "killed" in of_stock["killed"].message
    assert of_stock["next"].attempt == 2
    assert of_stock["next"].metadata["reused"] >= 130
    sandbox.set(latency_ms=[0, 0])
    assert shop.catalog() == undisturbed()


def test_a_sync_killed_between_prices_and_stock_asks_for_no_price_again(
    shop: Any, good: Any, sandbox: SandboxProcess, start: Callable[..., Process], undisturbed: Any,
    expect: Expect,
) -> None:  # fmt: skip
    """Fault matrix, row 32."""
    assert ended(start("killed", die="prices")) == KILLED
    assert shop.catalog() == good
    await_lock(shop.engine)
    sandbox.reset()
    expect(shop.sync(run_id="next", root_run_id="killed"), everything="success")
    calls = sandbox.report()["calls"]
    assert (calls["listing"], calls["prices"]) == (0, 0)
    assert shop.catalog() == undisturbed()


@pytest.mark.parametrize("moment", ["staging", "loading"])
def test_a_load_killed_before_its_commit_has_done_nothing(
    shop: Any, good: Any, sandbox: SandboxProcess, start: Callable[..., Process], undisturbed: Any,
    expect: Expect, moment: str,
) -> None:  # fmt: skip
    """Fault matrix, row 33: killed among the rows, and with all written but the commit."""
    assert ended(start("killed", die=moment)) == KILLED
    await_lock(shop.engine)
    assert shop.catalog() == good
    expect(shop.sync(run_id="next", root_run_id="killed"), everything="success")
    killed = {e.asset_key: e.status for e in shop.log() if e.run_id == "killed"}
    assert {killed[asset] for asset in derive.LOADED_ASSETS} == {"failed"}
    assert shop.catalog() == undisturbed()


def test_a_load_killed_after_its_commit_has_done_all_and_says_so(
    shop: Any, good: Any, start: Callable[..., Process], undisturbed: Any, expect: Expect
) -> None:
    """Fault matrix, row 33: the success is written in the load's own transaction."""
    assert ended(start("killed", die="loaded")) == KILLED
    await_lock(shop.engine)
    assert shop.catalog() == undisturbed()
    killed = {e.asset_key: e.status for e in shop.log() if e.run_id == "killed"}
    assert {killed[asset] for asset in derive.LOADED_ASSETS} == {"success"}
    expect(shop.sync(run_id="next", root_run_id="killed"), everything="success")
    assert shop.catalog() == undisturbed()


def test_a_row_left_open_by_a_machine_that_went_down_is_closed(
    shop: Any, start: Callable[..., Process], expect: Expect
) -> None:
    """Fault matrix, row 35."""
    assert ended(start("dead", die="staging")) == KILLED
    await_lock(shop.engine)
    opened = {e.asset_key for e in shop.log() if e.status == "processing"}
    assert opened == set(derive.LOADED_ASSETS)
    expect(shop.sync(run_id="next"), everything="success")
    for entry in shop.log():
        if entry.run_id == "dead" and entry.asset_key in opened:
            assert (entry.status, entry.total_count) == ("failed", 0)
            assert "ended without a word" in entry.message


# --- together: row 36


def test_the_second_sync_of_a_partition_is_told_that_it_is_already_running(
    shop: Any, undisturbed: Any, expect: Expect
) -> None:
    """Fault matrix, row 36."""
    first = shop.open_sync(run_id="first")
    listing = fetch.fetch_listing(first)
    second = shop.sync(run_id="second")
    assert expect(second) == {"product_listings": "failed"}
    assert "already running" in second["product_listings"].result.message
    rest = [fetch.fetch_prices(first), fetch.fetch_stock(first), derive.price_products(first)]
    expect(derive.load_catalog(first), everything="success")
    first.close()
    assert {outcome.result.status for outcome in (listing, *rest)} == {"success"}
    assert shop.catalog() == undisturbed()
    expect(shop.sync(run_id="third"), everything="success")


def test_of_syncs_that_begin_at_the_same_moment_one_works(shop: Any) -> None:
    """Fault matrix, row 36: and nobody takes the others for dead."""
    together = threading.Barrier(4)
    outcomes: dict[str, Any] = {}

    def begin(name: str) -> None:
        run = shop.open_sync(run_id=name)
        together.wait(10)
        outcomes[name] = fetch.fetch_listing(run)
        together.wait(10)
        run.close()

    for turn in range(5):
        threads = [threading.Thread(target=begin, args=(f"{turn}-{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    for turn in range(5):
        of_turn = [outcomes[f"{turn}-{n}"].result.status for n in range(4)]
        assert sorted(of_turn) == ["failed"] * 3 + ["success"]
    for entry in shop.log():
        if entry.status == "failed":
            assert "already running" in entry.message


# --- the database: rows 38, 39


def test_a_full_disk_ends_a_load_with_its_cause_in_the_log(
    shop: Any, good: Any, undisturbed: Any, expect: Expect
) -> None:
    """Fault matrix, row 39."""
    shop.run(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'could not extend file: No space left on device'"
        " USING ERRCODE = '53100'; END $$"
    )
    shop.run(
        "CREATE TRIGGER full_disk BEFORE UPDATE ON product"
        " FOR EACH ROW EXECUTE FUNCTION full_disk()"
    )
    ended = shop.sync()
    expect(ended, brands="failed", products="failed", product_stock="failed")
    assert "No space left on device" in ended["products"].result.message
    assert shop.catalog() == good
    shop.run("DROP TRIGGER full_disk ON product")
    expect(shop.sync(), everything="success")
    assert shop.catalog() == undisturbed()


def test_connections_lost_in_mid_sync_are_got_over(
    shop: Any, good: Any, undisturbed: Any, expect: Expect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault matrix, row 38: all of them at once, in the middle of the load, as in a restart."""
    real_copy = load_module._copy
    cut: list[str] = []

    def copy(connection: Any, table: str, columns: Any, rows: Any) -> None:
        if table == "stage_stock" and not cut:
            cut.append(table)
            shop.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        real_copy(connection, table, columns, rows)

    monkeypatch.setattr(load_module, "_copy", copy)
    expect(shop.sync(), everything="success")
    assert cut
    assert shop.catalog() == undisturbed()


def test_a_load_that_does_not_add_up_is_taken_back_with_the_check_that_says_so(
    shop: Any, good: Any, expect: Expect
) -> None:
    """Fault matrix, invariant A; the blocking checks of the load."""
    shop.run(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " NEW.stock := 1000; RETURN NEW; END $$"
    )
    shop.run(
        "CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON product"
        " FOR EACH ROW EXECUTE FUNCTION meddle()"
    )
    ended = shop.sync()
    expect(ended, brands="failed", products="failed", product_stock="failed")
    checks = {check.name: check.passed for check in ended["product_stock"].result.checks}
    assert checks["stock_adds_up"] is False
    assert shop.catalog() == good
    (entry,) = (e for e in shop.log()[-3:] if e.asset_key == "product_stock")
    assert {check["name"]: check["passed"] for check in entry.checks}["stock_adds_up"] is False
    shop.run("DROP TRIGGER meddle ON product")


# --- days: rows 42 to 44


def at(moment: datetime) -> Any:
    return time_machine.travel(moment)


def test_a_sync_that_outlives_midnight_belongs_to_the_day_it_began(
    shop: Any, sandbox: SandboxProcess, undisturbed: Any
) -> None:
    """Fault matrix, row 42: the day comes from the partition, not from now."""
    day = today()
    sandbox.set(date=str(day))
    midnight = datetime(day.year, day.month, day.day, tzinfo=SHANGHAI) + timedelta(days=1)
    with at(midnight - timedelta(seconds=1)):
        run = shop.open_sync(sync_date=day, run_id="late")
        listing = fetch.fetch_listing(run)
    with at(midnight + timedelta(minutes=5)):
        rest = [fetch.fetch_prices(run), fetch.fetch_stock(run), derive.price_products(run)]
        loaded = derive.load_catalog(run)
        run.close()
    statuses = {outcome.result.status for outcome in (listing, *rest, *loaded.values())}
    assert statuses == {"success"}
    assert {entry.sync_date for entry in shop.log()} == {day}
    assert {row["sync_date"] for table in shop.catalog() for row in table} == {day}
    assert shop.catalog() == undisturbed()


def test_a_step_that_is_begun_after_midnight_goes_on_with_the_run_it_belongs_to(
    shop: Any, expect: Expect
) -> None:
    """Fault matrix, row 42: prices and stock without a listing of their own, as every hour."""
    day = today()
    shop.sync(run_id="morning")
    midnight = datetime(day.year, day.month, day.day, tzinfo=SHANGHAI) + timedelta(days=1)
    hourly = shop.open_sync(sync_date=day, run_id="hourly")
    with at(midnight - timedelta(seconds=1)):
        assert not fetch.fetch_prices(hourly).failed
    with at(midnight + timedelta(seconds=5)):
        assert not fetch.fetch_stock(hourly).failed
    hourly.close()


def test_answers_of_a_past_day_cannot_be_fetched_and_are_not_overwritten(
    shop: Any, sandbox: SandboxProcess
) -> None:
    """Fault matrix, row 43: neither for a day that is stored nor for one that is not."""
    shop.sync(run_id="then")
    day = today()
    tables = ("raw_record", "raw_answer", "raw_payload")
    stored = [shop.rows(f"SELECT * FROM {table} t ORDER BY t::text") for table in tables]  # noqa: S608
    sandbox.reset()
    with at(datetime.now(SHANGHAI) + timedelta(days=2)):
        for sync_date in (day, today() - timedelta(days=1), today() + timedelta(days=1)):
            for step in (fetch.fetch_listing, fetch.fetch_prices, fetch.fetch_stock):
                run = shop.open_sync(sync_date=sync_date)
                refused = step(run)
                run.close()
                assert refused.failed, (sync_date, step)
                assert "the platform knows only today" in refused.result.message
    assert sandbox.report()["total"] == 0
    assert stored == [
        shop.rows(f"SELECT * FROM {table} t ORDER BY t::text")  # noqa: S608
        for table in tables
    ]


def test_a_past_day_without_answers_cannot_be_derived(shop: Any, good: Any) -> None:
    """Fault matrix, row 43."""
    run = shop.open_sync(sync_date=today() - timedelta(days=9))
    priced = derive.price_products(run)
    loaded = derive.load_catalog(run)
    run.close()
    assert priced.failed
    assert "nothing is stored for this day" in priced.result.message
    assert all(outcome.failed for outcome in loaded.values())
    assert shop.catalog() == good


def test_a_past_day_is_derived_again_without_a_call_and_newer_rows_win(
    shop: Any, sandbox: SandboxProcess, codes: list[str], undisturbed: Any, expect: Expect
) -> None:
    """Fault matrix, row 44."""
    day, gone = today(), codes[0]
    sandbox.set(date=str(day))
    shop.sync(run_id="then")
    later = datetime.now(SHANGHAI) + timedelta(days=1)
    with at(later):
        sandbox.set(date=str(today()))
        sandbox.fault(kind="vanish", codes=[gone], times=None)
        expect(shop.sync(run_id="now"), everything="success")
        catalog = shop.catalog()
        assert catalog == shop.catalog()
        sandbox.reset()
        again = shop.open_sync(sync_date=day, run_id="backfill")
        assert not derive.price_products(again).failed
        loaded = derive.load_catalog(again)
        again.close()
        expect(loaded, everything="success")
        assert shop.catalog() == catalog
        assert shop.product(gone)["is_sales"] == "0"
        # Only the one that vanished is not newer, and it is of the newer day as well.
        assert loaded["products"].result.metadata["products_newer"] == 12
    assert sandbox.report()["total"] == 0


def test_past_days_can_be_derived_into_a_rebuilt_catalog(
    shop: Any, good: Any, sandbox: SandboxProcess, expect: Expect
) -> None:
    """Fault matrix, row 44 and invariant B: from what is stored, without a call."""
    for table in ("product_stock", "product", "brand", "priced_product"):
        shop.run(f"DELETE FROM {table}")  # noqa: S608
    run = shop.open_sync(run_id="rebuild")
    assert not derive.price_products(run).failed
    expect(derive.load_catalog(run), everything="success")
    run.close()
    assert shop.catalog() == good
    assert sandbox.report()["total"] == 0
