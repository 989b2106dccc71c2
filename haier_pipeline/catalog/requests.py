"""Syncs that were accepted: their ``pending`` rows in the log, and the keys they were requested
under.

Whether a request may be accepted and how its sync is started is decided in ``sync.requests``.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, Engine, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from haier_pipeline.catalog import log
from haier_pipeline.catalog.database import transaction
from haier_pipeline.catalog.log import Attempt
from haier_pipeline.catalog.tables import idempotency_key
from haier_pipeline.errors import Conflict

#: How long a key is remembered.
KEY_LIFE: Final = timedelta(days=1)


@dataclass(frozen=True)
class RequestKey:
    """The idempotency key of a request: who sent it, and what it was sent with.

    ``request`` is the text of the request; only its digest is stored.
    """

    caller: str
    key: str
    request: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.request.encode()).hexdigest()


def accept(engine: Engine, attempt: Attempt, key: RequestKey | None = None) -> tuple[str, bool]:
    """Write the ``pending`` row of a sync whose first step is ``attempt``.

    Returns:
        The run id of the sync that now stands for the request, and whether the key was used before.
        It is the attempt's own run id where a row was written; else that of the sync which was
        accepted under the same key, or of the dealer's sync that waits already to be started.

    Raises:
        Conflict: the key was used for another request.
    """

    def work(connection: Connection) -> tuple[str, bool]:
        # Each start costs a process: however often it is asked for, one of a dealer's waits.
        waiting = log.waiting(connection, attempt.dealer, attempt.asset_key)
        if key is not None:
            earlier = _claim(connection, key, waiting or attempt.run_id)
            if earlier is not None:
                return earlier, True
        if waiting is not None:
            return waiting, False
        log.accept(connection, attempt)
        return attempt.run_id, False

    return transaction(engine, work)


def _claim(connection: Connection, key: RequestKey, run_id: str) -> str | None:
    """Take the key for this run; the run that took it before, if one did.

    A key belongs to a sync that began: where that one was given up before, the key is free.
    """
    table = idempotency_key
    connection.execute(delete(table).where(table.c.created_at < func.now() - KEY_LIFE))
    taken = connection.scalar(
        insert(table)
        .values(caller=key.caller, key=key.key, request_hash=key.digest, run_id=run_id)
        .on_conflict_do_nothing()
        .returning(table.c.run_id)
    )
    if taken is not None:
        return None
    is_key = (table.c.caller == key.caller) & (table.c.key == key.key)
    earlier = connection.execute(
        select(table.c.request_hash, table.c.run_id).where(is_key).with_for_update()
    ).one()
    if log.never_began(connection, earlier.run_id):
        connection.execute(
            update(table)
            .where(is_key)
            .values(request_hash=key.digest, run_id=run_id, created_at=func.now())
        )
        return None
    if earlier.request_hash != key.digest:
        raise Conflict("this Idempotency-Key was used for another request; take a new one")
    return str(earlier.run_id)
