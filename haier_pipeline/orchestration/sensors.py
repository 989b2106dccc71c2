"""What is watched between the schedules: dead runs, new dealers, incidents, stale data.

Each decision is a pure function or a class of its own; the sensors are shells around them.
"""

import json
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import dagster as dg
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from haier_pipeline.catalog import watch
from haier_pipeline.domain.assets import FRESHNESS
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.orchestration.checks import freshness, stale_dealers
from haier_pipeline.orchestration.events import Steps
from haier_pipeline.orchestration.partitions import dealers as dealer_partitions
from haier_pipeline.orchestration.reconcile import Reconciler
from haier_pipeline.orchestration.schedules import PLANS, run_tags
from haier_pipeline.orchestration.shared import Shared
from haier_pipeline.orchestration.unreadable import Unreadable
from haier_pipeline.sync import notices
from haier_pipeline.sync.notices import Incident

T = TypeVar("T")

RUNNING = dg.DefaultSensorStatus.RUNNING
REPEATED_AFTER = timedelta(hours=1)
# Dagster ends a tick that takes longer than a minute.
MOST_NOTICES = 4


def sync_log_sensor(shared: Shared, steps: Steps) -> dg.SensorDefinition:
    """The sensor that keeps the sync log complete."""
    unreadable = Unreadable(logging.getLogger(__name__).warning)

    @dg.sensor(
        name="sync_log",
        minimum_interval_seconds=15,
        default_status=RUNNING,
        description="Writes into the sync log what a run could not write itself: crashes, kills, "
        "cancellations, checks. Closes what dead runs left open.",
    )
    def sync_log(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        # What a tick logs is shown on its page.
        unreadable.report = context.log.warning
        reconciler = Reconciler(shared.instance(context), shared.engine, steps, unreadable)
        dead = reconciler.close_dead_runs()
        cursor, changes = reconciler.catch_up(context.cursor)
        summary = f"{changes} repairs, {dead} dead runs" if changes or dead else "nothing new"
        return dg.SensorResult(skip_reason=summary, cursor=cursor)

    return sync_log


def first_syncs(
    active: Sequence[str], before: Collection[str] | None, synced: Collection[str]
) -> list[str]:
    """The dealers to sync at once: who was created or enabled since the last look.

    ``before`` were active then; at the first look of all it is ``None``, and who never synced
    counts as new.
    """
    return [dealer for dealer in active if dealer not in (synced if before is None else before)]


@dataclass(frozen=True)
class _Looked:
    """What the sensor of dealers saw at its last look, and how many there were."""

    active: list[str]
    looks: int


def read_cursor(text: str | None, kind: type[T]) -> T | None:
    """What a sensor kept; ``None`` at its first tick, and where somebody set what it cannot read.

    A cursor can be set by hand in Dagster's interface.
    """
    if not text:
        return None
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError:
        return None


def dealers_sensor(shared: Shared) -> dg.SensorDefinition:
    """The sensor that gives a new dealer its partition and its first sync."""

    @dg.sensor(
        name="dealers",
        job_name=PLANS[0].job,
        minimum_interval_seconds=30,
        default_status=RUNNING,
        description="Gives a dealer that was created or enabled its partition and a sync at once.",
    )
    def dealers(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        active = shared.active_dealers()
        before = read_cursor(context.cursor, _Looked)
        if before is not None and sorted(before.active) == active:
            return dg.SensorResult(skip_reason="no dealer is new", cursor=context.cursor)
        known = shared.instance(context).get_dynamic_partitions(str(dealer_partitions.name))
        new = first_syncs(
            active,
            None if before is None else before.active,
            watch.has_synced(shared.engine, active),
        )
        looks = 1 if before is None else before.looks + 1
        partitions = [Partition(dealer, today()) for dealer in new]
        added = [dealer for dealer in active if dealer not in known]
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    run_key=f"first {partition.key} {looks}",
                    partition_key=partition.key,
                    tags=run_tags(PLANS[0], partition),
                )
                for partition in partitions
            ],
            dynamic_partitions_requests=[dealer_partitions.build_add_request(added)]
            if added
            else [],
            cursor=json.dumps({"active": active, "looks": looks}),
        )

    return dealers


@dataclass(frozen=True)
class Notice:
    """A message to send; ``after`` are the incidents that its receiver knows of once it arrived."""

    text: str
    after: Mapping[str, Incident]


def next_notice(known: Mapping[str, Incident], now: Mapping[str, Incident]) -> Notice | None:
    """The next message that the receiver lacks: one for each incident, then what is over."""
    for key, incident in now.items():
        if key not in known:
            return Notice(notices.begun_text(incident), {**known, key: incident})
    for key, incident in known.items():
        if key not in now:
            rest = {other: one for other, one in known.items() if other != key}
            return Notice(notices.over_text(incident), rest)
    return None


def notices_sensor(shared: Shared) -> dg.SensorDefinition:
    """The sensor that tells a robot of failures."""
    patience = notices.Patience()

    @dg.sensor(
        name="notices",
        minimum_interval_seconds=60,
        default_status=RUNNING,
        description="Tells the robot of HAIER_WEBHOOK_URL once of each failure, each failed check "
        "and each stale dealer, and once that it is over.",
    )
    def notices_(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        url = shared.settings.webhook_url
        if url is None:
            return dg.SkipReason("HAIER_WEBHOOK_URL is not set: nobody is told")
        stored = read_cursor(context.cursor, list[Incident]) or []
        known = {one.key: one for one in stored}
        now = notices.current(
            shared.engine, datetime.now(UTC), shared.active_dealers(), list(known.values())
        )
        if wait := patience.wait(time.monotonic()):
            return dg.SkipReason(f"the robot did not take the last message; again in {wait:.0f} s")
        sent, failure = 0, None
        while sent < MOST_NOTICES and failure is None and (notice := next_notice(known, now)):
            failure = notices.deliver(url, notice.text)
            if failure is None:
                known = dict(notice.after)
                sent += 1
        patience.note(failed=failure is not None, now=time.monotonic())
        if failure is not None:
            context.log.warning("%s; it is sent again later", failure)
        summary = failure or f"{sent} notices sent, {len(now)} incidents at present"
        cursor = json.dumps([asdict(incident) for incident in known.values()])
        return dg.SensorResult(skip_reason=summary, cursor=cursor)

    return notices_


def is_due(
    before: tuple[Mapping[str, list[str]], datetime] | None,
    stale: Mapping[str, list[str]],
    now: datetime,
) -> bool:
    """Whether freshness is to be evaluated: when something changed, and once an hour.

    ``before`` is the last evaluation, and when it was.
    """
    return before is None or before[0] != stale or now - before[1] >= REPEATED_AFTER


def freshness_sensor(shared: Shared) -> dg.SensorDefinition:
    """The sensor that evaluates the check `fresh` where nobody runs it."""

    @dg.sensor(
        name="freshness",
        minimum_interval_seconds=300,
        default_status=RUNNING,
        description="Evaluates the check fresh of products: when its result changes, and every "
        "hour.",
    )
    def freshness_(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = datetime.now(UTC)
        stale = stale_dealers(shared, now)
        before = read_cursor(context.cursor, tuple[dict[str, list[str]], AwareDatetime])
        if not is_due(before, stale, now):
            return dg.SensorResult(skip_reason="nothing changed", cursor=context.cursor)
        result = freshness(stale)
        evaluation = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey("products"),
            check_name=FRESHNESS.name,
            passed=result.passed,
            description=result.description,
            metadata=result.metadata,
        )
        return dg.SensorResult(
            asset_events=[evaluation], cursor=json.dumps((stale, now.isoformat()))
        )

    return freshness_
