"""Syncs that somebody requests: accepted at once, once for each idempotency key, started elsewhere.

How a sync is started is the caller's matter; it is handed over with the run's id, under which the
log knows the sync from the moment it is accepted.
"""

import uuid
from collections.abc import Callable
from typing import Final

from sqlalchemy import Engine

from haier_pipeline.catalog import log, requests
from haier_pipeline.catalog.log import Attempt
from haier_pipeline.catalog.requests import RequestKey
from haier_pipeline.domain.partition import today
from haier_pipeline.domain.request import SyncRequest
from haier_pipeline.errors import HaierError
from haier_pipeline.sync.dealers import Dealers

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
    first_step = Attempt(
        sync_type="products",
        asset_key=_FIRST_ASSET,
        dealer=request.dealer,
        sync_date=today(),
        run_id=accepted.run_id,
        root_run_id=accepted.run_id,
    )
    request_key = None if key is None else RequestKey(caller, key, request.to_json())
    run_id, is_repeated = requests.accept(engine, first_step, request_key)
    if run_id != accepted.run_id:
        return request.accepted(run_id), is_repeated
    try:
        launch(accepted)
    except BaseException as error:
        reason = str(error) if isinstance(error, HaierError) else type(error).__name__
        log.give_up(engine, run_id, f"the sync could not be started: {reason}")
        raise
    return accepted, False
