"""What the platform said, record by record, for each partition: written as it arrives, read again.

Payloads go in and out untouched; what they mean is decided elsewhere. A record carries the root
run under which it was fetched, so that a sync which was killed goes on where it was.

A payload is stored once for a dealer and an interface (``raw_payload``), and a day is packs of
references to payloads (``raw_answer``): a row for each of hundreds of thousands of answers would be
large however small its payload. The view ``raw_record`` shows them as rows, together with what a
version before this one stored as rows (``RAW_TABLES``).

Both tables are partitioned, so that old days are dropped and not deleted. For that no payload may
be needed for ever: one that was stored long ago is stored again, a few each day (``PAYLOAD_DAYS``).
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
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
from haier_pipeline.catalog.tables import (
    RAW_TABLES,
    haier_database,
    listed_product,
    raw_answer,
    raw_partition,
)
from haier_pipeline.domain.partition import Partition

CHUNK_ROWS = 2_000

# A pack with fewer answers takes in more of the same fetch; with many more, a page would not hold
# two versions of its row, and each change would leave a dead one elsewhere.
PACK_ROWS = 150

# A payload is used until it is so many days old, and of such an age that not all which were stored
# on one day end on the same one.
PAYLOAD_DAYS = 60
PAYLOAD_DAYS_SPREAD = 64
#: On no day is a payload used that was stored earlier than so many days before.
MOST_PAYLOAD_DAYS = PAYLOAD_DAYS + PAYLOAD_DAYS_SPREAD


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
    """Which of the codes stood in a listing of an earlier day, as long as answers are kept."""
    table = listed_product.c
    statement = select(table.product_code).where(
        table.dealer == partition.dealer,
        table.first_date < partition.sync_date,
        # One array, however many: a statement takes only 65,535 parameters.
        table.product_code == any_(cast(list(codes), ARRAY(String))),
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
    # By itself, since it locks: the fetch shall not hold the lock.
    transaction(engine, lambda connection: make_partitions(connection, partition.sync_date))
    transaction(engine, lambda connection: connection.execute(statement))


def close_fetch(engine: Engine, partition: Partition, asset: str) -> None:
    """Note that every unit of the fetch has been asked for; drop packs that answers replaced."""
    statement = (
        update(raw_partition)
        .where(_is(raw_partition, partition), raw_partition.c.asset_key == asset)
        .values(completed_at=func.clock_timestamp())
    )

    def work(connection: Connection) -> None:
        connection.execute(statement)
        connection.execute(text(_DROP_REPLACED), _bound(partition, asset))

    transaction(engine, work)


def fetched(
    engine: Engine, partition: Partition, asset: str, root_run_id: str
) -> set[tuple[str, ...]]:
    """The keys that were answered under this root run: what a resumed sync need not ask again."""
    statement = text(
        f"SELECT {', '.join(_key_columns(asset))} FROM raw_record WHERE {_OF_ASSET} AND {_OF_ROOT}"
    )
    bound = _bound(partition, asset, root_run_id)
    return transaction(
        engine, lambda connection: {tuple(row) for row in connection.execute(statement, bound)}
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
        _store(connection, partition, asset, root_run_id, records)
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
    of_asset = _is(raw_partition, partition) & (raw_partition.c.asset_key == asset)

    def work(connection: Connection) -> None:
        if complete:
            for table in (raw_answer, RAW_TABLES[asset]):
                of_table = _is(table, partition)
                if table is raw_answer:
                    of_table &= table.c.asset_key == asset
                connection.execute(delete(table).where(of_table))
            # Those that only the listing which is replaced had.
            connection.execute(text(_FORGET_LISTED), _bound(partition, asset))
        listed = [*records, *unread]
        _store(connection, partition, asset, root_run_id, listed)
        codes = sorted({record.product_code for record in listed})
        connection.execute(text(_NOTE_LISTED), _bound(partition, asset) | {"codes": codes})
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
    statement = text(
        f"SELECT DISTINCT county_code FROM raw_record WHERE {_OF_ASSET} AND {_OF_ROOT}"
    )
    bound = _bound(partition, "stock_levels", root_run_id)
    return transaction(engine, lambda connection: set(connection.scalars(statement, bound)))


def read(
    engine: Engine, partition: Partition, asset: str, root_run_id: str | None = None
) -> Iterator[RawRecord]:
    """Every stored record of the partition in the order of its key, in chunks off the server.

    A server that is away is waited for before the first chunk, not between two of them.
    """
    of_root = "" if root_run_id is None else f" AND {_OF_ROOT}"
    statement = text(
        f"SELECT product_code, county_code, payload FROM raw_record WHERE {_OF_ASSET}{of_root}"
        " ORDER BY product_code, county_code"
    )
    transaction(engine, lambda connection: connection.execute(text("SELECT 1")))
    with translated(engine), engine.connect() as connection:
        options = connection.execution_options(yield_per=CHUNK_ROWS)
        for code, county, payload in options.execute(
            statement, _bound(partition, asset, root_run_id)
        ):
            yield RawRecord(code, payload, county)


def make_partitions(connection: Connection, day: date) -> None:
    """Make those for the answers of a day and the payloads of its month, where there are none.

    Only the owner of the tables can. What another role stores goes to the partitions for the rest.
    """
    for table, name, bounds, holds in _partitions(day):
        found = connection.scalar(text("SELECT to_regclass(:name)"), {"name": name})
        if found is not None or not owns(connection, table):
            continue
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('haier partitions'))"))
        found = connection.scalar(text("SELECT to_regclass(:name)"), {"name": name})
        # What the rest holds already stays there; the two may not overlap.
        if found is None and not connection.scalar(
            text(f"SELECT EXISTS (SELECT FROM {table}_rest WHERE {holds})")
        ):
            # Attached afterwards, since that keeps nobody from reading and writing the others.
            with_options = " WITH (toast_tuple_target = 128)" if table == "raw_answer" else ""
            connection.execute(
                text(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL){with_options}")
            )
            connection.execute(
                text(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES {bounds}")
            )


def owns(connection: Connection, table: str) -> bool:
    """Whether our role may make and drop partitions of the table."""
    return bool(
        connection.scalar(
            text(
                "SELECT pg_has_role(relowner, 'USAGE')"
                " AND has_schema_privilege(current_schema(), 'CREATE')"
                " FROM pg_class WHERE oid = to_regclass(:table)"
            ),
            {"table": table},
        )
    )


def first_payload(day: date) -> int:
    """The smallest number of a payload that is stored on the day."""
    return (day - _DAY_ZERO).days << 32


_DAY_ZERO = date(2000, 1, 1)


def _partitions(day: date) -> Iterator[tuple[str, str, str, str]]:
    """Table, name, bounds, and the bounds as a condition."""
    month = day.replace(day=1)
    low, high = first_payload(month), first_payload((month + timedelta(days=31)).replace(day=1))
    yield (
        "raw_payload",
        f"raw_payload_{day:%Y%m}",
        f"FROM ({low}) TO ({high})",
        f"id >= {low} AND id < {high}",
    )
    yield "raw_answer", f"raw_answer_{day:%Y%m%d}", f"IN ('{day}')", f"sync_date = '{day}'"


def _is(table: Any, partition: Partition) -> Any:
    return (table.c.dealer == partition.dealer) & (table.c.sync_date == partition.sync_date)


def _key_columns(asset: str) -> list[str]:
    return ["product_code", "county_code"] if asset == "stock_levels" else ["product_code"]


_OF_ASSET = "dealer = :dealer AND sync_date = :sync_date AND asset_key = :asset"
_OF_ROOT = "root_run_id = :root_run_id"


def _bound(partition: Partition, asset: str, root_run_id: str | None = None) -> dict[str, Any]:
    bound = {"dealer": partition.dealer, "sync_date": partition.sync_date, "asset": asset}
    return bound if root_run_id is None else bound | {"root_run_id": root_run_id}


def _store(
    connection: Connection,
    partition: Partition,
    asset: str,
    root_run_id: str,
    records: Iterable[RawRecord],
) -> None:
    packed_from = select(haier_database.c.packed_from <= partition.sync_date)
    is_packed = connection.scalar(packed_from) is not False
    statement = text(_PACK if is_packed else _upsert(asset))
    bound = _bound(partition, asset, root_run_id)
    if is_packed:
        bound |= {"first_payload": first_payload(partition.sync_date)}
    remaining = iter(records)
    while chunk := list(islice(remaining, CHUNK_ROWS)):
        # Of equal keys the last answer counts, and one statement may not meet a key twice.
        last = {(record.product_code, record.county_code): record for record in chunk}
        rows = [vars(record) for record in last.values()]
        connection.execute(statement, bound | {"records": dump_json(rows)})


# One JSON text for all records: as fast as COPY at these sizes, and needs no temporary table. Of an
# array psycopg would escape every quotation mark in Python.
_RECORDS = (
    "jsonb_to_recordset(CAST(:records AS jsonb))"
    " AS r(product_code text, county_code text, payload jsonb)"
)

# Without a join, whose plan would depend on guesses: each record finds its payload's number by the
# index, and those that are new share one where they are equal. The newest pack grows while it is
# small: half a second's answers by themselves would be too few to be compressed.
_PACK = f"""
WITH given AS MATERIALIZED (
    SELECT product_code, county_code, payload,
        substr(sha256(convert_to(
            concat_ws(chr(10), CAST(:dealer AS text), CAST(:asset AS text), payload::text), 'UTF8'
        )), 1, 16) AS hash
    FROM {_RECORDS}
), sought AS MATERIALIZED (
    SELECT g.*, (
        SELECT p.id FROM raw_payload p
        WHERE p.hash = g.hash AND p.id >= CAST(:first_payload AS bigint)
            - (({PAYLOAD_DAYS} + get_byte(g.hash, 0) % {PAYLOAD_DAYS_SPREAD})::bigint << 32)
        ORDER BY p.id DESC LIMIT 1) AS known
    FROM given g
), numbered AS MATERIALIZED (
    SELECT *, CASE WHEN known IS NULL THEN
        CAST(:first_payload AS bigint) + (nextval('raw_number') & 4294967295) END AS fresh
    FROM sought
), placed AS MATERIALIZED (
    SELECT *, coalesce(known, min(fresh) OVER (PARTITION BY hash)) AS id FROM numbered
), added AS (
    INSERT INTO raw_payload (id, hash, payload)
    SELECT id, hash, payload FROM placed WHERE fresh = id
), pack AS (
    SELECT array_agg(product_code ORDER BY product_code, county_code) AS product_codes,
        CASE WHEN count(county_code) > 0
            THEN array_agg(county_code ORDER BY product_code, county_code) END AS county_codes,
        array_agg(id ORDER BY product_code, county_code) AS payload_ids
    FROM placed
), grown AS (
    UPDATE raw_answer a SET product_codes = a.product_codes || k.product_codes,
        county_codes = a.county_codes || k.county_codes,
        payload_ids = a.payload_ids || k.payload_ids, fetched_at = clock_timestamp()
    FROM pack k
    WHERE a.dealer = :dealer AND a.sync_date = :sync_date AND a.asset_key = :asset
      AND a.position = (
            SELECT position FROM raw_answer WHERE {_OF_ASSET} ORDER BY position DESC LIMIT 1)
      AND a.root_run_id = :root_run_id AND cardinality(a.product_codes) < {PACK_ROWS}
    RETURNING a.position
)
INSERT INTO raw_answer (dealer, sync_date, asset_key, root_run_id,
    product_codes, county_codes, payload_ids, fetched_at)
SELECT :dealer, :sync_date, :asset, :root_run_id, product_codes, county_codes, payload_ids,
    clock_timestamp()
FROM pack WHERE NOT EXISTS (SELECT FROM grown)
"""


def _upsert(asset: str) -> str:
    """The statement of the version before, for the days that it may still read."""
    key = _key_columns(asset)
    columns = ", ".join([*key, "payload"])
    return (
        f"INSERT INTO {RAW_TABLES[asset].name} AS t (dealer, sync_date, root_run_id, {columns})"
        f" SELECT :dealer, :sync_date, :root_run_id, {columns} FROM {_RECORDS}"
        f" ON CONFLICT (dealer, sync_date, {', '.join(key)}) DO UPDATE SET"
        " payload = excluded.payload, root_run_id = excluded.root_run_id,"
        " fetched_at = clock_timestamp()"
    )


# Where a later fetch of the day has answered everything in a pack again.
_DROP_REPLACED = f"""
DELETE FROM raw_answer WHERE {_OF_ASSET} AND position NOT IN (
    SELECT position FROM (
        SELECT DISTINCT ON (product_code, county_code) position
        FROM (
            SELECT position, unnest(product_codes) AS product_code,
                unnest(county_codes) AS county_code
            FROM raw_answer WHERE {_OF_ASSET}
        ) told
        ORDER BY product_code, county_code, position DESC
    ) newest)
  AND EXISTS (
    SELECT FROM raw_answer WHERE {_OF_ASSET}
    HAVING min(root_run_id) <> max(root_run_id))
"""

_FORGET_LISTED = """
DELETE FROM listed_product
WHERE dealer = :dealer AND first_date = :sync_date AND last_date = :sync_date
"""

_NOTE_LISTED = """
INSERT INTO listed_product AS l (dealer, product_code, first_date, last_date)
SELECT :dealer, code, :sync_date, :sync_date FROM unnest(CAST(:codes AS text[])) AS code
ON CONFLICT (dealer, product_code) DO UPDATE
SET first_date = least(l.first_date, excluded.first_date),
    last_date = greatest(l.last_date, excluded.last_date)
WHERE excluded.first_date < l.first_date OR excluded.last_date > l.last_date
"""


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
