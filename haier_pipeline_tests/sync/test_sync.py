"""Syncs without faults: what they leave in the tables, and what they leave alone."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from haier_pipeline.domain.partition import today
from haier_pipeline.errors import InvalidInput
from haier_pipeline.sandbox.catalog import SandboxCatalog
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync import fetch
from haier_pipeline.sync.run import resumable

Expect = Callable[..., dict[str, str]]
COUNTIES = ["110101", "310101"]


def amount(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def test_a_sync_brings_exactly_what_the_platform_has(
    shop: Any, platform: SandboxCatalog, sandbox: SandboxProcess, expect: Expect
) -> None:
    ended = shop.sync()
    expect(ended, everything="success")
    products, stock = shop.catalog()
    listed = {record["productCode"]: record for record in platform.listing(today())}
    assert {row["product_code"] for row in products} == listed.keys()
    answered = set(platform.procurable_codes())
    warehouses = {
        (code, county, record["secCode"]): int(record["stock"])
        for code in answered
        for county in COUNTIES
        for record in platform.stock(code, county, today())
    }
    assert {
        (row["product_code"], row["county_code"], row["sec_code"]): row["stock"] for row in stock
    } == warehouses
    for row in products:
        code = row["product_code"]
        record, price = listed[code], platform.price(code, today())
        assert price is not None
        assert row["product_model"] == record["productModel"]
        assert row["product_group"] in record.values()
        assert row["brand"] == record["productBrandName"]
        assert row["is_sales"] == str(record["isSales"])
        assert row["product_page_urls"] == (record.get("productLageUrls") or [])
        assert row["supply_price"] == amount(price["supplyPrice"])
        counts = price["supplyPrice"] is not None
        assert row["market_price"] == (amount(price["marketPrice"]) if counts else None)
        assert shop.prices()[code] == (row["market_price"] or row["supply_price"])
        of_product = {key[1:]: pieces for key, pieces in warehouses.items() if key[0] == code}
        assert row["stock"] == (shop.counted(of_product) if code in answered else None)
    report = sandbox.report()
    calls = {"token": 1, "listing": 1, "prices": 1, "stock": len(answered) * 2}
    assert calls.items() <= report["calls"].items()
    assert report["repeated"] == 0


def test_the_log_has_a_row_for_each_asset_with_its_counts(
    shop: Any, platform: SandboxCatalog
) -> None:
    shop.sync(run_id="run-x")
    procurable = len(platform.procurable_codes())
    brands = {record["productBrandName"] for record in platform.listing(today())}
    stock = len(shop.catalog()[1])
    entries = shop.log()
    assert {entry.asset_key: (entry.sync_type, entry.total_count) for entry in entries} == {
        "product_listings": ("products", 12),
        "price_quotes": ("prices", procurable),
        "stock_levels": ("stock", procurable * 2),
        "priced_products": ("prices", 12),
        "brands": ("products", len(brands)),
        "products": ("products", 12),
        "product_stock": ("stock", stock),
    }
    for entry in entries:
        assert (entry.run_id, entry.dealer, entry.attempt) == ("run-x", "haier", 1)
        assert (entry.sync_date, entry.failed_count) == (today(), 0)
        assert entry.metadata["records"] == entry.total_count
    passed = {
        (entry.asset_key, check["name"]): check["passed"]
        for entry in entries
        for check in entry.checks
    }
    assert {
        ("product_listings", "not_empty"),
        ("product_listings", "not_shrunk"),
        ("products", "rows_match"),
        ("product_stock", "rows_match"),
        ("product_stock", "stock_adds_up"),
    } <= passed.keys()
    assert all(passed.values())


def test_a_second_sync_changes_only_what_moved(
    shop: Any, good: Any, undisturbed: Any, expect: Expect
) -> None:
    prices = shop.prices()
    ended = shop.sync()
    expect(ended, everything="success")
    assert shop.catalog() == undisturbed()
    assert shop.catalog() != good
    assert shop.prices() == prices
    metadata = ended["products"].result.metadata
    assert metadata["products_new"] == 0
    assert 0 < metadata["products_changed"] <= 12


def test_the_same_sync_again_leaves_every_row_as_it_is(shop: Any, expect: Expect) -> None:
    shop.sync()
    before = shop.catalog()
    times = shop.rows("SELECT id, created_at, updated_at FROM product ORDER BY id")
    ended = shop.sync()
    expect(ended, everything="success")
    assert shop.catalog() == before
    assert shop.rows("SELECT id, created_at, updated_at FROM product ORDER BY id") == times
    assert ended["products"].result.metadata["products_changed"] == 0


def test_chosen_products_are_synced_and_all_else_is_left_alone(
    shop: Any,
    good: Any,
    codes: list[str],
    sandbox: SandboxProcess,
    undisturbed: Any,
    expect: Expect,
) -> None:
    times = shop.rows("SELECT product_code, updated_at FROM product WHERE product_code <> :code",
                      code=codes[0])  # fmt: skip
    ended = shop.sync(product_codes=[codes[0]])
    expect(ended, everything="success")
    report = sandbox.report()
    assert (report["calls"]["listing"], report["calls"]["prices"]) == (1, 1)
    assert (report["calls"]["stock"], report["codes_priced"]) == (2, 1)
    after = {row["product_code"]: row for row in shop.catalog()[0]}
    fresh = {row["product_code"]: row for row in undisturbed()[0]}
    before = {row["product_code"]: row for row in good[0]}
    for code in before:
        assert after[code] == (fresh if code == codes[0] else before)[code]
    assert times == shop.rows(
        "SELECT product_code, updated_at FROM product WHERE product_code <> :code", code=codes[0]
    )


def test_chosen_products_on_a_day_without_a_listing_switch_nothing_off(
    shop: Any, codes: list[str], expect: Expect
) -> None:
    expect(shop.sync(product_codes=codes[:2]), everything="success")
    assert [row["product_code"] for row in shop.catalog()[0]] == codes[:2]
    expect(shop.sync(product_codes=[codes[2]]), everything="success")
    products = shop.catalog()[0]
    assert [row["product_code"] for row in products] == sorted(codes[:3])
    assert {row["is_sales"] for row in products} == {"1"}


def test_a_code_the_platform_does_not_know_is_named_and_the_others_are_synced(
    shop: Any, codes: list[str], expect: Expect
) -> None:
    ended = shop.sync(product_codes=[codes[0], "ZZ0NOSUCH"])
    expect(ended, product_listings="partial", products="success", product_stock="success")
    result = ended["product_listings"].result
    assert (result.success, result.failed) == (1, 1)
    assert "ZZ0NOSUCH" in result.message
    assert [row["product_code"] for row in shop.catalog()[0]] == [codes[0]]


def test_only_unknown_codes_fail_and_change_nothing(
    shop: Any, good: Any, sandbox: SandboxProcess, expect: Expect
) -> None:
    assert expect(shop.sync(product_codes=["ZZ0NOSUCH"])) == {"product_listings": "failed"}
    assert shop.catalog() == good
    assert sandbox.report()["calls"]["stock"] == 0


def test_many_chosen_codes_are_asked_for_twenty_at_a_time(
    shop: Any, sandbox: SandboxProcess, expect: Expect
) -> None:
    """Fault matrix, row 13: distinct codes, at most twenty a call."""
    sandbox.set(products=50)
    wanted = SandboxCatalog(1, 50).codes()[:41]
    expect(shop.sync(product_codes=[*wanted, *wanted], stock=False), everything="success")
    assert sandbox.report()["calls"]["listing"] == 3
    assert len(shop.catalog()[0]) == 41


def test_without_prices_the_stock_moves_and_the_prices_stay(
    shop: Any, good: Any, sandbox: SandboxProcess, undisturbed: Any, expect: Expect
) -> None:
    ended = shop.sync(prices=False)
    expect(ended, everything="success")
    assert sandbox.report()["calls"]["prices"] == 0
    products, stock = shop.catalog()
    names = ("supply_price", "invoice_price", "market_price", "rebate_money")
    assert [[row[name] for name in names] for row in products] == [
        [row[name] for name in names] for row in good[0]
    ]
    reference, reference_stock = undisturbed()
    assert stock == reference_stock
    assert [row["stock"] for row in products] == [row["stock"] for row in reference]


def test_without_stock_the_prices_move_and_the_stock_stays(
    shop: Any, good: Any, sandbox: SandboxProcess, undisturbed: Any, expect: Expect
) -> None:
    expect(shop.sync(stock=False), everything="success")
    assert sandbox.report()["calls"]["stock"] == 0
    products, stock = shop.catalog()
    assert stock == good[1]
    assert [row["stock"] for row in products] == [row["stock"] for row in good[0]]
    assert [row["supply_price"] for row in products] == [
        row["supply_price"] for row in undisturbed()[0]
    ]


def test_chosen_counties_are_asked_beside_those_of_the_configuration(
    shop: Any, sandbox: SandboxProcess, codes: list[str], expect: Expect
) -> None:
    shop.sync()
    before = shop.catalog()
    sandbox.reset()
    expect(shop.sync(counties=["440106"]), everything="success")
    assert sandbox.report()["pairs"] == sandbox.report()["calls"]["stock"]
    after = shop.catalog()
    assert [row for row in after[1] if row["county_code"] != "440106"] == before[1]
    assert any(row["county_code"] == "440106" for row in after[1])
    # It stands beside the others and counts nowhere, until the next load takes it away.
    assert [row["stock"] for row in after[0]] == [row["stock"] for row in before[0]]
    expect(shop.sync(stock=False), everything="success")
    assert shop.catalog() == before


@pytest.mark.parametrize("county", ["11010", "1101011", "11010x", "１１０１０１", ""])
def test_a_county_that_is_none_is_refused_before_any_call(
    shop: Any, sandbox: SandboxProcess, county: str
) -> None:
    run = shop.open_sync()
    with pytest.raises(InvalidInput, match="six digits"):
        fetch.fetch_stock(run, [county])
    assert sandbox.report()["total"] == 0


def test_a_county_taken_out_of_the_configuration_leaves_the_catalog(
    shop: Any, sandbox: SandboxProcess, codes: list[str], expect: Expect
) -> None:
    """Fault matrix, row 31c: on the same day too, whose partition holds answers of the county."""
    shop.sync()
    gone = codes[0]
    sandbox.fault(kind="vanish", codes=[gone])
    expect(shop.sync(county_codes="110101"), everything="success")
    assert {row["county_code"] for row in shop.catalog()[1]} == {"110101"}
    for row in shop.catalog()[0]:
        if row["stock"] is not None:
            assert row["stock"] == sum(shop.stock(row["product_code"]).values()), row
    assert shop.product(gone)["is_sales"] == "0"


def test_two_dealers_do_not_see_each_other(shop: Any, expect: Expect) -> None:
    shop.sync()
    shop.run("UPDATE product SET dealer = 'other'")
    shop.run("UPDATE product_stock SET dealer = 'other'")
    before = shop.rows("SELECT * FROM product ORDER BY id")
    expect(shop.sync(), everything="success")
    others = shop.rows("SELECT * FROM product WHERE dealer = 'other' ORDER BY id")
    assert others == before
    assert len(shop.rows("SELECT 1 FROM product")) == 2 * len(before)


def test_what_is_done_needs_no_resuming_and_what_is_not_does(
    shop: Any, sandbox: SandboxProcess, codes: list[str], expect: Expect
) -> None:
    run = shop.open_sync()
    assert resumable(run.engine, run.partition) is None
    sandbox.fault(kind="refuse", interface="stock", product_code=codes[0], county_code="110101")
    expect(shop.sync(run_id="first"), stock_levels="partial")
    assert resumable(run.engine, run.partition) == "first"
    sandbox.reset(faults=True)
    ended = shop.sync(run_id="second", root_run_id="first")
    expect(ended, everything="success")
    # Only what had failed was asked again.
    report = sandbox.report()["calls"]
    assert (report["listing"], report["prices"], report["stock"]) == (0, 0, 1)
    assert {entry.attempt for entry in shop.log() if entry.run_id == "second"} == {2}
    assert resumable(run.engine, run.partition) is None


def test_the_day_of_the_platform_is_the_one_in_shanghai() -> None:
    """Fault matrix, row 42."""
    china = dt.timezone(dt.timedelta(hours=8))
    assert today() == dt.datetime.now(china).date()
