"""What the sync log ought to say of a run: the judgement alone, without Dagster or a database."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from haier_pipeline.catalog.log import Check, Result
from haier_pipeline.catalog.repair import Checked, Ended, Missing, Row
from haier_pipeline.domain.partition import Partition
from haier_pipeline.sync.reconcile import End, Seen, decide, lone_checks, sentence

BEGAN = datetime(2026, 11, 22, 6, tzinfo=UTC)
LATER = BEGAN + timedelta(minutes=5)
WORKING = Seen("run", "root", Partition("haier", date(2026, 11, 22)), BEGAN)
KILLED = End("failed", "the run failed: its process was killed", LATER)
CANCELLED = End("cancelled", "cancelled: the run was terminated", LATER)
PASSED = Check("rows_match", passed=True, description="all")


def row(asset: str, status: str, *checks: str) -> Row:
    return Row(1, asset, status, [{"name": name, "passed": True} for name in checks])


def statuses(changes: list[Any]) -> dict[str, str]:
    return {change.attempt.asset_key: change.result.status for change in changes}


def test_a_run_at_work_is_left_alone() -> None:
    seen = replace(WORKING, planned=["product_listings", "products"])
    assert decide(seen, [row("product_listings", "processing")]) == []


def test_a_row_that_has_its_end_keeps_it() -> None:
    """Even where Dagster knows better: the load's own word was written with its data."""
    seen = replace(WORKING, end=KILLED, failures={"products": ("broken", LATER)})
    assert decide(seen, [row("products", "success")]) == []


def test_an_open_row_of_a_run_that_is_over_ends_with_its_reason() -> None:
    (change,) = decide(replace(WORKING, end=KILLED), [row("stock_levels", "processing")])
    assert change == Ended(1, Result("failed", KILLED.sentence, checks=[]))


def test_a_pending_row_ends_with_the_run_that_was_cancelled_in_the_queue() -> None:
    end = replace(CANCELLED, has_begun=False)
    seen = replace(WORKING, planned=["products", "brands"], end=end)
    (change,) = decide(seen, [row("products", "pending")])
    assert isinstance(change, Ended)
    assert change.result.message == CANCELLED.sentence


def test_a_run_that_was_cancelled_in_the_queue_attempted_nothing() -> None:
    end = replace(CANCELLED, has_begun=False)
    assert decide(replace(WORKING, planned=["products"], end=end), []) == []


def test_a_run_that_failed_before_its_first_step_failed_all_it_planned() -> None:
    end = replace(KILLED, has_begun=False)
    seen = replace(WORKING, planned=["product_listings", "products"], end=end)
    assert statuses(decide(seen, [])) == {"product_listings": "failed", "products": "failed"}


def test_a_run_that_was_killed_between_two_steps_failed_what_was_left() -> None:
    seen = replace(WORKING, planned=["product_listings", "products"], end=KILLED)
    changes = decide(seen, [row("product_listings", "success")])
    assert statuses(changes) == {"products": "failed"}


@pytest.mark.parametrize(
    "explained",
    [
        {"failures": {"product_listings": ("no luck", LATER)}},
        {"broken": {("product_listings", "fresh"): "unexpected ValueError"}},
        {
            "evaluations": {
                ("product_listings", "x"): (Check("x", passed=False, description=""), LATER)
            }
        },
    ],
    ids=["a step failed", "a check raised", "a check failed"],
)
def test_what_was_not_come_to_gets_no_row_where_something_says_why(explained: Any) -> None:
    seen = replace(WORKING, planned=["product_listings", "products"], end=KILLED, **explained)
    changes = decide(seen, [row("product_listings", "success")])
    assert not [change for change in changes if isinstance(change, Missing)]


def test_a_step_that_failed_without_a_row_gets_one() -> None:
    failures = dict.fromkeys(("brands", "products"), ("unexpected RuntimeError", LATER))
    seen = replace(WORKING, failures=failures, begun={"brands": BEGAN + timedelta(minutes=1)})
    brands, products = decide(seen, [])
    assert isinstance(brands, Missing)
    assert isinstance(products, Missing)
    assert brands.started_at == BEGAN + timedelta(minutes=1)
    assert (products.started_at, products.completed_at) == (BEGAN, LATER)
    assert products.attempt.root_run_id == "root"


def test_a_materialization_without_a_row_brings_its_result_and_its_checks() -> None:
    result = Result("partial", "most of it", 3, 1)
    seen = replace(
        WORKING,
        materialized={"products": (result, LATER)},
        evaluations={("products", "rows_match"): (PASSED, LATER)},
    )
    (change,) = decide(seen, [])
    assert isinstance(change, Missing)
    assert change.result == replace(result, checks=[PASSED])


def test_a_row_gains_the_checks_that_it_lacks_and_only_those() -> None:
    other = replace(PASSED, name="other")
    seen = replace(
        WORKING,
        evaluations={("products", check.name): (check, LATER) for check in (PASSED, other)},
    )
    assert decide(seen, [row("products", "success", "rows_match")]) == [Checked(1, [other])]


def test_a_check_that_nobody_came_to_did_not_pass() -> None:
    seen = replace(WORKING, planned_checks=[("products", "rows_match")], end=KILLED)
    (change,) = decide(seen, [row("products", "failed")])
    assert isinstance(change, Checked)
    assert not change.checks[0].passed
    assert "was not evaluated" in change.checks[0].description


def test_a_check_that_raised_says_what() -> None:
    seen = replace(
        WORKING,
        planned_checks=[("products", "fresh")],
        broken={("products", "fresh"): "unexpected ValueError"},
        end=KILLED,
    )
    (change,) = decide(seen, [row("products", "success")])
    assert isinstance(change, Checked)
    assert change.checks[0].description.endswith("the check raised unexpected ValueError")


def test_a_check_without_its_asset_belongs_to_what_an_earlier_run_made() -> None:
    seen = replace(WORKING, evaluations={("products", "rows_match"): (PASSED, LATER)}, end=KILLED)
    assert lone_checks(seen) == [("products", PASSED, LATER)]
    assert decide(seen, []) == []
    assert lone_checks(replace(seen, planned=["products"])) == []


@pytest.mark.parametrize(
    ("error", "message", "told"),
    [
        ("NothingStored", "haier_pipeline.errors.NothingStored: nothing here\n", "nothing here"),
        ("ProgrammingError", "psycopg.ProgrammingError: password=canary", "ProgrammingError"),
        (None, "", "unexpected error"),
    ],
)
def test_only_our_own_errors_are_told_in_their_words(
    error: str | None, message: str, told: str
) -> None:
    """What a foreign error says may hold a secret (D)."""
    assert told in sentence(error, message)
    assert "canary" not in sentence(error, message)
