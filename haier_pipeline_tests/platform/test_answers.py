"""What the fields of an answer mean, rule by rule, on hand-made records."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haier_pipeline.errors import CallRefused
from haier_pipeline.platform import answers
from haier_pipeline.platform.transport import decode


def price(**fields: object) -> answers.Answer[answers.PriceQuote]:
    return answers.parse_prices([{"productCode": "A", **fields}], ["A"])


def stock(**fields: object) -> answers.Answer[answers.Warehouse]:
    return answers.parse_stock([{"secCode": "W", "stock": 1, **fields}])


def only(answer: answers.Answer[Any]) -> Any:
    assert not answer.rejected
    (record,) = answer.records
    return record.value


@pytest.mark.parametrize("value", ["2,999.00", 2999, "2999.00", Decimal("2999.0"), " 2999 "])
def test_the_spellings_of_an_amount_are_one_decimal(value: object) -> None:
    """Fault matrix, row 19."""
    amount = only(price(supplyPrice=value)).supply_price
    assert isinstance(amount, Decimal)
    assert amount == Decimal(2999)


@pytest.mark.parametrize(
    "token",
    [
        *("NaN", "Infinity", "-Infinity", "1e400", "1e9999999999999999999", "9" * 5000),
        *("-1", "1e10", "1e-20000", "true", "[1]", "{}"),
        *('"有货"', '"2,99"', '"1.2.3"', '"NaN"', '"１２"', '"1_000"'),
    ],
)
@pytest.mark.parametrize("field", ["supplyPrice", "invoicePrice", "marketPrice", "rebateMoney"])
def test_an_amount_that_is_none_is_rejected_by_its_wire_name(field: str, token: str) -> None:
    """Fault matrix, row 20."""
    data = decode(f'[{{"productCode": "A", "{field}": {token}}}]'.encode())
    answer = answers.parse_prices(data, ["A"])
    assert not answer.records
    (rejected,) = answer.rejected
    assert (rejected.field, rejected.code) == (field, "A")
    assert rejected.reason.startswith(field)


def test_an_amount_may_have_any_number_of_decimals() -> None:
    for text in ("1.23456789", "0.1234567890123456789012345678901234567890", "2999.000000"):
        assert str(only(price(supplyPrice=text)).supply_price) == text
    assert only(price(rebateRate="0.333333333")).stock_rebate == Decimal("0.333333333")


def test_what_a_quote_leaves_out_is_none() -> None:
    """Fault matrix, row 31b."""
    quote = only(price(supplyPrice=None, rebateMoney=None, rebateRate="", isSales=None))
    assert quote.supply_price is quote.invoice_price is quote.market_price is None
    assert (quote.rebate_money, quote.stock_rebate, quote.rebate_policy) == (None, None, None)
    assert quote.remarks == ()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *((digit, str(digit)) for digit in (0, 1, 2, 5)),
        *((str(digit), str(digit)) for digit in (0, 1, 2, 5)),
        *(("COM", "0"), ("BF", "1"), ("FHQ", "2"), ("DTDBF", "5"), (" com ", "0")),
        *((Decimal("2.0"), "2"), ("5.00", "5")),
    ],
)
@pytest.mark.parametrize("rate", [{}, {"rebateRate": None}, {"rebateRate": "0.05"}])
def test_a_kind_of_rebate_is_its_digit_and_never_a_discount(
    value: object, kind: str, rate: dict[str, object]
) -> None:
    quote = only(price(stockRebatePolicy=value, **rate))
    discount = Decimal("0.05") if rate.get("rebateRate") else None
    assert (quote.stock_rebate, quote.rebate_policy, quote.remarks) == (discount, kind, ())


def test_a_fraction_in_place_of_the_kind_is_the_discount_where_no_other_is_named() -> None:
    """An answer of V1.0.7."""
    for value in ("0.05", Decimal("0.05")):
        for rate in ({}, {"rebateRate": None}, {"rebateRate": " "}):
            quote = only(price(stockRebatePolicy=value, **rate))
            assert (quote.stock_rebate, quote.rebate_policy) == (Decimal("0.05"), None)
            assert quote.remarks == ()
    quote = only(price(stockRebatePolicy="0.05", rebateRate=0))
    assert (quote.stock_rebate, quote.rebate_policy, len(quote.remarks)) == (0, "0.05", 1)


@pytest.mark.parametrize("rate", [1, "1", "1.01", -1, "-0.05", "5%", True, [], {}, "1e400"])
def test_a_rate_that_is_no_fraction_is_reported_and_costs_only_itself(rate: object) -> None:
    quote = only(price(rebateRate=rate, stockRebatePolicy="0.05", supplyPrice=7))
    assert (quote.stock_rebate, quote.supply_price) == (None, 7)
    assert quote.remarks[0].startswith("rebateRate ")


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        *((7, "7"), ("满减", "满减"), (-1, "-1"), (Decimal("1.5"), "1.5"), ("3.0", "3.0")),
        *((True, "true"), (["COM"], '["COM"]'), ({"a": "满"}, '{"a": "满"}'), ("NaN", "NaN")),
        (Decimal("9" * 5000), "9" * 5000),
    ],
)
def test_an_unknown_kind_is_kept_as_it_came_and_reported(value: object, kept: str) -> None:
    quote = only(price(stockRebatePolicy=value, rebateRate="0.05", supplyPrice=7))
    assert (quote.rebate_policy, quote.stock_rebate) == (kept, Decimal("0.05"))
    assert quote.supply_price == 7
    (remark,) = quote.remarks
    assert remark.startswith("stockRebatePolicy ")
    assert kept not in remark


def test_a_flag_that_is_none_costs_no_price() -> None:
    assert only(price(isSales="maybe", supplyPrice=7)).supply_price == 7


@pytest.mark.parametrize("value", ["12", "12.0", 12, Decimal("12.0"), "1.2e1"])
def test_the_spellings_of_a_quantity_are_one_integer(value: object) -> None:
    """Fault matrix, row 26."""
    assert only(stock(stock=value)).stock == 12


@pytest.mark.parametrize("value", ["12.5", "有货", -3, None, "", True, [], "1e12"])
def test_other_quantities_are_rejected(value: object) -> None:
    """Fault matrix, row 26."""
    answer = stock(stock=value)
    assert not answer.records
    assert answer.rejected[0].field == "stock"


@pytest.mark.parametrize(
    ("value", "expected"), [("1", True), ("0", False), (1, True), (0, False), (True, True)]
)
def test_flags_are_one_or_zero(value: object, expected: bool) -> None:
    data = {"productCode": "A", "isSales": value}
    assert only(answers.parse_listing([data])).is_sales is expected


@pytest.mark.parametrize("value", ["2", 2, "yes", None, "", [], Decimal("sNaN")])
def test_other_flags_are_rejected(value: object) -> None:
    answer = answers.parse_listing([{"productCode": "A", "isSales": value}])
    assert answer.rejected[0].field == "isSales"


def test_codes_are_trimmed_and_differ_by_case() -> None:
    """Fault matrix, row 18."""
    records = [{"productCode": code, "isSales": 1} for code in (" GA1 ", "ga1", "\tGA2")]
    answer = answers.parse_listing(records)
    assert [record.value.product_code for record in answer.records] == ["GA1", "ga1", "GA2"]
    assert answer.duplicates == ()


@pytest.mark.parametrize("code", [None, "", "  ", "\u3000", "\x00", [], True, "x" * 101])
def test_a_record_without_a_usable_code_is_rejected(code: object) -> None:
    """Fault matrix, row 18."""
    answer = answers.parse_listing([{"productCode": code, "isSales": 1}])
    assert not answer.records
    assert answer.rejected[0].field == "productCode"


def test_the_last_of_two_records_counts_and_the_duplicate_is_reported() -> None:
    """Fault matrix, row 17."""
    data = [{"productCode": "A", "supplyPrice": amount} for amount in (1, 2, 3)]
    answer = answers.parse_prices(data, ["A"])
    assert only(answer).supply_price == 3
    assert answer.duplicates == ("A",)


def test_codes_not_asked_for_are_counted_and_left_out() -> None:
    """Fault matrix, rows 15 and 16."""
    data = [{"productCode": "A"}, {"productCode": "X", "supplyPrice": "broken"}]
    answer = answers.parse_prices(data, ["A", "B"])
    assert [record.value.product_code for record in answer.records] == ["A"]
    assert (answer.ignored, answer.rejected) == (1, ())


def test_nulls_and_missing_fields_keep_the_product() -> None:
    """Fault matrix, rows 21 and 28."""
    fields = ("productModel", "productGroupNamd", "productBrandName", "productImageUrl")
    record = {"productCode": "A", "isSales": "1", **dict.fromkeys(fields), "unknown": {"x": 1}}
    answer = answers.parse_listing([record])
    assert only(answer).brand is None
    assert answer.records[0].payload == record


def test_both_spellings_of_the_product_group_are_read() -> None:
    for name in ("productGroupNamd", "productGroupName"):
        product = only(answers.parse_listing([{"productCode": "A", "isSales": 1, name: "冰箱"}]))
        assert product.product_group == "冰箱"


def test_a_long_name_is_kept_whole() -> None:
    """Fault matrix, row 22."""
    name = "海尔😀" * 3334
    record = {"productCode": "A", "isSales": 1, "productModel": name}
    assert only(answers.parse_listing([record])).product_model == name


def test_nul_and_lone_surrogates_are_removed_and_counted_in_the_payload_too() -> None:
    """Fault matrix, row 23."""
    body = rb'[{"productCode": "A\u0000", "isSales": 1, "k\u0000": ["\ud800x", "\ud83d\ude00"]}]'
    answer = answers.parse_listing(decode(body))
    assert only(answer).product_code == "A"
    assert answer.records[0].payload == {"productCode": "A", "isSales": 1, "k": ["x", "😀"]}
    assert answer.removed_characters == 3


def test_stock_comes_as_list_as_nothing_or_as_one_object() -> None:
    """Fault matrix, row 24."""
    one = {"secCode": "W", "stock": "3"}
    assert only(answers.parse_stock(one)).stock == 3
    assert answers.parse_stock([]) == answers.Answer()
    assert len(answers.parse_stock([one, {"secCode": "V", "stock": 1}]).records) == 2


@pytest.mark.parametrize("parse", [answers.parse_stock, answers.parse_listing])
@pytest.mark.parametrize("data", [None, "none", 0, False])
def test_no_data_is_an_error_and_not_nothing(parse: Any, data: object) -> None:
    """Fault matrix, row 24."""
    with pytest.raises(CallRefused, match="holds"):
        parse(data)


def test_one_bad_warehouse_is_rejected_alone() -> None:
    answer = answers.parse_stock([{"secCode": "W", "stock": 1}, {"secCode": "V", "stock": -1}, 7])
    assert [record.value.sec_code for record in answer.records] == ["W"]
    assert [rejected.code for rejected in answer.rejected] == ["V", None]


def test_a_malformed_delivery_time_never_costs_the_quantity() -> None:
    good = {"cutTime": "16:00", "achieveUserOrderCut": 20261123, "hour": "24", "isTranfer": "1"}
    warehouse = only(stock(timelinessData=good, warehouseGrade=1))
    assert (warehouse.cut_time, warehouse.expected_delivery_at) == ("16:00", "20261123")
    assert (warehouse.delivery_hours, warehouse.is_transfer) == (Decimal(24), True)
    assert warehouse.warehouse_grade == "1"
    broken: object
    for broken in (None, "soon", [], {"hour": "soon", "isTranfer": "x", "cutTime": []}):
        warehouse = only(stock(timelinessData=broken))
        assert (warehouse.stock, warehouse.delivery_hours, warehouse.cut_time) == (1, None, None)


def test_an_overdrawn_balance_is_a_balance() -> None:
    data = {"payerAccountCode": "P", "payerAccountBalance": "-1,000.50"}
    assert only(answers.parse_balances(data)).payer_account_balance == Decimal("-1000.50")


def test_logistics_come_from_three_lists() -> None:
    data = {
        "getAllLogisticsInfoByOrderCode": [{"a": 1}, {"a": 2}, "?"],
        "getStockDeliveryLogisticsRecord": None,
        "getStockDeliveryLogisticsRecordThirdparty": {"b": 1},
    }
    answer = answers.parse_logistics(data)
    keys = [(record.value.source, record.value.position) for record in answer.records]
    assert keys == [("central", 0), ("central", 1), ("third_party", 0)]
    assert [rejected.field for rejected in answer.rejected] == ["getAllLogisticsInfoByOrderCode"]
    with pytest.raises(CallRefused):
        answers.parse_logistics({})


@given(st.decimals(min_value=0, max_value="9999999999.9999", places=4))
def test_every_amount_a_column_holds_is_read_exactly(amount: Decimal) -> None:
    for spelling in (amount, f"{amount:f}", f"{amount:,f}"):
        assert answers.read_amount(spelling) == amount


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
wire_names = st.sampled_from(
    [
        *("productCode", "isSales", "supplyPrice", "stockRebatePolicy", "productLageUrls"),
        *("secCode", "stock", "timelinessData", "payerAccountCode", "payerAccountBalance"),
    ]
)


@given(st.lists(st.dictionaries(wire_names, json_values) | json_values, max_size=4))
def test_whatever_stands_in_an_answer_each_record_is_read_or_rejected(data: list[Any]) -> None:
    for parse in (answers.parse_listing, answers.parse_stock, answers.parse_balances):
        answer = parse(data)
        assert len(answer.records) + len(answer.rejected) <= len(data)
        if not answer.duplicates:
            assert len(answer.records) + len(answer.rejected) == len(data)


numbers = st.one_of(
    st.integers(-2, 7),
    st.decimals(allow_nan=True, allow_infinity=True),
    st.decimals(-1, 2, places=3),
    st.sampled_from(["0", "1", "2", "5", "0.05", "1.5", "5%", "", " "]),
    st.sampled_from(["COM", "BF", "FHQ", "DTDBF"]),
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "rebateRate": numbers | json_values,
            "stockRebatePolicy": numbers | json_values,
        },
    )
)
def test_no_discount_is_all_or_taken_from_a_kind_of_rebate(fields: dict[str, Any]) -> None:
    """Whatever stands in the two fields: no quote is lost, and no wrong number made."""
    quote = only(price(supplyPrice=7, **fields))
    rate, policy = fields.get("rebateRate"), fields.get("stockRebatePolicy")
    if quote.stock_rebate is not None:
        assert 0 <= quote.stock_rebate < 1
        is_missing = rate is None or not str(rate).strip()
        source = policy if is_missing else rate
        assert quote.stock_rebate == answers.read_amount(source, 16_000)
        if is_missing:
            assert quote.stock_rebate > 0
    known = {"0", "1", "2", "5"}
    if quote.rebate_policy is not None:
        said = any(remark.startswith("stockRebatePolicy") for remark in quote.remarks)
        assert said is (quote.rebate_policy not in known)
