"""What the platform said, record by record, for each partition: written as it arrives, read again.

Payloads go in and out untouched; what they mean is decided elsewhere. A record carries the root
run under which it was fetched, so that a sync which was killed goes on where it was.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import (
    ARRAY,
    Connection,
    Engine,
    String,
    any_,
    cast,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from haier_pipeline.catalog.database import dump_json, transaction, translated
from haier_pipeline.catalog.tables import RAW_TABLES, raw_partition
from haier_pipeline.domain.partition import Partition

CHUNK_ROWS = 2_000


@dataclass(frozen=True)
class Stored:
    """How a raw partition stands."""

    root_run_id: str
    started_at: datetime
    completed_at: datetime | None
    record_count: int
    nameless_count: int
    is_complete: bool


@dataclass(frozen=True)
class RawRecord:
    """One answer about a product, for stock about a product in a county."""

    product_code: str
    payload: Any
    county_code: str | None = None


@dataclass(frozen=True)
class RejectedRecord:
    """A record that could not be read, with the reason in words."""

    reason: str
    payload: Any


def find(engine: Engine, partition: Partition, asset: str) -> Stored | None:
    """How the partition of ``asset`` stands; ``None`` when nothing was ever fetched for it."""
    table = raw_partition.c
    columns = [table[name] for name in Stored.__dataclass_fields__]
    statement = select(*columns).where(_is(raw_partition, partition), table.asset_key == asset)
    row = transaction(
        engine, lambda connection: connection.execute(statement).mappings().one_or_none()
    )
    return None if row is None else Stored(**row)


def longest_listing(engine: Engine, partition: Partition, days: int) -> int | None:
    """How long the dealer's longest complete listing of the last ``days`` was, and of today.

    Where there was none in these days, the newest one before. What an operator accepted as shrunken
    is the measure from then on. ``None`` before the first complete listing.
    """
    statement = text("""
        WITH good AS (
            SELECT sync_date, shrink_accepted, greatest(longest_count, record_count) AS longest
            FROM raw_partition
            WHERE dealer = :dealer AND asset_key = 'product_listings' AND is_complete
              AND sync_date <= :sync_date)
        SELECT max(longest) FROM good
        WHERE sync_date >= least(
                CAST(:sync_date AS date) - CAST(:days AS integer),
                (SELECT max(sync_date) FROM good))
          AND sync_date >= coalesce(
                (SELECT max(sync_date) FROM good WHERE shrink_accepted), '-infinity')
    """)
    bound = {"dealer": partition.dealer, "sync_date": partition.sync_date, "days": days}
    longest: int | None = transaction(
        engine, lambda connection: connection.scalar(statement, bound)
    )
    return longest


def previous(engine: Engine, partition: Partition) -> Partition | None:
    """The dealer's last earlier day with a complete listing; days may lie between."""
    table = raw_partition.c
    statement = select(func.max(table.sync_date)).where(
        table.dealer == partition.dealer,
        table.asset_key == "product_listings",
        table.is_complete,
        table.sync_date < partition.sync_date,
    )
    day = transaction(engine, lambda connection: connection.scalar(statement))
    return None if day is None else Partition(partition.dealer, day)


def listed_before(engine: Engine, partition: Partition, codes: Collection[str]) -> set[str]:
    """Which of the codes stood in a stored listing of an earlier day."""
    table = RAW_TABLES["product_listings"].c
    statement = (
        select(table.product_code)
        .where(
            table.dealer == partition.dealer,
            table.sync_date < partition.sync_date,
            # One array, however many: a statement takes only 65,535 parameters.
            table.product_code == any_(cast(list(codes), ARRAY(String))),
        )
        .distinct()
    )
    return transaction(engine, lambda connection: set(connection.scalars(statement)))


def open_fetch(engine: Engine, partition: Partition, asset: str, root_run_id: str) -> None:
    """Note that a fetch begins, or goes on when it is of the same root run."""
    row = insert(raw_partition).values(
        dealer=partition.dealer,
        sync_date=partition.sync_date,
        asset_key=asset,
        root_run_id=root_run_id,
    )
    statement = row.on_conflict_do_update(
        index_elements=raw_partition.primary_key.columns,
        set_={
            "root_run_id": root_run_id,
            "started_at": func.clock_timestamp(),
            "completed_at": None,
        },
        where=raw_partition.c.root_run_id != root_run_id,
    )
    transaction(engine, lambda connection: connection.execute(statement))


def close_fetch(engine: Engine, partition: Partition, asset: str) -> None:
    """Note that every unit of the fetch has been asked for."""
    statement = (
        update(raw_partition)
        .where(_is(raw_partition, partition), raw_partition.c.asset_key == asset)
        .values(completed_at=func.clock_timestamp())
    )
    transaction(engine, lambda connection: connection.execute(statement))


def fetched(
    engine: Engine, partition: Partition, asset: str, root_run_id: str
) -> set[tuple[str, ...]]:
    """The keys that were answered under this root run: what a resumed sync need not ask again."""
    table = RAW_TABLES[asset]
    key = [table.c[name] for name in _key_columns(asset)]
    statement = select(*key).where(_is(table, partition), table.c.root_run_id == root_run_id)
    return transaction(
        engine, lambda connection: {tuple(row) for row in connection.execute(statement)}
    )


def save(
    engine: Engine,
    partition: Partition,
    asset: str,
    root_run_id: str,
    records: Sequence[RawRecord],
    rejected: Sequence[RejectedRecord] = (),
    *,
    run_id: str,
) -> None:
    """Store answers in a transaction of their own; a newer answer replaces an older one."""

    def work(connection: Connection) -> None:
        _upsert(connection, partition, asset, root_run_id, records)
        _reject(connection, partition, asset, rejected, run_id=run_id)

    transaction(engine, work)


def save_rejected(
    engine: Engine,
    partition: Partition,
    asset: str,
    rejected: Sequence[RejectedRecord],
    *,
    run_id: str,
) -> None:
    """Keep records that could not be read where an operator can list them."""
    transaction(
        engine,
        lambda connection: _reject(connection, partition, asset, rejected, run_id=run_id),
    )


def save_listing(
    engine: Engine,
    partition: Partition,
    root_run_id: str,
    records: Sequence[RawRecord],
    rejected: Sequence[RejectedRecord],
    *,
    run_id: str,
    complete: bool,
    unread: Sequence[RawRecord] = (),
    nameless: int = 0,
    accepted: bool = False,
) -> None:
    """Store a listing; a complete one replaces the partition's, a chosen one adds to it.

    ``unread`` are those of the rejected records whose code is readable: they are kept beside the
    others, so that whoever derives the day knows that these products are not gone. ``nameless``:
    how many have no readable code. ``accepted``: an operator let a shrunken listing pass.
    """
    asset = "product_listings"
    table = RAW_TABLES[asset]
    of_asset = _is(raw_partition, partition) & (raw_partition.c.asset_key == asset)

    def work(connection: Connection) -> None:
        if complete:
            connection.execute(delete(table).where(_is(table, partition)))
        _upsert(connection, partition, asset, root_run_id, [*records, *unread])
        _reject(connection, partition, asset, rejected, run_id=run_id)
        values: dict[str, Any] = {"completed_at": func.clock_timestamp()}
        if complete:
            count = len(records)
            longest = func.greatest(raw_partition.c.longest_count, count)
            values |= {
                "record_count": count,
                "longest_count": count if accepted else longest,
                "nameless_count": nameless,
                "is_complete": True,
            }
        if accepted:
            values["shrink_accepted"] = True
        connection.execute(update(raw_partition).where(of_asset).values(**values))

    transaction(engine, work)


def counties_asked(engine: Engine, partition: Partition, root_run_id: str) -> set[str]:
    """The counties that a fetch of stock under this root run was answered for."""
    table = RAW_TABLES["stock_levels"]
    statement = (
        select(table.c.county_code)
        .where(_is(table, partition), table.c.root_run_id == root_run_id)
        .distinct()
    )
    return transaction(engine, lambda connection: set(connection.scalars(statement)))


def read(
    engine: Engine, partition: Partition, asset: str, root_run_id: str | None = None
) -> Iterator[RawRecord]:
    """Every stored record of the partition in the order of its key, in chunks off the server.

    A server that is away is waited for before the first chunk, not between two of them.
    """
    table = RAW_TABLES[asset]
    key = [table.c[name] for name in _key_columns(asset)]
    statement = select(*key, table.c.payload).where(_is(table, partition)).order_by(*key)
    if root_run_id is not None:
        statement = statement.where(table.c.root_run_id == root_run_id)
    transaction(engine, lambda connection: connection.execute(text("SELECT 1")))
    with translated(engine), engine.connect() as connection:
        options = connection.execution_options(yield_per=CHUNK_ROWS)
        for row in options.execute(statement).mappings():
            yield RawRecord(row["product_code"], row["payload"], row.get("county_code"))


def _is(table: Any, partition: Partition) -> Any:
    return (table.c.dealer == partition.dealer) & (table.c.sync_date == partition.sync_date)


def _key_columns(asset: str) -> list[str]:
    return ["product_code", "county_code"] if asset == "stock_levels" else ["product_code"]


def _upsert(
    connection: Connection,
    partition: Partition,
    asset: str,
    root_run_id: str,
    records: Iterable[RawRecord],
) -> None:
    table = RAW_TABLES[asset]
    key = _key_columns(asset)
    columns = [*key, "payload"]
    # One JSON text for all rows: as fast as COPY at these sizes, and needs no temporary table.
    # Of an array psycopg would escape every quotation mark in Python.
    statement = text(
        f"INSERT INTO {table.name} AS t (dealer, sync_date, root_run_id, {', '.join(columns)})"
        f" SELECT :dealer, :sync_date, :root_run_id, {', '.join(f'r.{name}' for name in columns)}"
        f" FROM jsonb_to_recordset(CAST(:records AS jsonb))"
        f" AS r({', '.join(f'{name} text' for name in key)}, payload jsonb)"
        f" ON CONFLICT (dealer, sync_date, {', '.join(key)}) DO UPDATE SET"
        " payload = excluded.payload, root_run_id = excluded.root_run_id,"
        " fetched_at = clock_timestamp()"
    )
    remaining = iter(records)
    while chunk := list(islice(remaining, CHUNK_ROWS)):
        # One statement may not meet a key twice; the last answer counts.
        last = {(record.product_code, record.county_code): record for record in chunk}
        rows = [{name: getattr(record, name) for name in columns} for record in last.values()]
        values: Mapping[str, Any] = {
            "dealer": partition.dealer,
            "sync_date": partition.sync_date,
            "root_run_id": root_run_id,
            "records": dump_json(rows),
        }
        connection.execute(statement, values)


def _reject(
    connection: Connection,
    partition: Partition,
    asset: str,
    rejected: Sequence[RejectedRecord],
    *,
    run_id: str,
) -> None:
    statement = text(
        "INSERT INTO rejected_record (dealer, sync_date, asset_key, run_id, reason, payload)"
        " SELECT :dealer, :sync_date, :asset, :run_id, r.reason, r.payload"
        " FROM jsonb_to_recordset(CAST(:records AS jsonb)) AS r(reason text, payload jsonb)"
    )
    remaining = iter(rejected)
    while chunk := list(islice(remaining, CHUNK_ROWS)):
        values = {
            "dealer": partition.dealer,
            "sync_date": partition.sync_date,
            "asset": asset,
            "run_id": run_id,
            "records": dump_json([{"reason": r.reason, "payload": r.payload} for r in chunk]),
        }
        connection.execute(statement, values)
