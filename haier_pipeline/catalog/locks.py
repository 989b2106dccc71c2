"""Who works on what: locks that vanish with the process that holds them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from sqlalchemy import Connection, Engine, text

from haier_pipeline.catalog.database import translated
from haier_pipeline.errors import AlreadyRunning


@contextmanager
def partition_lock(engine: Engine, dealer: str, sync_date: date) -> Iterator[None]:
    """Hold a partition for as long as a run works on it.

    The lock belongs to a connection that does nothing else, so that PostgreSQL sees at once when
    its process is killed (fault matrix, rows 36 and 37).

    Raises:
        AlreadyRunning: another run holds it.
    """
    key = f"haier partition {sync_date:%Y-%m-%d}|{dealer}"
    with translated(engine), engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        held = connection.scalar(
            text("SELECT pg_try_advisory_lock(hashtextextended(:key, 0))"), {"key": key}
        )
        if not held:
            raise AlreadyRunning(
                f"{dealer}, {sync_date:%Y-%m-%d}: already running; "
                "another run works on this partition, wait for it or terminate it"
            )
        try:
            yield
        finally:
            # A connection that goes back to the pool would keep the lock.
            connection.invalidate()


def lock_dealer(connection: Connection, dealer: str) -> None:
    """Let one load of a dealer work at a time; free again when the transaction ends."""
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"),
        {"key": f"haier load {dealer}"},
    )
