"""Syncs that somebody requests: accepted at once, once for each idempotency key, started elsewhere.

How a sync is started is the caller's matter; it is handed over with the run's id, under which the
log knows the sync from the moment it is accepted.
"""

import hashlib
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, Engine, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from haier_pipeline.catalog import log
from haier_pipeline.catalog.database import transaction
from haier_pipeline.catalog.log import Attempt
from haier_pipeline.catalog.tables import idempotency_key
from haier_pipeline.domain.partition import today
from haier_pipeline.domain.request import SyncRequest
from haier_pipeline.errors import Conflict, HaierError
from haier_pipeline.sync.dealers import Dealers

#: How long a key is remembered.
KEY_LIFE: Final = timedelta(days=1)
_FIRST_ASSET: Final = "product_listings"


def accept(
    engine: Engine,
    dealers: Dealers,
    request: SyncRequest,
    launch: Callable[[SyncRequest], None],
    *,
    caller: str,
    key: str | None = None,
) -> tuple[SyncRequest, bool]:
    """Accept the request, write its ``pending`` row, and launch it; returns it with its run id.

    A ``key`` that the caller has used before launches nothing: the request of then is returned, and
    True (fault matrix, row 55). Where a request of the dealer's waits already to be begun, this one
    joins it: nothing is launched and that one's run id is returned. A key belongs to what began:
    where that sync ended without having been started, the key is free.

    Raises:
        InvalidConfig: the dealer's configuration cannot be used; nothing was accepted.
        Conflict: the key was used for another request.
    """
    dealers.config(request.dealer)
    accepted = request.accepted(str(uuid.uuid4()))
    digest = hashlib.sha256(request.to_json().encode()).hexdigest()

    def work(connection: Connection) -> tuple[str, bool]:
        # Each start costs a process: however often it is asked for, one of a dealer's waits.
        waiting = log.waiting(connection, request.dealer, _FIRST_ASSET)
        if key is not None:
            earlier = _claim(connection, caller, key, digest, waiting or accepted.run_id)
            if earlier is not None:
                return earlier, True
        if waiting is not None:
            return waiting, False
        log.accept(
            connection,
            Attempt(
                sync_type="products",
                asset_key=_FIRST_ASSET,
                dealer=request.dealer,
                sync_date=today(),
                run_id=accepted.run_id,
                root_run_id=accepted.run_id,
            ),
        )
        return accepted.run_id, False

    run_id, is_repeated = transaction(engine, work)
    if run_id != accepted.run_id:
        return request.accepted(run_id), is_repeated
    try:
        launch(accepted)
    except BaseException as error:
        reason = str(error) if isinstance(error, HaierError) else type(error).__name__
        log.give_up(engine, run_id, f"the sync could not be started: {reason}")
        raise
    return accepted, False


def _claim(connection: Connection, caller: str, key: str, digest: str, run_id: str) -> str | None:
    """Take the key for this run; the run that took it before, if one did."""
    table = idempotency_key
    connection.execute(delete(table).where(table.c.created_at < func.now() - KEY_LIFE))
    taken = connection.scalar(
        insert(table)
        .values(caller=caller, key=key, request_hash=digest, run_id=run_id)
        .on_conflict_do_nothing()
        .returning(table.c.run_id)
    )
    if taken is not None:
        return None
    is_key = (table.c.caller == caller) & (table.c.key == key)
    earlier = connection.execute(
        select(table.c.request_hash, table.c.run_id).where(is_key).with_for_update()
    ).one()
    if log.never_began(connection, earlier.run_id):
        connection.execute(
            update(table)
            .where(is_key)
            .values(request_hash=digest, run_id=run_id, created_at=func.now())
        )
        return None
    if earlier.request_hash != digest:
        raise Conflict("this Idempotency-Key was used for another request; take a new one")
    return str(earlier.run_id)
