"""What is removed once it is old: log rows, rejected records, raw answers, notes of removals.

In small steps, each a transaction of its own, so that a removal which is stopped goes on where it
was and never stands in a sync's way. The catalog tables themselves are never touched. Answers go by
dropping the partitions that hold them, which frees the disk at once and leaves nothing to vacuum.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

from sqlalchemy import Connection, Engine, text

from haier_pipeline.catalog.database import transaction
from haier_pipeline.catalog.feed import forget_removed
from haier_pipeline.catalog.raw import MOST_PAYLOAD_DAYS, first_payload, owns
from haier_pipeline.catalog.tables import RAW_TABLES

CHUNK_ROWS = 5_000

# Tables of answers, by dealer and day.
DAILY_TABLES = (
    *(table.name for table in RAW_TABLES.values()),
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
    kept_from: date = transaction(
        engine,
        lambda connection: connection.scalar(
            text("SELECT (clock_timestamp() AT TIME ZONE 'Asia/Shanghai')::date - :days"),
            {"days": days},
        ),
    )
    removed = _drop(engine, "raw_answer", f"raw_answer_{kept_from:%Y%m%d}", _ANSWERS_IN)
    old = text(f"{_OLD_PARTITIONS} ORDER BY sync_date, dealer")
    partitions = transaction(
        engine, lambda connection: connection.execute(old, {"kept_from": kept_from}).all()
    )
    removed += sum(_remove_day(engine, dealer, sync_date) for dealer, sync_date in partitions)
    # Only now, since no kept day needs them; the month that one may need stays whole.
    needed_from = kept_from - timedelta(days=MOST_PAYLOAD_DAYS)
    _drop(engine, "raw_payload", f"raw_payload_{needed_from:%Y%m}")
    bound = {"first": first_payload(needed_from), "kept_from": kept_from}

    def forget(connection: Connection) -> None:
        connection.execute(text("DELETE FROM raw_payload_rest WHERE id < :first"), bound)
        connection.execute(text("DELETE FROM listed_product WHERE last_date < :kept_from"), bound)

    transaction(engine, forget)
    return removed


def _drop(engine: Engine, table: str, kept_from: str, count: str | None = None) -> int:
    """Drop the table's partitions before that of the name, and return what ``count`` finds there.

    Their names have the order of their days. Those of another owner stay for him to drop.
    """

    def names(connection: Connection) -> list[str]:
        found = connection.scalars(
            text(
                "SELECT relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid"
                " WHERE inhparent = to_regclass(:table) AND relname < :kept_from ORDER BY relname"
            ),
            {"table": table, "kept_from": kept_from},
        )
        return list(found) if owns(connection, table) else []

    def drop(name: str, connection: Connection) -> int:
        removed = int(connection.scalar(text(f"SELECT {count} FROM {name}")) or 0) if count else 0
        connection.execute(text(f"DROP TABLE {name}"))
        return removed

    return sum(transaction(engine, partial(drop, name)) for name in transaction(engine, names))


_ANSWERS_IN = "sum(cardinality(product_codes))"

_OLD_PARTITIONS = """
SELECT dealer, sync_date FROM (
    SELECT dealer, sync_date FROM raw_partition
    UNION SELECT dealer, sync_date FROM account_balance
    UNION SELECT dealer, sync_date FROM order_logistics
) old WHERE sync_date < :kept_from
"""


def _remove_day(engine: Engine, dealer: str, sync_date: date) -> int:
    bound = {"dealer": dealer, "sync_date": sync_date, "next": sync_date + timedelta(days=1)}

    def work(connection: Connection) -> int:
        removed = sum(
            connection.execute(
                text(f"DELETE FROM {table} WHERE dealer = :dealer AND sync_date = :sync_date"),
                bound,
            ).rowcount
            for table in DAILY_TABLES
        )
        # What was stored where there is no partition for the day.
        rest = f"SELECT {_ANSWERS_IN} FROM raw_answer WHERE {_OF_DAY}"
        removed += int(connection.scalar(text(rest), bound) or 0)
        for statement in (f"DELETE FROM raw_answer WHERE {_OF_DAY}", _FORGET_PRICED, _FORGET_DAY):
            connection.execute(text(statement), bound)
        return removed

    return transaction(engine, work)


_OF_DAY = "dealer = :dealer AND sync_date = :sync_date"

# The rows that held for this day or earlier ones, which went before.
_FORGET_PRICED = """
DELETE FROM priced_product WHERE dealer = :dealer
  AND (valid_to <= :next OR (valid_to IS NULL AND sync_date = :sync_date))
"""

_FORGET_DAY = """
DELETE FROM raw_partition old WHERE dealer = :dealer AND sync_date = :sync_date
  AND (asset_key <> 'product_listings' OR NOT is_complete OR EXISTS (
        SELECT FROM raw_partition newer
        WHERE newer.dealer = old.dealer AND newer.asset_key = old.asset_key
          AND newer.is_complete AND newer.sync_date > old.sync_date))
"""
