"""Answers as they were given: exact, whole, and kept apart by partition and root run."""

from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from haier_pipeline.catalog import raw
from haier_pipeline.catalog.database import dump_json, open_engine
from haier_pipeline.catalog.raw import RawRecord, RejectedRecord
from haier_pipeline.domain.partition import Partition

TODAY = Partition("haier", date(2026, 11, 22))
YESTERDAY = Partition("haier", TODAY.sync_date - timedelta(days=1))


def save(engine: Engine, *records: RawRecord, root: str = "r", **options: Any) -> None:
    asset = options.pop("asset", "price_quotes")
    partition = options.pop("partition", TODAY)
    raw.open_fetch(engine, partition, asset, root)
    raw.save(engine, partition, asset, root, records, run_id=root, **options)


def read(engine: Engine, partition: Partition = TODAY, **options: Any) -> dict[str, Any]:
    records = raw.read(engine, partition, "price_quotes", **options)
    return {record.product_code: record.payload for record in records}


def save_listing(
    engine: Engine,
    *codes: str,
    complete: bool = True,
    accepted: bool = False,
    partition: Partition = TODAY,
) -> None:
    raw.open_fetch(engine, partition, "product_listings", "r")
    records = [RawRecord(code, {}) for code in codes]
    raw.save_listing(
        engine, partition, "r", records, [], run_id="r", complete=complete, accepted=accepted
    )


def ordered(payload: Any) -> Any:
    """jsonb keeps no order of keys."""
    if isinstance(payload, dict):
        return {name: ordered(payload[name]) for name in sorted(payload)}
    return [ordered(item) for item in payload] if isinstance(payload, list) else payload


@pytest.mark.parametrize(
    "payload",
    [
        {"supplyPrice": Decimal("2999.00")},
        {"supplyPrice": Decimal("0.1234567890123456789012345678901234567890")},
        {"supplyPrice": "2,999.00", "isSales": 1, "n": None, "b": True},
        {"name": "😀🧊 冰箱 \u2028 'quotes\" \\ back", "long": "长" * 10_000},
        [{"secCode": "Q1", "stock": 12}, {"secCode": "Q2", "stock": "有货"}],
        [],
        "text",
        {},
    ],
)
def test_a_payload_comes_back_as_it_came(engine: Engine, payload: Any) -> None:
    """Fault matrix, rows 19, 22 and 28."""
    save(engine, RawRecord("A", payload))
    found = read(engine)["A"]
    assert found == payload
    # 2999.00 and 2999.0 are equal, and so are 1 and True.
    assert dump_json(ordered(found)) == dump_json(ordered(payload))


def test_a_newer_answer_replaces_an_older_one(engine: Engine) -> None:
    save(engine, RawRecord("A", {"n": 1}), RawRecord("B", {"n": 1}))
    save(engine, RawRecord("A", {"n": 2}), root="r2")
    assert read(engine) == {"A": {"n": 2}, "B": {"n": 1}}
    assert read(engine, root_run_id="r2") == {"A": {"n": 2}}
    assert raw.fetched(engine, TODAY, "price_quotes", "r") == {("B",)}


def test_the_last_of_equal_keys_counts(engine: Engine) -> None:
    """Fault matrix, row 17: one INSERT may not meet the same key twice."""
    save(engine, RawRecord("A", {"n": 1}), RawRecord("A", {"n": 2}))
    assert read(engine) == {"A": {"n": 2}}


def test_more_records_than_a_chunk_are_all_kept_and_read_in_order(engine: Engine) -> None:
    many = [RawRecord(f"P{number:05}", {"n": number}) for number in range(raw.CHUNK_ROWS * 2 + 1)]
    save(engine, *reversed(many))
    assert list(raw.read(engine, TODAY, "price_quotes")) == many


def test_stock_is_kept_for_each_county(engine: Engine) -> None:
    records = [RawRecord("A", [], "110101"), RawRecord("A", [{"stock": 1}], "310101")]
    save(engine, *records, asset="stock_levels")
    assert list(raw.read(engine, TODAY, "stock_levels")) == records
    found = raw.fetched(engine, TODAY, "stock_levels", "r")
    assert found == {("A", "110101"), ("A", "310101")}


def test_days_and_dealers_do_not_mix(engine: Engine) -> None:
    save(engine, RawRecord("A", 1))
    save(engine, RawRecord("A", 2), partition=YESTERDAY)
    save(engine, RawRecord("A", 3), partition=Partition("other", TODAY.sync_date))
    assert (read(engine), read(engine, YESTERDAY)) == ({"A": 1}, {"A": 2})


def test_a_complete_listing_replaces_the_days_and_a_chosen_one_adds(engine: Engine) -> None:
    def codes() -> list[str]:
        return [record.product_code for record in raw.read(engine, TODAY, "product_listings")]

    save_listing(engine, "C", complete=False)
    assert raw.longest_listing(engine, TODAY, 7) is None
    save_listing(engine, "A", "B")
    assert codes() == ["A", "B"]
    save_listing(engine, "D", complete=False)
    assert codes() == ["A", "B", "D"]
    stored = raw.find(engine, TODAY, "product_listings")
    assert stored is not None
    assert (stored.is_complete, stored.record_count) == (True, 2)


def day(number: int) -> Partition:
    """So many days after today."""
    return Partition("haier", TODAY.sync_date + timedelta(days=number))


def test_a_listing_is_measured_by_the_longest_of_the_last_days(engine: Engine) -> None:
    """Fault matrix, row 30: listings that halve day by day do not walk past the check."""
    assert raw.longest_listing(engine, TODAY, 7) is None
    save_listing(engine, *"ABCD", partition=day(-2))
    save_listing(engine, *"ABC", partition=day(-1))
    save_listing(engine, *"AB")
    assert raw.longest_listing(engine, TODAY, 7) == 4
    assert raw.longest_listing(engine, TODAY, 1) == 3
    assert raw.longest_listing(engine, day(5), 7) == 4
    assert raw.longest_listing(engine, day(6), 7) == 3
    assert raw.longest_listing(engine, Partition("other", TODAY.sync_date), 7) is None
    # A day that is looked at again is not measured by what came after it.
    assert raw.longest_listing(engine, day(-3), 7) is None


def test_of_a_day_with_several_listings_the_longest_is_the_measure(engine: Engine) -> None:
    """Fault matrix, row 30: they do not walk from hour to hour either."""
    for codes in ("ABCD", "ABC", "AB"):
        save_listing(engine, *codes)
        assert raw.longest_listing(engine, TODAY, 7) == 4
    stored = raw.find(engine, TODAY, "product_listings")
    assert stored is not None
    assert stored.record_count == 2


def test_after_days_without_a_listing_the_newest_one_is_the_measure(engine: Engine) -> None:
    save_listing(engine, *"ABCD", partition=day(-30))
    save_listing(engine, *"ABC", partition=day(-20))
    assert raw.longest_listing(engine, TODAY, 7) == 3


def test_what_an_operator_accepted_is_the_measure_from_then_on(engine: Engine) -> None:
    save_listing(engine, *"ABCD", partition=day(-1))
    save_listing(engine, *"ABCD")
    save_listing(engine, "A", accepted=True)
    assert raw.longest_listing(engine, TODAY, 7) == 1
    save_listing(engine, *"AB")
    assert raw.longest_listing(engine, day(1), 7) == 2


def test_a_listing_that_the_last_version_stored_is_a_measure(engine: Engine) -> None:
    save_listing(engine, *"ABC")
    with engine.begin() as connection:
        connection.execute(text("UPDATE raw_partition SET longest_count = 0"))
    assert raw.longest_listing(engine, TODAY, 7) == 3


def test_records_that_cannot_be_read_are_kept_beside_the_others_and_not_counted(
    engine: Engine,
) -> None:
    """Fault matrix, row 31a."""
    unread = RawRecord("B", {"productCode": "B", "isSales": "?"})
    rejected = [RejectedRecord("isSales is neither", unread.payload), RejectedRecord("no", None)]
    raw.open_fetch(engine, TODAY, "product_listings", "r")
    raw.save_listing(
        engine, TODAY, "r", [RawRecord("A", {})], rejected,
        run_id="r", complete=True, unread=[unread], nameless=1,
    )  # fmt: skip
    assert list(raw.read(engine, TODAY, "product_listings"))[1] == unread
    stored = raw.find(engine, TODAY, "product_listings")
    assert stored is not None
    assert (stored.record_count, stored.nameless_count) == (1, 1)


def test_more_codes_than_a_statement_takes_parameters_are_looked_up(engine: Engine) -> None:
    save_listing(engine, "A", "B", partition=YESTERDAY)
    codes = ["A", *(f"P{number}" for number in range(70_000))]
    assert raw.listed_before(engine, TODAY, codes) == {"A"}
    assert raw.listed_before(engine, TODAY, []) == set()


def test_more_rejected_records_than_a_chunk_are_all_kept(engine: Engine) -> None:
    count = raw.CHUNK_ROWS + 1
    save(engine, rejected=[RejectedRecord("is blank", {"n": n}) for n in range(count)])
    with engine.connect() as connection:
        found = connection.scalar(text("SELECT count(DISTINCT payload) FROM rejected_record"))
    assert found == count


def test_the_counties_that_a_run_asked_for_are_known(engine: Engine) -> None:
    save(engine, RawRecord("A", [], "110101"), RawRecord("B", [], "110101"), asset="stock_levels")
    save(engine, RawRecord("A", [], "440106"), asset="stock_levels", root="r2")
    assert raw.counties_asked(engine, TODAY, "r") == {"110101"}
    assert raw.counties_asked(engine, TODAY, "r2") == {"440106"}


def test_a_fetch_of_the_same_root_goes_on_and_of_another_begins_anew(engine: Engine) -> None:
    """Fault matrix, row 32."""
    raw.open_fetch(engine, TODAY, "price_quotes", "r")
    begun = raw.find(engine, TODAY, "price_quotes")
    raw.close_fetch(engine, TODAY, "price_quotes")
    closed = raw.find(engine, TODAY, "price_quotes")
    raw.open_fetch(engine, TODAY, "price_quotes", "r")
    assert raw.find(engine, TODAY, "price_quotes") == closed
    assert begun is not None
    assert closed is not None
    assert (begun.completed_at, begun.started_at) == (None, closed.started_at)
    raw.open_fetch(engine, TODAY, "price_quotes", "r2")
    anew = raw.find(engine, TODAY, "price_quotes")
    assert anew is not None
    assert (anew.root_run_id, anew.completed_at) == ("r2", None)
    assert anew.started_at > begun.started_at


def test_what_cannot_be_read_is_kept_with_its_reason(engine: Engine) -> None:
    payload = {"productCode": "A", "supplyPrice": Decimal(-1)}
    save(engine, rejected=[RejectedRecord("supplyPrice is negative", payload)])
    with engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM rejected_record")).mappings().one()
    assert (row["reason"], row["payload"]) == ("supplyPrice is negative", payload)
    assert (row["dealer"], row["sync_date"]) == ("haier", TODAY.sync_date)
    assert (row["asset_key"], row["run_id"]) == ("price_quotes", "r")


def stored_payloads(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM raw_payload")) or 0)


def test_equal_payloads_are_stored_once_for_a_dealer_and_an_interface(engine: Engine) -> None:
    same, other = {"stock": "3"}, {"stock": "3.0"}
    save(engine, RawRecord("A", same), RawRecord("B", same), RawRecord("C", other))
    assert stored_payloads(engine) == 2
    save(engine, RawRecord("D", dict(reversed(same.items()))), partition=YESTERDAY)
    assert stored_payloads(engine) == 2
    save(engine, RawRecord("A", same, "110101"), asset="stock_levels")
    save(engine, RawRecord("A", same), partition=Partition("other", TODAY.sync_date))
    assert stored_payloads(engine) == 4
    assert read(engine) == {"A": same, "B": same, "C": other}
    assert read(engine, YESTERDAY) == {"D": same}


def size(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)


def stock_of_a_day(engine: Engine, day: int, changed: range = range(0)) -> None:
    """2,000 products in two counties, as a sync at 100 calls a second stores them."""
    partition = Partition("haier", YESTERDAY.sync_date + timedelta(day))
    raw.open_fetch(engine, partition, "stock_levels", f"r{day}")
    records = [
        RawRecord(
            f"{number:X}",
            [
                {"secCode": f"Q{county}{number}", "stock": f"{day if number in changed else 0}"}
                | FILLED
            ],
            county,
        )
        for number in range(2_000)
        for county in ("110101", "310101")
    ]
    for first in range(0, len(records), 50):
        few = records[first : first + 50]
        raw.save(engine, partition, "stock_levels", f"r{day}", few, run_id="run")
    raw.close_fetch(engine, partition, "stock_levels")


FILLED = {"timelinessData": {"cutTime": "16:00", "hour": 48, "isTranfer": 0}, "filled": "x" * 300}


def test_a_day_that_repeats_the_last_one_costs_next_to_nothing(engine: Engine) -> None:
    """And one on which 3 % change at most a tenth of the first, without anything vacuumed."""
    run_without_autovacuum = "ALTER TABLE raw_answer_{} SET (autovacuum_enabled = off)"
    sizes = [size(engine)]
    for day, changed in ((0, range(0)), (1, range(0)), (2, range(0)), (3, range(60))):
        name = f"{YESTERDAY.sync_date + timedelta(day):%Y%m%d}"
        with engine.begin() as connection:
            raw.make_partitions(connection, YESTERDAY.sync_date + timedelta(day))
            connection.execute(text(run_without_autovacuum.format(name)))
        stock_of_a_day(engine, day, changed)
        sizes.append(size(engine))
    first, second, third, fourth = (after - before for before, after in pairwise(sizes))
    assert first > 2_000_000
    # A partition by itself is 100 KB of the server's own tables, which no catalog size multiplies.
    assert max(second, third) < first / 20 + 150_000
    assert fourth < first / 10 + 150_000


def test_a_days_answers_are_few_rows(engine: Engine) -> None:
    """A row for each of a day's answers would be larger than what is new in them."""
    stock_of_a_day(engine, 0)
    with engine.connect() as connection:
        rows, answers, bytes_ = connection.execute(
            text(
                "SELECT count(*), sum(cardinality(product_codes)),"
                " sum(pg_column_size(raw_answer.*)) FROM raw_answer"
            )
        ).one()
    assert answers == 4_000
    assert rows <= 4_000 / raw.PACK_ROWS + 1
    assert bytes_ / answers < 15


def test_a_fetch_of_the_same_day_takes_the_place_of_the_one_before(engine: Engine) -> None:
    """An hourly sync of stock leaves no more rows than the first; what it did not ask for stays."""
    for hour in range(3):
        save(engine, RawRecord("A", {"n": hour}), RawRecord("B", {"n": hour}), root=f"r{hour}")
        if hour == 0:
            save(engine, *(RawRecord(f"C{n}", {"n": 0}) for n in range(raw.PACK_ROWS)), root="r0")
        raw.close_fetch(engine, TODAY, "price_quotes")
    found = read(engine)
    assert (found["A"], found["B"], found["C0"]) == ({"n": 2}, {"n": 2}, {"n": 0})
    assert len(found) == raw.PACK_ROWS + 2
    with engine.connect() as connection:
        roots = connection.scalars(text("SELECT root_run_id FROM raw_answer ORDER BY position"))
        assert set(roots) == {"r0", "r2"}


def test_a_payload_is_stored_again_before_its_month_is_dropped(engine: Engine) -> None:
    """A few each day; until then it is not."""
    records = [RawRecord(f"P{number}", {"n": number}) for number in range(300)]
    counts = []
    for days in range(0, raw.MOST_PAYLOAD_DAYS + 1, 4):
        partition = Partition("haier", TODAY.sync_date + timedelta(days))
        save(engine, *records, partition=partition)
        counts.append(stored_payloads(engine))
        assert len(read(engine, partition)) == 300
    assert counts[raw.PAYLOAD_DAYS // 4] == 300
    assert counts[-1] == 600
    assert max(after - before for before, after in pairwise(counts)) < 60
    with engine.connect() as connection:
        oldest = connection.scalar(
            text("SELECT min(p) FROM raw_answer, unnest(payload_ids) p WHERE sync_date = :day"),
            {"day": partition.sync_date},
        )
    assert oldest >= raw.first_payload(partition.sync_date - timedelta(raw.MOST_PAYLOAD_DAYS))


def old_rows(engine: Engine, partition: Partition) -> None:
    """As the version before this one stores them."""
    with engine.begin() as connection:
        for table, code, payload in (
            ("raw_product_listing", "A", '{"old": 1}'),
            ("raw_price_quote", "A", '{"old": 2}'),
            ("raw_price_quote", "B", '{"old": 3}'),
        ):
            connection.execute(
                text(
                    f"INSERT INTO {table} (dealer, sync_date, product_code, payload, root_run_id)"  # noqa: S608
                    " VALUES (:dealer, :sync_date, :code, CAST(:payload AS jsonb), 'old')"
                ),
                vars(partition) | {"code": code, "payload": payload},
            )


def test_what_a_version_before_this_one_stored_is_read_beside_the_new(engine: Engine) -> None:
    old_rows(engine, TODAY)
    assert read(engine) == {"A": {"old": 2}, "B": {"old": 3}}
    assert raw.fetched(engine, TODAY, "price_quotes", "old") == {("A",), ("B",)}
    save(engine, RawRecord("B", {"n": 1}), RawRecord("C", {"n": 1}))
    assert read(engine) == {"A": {"old": 2}, "B": {"n": 1}, "C": {"n": 1}}
    assert raw.fetched(engine, TODAY, "price_quotes", "old") == {("A",)}
    save_listing(engine, "B")
    assert [r.product_code for r in raw.read(engine, TODAY, "product_listings")] == ["B"]


def test_until_all_processes_are_new_answers_are_stored_as_the_old_ones_read_them(
    engine: Engine,
) -> None:
    """An upgraded database says from which day on they are packed."""
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE haier_database SET packed_from = :day"), {"day": TODAY.sync_date}
        )
    save(engine, RawRecord("A", {"n": 1}), partition=YESTERDAY)
    save(engine, RawRecord("A", {"n": 2}), partition=YESTERDAY, root="r2")
    save(engine, RawRecord("A", {"n": 3}))
    with engine.connect() as connection:
        old = connection.execute(text("SELECT sync_date, payload FROM raw_price_quote")).all()
    assert [tuple(row) for row in old] == [(YESTERDAY.sync_date, {"n": 2})]
    assert read(engine, YESTERDAY) == {"A": {"n": 2}}
    assert read(engine) == {"A": {"n": 3}}


def test_who_owns_no_table_stores_all_the_same(engine: Engine) -> None:
    """Only the owner can make partitions; the rest takes what has none."""
    with engine.begin() as connection:
        connection.execute(text("CREATE ROLE writer_of_answers"))
        connection.execute(
            text(
                "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO"
                " writer_of_answers"
            )
        )
        connection.execute(
            text("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO writer_of_answers")
        )

    writer = open_engine(engine.url)

    @event.listens_for(writer, "connect")
    def _as_writer(driver: Any, _: object) -> None:
        driver.execute("SET ROLE writer_of_answers")
        driver.commit()

    try:
        save(writer, RawRecord("A", {"n": 1}))
        assert read(writer) == {"A": {"n": 1}}
    finally:
        writer.dispose()
        with engine.begin() as connection:
            connection.execute(text("DROP OWNED BY writer_of_answers"))
            connection.execute(text("DROP ROLE writer_of_answers"))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM raw_answer_rest")) == 1
    # The owner leaves the day where it began.
    save(engine, RawRecord("B", {"n": 1}))
    assert read(engine) == {"A": {"n": 1}, "B": {"n": 1}}
