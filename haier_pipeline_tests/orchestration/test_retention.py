"""What is removed once it is old, and what is kept whatever its age."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from haier_pipeline import rules
from haier_pipeline.catalog import load, raw, retention
from haier_pipeline.catalog.log import Attempt, Entry, Result, begin, entries, finish
from haier_pipeline.catalog.raw import RawRecord
from haier_pipeline.catalog.retention import Removed, remove_old
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.orchestration.reconcile import Reconciler
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
    engine: Engine, monkeypatch: pytest.MonkeyPatch
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
        assert connection.scalar(text("SELECT count(*) FROM raw_record")) == 0
        assert connection.scalar(text("SELECT count(*) FROM raw_partition")) == 1


def partitions(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(
            connection.scalars(text("SELECT relname FROM pg_class WHERE relispartition"
                                    " AND relkind = 'r' AND relname !~ '_rest$'"))
        )  # fmt: skip


def test_old_days_are_dropped_and_every_kept_one_can_still_be_read(engine: Engine) -> None:
    """A payload outlives the day it was stored on for as long as a kept day may need it."""
    records = [RawRecord(f"P{number}", {"n": number}) for number in range(100)]
    ages = (700, 650, 401, 400, 398, 300)
    for age in ages:
        for dealer in ("haier", "other"):
            partition = Partition(dealer, today() - timedelta(age))
            raw.open_fetch(engine, partition, "price_quotes", "root")
            raw.save(engine, partition, "price_quotes", "root", records, run_id="run")
    assert remove_old(engine, log_days=180, raw_days=400).answers == 3 * 2 * len(records)
    for age in ages:
        partition = Partition("other", today() - timedelta(age))
        assert len(list(raw.read(engine, partition, "price_quotes"))) == 100 * (age <= 400)
        assert (raw.find(engine, partition, "price_quotes") is not None) == (age <= 400)
    kept = partitions(engine)
    assert {name for name in kept if name.startswith("raw_answer")} == {
        f"raw_answer_{today() - timedelta(age):%Y%m%d}" for age in ages if age <= 400
    }
    needed_from = today() - timedelta(400 + raw.MOST_PAYLOAD_DAYS)
    assert f"raw_payload_{today() - timedelta(700):%Y%m}" not in kept
    assert min(name for name in kept if "payload" in name) >= f"raw_payload_{needed_from:%Y%m}"
    assert remove_old(engine, log_days=180, raw_days=400).answers == 0


def test_priced_products_that_hold_for_no_kept_day_go(engine: Engine) -> None:
    def store(age: int, price: int) -> Partition:
        partition = Partition("haier", today() - timedelta(age))
        row = {"product_code": "A", "is_sales": "1", "product_page_urls": []}
        values = row | {"supply_price": Decimal(price)}
        columns = list(load.PRICED_COLUMNS)
        frame = rules.frame([[values.get(name) for name in columns]], columns)
        load.store_priced(engine, partition, frame)
        return partition

    days = [store(age, price) for age, price in ((420, 1), (410, 2), (405, 3), (390, 3))]
    remove_old(engine, log_days=180, raw_days=400)
    assert [len(load.read_priced(engine, day)) for day in days] == [0, 0, 0, 1]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM priced_product")) == 1


def test_an_old_run_goes_only_once_the_log_holds_what_was_known_of_it(
    run_job: Callable[..., str],
    instance: dg.DagsterInstance,
    reconciler: Reconciler,
    engine: Engine,
    rows: Callable[..., dict[str, Entry]],
) -> None:
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
    assert remove_old_runs(instance, reconciler, days=90) == 1
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
