"""The send times that all processes of a client have booked together, one row for each client.

A client is a ``client_id`` at an origin (scheme, host, port) of the platform: that is whom the
platform counts, whatever dealers share it. The rule that turns past bookings into new ones belongs
to the platform's client; here the bookings are only stored.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat

from sqlalchemy import Connection, Engine, text

from haier_pipeline.catalog.database import dump_json, transaction

# What is older matters neither to a window of one second nor to catching up after a stall.
_KEEP_SECONDS = 2.5
# A process that has booked nothing for so long no longer limits the rate of the others.
_SHARE_SECONDS = 60.0
# Up to this rate every call has its own entry. Of a faster client those of 20 ms share one, as if
# all had left with the last of them: so the row stays small enough to be kept in one page.
_EXACT_RATE = 128
_CELL_SECONDS = 0.02

_NOW = "extract(epoch FROM clock_timestamp())::double precision"
_KEY = "client_id = :client_id AND origin = :origin"
_LOCK = text(f"SELECT booked, counts, rates, {_NOW} FROM client_pace WHERE {_KEY} FOR UPDATE")
_ADD = text(
    "INSERT INTO client_pace (client_id, origin) VALUES (:client_id, :origin)"
    " ON CONFLICT DO NOTHING"
)
_STORE = text(
    f"UPDATE client_pace SET booked = :booked, counts = :counts, rates = :rates WHERE {_KEY}"
)


class SharedLedger:
    """The ledger of one client in PostgreSQL; times are seconds since 1970 by the database's clock.

    It satisfies the client's ``Ledger``: bookings of several processes, also on several machines,
    never overlap, since each is made under the lock of the client's row. A database that is away is
    waited for, and no call is made meanwhile.
    """

    def __init__(self, engine: Engine, client_id: str, origin: str) -> None:
        self._engine = engine
        self._key = {"client_id": client_id, "origin": origin}

    def book(
        self, rate: int, plan: Callable[[list[float], float, int], Sequence[float]]
    ) -> tuple[Sequence[float], float]:
        """Add what ``plan(booked, now, rate)`` returns, and return it with that ``now``.

        What the plan changes in the list it is given is stored too.

        ``rate`` is what the caller may send in a second; the plan is given the smallest one of all
        who have booked within the last minute.
        """

        def work(connection: Connection) -> tuple[Sequence[float], float]:
            found = connection.execute(_LOCK, self._key).one_or_none()
            if found is None:
                connection.execute(_ADD, self._key)
                found = connection.execute(_LOCK, self._key).one()
            booked, counts, rates, now = found
            rates = {
                name: moment
                for name, moment in rates.items()
                # A moment ahead of the clock was written before the clock was set back.
                if now - _SHARE_SECONDS < moment <= now + _SHARE_SECONDS
            } | {str(rate): now}
            log = list(chain.from_iterable(map(repeat, booked, counts)))
            added = plan(log, now, min(map(int, rates)))
            kept = _compact([*log, *added], now, max(map(int, rates)))
            values = {"booked": list(kept), "counts": list(kept.values())}
            connection.execute(_STORE, self._key | values | {"rates": dump_json(rates)})
            return added, now

        return transaction(self._engine, work)


def _compact(log: Sequence[float], now: float, rate: int) -> Mapping[float, int]:
    """What of the send times must be kept, and how many calls each stands for."""
    kept: dict[float, int] = {}
    cells: dict[int, float] = {}
    for moment in log[-rate:]:
        if moment <= now - _KEEP_SECONDS:
            continue
        count = 1
        if rate > _EXACT_RATE:
            cell = math.floor(moment / _CELL_SECONDS)
            count += kept.pop(cells.get(cell, math.nan), 0)
            cells[cell] = moment
        kept[moment] = kept.get(moment, 0) + count
    return kept
