"""Everything Dagster is told, put together.

``build_definitions`` takes overrides, so that tests and the command line build variants of the
whole; ``defs`` is what the webserver, the daemon, run workers and ``dagster dev`` load. Nothing is
read from the environment at import, and nothing is contacted before a run or a tick starts.
"""

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

from haier_pipeline.orchestration.assets import ACCOUNT, DERIVED, FETCHED, price_quotes
from haier_pipeline.orchestration.mirror import Steps, mirror_sensor
from haier_pipeline.orchestration.resources import HaierApiResource
from haier_pipeline.orchestration.retention import retention_job
from haier_pipeline.orchestration.schedules import schedules
from haier_pipeline.orchestration.sensors import (
    dealers_sensor,
    fresh_check,
    freshness_sensor,
    notices_sensor,
)
from haier_pipeline.orchestration.shared import Shared
from haier_pipeline.settings import Settings, Timetable, read_settings

SYNC_JOB = "sync"
STOCK_JOB = "stock"
BACKFILL_JOB = "derive"


def build_definitions(
    resources: Mapping[str, Any] | None = None, settings: Settings | None = None
) -> dg.Definitions:
    """The definitions; ``resources`` replace the ones of the same key.

    Where no ``settings`` are given, schedules have their usual times, and a tick reads the
    environment itself.

    Raises:
        InvalidInput: the settings name a time that is no cron expression.
    """
    shared = Shared(settings)
    fresh = fresh_check(shared)
    steps = Steps.of([*FETCHED, *DERIVED, *ACCOUNT, fresh])
    return dg.Definitions(
        assets=[*FETCHED, *DERIVED, *ACCOUNT],
        asset_checks=[fresh],
        jobs=[
            _job(
                SYNC_JOB,
                dg.AssetSelection.assets(*FETCHED, *DERIVED),
                "One sync of one dealer: listing, prices, stock, catalog.",
            ),
            _job(
                STOCK_JOB,
                dg.AssetSelection.assets(*FETCHED, *DERIVED)
                - dg.AssetSelection.assets(price_quotes),
                "A sync of one dealer without prices: what may be bought, and its stock.",
            ),
            _job(
                BACKFILL_JOB,
                dg.AssetSelection.assets(*DERIVED),
                "The derived assets of a stored day again, without a call.",
            ),
            _job(
                "balances",
                dg.AssetSelection.assets("account_balances"),
                "What stands on the dealer's payer accounts.",
            ),
            _job(
                "logistics",
                dg.AssetSelection.assets("order_logistics"),
                "Where the dealer's tracked orders are.",
            ),
            retention_job(shared, steps),
        ],
        schedules=schedules(shared, settings.timetable if settings else Timetable()),
        sensors=[
            mirror_sensor(shared, steps),
            dealers_sensor(shared),
            notices_sensor(shared),
            freshness_sensor(shared),
        ],
        resources={"haier": HaierApiResource(), **(resources or {})},
        # The steps of a sync share a token, a pace and a lock, and start without delay.
        executor=dg.in_process_executor,
    )


def _job(name: str, selection: dg.AssetSelection, description: str) -> Any:
    # Whether the catalog is fresh is asked by the clock, not by a run.
    fresh = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("products"), "fresh"))
    return dg.define_asset_job(name, selection=selection - fresh, description=description)


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions with the times that the environment asks for."""
    return build_definitions(settings=read_settings(os.environ))
