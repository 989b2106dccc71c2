"""The sandbox's catalog is deterministic, consistent, and as moody as the platform."""

import datetime as dt
import json
import re
from collections import Counter
from decimal import Decimal
from typing import Any

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
    discounted = rebated = 0
    kinds: Counter[int] = Counter()
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
            discount, kind = Decimal(record["rebateRate"]), record["stockRebatePolicy"]
            assert invoice == supply * (1 - discount) - rebate
            assert 0 < invoice <= supply < market
            assert 0 <= discount < 1
            assert type(kind) is int
            discounted += discount > 0
            rebated += rebate > 0
            kinds[kind] += 1
            assert not (kind in (1, 5) and discount)
            assert not (kind == 1 and rebate)
    assert kinds.keys() == {0, 1, 2, 5}
    assert min(discounted, rebated, *kinds.values()) > 50


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
    assert {type(record["stock"]) for record in records} == {str}
    for warehouses in answers:
        assert len({record["secCode"] for record in warehouses}) == len(warehouses)
    other = [catalog.stock(code, "310101", DAY) for code in catalog.procurable_codes()]
    assert answers != other


def test_a_storage_location_serves_many_counties_and_tells_them_the_same_or_not() -> None:
    """``secCode`` names a place: what another place has never stands under it."""
    catalog = SandboxCatalog(1, 300)
    shared: Counter[str] = Counter()
    for code in catalog.procurable_codes():
        told: dict[str, dict[str, Any]] = {}
        for county in ("110101", "110102", "120101", "310101"):
            for record in catalog.stock(code, county, DAY):
                told.setdefault(record["secCode"], {})[county] = record
        for sec_code, by_county in told.items():
            places = {
                (str(r["warehouseGrade"]), str(r.get("timelinessData"))) for r in by_county.values()
            }
            assert len(places) == 1, sec_code
            if len(by_county) > 1:
                same = len({record["stock"] for record in by_county.values()}) == 1
                shared["same" if same else "different"] += 1
            if sec_code.startswith("HFR"):
                shared["nationwide"] += len(by_county) > 1
            elif sec_code.startswith("P"):
                assert len({county[:2] for county in by_county}) == 1
            elif sec_code.startswith("K"):
                assert len(by_county) == 1
    assert min(shared["same"], shared["different"], shared["nationwide"]) > 50


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


LISTS = (
    "getAllLogisticsInfoByOrderCode",
    "getStockDeliveryLogisticsRecord",
    "getStockDeliveryLogisticsRecordThirdparty",
)


def reached(entry: Record) -> list[str]:
    """The words of the states that one delivery has reached, from whichever list it is."""
    dtos = [
        dto
        for outbound in entry.get("getStoreOutboundLogisticsInfoResultDto", ())
        for dto in outbound["deliveryLogisticsDtos"]
    ]
    nodes = [
        node for parcel in entry.get("logisticsNoList", ()) for node in parcel["logisticsInfo"]
    ]
    return [
        *(dto["stateDescription"] for dto in dtos),
        *(state["stateName"] for state in entry.get("logisticsInfo", ())),
        *(node["nodeName"] for node in nodes),
    ]


def deliveries(order: str, day: dt.date) -> dict[str, list[str]]:
    lists = SandboxCatalog(1, 20).logistics(order, day)
    return {e["deliveryRecordCode"]: reached(e) for entries in lists.values() for e in entries}


def test_an_order_is_delivered_piece_by_piece_as_days_pass() -> None:
    order = "SO.20261120.000005"
    ordered = dt.date(2026, 11, 20)

    def steps(days: int) -> list[int]:
        found = deliveries(order, ordered + dt.timedelta(days=days))
        return [len(found[code]) for code in sorted(found)]

    assert steps(-1) == []
    assert [steps(days) for days in range(6)] == [
        [0, 0, 0],
        [1, 1, 1],
        [2, 2, 2],
        [3, 2, 2],
        [3, 3, 2],
        [3, 3, 3],
    ]
    assert deliveries(order, DAY).keys() == {f"{order}.F{number}" for number in (1, 2, 3)}
    for unknown in ("", "SO.20261120.000000", "SO.20261340.000001", "X", "SO.20261123.000001"):
        assert list(SandboxCatalog(1, 1).logistics(unknown, DAY).values()) == [[], [], []]


def test_an_order_whose_number_ends_in_7_stays_half_delivered() -> None:
    for number in (7, 17, 27):
        found = deliveries(f"SO.20250101.{number:06}", DAY)
        delivered = ["已签收" in states for states in found.values()]
        assert len(delivered) >= 2
        assert delivered.count(False) == 1
    for number in (3, 4, 5):
        found = deliveries(f"SO.20250101.{number:06}", DAY)
        assert all("已签收" in states for states in found.values())


def test_the_entries_of_the_three_lists_have_the_fields_of_the_contract() -> None:
    lists = SandboxCatalog(1, 20).logistics("SO.20250101.000005", DAY)
    assert tuple(lists) == LISTS
    [central], [own], [courier] = lists.values()
    assert central.keys() == {
        *("deliveryRecordCode", "deliveryCreateTime", "deliveryModel", "isTranfer"),
        *("getStoreOutboundLogisticsInfoResultDto", "deliveryRecordDetailDtoList"),
    }
    [outbound] = central["getStoreOutboundLogisticsInfoResultDto"]
    assert outbound.keys() == {
        *("id", "logisticsCompanyName", "expNo", "expNoList", "deliveryContact", "deliveryPhone"),
        *("vehicleInformation", "recordCode", "orderStatus", "orderStatusName", "orderCode"),
        *("deliveryLogisticsDtos", "logisticsUrl", "barcodes", "sendDate"),
    }
    assert type(outbound["id"]) is int
    last = outbound["deliveryLogisticsDtos"][-1]
    assert (last["stateCode"], last["stateDescription"]) == ("DELIVERED", "已签收")
    assert own.keys() == {
        *("logisticsCode", "deliveryRecordCode", "logisticsInfo", "deliveryRecordDetailDtoList"),
        "itemPictureUrl",
    }
    assert [state["statusCode"] for state in own["logisticsInfo"]] == ["LF", "PS", "DELIVERED"]
    assert own["logisticsInfo"][0].keys() == {
        *("vehicleInformation", "deliveryContact", "deliveryPhone", "statusCode", "stateTime"),
        *("stateDescription", "stateName", "createTime"),
    }
    [parcel] = courier["logisticsNoList"]
    assert parcel.keys() == {"logisticsNo", "logisticsName", "logisticsInfo"}
    assert parcel["logisticsInfo"][0].keys() == {"nodeName", "context", "stateTime", "state"}
    for entry in (central, own, courier):
        [item] = entry["deliveryRecordDetailDtoList"]
        assert item.keys() == {
            *("itemName", "itemModel", "itemUnit", "shippingQty", "itemPictureUrl"),
        }
        assert type(item["shippingQty"]) is int
