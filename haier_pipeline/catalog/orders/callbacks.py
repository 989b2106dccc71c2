"""What Haier told us about orders: stored first, applied after, tried again where that failed.

A callback is one row; its repetition changes nothing. What its words mean is decided elsewhere.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Connection, text

from haier_pipeline.catalog.database import dump_json, transaction
from haier_pipeline.catalog.orders.store import OrderStore, match_unknown, owner
from haier_pipeline.catalog.tables import NUMBER_LENGTH
from haier_pipeline.domain.order_state import callback_kind
from haier_pipeline.errors import HaierError

logger = logging.getLogger(__name__)

_BATCH: Final = 50

_DIFFERENT_ORDERS: Final = (
    "ExtOrderNo and PlatformOrderNo name two different orders; it was applied to none"
)


@dataclass(frozen=True)
class Received:
    """A signed callback as it is to be stored; ``problem`` where its data could not be read."""

    method: str
    signature: str
    sent_at: datetime | None
    platform_order_no: str | None
    external_order_no: str | None
    words: str | None = field(repr=False)
    data: Mapping[str, Any] | None = field(repr=False)
    problem: str | None = None


@dataclass(frozen=True)
class Kept:
    """What became of a callback: ``known`` whether an order is known for it.

    ``order_id`` is None where it is to be applied to none.
    """

    order_id: int | None
    outcome: Literal["stored", "repeated", "unknown", "unreadable"]


_INSERT: Final = text(
    "INSERT INTO order_event (order_id, dealer, kind, method, platform_order_no,"
    " external_order_no, sent_at, detail, payload, signature, created_at, applied_at)"
    " VALUES (:order_id, :dealer, :kind, :method, :platform_order_no, :external_order_no,"
    " :sent_at, :detail, CAST(:payload AS jsonb), :signature, clock_timestamp(),"
    " CASE WHEN :is_done THEN clock_timestamp() END)"
    " ON CONFLICT DO NOTHING RETURNING id"
)


def keep(store: OrderStore, dealer: str, received: Received) -> Kept:
    """Store a callback, once; nothing is applied by it yet.

    Raises:
        DatabaseUnavailable: nothing was stored; Haier has to send it again.
    """

    def work(connection: Connection) -> Kept:
        return _keep(store, connection, dealer, received)

    return transaction(store.engine, work)


def _keep(store: OrderStore, connection: Connection, dealer: str, received: Received) -> Kept:
    platform = (received.platform_order_no or "")[:NUMBER_LENGTH]
    external = (received.external_order_no or "")[:NUMBER_LENGTH] or None
    row, is_split = (None, False)
    if received.problem is None:
        row, is_split = owner(connection, dealer, platform, external)
    kind = callback_kind(received.method, received.data)
    detail = store.words(row, received.words)
    if received.problem is not None or is_split:
        kind, detail = "unclear", received.problem or _DIFFERENT_ORDERS
    order_id = row["id"] if row is not None else None
    stored = connection.scalar(
        _INSERT,
        {
            "order_id": order_id,
            "dealer": dealer,
            "kind": kind,
            "method": received.method[:NUMBER_LENGTH],
            "platform_order_no": platform,
            "external_order_no": external,
            "sent_at": received.sent_at,
            "detail": detail,
            "payload": None if received.data is None else dump_json(store.data(row, received.data)),
            "signature": received.signature,
            # Neither will ever be applied.
            "is_done": received.problem is not None or is_split,
        },
    )
    if received.problem is not None:
        return Kept(None, "unreadable")
    if row is None and not is_split:
        # Its first copy may have found an order since.
        return Kept(None, "unknown")
    return Kept(order_id, "stored" if stored is not None else "repeated")


def apply_pending(
    store: OrderStore,
    order_id: int | None = None,
    *,
    most: int | None = None,
    is_sweep: bool = False,
) -> int:
    """Apply what was stored and not applied yet, of one order or of all; returns of how many.

    ``most``: of that many orders, those first that were told of last. A sweep also looks whether
    the order of a callback that was nobody's has come meanwhile. An order whose callbacks cannot be
    applied does not keep the others waiting: it is said in the program's log, and tried again at
    the next call.
    """

    def waiting(connection: Connection) -> list[int]:
        if is_sweep:
            match_unknown(connection)
        rows = connection.execute(
            text(
                "SELECT order_id FROM order_event"
                " WHERE applied_at IS NULL AND order_id IS NOT NULL"
                " AND (CAST(:order_id AS bigint) IS NULL OR order_id = :order_id)"
                " GROUP BY order_id ORDER BY max(id) DESC LIMIT :most"
            ),
            {"order_id": order_id, "most": most},
        )
        return sorted(rows.scalars())

    orders = transaction(store.engine, waiting)
    applied = 0
    for start in range(0, len(orders), _BATCH):
        batch = orders[start : start + _BATCH]
        if _applies(store, batch):
            applied += len(batch)
        elif len(batch) > 1:
            applied += sum(_applies(store, [order]) for order in batch)
    return applied


def _applies(store: OrderStore, orders: list[int]) -> bool:
    try:
        transaction(store.engine, lambda connection: store.settle(connection, orders))
    except HaierError as error:
        if len(orders) == 1:
            logger.warning("callbacks of order id %s cannot be applied yet: %s", orders[0], error)
        return False
    return True


def unmatched(store: OrderStore, dealer: str, limit: int = 200) -> list[dict[str, Any]]:
    """Callbacks that belong to no order here, the newest first: what a person has to look at."""
    statement = text(
        "SELECT id, kind, method, platform_order_no, external_order_no, sent_at, detail,"
        " created_at, applied_at FROM order_event"
        " WHERE dealer = :dealer AND order_id IS NULL AND method IS NOT NULL"
        " ORDER BY id DESC LIMIT :limit"
    )

    def work(connection: Connection) -> list[dict[str, Any]]:
        rows = connection.execute(statement, {"dealer": dealer, "limit": limit}).mappings()
        return [dict(row) for row in rows]

    return transaction(store.engine, work)
