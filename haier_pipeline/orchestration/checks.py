"""The asset checks as Dagster knows them: made from the table of ``domain.assets``.

How the checks of a sync are judged is in ``sync.checks``, and they come with the step that made
their asset; here they are declared and reported. Only ``fresh`` belongs to no step.
"""

import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import dagster as dg

from haier_pipeline.catalog import watch
from haier_pipeline.catalog.log import Check
from haier_pipeline.domain.assets import ASSETS, FRESHNESS
from haier_pipeline.orchestration.partitions import date_and_dealer
from haier_pipeline.orchestration.shared import Shared
from haier_pipeline.sync import notices


def check_specs(*assets: str) -> list[dg.AssetCheckSpec]:
    """The checks of these assets that a step judges; a blocking one stops the sync where it fails.

    They have their asset's partitions.
    """
    with warnings.catch_warnings():
        # Partitions of checks are a preview in Dagster 1.13; without them the planned checks of a
        # partitioned run are never resolved.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            dg.AssetCheckSpec(
                rule.name,
                asset=asset,
                blocking=rule.blocking,
                description=rule.description,
                partitions_def=date_and_dealer,
            )
            for asset in assets
            for rule in ASSETS[asset].checks
            if rule.is_partitioned
        ]


def check_result(asset: str, check: Check) -> dg.AssetCheckResult:
    """A check that a step has judged, as Dagster takes it, with the records at fault."""
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=check.name,
        passed=check.passed,
        severity=dg.AssetCheckSeverity(check.severity),
        description=check.description,
        metadata={
            **check.metadata,
            **({"offenders": table(check.offenders)} if check.offenders else {}),
        },
    )


def table(rows: Sequence[Mapping[Any, Any]]) -> dg.TableMetadataValue:
    """The rows as metadata that Dagster shows as a table; an amount in full, never as a float."""

    def text(value: Any) -> str:
        if value is None:
            return ""
        return format(value, "f") if isinstance(value, Decimal) else str(value)

    return dg.MetadataValue.table(
        records=[
            dg.TableRecord({str(column): text(value) for column, value in row.items()})
            for row in rows
        ]
    )


def fresh_check(shared: Shared) -> dg.AssetChecksDefinition:
    """The check `fresh`, to be run by hand; a sensor evaluates it by itself.

    It looks at all dealers at once and has no partitions: Dagster takes an evaluation that belongs
    to no run only once for a partition.
    """

    @dg.asset_check(asset="products", name=FRESHNESS.name, description=FRESHNESS.description)
    def fresh() -> dg.AssetCheckResult:
        return freshness(stale_dealers(shared, datetime.now(UTC)))

    return fresh


def stale_dealers(shared: Shared, now: datetime) -> dict[str, list[str]]:
    """What is stale, by active dealer; an empty list where all is fresh."""
    loads = watch.last_loads(shared.engine)
    return dict(notices.complaints(now, loads, shared.active_dealers()))


def freshness(stale: Mapping[str, Sequence[str]]) -> dg.AssetCheckResult:
    """The result of `fresh`, given what is stale by dealer."""
    sentences = [f"{dealer}: {'; '.join(found)}" for dealer, found in stale.items() if found]
    records = [
        dg.TableRecord({"dealer": dealer, "stale": "; ".join(found) or "no"})
        for dealer, found in stale.items()
    ]
    return dg.AssetCheckResult(
        passed=not sentences,
        description="; ".join(sentences) or "every dealer's catalog is fresh",
        metadata={
            "stale_dealers": len(sentences),
            **({"dealers": dg.MetadataValue.table(records)} if records else {}),
        },
    )
