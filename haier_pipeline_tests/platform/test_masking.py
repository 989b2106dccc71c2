"""Secrets in every spelling that a server may give them back in."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haier_pipeline.platform.masking import MASK, Masker, masker, without_invisible
from haier_pipeline_tests.spellings import spellings

CLIENT = "client-7"
SECRETS = (
    'canary"customer\\password',
    "canary&password=1 ü%",
    "canary/seller+password~",
    "<canary>'secret'",
    "密码密码密码密码",
    "canary" * 60,
)
SHORT = ("1001", "pw12345")


def rid(text: str, spelling: str, secret: str) -> bool:
    low = without_invisible(text).lower()
    return MASK in text and spelling not in text and without_invisible(secret).lower() not in low


@pytest.mark.parametrize("secret", [*SECRETS, *SHORT])
def test_a_message_holds_no_secret_however_it_is_spelled(secret: str) -> None:
    masked = Masker([secret, "another one"], [CLIENT])
    for spelling in spellings(secret, CLIENT):
        said = masked.text(f"wrong password {spelling} of 客户")
        assert rid(said, spelling, secret), spelling
        assert (said[:15], said[-5:]) == ("wrong password ", " of 客户"[-5:]), spelling


@pytest.mark.parametrize("secret", ["7", "ab", "•••", "密"])
def test_a_secret_of_a_character_or_two_is_masked_in_messages_too(secret: str) -> None:
    masked = Masker([secret])
    basic = base64.b64encode(secret.encode()).decode()
    assert masked.text(f"[{secret}] [{basic}] fine") == f"[{MASK}] [{MASK}] fine"


@pytest.mark.parametrize("secret", SECRETS)
def test_a_payload_holds_no_long_secret_in_any_text(secret: str) -> None:
    masked = Masker([secret], [CLIENT])
    for spelling in spellings(secret, CLIENT):
        data = [{"productCode": "A", "echo": {"list": [f"<{spelling}>", 1]}, spelling: None}]
        (record,) = masked.payload(data)
        assert rid(json.dumps(record, ensure_ascii=False), spelling, secret), spelling
        assert (record["productCode"], record["echo"]["list"][1]) == ("A", 1)


def test_codes_models_and_amounts_stay_what_they_are() -> None:
    masked = Masker(["1001", "12345678", "EC6001-HT3"])
    record = {
        "productCode": "12345678",
        "productModel": "EC6001-HT3",
        "supplyPrice": "12345678.00",
        "marketPrice": 12345678,
        "stock": "1001",
        "reason": "价格1001未生效",
        "payerAccountBalance": "-12345678",
    }
    assert masked.payload([record]) == [record]
    echo = {**record, "supplyPrice": "is 12345678", "number": 12345678, "reason": "12345678"}
    (found,) = masked.payload([echo])
    assert (found["supplyPrice"], found["number"], found["reason"]) == (f"is {MASK}", MASK, MASK)
    assert found["productCode"] == "12345678"


def test_a_payload_without_secrets_is_not_copied() -> None:
    data = [{"productImageUrl": "https://img.haier.net/a%20b?x=1&y=2+3", "stock": 5}]
    assert Masker(["canary-canary"]).payload(data) is data


def test_secrets_that_overlap_leave_nothing_over() -> None:
    assert Masker(["abcd", "cdef"]).text("<abcdef>") == f"<{MASK}>"


def test_a_message_shows_no_control_and_no_direction_mark() -> None:
    said = Masker([]).text("a\x1b]0;b\x07\x9bc\u202ed\u2066e\nf")
    assert said == "a]0;bcde f"


def test_a_masker_shows_nothing_of_itself() -> None:
    made = masker(("canary-1",), (CLIENT,))
    assert made is masker(("canary-1",), (CLIENT,))
    assert "canary" not in repr(made) + repr(vars(made))


def test_a_payload_nested_beyond_reason_is_no_traceback() -> None:
    data: object = "canary-canary"
    for _ in range(5000):
        data = [data]
    assert Masker(["canary-canary"]).payload(data) is None


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=30), st.text(max_size=20), st.data())
def test_no_text_breaks_masking_and_no_secret_stays(
    secret: str, around: str, data: st.DataObject
) -> None:
    masked = Masker([secret], [CLIENT])
    visible = without_invisible(secret)
    spelling = data.draw(st.sampled_from([secret, quote(secret.encode("utf-8", "ignore"))]))
    said = masked.text(f"{around}{spelling}{around}")
    if visible and visible.strip() and visible != MASK[: len(visible)]:
        assert visible not in said.replace(MASK, "\n")
    masked.payload([{around: spelling, spelling: [around]}])
