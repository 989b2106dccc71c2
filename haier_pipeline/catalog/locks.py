"""Locks on partitions and dealers, which PostgreSQL frees when the process that holds them ends."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from haier_pipeline.catalog.database import patiently, translated
from haier_pipeline.domain.partition import DAYLESS_SYNC_TYPE, SEPARATE_SYNC_TYPES, Partition
from haier_pipeline.errors import AlreadyRunning

# How soon a lock that the server forgot is taken again. What judges a lock from outside must wait
# longer than this after a restart of the server.
KEEP_SECONDS = 2.0

# `Partition.lock_key` in SQL, over the columns of the sync log.
_SEPARATE = ", ".join(f"'{name}'" for name in SEPARATE_SYNC_TYPES)
PARTITION_KEY_SQL = (
    f"CASE WHEN sync_type = '{DAYLESS_SYNC_TYPE}' THEN 'haier push ' || dealer ELSE "
    "'haier partition ' || sync_date || '|' || dealer || "
    f"CASE WHEN sync_type IN ({_SEPARATE}) THEN ' ' || sync_type ELSE '' END END"
)


@contextmanager
def partition_lock(
    engine: Engine,
    partition: Partition,
    sync_type: str = "products",
    *,
    lost: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """Hold a partition for as long as a run works on it.

    The lock belongs to a connection that does nothing else, so that PostgreSQL sees at once when
    its process is killed (fault matrix, rows 36 and 37). A server that restarts forgets the lock:
    it is taken again within seconds, and where another run was faster, ``lost`` is called.

    Raises:
        AlreadyRunning: another run holds it.
    """
    key = partition.lock_key(sync_type)
    with translated(engine):
        connection = patiently(engine, lambda: _take(engine, key))
    if connection is None:
        raise AlreadyRunning(
            f"{partition.dealer}, {partition.sync_date:%Y-%m-%d}: already running; "
            "another run works on this partition, wait for it or terminate it"
        )
    released = threading.Event()
    keeper = threading.Thread(
        target=_keep, args=(engine, key, connection, released, lost), daemon=True, name=key
    )
    keeper.start()
    try:
        yield
    finally:
        released.set()
        # A connection that hangs must not hold up the end of the run.
        keeper.join(10)


def _take(engine: Engine, key: str) -> Connection | None:
    """A connection that holds the lock, or ``None`` where another one does."""
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        held = connection.scalar(
            text("SELECT pg_try_advisory_lock(hashtextextended(:key, 0))"), {"key": key}
        )
    except BaseException:
        _end(connection)
        raise
    if held:
        return connection
    connection.close()
    return None


def _keep(
    engine: Engine,
    key: str,
    connection: Connection | None,
    released: threading.Event,
    lost: Callable[[], object],
) -> None:
    """Check the lock until it is released, and then end its connection."""
    while not released.wait(KEEP_SECONDS):
        try:
            if connection is not None:
                connection.execute(text("SELECT 1"))
                continue
            connection = _take(engine, key)
            if connection is None:
                lost()
                return
        except SQLAlchemyError:
            if connection is not None:
                _end(connection)
            connection = None
    if connection is not None:
        # Unlocked before the connection is closed: the server takes a moment to see that a
        # connection is gone, and the next run may begin in that moment.
        with suppress(SQLAlchemyError):
            connection.execute(text("SELECT pg_advisory_unlock_all()"))
        _end(connection)


def _end(connection: Connection) -> None:
    # A connection that goes back to the pool would keep the lock.
    connection.invalidate()
    connection.close()


def lock_dealer(connection: Connection, dealer: str) -> None:
    """Let one load of a dealer work at a time; free again when the transaction ends.

    It waits as long as for any other lock; who holds it is logged meanwhile.
    """
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"),
        {"key": f"haier load {dealer}"},
    )
