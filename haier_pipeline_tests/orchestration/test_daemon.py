"""Dagster's daemon with everything it does by itself: first sync, retry, repair, backfill.

A real daemon with its code server and run workers, killed as machines kill them.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from sqlalchemy import Engine, text

from haier_pipeline.catalog.log import Entry, entries
from haier_pipeline.domain.partition import today
from haier_pipeline.orchestration.partitions import dealers
from haier_pipeline.sandbox.process import SandboxProcess

WORKSPACE = Path(__file__).parents[2] / "workspace.yaml"
# Long enough for a busy machine, on which a process alone takes half a minute to start.
DEADLINE_SECONDS = 300
# The sync log is repaired within a minute: so many looks of its sensor. They are counted, since on
# a busy machine a look begins late.
MOST_LOOKS = 4


@contextmanager
def daemon(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon in a process group of its own, killed with all its children at the end."""
    output = home / "daemon.log"
    with (
        output.open("ab") as log,
        subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-w", str(WORKSPACE)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            kill_all(process)


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """Daemon, code server and run workers at once, as when the machine goes down."""
    for pid in [process.pid, *descendants(process.pid)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parts = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(parts[1]), []).append(int(stat.parent.name))
    found, remaining = [], [pid]
    while remaining:
        below = children.get(remaining.pop(), [])
        found += below
        remaining += below
    return found


def wait_for(what: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> Any:
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.2)
    return found


def looks(instance: dg.DagsterInstance, since: float, until: datetime) -> int:
    """How often the sensor of the sync log began to look between two moments."""
    (sensor,) = [
        state for state in instance.all_instigator_state() if state.instigator_name == "sync_log"
    ]
    ticks = instance.get_ticks(sensor.instigator_origin_id, sensor.selector_id, after=since)
    return sum(tick.timestamp <= until.timestamp() for tick in ticks)


def worker_pid(instance: dg.DagsterInstance, run_id: str) -> int:
    for entry in instance.all_logs(run_id):
        data: Any = entry.dagster_event and entry.dagster_event.event_specific_data
        if "pid" in getattr(data, "metadata", {}):
            pid = int(str(data.metadata["pid"].value))
            if Path(f"/proc/{pid}").exists():
                return pid
    raise AssertionError("the run has no process")


def graphql(query: str, **variables: Any) -> Any:
    """Ask as the interface does."""
    program = Path(sys.executable).with_name("dagster-graphql")
    command = [str(program), "-w", str(WORKSPACE), "-t", query, "-v", json.dumps(variables)]
    answer = subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE_SECONDS)
    printed = answer.stdout.decode()
    # The code server that it starts for itself prints its end behind the answer.
    return json.JSONDecoder().raw_decode(printed, printed.index("{"))[0]["data"]


def copy_day(engine: Engine, source: date, target: date) -> None:
    """Store one day's answers as those of another."""
    with engine.begin() as connection:
        for table in ("raw_answer", "raw_partition"):
            source_rows = f"SELECT * FROM {table} WHERE sync_date = :source"  # noqa: S608 - our own names
            for statement in (
                f"CREATE TEMPORARY TABLE copied ON COMMIT DROP AS {source_rows}",
                "UPDATE copied SET sync_date = :target",
                f"INSERT INTO {table} SELECT * FROM copied",  # noqa: S608 - our own names
                "DROP TABLE copied",
            ):
                connection.execute(text(statement), {"source": source, "target": target})


BACKFILL = """
mutation ($days: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $days) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
MATERIALIZE = """
mutation ($run: ExecutionParams!) {
  launchRun(executionParams: $run) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""


@pytest.mark.timeout(1_200)
def test_what_a_daemon_does_by_itself(
    instance: dg.DagsterInstance, engine: Engine, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    """First sync, a killed worker, a machine that goes down, a backfill, a termination."""

    def at_stock(calls: int) -> Callable[[], bool]:
        return lambda: bool(sandbox.report()["calls"]["stock"] >= calls)

    def of(run_id: str) -> dict[str | None, Entry]:
        found = entries(engine, run_id=run_id, limit=100)
        assert len({entry.asset_key for entry in found}) == len(found), "an attempt has two rows"
        return {entry.asset_key: entry for entry in found}

    sandbox.set(products=60, latency_ms=[1_500, 1_500])
    with daemon(tmp_path):
        # The dealer is new: partition and first sync come by themselves.
        wait_for(at_stock(5))
        (first,) = instance.get_runs(dg.RunsFilter(statuses=[DagsterRunStatus.STARTED]))
        assert first.job_name == "sync"

        # kill -9 of the run's worker: its row is closed, and Dagster tries the run again.
        os.kill(worker_pid(instance, first.run_id), signal.SIGKILL)
        killed_at = time.time()
        row = wait_for(lambda: (entry := of(first.run_id)["stock_levels"]).completed_at and entry)
        assert row.status == "failed"
        assert looks(instance, killed_at, row.completed_at) <= MOST_LOOKS
        calls = sandbox.report()["calls"]["stock"]
        wait_for(at_stock(calls + 5))
        (second,) = instance.get_runs(dg.RunsFilter(statuses=[DagsterRunStatus.STARTED]))
        assert second.root_run_id == first.run_id

    # Everything was killed at once: no process is left that could report the end of the run.
    run = instance.get_run_by_id(second.run_id)
    assert run is not None
    assert run.status == DagsterRunStatus.STARTED
    assert of(second.run_id)["stock_levels"].status == "processing"
    sandbox.set(latency_ms=[0, 0])
    with daemon(tmp_path):
        started_at = time.time()
        row = wait_for(lambda: (entry := of(second.run_id)["stock_levels"]).completed_at and entry)
        assert row.status == "failed"
        assert "killed or the machine went down" in row.message
        assert looks(instance, started_at, row.completed_at) <= MOST_LOOKS
        third = wait_for(
            lambda: instance.get_runs(dg.RunsFilter(statuses=[DagsterRunStatus.SUCCESS]))
        )[0]
        assert third.root_run_id == first.run_id
        assert {entry.status for entry in of(third.run_id).values()} == {"success"}
        assert of(third.run_id)["stock_levels"].attempt == 3

        # A backfill over stored days and one of which nothing is stored.
        days = [today() - timedelta(days=n) for n in (2, 1)]
        copy_day(engine, today(), days[0])
        instance.add_dynamic_partitions(str(dealers.name), ["haier"])
        sandbox.reset()
        names = ("priced_products", "brands", "products", "product_stock", "catalog_changes")
        asked = {
            "partitionNames": [f"{day}|haier" for day in days],
            "assetSelection": [{"path": [name]} for name in names],
        }
        backfill_id = graphql(BACKFILL, days=asked)["launchPartitionBackfill"]["backfillId"]

        def over() -> list[dg.DagsterRun] | None:
            runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill_id}))
            return [*runs] if len(runs) == 2 and all(run.is_finished for run in runs) else None

        by_day = {run.tags["dagster/partition/date"]: run for run in wait_for(over)}
        assert by_day[str(days[0])].status == DagsterRunStatus.SUCCESS
        assert by_day[str(days[1])].status == DagsterRunStatus.FAILURE
        refused = of(by_day[str(days[1])].run_id)["priced_products"]
        assert refused.status == "failed"
        assert "nothing is stored for this day" in refused.message
        assert sandbox.report()["total"] == 0, "a backfill called the platform"
        with engine.connect() as connection:
            newest = connection.scalar(text("SELECT min(sync_date) FROM product"))
        assert newest == today(), "an older day overwrote a newer one"

        # A run that is started from the interface and terminated there.
        sandbox.set(latency_ms=[1_500, 1_500])
        asked = {
            "selector": {
                "repositoryLocationName": "haier_pipeline",
                "repositoryName": "__repository__",
                "jobName": "sync",
            },
            "runConfigData": {},
            "executionMetadata": {
                "tags": [{"key": "dagster/partition", "value": f"{today()}|haier"}]
            },
        }
        run_id = graphql(MATERIALIZE, run=asked)["launchRun"]["run"]["runId"]
        wait_for(at_stock(5))
        assert instance.run_launcher.terminate(run_id)
        row = wait_for(lambda: (entry := of(run_id)["stock_levels"]).completed_at and entry)
        assert row.status == "failed"
        assert row.message.startswith("cancelled")
        wait_for(lambda: instance.get_runs(dg.RunsFilter(statuses=[DagsterRunStatus.CANCELED])))
        # The sensor adds the checks that were not evaluated, and leaves the rest alone.
        after = wait_for(lambda: (entry := of(run_id)["stock_levels"]).checks and entry)
        assert (after.status, after.message, after.completed_at) == (
            row.status,
            row.message,
            row.completed_at,
        )
        assert {check["passed"] for check in after.checks} == {False}
