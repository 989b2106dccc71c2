"""What is removed once it is old: log rows, rejected records, raw answers, notes of removals.

In small steps, each a transaction of its own, so that a removal which is stopped goes on where it
was and does not block a sync. The catalog tables themselves are never touched.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text

from haier_pipeline.catalog.database import transaction
from haier_pipeline.catalog.feed import forget_removed
from haier_pipeline.catalog.tables import RAW_TABLES

CHUNK_ROWS = 5_000

# Tables of answers and of what is computed from them, by dealer and day.
DAILY_TABLES = (
    *(table.name for table in RAW_TABLES.values()),
    "priced_product",
    "account_balance",
    "order_logistics",
)


@dataclass(frozen=True)
class Removed:
    """How many rows went, of the log, of rejected records, and of answers."""

    log_rows: int
    rejected_records: int
    answers: int


def remove_old(engine: Engine, *, log_days: int, raw_days: int) -> Removed:
    """Remove what is older than that many days.

    Kept whatever its age: log rows that are open, the last row of a kind - of each dealer's asset
    and type (row 56) - and the length of a dealer's last complete listing, which the next one is
    measured against.
    """
    forget_removed(engine)
    return Removed(
        log_rows=_in_chunks(engine, _LOG, log_days),
        rejected_records=_in_chunks(engine, _REJECTED, log_days),
        answers=_remove_answers(engine, raw_days),
    )


_LOG = """
DELETE FROM haier_sync_log WHERE id IN (
    SELECT id FROM haier_sync_log old
    WHERE created_at < clock_timestamp() - make_interval(days => :days)
      AND completed_at IS NOT NULL
      AND EXISTS (
            SELECT FROM haier_sync_log newer
            WHERE newer.dealer = old.dealer AND newer.sync_type = old.sync_type
              AND newer.asset_key IS NOT DISTINCT FROM old.asset_key AND newer.id > old.id)
    ORDER BY id LIMIT :chunk)
"""

_REJECTED = """
DELETE FROM rejected_record WHERE id IN (
    SELECT id FROM rejected_record
    WHERE created_at < clock_timestamp() - make_interval(days => :days)
    ORDER BY id LIMIT :chunk)
"""


def _in_chunks(engine: Engine, statement: str, days: int) -> int:
    bound = {"days": days, "chunk": CHUNK_ROWS}

    def work(connection: Connection) -> int:
        return connection.execute(text(statement), bound).rowcount

    removed = 0
    while True:
        chunk = transaction(engine, work)
        removed += chunk
        if chunk < CHUNK_ROWS:
            return removed


def _remove_answers(engine: Engine, days: int) -> int:
    """Day by day, dealer by dealer; the note that a day was fetched goes last."""
    union = " UNION ".join(
        f"SELECT dealer, sync_date FROM {table}" for table in ("raw_partition", *DAILY_TABLES[-2:])
    )
    old = text(
        f"SELECT dealer, sync_date FROM ({union}) old"
        " WHERE sync_date < (clock_timestamp() AT TIME ZONE 'Asia/Shanghai')::date - :days"
        " ORDER BY sync_date, dealer"
    )
    partitions = transaction(
        engine, lambda connection: connection.execute(old, {"days": days}).all()
    )
    return sum(_remove_day(engine, dealer, sync_date) for dealer, sync_date in partitions)


def _remove_day(engine: Engine, dealer: str, sync_date: object) -> int:
    bound = {"dealer": dealer, "sync_date": sync_date}

    def work(connection: Connection) -> int:
        removed = sum(
            connection.execute(
                text(f"DELETE FROM {table} WHERE dealer = :dealer AND sync_date = :sync_date"),
                bound,
            ).rowcount
            for table in DAILY_TABLES
        )
        connection.execute(text(_FORGET_DAY), bound)
        return removed

    return transaction(engine, work)


_FORGET_DAY = """
DELETE FROM raw_partition old WHERE dealer = :dealer AND sync_date = :sync_date
  AND (asset_key <> 'product_listings' OR NOT is_complete OR EXISTS (
        SELECT FROM raw_partition newer
        WHERE newer.dealer = old.dealer AND newer.asset_key = old.asset_key
          AND newer.is_complete AND newer.sync_date > old.sync_date))
"""
