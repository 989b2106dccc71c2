"""The send times that a dealer's processes have booked together, one row for each dealer.

The rule that turns past bookings into new ones belongs to the client; here is only the place
where all processes meet.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import Engine, text

from haier_pipeline.catalog.database import translated

# No booking older than this can matter to a window of one second.
_KEEP_SECONDS = 5.0

_LOCK = text(
    "INSERT INTO dealer_pace (dealer) VALUES (:dealer) ON CONFLICT (dealer) DO UPDATE"
    " SET dealer = excluded.dealer"
    " RETURNING booked, extract(epoch FROM clock_timestamp())::double precision"
)
_STORE = text("UPDATE dealer_pace SET booked = :booked WHERE dealer = :dealer")


class SharedLedger:
    """The ledger of one dealer in PostgreSQL; times are seconds since 1970 by the database's clock.

    It satisfies the client's ``Ledger``: bookings of several processes, also on several machines,
    never overlap, since each is made under the lock of the dealer's row.
    """

    def __init__(self, engine: Engine, dealer: str) -> None:
        self._engine = engine
        self._dealer = dealer

    def book(
        self, plan: Callable[[Sequence[float], float], Sequence[float]]
    ) -> tuple[Sequence[float], float]:
        """Add what ``plan(booked, now)`` returns, and return it with the ``now`` it was given."""
        with translated(self._engine), self._engine.begin() as connection:
            # Losing the last bookings in a crash of the server costs nothing.
            connection.execute(text("SET LOCAL synchronous_commit = off"))
            booked, now = connection.execute(_LOCK, {"dealer": self._dealer}).one()
            added = plan(booked, now)
            kept = [moment for moment in booked if moment > now - _KEEP_SECONDS]
            connection.execute(_STORE, {"dealer": self._dealer, "booked": [*kept, *added]})
        return added, now
