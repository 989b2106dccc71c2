"""Orders stored and found, and their state moved on by what is stored about them.

Every change of an order ends in `settle`, which locks the order's row, reads its facts and writes
down what they come to (`order_state.standing`). All locks of the row are of the kind that lets
others add facts to it meanwhile. Pushing is in ``pushes``, callbacks in
``callbacks``, parcels and pictures in ``parcels``, what is removed in ``privacy``.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, RowMapping, func, insert, select, text

from haier_pipeline.catalog.database import dump_json, transaction, translated
from haier_pipeline.catalog.orders.cipher import OrderCipher
from haier_pipeline.catalog.tables import (
    order_event,
    order_parcel,
    order_picture,
    retail_order,
    retail_order_item,
)
from haier_pipeline.domain.order import PERSONAL, Item, Order, Problem, masked, telling
from haier_pipeline.domain.order_state import (
    STATES,
    Arrival,
    Fact,
    Line,
    Standing,
    callback_kind,
    standing,
)
from haier_pipeline.errors import Conflict, InvalidInput, NotFound

#: The columns of ``retail_order`` that are public, in the design's order.
COLUMNS: Final = (
    *("id", "dealer", "so_id", "online_no", "state", "haier_order_no", "consignee_name"),
    *("consignee_mobile", "province", "city", "area", "town", "detail_address", "remark"),
    *("total_amount", "ordered_at", "distribution_at", "install_at", "is_government_order"),
    *("state_reason", "may_have_arrived", "push_attempts", "pushed_at", "confirmed_at"),
    *("cancelled_at", "delivered_at", "created_at", "updated_at"),
)
#: What comes with them: what a person has to look at, and when personal data went.
MORE_COLUMNS: Final = ("attention", "people_removed_at")
MOST_ROWS: Final = 200
#: An order in one of these states is not sent, and its personal data is never removed.
UNSENT: Final = ("new", "pushing")

# Wire names whose values are numbers and codes, never a person's.
_CODES: Final = frozenset({"PlatformOrderNo", "ExtOrderNo", "State", "productCode"})

#: Takes personal texts, and telephone numbers, out of Haier's words.
MaskWords = Callable[..., str]


@dataclass(frozen=True)
class Added:
    """What came of orders that were given: numbers stored now, known already, and refusals.

    Where anything is refused, nothing was stored. ``warnings``: what is odd and was stored.
    """

    stored: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    refused: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Selection:
    """Which orders of a dealer are listed, the newest first; ``before`` is the last id seen."""

    dealer: str
    state: str | None = None
    since: datetime | None = None
    mobile: str | None = field(default=None, repr=False)
    before: int | None = None
    limit: int = 50


class OrderStore:
    """Retail orders of all dealers. ``mask`` takes personal data out of Haier's words."""

    def __init__(self, engine: Engine, cipher: OrderCipher, mask: MaskWords) -> None:
        self.engine = engine
        self.cipher = cipher
        self.mask = mask

    # ------------------------------------------------------------------------------ storing

    def add(
        self, dealer: str, orders: Sequence[tuple[int, Order]], *, sharing: Collection[str] = ()
    ) -> Added:
        """Store orders, all or none; each comes with its line.

        ``sharing``: the dealers that push under the same source system, among which a ``so_id`` is
        unique.
        """
        return transaction(
            self.engine, lambda connection: self.add_in(connection, dealer, orders, sharing)
        )

    def add_in(
        self,
        connection: Connection,
        dealer: str,
        orders: Sequence[tuple[int, Order]],
        sharing: Collection[str] = (),
    ) -> Added:
        """As `add`, in a transaction of the caller's."""
        # Two who give the same number at once: the second sees what the first stored. One name for
        # all dealers, since whoever shares a source system may change.
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended('haier orders are added', 0))")
        )
        fresh, known, refused = self._sorted_out(connection, dealer, orders, {dealer, *sharing})
        if refused:
            return Added(refused=tuple(refused))
        if fresh:
            self._insert(connection, dealer, fresh)
        stored = tuple(order.so_id for order in fresh)
        return Added(stored=stored, known=tuple(dict.fromkeys(known)))

    def _sorted_out(
        self,
        connection: Connection,
        dealer: str,
        orders: Sequence[tuple[int, Order]],
        sharing: Collection[str],
    ) -> tuple[list[Order], list[str], list[Problem]]:
        """The orders to be stored, the numbers that are known already, and the refusals."""
        numbers = [order.so_id for _, order in orders]
        others = [order.online_no for _, order in orders]
        rows = connection.execute(
            text(
                "SELECT dealer, so_id, online_no, content_hash FROM retail_order"
                " WHERE dealer = ANY(:sharing) AND so_id = ANY(:numbers) UNION "
                "SELECT dealer, so_id, online_no, content_hash FROM retail_order"
                " WHERE dealer = :dealer AND (so_id = ANY(:others) OR online_no = ANY(:numbers))"
            ),
            {"dealer": dealer, "sharing": list(sharing), "numbers": numbers, "others": others},
        ).all()
        own = {row.so_id: row for row in rows if row.dealer == dealer}
        foreign = {row.so_id for row in rows if row.dealer != dealer}
        # Whose order number is which: of those stored and of those given here.
        online = {row.online_no: row.so_id for row in own.values()}
        fresh: dict[str, Order] = {}
        known: list[str] = []
        refused: list[Problem] = []

        def refuse(line: int, order: Order, name: str, problem: str) -> None:
            refused.append(Problem(line, order.so_id, name, problem, is_conflict=True))

        for line, order in orders:
            stored = own.get(order.so_id)
            if stored is not None or order.so_id in fresh:
                if stored is not None:
                    said = self.cipher.decrypt(
                        dealer, order.so_id, "content_hash", stored.content_hash
                    )
                else:
                    said = fresh[order.so_id].content_hash
                if said == order.content_hash:
                    known.append(order.so_id)
                else:
                    refuse(line, order, "so_id", "is another order's already; take a new number")
            elif order.so_id in foreign:
                refuse(
                    line,
                    order,
                    "so_id",
                    "is an order's of another dealer with the same ylh_source_system;"
                    " take a new number",
                )
            elif order.online_no != order.so_id and (
                order.online_no in own or order.online_no in fresh
            ):
                refuse(line, order, "online_no", "is the so_id of another order")
            elif online.get(order.so_id, order.so_id) != order.so_id:
                refuse(line, order, "so_id", "is the online_no of another order")
            else:
                fresh[order.so_id] = order
                online[order.online_no] = order.so_id
        return list(fresh.values()), known, refused

    def _insert(self, connection: Connection, dealer: str, orders: Sequence[Order]) -> None:
        now = connection.execute(select(func.now())).scalar_one()
        result = connection.execute(
            insert(retail_order).returning(
                retail_order.c.id, retail_order.c.so_id, sort_by_parameter_order=True
            ),
            [self._row(dealer, order, now) for order in orders],
        )
        ids = {row.so_id: row.id for row in result}
        connection.execute(
            insert(retail_order_item),
            [
                {"order_id": ids[order.so_id], "position": position, **_item_row(item)}
                for order in orders
                for position, item in enumerate(order.items, 1)
            ],
        )
        self.note(
            connection,
            dealer,
            [OwnEvent(number, "created", payload={"outcome": "stored"}) for number in ids.values()],
        )
        # Haier's word may have come before the order, after a restore for instance.
        numbers = [number for order in orders for number in (order.so_id, order.online_no)]
        claimed = match_unknown(connection, dealer, numbers)
        if claimed:
            self.settle(connection, claimed)

    def _row(self, dealer: str, order: Order, now: datetime) -> dict[str, Any]:
        plain = {name: getattr(order, name) for name in PERSONAL}
        plain["content_hash"] = order.content_hash
        sealed = {
            name: self.cipher.encrypt(dealer, order.so_id, name, value)
            for name, value in plain.items()
        }
        return {
            "dealer": dealer,
            "so_id": order.so_id,
            "online_no": order.online_no,
            "province": order.province,
            "city": order.city,
            "area": order.area,
            "town": order.town,
            "total_amount": order.total_amount,
            "ordered_at": order.ordered_at or now,
            "distribution_at": order.distribution_at,
            "install_at": order.install_at,
            "is_government_order": order.is_government_order,
            "mobile_digest": self.cipher.mobile_digest(order.consignee_mobile),
            **sealed,
        }

    def note(self, connection: Connection, dealer: str, events: Sequence["OwnEvent"]) -> None:
        """Write down events of our own; they count from the moment they are stored."""
        connection.execute(
            insert(order_event).values(
                created_at=func.clock_timestamp(), applied_at=func.clock_timestamp()
            ),
            [
                {
                    "order_id": event.order_id,
                    "dealer": dealer,
                    "kind": event.kind,
                    "detail": event.detail,
                    "payload": event.payload,
                }
                for event in events
            ],
        )

    # ------------------------------------------------------------------------------ reading

    def personal(self, row: Mapping[str, Any] | RowMapping) -> dict[str, str | None]:
        """The personal columns of a row, decrypted.

        Raises:
            InvalidInput: the keys there are do not open them.
        """
        return {
            name: self.cipher.decrypt(row["dealer"], row["so_id"], name, row[name])
            for name in PERSONAL
        }

    def personal_of(self, dealer: str, so_id: str) -> dict[str, str | None]:
        """The personal columns of an order, for use with Haier; nobody looks at them."""
        with translated(self.engine), self.engine.connect() as connection:
            return self.personal(find(connection, dealer, so_id))

    def order_of(self, row: RowMapping, items: Sequence[RowMapping]) -> Order:
        """A stored order in its form."""
        personal = self.personal(row)
        return Order(
            so_id=row["so_id"],
            online_no=row["online_no"],
            consignee_name=personal["consignee_name"] or "",
            consignee_mobile=personal["consignee_mobile"] or "",
            province=row["province"],
            city=row["city"],
            area=row["area"],
            detail_address=personal["detail_address"] or "",
            total_amount=row["total_amount"],
            items=tuple(
                Item(
                    item["product_code"],
                    item["quantity"],
                    item["retail_price"],
                    item["actual_price"],
                    item["discount_amount"],
                    item["is_gift"],
                )
                for item in items
            ),
            town=row["town"],
            remark=personal["remark"],
            ordered_at=row["ordered_at"],
            distribution_at=row["distribution_at"],
            install_at=row["install_at"],
            is_government_order=row["is_government_order"],
        )

    def listed(self, wanted: Selection, *, viewer: str | None = None) -> list[dict[str, Any]]:
        """The selected orders with their public columns, the newest first.

        Personal data is masked, or whole for a ``viewer``, who is written down.

        Raises:
            InvalidInput: an unknown state, or more rows than a page has.
        """
        if wanted.state is not None and wanted.state not in STATES:
            raise InvalidInput(f"state must be one of {', '.join(STATES)}")
        if not 1 <= wanted.limit <= MOST_ROWS:
            raise InvalidInput(f"limit must be a number from 1 to {MOST_ROWS}")
        table = retail_order.c
        conditions = [table.dealer == wanted.dealer]
        if wanted.state is not None:
            conditions.append(table.state == wanted.state)
        if wanted.since is not None:
            conditions.append(table.created_at >= wanted.since)
        if wanted.mobile is not None:
            digests = self.cipher.mobile_digests(wanted.mobile)
            conditions.append(table.mobile_digest.in_(digests))
        if wanted.before is not None:
            conditions.append(table.id < wanted.before)
        statement = (
            select(*[table[name] for name in (*COLUMNS, *MORE_COLUMNS)])
            .where(*conditions)
            .order_by(table.id.desc())
            .limit(wanted.limit)
        )

        def work(connection: Connection) -> list[dict[str, Any]]:
            rows = connection.execute(statement).mappings().all()
            shown = [self._shown(row, whole=viewer is not None) for row in rows]
            if viewer is not None and rows:
                self._note_viewer(connection, wanted.dealer, [row["id"] for row in rows], viewer)
            return shown

        return transaction(self.engine, work)

    def shown(self, dealer: str, so_id: str, *, viewer: str | None = None) -> dict[str, Any]:
        """One order with ``items``, ``events``, ``parcels`` and ``pictures``, the oldest first.

        Personal data is masked, or whole for a ``viewer``, who is written down. Pictures show
        homes: readers learn only that there are some.

        Raises:
            NotFound: the dealer has no such order.
        """

        def work(connection: Connection) -> dict[str, Any]:
            row = find(connection, dealer, so_id)
            number = row["id"]
            if viewer is not None:
                self._note_viewer(connection, dealer, [number], viewer)
            whole = self._shown(row, whole=viewer is not None)
            whole["items"] = _without_order(connection, retail_order_item, number, "position")
            whole["events"] = _without_order(connection, order_event, number, "id")
            parcels = _without_order(connection, order_parcel, number, "first_seen_at")
            whole["parcels"] = [
                parcel
                for parcel in parcels
                if parcel["tracking_no"]
                or parcel["carrier_code"]
                or parcel["carrier_name"]
                or parcel["serial_numbers"]
            ]
            pictures = _without_order(connection, order_picture, number, "first_seen_at")
            if viewer is None:
                pictures = [{**picture, "url": "****", "description": None} for picture in pictures]
            whole["pictures"] = pictures
            return whole

        return transaction(self.engine, work)

    def _shown(self, row: Mapping[str, Any] | RowMapping, *, whole: bool) -> dict[str, Any]:
        personal = self.personal(row)
        if not whole:
            personal = {name: masked(name, value) for name, value in personal.items()}
        shown = {name: row[name] for name in (*COLUMNS, *MORE_COLUMNS)}
        return {**shown, **personal}

    def _note_viewer(
        self, connection: Connection, dealer: str, ids: Sequence[int], viewer: str
    ) -> None:
        looked = f"looked at whole by {viewer}"
        self.note(connection, dealer, [OwnEvent(number, "note", looked) for number in ids])

    # ------------------------------------------------------------------------------- state

    def settle(self, connection: Connection, ids: Collection[int]) -> dict[int, Standing]:
        """Write down what the stored facts of these orders come to; returns it by id.

        Callbacks that were only stored are applied by it. The rows are locked first, in one order,
        so that two who settle an order see each other's facts.
        """
        bound = {"ids": sorted(set(ids))}
        rows = (
            connection.execute(
                text(
                    "SELECT * FROM retail_order WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE"
                ),
                bound,
            )
            .mappings()
            .all()
        )
        items = _grouped(
            connection, "retail_order_item", bound, "order_id, position", _ITEM_COLUMNS
        )
        events = _grouped(connection, "order_event", bound, "order_id, id", _EVENT_COLUMNS)
        parcels = _grouped(connection, "order_parcel", bound, "order_id", _PARCEL_COLUMNS)
        found: dict[int, Standing] = {}
        for row in rows:
            number = row["id"]
            lines = [
                Line(item["position"], item["product_code"], item["quantity"], item["is_gift"])
                for item in items.get(number, ())
            ]
            happened = events.get(number, ())
            facts = [
                self._applied(connection, row, lines, event)
                if event["applied_at"] is None
                else _fact(event)
                for event in happened
            ]
            now = standing(
                lines,
                facts,
                [_arrival(parcel) for parcel in parcels.get(number, ())],
                may_have_arrived=row["may_have_arrived"],
            )
            self._write(connection, row, items.get(number, ()), facts, now)
            found[number] = now
        return found

    def _applied(
        self, connection: Connection, row: RowMapping, lines: Sequence[Line], event: RowMapping
    ) -> Fact:
        """Mark a callback as applied; its kind is final now that the order is known."""
        kind = callback_kind(event["method"] or "", event["payload"], lines)
        if event["payload"] is None:
            kind = "unclear"
        kept = (self.words(row, event["detail"]), self.data(row, event["payload"]))
        fact = _fact({**event, "kind": kind, "detail": kept[0]})
        if row["people_removed_at"] is not None:
            kept = (None, None)
        connection.execute(
            text(
                "UPDATE order_event SET kind = :kind, detail = :detail,"
                " payload = CAST(:payload AS jsonb), applied_at = clock_timestamp() WHERE id = :id"
            ),
            {
                "id": event["id"],
                "kind": kind,
                "detail": kept[0],
                "payload": None if kept[1] is None else dump_json(kept[1]),
            },
        )
        return fact

    def words(self, row: RowMapping | None, words: str | None) -> str | None:
        """Haier's words as they are kept: without what the order says of a person."""
        return self.mask(words, *self._secrets_of(row)) if words else words

    def data(self, row: RowMapping | None, data: Any) -> Any:
        """A callback's data as it is kept; numbers and codes stay what they are."""
        secrets = self._secrets_of(row)

        def kept(value: Any, name: str) -> Any:
            if isinstance(value, Mapping):
                return {key: kept(one, str(key)) for key, one in value.items()}
            if isinstance(value, list):
                return [kept(one, name) for one in value]
            if not isinstance(value, str) or name in _CODES:
                return value
            if name == "itemList":
                try:
                    return kept(json.loads(value), name)
                except (ValueError, RecursionError):
                    pass
            return self.mask(value, *secrets)

        return kept(data, "")

    def _secrets_of(self, row: RowMapping | None) -> list[str]:
        if row is None:
            return []
        return telling(self.personal(row))

    def _write(
        self,
        connection: Connection,
        row: RowMapping,
        items: Sequence[RowMapping],
        facts: Sequence[Fact],
        now: Standing,
    ) -> None:
        number = row["haier_order_no"] or _first_number(facts)
        resolved = [fact for fact in facts if fact.kind == "resolved" and fact.external_order_no]
        if resolved:
            number = resolved[-1].external_order_no
        values: dict[str, Any] = {
            "state": now.state,
            "state_reason": now.reason,
            "haier_order_no": number,
            "attention": list(now.attention),
            "pushed_at": now.pushed_at,
            "confirmed_at": now.confirmed_at,
            "cancelled_at": now.cancelled_at,
            "delivered_at": now.delivered_at,
        }
        changed = {name: value for name, value in values.items() if row[name] != value}
        if now.is_ended != (row["ended_at"] is not None):
            changed["ended_at"] = func.clock_timestamp() if now.is_ended else None
        if changed:
            connection.execute(
                retail_order.update()
                .where(retail_order.c.id == row["id"])
                .values(**changed, updated_at=func.clock_timestamp())
            )
        if now.given is None:
            return
        for item in items:
            given = now.given.get(item["position"])
            quantities = (given.received, given.returned, given.rejected) if given else (0, 0, 0)
            if quantities != tuple(item[name] for name in _QUANTITIES):
                connection.execute(
                    retail_order_item.update()
                    .where(
                        retail_order_item.c.order_id == row["id"],
                        retail_order_item.c.position == item["position"],
                    )
                    .values(dict(zip(_QUANTITIES, quantities, strict=True)))
                )
        if number and number != row["haier_order_no"]:
            # Messages that name only Haier's number may have come before it was known.
            self._claim_by_number(connection, row, number)

    def _claim_by_number(self, connection: Connection, row: RowMapping, number: str) -> None:
        claimed = connection.execute(
            text(
                "UPDATE order_event SET order_id = :id WHERE dealer = :dealer AND order_id IS NULL"
                " AND applied_at IS NULL AND method IS NOT NULL AND external_order_no = :number"
            ),
            {"id": row["id"], "dealer": row["dealer"], "number": number},
        ).rowcount
        if claimed:
            self.settle(connection, [row["id"]])


_QUANTITIES: Final = ("received_quantity", "returned_quantity", "rejected_quantity")
_ITEM_COLUMNS: Final = (
    f"order_id, position, product_code, quantity, is_gift, {', '.join(_QUANTITIES)}"
)
# A delivery record without any of these has no parcel yet: it has not left.
HAS_LEFT: Final = (
    "(tracking_no <> '' OR carrier_code IS NOT NULL OR carrier_name IS NOT NULL"
    " OR serial_numbers <> '[]')"
)
_PARCEL_COLUMNS: Final = f"order_id, first_seen_at, delivered_at, {HAS_LEFT} AS has_left"
_EVENT_COLUMNS: Final = (
    "order_id, id, kind, created_at, method, sent_at, external_order_no, signature, payload,"
    " detail, applied_at"
)


@dataclass(frozen=True)
class OwnEvent:
    """Something that we did with an order, or noted about it."""

    order_id: int
    kind: str
    detail: str | None = None
    payload: Mapping[str, Any] | None = None


def find(connection: Connection, dealer: str, so_id: str, *, lock: bool = False) -> RowMapping:
    """The row of an order.

    Raises:
        NotFound: the dealer has no such order.
    """
    statement = select(retail_order).where(
        retail_order.c.dealer == dealer, retail_order.c.so_id == so_id
    )
    if lock:
        statement = statement.with_for_update(key_share=True)
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        raise NotFound(f"the dealer {dealer} has no order {so_id}")
    return row


def owner(
    connection: Connection, dealer: str, platform_order_no: str, external_order_no: str | None
) -> tuple[RowMapping | None, bool]:
    """The order that a callback is about, and whether its two numbers name different ones.

    The order with Haier's number, else the one whose ``so_id``, else the only one whose
    ``online_no`` the shop's number is.
    """
    rows = (
        connection.execute(
            text(
                "SELECT * FROM retail_order WHERE dealer = :dealer AND so_id = :number UNION ALL"
                " (SELECT * FROM retail_order WHERE dealer = :dealer AND online_no = :number"
                "  AND so_id <> :number LIMIT 2) UNION ALL"
                " (SELECT * FROM retail_order WHERE dealer = :dealer"
                "  AND haier_order_no = :external LIMIT 2)"
            ),
            {"dealer": dealer, "number": platform_order_no, "external": external_order_no},
        )
        .mappings()
        .all()
    )
    if not rows:
        return None, False
    number = platform_order_no
    by_haier = {
        row["id"]: row
        for row in rows
        if external_order_no is not None and row["haier_order_no"] == external_order_no
    }
    by_shop = {row["id"]: row for row in rows if row["so_id"] == number}
    if not by_shop:
        by_shop = {row["id"]: row for row in rows if row["online_no"] == number}
    if len(by_haier) == 1:
        [(key, row)] = by_haier.items()
        return (None, True) if by_shop and key not in by_shop else (row, False)
    if len(by_shop) == 1:
        return next(iter(by_shop.values())), False
    return None, False


def match_unknown(
    connection: Connection, dealer: str | None = None, numbers: Collection[str] | None = None
) -> list[int]:
    """Give callbacks that nobody's order was known for to the order that has come meanwhile.

    Returns the ids of the orders. ``numbers``: only of these; else of whatever came within the
    hour, since a callback and its order may be stored at the same moment.
    """
    which = "platform_order_no = ANY(:numbers)"
    if numbers is None:
        which = "created_at > clock_timestamp() - interval '1 hour'"
    waiting = connection.execute(
        text(
            "SELECT id, dealer, platform_order_no, external_order_no FROM order_event"
            f" WHERE order_id IS NULL AND applied_at IS NULL AND method IS NOT NULL AND {which}"
            " AND (CAST(:dealer AS text) IS NULL OR dealer = :dealer) ORDER BY id LIMIT 1000"
        ),
        {"dealer": dealer, "numbers": list(numbers or ())},
    ).all()
    found: set[int] = set()
    for event in waiting:
        row, _ = owner(
            connection, event.dealer, event.platform_order_no or "", event.external_order_no
        )
        if row is not None:
            connection.execute(
                text("UPDATE order_event SET order_id = :order_id WHERE id = :id"),
                {"order_id": row["id"], "id": event.id},
            )
            found.add(row["id"])
    return sorted(found)


def has_open_orders(engine: Engine, dealer: str) -> bool:
    """Whether the dealer has orders that are not ended."""
    statement = text(
        "SELECT EXISTS (SELECT FROM retail_order WHERE dealer = :dealer AND ended_at IS NULL)"
    )
    with translated(engine), engine.connect() as connection:
        return bool(connection.scalar(statement, {"dealer": dealer}))


def refuse_removed(row: RowMapping) -> None:
    """Refuse to work with an order whose personal data was removed.

    Raises:
        Conflict: it was.
    """
    if row["people_removed_at"] is not None:
        raise Conflict(f"the personal data of the order {row['so_id']} was removed; it is closed")


def _item_row(item: Item) -> dict[str, Any]:
    return {
        "product_code": item.product_code,
        "quantity": item.quantity,
        "retail_price": item.retail_price,
        "discount_amount": item.discount_amount,
        "actual_price": item.actual_price,
        "is_gift": item.is_gift,
    }


def _fact(event: Mapping[str, Any] | RowMapping) -> Fact:
    return Fact(
        kind=event["kind"],
        at=event["created_at"],
        number=event["id"],
        method=event["method"],
        sent_at=event["sent_at"],
        external_order_no=event["external_order_no"],
        signature=event["signature"],
        data=event["payload"],
        detail=event["detail"],
    )


def _arrival(parcel: RowMapping) -> Arrival:
    return Arrival(parcel["first_seen_at"], parcel["delivered_at"], has_left=parcel["has_left"])


def _first_number(facts: Iterable[Fact]) -> str | None:
    """Haier's number as the first callback that has one names it."""
    numbers = [fact for fact in facts if fact.method is not None and fact.external_order_no]
    return min(numbers, key=lambda fact: fact.moment).external_order_no if numbers else None


def _grouped(
    connection: Connection, table: str, bound: Mapping[str, Any], order: str, columns: str
) -> dict[int, list[RowMapping]]:
    """Rows of a table by the order they belong to."""
    statement = text(f"SELECT {columns} FROM {table} WHERE order_id = ANY(:ids) ORDER BY {order}")
    found: dict[int, list[RowMapping]] = {}
    for row in connection.execute(statement, bound).mappings():
        found.setdefault(row["order_id"], []).append(row)
    return found


def _without_order(
    connection: Connection, table: Any, number: int, order: str
) -> list[dict[str, Any]]:
    names = [column.name for column in table.columns if column.name != "order_id"]
    statement = (
        select(*[table.c[name] for name in names])
        .where(table.c.order_id == number)
        .order_by(table.c[order])
    )
    return [dict(row) for row in connection.execute(statement).mappings()]
