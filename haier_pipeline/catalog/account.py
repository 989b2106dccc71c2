"""The dealer's account at the platform: payer balances, and orders on their way.

Written by the sync, read by reports. What the platform's records mean is decided elsewhere.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from haier_pipeline.catalog.database import transaction
from haier_pipeline.catalog.raw import Partition
from haier_pipeline.catalog.tables import account_balance, order_logistics, tracked_order


@dataclass(frozen=True)
class TrackedOrder:
    """An order whose logistics are asked for until it is delivered."""

    order_code: str
    delivery_record_code: str | None
    member_id: str | None


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
        checked: dict[str, Any] = {"checked_at": func.clock_timestamp()}
        if delivered:
            checked["delivered_at"] = func.clock_timestamp()
        connection.execute(
            update(tracked_order)
            .where(
                tracked_order.c.dealer == partition.dealer,
                tracked_order.c.order_code == order_code,
            )
            .values(**checked)
        )

    transaction(engine, work)
