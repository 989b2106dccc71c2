"""What an answer says of its call: a table of statuses, codes and words, without a network."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haier_pipeline.platform.envelope import Step, classify, reason, refusing_envelope, unwrapped
from haier_pipeline.platform.transport import BrokenError, Reply


def verdict(status: int, body: Any) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify(Reply(status, raw, None))


RECORDS = [{"productCode": "A", "code": "1"}]
VENDOR: dict[str, Any] = {
    "success": True,
    "code": 0,
    "errCode": None,
    "infoMsgs": [],
    "warningMsgs": [],
}


@pytest.mark.parametrize(
    ("answer", "data"),
    [
        (RECORDS, RECORDS),
        ({"secCode": "W", "stock": 1}, {"secCode": "W", "stock": 1}),
        ({"code": "HFR2", "stock": 1}, {"code": "HFR2", "stock": 1}),
        ({"getAllLogisticsInfoByOrderCode": []}, {"getAllLogisticsInfoByOrderCode": []}),
        (VENDOR | {"errorMsg": None, "data": RECORDS}, RECORDS),
        ({"success": True, "code": 200, "message": "success", "data": RECORDS}, RECORDS),
        ({"success": True, "code": "200", "data": RECORDS}, RECORDS),
        ({"success": "true", "data": RECORDS}, RECORDS),
        ({"success": 1, "data": RECORDS}, RECORDS),
        ({"success": None, "data": RECORDS}, RECORDS),
        ({"code": 0, "data": RECORDS}, RECORDS),
        ({"code": "0", "message": "成功", "data": RECORDS}, RECORDS),
        ({"code": "SUCCESS", "msg": "ok", "data": RECORDS}, RECORDS),
        ({"data": RECORDS}, RECORDS),
        ({"success": True, "code": "S0001", "data": RECORDS}, RECORDS),
        ({"success": True, "data": {"success": True, "data": RECORDS}}, RECORDS),
        ({"success": True, "getStockDeliveryLogisticsRecord": []},
         {"getStockDeliveryLogisticsRecord": []}),
        ({"success": True}, None),
        ({"success": True, "data": None}, None),
        ({"success": True, "data": []}, []),
        (None, None),
    ],
)  # fmt: skip
def test_data_is_found_in_and_out_of_envelopes(answer: Any, data: Any) -> None:
    found = verdict(200, answer)
    assert found.step is Step.DONE
    assert found.data == data


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (VENDOR | {"success": False, "code": 1, "errorMsg": "客户密码错误"}, "客户密码错误"),
        ({"success": False, "code": 1}, "1"),
        ({"success": False, "code": "500100", "message": "商品不存在"}, "商品不存在"),
        ({"success": False, "errorMsg": " ", "message": None, "error": "e"}, "e"),
        ({"success": False, "errorMsg": None, "warningMsgs": ["a", "", "b"]}, "a; b"),
        ({"success": False, "message": "success", "errCode": "E12"}, "E12"),
        ({"success": False, "error": {"code": 5, "message": "inner"}}, "inner"),
        ({"success": "false"}, ""),
        ({"success": "perhaps", "data": RECORDS}, ""),
        ({"code": 1, "errorMsg": "no", "data": RECORDS}, "no"),
        ({"success": True, "code": 1, "errorMsg": "no", "data": RECORDS}, "no"),
        ({"success": True, "code": 403, "message": "no", "data": None}, "no"),
        ({"success": True, "data": {"success": False, "errorMsg": "no"}}, "no"),
        ({"code": -1, "msg": "no"}, "no"),
        ({"error": "invalid_client", "error_description": "x"}, "invalid_client"),
        ({"errCode": "E1", "errorMsg": "no", "data": None}, "no"),
    ],
)
def test_an_envelope_that_says_no_is_a_refusal_with_its_reason(answer: Any, says: str) -> None:
    """Fault matrix, row 8."""
    found = verdict(200, answer)
    assert found.step is Step.REFUSE
    assert found.reason == says


@pytest.mark.parametrize(
    ("status", "body", "step", "meaning"),
    [
        (401, b"", Step.RENEW, 401),
        (400, {"code": 1, "errorMsg": "no"}, Step.REFUSE, 400),
        (403, {"code": 1, "errorMsg": "no"}, Step.REFUSE, 403),
        (403, {"code": 401, "errorMsg": "token expired"}, Step.REFUSE, 403),
        (404, b"<html>", Step.REFUSE, 404),
        (302, b"", Step.REFUSE, 302),
        (429, b"", Step.REPEAT, 429),
        (500, {"success": False, "errorMsg": "客户密码错误"}, Step.REPEAT, 500),
        (503, b"busy", Step.REPEAT, 503),
        (200, b"<html>", Step.REPEAT, 200),
        (200, b"", Step.REPEAT, 200),
        (200, {"success": False, "code": 401}, Step.RENEW, 401),
        (200, {"success": False, "code": "401", "errorMsg": "x"}, Step.RENEW, 401),
        (400, {"success": False, "code": 401}, Step.RENEW, 401),
        (200, {"success": False, "code": 1, "errorMsg": "令牌无效"}, Step.RENEW, 401),
        (200, {"success": False, "code": 1, "errorMsg": "Invalid access_token"}, Step.RENEW, 401),
        (200, {"success": False, "code": 429}, Step.REPEAT, 429),
        (200, {"success": False, "code": 1, "errorMsg": "请求过于频繁，请稍后"}, Step.REPEAT, 429),
        (400, {"code": 1, "message": "Too Many Requests"}, Step.REPEAT, 429),
        (200, {"success": False, "code": 503}, Step.REPEAT, 503),
        (200, {"success": False, "code": 500, "errorMsg": "系统异常"}, Step.REPEAT, 500),
        (200, {"success": False, "code": 1, "errorMsg": "系统繁忙"}, Step.REPEAT, 503),
        # Sent again and again, these would get the account locked.
        (200, {"success": False, "code": 500, "errorMsg": "客户密码错误"}, Step.REFUSE, 200),
        (200, {"success": False, "code": 1, "errorMsg": "密码错误次数过于频繁"}, Step.REFUSE, 200),
        # A code of the platform's own, and words that are no status.
        (200, {"success": False, "code": 1, "errorMsg": "商品已失效"}, Step.REFUSE, 200),
        (200, {"success": False, "code": 40101, "errorMsg": "x"}, Step.REFUSE, 200),
        (200, {"success": False, "code": 404, "errorMsg": "商品不存在"}, Step.REFUSE, 200),
    ],
)
def test_what_follows_from_an_answer(status: int, body: Any, step: Step, meaning: int) -> None:
    """Fault matrix, rows 1 to 9."""
    found = verdict(status, body)
    assert (found.step, found.status) == (step, meaning)


def test_no_answer_is_worth_a_repetition() -> None:
    found = classify(BrokenError("the connection was refused"))
    assert (found.step, found.status) == (Step.REPEAT, None)
    assert not found.is_answer


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
ENVELOPES = st.dictionaries(
    st.sampled_from(
        ["success", "code", "errCode", "infoMsgs", "warningMsgs", "errorMsg", "message", "error",
         "data", "msg", "stock"]
    ),
    JSON | st.sampled_from(["true", "false", "200", "401", "429", 0, 1, 401, 500]),
)  # fmt: skip


@given(ENVELOPES | JSON, st.sampled_from([200, 201, 302, 400, 401, 403, 404, 429, 500, 503]))
@settings(max_examples=200, deadline=None)
def test_any_mixture_comes_to_an_end(answer: Any, status: int) -> None:
    found = verdict(status, answer)
    assert isinstance(found.reason, str)
    if found.step is Step.DONE:
        assert status < 300
        assert refusing_envelope(answer) is None
    if status == 401:
        assert found.step is Step.RENEW


@given(ENVELOPES)
@settings(max_examples=100, deadline=None)
def test_success_false_is_never_data(answer: dict[str, Any]) -> None:
    for no in (False, "false", 0, "0"):
        assert verdict(200, {**answer, "success": no}).step is not Step.DONE


@given(st.text(min_size=1).filter(lambda text: text.strip() == text and text.isprintable()))
@settings(max_examples=50, deadline=None)
def test_the_reason_is_the_platforms_own(said: str) -> None:
    found = reason({"success": False, "code": 1, "errorMsg": said})
    assert found in (said, "1")
    assert unwrapped({"success": True, "data": said}) == said
