"""What watchers of the sync log look at: how each asset ended last, when a dealer was last loaded.

What that means - an incident, a stale catalog - is judged elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Engine, text

from haier_pipeline.catalog.database import translated

ENDS_DAYS = 2
LOADS_DAYS = 8


@dataclass(frozen=True)
class LastEnd:
    """The newest end of one asset of a dealer; past days that were derived again do not count."""

    dealer: str
    asset_key: str
    sync_date: date
    status: str
    message: str
    checks: list[dict[str, Any]]


@dataclass(frozen=True)
class LastLoads:
    """When what was fetched from the platform last reached a dealer's tables, in the last days.

    ``synced_at``: products with prices; ``stocked_at``: stock. ``first_seen_at``: the oldest row
    of the same time, of whatever kind.
    """

    synced_at: datetime | None
    stocked_at: datetime | None
    first_seen_at: datetime | None


_LAST_ENDS = """
SELECT DISTINCT ON (dealer, asset_key) dealer, asset_key, sync_date, status, message, checks
FROM haier_sync_log
WHERE completed_at > clock_timestamp() - make_interval(days => :days) AND asset_key IS NOT NULL
  AND sync_date >= (created_at AT TIME ZONE 'Asia/Shanghai')::date - 1
ORDER BY dealer, asset_key, completed_at DESC, id DESC
"""

_LAST_LOADS = """
SELECT dealer, min(created_at) AS first_seen_at,
    max(completed_at) FILTER (WHERE asset_key = 'products'
        AND root_run_id IN (SELECT root_run_id FROM fetched WHERE asset_key = 'price_quotes')
    ) AS synced_at,
    max(completed_at) FILTER (WHERE asset_key = 'product_stock'
        AND root_run_id IN (SELECT root_run_id FROM fetched WHERE asset_key = 'stock_levels')
    ) AS stocked_at
FROM good GROUP BY dealer
"""

_GOOD = """
WITH good AS (
    SELECT dealer, asset_key, root_run_id, created_at,
        CASE WHEN status IN ('success', 'partial') THEN completed_at END AS completed_at
    FROM haier_sync_log
    WHERE created_at > clock_timestamp() - make_interval(days => :days) AND asset_key IS NOT NULL
), fetched AS MATERIALIZED (
    SELECT DISTINCT root_run_id, asset_key FROM good
    WHERE asset_key IN ('price_quotes', 'stock_levels') AND completed_at IS NOT NULL
)
"""


def last_ends(engine: Engine) -> list[LastEnd]:
    """How each asset of each dealer ended last, of what ended in the last two days."""
    with translated(engine), engine.connect() as connection:
        rows = connection.execute(text(_LAST_ENDS), {"days": ENDS_DAYS}).mappings()
        return [LastEnd(**row) for row in rows]


def last_loads(engine: Engine) -> Mapping[str, LastLoads]:
    """The last loads by dealer, of the last eight days."""
    with translated(engine), engine.connect() as connection:
        rows = connection.execute(text(_GOOD + _LAST_LOADS), {"days": LOADS_DAYS}).mappings()
        return {
            row["dealer"]: LastLoads(row["synced_at"], row["stocked_at"], row["first_seen_at"])
            for row in rows
        }


def has_synced(engine: Engine, dealers: list[str]) -> set[str]:
    """Those of the dealers whose listing was ever attempted."""
    statement = text(
        "SELECT name FROM unnest(CAST(:dealers AS text[])) AS name WHERE EXISTS (SELECT FROM"
        " haier_sync_log WHERE dealer = name AND asset_key = 'product_listings')"
    )
    with translated(engine), engine.connect() as connection:
        return set(connection.execute(statement, {"dealers": dealers}).scalars())
