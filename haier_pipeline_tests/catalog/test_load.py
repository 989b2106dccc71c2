"""The load, rule by rule: what may overwrite what, and that it is all or nothing."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Connection, Engine, event, text

from haier_pipeline.catalog import log, raw
from haier_pipeline.catalog.load import (
    ANSWER_COLUMNS,
    PRODUCT_COLUMNS,
    STOCK_COLUMNS,
    VANISHED,
    CatalogFrames,
    LoadReport,
    load,
    read_priced,
    store_priced,
)
from haier_pipeline.catalog.locks import lock_dealer
from haier_pipeline.catalog.raw import RawRecord
from haier_pipeline.domain.partition import Partition
from haier_pipeline.domain.product import PRICE_COLUMNS
from haier_pipeline.errors import CatalogError, SafetyStop

TODAY = date(2026, 11, 22)
YESTERDAY = TODAY - timedelta(days=1)
TOMORROW = TODAY + timedelta(days=1)

Answers = Mapping[tuple[str, str], Sequence[tuple[str, int]]]


def frame(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    values = [[row.get(name) for name in columns] for row in rows]
    return pd.DataFrame(values, columns=list(columns), dtype=object)


def product(code: str, **changes: Any) -> dict[str, Any]:
    return {
        "product_code": code,
        "product_model": f"model of {code}",
        "product_group": "冰箱",
        "brand": "海尔",
        "product_page_urls": ["https://cdn.example/1.jpg"],
        "is_sales": "1",
        "supply_price": Decimal("2999.00"),
        "invoice_price": Decimal("2849.05"),
        "market_price": Decimal("3999.00"),
        "stock_rebate": Decimal("0.05"),
        "rebate_money": Decimal("0.00"),
        "rebate_policy": "0",
    } | changes


def frames(
    stock: Answers | None = None,
    *,
    complete: bool = True,
    counties: Sequence[str] = ("110101", "310101"),
    asked: Sequence[str] = (),
    unread: Sequence[tuple[str, str]] = (),
) -> CatalogFrames:
    answers = [
        {"product_code": code, "county_code": county, "is_whole": (code, county) not in unread}
        for code, county in stock or {}
    ]
    warehouses = [
        {"product_code": code, "county_code": county, "sec_code": sec, "stock": pieces}
        | {"warehouse_grade": f"grade of {sec}", "delivery_hours": Decimal(24)}
        for (code, county), found in (stock or {}).items()
        for sec, pieces in found
    ]
    return CatalogFrames(
        answers=frame(answers, ANSWER_COLUMNS),
        stock=frame(warehouses, STOCK_COLUMNS),
        is_complete=complete,
        counties=counties,
        asked=asked,
    )


class Shelf:
    """The catalog tables of one dealer, filled by loads and looked at row by row."""

    def __init__(self, engine: Engine, dealer: str = "haier") -> None:
        self.engine = engine
        self.dealer = dealer

    def load(
        self,
        day: date,
        products: Sequence[Mapping[str, Any]],
        stock: Answers | None = None,
        **options: Any,
    ) -> LoadReport:
        self.priced(day, products)
        return load(
            self.engine,
            Partition(self.dealer, day),
            frames(stock, **options),
            lambda connection, report: None,
        )

    def priced(self, day: date, products: Sequence[Mapping[str, Any]]) -> None:
        rows = [{"product_page_urls": []} | dict(row) for row in products]
        priced = frame(rows, PRODUCT_COLUMNS | {"no_price_reason": "text"})
        store_priced(self.engine, Partition(self.dealer, day), priced)

    def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            found = connection.execute(text(query), {"dealer": self.dealer} | values)
            return [dict(row) for row in found.mappings()]

    def run(self, statement: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), {"dealer": self.dealer} | values)

    def product(self, code: str) -> dict[str, Any]:
        query = (
            "SELECT p.*, b.name AS brand FROM product p LEFT JOIN brand b ON b.id = p.brand_id"
            " WHERE p.dealer = :dealer AND product_code = :code"
        )
        (row,) = self.rows(query, code=code)
        return row

    def stock(self) -> dict[tuple[str, str, str], int]:
        query = "SELECT * FROM product_stock WHERE dealer = :dealer"
        return {
            (row["product_code"], row["county_code"], row["sec_code"]): row["stock"]
            for row in self.rows(query)
        }

    def everything(self) -> list[list[dict[str, Any]]]:
        tables = ("brand", "product", "product_stock")
        query = "SELECT * FROM {0} WHERE dealer = :dealer ORDER BY {0}::text"
        return [self.rows(query.format(table)) for table in tables]


@pytest.fixture
def shelf(engine: Engine) -> Shelf:
    return Shelf(engine)


# ------------------------------------------------------------------------------------ products


def test_an_unknown_product_is_inserted_with_all_it_has(shelf: Shelf) -> None:
    before = datetime.now(UTC)
    report = shelf.load(TODAY, [product("A", product_image_url="https://cdn.example/a.jpg")])
    row = shelf.product("A")
    assert (row["name"], row["product_model"]) == ("model of A", "model of A")
    assert (row["brand"], row["product_group"]) == ("海尔", "冰箱")
    assert row["product_image_url"] == "https://cdn.example/a.jpg"
    assert row["product_page_urls"] == ["https://cdn.example/1.jpg"]
    assert (row["source"], row["is_active"], row["is_sales"]) == ("haier", True, "1")
    assert (row["sync_date"], row["stock"]) == (TODAY, None)
    assert before <= row["created_at"] == row["updated_at"] == row["last_sync_at"]
    assert (report.products, report.products_new, report.products_found) == (1, 1, 1)


def test_amounts_arrive_to_the_last_decimal(shelf: Shelf) -> None:
    """Fault matrix, row 19."""
    shelf.load(TODAY, [product("A", supply_price=Decimal("9999999999.9999"))])
    assert str(shelf.product("A")["supply_price"]) == "9999999999.9999"
    assert str(shelf.product("A")["invoice_price"]) == "2849.05"


@pytest.mark.parametrize(
    ("market", "supply", "price"), [("3999.00", "2999.00", "3999.00"), (None, "2999.00", "2999.00")]
)
def test_the_shops_price_starts_as_the_market_price_else_the_supply_price(
    shelf: Shelf, market: str | None, supply: str, price: str
) -> None:
    given = Decimal(market) if market else None
    shelf.load(TODAY, [product("A", market_price=given, supply_price=Decimal(supply))])
    assert shelf.product("A")["price"] == Decimal(price)


def test_the_shops_price_is_the_shops_from_then_on(shelf: Shelf) -> None:
    shelf.load(TODAY, [product("A")])
    shelf.load(TOMORROW, [product("A", market_price=Decimal(5000))])
    assert shelf.product("A")["price"] == Decimal("3999.00")
    assert shelf.product("A")["market_price"] == Decimal(5000)
    shelf.run("UPDATE product SET price = 1234.5")
    shelf.load(TOMORROW, [product("A", market_price=Decimal(6000))])
    assert shelf.product("A")["price"] == Decimal("1234.5")


@pytest.mark.parametrize("zero", ["0", "0.00"])
def test_a_market_price_of_zero_is_not_the_shops_price_which_waits(shelf: Shelf, zero: str) -> None:
    """Fault matrix, row 31b: zero says that nobody maintains the price."""
    shelf.load(TODAY, [product("A", market_price=Decimal(zero))])
    row = shelf.product("A")
    assert (row["price"], row["market_price"], row["supply_price"]) == (None, 0, Decimal("2999.00"))
    shelf.load(TOMORROW, [product("A")])
    assert shelf.product("A")["price"] == Decimal("3999.00")
    shelf.load(TOMORROW, [product("A", market_price=Decimal(0))])
    assert shelf.product("A")["price"] == Decimal("3999.00")


def test_a_price_of_zero_that_the_shop_set_is_the_shops(shelf: Shelf) -> None:
    shelf.load(TODAY, [product("A")])
    shelf.run("UPDATE product SET price = 0")
    shelf.load(TOMORROW, [product("A")])
    assert shelf.product("A")["price"] == 0


@pytest.mark.parametrize("supply", [None, Decimal(0)])
def test_a_quote_without_a_positive_supply_price_changes_nothing(
    shelf: Shelf, supply: Decimal | None
) -> None:
    """Fault matrix, row 31b: also where an earlier version priced the day."""
    shelf.load(TODAY, [product("A"), product("B", supply_price=supply)])
    assert shelf.product("B")["price"] is None
    before = shelf.product("A")
    other = {name: Decimal(7) for name in PRICE_COLUMNS} | {"rebate_policy": "2"}
    shelf.load(TOMORROW, [product("A", **(other | {"supply_price": supply}))])
    moving = {"sync_date", "last_sync_at"}
    assert {k: v for k, v in shelf.product("A").items() if k not in moving} == {
        k: v for k, v in before.items() if k not in moving
    }


def test_a_quote_is_one_thing_and_what_it_leaves_out_is_null(shelf: Shelf) -> None:
    """Fault matrix, row 31b."""
    shelf.load(TODAY, [product("A")])
    left_out = dict.fromkeys(PRICE_COLUMNS) | {"supply_price": Decimal(2100)}
    report = shelf.load(TOMORROW, [product("A", **left_out)])
    row = shelf.product("A")
    assert {name: row[name] for name in PRICE_COLUMNS} == left_out
    assert report.products_changed == 1


def test_a_product_that_had_no_price_gets_its_first_one_later(shelf: Shelf) -> None:
    none = dict.fromkeys(PRICE_COLUMNS)
    shelf.load(TODAY, [product("A", **none)])
    assert shelf.product("A")["price"] is None
    shelf.load(TODAY, [product("A")])
    assert shelf.product("A")["price"] == Decimal("3999.00")


def test_prices_change_only_where_the_platform_gave_some(shelf: Shelf) -> None:
    """Fault matrix, row 15: a product left out keeps its old price."""
    shelf.load(TODAY, [product("A"), product("B")])
    none = dict.fromkeys(PRICE_COLUMNS)
    shelf.load(
        TOMORROW, [product("A", **none), product("B", supply_price=Decimal(1), market_price=None)]
    )
    kept, changed = shelf.product("A"), shelf.product("B")
    assert kept["supply_price"] == Decimal("2999.00")
    assert kept["stock_rebate"] == Decimal("0.05")
    assert (changed["supply_price"], changed["market_price"]) == (1, None)


def test_facts_follow_the_platform_even_to_nothing(shelf: Shelf) -> None:
    """Fault matrix, row 21."""
    shelf.load(TODAY, [product("A", product_image_url="x", no_sales_reason="y", is_sales="0")])
    facts = ("product_model", "product_group", "brand", "product_image_url", "no_sales_reason")
    shelf.load(TODAY, [product("A", **dict.fromkeys(facts), product_page_urls=[])])
    row = shelf.product("A")
    assert [row[name] for name in facts] == [None] * 5
    assert (row["name"], row["product_page_urls"], row["is_sales"]) == ("A", [], "1")


def test_columns_that_are_the_shops_are_never_touched(shelf: Shelf) -> None:
    shelf.load(TODAY, [product("A")])
    shelf.run("ALTER TABLE product ADD COLUMN shelf_label text")
    shelf.run("UPDATE product SET is_active = false, shelf_label = '二楼'")
    created = shelf.product("A")["created_at"]
    shelf.load(TOMORROW, [product("A", product_model="new")])
    row = shelf.product("A")
    assert (row["is_active"], row["shelf_label"], row["created_at"]) == (False, "二楼", created)
    assert row["product_model"] == "new"


@pytest.mark.parametrize(
    "name", ["长" * 10_000, "😀🧊 冰箱 ❄️", "a'; DROP TABLE product; --", "\t\\N\n"]
)
def test_any_text_is_kept_whole(shelf: Shelf, name: str) -> None:
    """Fault matrix, row 22."""
    texts = dict.fromkeys(("product_model", "product_group", "no_sales_reason"), name)
    shelf.load(TODAY, [product("A", **texts, product_page_urls=[name])])
    row = shelf.product("A")
    assert [row[column] for column in (*texts, "name")] == [name] * 4
    assert row["product_page_urls"] == [name]


# -------------------------------------------------------------------------------------- brands


def test_a_brand_is_created_once_and_shared(shelf: Shelf) -> None:
    report = shelf.load(TODAY, [product("A"), product("B"), product("C", brand="卡萨帝")])
    assert (report.brands, report.brands_new) == (2, 2)
    again = shelf.load(TOMORROW, [product("A"), product("D", brand="统帅")])
    assert (again.brands, again.brands_new) == (2, 1)
    names = [row["name"] for row in shelf.rows("SELECT name FROM brand ORDER BY id")]
    assert sorted(names) == sorted(["海尔", "卡萨帝", "统帅"])
    assert shelf.product("A")["brand_id"] == shelf.product("B")["brand_id"]


def test_a_product_moves_to_another_brand_and_to_none(shelf: Shelf) -> None:
    """Fault matrix, row 21: a brand that is null costs no product."""
    shelf.load(TODAY, [product("A")])
    shelf.load(TODAY, [product("A", brand="卡萨帝")])
    assert shelf.product("A")["brand"] == "卡萨帝"
    shelf.load(TODAY, [product("A", brand=None)])
    assert shelf.product("A")["brand"] is None
    assert shelf.product("A")["is_sales"] == "1"


def test_a_brand_too_long_for_its_index_is_refused_not_cut(shelf: Shelf) -> None:
    """Fault matrix, row 22: rules leave such a brand out before, and report it."""
    shelf.load(TODAY, [product("A", brand="长" * 200)])
    with pytest.raises(CatalogError, match="too long"):
        shelf.load(TODAY, [product("A", brand="长" * 201)])
    assert shelf.product("A")["brand"] == "长" * 200


# ---------------------------------------------------------------------------- gone, and again


def test_a_product_that_left_a_complete_listing_is_switched_off(shelf: Shelf) -> None:
    """Fault matrix, row 31."""
    shelf.load(TODAY, [product("A"), product("B")], {("B", "110101"): [("Q1", 3)]})
    report = shelf.load(TOMORROW, [product("A")])
    row = shelf.product("B")
    assert (row["is_sales"], row["no_sales_reason"]) == ("0", VANISHED)
    assert row["price"] == Decimal("3999.00")
    assert report.vanished == 1
    updated = row["updated_at"]
    assert shelf.load(TOMORROW, [product("A")]).vanished == 0
    assert shelf.product("B")["updated_at"] == updated


def test_a_product_that_returns_has_its_old_id_and_the_shops_edits(shelf: Shelf) -> None:
    """Fault matrix, row 31."""
    shelf.load(YESTERDAY, [product("A"), product("B")])
    shelf.run("UPDATE product SET price = 1, is_active = false WHERE product_code = 'B'")
    before = shelf.product("B")
    shelf.load(TODAY, [product("A")])
    shelf.load(TOMORROW, [product("A"), product("B")])
    row = shelf.product("B")
    assert (row["id"], row["created_at"]) == (before["id"], before["created_at"])
    assert (row["price"], row["is_active"]) == (1, False)
    assert (row["is_sales"], row["no_sales_reason"]) == ("1", None)


def test_a_product_whose_record_cannot_be_read_stays_as_it_is(shelf: Shelf) -> None:
    """Fault matrix, row 31a: it stands in the listing, and not priced."""
    stock: Answers = {("A", "110101"): [("Q1", 3)], ("B", "110101"): [("Q1", 3)]}
    shelf.load(TODAY, [product("A"), product("B"), product("C")], stock)
    before = shelf.product("B")
    listed(shelf, TOMORROW, ["A", "B"])
    report = shelf.load(TOMORROW, [product("A")], {("A", "110101"): [("Q1", 3)]})
    assert report.vanished == 1
    assert shelf.product("B") == before
    assert shelf.product("C")["is_sales"] == "0"


def test_an_older_day_does_not_switch_off_what_a_newer_one_could_not_read(shelf: Shelf) -> None:
    """Fault matrix, rows 31a and 44."""
    listed(shelf, YESTERDAY, ["A", "B", "C"])
    listed(shelf, TODAY, ["A", "B"])
    shelf.load(TODAY, [product("A")])
    shelf.load(YESTERDAY, [product("A"), product("B"), product("C")])
    assert {code: shelf.product(code)["is_sales"] for code in "BC"} == {"B": "1", "C": "0"}


def test_an_incomplete_listing_switches_nothing_off(shelf: Shelf) -> None:
    shelf.load(TODAY, [product("A"), product("B")])
    untouched = shelf.product("B")
    assert shelf.load(TODAY, [product("A")], complete=False).vanished == 0
    assert shelf.product("B") == untouched


def test_products_that_are_not_haiers_and_other_dealers_are_left_alone(shelf: Shelf) -> None:
    other = Shelf(shelf.engine, "other")
    other.load(TODAY, [product("A"), product("B")], {("B", "110101"): [("Q1", 3)]})
    shelf.load(TODAY, [product("A"), product("B")])
    shelf.run("UPDATE product SET source = 'shop' WHERE dealer = :dealer AND product_code = 'B'")
    kept, untouched = shelf.product("B"), other.everything()
    shelf.load(TOMORROW, [product("A")], counties=["310101"])
    assert shelf.product("B") == kept
    assert other.everything() == untouched


# ---------------------------------------------------------------------------- older and newer


def test_an_older_day_never_overwrites_a_newer_one(shelf: Shelf) -> None:
    """Fault matrix, row 44."""
    shelf.load(TODAY, [product("A")], {("A", "110101"): [("Q1", 3)]})
    before = shelf.everything()
    report = shelf.load(
        YESTERDAY,
        [product("A", product_model="old", supply_price=Decimal(1))],
        {("A", "110101"): [("Q1", 99), ("Q2", 1)]},
    )
    assert shelf.everything() == before
    assert (report.products, report.products_newer, report.stock_rows) == (0, 1, 0)


def test_an_older_day_switches_nothing_newer_off(shelf: Shelf) -> None:
    """Fault matrix, row 44."""
    shelf.load(TODAY, [product("A"), product("B")])
    shelf.load(YESTERDAY, [product("A")])
    assert shelf.product("B")["is_sales"] == "1"


def test_an_older_day_takes_no_stock_of_newer_counties_away(shelf: Shelf) -> None:
    """Fault matrix, row 44."""
    shelf.load(TODAY, [product("A")], {("A", "310101"): [("Q1", 3)]})
    shelf.load(YESTERDAY, [product("A")], counties=["110101"])
    assert shelf.stock() == {("A", "310101", "Q1"): 3}


def listed(shelf: Shelf, day: date, codes: Sequence[str]) -> None:
    """Keeps a complete listing of the day, as a sync does before it loads."""
    partition = Partition(shelf.dealer, day)
    records = [RawRecord(code, {}) for code in codes]
    raw.open_fetch(shelf.engine, partition, "product_listings", f"root {day}")
    raw.save_listing(
        shelf.engine, partition, f"root {day}", records, [], run_id="run", complete=True
    )


def test_an_older_day_loaded_late_brings_its_products_switched_off(shelf: Shelf) -> None:
    """Fault matrix, row 44: a newer complete listing no longer had them."""
    listed(shelf, YESTERDAY, ["A", "B"])
    listed(shelf, TODAY, ["A"])
    shelf.load(TODAY, [product("A")])
    shelf.load(YESTERDAY, [product("A"), product("B")])
    row = shelf.product("B")
    assert (row["is_sales"], row["no_sales_reason"], row["sync_date"]) == ("0", VANISHED, YESTERDAY)
    assert shelf.product("A")["sync_date"] == TODAY


def test_days_loaded_in_any_order_end_in_the_same_catalog(shelf: Shelf) -> None:
    """Fault matrix, invariant B: a backfill backwards equals the syncs as they were."""
    other = Shelf(shelf.engine, "other")
    days: dict[date, list[dict[str, Any]]] = {
        YESTERDAY: [product("A"), product("B"), product("C", supply_price=Decimal(1))],
        TODAY: [product("A", brand="卡萨帝"), product("C")],
        TOMORROW: [product("A"), product("B", product_model="back"), product("D")],
    }
    for one, order in ((shelf, sorted(days)), (other, sorted(days, reverse=True))):
        for day in days:
            listed(one, day, [row["product_code"] for row in days[day]])
        for day in order:
            one.load(day, days[day], {("A", "110101"): [("Q1", day.day)]})
    query = (
        "SELECT product_code, p.name, b.name AS brand, is_sales, no_sales_reason, supply_price,"
        " stock FROM product p LEFT JOIN brand b ON b.id = p.brand_id WHERE p.dealer = :dealer"
        " ORDER BY product_code"
    )
    assert shelf.rows(query) == other.rows(query)
    assert shelf.stock() == other.stock()


# --------------------------------------------------------------------------------------- stock


def test_stock_of_a_product_is_the_sum_and_its_warehouse_the_fullest(shelf: Shelf) -> None:
    shelf.load(
        TODAY,
        [product("A")],
        {("A", "110101"): [("Q1", 3), ("Q2", 8)], ("A", "310101"): [("Q3", 5), ("Q4", 8)]},
    )
    row = shelf.product("A")
    assert (row["stock"], row["warehouse_code"]) == (24, "Q2")
    assert row["warehouse_grade"] == "grade of Q2"


def test_an_empty_answer_is_zero_and_removes_the_warehouses(shelf: Shelf) -> None:
    """Fault matrix, rows 24 and 25."""
    shelf.load(TODAY, [product("A")], {("A", "110101"): [("Q1", 3), ("Q2", 1)]})
    report = shelf.load(TODAY, [product("A")], {("A", "110101"): []})
    row = shelf.product("A")
    assert (row["stock"], row["warehouse_code"], row["warehouse_grade"]) == (0, None, None)
    assert shelf.stock() == {}
    assert report.stock_removed == 2


def test_no_answer_keeps_the_old_stock(shelf: Shelf) -> None:
    """Fault matrix, rows 25 and 27."""
    shelf.load(TODAY, [product("A")], {("A", "110101"): [("Q1", 3)], ("A", "310101"): [("Q2", 4)]})
    shelf.load(TODAY, [product("A")])
    assert (shelf.product("A")["stock"], shelf.product("A")["warehouse_code"]) == (7, "Q2")
    shelf.load(TODAY, [product("A")], {("A", "110101"): [("Q1", 1)]})
    assert (shelf.product("A")["stock"], shelf.product("A")["warehouse_code"]) == (5, "Q2")


def test_a_warehouse_that_left_the_answer_is_removed(shelf: Shelf) -> None:
    shelf.load(TODAY, [product("A")], {("A", "110101"): [("Q1", 3), ("Q2", 4)]})
    shelf.load(TODAY, [product("A")], {("A", "110101"): [("Q2", 4)]})
    assert shelf.stock() == {("A", "110101", "Q2"): 4}
    assert shelf.product("A")["stock"] == 4


def test_an_answer_that_could_not_be_read_whole_takes_no_warehouse_away(shelf: Shelf) -> None:
    """Fault matrix, row 26."""
    shelf.load(TODAY, [product("A")], {("A", "110101"): [("Q1", 3), ("Q2", 4)]})
    shelf.load(TODAY, [product("A")], {("A", "110101"): [("Q2", 1)]}, unread=[("A", "110101")])
    assert shelf.stock() == {("A", "110101", "Q1"): 3, ("A", "110101", "Q2"): 1}
    assert shelf.product("A")["stock"] == 4


def test_stock_of_a_county_no_longer_configured_is_removed(shelf: Shelf) -> None:
    both: Answers = {("A", "110101"): [("Q1", 3)], ("A", "310101"): [("Q2", 4)]}
    shelf.load(TODAY, [product("A")], both)
    report = shelf.load(TODAY, [product("A")], {("A", "110101"): [("Q1", 3)]}, counties=["110101"])
    assert shelf.stock() == {("A", "110101", "Q1"): 3}
    assert (shelf.product("A")["stock"], report.stock_removed) == (3, 1)


def test_a_county_that_goes_takes_its_share_of_products_nobody_asked_about(shelf: Shelf) -> None:
    """Else the stock of a product would not be the sum of its warehouses."""
    both: Answers = {
        (code, county): [(f"Q{county}", 4), (f"W{county}", 1)]
        for code in "ABC"
        for county in ("110101", "310101")
    }
    shelf.load(TODAY, [product(code) for code in "ABC"], both)
    # A is asked, B is listed and not asked, C is gone.
    shelf.load(
        TOMORROW,
        [product("A"), product("B")],
        {("A", "110101"): [("Q110101", 2)]},
        counties=["110101"],
    )
    totals = {code: shelf.product(code)["stock"] for code in "ABC"}
    assert totals == {"A": 2, "B": 5, "C": 5}
    assert shelf.product("C")["warehouse_code"] == "Q110101"
    shelf.load(TOMORROW, [product("A")], counties=["440106"])
    assert {code: shelf.product(code)["stock"] for code in "ABC"} == {"A": 0, "B": 0, "C": 0}
    assert shelf.product("C")["warehouse_code"] is None


def test_warehouses_of_a_product_that_is_not_in_the_load_are_not_written(shelf: Shelf) -> None:
    report = shelf.load(TODAY, [product("A")], {("B", "110101"): [("Q1", 3)]})
    assert (shelf.stock(), report.stock_rows, report.stock_found) == ({}, 0, 0)


def counted(shelf: Shelf) -> dict[tuple[str, str], bool]:
    query = "SELECT * FROM product_stock WHERE dealer = :dealer"
    return {(row["county_code"], row["sec_code"]): row["is_counted"] for row in shelf.rows(query)}


def test_a_storage_location_counts_once_however_many_counties_it_serves(shelf: Shelf) -> None:
    """Fault matrix, row 31c: the largest quantity, of the smaller county where they are equal."""
    shelf.load(
        TODAY,
        [product("A")],
        {
            ("A", "110101"): [("Q1", 3), ("Q2", 8), ("Q3", 5)],
            ("A", "310101"): [("Q1", 7), ("Q2", 8), ("Q4", 0)],
        },
    )
    assert counted(shelf) == {
        ("110101", "Q1"): False,
        ("310101", "Q1"): True,
        ("110101", "Q2"): True,
        ("310101", "Q2"): False,
        ("110101", "Q3"): True,
        ("310101", "Q4"): True,
    }
    row = shelf.product("A")
    assert (row["stock"], row["warehouse_code"], row["warehouse_grade"]) == (
        20,
        "Q2",
        "grade of Q2",
    )
    # The other county's row counts as soon as it is the larger one, asked for or not.
    shelf.load(TODAY, [product("A")], {("A", "110101"): [("Q1", 9), ("Q2", 1)]})
    assert {key for key, counts in counted(shelf).items() if counts} == {
        ("110101", "Q1"),
        ("310101", "Q2"),
        ("310101", "Q4"),
    }
    assert shelf.product("A")["stock"] == 17


def test_a_county_asked_for_once_stands_uncounted_until_the_next_load(shelf: Shelf) -> None:
    """Fault matrix, row 31c."""
    both: Answers = {("A", "110101"): [("Q1", 3)], ("A", "440106"): [("Q1", 9), ("Q5", 4)]}
    options: dict[str, Any] = {"counties": ["110101"]}
    shelf.load(TODAY, [product("A")], both, asked=["440106"], **options)
    assert counted(shelf) == {
        ("110101", "Q1"): True,
        ("440106", "Q1"): False,
        ("440106", "Q5"): False,
    }
    assert shelf.product("A")["stock"] == 3
    updated = shelf.product("A")["updated_at"]
    report = shelf.load(TODAY, [product("A")], **options)
    assert (shelf.stock(), report.stock_removed) == ({("A", "110101", "Q1"): 3}, 2)
    assert (shelf.product("A")["stock"], shelf.product("A")["updated_at"]) == (3, updated)


def test_a_product_asked_for_in_no_configured_county_has_no_stock_yet(shelf: Shelf) -> None:
    options: dict[str, Any] = {"counties": ["110101"]}
    stock: Answers = {("A", "440106"): [("Q1", 9)]}
    report = shelf.load(TODAY, [product("A")], stock, asked=["440106"], **options)
    assert (shelf.product("A")["stock"], report.stock_sums_wrong) == (None, ())
    shelf.load(TODAY, [product("A")], **options)
    assert shelf.product("A")["stock"] is None


def test_a_change_of_the_configuration_counts_products_anew_that_nobody_asked_about(
    shelf: Shelf,
) -> None:
    """Fault matrix, row 31c: B is listed and not asked, C is gone."""
    both: Answers = {
        (code, county): [("Q1", pieces), (f"W{county}", 1)]
        for code in "ABC"
        for county, pieces in (("110101", 4), ("310101", 6))
    }
    shelf.load(TODAY, [product(code) for code in "ABC"], both)
    assert {shelf.product(code)["stock"] for code in "ABC"} == {8}
    shelf.load(TOMORROW, [product("A"), product("B")], counties=["110101"])
    assert {shelf.product(code)["stock"] for code in "ABC"} == {5}
    assert shelf.product("C")["warehouse_code"] == "Q1"
    assert set(counted(shelf).values()) == {True}


def test_stock_that_an_older_program_loaded_is_counted_by_the_next_load(shelf: Shelf) -> None:
    both: Answers = {("A", "110101"): [("Q1", 4)], ("A", "310101"): [("Q1", 6)]}
    shelf.load(TODAY, [product("A")], both)
    shelf.run("UPDATE product_stock SET is_counted = true")
    shelf.run("UPDATE product SET stock = 10, warehouse_code = 'old'")
    report = shelf.load(TODAY, [product("B")], complete=False)
    row = shelf.product("A")
    assert (row["stock"], row["warehouse_code"], report.stock_sums_wrong) == (6, "Q1", ())


def test_an_older_day_does_not_count_the_stock_of_a_newer_one_anew(shelf: Shelf) -> None:
    """Fault matrix, row 44."""
    both: Answers = {("A", "110101"): [("Q1", 4)], ("A", "310101"): [("Q1", 6)]}
    shelf.load(TODAY, [product("A")], both)
    before = shelf.everything()
    shelf.load(YESTERDAY, [product("A")], {("A", "110101"): [("Q1", 9)]}, counties=["110101"])
    assert shelf.everything() == before


# ----------------------------------------------------------------------------- twice the same


def test_loading_twice_changes_nothing_but_the_times_of_sync(shelf: Shelf) -> None:
    rows = [product(f"P{number}") for number in range(50)]
    stock: Answers = {(f"P{number}", "110101"): [("Q1", number)] for number in range(50)}
    shelf.load(TODAY, rows, stock)
    before = shelf.everything()
    report = shelf.load(TODAY, rows, stock)
    after = shelf.everything()
    assert (report.products_new, report.products_changed) == (0, 0)
    assert (report.stock_new, report.stock_removed, report.vanished) == (0, 0, 0)
    assert after[0] == before[0]
    for table, moving in ((1, "last_sync_at"), (2, "synced_at")):
        old, new = (
            sorted(rows, key=lambda row: str(row["product_code"]))
            for rows in (before[table], after[table])
        )
        assert all(b[moving] > a[moving] for a, b in zip(old, new, strict=True))
        assert [row | {moving: 0} for row in new] == [row | {moving: 0} for row in old]


def test_updated_at_moves_only_with_the_row(shelf: Shelf) -> None:
    shelf.load(TODAY, [product("A"), product("B")], {("A", "110101"): [("Q1", 3)]})
    before = {code: shelf.product(code)["updated_at"] for code in "AB"}
    report = shelf.load(TODAY, [product("A"), product("B")], {("A", "110101"): [("Q1", 4)]})
    assert shelf.product("A")["updated_at"] > before["A"]
    assert shelf.product("B")["updated_at"] == before["B"]
    assert report.products_changed == 1


def test_a_daily_load_rewrites_rows_in_place(shelf: Shelf) -> None:
    """HOT updates: a new time of sync touches no index, day after day without a vacuum.

    Only a product that changed does, since its time of change is indexed.
    """
    rows = [product(f"P{number:04}") for number in range(2_000)]

    def stock(day: int) -> Answers:
        # All quantities move, and add up to the same, so that no product changes by them.
        return {(row["product_code"], "110101"): [("Q1", 5 + day), ("Q2", 5 - day)] for row in rows}

    shelf.load(TODAY, rows, stock(0))
    changed = 0
    for day in range(1, 4):
        for row in rows[day::20]:
            row["supply_price"] += 1
        changed += shelf.load(TODAY + timedelta(days=day), rows, stock(day)).products_changed
    assert changed == 300
    query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = :table"
    for table, moved, updates in (("product", changed, 6_000), ("product_stock", 0, 12_000)):
        end = time.monotonic() + 10
        while True:
            shelf.run("SELECT pg_stat_force_next_flush()")
            (counts,) = shelf.rows(query, table=table)
            if counts["n_tup_upd"] >= updates:
                break
            assert time.monotonic() < end, counts
            time.sleep(0.05)
        assert counts["n_tup_hot_upd"] > 0.95 * (updates - moved), (table, counts)


def test_no_statement_of_a_load_joins_row_by_row(shelf: Shelf) -> None:
    """Fault matrix, row 64: without statistics the planner guesses one row where there are many."""
    kinds: list[str] = []
    nested: list[str] = []

    def explain(
        connection: Connection, cursor: Any, statement: str, parameters: Any, *rest: Any
    ) -> None:
        words = statement.split()
        if words[0] in ("WITH", "SELECT", "INSERT", "UPDATE", "DELETE"):
            driver: Any = connection.connection.driver_connection
            found = driver.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters).fetchone()
            kinds.append(words[0])
            if "Nested Loop" in str(found[0]):
                nested.append(statement)

    listed(shelf, TODAY, ["A", "B"])
    stock: Answers = {(code, "110101"): [("Q1", 3)] for code in "AB"}
    event.listen(shelf.engine, "before_cursor_execute", explain)
    try:
        for day in (TODAY, TOMORROW):
            shelf.load(day, [product("A"), product("B")], stock)
    finally:
        event.remove(shelf.engine, "before_cursor_execute", explain)
    assert len(kinds) > 30
    assert nested == []


# ------------------------------------------------------------------------------ all or nothing


def test_a_load_is_taken_back_whole_when_its_conclusion_refuses(shelf: Shelf) -> None:
    """Fault matrix, invariant A."""
    shelf.load(TODAY, [product("A")], {("A", "110101"): [("Q1", 3)]})
    before = shelf.everything()
    seen: list[LoadReport] = []

    def refuse(connection: Connection, report: LoadReport) -> None:
        seen.append(report)
        raise SafetyStop("no")

    shelf.priced(TOMORROW, [product("B", brand="新")])
    stock = frames({("B", "110101"): [("Q1", 3)]})
    with pytest.raises(SafetyStop):
        load(shelf.engine, Partition("haier", TOMORROW), stock, refuse)
    assert shelf.everything() == before
    assert (seen[0].products_new, seen[0].vanished, len(seen)) == (1, 1, 1)


def test_the_report_tells_when_the_tables_do_not_hold_what_was_computed(shelf: Shelf) -> None:
    """What the blocking checks of a load are made of."""
    shelf.load(TODAY, [product("A"), product("B")], {("A", "110101"): [("Q1", 3)]})
    # Something in the database changes rows on their way, as a trigger of the shop's might.
    shelf.run(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " NEW.stock := 77; RETURN NEW; END $$"
    )
    shelf.run(
        "CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON product"
        " FOR EACH ROW EXECUTE FUNCTION meddle()"
    )
    report = shelf.load(TODAY, [product("A"), product("B")], {("A", "110101"): [("Q1", 5)]})
    assert report.stock_sums_wrong == ("A",)
    shelf.run(
        "CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON product_stock"
        " FOR EACH ROW EXECUTE FUNCTION meddle()"
    )
    report = shelf.load(TODAY, [product("A")], {("A", "110101"): [("Q1", 5)]})
    assert (report.stock_rows, report.stock_found) == (1, 0)


def test_log_row_and_data_become_visible_together(shelf: Shelf) -> None:
    """Fault matrix, row 33."""
    attempt = log.Attempt("products", "products", "haier", TODAY, "run", "run")
    row = log.begin(shelf.engine, attempt)
    watcher = Shelf(shelf.engine)

    def conclude(connection: Connection, report: LoadReport) -> None:
        assert log.finish(connection, row, log.Result("success", "", report.products))
        assert watcher.everything() == [[], [], []]
        assert log.entries(watcher.engine)[0].status == "processing"

    shelf.priced(TODAY, [product("A")])
    load(shelf.engine, Partition("haier", TODAY), frames(), conclude)
    assert shelf.product("A")
    assert log.entries(shelf.engine)[0].status == "success"


def test_two_loads_of_a_dealer_wait_for_each_other(shelf: Shelf) -> None:
    """Fault matrix, row 40: they never meet in the middle, hence never deadlock."""
    inside = threading.Event()
    go_on = threading.Event()
    order: list[str] = []

    def first(connection: Connection, report: LoadReport) -> None:
        inside.set()
        assert go_on.wait(10)
        order.append("first")

    def run(code: str, conclude: Callable[[Connection, LoadReport], None]) -> threading.Thread:
        # Nothing in common, so that no row keeps one waiting for the other.
        day = {"A": TODAY, "B": TOMORROW}[code]
        work = (shelf.engine, Partition("haier", day), frames(complete=False), conclude)
        thread = threading.Thread(target=load, args=work)
        thread.start()
        return thread

    shelf.priced(TODAY, [product("A", brand="A")])
    shelf.priced(TOMORROW, [product("B", brand="B")])
    one = run("A", first)
    assert inside.wait(10)
    two = run("B", lambda connection, report: order.append("second"))
    # Another dealer need not wait.
    Shelf(shelf.engine, "other").load(TODAY, [product("A")])
    two.join(0.3)
    assert two.is_alive()
    go_on.set()
    one.join(10)
    two.join(10)
    assert order == ["first", "second"]


def test_a_load_waits_for_whoever_holds_the_dealer(shelf: Shelf) -> None:
    partition = Partition("haier", TODAY)
    priced = frame([product("A")], PRODUCT_COLUMNS | {"no_price_reason": "text"})
    with shelf.engine.begin() as connection:
        lock_dealer(connection, "haier")
        thread = threading.Thread(target=store_priced, args=(shelf.engine, partition, priced))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()
    assert len(read_priced(shelf.engine, partition)) == 1


# ------------------------------------------------------------------------------ priced products


def test_priced_products_come_back_as_they_were_stored(engine: Engine) -> None:
    partition = Partition("haier", TODAY)
    rows = [product("B", no_price_reason="价格未生效"), product("A", brand=None, supply_price=None)]
    stored = frame(rows, PRODUCT_COLUMNS | {"no_price_reason": "text"})
    store_priced(engine, partition, stored)
    found = read_priced(engine, partition)
    expected = stored.sort_values("product_code", ignore_index=True)
    assert found.to_dict("records") == expected.to_dict("records")
    assert isinstance(found["supply_price"][1], Decimal)
    assert found["supply_price"][0] is None


def test_priced_products_of_a_partition_are_replaced_whole(engine: Engine) -> None:
    columns = PRODUCT_COLUMNS | {"no_price_reason": "text"}
    today, other = Partition("haier", TODAY), Partition("haier", YESTERDAY)
    for partition in (today, other):
        store_priced(engine, partition, frame([product("A"), product("B")], columns))
    store_priced(engine, today, frame([product("C")], columns))
    assert list(read_priced(engine, today)["product_code"]) == ["C"]
    assert list(read_priced(engine, other)["product_code"]) == ["A", "B"]
    assert read_priced(engine, Partition("nobody", TODAY)).empty
