"""The sandbox's catalog is deterministic, consistent, and as moody as the platform."""

import datetime as dt
import json
import re
from decimal import Decimal

from haier_pipeline.sandbox.catalog import NO_PRICE, NOT_PROCURABLE, Record, SandboxCatalog

DAY = dt.date(2026, 11, 22)
NEXT = DAY + dt.timedelta(days=1)
SIZE = 2000


def prices_on(catalog: SandboxCatalog, day: dt.date) -> list[Record]:
    return catalog.prices(catalog.codes(), day)


def test_the_same_seed_size_and_day_give_the_same_answers() -> None:
    one, other = SandboxCatalog(7, 200), SandboxCatalog(7, 200)
    assert one.listing(DAY) == other.listing(DAY)
    assert prices_on(one, DAY) == prices_on(other, DAY)
    for code in one.codes():
        assert one.stock(code, "310101", DAY) == other.stock(code, "310101", DAY)
    assert SandboxCatalog(8, 200).listing(DAY) != one.listing(DAY)


def test_a_larger_catalog_begins_with_the_smaller_one() -> None:
    small, large = SandboxCatalog(1, 100), SandboxCatalog(1, 1000)
    assert large.listing(DAY)[:100] == small.listing(DAY)
    for code in small.codes():
        assert large.price(code, DAY) == small.price(code, DAY)
        assert large.stock(code, "110101", DAY) == small.stock(code, "110101", DAY)


def test_every_code_is_unique_and_leads_back_to_its_product() -> None:
    catalog = SandboxCatalog(3, 20_000)
    codes = catalog.codes()
    assert len(set(codes)) == 20_000
    assert all(re.fullmatch(r"[A-Z]{2}[0-9A-Z]{5}0[A-Z]", code) for code in codes)
    assert [record["productCode"] for record in catalog.listing(DAY, codes[-20:])] == sorted(
        codes[-20:]
    )
    # One product fewer, and the last code is as unknown as any other.
    assert SandboxCatalog(3, 19_999).price(codes[-1], DAY) is None
    for unknown in ("", "GA0SZC00U0", "ga0szc00u", "海尔冰箱冰箱冰箱海", codes[0][:8] + "!"):
        assert catalog.price(unknown, DAY) is None
        assert catalog.stock(unknown, "110101", DAY) == []
        assert catalog.listing(DAY, [unknown]) == []


def test_a_few_products_are_not_procurable_and_a_few_have_no_price() -> None:
    catalog = SandboxCatalog(1, SIZE)
    listing = {record["productCode"]: record for record in catalog.listing(DAY)}
    closed = {code for code, record in listing.items() if str(record["isSales"]) == "0"}
    assert set(catalog.procurable_codes()) == listing.keys() - closed
    assert 0.05 < len(closed) / SIZE < 0.09
    assert all(
        listing[code]["noSalesReason"] for code in closed if "noSalesReason" in listing[code]
    )
    prices = {record["productCode"]: record for record in prices_on(catalog, DAY)}
    for code in closed:
        assert prices[code]["supplyPrice"] is None
        assert prices[code]["reason"] == NOT_PROCURABLE
        assert catalog.stock(code, "110101", DAY) == []
    open_prices = [record for code, record in prices.items() if code not in closed]
    without = [record for record in open_prices if record["supplyPrice"] is None]
    assert 0.015 < len(without) / len(open_prices) < 0.045
    assert {record["reason"] for record in without} == {NO_PRICE}


def test_the_invoice_price_follows_from_the_supply_price_to_the_cent() -> None:
    catalog = SandboxCatalog(1, SIZE)
    discounted = rebated = kinds = 0
    for day in (DAY, DAY + dt.timedelta(days=9)):
        for wire in prices_on(catalog, day):
            if wire["supplyPrice"] is None:
                continue
            # As a client reads it: through JSON, numbers as Decimal.
            record = json.loads(json.dumps(wire), parse_float=Decimal)
            supply, invoice, market, rebate = (
                Decimal(record[name])
                for name in ("supplyPrice", "invoicePrice", "marketPrice", "rebateMoney")
            )
            policy = record["stockRebatePolicy"]
            kind = isinstance(policy, str) and policy.isalpha()
            discount = Decimal(0) if kind else Decimal(policy)
            assert invoice == supply * (1 - discount) - rebate
            assert 0 < invoice <= supply < market
            discounted += discount > 0
            rebated += rebate > 0
            kinds += kind
    assert min(discounted, rebated, kinds) > 50


def test_a_day_moves_a_twentieth_of_the_prices_and_most_of_the_stock_only() -> None:
    catalog = SandboxCatalog(1, SIZE)
    assert catalog.listing(DAY) == catalog.listing(NEXT)
    pairs = list(zip(prices_on(catalog, DAY), prices_on(catalog, NEXT), strict=True))
    moved = [(old, new) for old, new in pairs if old != new]
    assert 0.03 < len(moved) / SIZE < 0.065
    for old, new in moved:
        steady = old.keys() - {"supplyPrice", "invoicePrice"}
        assert all(old[key] == new[key] for key in steady)
        assert Decimal("0.8") < Decimal(new["supplyPrice"]) / Decimal(old["supplyPrice"]) < 2
    totals = [
        [sum(int(w["stock"]) for w in catalog.stock(code, "110101", day)) for day in (DAY, NEXT)]
        for code in catalog.codes()[:500]
    ]
    stocked = [(old, new) for old, new in totals if old or new]
    assert 0.6 < sum(old != new for old, new in stocked) / len(stocked) < 0.95


def test_stock_comes_from_up_to_four_warehouses_of_both_levels() -> None:
    catalog = SandboxCatalog(1, 300)
    answers = [catalog.stock(code, "110101", DAY) for code in catalog.procurable_codes()]
    assert {len(warehouses) for warehouses in answers} == {0, 1, 2, 3, 4}
    records = [record for warehouses in answers for record in warehouses]
    assert {str(record["warehouseGrade"]) for record in records} == {"0", "1"}
    assert {type(record["stock"]) for record in records} == {int, str}
    for warehouses in answers:
        assert len({record["secCode"] for record in warehouses}) == len(warehouses)
    other = [catalog.stock(code, "310101", DAY) for code in catalog.procurable_codes()]
    assert answers != other


def test_only_the_named_counties_have_warehouses_where_some_are_named() -> None:
    everywhere = SandboxCatalog(1, 50)
    limited = SandboxCatalog(1, 50, counties=("110101",))
    for code in everywhere.codes():
        assert limited.stock(code, "110101", DAY) == everywhere.stock(code, "110101", DAY)
        assert limited.stock(code, "310101", DAY) == []


def test_answers_have_the_moods_of_the_wire() -> None:
    catalog = SandboxCatalog(1, SIZE)
    listing = catalog.listing(DAY)
    spelt = sum("productGroupNamd" in record for record in listing)
    assert SIZE / 2 < spelt < SIZE
    assert all(("productGroupNamd" in r) != ("productGroupName" in r) for r in listing)
    assert {type(record["isSales"]) for record in listing} == {int, str}
    assert any(record["productImageUrl"] is None for record in listing)
    assert any("productLageUrls" not in record for record in listing)
    prices = [record for record in prices_on(catalog, DAY) if record["supplyPrice"] is not None]
    assert {type(record["supplyPrice"]) for record in prices} == {int, float, str}
    texts = [r["supplyPrice"] for r in prices if isinstance(r["supplyPrice"], str)]
    assert all(re.fullmatch(r"\d+\.\d\d", text) for text in texts)


def test_an_order_is_delivered_as_days_pass() -> None:
    catalog = SandboxCatalog(1, 1)
    order = "SO.20261120.000003"
    ordered = dt.date(2026, 11, 20)

    def steps(days: int) -> list[str]:
        lists = catalog.logistics(order, ordered + dt.timedelta(days=days)).values()
        return [record["logisticsStatus"] for records in lists for record in records]

    assert steps(-1) == []
    assert [len(steps(days)) for days in (0, 1, 2, 3, 30)] == [1, 2, 3, 4, 4]
    assert steps(3)[-1] == "已签收"
    for unknown in ("", "SO.20261120.000000", "SO.20261340.000001", "X", "SO.20261123.000001"):
        assert list(catalog.logistics(unknown, DAY).values()) == [[], [], []]
