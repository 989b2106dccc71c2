"""Messages to a group robot of WeCom (企业微信) or DingTalk (钉钉), by its webhook address.

What is reported, and when, is decided elsewhere.
"""

import threading
from typing import Final

from requests.utils import requote_uri

from haier_pipeline.platform.answers import clean
from haier_pipeline.platform.pacing import Interruption
from haier_pipeline.platform.transport import Exchange, ExchangeError, decode, encode

TIMEOUT_SECONDS = 10.0
#: WeCom cuts a text after 2048 bytes of UTF-8, about 680 Chinese characters; DingTalk takes more.
MOST_BYTES: Final = 2048
#: A robot answers with a hundred bytes.
ANSWER_BYTES: Final = 16 * 1024


def deliver(url: str, text: str) -> str | None:
    """Post a message in the form that WeCom's and DingTalk's robots take.

    A text longer than `MOST_BYTES` is cut.

    Returns:
        ``None`` where the robot answered ``"errcode": 0``, else why the message did not arrive. The
        reason never holds the address, since the robot's key is part of it.
    """
    body = {"msgtype": "text", "text": {"content": _shortened(text)}}
    exchange = Exchange(connections=1, stop=Interruption(threading.Event()))
    try:
        reply = exchange.post(
            requote_uri(url), encode(body), seconds=TIMEOUT_SECONDS, most_bytes=ANSWER_BYTES
        )
        if reply.status != 200:
            return f"the robot answered HTTP {reply.status}"
        answer = decode(reply.body)
    except ExchangeError as error:
        return f"the robot cannot be reached: {error}"
    finally:
        exchange.close()
    code = answer.get("errcode") if isinstance(answer, dict) else None
    if code is None:
        return "the robot did not say that it took the message (errcode 0)"
    if isinstance(code, int) and not isinstance(code, bool):
        return None if code == 0 else f"the robot refused with errcode {code}"
    return "the robot's errcode is no number"


def _shortened(text: str) -> str:
    """At most `MOST_BYTES`, ended at a whole character."""
    cleaned: str = clean(text)[0]
    content = cleaned.encode()
    if len(content) <= MOST_BYTES:
        return cleaned
    mark = "…"
    return content[: MOST_BYTES - len(mark.encode())].decode(errors="ignore") + mark


class Backoff:
    """How soon a message that the robot did not take is sent again.

    At the next attempt of the caller, then after two minutes, four and so on, up to an hour: a
    robot whose answer cannot be understood may have shown the message all the same. All times are
    seconds of one clock.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._again_at = 0.0

    def wait(self, now: float) -> float:
        """The seconds left to wait; 0 where a message may be sent."""
        return max(0.0, self._again_at - now)

    def note(self, *, failed: bool, now: float) -> None:
        """Record how sending went."""
        self._failures = self._failures + 1 if failed else 0
        minutes = min(60, 2 ** (self._failures - 1)) if self._failures > 1 else 0
        self._again_at = now + 60 * minutes
