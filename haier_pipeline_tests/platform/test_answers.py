"""What the fields of an answer mean, rule by rule, on hand-made records."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haier_pipeline.errors import CallRefused
from haier_pipeline.platform import answers
from haier_pipeline.platform.masking import without_invisible
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
        *("-1", "1e10", "1e-99999", "true", "[1]", "{}"),
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


@pytest.mark.parametrize("text", ["1.23450", "1.234567", "0.1" + "3" * 40, "1e-30", "\ufeff2.5"])
def test_an_amount_has_any_number_of_decimals(text: str) -> None:
    expected = Decimal(text.lstrip("\ufeff"))
    for field in ("supplyPrice", "marketPrice"):
        assert only(price(**{field: text})).model_dump(by_alias=True)[field] == expected


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
    ("value", "expected"),
    [
        *(("1", True), ("0", False), (1, True), (0, False), (True, True), (False, False)),
        *((" 1 ", True), ("\u200b0", False), ("TRUE", True), ("false", False)),
        *((Decimal("1.0"), True), (Decimal("0E+2"), False)),
        # What the platform does not say may be bought (contract, "Procurable products").
        *((None, True), ("", True), ("  ", True)),
    ],
)
def test_flags_are_one_or_zero_and_without_one_a_product_may_be_bought(
    value: object, expected: bool
) -> None:
    data = {"productCode": "A", "isSales": value}
    assert only(answers.parse_listing([data])).is_sales is expected


def test_a_product_without_the_flag_may_be_bought() -> None:
    assert only(answers.parse_listing({"productCode": 20190106})).is_sales is True


@pytest.mark.parametrize("value", ["2", 2, "yes", "１", -1, [], {}, Decimal("sNaN")])
def test_other_flags_are_rejected(value: object) -> None:
    answer = answers.parse_listing([{"productCode": "A", "isSales": value}])
    assert answer.rejected[0].field == "isSales"


def test_codes_are_trimmed_and_differ_by_case() -> None:
    """Fault matrix, row 18."""
    records = [{"productCode": code, "isSales": 1} for code in (" GA1 ", "ga1", "\tGA2")]
    answer = answers.parse_listing(records)
    assert [record.value.product_code for record in answer.records] == ["GA1", "ga1", "GA2"]
    assert answer.duplicates == ()


HIDDEN = (
    "\u200b",
    "\ufeff",
    "\u202e",
    "\u00ad",
    "\u2060",
    "\ufe0f",
    "\u200e",
    "\x1b",
    "\U000e0041",
)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_characters_that_show_nothing_are_taken_out_of_codes_and_counted(hidden: str) -> None:
    written = f"{hidden}GA0{hidden}SZC00U{hidden}"
    listing = answers.parse_listing([{"productCode": written}])
    assert (only(listing).product_code, listing.removed_characters) == ("GA0SZC00U", 3)
    # The payload stays untouched, and is read again as the same code.
    assert listing.records[0].payload == {"productCode": written}
    prices = answers.parse_prices([{"productCode": written, "supplyPrice": 1}], ["GA0SZC00U"])
    assert (only(prices).supply_price, prices.ignored) == (1, 0)
    warehouses = answers.parse_stock([{"secCode": written, "stock": 1}])
    assert (only(warehouses).sec_code, warehouses.removed_characters) == ("GA0SZC00U", 3)
    account = {"payerAccountCode": written, "payerAccountBalance": 1, "saleGroupCode": written}
    assert only(answers.parse_balances(account)).key == "GA0SZC00U/GA0SZC00U"


def test_codes_that_only_look_alike_are_one_and_reported() -> None:
    """Two products where the platform meant one would switch each other off."""
    data = [{"productCode": code, "supplyPrice": 1} for code in ("A", "A\u200b", "\u00a0B", "B")]
    answer = answers.parse_prices(data, ["A", "B"])
    assert [record.value.product_code for record in answer.records] == ["A", "B"]
    assert answer.duplicates == ("A",)


@pytest.mark.parametrize(
    "code", [None, "", "  ", "\u3000", "\x00", "\u200b \ufeff", [], True, "x" * 101]
)
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


@pytest.mark.parametrize(
    ("hour", "hours"),
    [
        *(("24", 24), (24, 24), (Decimal("1.333333"), Decimal("1.333333")), ("0", 0)),
        *(("999999", None), (-1, None), ("24小时", None), ("1e9", None), (True, None)),
    ],
)
def test_hours_are_bounded_where_they_are_read(hour: object, hours: object) -> None:
    assert only(stock(timelinessData={"hour": hour})).delivery_hours == hours


def test_a_storage_location_or_grade_may_come_as_a_number_or_a_flag() -> None:
    warehouse = only(answers.parse_stock({"secCode": 7001, "stock": "3", "warehouseGrade": True}))
    assert (warehouse.sec_code, warehouse.warehouse_grade) == ("7001", "1")


def test_a_balance_has_any_number_of_decimals_and_its_texts_may_be_missing() -> None:
    data = [{"payerAccountCode": 88, "payerAccountBalance": "1,000.123456", "saleGroupName": None}]
    account = only(answers.parse_balances(data))
    assert account.payer_account_balance == Decimal("1000.123456")
    assert (account.payer_account_code, account.sale_group_code) == ("88", None)


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


def test_an_entry_of_each_list_is_read_as_the_contract_types_it() -> None:
    """Contract, "Logistics": parcels, and the steps of each, in their order."""
    data = {
        "getAllLogisticsInfoByOrderCode": [
            {
                "deliveryRecordCode": "SO.1.F1",
                "getStoreOutboundLogisticsInfoResultDto": [
                    {
                        "deliveryLogisticsDtos": [
                            {
                                "stateCode": "DELIVERED",
                                "stateTime": 1582000000000,
                                "stateDescription": "已签收",
                            },
                            None,
                        ]
                    },
                    {"orderStatus": 40, "orderStatusName": "已出库", "deliveryLogisticsDtos": None},
                ],
            }
        ],
        "getStockDeliveryLogisticsRecord": {
            "deliveryRecordCode": "SO.1.F2",
            "logisticsInfo": [{"statusCode": "LF", "stateName": "出库", "stateTime": None,
                               "createTime": "2025-07-01"}],
        },
        "getStockDeliveryLogisticsRecordThirdparty": [
            {
                "deliveryRecordCode": 20190106,
                "logisticsNoList": [
                    {"logisticsNo": "1", "logisticsInfo": [{"nodeName": "签收", "context": "x",
                                                            "state": 3}]},
                    {"logisticsNo": "2", "logisticsInfo": None},
                ],
            }
        ],
    }  # fmt: skip
    central, own, courier = (record.value for record in answers.parse_logistics(data).records)
    status = answers.DeliveryStatus
    arrived = status(codes=("DELIVERED",), words=("已签收",), at="1582000000000")
    assert central.delivery_record_code == "SO.1.F1"
    assert central.parcels == ((arrived,), (status(codes=("40",), words=("已出库",)),))
    assert own.parcels == ((status(codes=("LF",), words=("出库",), at="2025-07-01"),),)
    assert courier.delivery_record_code == "20190106"
    assert courier.parcels == ((status(codes=("3",), words=("签收", "x")),), ())


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        *(("已签收", True), ("商品已出库", True), ("[北京朝阳站] 已发往下一站", True)),
        *(("电话13812345678", False), ("138 1234 5678 送达", False), ("138-1234-5678", False)),
        *(
            ("座机0532-88931234", False),
            ("１３８１２３４５６７８", False),
            ("1\u200b3812345678", False),
        ),
        *(
            ("鲁B12345", False),
            ("车 鲁 B·12345 到", False),
            ("京AD12345", False),
            ("鲁b12345", False),
        ),
        *(("派件员张三正在派送", False), ("王大海已到", False), ("已由李明签收", False)),
        *(("签收人：张三", False), ("张先生已收", False)),
    ],
)
def test_free_text_that_tells_of_a_person_goes(text: str, kept: bool) -> None:
    entry = {"deliveryContact": "王大海", "context": text, "other": [{"unknown": text}]}
    expected = text if kept else None
    assert answers.without_people(entry) == {
        "deliveryContact": None,
        "context": expected,
        "other": [{"unknown": expected}],
    }


def test_codes_times_and_states_stay_when_people_go() -> None:
    entry = {
        "deliveryRecordCode": "SO.20190106.000003.F1",
        "expNo": "13812345678",
        "stateTime": "2020-05-12 14:00:00",
        "stateCode": "DELIVERED",
        "itemName": "冰箱",
        "shippingQty": 1,
    }
    people = {
        "deliveryPhone": 13812345678,
        "vehicleInformation": "鲁B12345",
        "driverName": "王",
        "receiverAddress": "青岛",
        "logisticsUrl": "https://x.example/?mobile=13812345678",
    }
    assert answers.without_people(entry | people) == entry | dict.fromkeys(people)


@given(st.decimals(min_value=0, max_value="9999999999.9999", places=4))
def test_every_amount_a_column_holds_is_read_exactly(amount: Decimal) -> None:
    for spelling in (amount, f"{amount:f}", f"{amount:,f}"):
        assert answers.read_amount(spelling) == amount


# ------------------------------------------------------------------- any mixture, old forms and new

rarely = settings(max_examples=60, deadline=None)
blanks = st.sampled_from([None, "", " ", "\u3000", "\u200b"])
hidden = st.sampled_from(["", *HIDDEN])
amounts = st.decimals(0, "9999999999", allow_nan=False, allow_infinity=False, places=6)
missing = object()


def spelled(number: Decimal, how: int) -> object:
    text = f"{number:f}"
    whole = int(number) if number == int(number) else number
    return [number, text, f" {text} ", f"{number:,f}", f"\ufeff{text}", whole][how]


@rarely
@given(amounts, st.integers(0, 5))
def test_an_amount_is_exactly_what_was_sent(number: Decimal, how: int) -> None:
    assert answers.read_amount(spelled(number, how)) == number


NO_FLAGS: list[object] = ["2", 7, "是", [], "yes", Decimal("0.5")]
FLAGS: list[tuple[object, bool | None]] = [
    *((value, True) for value in ("1", 1, True, "true", " 1", Decimal("1.0"))),
    *((value, False) for value in ("0", 0, False, "FALSE", "0\u200b")),
    *((value, True) for value in (None, "", missing)),
    *((value, None) for value in NO_FLAGS),
]
flags = st.sampled_from(FLAGS)
codes = st.text(alphabet="ABC123-", min_size=1, max_size=8)


@rarely
@given(codes, hidden, flags, st.booleans(), st.text(max_size=5))
def test_a_listing_record_is_read_by_the_contract_or_set_aside(
    code: str, mark: str, flag: tuple[object, bool | None], old: bool, group: str
) -> None:
    written = code[:1] + mark + code[1:]
    record: dict[str, object] = {"productCode": f" {written}{mark} ", "isSales": flag[0]}
    if flag[0] is missing:
        del record["isSales"]
    record["productGroupName" if old else "productGroupNamd"] = group
    answer = answers.parse_listing([record])
    if flag[1] is None:
        assert (answer.records, answer.rejected[0].field) == ((), "isSales")
        assert answer.rejected[0].code == code
        return
    value: answers.ProductListing = only(answer)
    assert (value.product_code, value.is_sales) == (code, flag[1])
    assert value.product_group == (answers.clean(group)[0].strip() or None)


NO_QUANTITIES: list[object] = [-1, "12.5", "有货", None, True, "１２", "1e12", []]
quantities = st.one_of(
    st.integers(0, 10**9 - 1).flatmap(
        lambda n: st.sampled_from(
            [(n, n), (str(n), n), (f"{n}.0", n), (f"{n:,}", n), (f" {n} ", n)]
        )
    ),
    st.sampled_from(NO_QUANTITIES).map(lambda bad: (bad, None)),
)


@rarely
@given(st.lists(quantities, min_size=1, max_size=4), st.booleans(), st.dictionaries(
    st.sampled_from(["hour", "cutTime", "achieveUserOrderCut", "isTranfer"]),
    st.none() | st.integers() | st.text(max_size=4) | st.booleans() | st.lists(st.none()),
))  # fmt: skip
def test_a_stock_is_the_sum_that_was_sent_or_told_to_be_unknown(
    sent: list[tuple[object, int | None]], lone: bool, timeliness: dict[str, object]
) -> None:
    data: Any = [
        {"secCode": number, "stock": value[0], "timelinessData": timeliness}
        for number, value in enumerate(sent)
    ]
    answer = answers.parse_stock(data[0] if lone and len(data) == 1 else data)
    assert len(answer.rejected) == sum(expected is None for _, expected in sent)
    found = {record.value.sec_code: record.value.stock for record in answer.records}
    assert found == {str(n): value for n, (_, value) in enumerate(sent) if value is not None}


@rarely
@given(amounts, st.booleans(), st.integers(0, 5), st.booleans())
def test_a_balance_is_exactly_what_was_sent(
    number: Decimal, owed: bool, how: int, lone: bool
) -> None:
    amount = -number if owed else number
    record = {"payerAccountCode": "P", "payerAccountBalance": spelled(amount, how)}
    assert (
        only(answers.parse_balances(record if lone else [record])).payer_account_balance == amount
    )


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
@settings(deadline=None)
def test_whatever_stands_in_an_answer_each_record_is_read_or_rejected(data: list[Any]) -> None:
    for parse in (answers.parse_listing, answers.parse_stock, answers.parse_balances):
        answer, alone = parse(data), [parse([one]) for one in data]
        assert all(len(one.records) + len(one.rejected) == 1 for one in alone)
        assert len(answer.rejected) == sum(len(one.rejected) for one in alone)
        keys = [record.value.key for one in alone for record in one.records]
        assert {record.value.key for record in answer.records} == set(keys)
        assert len(answer.records) == len(set(keys))


logistics_names = st.sampled_from(
    [
        *answers.LOGISTICS_LISTS,
        *("deliveryRecordCode", "getStoreOutboundLogisticsInfoResultDto", "deliveryLogisticsDtos"),
        *("logisticsInfo", "logisticsNoList", "stateCode", "stateDescription", "stateTime"),
        *("deliveryContact", "deliveryPhone"),
    ]
)
logistics_values = st.recursive(
    json_values | st.sampled_from(["DELIVERED", "已签收", "2026-11-25"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(logistics_names, inner, max_size=4),
    max_leaves=20,
)


@rarely
@given(
    st.dictionaries(st.sampled_from(list(answers.LOGISTICS_LISTS)), logistics_values, min_size=1)
)
def test_whatever_stands_in_a_logistics_answer_is_read_or_set_aside(data: dict[str, Any]) -> None:
    answer = answers.parse_logistics(data)
    entries = [entry for value in data.values() if value is not None
               for entry in (value if isinstance(value, list) else [value])]  # fmt: skip
    assert len(answer.records) + len(answer.rejected) == len(entries)
    for record in answer.records:
        told = answers.without_people(record.payload)
        assert set(told) == set(record.payload)
        assert told.get("deliveryPhone") is None


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
        # A text that shows nothing is blank.
        is_missing = rate is None or not without_invisible(str(rate)).strip()
        source = policy if is_missing else rate
        assert quote.stock_rebate == answers.read_amount(source, 16_000)
        if is_missing:
            assert quote.stock_rebate > 0
    known = {"0", "1", "2", "5"}
    if quote.rebate_policy is not None:
        said = any(remark.startswith("stockRebatePolicy") for remark in quote.remarks)
        assert said is (quote.rebate_policy not in known)
