"""Parcels and pictures of orders on their way: which are asked for, and what was found.

An order's own events (shipped, delivered, picture) are noted with them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, text

from haier_pipeline.catalog.database import dump_json, transaction
from haier_pipeline.catalog.orders.store import HAS_LEFT, OrderStore, OwnEvent
from haier_pipeline.catalog.tables import NUMBER_LENGTH, order_picture

#: How long an order is watched after it arrived, and after it was cancelled with parcels.
WATCHED_DELIVERED: Final = timedelta(days=14)
WATCHED_CANCELLED: Final = timedelta(days=30)


@dataclass(frozen=True)
class Followed:
    """An order that Haier has and that is not ended, or is watched.

    ``since``: when Haier had it. ``wants_pictures``: it has arrived, and none were found yet.
    """

    order_id: int
    so_id: str
    haier_order_no: str
    state: str
    since: datetime
    tracked_at: datetime | None
    wants_pictures: bool


@dataclass(frozen=True)
class FoundParcel:
    """One parcel of an order, as tracking names it; without a number, carrier and serial numbers
    only its delivery record is known, and it has not left."""

    delivery_record_code: str
    tracking_no: str
    carrier_code: str | None = None
    carrier_name: str | None = None
    serial_numbers: tuple[str, ...] = ()

    @property
    def has_left(self) -> bool:
        return bool(
            self.tracking_no or self.carrier_code or self.carrier_name or self.serial_numbers
        )


@dataclass(frozen=True)
class FoundPicture:
    """One picture; it may show a home."""

    delivery_record_code: str
    serial_number: str | None
    scene: int | None
    description: str | None = field(repr=False)
    url: str = field(repr=False)


def followed(store: OrderStore, dealer: str) -> list[Followed]:
    """The orders of a dealer that tracking is asked for, the oldest first."""
    statement = text(
        "SELECT id, so_id, haier_order_no, state, tracked_at,"
        " COALESCE(confirmed_at, pushed_at, created_at) AS since,"
        " state = 'delivered' AND pictured_at IS NULL AS wants_pictures"
        " FROM retail_order WHERE dealer = :dealer AND haier_order_no IS NOT NULL AND ("
        "  ended_at IS NULL"
        "  OR (state = 'delivered' AND ended_at > clock_timestamp() - CAST(:delivered AS interval))"
        "  OR (state = 'cancelled' AND ended_at > clock_timestamp() - CAST(:cancelled AS interval)"
        "      AND EXISTS (SELECT FROM order_parcel WHERE order_id = retail_order.id)))"
        " AND state <> 'new' ORDER BY id"
    )

    def work(connection: Connection) -> list[Followed]:
        bound = {
            "dealer": dealer,
            "delivered": WATCHED_DELIVERED,
            "cancelled": WATCHED_CANCELLED,
        }
        rows = connection.execute(statement, bound)
        return [
            Followed(
                row.id,
                row.so_id,
                row.haier_order_no,
                row.state,
                row.since,
                row.tracked_at,
                row.wants_pictures,
            )
            for row in rows
        ]

    return transaction(store.engine, work)


def save_parcels(
    store: OrderStore,
    dealer: str,
    asked: Collection[int],
    found: Mapping[int, Sequence[FoundParcel]],
) -> int:
    """Store what tracking said of the orders that were ``asked`` for, by their id; returns how many
    parcels are new."""

    def work(connection: Connection) -> int:
        ids = sorted(asked)
        # In one order, as everybody locks them.
        connection.execute(
            text("SELECT FROM retail_order WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE"),
            {"ids": ids},
        )
        known = {
            (row.order_id, row.delivery_record_code, row.tracking_no)
            for row in connection.execute(
                text(
                    "SELECT order_id, delivery_record_code, tracking_no FROM order_parcel"
                    " WHERE order_id = ANY(:ids)"
                ),
                {"ids": ids},
            )
        }
        rows = {
            (number, parcel.delivery_record_code[:NUMBER_LENGTH],
             parcel.tracking_no[:NUMBER_LENGTH]): parcel
            for number, parcels in found.items()
            for parcel in parcels
        }  # fmt: skip
        if rows:
            connection.execute(
                text(
                    "INSERT INTO order_parcel (order_id, delivery_record_code, tracking_no,"
                    " carrier_code, carrier_name, serial_numbers, first_seen_at) VALUES (:order_id,"
                    " :record, :number, :carrier_code, :carrier_name,"
                    " CAST(:serial_numbers AS jsonb), clock_timestamp())"
                    " ON CONFLICT (order_id, delivery_record_code, tracking_no) DO UPDATE SET"
                    " carrier_code = EXCLUDED.carrier_code, carrier_name = EXCLUDED.carrier_name,"
                    " serial_numbers = EXCLUDED.serial_numbers"
                ),
                [
                    {
                        "order_id": number,
                        "record": record,
                        "number": tracking_no,
                        "carrier_code": parcel.carrier_code,
                        "carrier_name": parcel.carrier_name,
                        "serial_numbers": dump_json(list(parcel.serial_numbers)),
                    }
                    for (number, record, tracking_no), parcel in rows.items()
                ],
            )
            # A record that has a parcel now was known without one before.
            connection.execute(
                text(
                    f"DELETE FROM order_parcel WHERE order_id = ANY(:ids) AND NOT {HAS_LEFT}"
                    " AND EXISTS (SELECT FROM order_parcel p WHERE p.order_id ="
                    " order_parcel.order_id AND p.delivery_record_code ="
                    " order_parcel.delivery_record_code AND p.tracking_no <> '')"
                ),
                {"ids": ids},
            )
        changed = sorted(set(rows) - known)
        fresh = [key for key in changed if rows[key].has_left]
        if fresh:
            store.note(
                connection,
                dealer,
                [
                    OwnEvent(
                        number, "shipped", payload={"record": record, "tracking_no": tracking_no}
                    )
                    for number, record, tracking_no in fresh
                ],
            )
        if changed:
            store.settle(connection, sorted({number for number, _, _ in changed}))
        connection.execute(
            text("UPDATE retail_order SET tracked_at = clock_timestamp() WHERE id = ANY(:ids)"),
            {"ids": ids},
        )
        return len(fresh)

    return transaction(store.engine, work)


def open_records(store: OrderStore, ids: Collection[int]) -> dict[int, set[str]]:
    """The delivery records of these orders that have not arrived, by the order's id."""
    statement = text(
        "SELECT order_id, delivery_record_code FROM order_parcel"
        " WHERE order_id = ANY(:ids) AND delivered_at IS NULL"
    )

    def work(connection: Connection) -> dict[int, set[str]]:
        found: dict[int, set[str]] = {}
        for row in connection.execute(statement, {"ids": list(ids)}):
            found.setdefault(row.order_id, set()).add(row.delivery_record_code)
        return found

    return transaction(store.engine, work)


def save_arrivals(store: OrderStore, dealer: str, order_id: int, records: Collection[str]) -> None:
    """Store that these delivery records of an order have arrived."""

    def work(connection: Connection) -> None:
        connection.execute(
            text("SELECT FROM retail_order WHERE id = :id FOR NO KEY UPDATE"), {"id": order_id}
        )
        arrived = connection.execute(
            text(
                "UPDATE order_parcel SET delivered_at = clock_timestamp() WHERE order_id = :id"
                " AND delivery_record_code = ANY(:records) AND delivered_at IS NULL"
                " RETURNING delivery_record_code"
            ),
            {"id": order_id, "records": list(records)},
        )
        names = sorted(set(arrived.scalars()))
        if names:
            store.note(
                connection,
                dealer,
                [OwnEvent(order_id, "delivered", payload={"record": name}) for name in names],
            )
            store.settle(connection, [order_id])

    transaction(store.engine, work)


def save_pictures(
    store: OrderStore, dealer: str, order_id: int, pictures: Sequence[FoundPicture]
) -> int:
    """Store the pictures of an order that has arrived; returns how many are new."""
    longest = order_picture.c.url.type.length  # type: ignore[attr-defined]

    def work(connection: Connection) -> int:
        row = connection.execute(
            text("SELECT people_removed_at FROM retail_order WHERE id = :id FOR NO KEY UPDATE"),
            {"id": order_id},
        ).one()
        if row.people_removed_at is not None:
            return 0
        new = 0
        for picture in pictures:
            if len(picture.url) > longest:
                continue
            new += connection.execute(
                text(
                    "INSERT INTO order_picture (order_id, delivery_record_code, serial_number,"
                    " scene, description, url) VALUES (:id, :record, :serial_number, :scene,"
                    " :description, :url) ON CONFLICT DO NOTHING"
                ),
                {
                    "id": order_id,
                    "record": picture.delivery_record_code[:NUMBER_LENGTH],
                    "serial_number": picture.serial_number,
                    "scene": picture.scene,
                    "description": picture.description,
                    "url": picture.url,
                },
            ).rowcount
        if new:
            store.note(connection, dealer, [OwnEvent(order_id, "picture", f"{new} pictures")])
        if pictures:
            connection.execute(
                text("UPDATE retail_order SET pictured_at = clock_timestamp() WHERE id = :id"),
                {"id": order_id},
            )
        return new

    return transaction(store.engine, work)
