"""The dealer's account at the platform: payer balances, and orders on their way.

Written by the sync, read by reports. What the platform's records mean is decided elsewhere.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, delete, func, insert, select, text, update

from haier_pipeline.catalog.database import transaction
from haier_pipeline.catalog.tables import account_balance, order_logistics, tracked_order
from haier_pipeline.domain.partition import Partition

#: How long a driver's name, telephone and number plate are kept of an order that is under way.
PEOPLE_LIFE: Final = timedelta(days=90)
_CHUNK_ROWS: Final = 500


@dataclass(frozen=True)
class TrackedOrder:
    """An order whose logistics are asked for until it is delivered."""

    order_code: str
    delivery_record_code: str | None
    member_id: str | None
    created_at: datetime
    checked_at: datetime | None


@dataclass(frozen=True)
class LogisticsEntry:
    """One entry of an order's logistics: in which of the three lists, at which place."""

    kind: str
    position: int
    payload: Any


def save_balances(
    engine: Engine, partition: Partition, balances: Sequence[Mapping[str, Any]]
) -> None:
    """Replace the day's balances; each has the columns of ``account_balance`` but the key's."""
    table = account_balance

    def work(connection: Connection) -> None:
        connection.execute(
            delete(table).where(
                table.c.dealer == partition.dealer, table.c.sync_date == partition.sync_date
            )
        )
        if balances:
            day = {"dealer": partition.dealer, "sync_date": partition.sync_date}
            connection.execute(insert(table), [{**day, **balance} for balance in balances])

    transaction(engine, work)


def open_orders(engine: Engine, dealer: str) -> list[TrackedOrder]:
    """The dealer's tracked orders that have not been delivered yet."""
    table = tracked_order.c
    columns = [table[name] for name in TrackedOrder.__dataclass_fields__]
    statement = (
        select(*columns)
        .where(table.dealer == dealer, table.delivered_at.is_(None))
        .order_by(table.order_code)
    )
    rows = transaction(engine, lambda connection: connection.execute(statement).mappings().all())
    return [TrackedOrder(**row) for row in rows]


def save_logistics(
    engine: Engine,
    partition: Partition,
    order_code: str,
    entries: Collection[LogisticsEntry],
    *,
    delivered: bool,
) -> None:
    """Replace the order's entries of the day, and stop tracking an order that was delivered."""
    table = order_logistics

    def work(connection: Connection) -> None:
        connection.execute(
            delete(table).where(
                table.c.dealer == partition.dealer,
                table.c.sync_date == partition.sync_date,
                table.c.order_code == order_code,
            )
        )
        if entries:
            connection.execute(
                insert(table),
                [
                    {
                        "dealer": partition.dealer,
                        "sync_date": partition.sync_date,
                        "order_code": order_code,
                        "kind": entry.kind,
                        "position": entry.position,
                        "payload": entry.payload,
                    }
                    for entry in entries
                ],
            )
        _check(connection, partition.dealer, order_code, delivered=delivered)

    transaction(engine, work)


def note_asked(engine: Engine, dealer: str, order_code: str) -> None:
    """Note that the platform was asked for an order and had nothing to say."""
    transaction(engine, lambda connection: _check(connection, dealer, order_code, delivered=False))


def _check(connection: Connection, dealer: str, order_code: str, *, delivered: bool) -> None:
    checked: dict[str, Any] = {"checked_at": func.clock_timestamp()}
    if delivered:
        checked["delivered_at"] = func.clock_timestamp()
    connection.execute(
        update(tracked_order)
        .where(tracked_order.c.dealer == dealer, tracked_order.c.order_code == order_code)
        .values(**checked)
    )


def forget_people(engine: Engine, without_people: Callable[[Any], Any]) -> int:
    """Take personal data out of stored logistics that are no longer entitled to it.

    Those are of orders that were delivered or are not tracked any more, and whatever is older than
    `PEOPLE_LIFE`. ``without_people`` gives a payload back without it. Returns how many entries were
    gone through; each is only once.
    """

    def work(connection: Connection) -> int:
        rows = connection.execute(text(_ENTITLED_NO_LONGER), bound).all()
        for row in rows:
            connection.execute(
                update(order_logistics)
                .where(order_logistics.c.id == row.id)
                .values(
                    payload=without_people(row.payload), people_removed_at=func.clock_timestamp()
                )
            )
        return len(rows)

    bound = {"life": PEOPLE_LIFE, "chunk": _CHUNK_ROWS}
    total = 0
    while True:
        done = transaction(engine, work)
        total += done
        if done < _CHUNK_ROWS:
            return total


_ENTITLED_NO_LONGER: Final = """
SELECT id, payload FROM order_logistics entry
WHERE people_removed_at IS NULL AND (
    fetched_at < clock_timestamp() - CAST(:life AS interval) OR NOT EXISTS (
        SELECT FROM tracked_order
        WHERE tracked_order.dealer = entry.dealer
          AND tracked_order.order_code = entry.order_code
          AND delivered_at IS NULL AND created_at >= clock_timestamp() - CAST(:life AS interval)))
ORDER BY id LIMIT :chunk FOR UPDATE SKIP LOCKED
"""
