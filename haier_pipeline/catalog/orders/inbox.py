"""The inbox: where a shop that writes SQL puts its orders, and how they are taken over.

A row is plain until it is taken; one that cannot be taken stays with its problem, which names
fields and no values, until its shop mends it and sets ``problem`` to null, or until it is old.
"""

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, Engine, text

from haier_pipeline.catalog.database import transaction
from haier_pipeline.catalog.orders.store import OrderStore
from haier_pipeline.domain.order import Order, parse_order

#: How long a row that cannot be taken is kept, in days.
KEPT_DAYS: Final = 30
_CHUNK: Final = 200


def take_over(store: OrderStore, dealer: str, *, sharing: Collection[str] = ()) -> tuple[int, int]:
    """Store what a shop put into the inbox for this dealer; returns how many orders were taken and
    how many rows have a problem now.

    Of two who take over at once each takes other rows.
    """
    taken = faulty = 0
    while True:
        chunk = transaction(
            store.engine, lambda connection: _take_chunk(store, connection, dealer, sharing)
        )
        if chunk is None:
            return taken, faulty
        taken += chunk[0]
        faulty += chunk[1]


def _take_chunk(
    store: OrderStore, connection: Connection, dealer: str, sharing: Collection[str]
) -> tuple[int, int] | None:
    rows = connection.execute(
        text(
            "SELECT id, payload FROM retail_order_inbox WHERE dealer = :dealer"
            " AND problem IS NULL ORDER BY id LIMIT :chunk FOR UPDATE SKIP LOCKED"
        ),
        {"dealer": dealer, "chunk": _CHUNK},
    ).all()
    if not rows:
        return None
    problems: dict[int, str] = {}
    orders: dict[int, Order] = {}
    for row in rows:
        read = parse_order(row.payload)
        if isinstance(read, Order):
            orders[row.id] = read
        else:
            problems[row.id] = "; ".join(_said(one.field, one.problem) for one in read[:20])
    # All at once first: refused is rarely one; then each for itself.
    added = store.add_in(connection, dealer, list(orders.items()), sharing) if orders else None
    if added is not None and added.refused:
        refused = {problem.line: problem for problem in added.refused}
        problems |= {
            number: _said(problem.field, problem.problem) for number, problem in refused.items()
        }
        orders = {number: order for number, order in orders.items() if number not in refused}
        for number, order in list(orders.items()):
            again = store.add_in(connection, dealer, [(number, order)], sharing)
            if again.refused:
                problems[number] = _said(again.refused[0].field, again.refused[0].problem)
                del orders[number]
    connection.execute(
        text("DELETE FROM retail_order_inbox WHERE id = ANY(:ids)"), {"ids": list(orders)}
    )
    if problems:
        connection.execute(
            text("UPDATE retail_order_inbox SET problem = :problem WHERE id = :id"),
            [{"id": number, "problem": problem} for number, problem in problems.items()],
        )
    return len(orders), len(problems)


def _said(field: str, problem: str) -> str:
    return f"{field} {problem}" if field else problem


def refuse_strangers(engine: Engine, dealers: Collection[str]) -> int:
    """Tell rows for a dealer that nobody knows; returns how many."""
    statement = text(
        "UPDATE retail_order_inbox SET problem = 'dealer is no dealer of this installation'"
        " WHERE problem IS NULL AND NOT dealer = ANY(:dealers)"
    )
    return transaction(
        engine,
        lambda connection: connection.execute(statement, {"dealers": list(dealers)}).rowcount,
    )


def remove_old(engine: Engine) -> int:
    """Remove what could not be taken for `KEPT_DAYS`; returns how many rows."""
    statement = text(
        "DELETE FROM retail_order_inbox WHERE problem IS NOT NULL"
        " AND created_at < clock_timestamp() - make_interval(days => :days)"
    )
    return transaction(
        engine, lambda connection: connection.execute(statement, {"days": KEPT_DAYS}).rowcount
    )
