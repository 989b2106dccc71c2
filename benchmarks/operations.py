"""What an operator waits for: a backfill, the sync log after a long pause, a look at nothing new.

Measured in this process against a database of its own, so that what Dagster itself costs can be
measured beside it, in the same way. The other cases measure whole commands from outside.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any
from unittest import mock

import dagster as dg
from sqlalchemy import Engine, text

from benchmarks.cases import UNLIMITED, Row
from benchmarks.commands import environment, new_home
from haier_pipeline.definitions import build_definitions
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.installation import Installation
from haier_pipeline.orchestration.assets import ACCOUNT, DERIVED, FETCHED
from haier_pipeline.orchestration.events import KINDS, Steps
from haier_pipeline.orchestration.execute import execute, open_instance
from haier_pipeline.orchestration.partitions import date_and_dealer
from haier_pipeline.orchestration.reconcile import Reconciler
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.server.postgres import EmbeddedPostgres
from haier_pipeline.settings import Settings, read_settings

DEALER = "haier"
RAW_TABLES = ("raw_answer", "raw_partition")
EVENTS_BEHIND = 10_000
LOOKS = 20


@dataclass(frozen=True)
class Installed:
    """An installation with one sync of today in it."""

    settings: Settings
    instance: dg.DagsterInstance
    engine: Engine

    def run(self, job: dg.JobDefinition, day: date) -> float:
        """Run the job over a day of the dealer; the seconds that it took."""
        began = time.monotonic()
        failure = execute(job, self.instance, Partition(DEALER, day), run_id=str(uuid.uuid4()))
        if failure is not None:
            raise SystemExit(f"{job.name} of {day} failed: {failure}")
        return time.monotonic() - began


@contextmanager
def installed(products: int) -> Iterator[Installed]:
    with (
        SandboxProcess(products=products, rate=0) as sandbox,
        new_home() as home,
        # Not left to the installations: what this process shares lives longer than its home.
        EmbeddedPostgres(home) as server,
        mock.patch.dict(
            os.environ,
            environment(home, sandbox, UNLIMITED) | {"HAIER_DATABASE_URL": server.url()},
            clear=True,
        ),
    ):
        settings = read_settings(os.environ)
        with Installation(settings) as installation, open_instance(home) as instance:
            there = Installed(settings, instance, installation.engine)
            there.run(build_definitions().resolve_job_def("sync"), today())
            yield there


def backfill(days: int = 30, products: int = 2_000) -> Iterator[Row]:
    """Past days derived again, beside runs of as many assets that do nothing."""
    with installed(products) as there:
        past = [today() - timedelta(days=n) for n in range(days, 0, -1)]
        for day in past:
            _copy_today(there.engine, day)
        derive = build_definitions().resolve_job_def("derive")
        empty = _empty_job()
        there.run(empty, today())
        of_empty = [there.run(empty, day) for day in past]
        of_derive = [there.run(derive, day) for day in past]
    beyond = (sum(of_derive) - sum(of_empty)) / days
    yield Row(
        f"backfill of {days} days, {products:,} products: a day beyond an empty run",
        "at most 3 s",
        f"{beyond:.2f} s ({sum(of_derive) / days:.2f} s a day, slowest {max(of_derive):.2f} s; "
        f"empty run {sum(of_empty) / days:.2f} s)",
        beyond <= 3,
    )


def _empty_job() -> dg.JobDefinition:
    """The derived assets' steps and checks without anything in them."""

    def empty(of: dg.AssetsDefinition) -> dg.AssetsDefinition:
        @dg.multi_asset(
            name=f"empty_{of.node_def.name}",
            partitions_def=date_and_dealer,
            specs=[dg.AssetSpec(f"empty_{key.to_user_string()}") for key in sorted(of.keys)],
        )
        def nothing() -> Iterator[dg.MaterializeResult[Any]]:
            for key in sorted(of.keys):
                yield dg.MaterializeResult(asset_key=f"empty_{key.to_user_string()}")

        return nothing

    assets = [empty(one) for one in DERIVED]
    definitions = dg.Definitions(
        assets=assets,
        jobs=[dg.define_asset_job("empty", selection=dg.AssetSelection.assets(*assets))],
        executor=dg.in_process_executor,
    )
    return definitions.resolve_job_def("empty")


def _copy_today(engine: Engine, day: date) -> None:
    with engine.begin() as connection:
        for table in RAW_TABLES:
            today_s = f"SELECT * FROM {table} WHERE sync_date = :today"  # noqa: S608 - our own names
            statements = (
                f"CREATE TEMPORARY TABLE copied AS {today_s}",
                "UPDATE copied SET sync_date = :day",
                f"INSERT INTO {table} SELECT * FROM copied",  # noqa: S608 - our own names
                "DROP TABLE copied",
            )
            for statement in statements:
                connection.execute(text(statement), {"today": today(), "day": day})


def reconcile(products: int = 50) -> Iterator[Row]:
    """The sync log after a pause in which its sensor did not look, every row missing."""
    with installed(products) as there:
        runs = _multiply_the_run(there.engine)
        steps = Steps.of([*FETCHED, *DERIVED, *ACCOUNT])
        with there.engine.begin() as connection:
            connection.execute(text("DELETE FROM haier_sync_log"))
        cursor: str | None = None
        ticks = []
        while True:
            began = time.monotonic()
            cursor, changes = Reconciler(there.instance, there.engine, steps).catch_up(cursor)
            ticks.append(time.monotonic() - began)
            if not changes:
                break
        with there.engine.connect() as connection:
            written, distinct = connection.execute(
                text("SELECT count(*), count(DISTINCT (run_id, asset_key)) FROM haier_sync_log")
            ).one()
    expected = runs * len(_loaded())
    yield Row(
        f"reconcile: {EVENTS_BEHIND:,} events behind",
        "at most 30 s, no row lost or doubled",
        f"{sum(ticks):.1f} s in {len(ticks)} looks; {written:,} rows of {runs:,} runs, "
        f"{expected - distinct} lost, {written - distinct} doubled",
        sum(ticks) <= 30 and written == distinct == expected,
    )


def _loaded() -> list[str]:
    return [key.to_user_string() for one in (*FETCHED, *DERIVED) for key in one.keys]


def _multiply_the_run(engine: Engine) -> int:
    """Copy the one run until there are so many events; returns how many runs there are."""
    kinds = [kind.value for kind in KINDS]
    with engine.begin() as connection:
        run_id, count = connection.execute(
            text(
                "SELECT run_id, count(*) FROM dagster.event_logs"
                " WHERE dagster_event_type = ANY(:kinds) GROUP BY run_id"
            ),
            {"kinds": kinds},
        ).one()
        copies = -(-EVENTS_BEHIND // count) - 1
        names = {
            table: ", ".join(
                connection.execute(
                    text(
                        "SELECT column_name FROM information_schema.columns"
                        " WHERE table_schema = 'dagster' AND table_name = :table"
                        " AND column_name NOT IN ('id', 'run_id', 'event', 'run_body')"
                    ),
                    {"table": table},
                ).scalars()
            )
            for table in ("runs", "event_logs")
        }
        for _ in range(copies):
            bound = {"old": run_id, "new": str(uuid.uuid4())}
            for table, body in (("runs", "run_body"), ("event_logs", "event")):
                copied = f"replace({body}, CAST(:old AS text), CAST(:new AS text))"
                statement = (
                    f"INSERT INTO dagster.{table} (run_id, {body}, {names[table]})"  # noqa: S608 - Dagster's own names
                    f" SELECT CAST(:new AS text), {copied}, {names[table]}"
                    f" FROM dagster.{table} WHERE run_id = CAST(:old AS text) ORDER BY id"
                )
                connection.execute(text(statement), bound)
    return int(copies) + 1


def looks(products: int = 50) -> Iterator[Row]:
    """Each sensor evaluated as its daemon would, after it has seen all there is."""
    with installed(products) as there:
        # A robot that is never called: there is nothing to tell it.
        settings = replace(there.settings, webhook_url="http://127.0.0.1:9/")
        repository = build_definitions(settings=settings).get_repository_def()
        slowest: dict[str, float] = {}
        for sensor in repository.sensor_defs:
            cursor = None
            took = []
            for _ in range(LOOKS):
                context = dg.build_sensor_context(
                    instance_ref=there.instance.get_ref(),
                    cursor=cursor,
                    repository_def=repository,
                )
                began = time.monotonic()
                cursor = sensor.evaluate_tick(context).cursor
                took.append(time.monotonic() - began)
            # The first look opens what the others share, and reads everything.
            slowest[sensor.name] = max(took[1:])
    yield Row(
        "sensors: a look at nothing new",
        "under 100 ms",
        ", ".join(f"{name} {seconds * 1_000:.0f} ms" for name, seconds in slowest.items()),
        max(slowest.values()) < 0.1,
    )


OPERATIONS: Mapping[str, Callable[[], Iterator[Row]]] = {
    case.__name__: case for case in (backfill, reconcile, looks)
}
