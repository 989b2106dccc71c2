"""The jobs: which assets are made together, and the nightly one that removes what is old.

When they run is in ``schedules`` and ``sensors``.
"""

from collections.abc import Sequence
from typing import Any, Final

import dagster as dg

from haier_pipeline.catalog.retention import remove_old
from haier_pipeline.domain.assets import FRESHNESS
from haier_pipeline.orchestration.assets import (
    DERIVED,
    FETCHED,
    account_balances,
    order_logistics,
    price_quotes,
)
from haier_pipeline.orchestration.events import Steps
from haier_pipeline.orchestration.reconcile import Reconciler
from haier_pipeline.orchestration.retention import remove_old_runs
from haier_pipeline.orchestration.shared import Shared
from haier_pipeline.sync.account import forget_people
from haier_pipeline.sync.order_book import remove_personal_data

_SYNC: Final = dg.AssetSelection.assets(*FETCHED, *DERIVED)

#: What a job makes and its description, by its name.
ASSET_JOBS: Final = {
    "sync": (_SYNC, "One sync of one dealer: listing, prices, stock, catalog."),
    "stock": (
        _SYNC - dg.AssetSelection.assets(price_quotes),
        "A sync of one dealer without prices: what may be bought, and its stock.",
    ),
    "derive": (
        dg.AssetSelection.assets(*DERIVED),
        "The derived assets of a stored day again, without a call.",
    ),
    "balances": (
        dg.AssetSelection.assets(account_balances),
        "What stands on the dealer's payer accounts.",
    ),
    "logistics": (
        dg.AssetSelection.assets(order_logistics),
        "Where the dealer's tracked orders are.",
    ),
}


# Any: Dagster does not export the class of an asset job.
def jobs(shared: Shared, steps: Steps) -> Sequence[Any]:
    """All jobs."""
    # A sensor evaluates whether the catalog is fresh, not a run.
    fresh = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("products"), FRESHNESS.name))
    return [
        *(
            dg.define_asset_job(name, selection=selection - fresh, description=description)
            for name, (selection, description) in ASSET_JOBS.items()
        ),
        _retention_job(shared, steps),
    ]


def _retention_job(shared: Shared, steps: Steps) -> dg.JobDefinition:
    """The job ``retention``; how long what is kept, the settings say."""

    @dg.op(description="Removes what is older than it has to be kept, and says how much it was.")
    def remove_what_is_old(context: dg.OpExecutionContext) -> dg.Output[dict[str, int]]:
        days = shared.settings.retention
        removed = remove_old(shared.engine, log_days=days.log_days, raw_days=days.raw_days)
        reconciler = Reconciler(context.instance, shared.engine, steps)
        forgotten = forget_people(shared.engine)
        figures = {
            "log_rows": removed.log_rows,
            "rejected_records": removed.rejected_records,
            "answers": removed.answers,
            "personal_data": forgotten,
            "orders_without_personal_data": remove_personal_data(
                shared.engine, days.order_privacy_days
            ).orders,
            "dagster_runs": remove_old_runs(context.instance, reconciler, days.event_days),
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
