"""What has changed since a position: rows in the order of commit, for readers that keep a copy.

A position holds a snapshot of the database: which transactions a reader has seen. What comes next
is what was changed by any other one. So nothing is missed, however long a transaction stays open
and in whatever order they end; and what nobody changed is not sent. The transaction that changed a
row last stands in its ``change_xid``, written by triggers (``migrations/followed.py``). What the
routes are called, and pages in other orders, are not here.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from sqlalchemy import Connection, Engine, text

from haier_pipeline.catalog.database import transaction, translated
from haier_pipeline.errors import InvalidInput, PositionGone

#: How long a position can be used, and so how long a removal is reported.
POSITION_DAYS = 7
# Transactions in progress that a position names; with more of them it stands a little further back.
_MOST_OPEN = 200
_LARGEST = 2**63

# The database that a position is of: restored from a backup, copied or upgraded it is another one.
# The id is renewed by whoever restores a copy of the files, which looks the same otherwise.
HERE = """
    pg_current_snapshot()::text AS snapshot,
    extract(epoch FROM clock_timestamp())::bigint AS moment,
    md5(concat_ws(' ', (SELECT id FROM haier_database),
        (SELECT system_identifier FROM pg_control_system()),
        (SELECT timeline_id FROM pg_control_checkpoint()),
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        to_regclass('product')::oid)) AS place
"""


@dataclass(frozen=True)
class Snapshot:
    """Transactions before ``xmax`` are seen, but for those that were ``open``.

    ``moment``: when it was taken, in seconds since 1970 by the database's clock.
    """

    moment: int
    xmax: int
    open: tuple[int, ...] = ()

    @property
    def xmin(self) -> int:
        return self.open[0] if self.open else self.xmax

    @classmethod
    def read(cls, moment: int, snapshot: str) -> "Snapshot":
        """Read PostgreSQL's text form, ``xmin:xmax:open,…``."""
        _, xmax, open_ = snapshot.split(":")
        found = tuple(sorted(int(each) for each in open_.split(",") if each))
        if len(found) > _MOST_OPEN:
            # Seeing less than there was to see costs a repetition and loses nothing.
            return cls(moment, found[_MOST_OPEN], found[:_MOST_OPEN])
        return cls(moment, int(xmax), found)

    @property
    def parts(self) -> list[int]:
        """The same as numbers."""
        return [self.moment, self.xmax, *self.open]


@dataclass(frozen=True)
class Position:
    """Where a reader is: it has seen ``seen`` of a dealer's rows in the database ``place``.

    In the middle of more changes than fit on a page, ``aim`` is the snapshot they lead up to, and
    ``last`` the ``change_xid`` and key of the last row that was sent.
    """

    table: str
    dealer: str
    place: str
    seen: Snapshot
    aim: Snapshot | None = None
    last: tuple[Any, ...] = ()

    def __str__(self) -> str:
        parts = [
            self.table,
            self.dealer,
            self.place,
            self.seen.parts,
            self.aim and self.aim.parts,
            [str(part) if isinstance(part, date) else part for part in self.last],
        ]
        packed = zlib.compress(json.dumps(parts, separators=(",", ":")).encode(), 9)
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def parse(cls, encoded: str, feed: "Feed") -> "Position":
        """The position that was handed out in this encoded form.

        Raises:
            InvalidInput: it is no position, or one of another list.
        """
        try:
            packed = base64.b64decode(
                encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True
            )
            unpacker = zlib.decompressobj()
            # Longer than any position: such a text could exhaust the memory.
            plain = unpacker.decompress(packed, 20_000)
            table, dealer, place, seen, aim, last = json.loads(plain)
            position = cls(
                str(table),
                str(dealer),
                str(place),
                _snapshot(seen),
                None if aim is None else _snapshot(aim),
            )
            if position.table == feed.table and last:
                position = replace(position, last=feed.place_in_order(last))
        except (binascii.Error, zlib.error, ValueError, TypeError):
            raise InvalidInput(
                "after_position is no position of this server; send one back as it came"
            ) from None
        if position.table != feed.table:
            raise InvalidInput(
                "after_position is of another list; send it back to the route that gave it"
            )
        return position


@dataclass(frozen=True)
class Feed:
    """A table that can be followed: its key beside the dealer with the types, and a row as JSON.

    ``shown`` names each field and its value in SQL, of the row ``r`` and what ``joined`` adds.
    """

    table: str
    key: dict[str, str]
    shown: dict[str, str]
    joined: str = ""

    @property
    def row(self) -> str:
        """A row as a JSON object, in SQL."""
        return _object(self.shown | {"removed": "false"})

    def place_in_order(self, parts: Sequence[Any]) -> tuple[Any, ...]:
        """Read ``change_xid`` and key from their JSON form.

        Raises:
            ValueError: it is something else.
        """
        return _number(parts[0]), *self.read_key(parts[1:])

    def read_key(self, parts: Sequence[Any]) -> tuple[Any, ...]:
        """Read the key from its JSON form.

        Raises:
            ValueError: it is something else.
        """
        return tuple(
            date.fromisoformat(part) if kind == "date" else str(part)
            for part, kind in zip(parts, self.key.values(), strict=True)
        )


@dataclass(frozen=True)
class Holder:
    """Whoever has changed a followed table and not committed yet; readers get it only then.

    ``seconds`` since the transaction began. ``pid`` is None for a prepared transaction, whose name
    stands as ``application``.
    """

    pid: int | None
    application: str
    user: str
    seconds: float


def position_of(feed: Feed, dealer: str, here: Any) -> Position:
    """The position of an answer whose row ``here`` holds the columns of ``HERE``."""
    seen = Snapshot.read(here.moment, here.snapshot)
    return Position(feed.table, dealer, here.place, seen)


def follow(
    engine: Engine,
    feed: Feed,
    position: Position,
    *,
    dealer: str,
    limit: int,
    among: Sequence[str] = (),
    matching: Sequence[str] = (),
    bound: dict[str, Any] | None = None,
) -> tuple[str, Position]:
    """The rows that changed after the position, at most ``limit``, as a JSON list; where it led.

    ``among`` are conditions on the key, ``matching`` on anything else, over ``r``, with what they
    ``bound``. A row that no longer matches comes like one that was removed: with its key, and
    ``removed`` true.

    Raises:
        PositionGone: the position is too old, or of another database or dealer.
    """
    reading = engine.execution_options(isolation_level="REPEATABLE READ")
    with translated(engine), reading.connect() as connection:
        here = connection.execute(text(f"SELECT {HERE}")).one()
        now = position_of(feed, dealer, here)
        _refuse_foreign(position, now)
        aim = position.aim or now.seen
        statement = _statement(feed, position, among, matching)
        values = (bound or {}) | {
            "dealer": dealer,
            "table_name": feed.table,
            "limit": limit,
            "seen_xmin": position.seen.xmin,
            "seen_xmax": position.seen.xmax,
            "seen_open": list(position.seen.open),
            "aim_xmax": aim.xmax,
            "aim_open": list(aim.open),
        }
        values |= {f"last_{number}": part for number, part in enumerate(position.last)}
        found = connection.exec_driver_sql(statement, values).one()
    if found.number < limit:
        return found.rows, replace(position, seen=aim, aim=None, last=())
    return found.rows, replace(position, aim=aim, last=feed.place_in_order(found.last))


def _refuse_foreign(position: Position, now: Position) -> None:
    again = "read the whole list anew and follow from the position of its first page"
    if position.dealer != now.dealer:
        raise PositionGone(f"after_position is of another dealer; {again}")
    if position.place != now.place or position.seen.xmax > now.seen.xmax:
        raise PositionGone(
            f"after_position is of another database, or of before this one was restored; {again}"
        )
    if now.seen.moment - position.seen.moment > POSITION_DAYS * 86_400:
        raise PositionGone(f"after_position is older than {POSITION_DAYS} days; {again}")


def _statement(
    feed: Feed, position: Position, among: Sequence[str], matching: Sequence[str]
) -> str:
    def changed(row: str, key: Sequence[str]) -> str:
        stamp = f"{row}.change_xid"
        conditions = [
            f"{stamp} >= %(seen_xmin)s",
            f"({stamp} >= %(seen_xmax)s OR {stamp} = ANY(%(seen_open)s::bigint[]))",
            f"{stamp} < %(aim_xmax)s AND {stamp} <> ALL(%(aim_open)s::bigint[])",
        ]
        if position.last:
            after = ", ".join(f"%(last_{number})s" for number in range(len(position.last)))
            conditions.append(f"({', '.join((stamp, *key))}) > ({after})")
        return " AND ".join(conditions)

    key = [f"r.{name}" for name in feed.key]
    names = ", ".join(feed.key)
    order = f"change_xid, {names}"
    gone_key = [f"(t.key->>'{name}')::{kind}" for name, kind in feed.key.items()]
    gone_row = ", ".join(f"{part} AS {name}" for part, name in zip(gone_key, feed.key, strict=True))
    removed = _object({name: f"r.{name}" for name in feed.key} | {"removed": "true"})
    row = feed.row
    if matching:
        row = f"CASE WHEN {' AND '.join(matching)} THEN {row} ELSE {removed} END"
    return f"""
SELECT coalesce(json_agg(shown ORDER BY {order}), '[]')::text AS rows, count(*) AS number,
    json_agg(json_build_array(change_xid, {names}) ORDER BY {order})->-1 AS last
FROM (
    SELECT * FROM (
        (SELECT r.change_xid, {", ".join(key)}, {row} AS shown
        FROM (SELECT * FROM {feed.table} r
            WHERE r.dealer = %(dealer)s AND {changed("r", key)}
                {"".join(f" AND {condition}" for condition in among)}
            ORDER BY r.change_xid, {", ".join(key)} LIMIT %(limit)s) r {feed.joined})
        UNION ALL
        (SELECT r.change_xid, {", ".join(key)}, {removed} AS shown
        FROM (SELECT t.dealer, t.change_xid, {gone_row} FROM catalog_removed t
            WHERE t.table_name = %(table_name)s AND t.dealer = %(dealer)s
              AND {changed("t", gone_key)}) r
        WHERE NOT EXISTS (SELECT FROM {feed.table} l WHERE l.dealer = r.dealer
                AND ({", ".join(f"l.{name}" for name in feed.key)}) = ({", ".join(key)}))
            {"".join(f" AND {condition}" for condition in among)}
        ORDER BY r.change_xid, {", ".join(key)} LIMIT %(limit)s)
    ) either ORDER BY {order} LIMIT %(limit)s
) page
"""


def _object(fields: dict[str, str]) -> str:
    parts = ", ".join(f"'{name}', {value}" for name, value in fields.items())
    return f"json_build_object({parts})"


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise ValueError
    return value


def _snapshot(parts: Any) -> Snapshot:
    moment, xmax, *open_ = (_number(part) for part in parts)
    if open_ != sorted(open_) or (open_ and open_[-1] >= xmax):
        raise ValueError
    return Snapshot(moment, xmax, tuple(open_))


_HOLDERS = """
SELECT a.pid, coalesce(a.application_name, '') AS application, coalesce(a.usename, '') AS user,
    coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::double precision AS seconds
FROM pg_stat_activity a
WHERE a.pid <> pg_backend_pid() AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND {held})
UNION ALL
SELECT NULL, p.gid, p.owner,
    extract(epoch FROM clock_timestamp() - p.prepared)::double precision
FROM pg_prepared_xacts p
WHERE p.database = current_database() AND EXISTS (
    SELECT FROM pg_locks l WHERE l.pid IS NULL AND {held}
      AND l.virtualtransaction = (SELECT x.virtualtransaction FROM pg_locks x
        WHERE x.locktype = 'transactionid' AND x.transactionid = p.transaction LIMIT 1))
ORDER BY seconds DESC
""".replace(
    "{held}",
    "l.granted AND l.locktype = 'relation' AND l.mode IN ('RowExclusiveLock',"
    " 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND l.relation IN (to_regclass('product'), to_regclass('product_stock'),"
    " to_regclass('catalog_change'))",
)


def holders(engine: Engine) -> list[Holder]:
    """Who may have changed followed rows that no reader gets before they commit; oldest first."""
    with translated(engine), engine.connect() as connection:
        return [Holder(**row) for row in connection.execute(text(_HOLDERS)).mappings()]


def start_anew(engine: Engine) -> None:
    """Refuse every position that was handed out so far: the database was restored from a copy."""

    def work(connection: Connection) -> None:
        connection.execute(text("UPDATE haier_database SET id = gen_random_uuid()"))

    transaction(engine, work)


def forget_removed(engine: Engine) -> int:
    """Remove the notes of removals that no position can ask for any more; returns how many."""
    # A day longer: a note holds the time at which its transaction began.
    statement = text(
        "DELETE FROM catalog_removed"
        " WHERE removed_at < clock_timestamp() - make_interval(days => :days)"
    )

    def work(connection: Connection) -> int:
        return connection.execute(statement, {"days": POSITION_DAYS + 1}).rowcount

    return transaction(engine, work)
