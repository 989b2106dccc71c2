"""The sync log is complete, whatever became of the run: real runs, killed by signals.

Where a test has to meet a run at work, the sandbox answers slowly.
"""

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from sqlalchemy import Engine, text

from haier_pipeline.catalog import log, repair
from haier_pipeline.catalog.log import Attempt, Entry
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.orchestration.events import KINDS, Steps
from haier_pipeline.orchestration.reconcile import Reconciler, read_cursor, write_cursor
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync.run import SyncRun

Rows = Callable[..., dict[str, Entry]]
WORKER = Path(__file__).with_name("worker.py")


@contextmanager
def worker(job: str, run_id: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, str(WORKER), job, run_id], stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool], seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)


def at_stock(sandbox: SandboxProcess, calls: int = 5) -> Callable[[], bool]:
    return lambda: bool(sandbox.report()["calls"]["stock"] >= calls)


@pytest.fixture
def short_grace_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the test the seconds after which an open row counts as that of a dead run."""
    monkeypatch.setattr(repair, "YOUNG_SECONDS", 1)
    monkeypatch.setattr(repair, "FAREWELL_SECONDS", 1)
    monkeypatch.setattr(repair, "RESTART_SECONDS", 0)


def test_a_run_that_went_well_needs_no_repair(
    run_job: Callable[..., str], reconciler: Reconciler, rows: Rows
) -> None:
    run_id = run_job()
    before = rows(run_id)
    assert {entry.status for entry in before.values()} == {"success"}
    cursor, changes = reconciler.catch_up(None)
    assert (changes, rows(run_id)) == (0, before)
    assert all(position.last for kind, position in read_cursor(cursor).items()
               if kind in ("ASSET_MATERIALIZATION", "PIPELINE_SUCCESS"))  # fmt: skip


def test_rows_that_were_lost_come_back_from_the_event_log(
    run_job: Callable[..., str], reconciler: Reconciler, rows: Rows, engine: Engine
) -> None:
    run_id = run_job()
    before = rows(run_id)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM haier_sync_log"))
    reconciler.catch_up(None)
    after = rows(run_id)
    assert after.keys() == before.keys()
    for asset, entry in after.items():
        same = ("sync_type", "status", "message", "total_count", "failed_count", "sync_date")
        assert {name: getattr(entry, name) for name in same} == {
            name: getattr(before[asset], name) for name in same
        }
        assert {check["name"]: check["passed"] for check in entry.checks} == {
            check["name"]: check["passed"] for check in before[asset].checks
        }


def test_reading_everything_again_changes_nothing(
    run_job: Callable[..., str], reconciler: Reconciler, rows: Rows, engine: Engine, steps: Steps,
    instance: dg.DagsterInstance,
) -> None:  # fmt: skip
    run_job()
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM haier_sync_log WHERE asset_key = 'products'"))
    reconciler.catch_up(None)
    before = rows()
    for _ in range(2):
        _, changes = Reconciler(instance, engine, steps).catch_up(None)
        assert changes == 0
    assert rows() == before


def test_an_event_that_becomes_visible_late_is_not_lost(
    run_job: Callable[..., str], reconciler: Reconciler, rows: Rows, engine: Engine, steps: Steps,
    instance: dg.DagsterInstance,
) -> None:  # fmt: skip
    """Of two transactions the one with the lower id may be committed last."""
    run_id = run_job()
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM haier_sync_log"))
        hidden = connection.execute(
            text(
                "UPDATE dagster.event_logs SET dagster_event_type = 'HIDDEN' WHERE run_id = :run"
                " AND dagster_event_type IN ('ASSET_MATERIALIZATION', 'PIPELINE_SUCCESS')"
                " RETURNING id"
            ),
            {"run": run_id},
        ).scalars()
        ids = list(hidden)
        # What was committed before has a higher number.
        connection.execute(
            text(
                "UPDATE dagster.event_logs SET dagster_event_type = 'ASSET_MATERIALIZATION'"
                " WHERE id = :id"
            ),
            {"id": max(ids[:-1])},
        )
    cursor, _ = reconciler.catch_up(None)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM haier_sync_log"))
        connection.execute(
            text(
                "UPDATE dagster.event_logs SET dagster_event_type = 'ASSET_MATERIALIZATION'"
                " WHERE id = ANY(:ids)"
            ),
            {"ids": ids[:-1]},
        )
    _, changes = Reconciler(instance, engine, steps).catch_up(cursor)
    assert changes == len(ids) - 1
    assert len(rows(run_id)) == len(ids) - 1


def test_a_cursor_survives_being_written_down() -> None:
    positions = read_cursor(None)
    positions[KINDS[0].value].advance([7, 300, 301], now=5.0)
    again = read_cursor(write_cursor(positions))
    assert again == positions
    assert again[KINDS[0].value].near == {300, 301}
    assert again[KINDS[0].value].after(now=6.0) == 101
    assert again[KINDS[0].value].after(now=100.0) == 301


def test_a_step_that_raises_before_its_body_begins_gets_its_row(
    run_job: Callable[..., str], reconciler: Reconciler, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error's text may hold a secret: only its class is named (D)."""

    def broken(*_: object, **__: object) -> SyncRun:
        raise RuntimeError("password=canary")

    monkeypatch.setattr("haier_pipeline.orchestration.resources.HaierApi.run", broken)
    run_id = run_job()
    assert rows(run_id) == {}
    reconciler.catch_up(None)
    found = rows(run_id)
    assert [*found] == ["product_listings"]
    assert found["product_listings"].status == "failed"
    assert found["product_listings"].message == "unexpected RuntimeError"


def test_a_resource_that_cannot_be_made_fails_what_was_planned(
    run_job: Callable[..., str], reconciler: Reconciler, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step begins, so none fails; every planned asset of the run gets a failed row."""
    monkeypatch.setenv("HAIER_LOG_RETENTION_DAYS", "never")
    run_id = run_job()
    reconciler.catch_up(None)
    found = rows(run_id)
    assert set(found) >= {"product_listings", "price_quotes", "stock_levels", "products"}
    assert {entry.status for entry in found.values()} == {"failed"}
    assert "HAIER_LOG_RETENTION_DAYS" in found["products"].message


@pytest.mark.usefixtures("short_grace_periods")
def test_a_killed_worker_is_found_dead_and_the_run_closed(
    instance: dg.DagsterInstance, reconciler: Reconciler, rows: Rows, sandbox: SandboxProcess
) -> None:
    """Row 35; no process watches the worker, as when worker and code server are killed together."""
    sandbox.set(latency_ms=[300, 300])
    run_id = str(uuid.uuid4())
    with worker("sync", run_id) as process:
        wait_until(at_stock(sandbox))
        assert reconciler.close_dead_runs() == 0, "a run at work was taken for dead"
        process.kill()
        process.wait()
    wait_until(lambda: reconciler.close_dead_runs() == 1)
    reconciler.catch_up(None)
    found = rows(run_id)
    assert found["stock_levels"].status == "failed"
    assert found["stock_levels"].message == log.DEAD_RUN
    assert found["product_listings"].status == "success"
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status == DagsterRunStatus.FAILURE


@pytest.mark.usefixtures("short_grace_periods")
def test_a_worker_that_was_killed_between_two_steps_is_found_too(
    instance: dg.DagsterInstance, reconciler: Reconciler, rows: Rows, engine: Engine,
    run_job: Callable[..., str],
) -> None:  # fmt: skip
    """All its rows have an end, yet Dagster takes it for a run at work."""
    run_id = run_job()
    with engine.begin() as connection:
        connection.execute(text("UPDATE dagster.runs SET status = 'STARTED'"))
        connection.execute(
            text("UPDATE dagster.runs SET run_body = replace(run_body, 'SUCCESS', 'STARTED')")
        )
        connection.execute(
            text("DELETE FROM dagster.event_logs WHERE dagster_event_type = 'PIPELINE_SUCCESS'")
        )
        for asset in ("catalog_changes", "products", "brands", "product_stock"):
            connection.execute(
                text("DELETE FROM haier_sync_log WHERE asset_key = :asset"), {"asset": asset}
            )
            connection.execute(
                text(
                    "DELETE FROM dagster.event_logs WHERE asset_key = :asset"
                    " AND dagster_event_type = 'ASSET_MATERIALIZATION'"
                ),
                {"asset": f'["{asset}"]'},
            )
    wait_until(lambda: reconciler.close_dead_runs() == 1)
    reconciler.catch_up(None)
    found = rows(run_id)
    assert found["priced_products"].status == "success"
    assert found["products"].status == "failed"
    assert "killed" in found["products"].message


def test_ctrl_c_leaves_one_end_for_each_attempt(
    instance: dg.DagsterInstance, reconciler: Reconciler, rows: Rows, sandbox: SandboxProcess
) -> None:
    sandbox.set(latency_ms=[300, 300])
    run_id = str(uuid.uuid4())
    with worker("sync", run_id) as process:
        wait_until(at_stock(sandbox))
        process.send_signal(signal.SIGINT)
        process.wait(60)
    reconciler.close_dead_runs()
    reconciler.catch_up(None)
    found = rows(run_id)
    assert found["stock_levels"].status == "failed"
    assert found["stock_levels"].message.startswith("cancelled")
    assert all(entry.completed_at for entry in found.values())


@pytest.mark.usefixtures("short_grace_periods")
def test_a_load_whose_row_was_closed_from_outside_is_taken_back(
    open_sync: Callable[..., SyncRun], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from haier_pipeline.errors import Cancelled
    from haier_pipeline.sync import derive, fetch

    run = open_sync()
    fetch.fetch_listing(run)
    derive.price_products(run)
    begin = log.begin

    def begin_and_die(engine: Engine, attempt: Attempt) -> int:
        row = begin(engine, attempt)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "UPDATE haier_sync_log SET status = 'failed', completed_at = now()"
                    " WHERE id = :id"
                ),
                {"id": row},
            )
        return row

    monkeypatch.setattr(log, "begin", begin_and_die)
    with pytest.raises(Cancelled, match="taken for dead"):
        derive.load_catalog(run)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM product")) == 0


@pytest.mark.usefixtures("short_grace_periods")
def test_a_lock_that_the_server_forgot_is_taken_again(
    open_sync: Callable[..., SyncRun], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a restart of PostgreSQL forgets it, while the run goes on (row 38)."""
    from haier_pipeline.catalog import locks
    from haier_pipeline.sync import fetch

    monkeypatch.setattr(locks, "KEEP_SECONDS", 0.1)
    locked = (
        "FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    run = open_sync()
    fetch.fetch_listing(run)
    with engine.connect() as connection:
        assert connection.scalar(text(f"SELECT pg_terminate_backend(pid) {locked}"))

    def is_held() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(text(f"SELECT count(*) {locked}")) == 1)

    wait_until(is_held)
    assert not run.stop.is_set()
    run.close()
    assert not is_held()


def test_a_request_that_no_process_begins_is_failed(
    reconciler: Reconciler, rows: Rows, engine: Engine, instance: dg.DagsterInstance
) -> None:
    for age, run_id in (("11 minutes", "old"), ("9 minutes", "young")):
        with engine.begin() as connection:
            attempt = Attempt("products", "product_listings", "haier", today(), run_id, run_id)
            row = log.accept(connection, attempt)
            connection.execute(
                text(
                    "UPDATE haier_sync_log SET created_at = now() - CAST(:age AS interval)"
                    " WHERE id = :id"
                ),
                {"age": age, "id": row},
            )
    assert reconciler.close_dead_runs() == 1
    assert rows("old")["product_listings"].message == repair.NEVER_BEGUN
    assert rows("young")["product_listings"].status == "pending"


def test_a_check_that_ran_alone_goes_to_the_row_of_what_it_looked_at(
    run_job: Callable[..., str], reconciler: Reconciler, rows: Rows, instance: dg.DagsterInstance
) -> None:
    run_id = run_job()
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey("products"),
            check_name="rows_match",
            passed=False,
            description="counted again",
            partition=Partition("haier", today()).key,
        )
    )
    cursor, changes = reconciler.catch_up(None)
    assert changes == 1
    checks = {check["name"]: check for check in rows(run_id)["products"].checks}
    assert len(checks) == len(rows(run_id)["products"].checks)
    assert (checks["rows_match"]["passed"], checks["rows_match"]["description"]) == (
        False,
        "counted again",
    )
    assert rows(run_id)["products"].status == "success"
    assert reconciler.catch_up(cursor)[1] == 0


def test_a_check_without_partitions_is_resolved_in_a_run_of_a_partition(
    run_job: Callable[..., str], engine: Engine, instance: dg.DagsterInstance
) -> None:
    """``fresh`` has none, and is part of what an operator materializes by hand."""
    run_job("__ASSET_JOB")
    with engine.connect() as connection:
        statuses = connection.execute(
            text("SELECT check_name, execution_status FROM dagster.asset_check_executions")
        ).all()
    assert ("fresh", "SUCCEEDED") in [tuple(row) for row in statuses]
    assert {status for _, status in statuses} == {"SUCCEEDED"}


def test_a_look_at_nothing_new_takes_less_than_a_tenth_of_a_second(
    run_job: Callable[..., str], reconciler: Reconciler
) -> None:
    """In processor time, which a busy machine does not change; the benchmark takes the clock."""
    for _ in range(3):
        run_job()
    cursor, _ = reconciler.catch_up(None)
    took = []
    for _ in range(5):
        began = time.process_time()
        reconciler.close_dead_runs()
        cursor, _ = reconciler.catch_up(cursor)
        took.append(time.process_time() - began)
    assert min(took) < 0.1, took


def test_the_steps_are_read_off_the_definitions(steps: Steps) -> None:
    assert set(steps.assets["load_catalog"]) == {"brands", "products", "product_stock"}
    assert steps.assets["product_listings"] == ["product_listings"]
    assert steps.checks["products_fresh"] == [("products", "fresh")]
    assert ("product_stock", "stock_adds_up") in steps.checks["load_catalog"]
