"""The fault matrix, rows 1 to 31, as a sync leaves it in the log and in the tables.

In each test the catalog of an earlier day stands before the fault (``good``); what the fault does
not touch must be there after it (invariant A), and a sync without the fault must then lead to the
tables of a sync that never failed (invariant B). Log and secrets (C and D) are checked after every
test by the fixture ``shop``.
"""

import functools
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from haier_pipeline.catalog.load import VANISHED
from haier_pipeline.domain import assets, product
from haier_pipeline.domain.partition import today
from haier_pipeline.platform.client import HaierClient
from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.catalog import SandboxCatalog
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync import dealers

Expect = Callable[..., dict[str, str]]
Fault = dict[str, Any]

BEIJING, SHANGHAI = "110101", "310101"


@pytest.fixture
def heals(shop: Any, sandbox: SandboxProcess, undisturbed: Any, expect: Expect) -> Any:
    """Takes the faults away, syncs again and compares with a sync that never failed."""

    def heal() -> None:
        sandbox.reset(faults=True, tokens=True)
        ended = shop.sync(accept_shrink=True)
        expect(ended, everything="success")
        assert shop.catalog() == undisturbed()

    return heal


# ------------------------------------------------------------------- what a sync gets over (S)

HEALED: dict[str, list[Fault]] = {
    "row 1: a token revoked in mid-run": [{"kind": "revoke", "interface": "stock", "skip": 5}],
    "row 5: 429 with Retry-After": [
        {"kind": "status", "status": 429, "retry_after": 1, "interface": "prices"}
    ],
    "row 5: 503 with a date": [
        {"kind": "status", "status": 503, "retry_after": "date:1", "interface": "stock"}
    ],
    "row 6: 429": [{"kind": "status", "status": 429, "interface": "listing"}],
    "row 6: three times 500 to 504": [
        {"kind": "status", "status": status, "interface": "listing", "times": 1}
        for status in (500, 502, 504)
    ],
    "row 6: a reset": [{"kind": "reset", "when": "before", "interface": "prices"}],
    "row 7: an HTML page": [{"kind": "html", "interface": "stock"}],
    "row 9: a cut body": [{"kind": "truncate", "interface": "listing"}],
    "row 9: a cut chunk": [{"kind": "truncate", "chunked": True, "interface": "prices"}],
    "row 9: a cut gzip": [{"kind": "gzip_truncate", "interface": "stock"}],
    "row 9: a reset in the body": [{"kind": "reset", "when": "body", "interface": "listing"}],
    "row 16: codes nobody asked for": [
        {"kind": "unasked", "interface": "prices", "codes": ["ZZ0NOSUCH"]}
    ],
    "row 17: a code twice, with the same values": [
        {"kind": "repeat", "interface": "listing"},
        {"kind": "repeat", "interface": "prices"},
        {"kind": "repeat", "interface": "stock"},
    ],
    "row 28: an unknown field": [
        {"kind": "malform", "interface": "listing", "fields": {"somethingNew": {"a": [1]}}}
    ],
}


@pytest.mark.parametrize("name", HEALED)
def test_a_sync_gets_over_trouble_that_passes(
    name: str, shop: Any, good: Any, sandbox: SandboxProcess, undisturbed: Any, expect: Expect
) -> None:
    """Fault matrix, rows 1, 5, 6, 7, 9, 16, 17, 28."""
    for fault in HEALED[name]:
        sandbox.fault(**({"times": 1} | fault))
    ended = shop.sync()
    expect(ended, everything="success")
    assert all(rule["fired"] == rule["times"] for rule in sandbox.faults()), sandbox.faults()
    sandbox.reset(faults=True)
    assert shop.catalog() == undisturbed()


def test_a_revoked_token_costs_one_token_and_one_call(
    shop: Any, sandbox: SandboxProcess, expect: Expect
) -> None:
    """Fault matrix, rows 1 and 4."""
    sandbox.fault(kind="revoke", interface="prices", times=1)
    ended = shop.sync()
    expect(ended, everything="success")
    assert sandbox.report()["calls"]["token"] == 2
    assert ended["price_quotes"].result.metadata["retries"] == 1


def forget_the_token(shop: Any) -> None:
    """As at a client's very first sync; else it is shared with the runs before."""
    shop.run("DELETE FROM client_token")


@pytest.mark.parametrize("lifetime", [None, "soon", 0, -5, {}])
def test_a_bad_lifetime_of_a_token_falls_back_to_the_default(
    shop: Any, sandbox: SandboxProcess, expect: Expect, lifetime: object
) -> None:
    """Fault matrix, row 3."""
    # A token that the sandbox knows is needed; so it gives one, and says nonsense about its life.
    run = shop.open_sync()
    run.client.check_token()
    token = run.client._tokens.current().secret
    run.close()
    forget_the_token(shop)
    sandbox.fault(kind="token", answer={"access_token": token, "expires_in": lifetime}, times=None)
    expect(shop.sync(), everything="success")
    assert sandbox.report()["calls"]["token"] == 2


# -------------------------------------------------------------------- what stops a sync (F)

FAILING: dict[str, tuple[str, Fault, str]] = {
    "row 2: a second 401": (
        "product_listings",
        {"kind": "status", "status": 401, "interface": "listing"},
        "HTTP 401",
    ),
    "row 2: 403": (
        "stock_levels",
        {"kind": "status", "status": 403, "interface": "stock", "skip": 7},
        "HTTP 403.*allow-list",
    ),
    "row 2: 404": (
        "price_quotes",
        {"kind": "status", "status": 404, "interface": "prices"},
        "HTTP 404.*base_url",
    ),
    "row 2: 400": (
        "product_listings",
        {"kind": "status", "status": 400, "interface": "listing"},
        "HTTP 400",
    ),
    "row 3: no token in the answer": (
        "product_listings",
        {"kind": "token", "answer": {"access_token": None, "expires_in": 3600}},
        "no token",
    ),
    "row 5: Retry-After beyond the cap": (
        "stock_levels",
        {"kind": "status", "status": 429, "retry_after": 3600, "interface": "stock", "skip": 3},
        "3600 s",
    ),
    "row 6: 503 for ever": (
        "product_listings",
        {"kind": "status", "status": 503, "interface": "listing"},
        "HTTP 503.*4 attempts",
    ),
    "row 7: HTML for ever": (
        "price_quotes",
        {"kind": "html", "interface": "prices"},
        "not JSON",
    ),
    "row 8: success is false": (
        "product_listings",
        {"kind": "refuse", "interface": "listing", "message": "账号已停用"},
        "账号已停用",
    ),
    "row 9: a prefix for ever": (
        "product_listings",
        {"kind": "truncate", "interface": "listing"},
        "4 attempts",
    ),
    "row 10: 50 MB for 20 codes": (
        "price_quotes",
        {"kind": "oversize", "bytes": 50_000_000, "interface": "prices"},
        "prices",
    ),
    "row 10: a gzip bomb": (
        "price_quotes",
        {"kind": "gzip_bomb", "bytes": 50_000_000, "interface": "prices"},
        "prices",
    ),
    "row 12: a redirect": (
        "product_listings",
        {"kind": "redirect", "interface": "listing"},
        "redirect",
    ),
    "row 24: null for a listing": (
        "product_listings",
        {"kind": "null", "interface": "listing"},
        "no data",
    ),
    "row 25: every stock call fails": (
        "stock_levels",
        {"kind": "refuse", "interface": "stock"},
        "same reason; after 5 of them no more are made",
    ),
    "row 29: every product malformed": (
        "product_listings",
        {"kind": "answer", "answer": [{"productCode": None}, {"x": 1}, 7], "interface": "listing"},
        "empty",
    ),
    "row 29: every price malformed": (
        "price_quotes",
        {"kind": "answer", "answer": [{"productCode": "X"}, None], "interface": "prices"},
        "0 of .* products priced",
    ),
    "row 29: every quantity malformed": (
        "stock_levels",
        {"kind": "answer", "answer": [{"secCode": "Q", "stock": "有货"}], "interface": "stock"},
        "cannot be read",
    ),
    "row 30: an empty listing": (
        "product_listings",
        {"kind": "answer", "answer": [], "interface": "listing"},
        "empty",
    ),
    "row 30: a listing less than half as long": (
        "product_listings",
        {"kind": "shrink", "keep": 0.4},
        "4 products, the longest good listing of the last 7 days had 12",
    ),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_sync_that_fails_leaves_the_catalog_as_it_was(
    name: str, shop: Any, good: Any, sandbox: SandboxProcess, heals: Any
) -> None:
    """Fault matrix, rows 2, 3, 5 to 10, 12, 24, 25, 29, 30."""
    asset, fault, said = FAILING[name]
    forget_the_token(shop)
    sandbox.fault(**({"times": None} | fault))
    ended = shop.sync(run_id="failing")
    assert ended[asset].result.status == "failed"
    assert not ended.keys() & {"brands", "products", "product_stock"}
    assert shop.catalog() == good
    (entry,) = (e for e in shop.log() if (e.run_id, e.asset_key) == ("failing", asset))
    assert entry.status == "failed"
    assert re.search(said, entry.message), entry.message
    heals()


def test_one_byte_a_second_is_stopped_by_the_deadline_of_an_attempt(
    shop: Any, good: Any, sandbox: SandboxProcess, heals: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault matrix, row 11; here an attempt has half a second in place of thirty."""
    quick = functools.partial(HaierClient, attempt_seconds=0.3)
    monkeypatch.setattr(dealers, "HaierClient", quick)
    sandbox.fault(kind="drip", interval=0.1, interface="listing", times=None)
    ended = shop.sync()
    assert ended["product_listings"].failed
    assert shop.catalog() == good
    monkeypatch.undo()
    heals()


@pytest.mark.parametrize("status", [200, 400, 403])
def test_a_wrong_password_is_refused_once_and_never_shown(
    shop: Any, good: Any, sandbox: SandboxProcess, heals: Any, status: int
) -> None:
    """Fault matrix, rows 2 and 8, and invariant D."""
    sandbox.set(refusal_status=status)
    ended = shop.sync(password="c4nary +/&=%秘密")
    message = ended["product_listings"].result.message
    assert "客户密码错误" in message
    assert status == 200 or f"HTTP {status}" in message
    assert sandbox.report()["calls"]["listing"] == 1
    assert shop.catalog() == good
    heals()


def test_a_platform_that_repeats_a_secret_is_not_quoted_whole(
    shop: Any, good: Any, sandbox: SandboxProcess
) -> None:
    """Fault matrix, row 8 and invariant D."""
    said = f"passWord {CREDENTIALS['password']} 错误"
    sandbox.fault(kind="refuse", message=said, interface="stock", times=None)
    ended = shop.sync()
    assert "错误" in ended["stock_levels"].result.message


# ------------------------------------------------------------------- what costs a part (P)


def test_a_price_left_out_keeps_the_old_one_and_is_named(
    shop: Any, good: Any, codes: list[str], sandbox: SandboxProcess, heals: Any, expect: Expect
) -> None:
    """Fault matrix, row 15."""
    code = codes[0]
    sandbox.fault(kind="omit", interface="prices", codes=[code], times=None)
    ended = shop.sync()
    expect(ended, price_quotes="partial", products="success", product_stock="success")
    result = ended["price_quotes"].result
    assert result.failed == 1
    assert code in result.message
    assert "leaves them out" in result.message
    before = next(row for row in good[0] if row["product_code"] == code)
    assert shop.product(code)["supply_price"] == before["supply_price"]
    heals()


def test_codes_nobody_asked_for_are_counted(
    shop: Any, sandbox: SandboxProcess, expect: Expect
) -> None:
    """Fault matrix, row 16."""
    sandbox.fault(kind="unasked", interface="prices", codes=["ZZ0NOSUCH"], times=None)
    ended = shop.sync()
    expect(ended, everything="success")
    assert ended["price_quotes"].result.metadata["ignored_records"] == 1
    assert not shop.rows("SELECT 1 FROM raw_record WHERE product_code = 'ZZ0NOSUCH'")


def test_a_code_that_comes_twice_differently_is_reported_and_the_last_counts(
    shop: Any, codes: list[str], sandbox: SandboxProcess, heals: Any, expect: Expect
) -> None:
    """Fault matrix, row 17."""
    code = codes[0]
    for interface, fields in (
        ("listing", {"productModel": "the last"}),
        ("prices", {"supplyPrice": "1.23"}),
    ):
        sandbox.fault(kind="repeat", interface=interface, codes=[code], fields=fields, times=1)
    ended = shop.sync()
    expect(ended, product_listings="partial", price_quotes="partial", products="success")
    for asset in ("product_listings", "price_quotes"):
        result = ended[asset].result
        assert result.metadata["repeated_codes"] == [code]
        assert code in result.message
        assert result.failed == 0
    row = shop.product(code)
    assert (row["product_model"], row["supply_price"]) == ("the last", Decimal("1.23"))
    heals()


def test_a_warehouse_that_comes_twice_differently_is_reported(
    shop: Any, codes: list[str], sandbox: SandboxProcess, platform: SandboxCatalog, heals: Any
) -> None:
    """Fault matrix, row 17."""
    code = codes[0]
    sandbox.fault(
        kind="repeat", interface="stock", product_code=code, county_code=BEIJING,
        fields={"stock": 77}, times=1,
    )  # fmt: skip
    ended = shop.sync()
    assert ended["stock_levels"].result.status == "partial"
    warehouses = platform.stock(code, BEIJING, today())
    found = {sec: n for (county, sec), n in shop.stock(code).items() if county == BEIJING}
    assert found == {record["secCode"]: 77 for record in warehouses}
    heals()


def test_codes_are_trimmed_blank_ones_rejected_and_no_two_merged(
    shop: Any, codes: list[str], sandbox: SandboxProcess, heals: Any, expect: Expect
) -> None:
    """Fault matrix, row 18."""
    one, two, three, four = codes[:4]
    for code, value in ((one, f"  {one}\t"), (two, None), (three, "   "), (four, one.lower())):
        sandbox.fault(
            kind="malform", interface="listing", codes=[code],
            fields={"productCode": value}, times=1,
        )  # fmt: skip
    ended = shop.sync()
    expect(ended, product_listings="partial", products="success")
    result = ended["product_listings"].result
    assert (result.failed, result.metadata["rejected_records"]) == (2, 2)
    found = {row["product_code"] for row in shop.catalog()[0]}
    assert {one, one.lower()} <= found
    assert not found & {two, three, four}
    reasons = shop.rows("SELECT reason FROM rejected_record")
    assert [row["reason"] for row in reasons] == ["productCode is blank"] * 2
    # The one that was spelt differently vanishes again when it is spelt as before.
    shop.run("DELETE FROM product WHERE product_code = :code", code=one.lower())
    heals()


@pytest.mark.parametrize("text", ["2999.00", "2,999.00", 2999, 2999.0, " 2999 "])
def test_an_amount_is_the_same_however_it_is_written(
    shop: Any, codes: list[str], sandbox: SandboxProcess, expect: Expect, text: object
) -> None:
    """Fault matrix, row 19."""
    sandbox.fault(
        kind="malform", interface="prices", codes=codes[:1], fields={"supplyPrice": text}, times=1
    )
    expect(shop.sync(), everything="success")
    assert str(shop.product(codes[0])["supply_price"]) == "2999.00"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400", "-1", '"暂无"', "[]"])
def test_an_amount_that_is_none_is_rejected_and_the_old_price_kept(
    shop: Any, good: Any, codes: list[str], sandbox: SandboxProcess, expect: Expect, value: str
) -> None:
    """Fault matrix, row 20."""
    code = codes[0]
    sandbox.fault(
        kind="malform", interface="prices", codes=[code],
        fields={"supplyPrice": value}, raw=True, times=None,
    )  # fmt: skip
    ended = shop.sync()
    expect(ended, price_quotes="partial", products="success")
    assert ended["price_quotes"].result.failed == 1
    (rejected,) = shop.rows("SELECT * FROM rejected_record")
    assert rejected["reason"].startswith("supplyPrice ")
    assert rejected["payload"]["productCode"] == code
    before = next(row for row in good[0] if row["product_code"] == code)
    assert shop.product(code)["supply_price"] == before["supply_price"]


def test_a_first_market_price_of_zero_is_reported_and_waits_for_a_real_one(
    shop: Any, codes: list[str], sandbox: SandboxProcess, expect: Expect
) -> None:
    """Fault matrix, row 31b."""
    code = codes[0]
    fields = {"marketPrice": "0.00"}
    sandbox.fault(kind="malform", interface="prices", codes=[code], fields=fields, times=1)
    ended = shop.sync()
    expect(ended, price_quotes="success", priced_products="partial", products="success")
    assert shop.prices()[code] is None
    assert shop.product(code)["supply_price"] > 0
    result = ended["priced_products"].result
    assert f"{code}: marketPrice is 0" in result.message
    flawed = next(check for check in result.checks if check.name == assets.QUOTES_UNDERSTOOD.name)
    assert [offender["product_code"] for offender in flawed.offenders] == [code]
    expect(shop.sync(), everything="success")
    assert shop.prices()[code] == shop.product(code)["market_price"] > 0


@pytest.mark.parametrize("supply", [0, None])
def test_a_quote_that_does_not_count_changes_none_of_the_prices(
    shop: Any, good: Any, codes: list[str], sandbox: SandboxProcess, heals: Any, supply: int | None
) -> None:
    """Fault matrix, row 31b."""
    code = codes[0]
    fields = {"supplyPrice": supply, "invoicePrice": 1, "marketPrice": 2, "rebateMoney": 3}

    def prices() -> Any:
        query = "SELECT * FROM product WHERE product_code = :code"
        (row,) = shop.rows(query, code=code)
        return [row[name] for name in product.PRICE_COLUMNS]

    before = prices()
    sandbox.fault(kind="malform", interface="prices", codes=[code], fields=fields, times=1)
    shop.sync()
    assert prices() == before
    heals()


def test_a_quote_without_an_invoice_price_takes_the_old_one_with_it_and_is_reported(
    shop: Any, good: Any, codes: list[str], sandbox: SandboxProcess, heals: Any, expect: Expect
) -> None:
    """Fault matrix, row 31b."""
    code = codes[0]
    fields = {"supplyPrice": "2100.00", "invoicePrice": None}
    sandbox.fault(kind="malform", interface="prices", codes=[code], fields=fields, times=1)
    ended = shop.sync()
    expect(ended, priced_products="partial", products="success")
    row = shop.product(code)
    assert (row["supply_price"], row["invoice_price"]) == (2100, None)
    result = ended["priced_products"].result
    adds_up = next(check for check in result.checks if check.name == assets.INVOICE_ADDS_UP.name)
    assert [offender["product_code"] for offender in adds_up.offenders] == [code]
    heals()


def test_a_kind_and_a_rate_that_are_not_understood_cost_the_product_nothing(
    shop: Any, codes: list[str], sandbox: SandboxProcess, expect: Expect
) -> None:
    one, two = codes[:2]
    odd: dict[str, Fault] = {
        one: {"stockRebatePolicy": 7, "rebateRate": "0.05"},
        two: {"stockRebatePolicy": "FHQ", "rebateRate": 1},
    }
    for code, fields in odd.items():
        sandbox.fault(kind="malform", interface="prices", codes=[code], fields=fields, times=1)
    ended = shop.sync()
    expect(ended, price_quotes="success", priced_products="success", products="success")
    rows = {row["product_code"]: row for row in shop.rows("SELECT * FROM product")}
    assert (rows[one]["stock_rebate"], rows[one]["rebate_policy"]) == (Decimal("0.05"), "7")
    assert (rows[two]["stock_rebate"], rows[two]["rebate_policy"]) == (None, "2")
    assert rows[one]["supply_price"] is not None
    assert rows[two]["supply_price"] is not None
    assert ended["priced_products"].result.metadata["flawed_quotes"] == 2


def test_a_product_without_facts_is_kept(
    shop: Any, codes: list[str], sandbox: SandboxProcess, heals: Any, expect: Expect
) -> None:
    """Fault matrix, row 21."""
    names = ("productBrandName", "productModel", "productGroupNamd", "productGroupName")
    fields = dict.fromkeys((*names, "productImageUrl", "productLageUrls"))
    sandbox.fault(kind="malform", interface="listing", codes=codes[:1], fields=fields, times=1)
    expect(shop.sync(), everything="success")
    row = shop.product(codes[0])
    assert (row["name"], row["is_sales"], row["product_page_urls"]) == (codes[0], "1", [])
    assert {row["brand"], row["product_model"], row["product_group"]} == {None}
    heals()


@pytest.mark.parametrize("name", ["长" * 10_000, "😀 冰箱 ❄️", "<script>alert(1)</script>"])
def test_any_name_is_kept_whole(
    shop: Any, codes: list[str], sandbox: SandboxProcess, expect: Expect, name: str
) -> None:
    """Fault matrix, row 22."""
    fields = {"productModel": name, "productGroupNamd": name}
    sandbox.fault(kind="malform", interface="listing", codes=codes[:1], fields=fields, times=1)
    expect(shop.sync(), everything="success")
    row = shop.product(codes[0])
    assert [row["name"], row["product_model"], row["product_group"]] == [name] * 3


def test_a_brand_beyond_its_documented_length_is_left_out_and_reported(
    shop: Any, codes: list[str], sandbox: SandboxProcess, heals: Any, expect: Expect
) -> None:
    """Fault matrix, row 22."""
    one, two = codes[:2]
    for code, length in ((one, 200), (two, 201)):
        sandbox.fault(
            kind="malform", interface="listing", codes=[code],
            fields={"productBrandName": "长" * length}, times=1,
        )  # fmt: skip
    ended = shop.sync()
    expect(ended, product_listings="success", priced_products="partial", products="success")
    assert two in ended["priced_products"].result.message
    assert (shop.product(one)["brand"], shop.product(two)["brand"]) == ("长" * 200, None)
    heals()


def test_characters_that_no_table_takes_are_removed_and_counted(
    shop: Any, codes: list[str], sandbox: SandboxProcess, heals: Any
) -> None:
    """Fault matrix, row 23."""
    sandbox.fault(
        kind="malform", interface="listing", codes=codes[:1], raw=True, times=1,
        fields={"productModel": '"a\\u0000b\\ud800c"', "other": '{"k\\u0000": "\\udfff"}'},
    )  # fmt: skip
    ended = shop.sync()
    assert not any(outcome.failed for outcome in ended.values())
    assert ended["product_listings"].result.metadata["removed_characters"] == 4
    assert shop.product(codes[0])["product_model"] == "abc"
    (row,) = shop.rows("SELECT payload FROM raw_record"
                       " WHERE asset_key = 'product_listings' AND product_code = :code",
                       code=codes[0])  # fmt: skip
    assert row["payload"]["other"] == {"k": ""}
    heals()


def test_a_single_warehouse_may_come_without_its_list(
    shop: Any, sandbox: SandboxProcess, platform: SandboxCatalog, codes: list[str], expect: Expect
) -> None:
    """Fault matrix, row 24: older answers."""
    sandbox.set(stock_shape="object")
    expect(shop.sync(), everything="success")
    first = platform.stock(codes[0], BEIJING, today())[0]
    found = {sec: n for (county, sec), n in shop.stock(codes[0]).items() if county == BEIJING}
    assert found == {first["secCode"]: int(first["stock"])}


def test_an_empty_list_is_zero_and_a_failed_call_is_nothing(
    shop: Any, good: Any, sandbox: SandboxProcess, codes: list[str], heals: Any, expect: Expect
) -> None:
    """Fault matrix, rows 24 and 25."""
    empty, null, refused, broken = codes[:4]
    for code, fault in (
        (empty, {"kind": "answer", "answer": {"success": True, "data": []}}),
        (null, {"kind": "answer", "answer": {"success": True, "data": None}}),
        (refused, {"kind": "refuse", "message": "库存服务繁忙"}),
        (broken, {"kind": "status", "status": 500}),
    ):
        sandbox.fault(**fault, interface="stock", product_code=code, times=None)
    ended = shop.sync()
    expect(ended, stock_levels="partial", products="success", product_stock="success")
    assert shop.product(empty)["stock"] == 0
    assert shop.stock(empty) == {}
    before = {row["product_code"]: row for row in good[0]}
    for code in (null, refused, broken):
        assert shop.product(code)["stock"] == before[code]["stock"]
        assert shop.counted(shop.stock(code)) == before[code]["stock"]
    result = ended["stock_levels"].result
    assert result.failed == 6
    named = {f"{code} in {county}" for code in (null, refused, broken)
             for county in (BEIJING, SHANGHAI)}  # fmt: skip
    assert set(result.metadata["failed_units"]) == named
    heals()


@pytest.mark.parametrize(
    ("value", "pieces"),
    [("12", 12), ("12.0", 12), (12, 12), ("12.5", None), ("有货", None), (-3, None)],
)
def test_a_quantity_is_whole_and_not_negative_or_rejected(
    shop: Any, good: Any, codes: list[str], sandbox: SandboxProcess, platform: SandboxCatalog,
    expect: Expect, value: object, pieces: int | None,
) -> None:  # fmt: skip
    """Fault matrix, row 26."""
    code = codes[0]
    struck = platform.stock(code, BEIJING, today())[0]["secCode"]
    before = {
        (row["county_code"], row["sec_code"]): row["stock"]
        for row in good[1]
        if row["product_code"] == code
    }
    sandbox.fault(
        kind="malform", interface="stock", product_code=code, county_code=BEIJING,
        fields={"stock": value}, times=None,
    )  # fmt: skip
    ended = shop.sync()
    if pieces is not None:
        expect(ended, everything="success")
        assert shop.stock(code)[BEIJING, struck] == pieces
        return
    expect(ended, stock_levels="partial", product_stock="success")
    assert ended["stock_levels"].result.failed == 1
    assert f"{code} in {BEIJING}" in ended["stock_levels"].result.message
    # What could not be read keeps what it was.
    assert shop.stock(code).get((BEIJING, struck)) == before.get((BEIJING, struck))
    assert shop.product(code)["stock"] == shop.counted(shop.stock(code))
    (rejected,) = shop.rows("SELECT reason FROM rejected_record")
    assert rejected["reason"].startswith("stock ")


def test_an_answer_that_could_not_be_read_is_asked_again_when_the_sync_goes_on(
    shop: Any, codes: list[str], sandbox: SandboxProcess, undisturbed: Any, expect: Expect
) -> None:
    """Fault matrix, row 26: a resumed sync must not count it as done."""
    sandbox.fault(
        kind="malform", interface="stock", product_code=codes[0], county_code=BEIJING,
        fields={"stock": "有货"}, times=None,
    )  # fmt: skip
    expect(shop.sync(run_id="first"), stock_levels="partial")
    still = shop.sync(run_id="second", root_run_id="first")
    expect(still, stock_levels="partial")
    assert still["stock_levels"].result.failed == 1
    sandbox.reset(faults=True)
    expect(shop.sync(run_id="third", root_run_id="first"), everything="success")
    assert sandbox.report()["calls"]["stock"] == 1
    assert shop.catalog() == undisturbed()


def test_a_county_that_fails_costs_the_other_nothing(
    shop: Any, good: Any, sandbox: SandboxProcess, heals: Any, undisturbed: Any, expect: Expect
) -> None:
    """Fault matrix, row 27."""
    sandbox.fault(kind="refuse", interface="stock", county_code=SHANGHAI, times=None)
    ended = shop.sync()
    expect(ended, stock_levels="partial", product_stock="success")
    result = ended["stock_levels"].result
    assert result.success == result.failed > 0
    assert f"in {SHANGHAI}" in result.message
    assert f"in {BEIJING}" not in result.message

    def of(county: str, rows: Any) -> list[Any]:
        return [row for row in rows if row["county_code"] == county]

    stock = shop.catalog()[1]
    assert of(SHANGHAI, stock) == of(SHANGHAI, good[1])
    sandbox.reset(faults=True)
    assert of(BEIJING, stock) == of(BEIJING, undisturbed()[1])
    heals()


def test_unknown_fields_stay_in_the_payload(
    shop: Any, codes: list[str], sandbox: SandboxProcess, expect: Expect
) -> None:
    """Fault matrix, row 28."""
    fields = {"somethingNew": {"a": [1, "二"]}}
    sandbox.fault(kind="malform", interface="prices", codes=codes[:1], fields=fields, times=1)
    expect(shop.sync(), everything="success")
    (row,) = shop.rows("SELECT payload FROM raw_record"
                       " WHERE asset_key = 'price_quotes' AND product_code = :code",
                       code=codes[0])  # fmt: skip
    assert row["payload"]["somethingNew"] == {"a": [1, "二"]}


# -------------------------------------------------------------- the listing as a whole (30, 31)


def test_a_shrunken_listing_passes_once_an_operator_says_it_is_right(
    shop: Any, good: Any, sandbox: SandboxProcess, heals: Any, expect: Expect
) -> None:
    """Fault matrix, row 30."""
    sandbox.fault(kind="shrink", keep=0.4, times=None)
    refused = shop.sync()
    assert refused["product_listings"].blocked
    assert "--accept-shrink" in refused["product_listings"].result.message
    assert shop.catalog() == good
    expect(shop.sync(accept_shrink=True), everything="success")
    vanished = [row for row in shop.catalog()[0] if row["no_sales_reason"] == VANISHED]
    assert len(vanished) == 8
    # It has become what the next one is measured by.
    expect(shop.sync(), everything="success")
    heals()


def test_listings_that_shrink_step_by_step_are_measured_by_the_longest(
    shop: Any, good: Any, sandbox: SandboxProcess, expect: Expect
) -> None:
    """Fault matrix, row 30: each is more than half of the one before."""
    sandbox.fault(kind="shrink", keep=0.6, times=1)
    expect(shop.sync(), product_listings="success")
    stepped = shop.catalog()
    sandbox.fault(kind="shrink", keep=0.4, times=1)
    refused = shop.sync()["product_listings"]
    assert refused.blocked
    assert "last 7 days had 12" in refused.result.message
    assert shop.catalog() == stepped


@pytest.mark.parametrize("fields", [{"productCode": None}, {"isSales": ["?"]}])
def test_a_record_that_cannot_be_read_leaves_its_product_as_it_is(
    shop: Any,
    good: Any,
    codes: list[str],
    sandbox: SandboxProcess,
    expect: Expect,
    fields: dict[str, Any],
) -> None:
    """Fault matrix, row 31a: neither present nor gone."""
    before = shop.product(codes[0])
    sandbox.fault(kind="malform", interface="listing", codes=codes[:1], fields=fields, times=1)
    expect(shop.sync(), product_listings="partial", products="success")
    assert shop.product(codes[0]) == before
    assert not shop.rows("SELECT 1 FROM product WHERE no_sales_reason = :why", why=VANISHED)


def test_many_records_that_cannot_be_read_stop_the_sync_until_an_operator_lets_it_pass(
    shop: Any, good: Any, codes: list[str], sandbox: SandboxProcess, expect: Expect
) -> None:
    """Fault matrix, row 31a."""
    for code in codes[:3]:
        sandbox.fault(
            kind="malform", interface="listing", codes=[code], fields={"isSales": ["?"]},
            times=None,
        )  # fmt: skip
    refused = shop.sync()["product_listings"]
    assert refused.blocked
    assert "3 of 12 records cannot be read" in refused.result.message
    assert shop.catalog() == good
    before = [shop.product(code) for code in codes[:3]]
    expect(shop.sync(accept_shrink=True), product_listings="partial", products="success")
    assert [shop.product(code) for code in codes[:3]] == before


def test_an_empty_listing_passes_never(shop: Any, good: Any, sandbox: SandboxProcess) -> None:
    """Fault matrix, row 30."""
    sandbox.fault(kind="answer", answer=[], interface="listing", times=None)
    assert shop.sync(accept_shrink=True)["product_listings"].blocked
    assert shop.catalog() == good


def test_the_first_listing_has_nothing_to_be_measured_by(
    shop: Any, sandbox: SandboxProcess, expect: Expect
) -> None:
    """Fault matrix, row 30."""
    sandbox.fault(kind="shrink", keep=0.1, times=1)
    expect(shop.sync(), everything="success")


def test_a_product_vanishes_and_returns_under_its_old_number(
    shop: Any, good: Any, codes: list[str], sandbox: SandboxProcess, heals: Any, expect: Expect
) -> None:
    """Fault matrix, row 31."""
    code = codes[0]
    shop.run("UPDATE product SET price = 1, is_active = false WHERE product_code = :c", c=code)
    query = "SELECT id, price, is_active, created_at FROM product WHERE product_code = :c"
    before = shop.rows(query, c=code)
    sandbox.fault(kind="vanish", codes=[code], times=None)
    ended = shop.sync()
    expect(ended, everything="success")
    row = shop.product(code)
    assert (row["is_sales"], row["no_sales_reason"]) == ("0", VANISHED)
    assert ended["products"].result.metadata["vanished"] == 1
    sandbox.reset(faults=True)
    expect(shop.sync(), everything="success")
    assert shop.product(code)["is_sales"] == "1"
    assert shop.rows(query, c=code) == before
    shop.run("UPDATE product SET is_active = true")
    heals()
