"""What anybody may write into Dagster's tables never keeps a sensor from the rest.

Generated tags, partitions, metadata, names of checks and cursors, and behind them a good run.
"""

import json
import random
import sys
import uuid
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEventType
from dagster._core.events import DagsterEvent, StepMaterializationData
from sqlalchemy import Engine, text

from haier_pipeline.catalog.log import Entry
from haier_pipeline.domain.partition import today
from haier_pipeline.orchestration.events import Steps
from haier_pipeline.orchestration.reconcile import Reconciler, read_cursor
from haier_pipeline.orchestration.shared import Shared
from haier_pipeline.orchestration.unreadable import Unreadable

pytestmark = pytest.mark.filterwarnings("ignore:Non-compliant tag keys:DeprecationWarning")

Rows = Callable[..., dict[str, Entry]]
TODAY = f"{today()}"
TEXTS = [
    "", "|", "evil|2026-11-25", "2026-13-45|haier", f"{TODAY}|", f"{TODAY}|{'x' * 60}",
    f"{TODAY}|ha\x00ier", f"{TODAY}|a|b", f"{TODAY}|a,b", "20261125|haier", "2026-W48-3|haier",
    "9999-12-31|haier", "\ud800", "\x1b]0;x\x07", "\u202e", "x" * 100_000, "{", "null",
    "99999-01-01|haier", f"{TODAY}|ha\nier",
]  # fmt: skip
VALUES: list[Any] = [
    *TEXTS, -1, 10**30, 10**9, 0, 1.5, float("nan"), float("inf"), True, None,
    [1, "a\x00b", {"k\x00": float("nan")}], {"\x00": ["\ud800"]},
]  # fmt: skip


def as_dagster_stores_it(value: Any) -> Any:
    """The value as Dagster stores it: its tables take no NUL and no lone surrogate."""
    if isinstance(value, str):
        return value.replace("\x00", "\u0001").encode("utf-8", "replace").decode()
    return value


def report(instance: dg.DagsterInstance, run: dg.DagsterRun, metadata: dict[str, Any]) -> None:
    materialization = dg.AssetMaterialization("products", metadata=metadata)
    event = DagsterEvent(
        event_type_value=DagsterEventType.ASSET_MATERIALIZATION.value,
        job_name=run.job_name,
        event_specific_data=StepMaterializationData(materialization, []),
    )
    instance.report_dagster_event(event, run.run_id)


def test_unreadable_events_are_put_aside_and_the_next_run_is_reconciled(
    instance: dg.DagsterInstance, engine: Engine, steps: Steps, rows: Rows,
    run_job: Callable[..., str],
) -> None:  # fmt: skip
    """Fault matrix, row 69."""
    choose = random.Random(7)
    keys = ("status", "message", "success_count", "failed_count", "odd", "x" * 300)
    for tag in TEXTS:
        run = dg.DagsterRun(
            job_name="sync",
            run_id=str(uuid.uuid4()),
            status=dg.DagsterRunStatus.STARTED,
            tags={
                "dagster/partition": as_dagster_stores_it(tag),
                "haier/root_run_id": as_dagster_stores_it(choose.choice(TEXTS)),
            },
        )
        instance.add_run(run)
        report(instance, run, {})
        instance.report_run_failed(run, as_dagster_stores_it(choose.choice(TEXTS)))
    for value in VALUES:
        run = dg.DagsterRun(
            job_name="sync",
            run_id=str(uuid.uuid4()),
            status=dg.DagsterRunStatus.STARTED,
            tags={"dagster/partition": f"{TODAY}|haier"},
        )
        instance.add_run(run)
        stored = as_dagster_stores_it(value)
        report(instance, run, dict.fromkeys(keys, stored) if stored is not None else {})
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey("products"),
                check_name=(str(stored) or "x")[:200],
                passed=False,
                metadata={} if stored is None else {"m": stored},
            )
        )
        instance.report_run_failed(run)
    last = run_job()
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM haier_sync_log WHERE run_id = :run"), {"run": last})
    reports: list[str] = []
    cursor, _ = Reconciler(instance, engine, steps, Unreadable(reports.append)).catch_up(None)
    assert len(rows(last)) == 8
    assert len(reports) == len(set(reports))
    again, changes = Reconciler(instance, engine, steps).catch_up(cursor)
    assert changes == 0
    assert read_cursor(again).keys() == read_cursor(cursor).keys()


def test_what_cannot_be_read_is_reported_once_and_without_the_text_of_a_foreign_error() -> None:
    """Fault matrix, row 69."""
    reports: list[str] = []
    unreadable = Unreadable(reports.append)
    for _ in range(3):
        with unreadable.tolerate("run 1"):
            raise ValueError("canary")
    assert reports == ["run 1: put aside, it cannot be read: unexpected ValueError"]


@pytest.mark.parametrize("sensor", ["sync_log", "dealers", "freshness", "notices"])
def test_a_cursor_that_was_set_by_hand_stops_no_sensor(
    sensor: str, tick: Callable[..., Any]
) -> None:
    deep = "[" * (sys.getrecursionlimit() * 3)
    for cursor in (*map(as_dagster_stores_it, TEXTS), "[]", "[[1]]", '{"active": 1}', "1",
                   '"a"', deep, '{"ASSET_MATERIALIZATION": ["a", [], 3]}', '[{"key": 1}]',
                   json.dumps({"ASSET_MATERIALIZATION": [10**40, 1e308, []]})):  # fmt: skip
        tick(sensor, cursor)


def test_a_dealer_whose_name_can_be_no_partition_does_not_stop_the_others(
    tick: Callable[..., Any], engine: Engine, shared: Shared
) -> None:
    with engine.begin() as connection:
        for name in ("a|b", "tab\there", "comma,"):
            connection.execute(
                text("INSERT INTO haier_config (name, config, is_active) VALUES (:n, '{}', true)"),
                {"n": name},
            )
    assert shared.active_dealers() == ["haier"]
    result = tick("dealers")
    assert [request.partition_key for request in result.run_requests] == [f"{TODAY}|haier"]
