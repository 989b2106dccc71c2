"""The form of an order: what is taken, and every refusal by its line and field."""

import csv
import io
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haier_pipeline.domain.order import (
    ITEM_FIELDS,
    ORDER_FIELDS,
    Order,
    end_of_day,
    parse_file,
    parse_order,
    read_time,
)

ITEM: dict[str, Any] = {
    "product_code": "P1", "quantity": 2, "retail_price": 10, "actual_price": "9.50"}  # fmt: skip


def form(**changes: Any) -> dict[str, Any]:
    given = {
        "so_id": "A1",
        "consignee_name": "赵金",
        "consignee_mobile": 13812341234,
        "province": "江苏省",
        "city": "南京市",
        "area": "鼓楼区",
        "detail_address": "中山路\n1号",
        "total_amount": 19,
        "items": [ITEM],
        **changes,
    }
    return {name: value for name, value in given.items() if value is not None}


def faults(value: Any) -> list[tuple[str, str]]:
    read = parse_order(value)
    assert isinstance(read, tuple)
    return [(problem.field, problem.problem) for problem in read]


def test_what_is_left_out_has_its_default() -> None:
    order = parse_order(form())
    assert isinstance(order, Order)
    assert order.online_no == "A1"
    assert order.consignee_mobile == "13812341234"
    assert order.detail_address == "中山路 1号"
    assert (order.town, order.remark, order.ordered_at) == (None, None, None)
    assert order.is_government_order is False
    assert order.items[0].discount_amount == 0
    assert order.items[0].actual_price == Decimal("9.50")
    for personal in ("赵金", "13812341234", "中山路"):
        assert personal not in repr(order)


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [
        ({"so_id": None}, "so_id", "missing"),
        ({"so_id": "A 1"}, "so_id", "without a blank or /"),
        ({"so_id": "A/1"}, "so_id", "without a blank or /"),
        ({"so_id": "A" * 65}, "so_id", "1 to 64"),
        ({"so_id": "A\u200b1"}, "so_id", "printable"),
        ({"so_id": "A\u30001"}, "so_id", "without a blank"),
        ({"so_id": True}, "so_id", "1 to 64"),
        ({"consignee_name": " "}, "consignee_name", "missing"),
        ({"consignee_name": ["赵金"]}, "consignee_name", "must be text"),
        ({"consignee_name": "赵" * 101}, "consignee_name", "at most 100"),
        ({"detail_address": "1\0"}, "detail_address", "cannot be printed"),
        ({"city": "南京\ud800"}, "city", "cannot be printed"),
        ({"total_amount": "many"}, "total_amount", "must be a number"),
        ({"total_amount": "１９"}, "total_amount", "must be a number"),
        ({"total_amount": Decimal("NaN")}, "total_amount", "must be a number"),
        ({"total_amount": float("inf")}, "total_amount", "must be a number"),
        ({"total_amount": True}, "total_amount", "must be a number"),
        ({"total_amount": -1}, "total_amount", "0 or more"),
        ({"total_amount": Decimal("1e400")}, "total_amount", "below"),
        ({"total_amount": Decimal("0.00001")}, "total_amount", "at most 4 decimals"),
        ({"total_amount": 18}, "total_amount", "is 18, but its items add up to 19.00"),
        ({"ordered_at": "yesterday"}, "ordered_at", "ISO 8601"),
        ({"ordered_at": 1737000000000}, "ordered_at", "ISO 8601"),
        ({"install_at": "1999-01-01"}, "install_at", "from 2000 to 2099"),
        ({"install_at": "9999-12-31T23:59:59-23:00"}, "install_at", "from 2000"),
        ({"is_government_order": "perhaps"}, "is_government_order", "true or false"),
        ({"is_government_order": 1}, "is_government_order", "true or false"),
        ({"items": None}, "items", "at least one item"),
        ({"items": []}, "items", "at least one item"),
        ({"items": "P1"}, "items", "at least one item"),
        ({"items": [7]}, "items[1]", "must be an object"),
        ({"items": [ITEM, {**ITEM, "quantity": 0}]}, "items[2].quantity", "from 1"),
        ({"items": [{**ITEM, "quantity": "1.5"}]}, "items[1].quantity", "whole number"),
        ({"items": [{**ITEM, "product_code": "P 1"}]}, "items[1].product_code", "blanks"),
        ({"items": [{**ITEM, "price": 1}]}, "items[1].price", "not a known field"),
        ({"items": [{**ITEM, "retail_price": None}]}, "items[1].retail_price", "missing"),
        ({"state": "confirmed"}, "state", "not a known field"),
    ],
)
def test_a_fault_is_said_with_its_field(changes: dict[str, Any], field: str, problem: str) -> None:
    [(found, said)] = faults(form(**changes))
    assert found == field
    assert problem in said


def test_every_fault_of_an_order_is_said_at_once() -> None:
    found = [field for field, _ in faults({"so_id": "A1", "colour": 1, "items": [{}]})]
    assert set(found) == {
        "colour", "consignee_name", "consignee_mobile", "province", "city", "area",
        "detail_address", "total_amount", "items[1].product_code", "items[1].quantity",
        "items[1].retail_price", "items[1].actual_price"}  # fmt: skip


@pytest.mark.parametrize("value", [None, 7, "A1", [], [form()]])
def test_what_is_no_object_is_no_order(value: Any) -> None:
    assert faults(value) == [("", "must be an object with the fields of an order")]


def test_a_time_without_a_zone_is_meant_in_china() -> None:
    assert read_time("2026-01-15T10:00:00").isoformat() == "2026-01-15T10:00:00+08:00"
    assert read_time("2026-01-15").isoformat() == "2026-01-15T00:00:00+08:00"
    assert read_time("2026-01-15T02:00:00Z") == read_time("2026-01-15T10:00:00")
    assert end_of_day("2026-01-15T20:00:00Z").isoformat() == "2026-01-16T23:59:59+08:00"


def test_content_is_compared_by_values_however_they_are_written() -> None:
    def hash_of(**changes: Any) -> str:
        order = parse_order(form(**changes))
        assert isinstance(order, Order)
        return order.content_hash

    same = {
        hash_of(),
        hash_of(total_amount="19.00"),
        hash_of(online_no="A1", town="  ", is_government_order="false"),
        hash_of(items=[{**ITEM, "discount_amount": "0.0", "is_gift": False}]),
    }
    assert len(same) == 1
    at = {hash_of(ordered_at="2026-01-15T10:00:00"), hash_of(ordered_at="2026-01-15T02:00:00Z")}
    assert len(at) == 1
    others = {
        hash_of(remark="x"),
        hash_of(town="x"),
        hash_of(items=[{**ITEM, "is_gift": True}]),
        hash_of(items=[{**ITEM, "retail_price": 11}]),
    }
    assert len(others | same | at) == 6


def test_a_json_file_names_the_line_at_which_an_order_begins() -> None:
    text = json.dumps([form(), form(so_id="A2", total_amount=1)], indent=1, ensure_ascii=False)
    [problem] = parse_file(text.encode()).problems
    begin = text[: text.index('"A2"')].count("\n")
    assert (problem.line, problem.so_id, problem.field) == (begin, "A2", "total_amount")
    parsed = parse_file(b"\xef\xbb\xbf" + json.dumps(form()).encode())
    assert [order.so_id for _, order in parsed.orders] == ["A1"]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"  \n", b"[", b"{", b"[]", b"[1,]", b"[{}", b"[{}] x", b"[NaN]", b"[" * 99999,
        b'{"so_id": "A", "so_id": "B"}', b"[" + b"1" * 9999 + b"]", b"\xff\xfe\xff", b'"x',
        b"so_id",
    ],
)  # fmt: skip
def test_what_is_no_file_of_orders_is_said_in_a_sentence(content: bytes) -> None:
    parsed = parse_file(content)
    assert parsed.orders == ()
    assert parsed.problems
    assert all(str(problem) for problem in parsed.problems)


@given(st.binary(max_size=200))
def test_no_content_raises(content: bytes) -> None:
    parse_file(content)
    parse_file(b"[" + content)
    parse_file(b"so_id,quantity\n" + content)


def as_csv(*lines: dict[str, Any]) -> str:
    names = list(dict.fromkeys(name for line in lines for name in line))
    written = io.StringIO()
    writer = csv.DictWriter(written, names)
    writer.writeheader()
    writer.writerows(lines)
    return written.getvalue()


def test_a_csv_file_has_a_line_for_each_item() -> None:
    shared = {name: value for name, value in form(total_amount=57).items() if name != "items"}
    shared["detail_address"] = "中山路1号"
    lines = [{**shared, **ITEM}, {**shared, **ITEM, "quantity": 4, "is_gift": "TRUE"}]
    for encoding in ("utf-8", "utf-8-sig", "gb18030"):
        parsed = parse_file(as_csv(*lines).encode(encoding))
        assert parsed.problems == ()
        [(line, order)] = parsed.orders
        assert (line, order.consignee_name) == (2, "赵金")
        assert [(item.quantity, item.is_gift) for item in order.items] == [(2, False), (4, True)]


def test_faults_of_a_csv_file_name_their_own_lines() -> None:
    shared = {name: value for name, value in form(total_amount=57).items() if name != "items"}
    shared["detail_address"] = "中山路\n1号"
    text = as_csv(
        {**shared, **ITEM},
        {**shared, **ITEM, "quantity": "x"},
        {**shared, **ITEM, "city": "苏州市"},
        {**shared, **ITEM, "so_id": ""},
    )
    found = {(one.line, one.field) for one in parse_file(text.encode()).problems}
    # An address with a line break takes two lines of the file.
    assert found == {(4, "items[2].quantity"), (6, "city"), (8, "so_id")}
    [problem] = parse_file(as_csv({**shared, **ITEM, "colour": 1}).encode()).problems
    assert (problem.line, problem.field) == (1, "colour")
    assert len(ORDER_FIELDS) + len(ITEM_FIELDS) == 21
