"""What schedules ask for, and when they rather do not."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from haier_pipeline.definitions import build_definitions
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.errors import InvalidInput
from haier_pipeline.orchestration.schedules import PLANS, requests_for
from haier_pipeline.settings import read_settings

# Dagster deprecates the tags that it gives a run of two dimensions itself.
pytestmark = pytest.mark.filterwarnings("ignore:Non-compliant tag keys:DeprecationWarning")

SHANGHAI = ZoneInfo("Asia/Shanghai")
PLAN = {plan.job: plan for plan in PLANS}
DAY = date(2026, 11, 22)
DEALERS = ["anhui", "haier"]


def at(hour: int, minute: int = 0, day: date = DAY) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=SHANGHAI)


def test_a_tick_asks_for_one_run_of_each_dealer() -> None:
    decision = requests_for(PLAN["sync"], at(6), at(6), DEALERS, {})
    assert decision.partitions == (Partition("anhui", DAY), Partition("haier", DAY))


def test_the_day_is_that_of_shanghai_whatever_the_clock_of_the_machine() -> None:
    """Row 42: at 23:30 in Greenwich it is tomorrow there."""
    now = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
    decision = requests_for(PLAN["sync"], now, now, ["haier"], {})
    assert decision.partitions == (Partition("haier", DAY),)


def test_a_missed_morning_is_caught_up_on_its_day_however_late() -> None:
    assert requests_for(PLAN["sync"], at(6), at(21), DEALERS, {}).partitions


def test_a_tick_of_a_day_that_is_over_is_skipped_with_its_reason() -> None:
    decision = requests_for(PLAN["sync"], at(6, day=DAY - timedelta(1)), at(7), DEALERS, {})
    assert decision.partitions == ()
    assert "2026-11-21 is over" in decision.reason


@pytest.mark.parametrize(("minutes", "runs"), [(58, 2), (60, 0)])
def test_a_missed_hour_of_stock_is_not_caught_up(minutes: int, runs: int) -> None:
    now = at(9) + timedelta(minutes=minutes)
    assert len(requests_for(PLAN["stock"], at(9), now, DEALERS, {}).partitions) == runs


def test_a_dealer_whose_last_run_still_works_is_left_out() -> None:
    decision = requests_for(PLAN["stock"], at(9), at(9), DEALERS, {"stock": {"haier"}})
    assert decision.partitions == (Partition("anhui", DAY),)
    assert decision.reason == "haier: a run of stock still waits or works"


def test_stock_waits_for_a_sync_at_work_but_a_sync_does_not_wait_for_stock() -> None:
    busy = {"sync": {"haier"}}
    assert requests_for(PLAN["stock"], at(9), at(9), ["haier"], busy).partitions == ()
    busy = {"stock": {"haier"}}
    assert requests_for(PLAN["sync"], at(9), at(9), ["haier"], busy).partitions != ()


def test_a_tick_gives_a_new_dealer_its_partition(
    tick: Callable[..., Any], instance: dg.DagsterInstance
) -> None:
    asked = tick("sync_schedule", at=datetime.now(SHANGHAI))
    (request,) = asked.run_requests
    assert request.partition_key == f"{today()}|haier"
    assert request.tags["dagster/priority"] == "10"
    assert request.tags["haier/catalog"] == f"{today()}|haier"
    assert instance.get_dynamic_partitions("dealer") == ["haier"]


def test_a_run_at_work_keeps_the_next_one_out(
    tick: Callable[..., Any], instance: dg.DagsterInstance, repository: dg.RepositoryDefinition
) -> None:
    instance.add_dynamic_partitions("dealer", ["haier"])
    run = instance.create_run_for_job(
        repository.get_job("balances"),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition/dealer": "haier"},
    )
    asked = tick("balances_schedule", at=datetime.now(SHANGHAI))
    assert asked.run_requests == []
    assert asked.skip_message == "haier: a run of balances still waits or works"
    instance.report_run_failed(run)
    assert tick("balances_schedule", at=datetime.now(SHANGHAI)).run_requests


def test_retention_asks_for_one_run_a_night(tick: Callable[..., Any]) -> None:
    (request,) = tick("retention_schedule", at=at(3, 30)).run_requests
    assert request.run_key == "retention 2026-11-22"


def test_times_come_from_variables() -> None:
    variables = {"HAIER_HOME": "/nowhere", "HAIER_STOCK_CRON": "15 8-20 * * *"}
    repository = build_definitions(settings=read_settings(variables)).get_repository_def()
    assert repository.get_schedule_def("stock_schedule").cron_schedule == "15 8-20 * * *"
    assert repository.get_schedule_def("sync_schedule").cron_schedule == "0 6 * * *"
    assert repository.get_schedule_def("sync_schedule").execution_timezone == "Asia/Shanghai"


def test_a_time_that_is_none_is_refused_by_the_name_of_its_variable() -> None:
    variables = {"HAIER_HOME": "/nowhere", "HAIER_BALANCE_CRON": "at dawn"}
    with pytest.raises(InvalidInput, match="HAIER_BALANCE_CRON"):
        build_definitions(settings=read_settings(variables))
