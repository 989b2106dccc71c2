"""What the sync log ought to say of a run, judged by what an orchestrator saw of it.

Pure: what was seen and the rows as they stand go in, the changes come out. Where it is seen, and
how rows are written, is not decided here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from haier_pipeline.catalog.log import Attempt, Check, Result
from haier_pipeline.catalog.repair import Change, Checked, Ended, Missing, Row
from haier_pipeline.domain.assets import ASSETS, sync_type
from haier_pipeline.domain.partition import Partition
from haier_pipeline.errors import HaierError

CheckName = tuple[str, str]


@dataclass(frozen=True)
class End:
    """How a run ended: ``sentence`` says why, ``has_begun`` whether its process ever started."""

    status: Literal["success", "failed", "cancelled"]
    sentence: str
    at: datetime
    has_begun: bool = True


@dataclass(frozen=True)
class Seen:
    """What was seen of one run over one partition; assets by name, checks by asset and name.

    ``materialized`` and ``failures`` say when; ``failures`` are steps that raised, ``broken``
    checks that did.
    """

    run_id: str
    root_run_id: str
    partition: Partition
    began_at: datetime
    end: End | None = None
    planned: Sequence[str] = ()
    planned_checks: Sequence[CheckName] = ()
    begun: Mapping[str, datetime] = field(default_factory=dict)
    materialized: Mapping[str, tuple[Result, datetime]] = field(default_factory=dict)
    failures: Mapping[str, tuple[str, datetime]] = field(default_factory=dict)
    evaluations: Mapping[CheckName, tuple[Check, datetime]] = field(default_factory=dict)
    broken: Mapping[CheckName, str] = field(default_factory=dict)


def decide(seen: Seen, rows: Sequence[Row]) -> list[Change]:
    """What to change so that every attempt of the run has exactly one end.

    A row that has its end keeps it; it only gains the checks that it lacks.
    """
    by_asset = {row.asset_key: row for row in rows}
    changes: list[Change] = []
    for asset in _attempted(seen, rows):
        row = by_asset.get(asset)
        verdict = _verdict(seen, asset)
        checks = _checks(seen, asset)
        if row is not None and not row.is_open:
            known = {str(entry["name"]) for entry in row.checks}
            if added := [check for check in checks if check.name not in known]:
                changes.append(Checked(row.id, added))
        elif verdict is not None:
            result, at = verdict
            ended = Result(
                result.status,
                result.message,
                result.success,
                result.failed,
                result.metadata,
                [*result.checks, *checks],
            )
            if row is not None:
                changes.append(Ended(row.id, ended))
            else:
                changes.append(_missing(seen, asset, ended, at))
    return changes


def lone_checks(seen: Seen) -> list[tuple[str, Check, datetime]]:
    """The checks that ran without their asset: they belong to what an earlier run made."""
    assets = {*seen.planned, *seen.materialized, *seen.failures}
    lone = {asset for asset, _ in (*seen.evaluations, *seen.planned_checks)} - assets
    at = seen.end.at if seen.end else seen.began_at
    return [
        (asset, check, seen.evaluations.get((asset, check.name), (check, at))[1])
        for asset in sorted(lone)
        for check in _checks(seen, asset)
    ]


def _attempted(seen: Seen, rows: Sequence[Row]) -> list[str]:
    """The assets that the run tried to make, and where nothing says why it ended, those it did not
    come to."""
    assets = dict.fromkeys(row.asset_key for row in rows)
    assets |= dict.fromkeys([*seen.materialized, *seen.failures])
    if seen.end and not _is_explained(seen, rows):
        assets |= dict.fromkeys(seen.planned)
    return [asset for asset in assets if asset in ASSETS]


def _is_explained(seen: Seen, rows: Sequence[Row]) -> bool:
    end = seen.end
    if end is None or end.status == "success" or (end.status == "cancelled" and not end.has_begun):
        return True
    return (
        bool(seen.failures or seen.broken)
        or any(row.is_open or row.status == "failed" for row in rows)
        or any(check.severity == "ERROR" and not check.passed
               for check, _ in seen.evaluations.values())
    )  # fmt: skip


def _verdict(seen: Seen, asset: str) -> tuple[Result, datetime] | None:
    """How the asset ended, ``None`` while it may still be worked on."""
    if asset in seen.materialized:
        return seen.materialized[asset]
    if asset in seen.failures:
        message, at = seen.failures[asset]
        return Result("failed", message), at
    if seen.end is None:
        return None
    return Result("failed", seen.end.sentence), seen.end.at


def _checks(seen: Seen, asset: str) -> list[Check]:
    checks = {name: check for (of, name), (check, _) in seen.evaluations.items() if of == asset}
    if seen.end is not None:
        for of, name in seen.planned_checks:
            if of == asset and name not in checks:
                broken = seen.broken.get((of, name))
                checks[name] = Check(
                    name,
                    passed=False,
                    description="was not evaluated: the step ended before it"
                    if broken is None
                    else f"was not evaluated: the check raised {broken}",
                )
    return list(checks.values())


def _missing(seen: Seen, asset: str, result: Result, at: datetime) -> Missing:
    attempt = Attempt(
        sync_type=sync_type(asset),
        asset_key=asset,
        dealer=seen.partition.dealer,
        sync_date=seen.partition.sync_date,
        run_id=seen.run_id,
        root_run_id=seen.root_run_id,
    )
    return Missing(attempt, result, min(seen.begun.get(asset, seen.began_at), at), at)


def sentence(error_class: str | None, message: str) -> str:
    """An error in one sentence: the text of one of ours, of a foreign one only its name.

    What a foreign error says may hold anything, a secret too (fault matrix, D).
    """
    lines = message.strip().splitlines() or [""]
    if error_class in _own_errors():
        _, _, said = lines[0].partition(": ")
        return said or error_class or lines[0]
    return f"unexpected {error_class or 'error'}"


def _own_errors() -> set[str | None]:
    found: set[str | None] = set()
    remaining: list[type[HaierError]] = [HaierError]
    while remaining:
        error = remaining.pop()
        found.add(error.__name__)
        remaining += error.__subclasses__()
    return found
