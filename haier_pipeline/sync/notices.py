"""Telling somebody: what is wrong at present, what of it is new, and the message to a robot.

An incident is a state, not an event: it is told once when it begins and once when it is over,
however often it is looked at meanwhile. When it is looked at is decided elsewhere.
"""

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from requests.utils import requote_uri
from sqlalchemy import Engine

from haier_pipeline import rules
from haier_pipeline.catalog import watch
from haier_pipeline.catalog.log import TYPE_LABELS
from haier_pipeline.catalog.watch import LastEnd, LastLoads
from haier_pipeline.domain.assets import FRESHNESS, sync_type
from haier_pipeline.platform.answers import clean
from haier_pipeline.platform.pacing import Interruption
from haier_pipeline.platform.transport import Exchange, ExchangeError, decode, encode

FRESH = FRESHNESS.name
TIMEOUT_SECONDS = 10.0
#: WeCom cuts a text after 2048 bytes of UTF-8, about 680 Chinese characters; DingTalk takes more.
MOST_BYTES: Final = 2048
#: A robot answers with a hundred bytes.
ANSWER_BYTES: Final = 16 * 1024


@dataclass(frozen=True)
class Incident:
    """Something that is wrong with one asset of a dealer, or with a dealer as a whole."""

    key: str
    dealer: str
    subject: str
    message: str


def complaints(
    now: datetime, loads: Mapping[str, LastLoads], dealers: Collection[str]
) -> Mapping[str, list[str]]:
    """What is stale, by dealer; an empty list where all is fresh."""
    nothing = LastLoads(None, None, None)
    return {
        dealer: rules.stale(now, of.synced_at, of.stocked_at, of.first_seen_at)
        for dealer, of in ((dealer, loads.get(dealer, nothing)) for dealer in dealers)
    }


def incidents(ends: Iterable[LastEnd], stale: Mapping[str, list[str]]) -> dict[str, Incident]:
    """What is wrong at present with the dealers of ``stale``, by the incident's key."""
    found = []
    for end in ends:
        if end.dealer not in stale:
            continue
        label = TYPE_LABELS[sync_type(end.asset_key)][1]
        subject = f"{end.asset_key}（{label}）{end.sync_date:%Y-%m-%d}"
        failed = [
            f"{check['name']}: {check['description']}"
            for check in end.checks
            # A stale catalog is an incident of its own.
            if not check["passed"] and check["severity"] == "ERROR" and check["name"] != FRESH
        ]
        if end.status == "failed":
            found.append(
                Incident(f"{end.dealer}|{end.asset_key}", end.dealer, subject, end.message)
            )
        elif failed:
            key = f"{end.dealer}|{end.asset_key}|checks"
            found.append(Incident(key, end.dealer, subject, "; ".join(failed)))
    for dealer, said in stale.items():
        if said:
            found.append(Incident(f"{dealer}|{FRESH}", dealer, "数据过期 stale", "; ".join(said)))
    return {incident.key: incident for incident in found}


def watched(
    before: Collection[Incident], ends: Collection[LastEnd], dealers: Collection[str]
) -> list[Incident]:
    """The incidents of before on which nothing was heard since: they last.

    Those of dealers that are no longer active are dropped.
    """
    heard = {f"{end.dealer}|{end.asset_key}" for end in ends}
    return [
        incident
        for incident in before
        if incident.dealer in dealers
        and incident.key.removesuffix("|checks") not in heard
        and not incident.key.endswith(f"|{FRESH}")
    ]


def current(
    engine: Engine, now: datetime, dealers: Collection[str], before: Collection[Incident]
) -> dict[str, Incident]:
    """What is wrong at present, those of ``before`` included that nothing has ended."""
    ends = watch.last_ends(engine)
    stale = complaints(now, watch.last_loads(engine), dealers)
    lasting = {incident.key: incident for incident in watched(before, ends, dealers)}
    return lasting | incidents(ends, stale)


def begun_text(incident: Incident) -> str:
    """The message of an incident that begins, in both languages."""
    return _shortened(
        f"【海尔商品同步】异常：经销商 {incident.dealer}，{incident.subject}\n"
        f"Haier sync needs attention: dealer {incident.dealer}, {incident.subject}\n"
        f"{incident.message}"
    )


def over_text(incident: Incident) -> str:
    """The message of an incident that is over, in both languages."""
    return _shortened(
        f"【海尔商品同步】已恢复：经销商 {incident.dealer}，{incident.subject}\n"
        f"Haier sync recovered: dealer {incident.dealer}, {incident.subject}"
    )


def _shortened(text: str) -> str:
    """At most `MOST_BYTES`, ended at a whole character."""
    cleaned: str = clean(text)[0]
    content = cleaned.encode()
    if len(content) <= MOST_BYTES:
        return cleaned
    mark = "…"
    return content[: MOST_BYTES - len(mark.encode())].decode(errors="ignore") + mark


class Patience:
    """How soon a robot that does not take a message is sent it again.

    Once at the next look, then ever more rarely, up to an hour: one whose answer cannot be
    understood may have shown the message all the same. All times are seconds of one clock.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._again_at = 0.0

    def wait(self, now: float) -> float:
        """The seconds that are left to wait; 0 where a message may be sent."""
        return max(0.0, self._again_at - now)

    def note(self, *, failed: bool, now: float) -> None:
        """How sending went."""
        self._failures = self._failures + 1 if failed else 0
        minutes = min(60, 2 ** (self._failures - 1)) if self._failures > 1 else 0
        self._again_at = now + 60 * minutes


def deliver(url: str, text: str) -> str | None:
    """Post a message in the form that WeCom's and DingTalk's robots take.

    Delivered is what the robot answers with ``"errcode": 0``. Returns why it did not arrive,
    ``None`` where it did. The reason never holds the address, since the robot's key is part of it.
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
