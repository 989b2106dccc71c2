"""Personal data of orders that are over: removed when its time has come, or at once when asked to.

And all of it encrypted anew under the newest key. What is kept of an order is no person's: numbers,
state, amounts, products, parcels, and of callbacks what tells a repetition from a new one.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from haier_pipeline.catalog.database import transaction
from haier_pipeline.catalog.orders.store import UNSENT, OrderStore, find
from haier_pipeline.domain.order import PERSONAL
from haier_pipeline.errors import Conflict, InvalidInput

_CHUNK: Final = 500
_SEALED: Final = (*PERSONAL, "content_hash")


@dataclass(frozen=True)
class Removed:
    """How many orders lost their personal data, and how many callbacks of nobody's their words."""

    orders: int
    callbacks: int


def remove_old(engine: Engine, days: int) -> Removed:
    """Remove personal data ``days`` after an order's end.

    Without an end it is counted from the last event - a note is none - or the day of delivery,
    whichever is later. That of an order that was not sent yet stays.
    """
    due = text(
        "SELECT id FROM retail_order WHERE people_removed_at IS NULL AND NOT state = ANY(:unsent)"
        " AND CASE WHEN ended_at IS NOT NULL THEN ended_at ELSE GREATEST("
        "  distribution_at, created_at, (SELECT max(e.created_at) FROM order_event e"
        "  WHERE e.order_id = retail_order.id AND e.kind <> 'note')) END"
        "  < clock_timestamp() - make_interval(days => :days)"
        " ORDER BY id LIMIT :chunk FOR NO KEY UPDATE"
    )
    bound = {"days": days, "chunk": _CHUNK, "unsent": list(UNSENT)}

    def work(connection: Connection) -> int:
        ids = list(connection.execute(due, bound).scalars())
        _remove(connection, ids)
        return len(ids)

    removed = 0
    while True:
        chunk = transaction(engine, work)
        removed += chunk
        if chunk < _CHUNK:
            break
    nobodys = text(
        "UPDATE order_event SET detail = NULL, payload = NULL WHERE order_id IS NULL"
        " AND (detail IS NOT NULL OR payload IS NOT NULL)"
        " AND created_at < clock_timestamp() - make_interval(days => :days)"
    )
    callbacks = transaction(
        engine, lambda connection: connection.execute(nobodys, {"days": days}).rowcount
    )
    return Removed(removed, callbacks)


def forget(store: OrderStore, dealer: str, so_id: str) -> None:
    """Remove an ended order's personal data now; again changes nothing.

    Raises:
        NotFound: the dealer has no such order.
        Conflict: the order is not ended.
    """

    def work(connection: Connection) -> None:
        row = find(connection, dealer, so_id, lock=True)
        if row["people_removed_at"] is not None:
            return
        if row["ended_at"] is None:
            raise Conflict(
                f"the order {so_id} is {row['state']}, not ended; its personal data is needed"
            )
        _remove(connection, [row["id"]])

    transaction(store.engine, work)


def _remove(connection: Connection, ids: Collection[int]) -> None:
    bound = {"ids": list(ids)}
    emptied = ", ".join(f"{name} = NULL" for name in (*_SEALED, "mobile_digest"))
    connection.execute(
        text(
            f"UPDATE retail_order SET {emptied}, people_removed_at = clock_timestamp(),"
            " state_reason = CASE WHEN state <> 'cancelled' THEN state_reason END,"
            " updated_at = clock_timestamp() WHERE id = ANY(:ids)"
        ),
        bound,
    )
    # Of callbacks dealer, method, numbers and signature stay, so that none ever counts as new.
    connection.execute(
        text(
            "UPDATE order_event SET detail = NULL, payload = NULL"
            " WHERE order_id = ANY(:ids) AND method IS NOT NULL"
        ),
        bound,
    )
    # What people wrote as a reason is theirs.
    connection.execute(
        text(
            "UPDATE order_event SET detail = NULL WHERE order_id = ANY(:ids)"
            " AND kind IN ('cancel_requested', 'cancelled', 'resolved') AND method IS NULL"
        ),
        bound,
    )
    connection.execute(text("DELETE FROM order_picture WHERE order_id = ANY(:ids)"), bound)


def encrypt_anew(store: OrderStore) -> tuple[int, int]:
    """Encrypt all personal data under the newest key; returns of how many orders, and how many
    could not be read with the keys there are."""
    changed = unreadable = 0
    last: int | None = 0
    while last is not None:
        work = partial(_encrypt_chunk, store, last)
        last, encrypted, closed = transaction(store.engine, work)
        changed += encrypted
        unreadable += closed
    return changed, unreadable


def _encrypt_chunk(
    store: OrderStore, after: int, connection: Connection
) -> tuple[int | None, int, int]:
    rows = (
        connection.execute(
            text(
                f"SELECT id, dealer, so_id, {', '.join(_SEALED)} FROM retail_order"
                " WHERE id > :after AND people_removed_at IS NULL"
                " ORDER BY id LIMIT :chunk FOR NO KEY UPDATE"
            ),
            {"after": after, "chunk": _CHUNK},
        )
        .mappings()
        .all()
    )
    changes: list[dict[str, Any]] = []
    for row in rows:
        place = (row["dealer"], row["so_id"])
        try:
            plain = {name: store.cipher.decrypt(*place, name, row[name]) for name in _SEALED}
        except InvalidInput:
            continue
        mobile = plain["consignee_mobile"] or ""
        changes.append(
            {name: store.cipher.encrypt(*place, name, value) for name, value in plain.items()}
            | {"id": row["id"], "mobile_digest": store.cipher.mobile_digest(mobile)}
        )
    if changes:
        assigned = ", ".join(f"{name} = :{name}" for name in (*_SEALED, "mobile_digest"))
        connection.execute(text(f"UPDATE retail_order SET {assigned} WHERE id = :id"), changes)
    return (rows[-1]["id"] if rows else None), len(changes), len(rows) - len(changes)


def stuck(engine: Engine, longer_than: timedelta) -> list[tuple[str, str, str, datetime]]:
    """Orders that were not sent for so long: dealer, number, state, since when."""
    statement = text(
        "SELECT dealer, so_id, state, created_at FROM retail_order WHERE state = ANY(:unsent)"
        " AND created_at < clock_timestamp() - CAST(:longer AS interval) ORDER BY dealer, id"
    )

    def work(connection: Connection) -> list[tuple[str, str, str, datetime]]:
        rows = connection.execute(statement, {"unsent": list(UNSENT), "longer": longer_than})
        return [(row.dealer, row.so_id, row.state, row.created_at) for row in rows]

    return transaction(engine, work)
