"""What is removed of Dagster's own: old runs, with their events and output.

Dagster keeps every run for ever, about 100 KB each. A run goes only once the sync log holds what
was known of it. What is removed from the catalog is in ``catalog.retention``, the job in ``jobs``.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus

from haier_pipeline.orchestration.reconcile import Reconciler

BATCH_RUNS = 50
# What is left over is removed the next night.
MOST_SECONDS = 1_800
OVER = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


def remove_old_runs(
    instance: dg.DagsterInstance, reconciler: Reconciler, days: int, seconds: float = MOST_SECONDS
) -> int:
    """Remove runs that ended that many days ago, with their events and output; returns how many."""
    until = time.monotonic() + seconds
    before = datetime.now(UTC) - timedelta(days=days)
    removed = 0
    while time.monotonic() < until:
        runs = _old_runs(instance, before)
        reconciler.reconcile([run.run_id for run in runs])
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
