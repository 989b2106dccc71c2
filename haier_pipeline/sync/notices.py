"""Telling somebody: what is wrong at present, what of it is new, and the message to a robot.

An incident is a state, not an event: it is told once when it begins and once when it is over,
however often it is looked at meanwhile. When it is looked at is decided elsewhere.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import requests
from sqlalchemy import Engine

from haier_pipeline import rules
from haier_pipeline.catalog import watch
from haier_pipeline.catalog.log import TYPE_LABELS
from haier_pipeline.catalog.watch import LastEnd, LastLoads
from haier_pipeline.sync.run import SYNC_TYPES

FRESH = "fresh"
TIMEOUT_SECONDS = 10.0
MOST_CHARACTERS = 900


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
        label = TYPE_LABELS[SYNC_TYPES[end.asset_key]][1]
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
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def deliver(url: str, text: str) -> str | None:
    """Post a message in the form that WeCom's and DingTalk's robots take.

    Returns why it did not arrive, ``None`` where it did. The reason never holds the address, since
    the robot's key is part of it.
    """
    body = {"msgtype": "text", "text": {"content": text}}
    try:
        with requests.Session() as session:
            answer = session.post(
                url, json=body, timeout=TIMEOUT_SECONDS, allow_redirects=False, stream=True
            )
            with answer:
                if answer.status_code != 200:
                    return f"the robot answered HTTP {answer.status_code}"
                said = answer.raw.read(4_096, decode_content=True)
    except (requests.RequestException, OSError, ValueError) as error:
        return f"the robot cannot be reached: {type(error).__name__}"
    return _refusal(said)


def _refusal(said: bytes) -> str | None:
    """Robots refuse with HTTP 200 and an ``errcode`` in the body."""
    try:
        code = json.loads(said).get("errcode", 0)
    except (ValueError, AttributeError):
        return None
    return None if code == 0 else f"the robot refused with errcode {code}"
