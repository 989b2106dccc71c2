"""When runs start by themselves: one run of a job for each active dealer.

What a schedule asks for is decided by `requests_for`, a pure function; the schedules are shells
around it. All times are those of Shanghai.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus

from haier_pipeline.domain.partition import SHANGHAI, TIME_ZONE, Partition
from haier_pipeline.errors import InvalidInput
from haier_pipeline.orchestration.partitions import dealers
from haier_pipeline.orchestration.shared import Shared
from haier_pipeline.settings import TIMETABLE_VARIABLES, Timetable

Requests = Iterator[dg.RunRequest | dg.SkipReason]

# Runs that carry the same value of this tag work one after the other (dagster.yaml).
CATALOG_TAG = "haier/catalog"
PRIORITY_TAG = "dagster/priority"
WAITING_OR_AT_WORK = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)


@dataclass(frozen=True)
class Plan:
    """A schedule: which job it runs, and when a tick of it is skipped.

    ``max_delay`` is how late a tick may be; ``None`` for any time on its day. A dealer for whom one
    of the jobs in ``yields_to`` waits or works is left out, as is one whose last run of the job
    itself does. ``loads_catalog``: its runs and others of that kind work one after the other.
    """

    job: str
    priority: int
    description: str
    max_delay: timedelta | None = None
    yields_to: tuple[str, ...] = ()
    loads_catalog: bool = False

    @property
    def name(self) -> str:
        return f"{self.job}_schedule"


PLANS = (
    Plan(
        "sync",
        priority=10,
        loads_catalog=True,
        description="Everything of every active dealer: listing, prices, stock, catalog. A morning "
        "that was missed is caught up once.",
    ),
    Plan(
        "stock",
        priority=5,
        max_delay=timedelta(minutes=59),
        yields_to=("sync",),
        loads_catalog=True,
        description="The stock of every active dealer. Left out while the dealer's sync works.",
    ),
    Plan("balances", priority=3, description="What stands on every active dealer's accounts."),
    Plan(
        "logistics",
        priority=3,
        max_delay=timedelta(minutes=29),
        description="Where the tracked orders of every active dealer are.",
    ),
)


@dataclass(frozen=True)
class Decision:
    """The runs to request, by dealer; ``reason`` says why there are not more."""

    partitions: tuple[Partition, ...] = ()
    reason: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)


def requests_for(
    plan: Plan,
    scheduled: datetime,
    now: datetime,
    dealers: Collection[str],
    busy: Mapping[str, Collection[str]],
) -> Decision:
    """What a tick asks for. ``busy`` are the dealers by the jobs that wait or work for them."""
    day = scheduled.astimezone(SHANGHAI).date()
    if day != now.astimezone(SHANGHAI).date():
        return Decision(reason=f"{day} is over, and the platform knows only today")
    if plan.max_delay is not None and now - scheduled > plan.max_delay:
        return Decision(reason="missed; the next tick is near enough")
    left_out = {
        dealer: f"{dealer}: a run of {job} still waits or works"
        for job in (*plan.yields_to, plan.job)
        for dealer in busy.get(job, ())
        if dealer in dealers
    }
    wanted = tuple(Partition(dealer, day) for dealer in dealers if dealer not in left_out)
    return Decision(wanted, "; ".join(left_out.values()), left_out)


def run_tags(plan: Plan, partition: Partition) -> dict[str, str]:
    """A sync comes before stock, both before a backfill."""
    tags = {PRIORITY_TAG: str(plan.priority)}
    return tags | ({CATALOG_TAG: partition.key} if plan.loads_catalog else {})


def busy_dealers(instance: dg.DagsterInstance, jobs: Collection[str]) -> dict[str, set[str]]:
    """The dealers for whom a run of these jobs waits or works, by job."""
    return {
        job: {
            run.tags.get("dagster/partition/dealer", "")
            for run in instance.get_runs(
                dg.RunsFilter(job_name=job, statuses=list(WAITING_OR_AT_WORK))
            )
        }
        for job in jobs
    }


def schedules(shared: Shared, timetable: Timetable) -> list[dg.ScheduleDefinition]:
    """All schedules, each at the time that the timetable gives its job.

    Raises:
        InvalidInput: a time is no cron expression; the message names its variable.
    """
    return [
        *(_schedule(shared, plan, getattr(timetable, plan.job)) for plan in PLANS),
        _retention_schedule(timetable.retention),
    ]


def _schedule(shared: Shared, plan: Plan, cron: str) -> dg.ScheduleDefinition:
    def evaluate(context: dg.ScheduleEvaluationContext) -> Requests:
        instance = context.instance
        active = shared.active_dealers()
        decision = requests_for(
            plan,
            context.scheduled_execution_time,
            datetime.now(UTC),
            active,
            busy_dealers(instance, (*plan.yields_to, plan.job)),
        )
        if decision.reason:
            context.log.info(decision.reason)
        if not decision.partitions:
            yield dg.SkipReason(decision.reason or "no dealer is active")
            return
        # A dealer may be newer than the last look of the sensor that adds them.
        instance.add_dynamic_partitions(str(dealers.name), active)
        at = f"{context.scheduled_execution_time.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"
        for partition in decision.partitions:
            yield dg.RunRequest(
                run_key=f"{plan.job} {at} {partition.dealer}",
                partition_key=partition.key,
                tags=run_tags(plan, partition),
            )

    return _at(cron, plan.job, plan.name, plan.description, evaluate)


def _retention_schedule(cron: str) -> dg.ScheduleDefinition:
    def evaluate(context: dg.ScheduleEvaluationContext) -> Requests:
        if busy_dealers(context.instance, ["retention"])["retention"]:
            yield dg.SkipReason("the last one still works")
            return
        at = f"{context.scheduled_execution_time.astimezone(SHANGHAI):%Y-%m-%d}"
        yield dg.RunRequest(run_key=f"retention {at}", tags={PRIORITY_TAG: "-1"})

    return _at(
        cron,
        "retention",
        "retention_schedule",
        "Removes what is older than it has to be kept: log rows, raw answers, Dagster's runs.",
        evaluate,
    )


def _at(
    cron: str,
    job: str,
    name: str,
    description: str,
    evaluate: Callable[[dg.ScheduleEvaluationContext], Requests],
) -> dg.ScheduleDefinition:
    try:
        return dg.ScheduleDefinition(
            name=name,
            cron_schedule=cron,
            job_name=job,
            execution_fn=evaluate,
            execution_timezone=TIME_ZONE,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=description,
        )
    except dg.DagsterInvalidDefinitionError as error:
        variable = next(name for name, of in TIMETABLE_VARIABLES.items() if of == job)
        raise InvalidInput(f"{variable} is not a cron expression such as 0 6 * * *") from error
