"""What pushing writes down: what is to be sent, that it is being sent, and what came of it.

An attempt is committed as `pushing` before the first byte leaves. Each step may be carried out
again where the answer to its commit was lost: an attempt has a number, and counts once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, text

from haier_pipeline.catalog.database import transaction, translated
from haier_pipeline.catalog.orders.store import OrderStore, OwnEvent, find
from haier_pipeline.domain.order import Order
from haier_pipeline.errors import InvalidInput

#: So many orders a run looks at; what is left is the next one's.
MOST_AT_ONCE: Final = 20_000


@dataclass(frozen=True)
class Candidate:
    """An order that is to be sent, as it was found."""

    order_id: int
    so_id: str
    push_attempts: int


@dataclass(frozen=True)
class Claimed:
    """An order that is being sent: attempt number ``attempt``, stored as `pushing`.

    ``may_have_arrived``: an earlier attempt may have, or a restore left it open.
    """

    order_id: int
    attempt: int
    may_have_arrived: bool
    order: Order


@dataclass(frozen=True)
class Answered:
    """What came of an attempt. ``outcome``: taken, refused, unknown, not_sent.

    ``may_have_arrived``: of a refusal, that an attempt before it may have arrived.
    """

    claimed: Claimed
    outcome: str
    message: str = ""
    reason: str = field(default="", repr=False)
    may_have_arrived: bool = False

    @property
    def counts_as_taken(self) -> bool:
        """A refusal of an order that may have arrived is probably one of the repetition."""
        return self.outcome == "taken" or (self.outcome == "refused" and self.may_have_arrived)


def to_send(
    engine: Engine, dealer: str, so_ids: Collection[str] = (), *, by_hand: bool
) -> list[Candidate]:
    """The dealer's orders that are to be sent, the oldest first; by hand also those that a restore
    holds back.

    Raises:
        NotFound: an order that was asked for by its number does not exist.
        InvalidInput: one that was asked for is not to be sent.
    """

    def work(connection: Connection) -> list[Candidate]:
        if so_ids:
            for so_id in dict.fromkeys(so_ids):
                state = find(connection, dealer, so_id)["state"]
                if state not in ("new", "pushing"):
                    raise InvalidInput(f"the order {so_id} is {state}, so it is not to be pushed")
        rows = connection.execute(
            text(
                "SELECT id, so_id, push_attempts FROM retail_order"
                " WHERE dealer = :dealer AND state IN ('new', 'pushing')"
                " AND (:by_hand OR NOT is_held)"
                " AND (:all OR so_id = ANY(:so_ids)) ORDER BY id LIMIT :most"
            ),
            {
                "dealer": dealer,
                "by_hand": by_hand,
                "all": not so_ids,
                "so_ids": list(so_ids),
                "most": MOST_AT_ONCE,
            },
        )
        return [Candidate(row.id, row.so_id, row.push_attempts) for row in rows]

    return transaction(engine, work)


def dealers_to_push(engine: Engine) -> list[str]:
    """The dealers that have something to send by themselves, or in the inbox."""
    statement = text(
        "SELECT dealer FROM retail_order WHERE state IN ('new', 'pushing') AND NOT is_held"
        " UNION SELECT dealer FROM retail_order_inbox WHERE problem IS NULL ORDER BY 1"
    )
    with translated(engine), engine.connect() as connection:
        return list(connection.scalars(statement))


def claim(
    store: OrderStore, dealer: str, candidates: Sequence[Candidate]
) -> tuple[list[Claimed], dict[int, str]]:
    """Store that these orders are being sent; returns those that may be, and what is wrong with
    others.

    One that was cancelled meanwhile is neither.
    """

    def work(connection: Connection) -> tuple[list[Claimed], dict[int, str]]:
        bound = {"ids": [candidate.order_id for candidate in candidates]}
        rows = {
            row["id"]: row
            for row in connection.execute(
                text(
                    "SELECT * FROM retail_order WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE"
                ),
                bound,
            ).mappings()
        }
        items: dict[int, list[Any]] = {}
        for item in connection.execute(
            text(
                "SELECT * FROM retail_order_item WHERE order_id = ANY(:ids)"
                " ORDER BY order_id, position"
            ),
            bound,
        ).mappings():
            items.setdefault(item["order_id"], []).append(item)
        # What a commit whose answer was lost has begun already.
        begun: dict[int, Any] = {
            row.order_id: row.payload
            for row in connection.execute(
                text(
                    "SELECT order_id, payload FROM order_event WHERE order_id = ANY(:ids)"
                    " AND kind = 'sent' ORDER BY id"
                ),
                bound,
            )
        }
        claimed: list[Claimed] = []
        unreadable: dict[int, str] = {}
        fresh: list[Claimed] = []
        for candidate in candidates:
            row = rows.get(candidate.order_id)
            if row is None or row["state"] not in ("new", "pushing"):
                continue
            attempt = candidate.push_attempts + 1
            is_begun = row["push_attempts"] == attempt
            if not is_begun and row["push_attempts"] != candidate.push_attempts:
                continue
            before = bool(row["may_have_arrived"])
            if is_begun:
                before = bool((begun.get(candidate.order_id) or {}).get("may_have_arrived"))
            try:
                order = store.order_of(row, items.get(candidate.order_id, ()))
            except InvalidInput as error:
                unreadable[candidate.order_id] = str(error)
                continue
            one = Claimed(candidate.order_id, attempt, before, order)
            claimed.append(one)
            if not is_begun:
                fresh.append(one)
        if fresh:
            connection.execute(
                text(
                    "UPDATE retail_order SET state = 'pushing', may_have_arrived = true,"
                    " push_attempts = push_attempts + 1, is_held = false,"
                    " updated_at = clock_timestamp() WHERE id = ANY(:ids)"
                ),
                {"ids": [one.order_id for one in fresh]},
            )
            store.note(
                connection,
                dealer,
                [
                    OwnEvent(
                        one.order_id,
                        "sent",
                        payload={
                            "attempt": one.attempt,
                            "may_have_arrived": one.may_have_arrived,
                        },
                    )
                    for one in fresh
                ],
            )
        return claimed, unreadable

    return transaction(store.engine, work)


def answer(store: OrderStore, dealer: str, answers: Sequence[Answered]) -> None:
    """Store what came of attempts, and where that leaves their orders."""

    def work(connection: Connection) -> None:
        ids = [answered.claimed.order_id for answered in answers]
        connection.execute(
            text("SELECT FROM retail_order WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE"),
            {"ids": ids},
        )
        known = {
            (row.order_id, row.attempt)
            for row in connection.execute(
                text(
                    "SELECT order_id, (payload ->> 'attempt')::int AS attempt FROM order_event"
                    " WHERE order_id = ANY(:ids) AND kind IN ('pushed', 'push_failed')"
                ),
                {"ids": ids},
            )
        }
        fresh = [one for one in answers if (one.claimed.order_id, one.claimed.attempt) not in known]
        if fresh:
            store.note(connection, dealer, [_event(one) for one in fresh])
            connection.execute(
                text("UPDATE retail_order SET may_have_arrived = :may WHERE id = :id"),
                [{"id": one.claimed.order_id, "may": _may_have_arrived(one)} for one in fresh],
            )
        store.settle(connection, ids)

    if answers:
        transaction(store.engine, work)


def _may_have_arrived(answered: Answered) -> bool:
    if answered.outcome == "unknown":
        return True
    if answered.outcome == "not_sent":
        return answered.claimed.may_have_arrived
    return answered.outcome == "refused" and answered.may_have_arrived


def _event(answered: Answered) -> OwnEvent:
    payload: dict[str, Any] = {"attempt": answered.claimed.attempt, "outcome": answered.outcome}
    if answered.outcome == "refused":
        payload |= {"reason": answered.reason, "may_have_arrived": answered.may_have_arrived}
    kind = "pushed" if answered.counts_as_taken else "push_failed"
    return OwnEvent(answered.claimed.order_id, kind, answered.message or None, payload)


@dataclass(frozen=True)
class Refusals:
    """The refusals in a row with which a dealer's pushes ended last: their words, how many."""

    reason: str | None = None
    count: int = 0

    def after(self, outcome: str, reason: str) -> "Refusals":
        """What is counted after one more answer."""
        if outcome == "taken":
            return Refusals()
        if outcome != "refused":
            return self
        return Refusals(reason, self.count + 1 if reason == self.reason else 1)


def refusals_in_a_row(engine: Engine, dealer: str, most: int) -> Refusals:
    """The last answers of a dealer's pushes, as far as they are refusals in the same words.

    A refusal of an order that may have arrived is none, and taken is it neither. At most ``most``
    are counted.
    """
    statement = text(
        "SELECT payload ->> 'outcome' AS outcome, payload ->> 'reason' AS reason FROM order_event"
        " WHERE dealer = :dealer AND kind IN ('pushed', 'push_failed')"
        " AND payload ->> 'outcome' = CASE kind WHEN 'pushed' THEN 'taken' ELSE 'refused' END"
        " ORDER BY id DESC LIMIT :most"
    )

    def work(connection: Connection) -> list[Mapping[str, Any]]:
        rows = connection.execute(statement, {"dealer": dealer, "most": most}).mappings()
        return [dict(row) for row in rows]

    found = Refusals()
    for row in reversed(transaction(engine, work)):
        found = found.after(row["outcome"], row["reason"] or "")
    return found


def note_pusher(engine: Engine) -> None:
    """Note that somebody is there who pushes orders."""
    statement = text(
        "INSERT INTO order_pusher (only_row, seen_at) VALUES (true, clock_timestamp())"
        " ON CONFLICT (only_row) DO UPDATE SET seen_at = clock_timestamp()"
    )
    transaction(engine, lambda connection: connection.execute(statement))


def pusher_seen_at(engine: Engine) -> datetime | None:
    """When somebody was last there who pushes orders, by the database's clock."""
    with translated(engine), engine.connect() as connection:
        seen: datetime | None = connection.scalar(text("SELECT seen_at FROM order_pusher"))
    return seen


def hold_after_restore(engine: Engine) -> list[tuple[str, str, str]]:
    """After the database was restored: what was `new` goes by hand only, and may have arrived.

    Returns dealer, number and state of every order that is not ended, for `resolve`.
    """

    def work(connection: Connection) -> list[tuple[str, str, str]]:
        connection.execute(
            text(
                "UPDATE retail_order SET may_have_arrived = true, is_held = true,"
                " updated_at = :now WHERE state IN ('new', 'pushing')"
            ),
            {"now": connection.scalar(func.clock_timestamp())},
        )
        rows = connection.execute(
            text(
                "SELECT dealer, so_id, state FROM retail_order WHERE ended_at IS NULL"
                " ORDER BY dealer, id"
            )
        )
        return [(row.dealer, row.so_id, row.state) for row in rows]

    return transaction(engine, work)
