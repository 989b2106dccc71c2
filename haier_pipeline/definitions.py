"""Everything that Dagster loads, put together.

``build_definitions`` takes overrides, so that tests and the command line build variants of the
whole; ``defs`` is what the webserver, the daemon, run workers and ``dagster dev`` load. Nothing is
read from the environment at import, and nothing is contacted before a run or a tick starts.
"""

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

from haier_pipeline.orchestration.assets import ACCOUNT, DERIVED, FETCHED
from haier_pipeline.orchestration.checks import fresh_check
from haier_pipeline.orchestration.events import Steps
from haier_pipeline.orchestration.jobs import jobs
from haier_pipeline.orchestration.resources import HaierApiResource
from haier_pipeline.orchestration.schedules import schedules
from haier_pipeline.orchestration.sensors import (
    dealers_sensor,
    freshness_sensor,
    notices_sensor,
    sync_log_sensor,
)
from haier_pipeline.orchestration.shared import Shared
from haier_pipeline.settings import Settings, Timetable, read_settings


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
        jobs=jobs(shared, steps),
        schedules=schedules(shared, settings.timetable if settings else Timetable()),
        sensors=[
            sync_log_sensor(shared, steps),
            dealers_sensor(shared),
            notices_sensor(shared),
            freshness_sensor(shared),
        ],
        resources={"haier": HaierApiResource(), **(resources or {})},
        # The steps of a sync share a token, a pace and a lock, and start without delay.
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions with the times that the environment asks for."""
    return build_definitions(settings=read_settings(os.environ))
