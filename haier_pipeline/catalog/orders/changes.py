"""What is asked of an order once it is stored: cancelled, moved to another day, resolved by hand.

A request to Haier is stored before it is sent, and what came of it after; whether it may be asked
for at all is decided here, under the order's lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, func, text

from haier_pipeline.catalog.database import dump_json, transaction
from haier_pipeline.catalog.orders.store import OrderStore, OwnEvent, find, refuse_removed
from haier_pipeline.catalog.tables import NUMBER_LENGTH, retail_order
from haier_pipeline.errors import Conflict, InvalidInput

#: What a person can learn from Haier about an order.
RESOLVED_STATES: Final = ("new", "confirmed", "refused", "cancelled", "delivered")
_MOVABLE: Final = ("confirmed", "out_of_stock", "shipped", "partly_cancelled")
_MOST_REASON: Final = 200


@dataclass(frozen=True)
class Requested:
    """A request that is stored and may be sent now; ``event_id`` is where its answer goes."""

    order_id: int
    event_id: int
    so_id: str
    haier_order_no: str | None
    reason: str = ""
    distribution_at: datetime | None = None
    install_at: datetime | None = None


def read_reason(reason: object) -> str:
    """A reason that somebody gives.

    Raises:
        InvalidInput: it is blank, too long or no text.
    """
    said = " ".join(reason.split()) if isinstance(reason, str) else ""
    if not said or len(said) > _MOST_REASON or not said.isprintable():
        raise InvalidInput(f"reason must be text of 1 to {_MOST_REASON} characters; say why")
    return said


def request_cancel(
    store: OrderStore, dealer: str, so_id: str, reason: str, *, by: str, again_after: timedelta
) -> Requested | None:
    """Store that an order is to be cancelled; None where that ended it here, without a call.

    ``again_after``: how old an unanswered request must be for another one.

    Raises:
        Conflict: Haier's answer to its push is not known, it is ended, or a cancellation is asked
            for already.
    """
    reason = read_reason(reason)

    def work(connection: Connection) -> Requested | None:
        row = find(connection, dealer, so_id, lock=True)
        # What came meanwhile may have ended it.
        state = store.settle(connection, [row["id"]])[row["id"]].state
        row = find(connection, dealer, so_id)
        refuse_removed(row)
        if state == "pushing" or (state == "new" and row["may_have_arrived"]):
            raise Conflict(
                f"Haier's answer to the push of {so_id} is not known; push it first, then cancel it"
            )
        if state in ("cancelled", "refused"):
            raise Conflict(f"the order {so_id} is {state} already; there is nothing to cancel")
        detail = f"{store.words(row, reason)} (by {by})"
        if state == "new":
            store.note(connection, dealer, [OwnEvent(row["id"], "cancelled", detail)])
            store.settle(connection, [row["id"]])
            return None
        if state == "cancel_requested" and _is_waiting(connection, row["id"], again_after):
            raise Conflict(
                f"a cancellation of {so_id} is asked for already; wait for Haier's answer"
            )
        event_id = _note(connection, dealer, row["id"], "cancel_requested", detail, {})
        store.settle(connection, [row["id"]])
        return Requested(row["id"], event_id, so_id, row["haier_order_no"], reason)

    return transaction(store.engine, work)


def _is_waiting(connection: Connection, order_id: int, again_after: timedelta) -> bool:
    """Whether the last request was taken by Haier, and not too long ago."""
    return bool(
        connection.scalar(
            text(
                "SELECT payload ->> 'outcome' = 'taken'"
                " AND created_at > clock_timestamp() - CAST(:pause AS interval) FROM order_event"
                " WHERE order_id = :id AND kind = 'cancel_requested' ORDER BY id DESC LIMIT 1"
            ),
            {"id": order_id, "pause": again_after},
        )
    )


def request_reschedule(
    store: OrderStore,
    dealer: str,
    so_id: str,
    distribution_at: datetime | None,
    install_at: datetime | None,
    *,
    by: str,
) -> Requested:
    """Store that an order is to be moved; a time that is not given stays as it was sent.

    Raises:
        InvalidInput: neither time is given.
        Conflict: Haier has not confirmed the order, or it is ended.
    """
    if distribution_at is None and install_at is None:
        raise InvalidInput("distribution_at or install_at must be given")

    def work(connection: Connection) -> Requested:
        row = find(connection, dealer, so_id, lock=True)
        refuse_removed(row)
        if row["state"] not in _MOVABLE or row["haier_order_no"] is None:
            raise Conflict(
                f"the order {so_id} is {row['state']}; only one that Haier has confirmed and not "
                "yet delivered can be moved"
            )
        times = {
            "distribution_at": distribution_at or row["distribution_at"],
            "install_at": install_at or row["install_at"],
        }
        written = {name: time.isoformat() for name, time in times.items() if time is not None}
        event_id = _note(connection, dealer, row["id"], "rescheduled", f"by {by}", written)
        return Requested(
            row["id"],
            event_id,
            so_id,
            row["haier_order_no"],
            distribution_at=times["distribution_at"],
            install_at=times["install_at"],
        )

    return transaction(store.engine, work)


def answer(store: OrderStore, requested: Requested, outcome: str, message: str = "") -> None:
    """Store what came of a request; times that Haier took become the order's."""

    def work(connection: Connection) -> None:
        connection.execute(
            text("SELECT FROM retail_order WHERE id = :id FOR NO KEY UPDATE"),
            {"id": requested.order_id},
        )
        kind = connection.scalar(
            text(
                "UPDATE order_event SET payload = payload || CAST(:payload AS jsonb),"
                " detail = concat_ws(': ', detail, NULLIF(:message, '')) WHERE id = :id"
                # The answer to a commit may have been lost.
                " AND payload ->> 'outcome' IS NULL RETURNING kind"
            ),
            {
                "id": requested.event_id,
                "payload": dump_json({"outcome": outcome}),
                "message": message,
            },
        )
        if kind == "rescheduled" and outcome == "taken":
            connection.execute(
                retail_order.update()
                .where(retail_order.c.id == requested.order_id)
                .values(
                    distribution_at=requested.distribution_at,
                    install_at=requested.install_at,
                    updated_at=func.clock_timestamp(),
                )
            )
        store.settle(connection, [requested.order_id])

    transaction(store.engine, work)


def resolve(
    store: OrderStore,
    dealer: str,
    so_id: str,
    state: str,
    reason: str,
    *,
    by: str,
    haier_order_no: str | None = None,
) -> None:
    """Store what a person learnt from Haier; it sets aside the facts before it.

    Raises:
        InvalidInput: the state, the number or the reason cannot be one.
        Conflict: it is to be `new` again, and its push was not refused or it may have arrived.
    """
    if state not in RESOLVED_STATES:
        raise InvalidInput(f"state must be one of {', '.join(RESOLVED_STATES)}")
    reason = read_reason(reason)
    number = (haier_order_no or "").strip() or None
    if number is not None and (len(number) > NUMBER_LENGTH or not number.isprintable()):
        raise InvalidInput(f"haier_order_no must be text of 1 to {NUMBER_LENGTH} characters")

    def work(connection: Connection) -> None:
        row = find(connection, dealer, so_id, lock=True)
        refuse_removed(row)
        if state == "new":
            _refuse_new(connection, row)
        connection.execute(
            text(
                "INSERT INTO order_event (order_id, dealer, kind, external_order_no, detail,"
                " payload, created_at, applied_at) VALUES (:id, :dealer, 'resolved', :number,"
                " :detail, CAST(:payload AS jsonb), clock_timestamp(), clock_timestamp())"
            ),
            {
                "id": row["id"],
                "dealer": dealer,
                "number": number,
                "detail": f"{store.words(row, reason)} (by {by})",
                "payload": dump_json({"state": state}),
            },
        )
        connection.execute(
            text(
                "UPDATE retail_order SET may_have_arrived = false, is_held = false WHERE id = :id"
            ),
            {"id": row["id"]},
        )
        store.settle(connection, [row["id"]])

    transaction(store.engine, work)


def _refuse_new(connection: Connection, row: RowMapping) -> None:
    shown = connection.scalar(
        text(
            "SELECT EXISTS (SELECT FROM order_event WHERE order_id = :id AND method IS NOT NULL)"
            " OR EXISTS (SELECT FROM order_parcel WHERE order_id = :id)"
        ),
        {"id": row["id"]},
    )
    if row["state"] != "refused" or row["may_have_arrived"] or shown:
        raise Conflict(
            f"the order {row['so_id']} is {row['state']}; only one whose push was refused, and "
            "that cannot have arrived, can be new again: enter it anew under another so_id"
        )


def _note(
    connection: Connection,
    dealer: str,
    order_id: int,
    kind: str,
    detail: str,
    payload: Mapping[str, Any],
) -> int:
    return int(
        connection.execute(
            text(
                "INSERT INTO order_event (order_id, dealer, kind, detail, payload, created_at,"
                " applied_at) VALUES (:id, :dealer, :kind, :detail, CAST(:payload AS jsonb),"
                " clock_timestamp(), clock_timestamp()) RETURNING id"
            ),
            {
                "id": order_id,
                "dealer": dealer,
                "kind": kind,
                "detail": detail,
                "payload": dump_json(dict(payload)),
            },
        ).scalar_one()
    )
