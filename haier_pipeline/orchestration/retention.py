"""The nightly job that removes what is old, Dagster's own runs and events among it.

Dagster keeps every run for ever, about 100 KB each. A run goes only once the sync log holds what
was known of it. What is removed from the catalog's database is in ``catalog.retention``.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus

from haier_pipeline.catalog.retention import remove_old
from haier_pipeline.orchestration.mirror import Mirror, Steps
from haier_pipeline.orchestration.shared import Shared
from haier_pipeline.sync.account import forget_people
from haier_pipeline.sync.order_book import remove_personal_data

BATCH_RUNS = 50
# What is left over is removed the next night.
MOST_SECONDS = 1_800
OVER = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


def remove_old_runs(
    instance: dg.DagsterInstance, mirror: Mirror, days: int, seconds: float = MOST_SECONDS
) -> int:
    """Remove runs that ended that many days ago, with their events and output; returns how many."""
    until = time.monotonic() + seconds
    before = datetime.now(UTC) - timedelta(days=days)
    removed = 0
    while time.monotonic() < until:
        runs = _old_runs(instance, before)
        mirror.reconcile([run.run_id for run in runs])
        for run in runs:
            instance.compute_log_manager.delete_logs(prefix=[run.run_id])
            instance.delete_run(run.run_id)
        removed += len(runs)
        if len(runs) < BATCH_RUNS:
            break
    return removed


def _old_runs(instance: dg.DagsterInstance, before: datetime) -> Sequence[dg.DagsterRun]:
    return instance.get_runs(
        dg.RunsFilter(statuses=list(OVER), updated_before=before), limit=BATCH_RUNS, ascending=True
    )


def retention_job(shared: Shared, steps: Steps) -> dg.JobDefinition:
    """The job ``retention``; how long what is kept, the settings say."""

    @dg.op(description="Removes what is older than it has to be kept, and says how much it was.")
    def remove_what_is_old(context: dg.OpExecutionContext) -> dg.Output[dict[str, int]]:
        days = shared.settings.retention
        removed = remove_old(shared.engine, log_days=days.log_days, raw_days=days.raw_days)
        mirror = Mirror(context.instance, shared.engine, steps)
        forgotten = forget_people(shared.engine)
        figures = {
            "log_rows": removed.log_rows,
            "rejected_records": removed.rejected_records,
            "answers": removed.answers,
            "personal_data": forgotten,
            "orders_without_personal_data": remove_personal_data(
                shared.engine, days.order_privacy_days
            ).orders,
            "dagster_runs": remove_old_runs(context.instance, mirror, days.event_days),
        }
        context.log.info("removed: %s", figures)
        metadata: dict[str, Any] = dict(figures)
        return dg.Output(figures, metadata=metadata)

    @dg.job(
        name="retention",
        executor_def=dg.in_process_executor,
        description="Removes log rows, raw answers and Dagster's runs that are older than the "
        "HAIER_…_RETENTION_DAYS of docs/configuration.md.",
    )
    def retention() -> None:
        remove_what_is_old()

    return retention
