"""What an answer of the platform says about the call: done, or what is to be done now.

The envelope around the data, its reason for people, and the meaning of statuses, codes and words
belong here (contract, "Rules for every call"). Pure functions of one answer: nothing is sent,
waited for or remembered, and what the data means is left to `answers`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from typing import Any, Final

from haier_pipeline.platform.transport import BrokenError, ExchangeError, Reply, decode


class Step(Enum):
    """What follows from an answer."""

    DONE = auto()
    #: The token is not accepted: another token, or the same in another form.
    RENEW = auto()
    #: It may pass: wait, and send the call again.
    REPEAT = auto()
    #: No repetition helps.
    REFUSE = auto()


@dataclass(frozen=True)
class Verdict:
    """What one attempt came to.

    ``data`` is what stood in the envelope. ``status`` is the HTTP status, or the one that the
    envelope names in its place; ``http_status`` the one that really came, None where nobody
    answered. ``problem`` says what is wrong without the platform's own words, which are in
    ``reason`` as they came: they may echo a secret. ``retry_after`` in seconds.
    """

    step: Step
    data: Any = None
    status: int | None = None
    http_status: int | None = None
    problem: str = ""
    reason: str = ""
    retry_after: float | None = None

    @property
    def is_answer(self) -> bool:
        """Whether somebody answered, and not that the token is not accepted."""
        return self.http_status is not None and self.step is not Step.RENEW

    @property
    def accepts_the_token(self) -> bool:
        """Whether this answer could only be had with a token that the platform accepts."""
        is_redirect = self.status is not None and 300 <= self.status < 400
        return self.step is Step.DONE or (self.step is Step.REFUSE and not is_redirect)


def classify(outcome: Reply | ExchangeError) -> Verdict:
    """Say what an answer, or its absence, means for the call (fault matrix, rows 1 to 9)."""
    if isinstance(outcome, ExchangeError):
        step = Step.REPEAT if isinstance(outcome, BrokenError) else Step.REFUSE
        return Verdict(step, problem=str(outcome))
    status = outcome.status
    answer = None
    try:
        answer = decode(outcome.body)
    except BrokenError as error:
        if status < 300:
            return Verdict(Step.REPEAT, status=status, http_status=status, problem=str(error))
    if status < 300:
        refused = refusing_envelope(answer)
        if refused is None:
            return Verdict(Step.DONE, unwrapped(answer), status, status)
        answer = refused
    meaning = status
    if (status < 300 or status == 400) and isinstance(answer, Mapping):
        meaning = status_named(answer) or status
    step = Step.REFUSE
    if meaning == 401:
        step = Step.RENEW
    elif meaning == 429 or meaning >= 500:
        step = Step.REPEAT
    problem = "the platform says no" if status < 300 else f"HTTP {status}"
    if meaning != status:
        problem += f", code {meaning}"
    return Verdict(
        step,
        status=meaning,
        http_status=status,
        problem=problem,
        reason=reason(answer),
        retry_after=outcome.retry_after,
    )


# ------------------------------------------------------------------------------- the envelope

#: The keys under which an envelope gives its reason, the most telling first. The first four and
#: the last two are the contract's; those between are what gateways of the same kind write.
_REASONS: Final = (
    "errorMsg", "message", "error", "warningMsgs",
    "error_description", "errorMessage", "errMsg", "msg", "infoMsgs",
    "errCode", "code",
)  # fmt: skip
_MARKS: Final = frozenset({"success", "data", *_REASONS})
#: Beside these a ``code`` is the envelope's own and not a record's.
_COMPANIONS: Final = _MARKS - {"code", "error", "msg"}
_SAYS_NOTHING: Final = frozenset(
    {"", "null", "none", "undefined", "success", "ok", "true", "false"}
)
_MOST_NESTED: Final = 3

_FLAGS: Final[Mapping[str, bool]] = {
    "true": True, "1": True, "yes": True, "ok": True, "success": True,
    "false": False, "0": False, "no": False, "fail": False, "failed": False,
}  # fmt: skip
_GOOD_CODES: Final = frozenset({"success", "succeed", "ok", "true"})

# What cannot be meant otherwise. A refusal for a password is none of these: tried again and again
# it gets the account locked.
_TOKEN_WORD: Final = r"(access[ _-]?token|token|jwt|令牌)"  # noqa: S105 - a pattern
_ENDED: Final = r"(expired?|invalid|illegal|revoked|已?过期|失效|无效|不合法|非法|不存在)"
_WORDS: Final = (
    (
        401,
        re.compile(
            rf"{_TOKEN_WORD}[^,;.，；。]{{0,12}}{_ENDED}|{_ENDED}[^,;.，；。]{{0,6}}{_TOKEN_WORD}"
        ),
    ),
    (
        429,
        re.compile(
            r"too many requests|too fast|too frequent|rate limit|throttl|qps"
            r"|过于频繁|太过?频繁|请求频繁|频繁访问|访问频繁|调用频繁|操作频繁"
            r"|频率(过高|超限|超出|限制)|限流|(请求|访问|调用|操作)(过快|太快)"
        ),
    ),
    (
        503,
        re.compile(
            r"service (is )?(temporarily )?unavailable|bad gateway|gateway time-?out"
            r"|internal server error|系统繁忙|服务(器)?(繁忙|不可用|暂不可用)"
        ),
    ),
)
_PASSWORD: Final = re.compile(r"密码|口令|password|passwd|locked|锁定|冻结", re.IGNORECASE)


def is_envelope(answer: object) -> bool:
    """Tell whether an object is an envelope, and not the data itself."""
    if not isinstance(answer, Mapping):
        return False
    return (
        "success" in answer
        or "errorMsg" in answer
        or "errCode" in answer
        or ("code" in answer and bool(answer.keys() & _COMPANIONS))
        or (bool(answer) and answer.keys() <= _MARKS)
    )


def unwrapped(answer: Any) -> Any:
    """The data of an answer, out of however many envelopes; None where they hold none."""
    for _ in range(_MOST_NESTED):
        if not is_envelope(answer):
            break
        # Some interfaces may put their fields beside the flag and not under ``data``.
        answer = answer["data"] if "data" in answer else _beside(answer)
    return answer


def refusing_envelope(answer: Any) -> Mapping[str, Any] | None:
    """The envelope that says no, if one does (row 8)."""
    for _ in range(_MOST_NESTED):
        if not is_envelope(answer):
            return None
        if _says_no(answer):
            return dict(answer)
        answer = answer.get("data")
    return None


def reason(answer: object) -> str:
    """What an error answer says for people, of whatever envelope; empty where it says nothing."""
    if not isinstance(answer, Mapping):
        return ""
    for key in _REASONS:
        said = said_in(answer.get(key))
        if said:
            return said
    return reason(answer.get("data"))


def _beside(envelope: Mapping[str, Any]) -> Any:
    fields = {key: value for key, value in envelope.items() if key not in _MARKS}
    return fields or None


def _says_no(envelope: Mapping[str, Any]) -> bool:
    success = envelope.get("success")
    flag = read_flag(success)
    if flag is False or (flag is None and success is not None):
        return True
    code = envelope.get("code")
    number = read_number(code)
    if number is not None:
        if number == 1 or 400 <= number < 600:
            return True
        is_good = number == 0 or 200 <= number < 300
        return not is_good and flag is None
    if flag is True or str(code).strip().lower() in _GOOD_CODES:
        return False
    # Neither flag nor number: an answer that brings no data and says why.
    return envelope.get("data") is None and not _beside(envelope) and bool(reason(envelope))


def read_flag(value: object) -> bool | None:
    """A flag of an envelope, however it is spelled; None where it is missing or none."""
    return None if value is None else _FLAGS.get(str(value).strip().lower())


def read_number(code: object) -> int | None:
    """A code of an envelope as a number; None where it is none."""
    if isinstance(code, bool) or not isinstance(code, int | Decimal | str):
        return None
    text = str(code).strip()
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None


def status_named(envelope: Mapping[str, Any]) -> int | None:
    """The status in place of which the envelope came: 401, 429 or one of 5xx (rows 6 and 8)."""
    said = " ".join(text for key in _REASONS for text in _texts(envelope.get(key)))
    for key in ("code", "errCode"):
        number = read_number(envelope.get(key))
        if number in (401, 429):
            return number
        if number is not None and 500 <= number < 600:
            return None if _PASSWORD.search(said) else number
    if _PASSWORD.search(said):
        return None
    words = said.lower().replace("_", " ")
    return next((status for status, pattern in _WORDS if pattern.search(words)), None)


def said_in(value: object) -> str:
    """What a field of an envelope says for people; empty where that is nothing."""
    return "; ".join(text for text in _texts(value) if text.lower() not in _SAYS_NOTHING)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str | int | Decimal) and not isinstance(value, bool):
        text = str(value).strip()
        if text:
            yield text
    elif isinstance(value, list | tuple):
        for entry in value[:20]:
            yield from _texts(entry)
    elif isinstance(value, Mapping):
        said = reason(value)
        if said:
            yield said
