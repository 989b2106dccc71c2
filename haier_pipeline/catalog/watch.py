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


# Every search below goes down an index to the newest row that fits, for each asset of each dealer:
# a log of a million rows costs no more than a short one. The pairs are found by going from one to
# the next greater one.
_ASSETS = """
WITH RECURSIVE asset AS (
    (SELECT dealer, asset_key FROM haier_sync_log
     WHERE asset_key IS NOT NULL ORDER BY dealer, asset_key LIMIT 1)
    UNION ALL
    SELECT next.* FROM asset a CROSS JOIN LATERAL (
        SELECT dealer, asset_key FROM haier_sync_log
        WHERE asset_key IS NOT NULL AND (dealer, asset_key) > (a.dealer, a.asset_key)
        ORDER BY dealer, asset_key LIMIT 1) next
)
"""

_LAST_ENDS = f"""
{_ASSETS}
SELECT a.dealer, a.asset_key, l.sync_date, l.status, l.message, l.checks
FROM asset a CROSS JOIN LATERAL (
    SELECT * FROM haier_sync_log
    WHERE dealer = a.dealer AND asset_key = a.asset_key
      AND completed_at > clock_timestamp() - make_interval(days => :days)
      AND sync_date >= (created_at AT TIME ZONE 'Asia/Shanghai')::date - 1
    ORDER BY completed_at DESC, id DESC LIMIT 1
) l ORDER BY a.dealer, a.asset_key
"""


def _last_load(asset: str, fetched: str) -> str:
    """When the asset was last loaded from what its own chain of runs had fetched."""
    return f"""(
        SELECT l.completed_at FROM haier_sync_log l
        WHERE l.dealer = d.dealer AND l.asset_key = '{asset}' AND l.created_at > since.day
          AND l.completed_at > since.day AND l.status IN ('success', 'partial')
          AND EXISTS (
                SELECT FROM haier_sync_log f
                WHERE f.root_run_id = l.root_run_id AND f.asset_key = '{fetched}'
                  AND f.created_at > since.day AND f.status IN ('success', 'partial'))
        ORDER BY l.completed_at DESC LIMIT 1)"""


_LAST_LOADS = f"""
{_ASSETS}, since AS MATERIALIZED (
    SELECT clock_timestamp() - make_interval(days => :days) AS day
), seen AS MATERIALIZED (
    SELECT dealer, (
        SELECT created_at FROM haier_sync_log l
        WHERE l.dealer = d.dealer AND l.asset_key IS NOT NULL AND l.created_at > since.day
        ORDER BY created_at LIMIT 1) AS first_seen_at
    FROM (SELECT DISTINCT dealer FROM asset) d CROSS JOIN since
)
SELECT d.dealer, d.first_seen_at,
    {_last_load("products", "price_quotes")} AS synced_at,
    {_last_load("product_stock", "stock_levels")} AS stocked_at
FROM seen d CROSS JOIN since WHERE d.first_seen_at IS NOT NULL
"""


def last_ends(engine: Engine) -> list[LastEnd]:
    """How each asset of each dealer ended last, of what ended in the last two days."""
    with translated(engine), engine.connect() as connection:
        rows = connection.execute(text(_LAST_ENDS), {"days": ENDS_DAYS}).mappings()
        return [LastEnd(**row) for row in rows]


def last_loads(engine: Engine) -> Mapping[str, LastLoads]:
    """The last loads by dealer, of the last eight days."""
    with translated(engine), engine.connect() as connection:
        rows = connection.execute(text(_LAST_LOADS), {"days": LOADS_DAYS}).mappings()
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
