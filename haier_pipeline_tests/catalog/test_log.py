"""The sync log: begun once, finished once, numbered, and closed where nobody is left to do it."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, text

from haier_pipeline.catalog import log
from haier_pipeline.catalog.log import STATUS_LABELS, TYPE_LABELS, Attempt, Check, Result
from haier_pipeline.catalog.tables import STATUSES
from haier_pipeline.domain.assets import SYNC_TYPES
from haier_pipeline.domain.partition import Partition

TODAY = date(2026, 11, 22)


def attempt(run_id: str = "run-1", **changes: Any) -> Attempt:
    values: dict[str, Any] = {
        "sync_type": "stock",
        "asset_key": "stock_levels",
        "dealer": "haier",
        "sync_date": TODAY,
        "run_id": run_id,
        "root_run_id": "run-1",
    }
    return Attempt(**values | changes)


def finish(engine: Engine, row: int, result: Result) -> bool:
    with engine.begin() as connection:
        return log.finish(connection, row, result)


def test_a_row_is_there_while_the_work_goes_on(engine: Engine) -> None:
    log.begin(engine, attempt())
    (entry,) = log.entries(engine)
    assert (entry.status, entry.attempt, entry.duration) == ("processing", 1, None)
    assert (entry.dealer, entry.sync_date, entry.run_id) == ("haier", TODAY, "run-1")
    assert (entry.sync_type, entry.asset_key) == ("stock", "stock_levels")


def test_a_row_ends_with_its_counts_metadata_and_checks(engine: Engine) -> None:
    check = Check("not_empty", True, "30 products", blocking=True, metadata={"records": 30})
    result = Result("partial", "一部分", 28, 2, {"rate": Decimal("98.50")}, [check])
    assert finish(engine, log.begin(engine, attempt()), result)
    (entry,) = log.entries(engine)
    assert (entry.status, entry.message) == ("partial", "一部分")
    assert (entry.total_count, entry.success_count, entry.failed_count) == (30, 28, 2)
    assert str(entry.metadata["rate"]) == "98.50"
    assert entry.checks == [check.as_json()]
    assert entry.duration is not None
    assert entry.duration >= 0


def test_a_row_ends_once_and_the_first_word_counts(engine: Engine) -> None:
    """Fault matrix, invariant C."""
    row = log.begin(engine, attempt())
    assert finish(engine, row, Result("success", "done", 3))
    ended = log.entries(engine)
    assert not finish(engine, row, Result("failed", "late", 0, 3))
    assert log.entries(engine) == ended


def test_attempts_of_a_root_run_are_numbered_for_each_asset(engine: Engine) -> None:
    """Fault matrix, row 45."""
    log.begin(engine, attempt("run-1"))
    log.begin(engine, attempt("run-2"))
    log.begin(engine, attempt("run-2", asset_key="price_quotes"))
    log.begin(engine, attempt("run-9", root_run_id="run-9"))
    log.begin(engine, attempt("run-3"))
    found = [(entry.run_id, entry.asset_key, entry.attempt) for entry in log.entries(engine)]
    assert found == [
        ("run-3", "stock_levels", 3),
        ("run-9", "stock_levels", 1),
        ("run-2", "price_quotes", 1),
        ("run-2", "stock_levels", 2),
        ("run-1", "stock_levels", 1),
    ]


def test_rows_of_a_dead_run_are_failed_and_nobody_elses(engine: Engine) -> None:
    """Fault matrix, row 35."""
    dead = log.begin(engine, attempt("dead"))
    done = log.begin(engine, attempt("done"))
    finish(engine, done, Result("success", "done", 1))
    moment = log.now(engine)
    # Begun while the lock was held: by its holder, or by one who is refused and says so itself.
    own = log.begin(engine, attempt("own"))
    others = [
        log.begin(engine, attempt("other", dealer="other")),
        log.begin(engine, attempt("earlier", sync_date=TODAY - timedelta(days=1))),
    ]
    assert log.close_abandoned(engine, Partition("haier", TODAY), ["prices"], before=moment) == 0
    assert log.close_abandoned(engine, Partition("haier", TODAY), ["stock"], before=moment) == 1
    found = {entry.id: entry for entry in log.entries(engine)}
    assert found[dead].status == "failed"
    assert "killed" in found[dead].message
    assert found[dead].duration is not None
    assert found[done].status == "success"
    assert {found[row].status for row in (own, *others)} == {"processing"}
    assert log.close_abandoned(engine, Partition("haier", TODAY), ["stock"], before=moment) == 0


def test_the_log_is_read_newest_first_by_filters_and_pages(engine: Engine) -> None:
    rows = [log.begin(engine, attempt(f"run-{number}")) for number in range(5)]
    other = log.begin(engine, attempt("x", dealer="other", sync_type="prices"))
    finish(engine, rows[0], Result("success", "", 1))
    page = log.entries(engine, dealer="haier", limit=2)
    assert [entry.id for entry in page] == [rows[4], rows[3]]
    page = log.entries(engine, dealer="haier", limit=2, before=page[-1].id)
    assert [entry.id for entry in page] == [rows[2], rows[1]]
    assert [entry.id for entry in log.entries(engine, sync_type="prices")] == [other]
    assert [entry.id for entry in log.entries(engine, status="success")] == [rows[0]]
    assert [entry.id for entry in log.entries(engine, run_id="run-3")] == [rows[3]]
    assert len(log.entries(engine, root_run_id="run-1")) == 6


@pytest.mark.parametrize("value", ["x'; DELETE FROM haier_sync_log; --", "%", "\\"])
def test_a_filter_is_a_value_and_never_sql(engine: Engine, value: str) -> None:
    """Fault matrix, row 50."""
    log.begin(engine, attempt())
    assert log.entries(engine, dealer=value, status=value, run_id=value) == []
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM haier_sync_log")) == 1


def test_every_type_and_status_has_its_words_in_both_languages() -> None:
    assert set(TYPE_LABELS) == set(SYNC_TYPES)
    assert set(STATUS_LABELS) == set(STATUSES)
    for english, chinese in (*TYPE_LABELS.values(), *STATUS_LABELS.values()):
        assert english.isascii()
        assert not chinese.isascii()
