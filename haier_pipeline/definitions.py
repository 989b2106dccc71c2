"""Everything Dagster is told, put together.

``build_definitions`` takes overrides, so that tests and the command line build variants of the
whole; ``defs`` is what the webserver, the daemon and ``dagster dev`` load. Nothing is read from the
environment and nothing is contacted before a run starts.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from haier_pipeline.orchestration.assets import DERIVED, FETCHED
from haier_pipeline.orchestration.resources import HaierApiResource

SYNC_JOB = "sync"
BACKFILL_JOB = "derive"


def build_definitions(resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The definitions; ``resources`` replace the ones of the same key."""
    return dg.Definitions(
        assets=[*FETCHED, *DERIVED],
        jobs=[
            dg.define_asset_job(
                SYNC_JOB,
                selection=dg.AssetSelection.assets(*FETCHED, *DERIVED),
                description="One sync of one dealer: listing, prices, stock, catalog.",
            ),
            dg.define_asset_job(
                BACKFILL_JOB,
                selection=dg.AssetSelection.assets(*DERIVED),
                description="The derived assets of a stored day again, without a call.",
            ),
        ],
        resources={"haier": HaierApiResource(), **(resources or {})},
        # The steps of a sync share a token, a pace and a lock, and start without delay.
        executor=dg.in_process_executor,
    )


defs = build_definitions()
