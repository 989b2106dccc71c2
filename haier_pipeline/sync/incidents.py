"""Incidents: what is wrong at present with a dealer's assets or catalog, and the text about each.

An incident is a state, not an event: it is reported once when it begins and once when it is over,
however often it is evaluated meanwhile. When that happens is decided in Dagster's sensor, how a
text is delivered in ``platform.webhook``.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from haier_pipeline import rules
from haier_pipeline.catalog.log import TYPE_LABELS
from haier_pipeline.catalog.views import latest
from haier_pipeline.catalog.views.latest import LastEnd, LastLoads
from haier_pipeline.domain.assets import FRESHNESS, sync_type

FRESH = FRESHNESS.name


@dataclass(frozen=True)
class Incident:
    """Something that is wrong with one asset of a dealer, or with a dealer as a whole."""

    key: str
    dealer: str
    subject: str
    message: str


def stale_catalogs(
    now: datetime, loads: Mapping[str, LastLoads], dealers: Collection[str]
) -> Mapping[str, list[str]]:
    """What is stale, a sentence each, by dealer; an empty list where all is fresh."""
    nothing = LastLoads(None, None, None)
    return {
        dealer: rules.stale(now, of.synced_at, of.stocked_at, of.first_seen_at)
        for dealer, of in ((dealer, loads.get(dealer, nothing)) for dealer in dealers)
    }


def find(ends: Iterable[LastEnd], stale: Mapping[str, list[str]]) -> dict[str, Incident]:
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
    for dealer, reasons in stale.items():
        if reasons:
            found.append(
                Incident(f"{dealer}|{FRESH}", dealer, "数据过期 stale", "; ".join(reasons))
            )
    return {incident.key: incident for incident in found}


def lasting(
    before: Collection[Incident], ends: Collection[LastEnd], dealers: Collection[str]
) -> list[Incident]:
    """The incidents of before whose asset has not ended again since: they last.

    Those of dealers that are no longer active are dropped.
    """
    ended = {f"{end.dealer}|{end.asset_key}" for end in ends}
    return [
        incident
        for incident in before
        if incident.dealer in dealers
        and incident.key.removesuffix("|checks") not in ended
        and not incident.key.endswith(f"|{FRESH}")
    ]


def current(
    engine: Engine, now: datetime, dealers: Collection[str], before: Collection[Incident]
) -> dict[str, Incident]:
    """What is wrong at present, those of ``before`` included that nothing has ended."""
    ends = latest.last_ends(engine)
    stale = stale_catalogs(now, latest.last_loads(engine), dealers)
    still_open = {incident.key: incident for incident in lasting(before, ends, dealers)}
    return still_open | find(ends, stale)


def begun_text(incident: Incident) -> str:
    """The message of an incident that begins, in both languages."""
    return (
        f"【海尔商品同步】异常：经销商 {incident.dealer}，{incident.subject}\n"
        f"Haier sync needs attention: dealer {incident.dealer}, {incident.subject}\n"
        f"{incident.message}"
    )


def over_text(incident: Incident) -> str:
    """The message of an incident that is over, in both languages."""
    return (
        f"【海尔商品同步】已恢复：经销商 {incident.dealer}，{incident.subject}\n"
        f"Haier sync recovered: dealer {incident.dealer}, {incident.subject}"
    )
