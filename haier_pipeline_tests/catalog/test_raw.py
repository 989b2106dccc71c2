"""Answers as they were given: exact, whole, and kept apart by partition and root run."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, text

from haier_pipeline.catalog import raw
from haier_pipeline.catalog.database import dump_json
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
