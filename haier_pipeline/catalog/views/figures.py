"""Figures about syncs and the catalog for whoever watches: read from the tables, never changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, text

from haier_pipeline.catalog.database import translated


@dataclass(frozen=True)
class EndedRow:
    """A row of the log that has ended; the calls are what its step spent at the platform."""

    id: int
    completed_at: datetime
    dealer: str
    sync_type: str
    status: str
    seconds: float
    calls: int
    refused_calls: int
    token_calls: int


@dataclass(frozen=True)
class Catalog:
    """How a dealer's catalog stands; ``age`` in seconds since the last load."""

    dealer: str
    age: float | None
    rejected_records: int


_ENDED = """
SELECT id, completed_at, dealer, sync_type, status,
    coalesce(extract(epoch FROM completed_at - started_at), 0)::double precision AS seconds,
    -- A live query is one call, or hardly more.
    coalesce((metadata->>'calls')::bigint, (sync_type = 'manual')::int) AS calls,
    coalesce((metadata->>'refused_calls')::bigint, 0) AS refused_calls,
    coalesce((metadata->>'token_calls')::bigint, 0) AS token_calls
FROM haier_sync_log
WHERE completed_at >= coalesce(CAST(:since AS timestamptz), '-infinity'::timestamptz)
"""

_CATALOG = """
SELECT dealer,
    extract(epoch FROM now() - (
        SELECT max(r.loaded_at) FROM raw_partition r
        WHERE r.dealer = d.dealer AND r.asset_key = 'product_listings'))::double precision AS age,
    (SELECT count(*) FROM rejected_record j WHERE j.dealer = d.dealer) AS rejected_records
FROM (SELECT DISTINCT dealer FROM raw_partition) d ORDER BY dealer
"""


def ended_since(engine: Engine, since: datetime | None) -> Sequence[EndedRow]:
    """The rows of the log that ended at that time or later; ``None``: all."""
    return [EndedRow(**row) for row in _rows(engine, _ENDED, since=since)]


def catalogs(engine: Engine) -> Sequence[Catalog]:
    """Every dealer that has a catalog."""
    return [Catalog(**row) for row in _rows(engine, _CATALOG)]


def _rows(engine: Engine, statement: str, **bound: Any) -> Sequence[Any]:
    with translated(engine), engine.connect() as connection:
        return list(connection.execute(text(statement), bound).mappings())
