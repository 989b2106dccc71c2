"""Who sent a callback, and what it says (contract, "Callbacks")."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haier_pipeline.errors import InvalidSignature
from haier_pipeline.platform.callbacks import (
    CANCEL,
    CONFIRM,
    Callback,
    CallbackItem,
    read_form,
    signature,
    verify_callback,
)

APP_KEY = "demo-app"
SECRET = "demo-Secret"
ACCEPTED = '{"ExtOrderNo":"SO.20260115.000001","PlatformOrderNo":"P-1001","State":1}'
REFUSED = '{"PlatformOrderNo":"P-1001","State":0,"FailMsg":"库存不足"}'


def form(data: str = ACCEPTED, **fields: str) -> dict[str, str]:
    given = {
        "AppKey": APP_KEY,
        "TimeStamp": "20260115120000",
        "Method": CONFIRM,
        "Data": data,
        **fields,
    }
    return {"Sign": signature(given, SECRET), **given}


def read(data: Any, **fields: str) -> Callback:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return verify_callback(form(text, **fields), APP_KEY, [SECRET])


@pytest.mark.parametrize(
    ("data", "sign"),
    [
        (ACCEPTED, "C83A8BE991D2CEA73C389CA8AF5A55DE"),
        (REFUSED, "FF42A0C115CAEB60255072578894D0CB"),
    ],
)
def test_the_signature_is_that_of_the_contract_s_vectors(data: str, sign: str) -> None:
    assert form(data)["Sign"] == sign
    callback = read(data)
    assert callback.signature == sign
    assert callback.platform_order_no == "P-1001"
    assert callback.sent_at == datetime(2026, 1, 15, 4, tzinfo=UTC)


def test_a_confirmation_says_whether_under_which_number_and_why_not() -> None:
    assert read(ACCEPTED).state == 1
    assert read(ACCEPTED).external_order_no == "SO.20260115.000001"
    refused = read(REFUSED)
    assert (refused.state, refused.external_order_no, refused.fail_msg) == (0, None, "库存不足")


def test_blank_fields_are_not_signed_and_unknown_ones_are() -> None:
    plain = form()
    assert signature({**plain, "Extra": " ", "Other": ""}, SECRET) == plain["Sign"]
    more = form(Version="2")
    assert more["Sign"] != plain["Sign"]
    assert verify_callback(more, APP_KEY, [SECRET]).state == 1


def test_the_signature_may_come_in_small_letters() -> None:
    small = form() | {"Sign": form()["Sign"].lower()}
    assert verify_callback(small, APP_KEY, [SECRET]).signature == form()["Sign"]


@pytest.mark.parametrize(
    "change",
    [
        {"Sign": ""},
        {"Sign": "0" * 32},
        {"Sign": "验" * 32},
        {"Data": REFUSED},
        {"AppKey": "Demo-App"},
        {"AppKey": ""},
        {"TimeStamp": "20260115120001"},
        {"Method": CANCEL},
        {"Extra": "more"},
    ],
)
def test_a_form_that_was_changed_on_its_way_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(InvalidSignature) as caught:
        verify_callback(form() | change, APP_KEY, [SECRET])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("secrets", [[], [""], [" "], ["another"]])
def test_without_the_right_secret_nothing_is_believed(secrets: list[str]) -> None:
    """Also a form that was signed with an empty secret, which anybody can do."""
    for secret in ("", " ", SECRET):
        signed = form() | {"Sign": signature(form(), secret)}
        with pytest.raises(InvalidSignature):
            verify_callback(signed, APP_KEY, secrets)


def test_without_an_app_key_of_the_dealer_nothing_is_believed() -> None:
    blank = form(AppKey="")
    with pytest.raises(InvalidSignature):
        verify_callback(blank, "", [SECRET])


def test_while_a_secret_is_changed_the_previous_one_is_accepted_too() -> None:
    assert verify_callback(form(), APP_KEY, ["new", SECRET]).state == 1


@pytest.mark.parametrize("value", [1, "1", " 1 ", "1.0", 1.0])
def test_a_state_may_come_as_text(value: object) -> None:
    assert read({"PlatformOrderNo": "P", "State": value}).state == 1


@pytest.mark.parametrize("value", [None, "", "yes", True, -1, 3, [1], {"a": 1}, "NaN", 10**400])
def test_a_state_that_is_none_is_never_taken_for_a_success(value: object) -> None:
    callback = read({"PlatformOrderNo": "P", "State": value})
    assert callback.state is None
    assert callback.problem is None


def test_a_cancellation_brings_quantities_as_a_list_or_as_text() -> None:
    items = [
        {"productCode": "GA0SZC00U", "totalQty": 3, "receiveQty": "2", "returnQty": 1,
         "rejectQty": "1.0"},
        {"productCode": 123, "totalQty": 1.5},
        {"totalQty": 1},
        "nothing",
    ]  # fmt: skip
    expected = (
        CallbackItem("GA0SZC00U", 3, 2, 1, 1),
        CallbackItem("123", None, None, None, None),
    )
    for sent in (items, json.dumps(items)):
        callback = read({"PlatformOrderNo": "P", "State": 2, "itemList": sent}, Method=CANCEL)
        assert callback.items == expected
        assert callback.method == CANCEL
    assert read({"PlatformOrderNo": "P", "itemList": "[broken"}).items == ()


def test_numbers_as_texts_and_both_spellings_of_the_reason_are_read() -> None:
    callback = read('{"PlatformOrderNo": 20260115000000000001, "failMsg": "无货"}')
    assert callback.platform_order_no == "20260115000000000001"
    assert callback.fail_msg == "无货"


@pytest.mark.parametrize("data", ["", "  ", "{", "[]", '"text"', "null", "[" * 100_000, "NaN"])
def test_signed_data_that_cannot_be_read_is_a_problem_and_no_error(data: str) -> None:
    callback = read(data)
    assert callback.problem is not None
    assert callback.payload is None
    assert callback.method == CONFIRM


def test_what_postgresql_does_not_take_is_gone_from_the_payload() -> None:
    callback = read('{"PlatformOrderNo": "P\\u0000-1", "x": "\\ud800", "n": 1.10}')
    assert callback.platform_order_no == "P-1"
    assert callback.payload == {"PlatformOrderNo": "P-1", "x": "", "n": "1.10"}


@pytest.mark.parametrize("stamp", ["", "2026", "20261315120000", "2026-01-15 12:00:00"])
def test_a_time_stamp_that_is_none_costs_nothing_else(stamp: str) -> None:
    callback = read(ACCEPTED, TimeStamp=stamp)
    assert callback.sent_at is None
    assert callback.state == 1


def test_a_form_and_a_json_body_are_read_alike() -> None:
    sent = form(REFUSED)
    as_form = read_form(urlencode(sent).encode(), "application/x-www-form-urlencoded")
    as_json = read_form(json.dumps({**sent, "Note": None}).encode(), "application/json")
    assert as_form == sent
    assert as_json == {**sent, "Note": ""}
    numbered = json.dumps(sent).replace('"20260115120000"', "20260115120000").encode()
    assert verify_callback(read_form(numbered, ""), APP_KEY, [SECRET]).state == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"Data=%ff",
        b"{",
        b'{"Data": {"State": 1}}',
        b'{"Data": true}',
        b"Sign=a&Sign=b",
        b'{"Sign": "a", "Sign": "b"}',
        b"&".join(b"f%d=1" % number for number in range(60)),
        b'{"a":' * 100_000,
    ],
)
def test_what_cannot_be_verified_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidSignature):
        read_form(body, "application/x-www-form-urlencoded")


def test_nothing_that_haier_wrote_shows_in_the_repr() -> None:
    assert "库存不足" not in repr(read(REFUSED))


@given(st.binary(max_size=200), st.sampled_from(["", "application/json"]))
def test_no_body_makes_it_stumble(body: bytes, content_type: str) -> None:
    try:
        verify_callback(read_form(body, content_type), APP_KEY, [SECRET])
    except InvalidSignature:
        return
    pytest.fail("nobody signed this")
