"""The rules, without database and network: prices, stock, changes, times."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haier_pipeline import rules
from haier_pipeline.domain import product
from haier_pipeline.domain.order import is_tracking_due
from haier_pipeline.domain.product import (
    AMOUNT_COLUMNS,
    LISTING_COLUMNS,
    PRICE_COLUMNS,
    QUOTE_COLUMNS,
)
from haier_pipeline.rules import (
    ARRIVED,
    OPEN,
    REFUTED,
    Unread,
    delivery_time,
    frame,
    listing_shrank,
    overlong_brands,
    price_products,
    read_carrier,
)

# A busy machine is no defect.
calmly = settings(deadline=None, max_examples=50)

CODES = st.text(alphabet="ABab中", min_size=1, max_size=3)
AMOUNTS = st.none() | st.decimals(0, 10**10 - 1, allow_nan=False, allow_infinity=False, places=4)


def listed(code: str, **changes: Any) -> list[Any]:
    row: dict[str, Any] = dict.fromkeys(LISTING_COLUMNS)
    row |= {"product_code": code, "is_sales": "1", "product_page_urls": []}
    return list((row | changes).values())


def quoted(code: str, **changes: Any) -> list[Any]:
    row: dict[str, Any] = dict.fromkeys(QUOTE_COLUMNS)
    row |= {"product_code": code, "stock_rebate": Decimal(0), "rebate_money": Decimal(0)}
    row |= {"remarks": ()}
    return list((row | changes).values())


def priced(listing: list[list[Any]], quotes: list[list[Any]]) -> list[dict[str, Any]]:
    products = price_products(frame(listing, LISTING_COLUMNS), frame(quotes, QUOTE_COLUMNS))
    rows: list[dict[str, Any]] = products.to_dict("records")  # type: ignore[assignment]
    return rows


listings = st.lists(CODES, unique=True).map(lambda codes: [listed(code) for code in codes])
quote_lists = st.dictionaries(
    CODES,
    st.fixed_dictionaries(
        {
            "reason": st.none() | st.just("价格未生效"),
            "rebate_policy": st.sampled_from([None, "0", "7", "满减"]),
        }
        | dict.fromkeys(AMOUNT_COLUMNS, AMOUNTS)
    ),
).map(lambda found: [quoted(code, **values) for code, values in found.items()])


@calmly
@given(listings, quote_lists)
def test_there_is_one_row_for_each_listed_product_and_no_other(
    listing: list[list[Any]], quotes: list[list[Any]]
) -> None:
    rows = priced(listing, quotes)
    assert [row["product_code"] for row in rows] == sorted(row[0] for row in listing)


@calmly
@given(listings, quote_lists)
def test_a_price_is_exactly_the_quoted_one_and_never_a_float(
    listing: list[list[Any]], quotes: list[list[Any]]
) -> None:
    """Fault matrix, rows 19 and 31b: all of a quote, or nothing where its supply price is zero."""
    of_code = {row[0]: dict(zip(QUOTE_COLUMNS, row, strict=True)) for row in quotes}
    for row in priced(listing, quotes):
        quote = of_code.get(row["product_code"], {})
        counts = bool(quote.get("supply_price"))
        for column in PRICE_COLUMNS:
            assert row[column] == (quote.get(column) if counts else None)
        assert all(row[column] is None or type(row[column]) is Decimal for column in AMOUNT_COLUMNS)
        assert row["no_price_reason"] == quote.get("reason")


def test_amounts_are_written_with_their_cents() -> None:
    (row,) = priced(
        [listed("A")],
        [quoted("A", supply_price=Decimal(2999), invoice_price=Decimal("0.125"))],
    )
    assert [str(row["supply_price"]), str(row["invoice_price"])] == ["2999.00", "0.125"]
    assert (
        str(priced([listed("A")], [quoted("A", supply_price=Decimal("1E+3"))])[0]["supply_price"])
        == "1000.00"
    )


def test_a_product_without_a_price_in_force_keeps_its_reason() -> None:
    rows = priced(
        [listed("A"), listed("B"), listed("C")],
        [
            quoted("A", reason="价格未生效"),
            quoted("B", reason="价格未生效", market_price=Decimal(9)),
        ],
    )
    assert [row["no_price_reason"] for row in rows] == ["价格未生效", "价格未生效", None]
    # Half a quote must not overwrite parts of the one that was.
    assert {row[name] for row in rows for name in PRICE_COLUMNS} == {None}


def test_a_day_without_quotes_or_products_is_no_error() -> None:
    (row,) = priced([listed("A", brand="海尔")], [])
    assert (row["supply_price"], row["brand"], row["product_page_urls"]) == (None, "海尔", [])
    assert priced([], [quoted("A")]) == []


def test_facts_that_are_not_there_stay_none() -> None:
    """Fault matrix, row 21: not NaN, which no table takes."""
    rows = priced([listed("A"), listed("B", brand="海尔", product_model="m")], [])
    assert [row["brand"] for row in rows] == [None, "海尔"]
    assert [row["product_model"] for row in rows] == [None, "m"]


def test_a_brand_is_left_out_beyond_its_length_and_named() -> None:
    """Fault matrix, row 22."""
    listing = [listed("A", brand="长" * 200), listed("B", brand="长" * 201), listed("C")]
    assert [row["brand"] for row in priced(listing, [])] == ["长" * 200, None, None]
    assert overlong_brands(frame(listing, LISTING_COLUMNS)) == ["B"]
    assert overlong_brands(frame([], LISTING_COLUMNS)) == []


@pytest.mark.parametrize(
    ("before", "now", "shrank"),
    [(None, 0, False), (0, 0, False), (10, 5, False), (10, 4, True), (11, 5, True), (1, 0, True)],
)
def test_a_listing_shrank_when_it_lost_more_than_half(
    before: int | None, now: int, shrank: bool
) -> None:
    """Fault matrix, row 30."""
    assert listing_shrank(before, now) is shrank


# Carriers' sentences that say that the customer has received it,
SAYS_ARRIVED = """
签收
已签收
妥投
已妥投
已送达
签收成功
正常签收
客户签收
本人签收
客户已签收
用户已签收
订单已签收
您的订单已签收
您的快件已签收
商品已送达并签收
快件已送达，签收人：本人
快件已签收，签收人：张不凡
您的快件已签收，签收人：本人，如有疑问请电联快递员13800000000，投诉电话：025-88888888，感谢您使用本公司快递
【北京朝阳网点】您的快件已签收，签收人：李明。
[北京市] [朝阳区公司] 快件已签收 签收人: 前台 感谢使用圆通速递
已签收，签收后请评价
已签收，如未签收请联系客服
已由本人签收
已由门卫代签收
快件已由李明签收
已由前台代签收，如有疑问请联系
包裹已由家人代签收
投递并签收，签收人：他人收 前台
已派送并签收
已成功签收
货物已安全送达
已签收(本人)
2026-11-25 10:00:00 已签收
物流状态：已签收
邮件已妥投
已完成签收
已送达客户
已签收。
已签收！
""".strip().splitlines()
# that it was refused, returned, only in part, or not at all,
SAYS_REFUTED = """
未签收
客户未签收
尚未签收
拒签
拒收
用户拒签收
客户拒绝签收
签收失败
已退回签收
退件签收
退件已签收
【退件】已签收
已签收（退件）
部分签收
已部分签收
异常签收
签收异常
无人签收，改日再送
客户要求改日签收
未妥投
妥投失败
无法妥投
没有签收
不予签收
虚假签收
签收已取消
寄件人已签收，退回完成
已签收，客户表示没有收到
已签收后退货
快件已退回，寄件人已签收
已送达，无人签收
已签收1件，剩余1件派送中
已签收，但客户未确认
""".strip().splitlines()
# and that it is still to come, somewhere else, or that it is not certain.
SAYS_OPEN = """
待签收
待客户签收
等待签收
请签收
请您签收
预计明日签收
预计明天送达
如未签收请联系
如已签收，请忽略
签收后请评价
即将签收
准备签收
派件员正在派送，请准备签收
约定明日签收
已通知客户签收
已联系客户明日签收
是否已签收？
已签收?
您的快件已签收吗
已送达北京转运中心
快件已送达菜鸟驿站，请凭取件码取件
已送达丰巢快递柜
已送达网点
网点已签收
已由驿站代签收
已由丰巢柜签收
已签收入库
仓库已签收
寄件人已签收
签收人：寄件人
已签收，签收人：驿站
显示已签收
回单已签收
2件已签收
签收码1234
凭身份证签收
需本人签收
代签收
可代签收
运输中
派送中
已出库
商品已从中心仓出库
中心仓已接单
商品正在运往您所在的区县
请他人代签收
客户希望周末签收
收货前请验货后签收
他人要求签收
签收人：本人
已安排签收
已揽收
明日签收
已被他人冒领签收
快递员已联系收件人，等待签收
将于今日送达
delivered
""".strip().splitlines()


@pytest.mark.parametrize(
    ("sentence", "verdict"),
    [
        *((sentence, ARRIVED) for sentence in SAYS_ARRIVED),
        *((sentence, REFUTED) for sentence in SAYS_REFUTED),
        *((sentence, OPEN) for sentence in SAYS_OPEN),
    ],
)
def test_only_an_unmistakable_sentence_says_that_an_order_has_arrived(
    sentence: str, verdict: str
) -> None:
    assert read_carrier(sentence) == verdict


@calmly
@given(st.text(alphabet="已未签收拒退回送达待客户，。（）请如 本人0a", max_size=20))
def test_a_doubt_added_to_any_sentence_never_makes_it_a_delivery(sentence: str) -> None:
    for doubt in ("客户拒收", "未签收", "已退回", "签收失败"):
        assert read_carrier(f"{sentence}，{doubt}") != ARRIVED
        assert read_carrier(f"{doubt}，{sentence}") != ARRIVED


@pytest.mark.parametrize(
    ("age_days", "waited_minutes", "due"),
    [
        *((0, 30, False), (0, 59, True), (2.9, 59, True), (3.1, 59, False), (3.1, 359, True)),
        *((13, 361, True), (15, 361, False), (15, 1439, True), (59, 1440, True)),
        *((61, 1440, False), (61, 7 * 1440, True), (400, 7 * 1440 - 60, False)),
    ],
)
def test_the_older_an_order_is_the_more_rarely_it_is_asked_for(
    age_days: float, waited_minutes: int, due: bool
) -> None:
    now = datetime(2026, 11, 25, tzinfo=UTC)
    created = now - timedelta(days=age_days)
    assert is_tracking_due(created, now - timedelta(minutes=waited_minutes), now) is due
    assert is_tracking_due(created, None, now)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-23 10:00:00", datetime(2026, 11, 23, 2, tzinfo=UTC)),
        ("2026/11/23 10:00:00", datetime(2026, 11, 23, 2, tzinfo=UTC)),
        ("2026-11-23T10:00:00+00:00", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        ("2026-11-23", datetime(2026, 11, 22, 16, tzinfo=UTC)),
        ("2026-11-23 10:00", datetime(2026, 11, 23, 2, tzinfo=UTC)),
        ("2026-11-23 10:00:00.0", datetime(2026, 11, 23, 2, tzinfo=UTC)),
        ("2026年11月23日 10:00", datetime(2026, 11, 23, 2, tzinfo=UTC)),
        ("2026-7-1", datetime(2026, 6, 30, 16, tzinfo=UTC)),
        ("20261123", datetime(2026, 11, 22, 16, tzinfo=UTC)),
        ("20261123100000", datetime(2026, 11, 23, 2, tzinfo=UTC)),
        ("1795399200", datetime(2026, 11, 23, 2, tzinfo=UTC)),
        ("1795399200000", datetime(2026, 11, 23, 2, tzinfo=UTC)),
        ("9999-12-31 23:59:59", None),
        ("0001-01-01", None),
        ("1768-01-01 00:00:00", None),
        ("1999-12-31", None),
        ("2100-01-02", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("0", None),
        ("1795", None),
        ("999999999999999", None),
        ("-1795399200", None),
        ("２０２６-11-23", None),
        ("2026-13-45", None),
        ("2026-11-23 24:30", None),
        ("16:00前", None),
        ("", None),
        (None, None),
    ],
)
def test_a_delivery_time_is_meant_in_china(text: str | None, utc: datetime | None) -> None:
    assert delivery_time(text) == utc


@calmly
@given(st.text(max_size=30))
def test_no_text_breaks_the_reading_of_a_delivery_time(text: str) -> None:
    found = delivery_time(text)
    assert found is None or found.tzinfo is not None


@calmly
@given(
    st.dictionaries(
        st.tuples(CODES, st.sampled_from(["110101", "310101", "440106"])),
        st.dictionaries(st.sampled_from(["Q1", "Q2", "Q3"]), st.integers(0, 10**9 - 1)),
    )
)
def test_a_storage_location_counts_once_and_only_configured_counties_do(
    answers: dict[tuple[str, str], dict[str, int]],
) -> None:
    """Fault matrix, row 31c."""
    rows = frame(
        [[code, county, sec, pieces, *[None] * 5]
         for (code, county), found in answers.items() for sec, pieces in found.items()],
        product.STOCK_COLUMNS,
    )  # fmt: skip
    asked = frame([[code, county, True] for code, county in answers],
                  ["product_code", "county_code", "is_whole"])  # fmt: skip
    totals = rules.stock_totals(asked, rows, ["110101", "310101"])
    largest: dict[str, dict[str, int]] = {}
    for (code, county), found in answers.items():
        if county != "440106":
            of_code = largest.setdefault(code, {})
            for sec, pieces in found.items():
                of_code[sec] = max(pieces, of_code.get(sec, 0))
    expected = {code: sum(found.values()) for code, found in largest.items()}
    assert dict(zip(totals["product_code"], totals["stock"], strict=True)) == expected


def test_what_of_a_quote_was_not_understood_or_is_zero_is_told_without_its_value() -> None:
    """Fault matrix, row 31b."""
    quotes = frame(
        [
            quoted("A", supply_price=Decimal(0), market_price=Decimal("0.00")),
            quoted("B", supply_price=Decimal(1), remarks=("rebateRate is odd",)),
            quoted("C", supply_price=Decimal(1), invoice_price=Decimal(1)),
            quoted("D"),
        ],
        QUOTE_COLUMNS,
    )
    found = rules.quote_flaws(quotes)
    assert [(row.product_code, str(row.reason).split(" ")[0]) for row in found.itertuples()] == [
        ("A", "supplyPrice"),
        ("A", "marketPrice"),
        ("B", "rebateRate"),
    ]


PRICED = {"supply_price": Decimal(1), "invoice_price": Decimal(1)}


@pytest.mark.parametrize(
    ("amounts", "lacks"),
    [
        (PRICED, False),
        ({"supply_price": Decimal(1)}, True),
        ({"supply_price": Decimal(0)}, True),
        (PRICED | {"market_price": Decimal(0)}, True),
        ({}, False),
    ],
)
def test_a_quote_lacks_an_amount_where_one_is_zero_or_the_invoice_price_is_missing(
    amounts: dict[str, Decimal], lacks: bool
) -> None:
    """Fault matrix, row 31b."""
    assert rules.lacks_amounts(frame([quoted("A", **amounts)], QUOTE_COLUMNS)) is lacks


def test_an_invoice_price_that_is_missing_beside_a_supply_price_does_not_add_up() -> None:
    """Fault matrix, row 31b."""
    columns = ["product_code", *PRICE_COLUMNS]
    rows: list[list[Any]] = [
        ["A", Decimal(100), None, None, Decimal("0.05"), Decimal(1), "0"],
        ["B", Decimal(100), Decimal(94), None, Decimal("0.05"), Decimal(1), "0"],
        ["C", None, None, None, None, None, None],
    ]
    found = rules.invoice_mismatches(frame(rows, columns))
    assert list(found["product_code"]) == ["A"]
    assert list(found["expected"]) == [Decimal("94.00")]


@pytest.mark.parametrize(
    ("unreadable", "readable", "too_many"),
    [(0, 10, False), (2, 1, False), (3, 57, False), (3, 56, True), (5, 0, True)],
)
def test_more_than_five_percent_that_cannot_be_read_are_too_many(
    unreadable: int, readable: int, too_many: bool
) -> None:
    """Fault matrix, row 31a: two never are."""
    assert rules.too_many_unreadable(unreadable, readable) is too_many


DAYS = st.dictionaries(CODES, st.tuples(AMOUNTS, st.none() | st.integers(0, 5)))


def day(products: dict[str, tuple[Decimal | None, int | None]]) -> pd.DataFrame:
    rows = [[code, *values] for code, values in products.items()]
    return frame(rows, ["product_code", "supply_price", "stock"])


@calmly
@given(DAYS, DAYS)
def test_changes_are_complete_and_never_contradict_each_other(
    before: dict[str, Any], now: dict[str, Any]
) -> None:
    found = rules.find_changes(day(before), day(now), set(), is_complete=True)
    kinds: dict[str, set[str]] = {}
    for code, kind in zip(found["product_code"], found["kind"], strict=True):
        assert kind not in kinds.setdefault(code, set())
        kinds[code].add(kind)
    assert {code for code, of in kinds.items() if "appeared" in of} == now.keys() - before.keys()
    assert {code for code, of in kinds.items() if "vanished" in of} == before.keys() - now.keys()
    for of in kinds.values():
        assert not {"price_up", "price_down"} <= of
        assert not {"sold_out", "restocked"} <= of


@calmly
@given(DAYS)
def test_a_day_like_the_day_before_has_no_changes(same: dict[str, Any]) -> None:
    assert rules.find_changes(day(same), day(same), set(same), is_complete=True).empty


@calmly
@given(DAYS, DAYS)
def test_a_day_that_was_not_listed_whole_makes_nothing_come_or_go(
    before: dict[str, Any], now: dict[str, Any]
) -> None:
    found = rules.find_changes(day(before), day(now), set(), is_complete=False)
    assert not set(found["kind"]) & {"appeared", "vanished", "back"}


def kinds(
    before: str, now: str, *, known: str = "", unread_before: Unread, unread_now: Unread
) -> dict[str, str]:
    """The kind of change of each product, of days that are strings of codes."""

    def of(codes: str) -> pd.DataFrame:
        return day(dict.fromkeys(codes, (None, None)))

    found = rules.find_changes(
        of(before),
        of(now),
        set(known),
        is_complete=True,
        unread_before=unread_before,
        unread_now=unread_now,
    )
    return dict(zip(found["product_code"], found["kind"], strict=True))


def test_a_record_that_cannot_be_read_is_neither_gone_nor_back() -> None:
    """Fault matrix, row 31a."""
    unread, nameless, read = Unread(frozenset("B")), Unread(nameless=1), Unread()
    assert kinds("ABC", "A", unread_before=read, unread_now=unread) == {"C": "vanished"}
    assert kinds("ABC", "A", unread_before=read, unread_now=nameless) == {}
    assert kinds("A", "AB", known="B", unread_before=unread, unread_now=read) == {}
    assert kinds("A", "AB", known="B", unread_before=nameless, unread_now=read) == {}
    # Its first readable day is the one on which it appears.
    assert kinds("A", "AB", unread_before=unread, unread_now=read) == {"B": "appeared"}
    # Known from before and unread in between, it vanishes when it is really gone.
    assert kinds("A", "A", known="B", unread_before=unread, unread_now=read) == {"B": "vanished"}
    assert kinds("A", "A", unread_before=unread, unread_now=read) == {}
    assert kinds("A", "A", known="B", unread_before=unread, unread_now=unread) == {}
