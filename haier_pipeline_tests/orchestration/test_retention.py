"""What is removed once it is old, and what is kept whatever its age."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dagster as dg
from sqlalchemy import Engine, text

from haier_pipeline.catalog import raw, retention
from haier_pipeline.catalog.log import Attempt, Entry, Result, begin, entries, finish
from haier_pipeline.catalog.raw import RawRecord
from haier_pipeline.catalog.retention import Removed, remove_old
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.orchestration.mirror import Mirror
from haier_pipeline.orchestration.retention import remove_old_runs


def write(engine: Engine, asset: str, days: int, *, open_: bool = False) -> int:
    """A log row of that age, and its id."""
    row = begin(engine, Attempt("products", asset, "haier", today(), f"{asset} {days}", "root"))
    with engine.begin() as connection:
        if not open_:
            finish(connection, row, Result("success", ""))
        connection.execute(
            text(
                "UPDATE haier_sync_log SET created_at = now() - make_interval(days => :days)"
                " WHERE id = :id"
            ),
            {"days": days, "id": row},
        )
    return row


def test_old_rows_go_but_never_an_open_one_nor_the_last_of_a_kind(
    engine: Engine, monkeypatch: Any
) -> None:
    """Row 56, in steps of two rows."""
    monkeypatch.setattr(retention, "CHUNK_ROWS", 2)
    old = [write(engine, "products", 200 - n) for n in range(5)]
    kept = [
        write(engine, "products", 190, open_=True),
        write(engine, "products", 10),
        write(engine, "brands", 300),
    ]
    removed = remove_old(engine, log_days=180, raw_days=400)
    assert removed == Removed(log_rows=len(old), rejected_records=0, answers=0)
    assert sorted(entry.id for entry in entries(engine)) == kept
    assert remove_old(engine, log_days=180, raw_days=400).log_rows == 0


def test_old_answers_go_but_the_length_of_the_last_listing_stays(engine: Engine) -> None:
    """The next listing is measured against it, however long ago it was."""
    for days in (500, 450):
        partition = Partition("haier", today() - timedelta(days))
        raw.open_fetch(engine, partition, "product_listings", "root")
        raw.save_listing(
            engine, partition, "root", [RawRecord("A", {}), RawRecord("B", {})], [],
            run_id="run", complete=True,
        )  # fmt: skip
    assert remove_old(engine, log_days=180, raw_days=400).answers == 4
    assert raw.longest_listing(engine, Partition("haier", today()), 7) == 2
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM raw_product_listing")) == 0
        assert connection.scalar(text("SELECT count(*) FROM raw_partition")) == 1


def test_an_old_run_goes_only_once_the_log_holds_what_was_known_of_it(
    run_job: Callable[..., str], instance: dg.DagsterInstance, mirror: Mirror, engine: Engine,
    rows: Callable[..., dict[str, Entry]],
) -> None:  # fmt: skip
    run_ids = [run_job(), run_job()]
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM haier_sync_log"))
        connection.execute(
            text(
                "UPDATE dagster.runs SET update_timestamp = now() - interval '91 days'"
                " WHERE run_id = :run_id"
            ),
            {"run_id": run_ids[0]},
        )
    assert remove_old_runs(instance, mirror, days=90) == 1
    assert rows(run_ids[0])["products"].status == "success"
    assert instance.get_run_by_id(run_ids[0]) is None
    assert instance.all_logs(run_ids[0]) == []
    assert instance.get_run_by_id(run_ids[1]) is not None


def test_the_job_says_what_it_removed(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, engine: Engine
) -> None:
    for days in (200, 199):
        write(engine, "products", days)
    result = repository.get_job("retention").execute_in_process(instance=instance)
    assert result.output_for_node("remove_what_is_old") == {
        "log_rows": 1,
        "rejected_records": 0,
        "answers": 0,
        "personal_data": 0,
        "orders_without_personal_data": 0,
        "dagster_runs": 0,
    }
