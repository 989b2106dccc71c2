"""Syncs on demand."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from haier_pipeline.domain.request import SyncRequest
from haier_pipeline.sync.requests import accept
from haier_pipeline.web.guard import caller_of
from haier_pipeline.web.models import AcceptedSync, Answer, SyncBody
from haier_pipeline.web.problems import documented
from haier_pipeline.web.services import ServicesHere

router = APIRouter(prefix="/sync", tags=["syncs"])


@router.post("/", summary="Start a sync", status_code=202, responses=documented(409))
def start(
    request: Request,
    response: Response,
    services: ServicesHere,
    body: SyncBody,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=200,
            pattern=r"^[\x21-\x7e]+$",
            description="Sent again within a day, the request starts nothing: the answer is the "
            "one of the first time, with `Idempotent-Replayed: true`",
        ),
    ] = None,
) -> Answer[AcceptedSync]:
    """Accepts a sync of today and answers at once; `GET logs/?run_id=` tells how it goes. Where
    another sync of the dealer is at work, this one ends with "already running"; where one waits to
    be begun, the answer is that one's run id."""
    accepted, is_repeated = accept(
        services.engine,
        services.dealers,
        SyncRequest(
            dealer=services.choose_dealer(body.dealer),
            product_codes=tuple(body.product_codes),
            county_codes=tuple(body.county_codes),
            prices=body.prices,
            stock=body.stock,
            accept_shrink=body.accept_shrink,
        ),
        services.launch,
        caller=caller_of(request.scope).name,
        key=idempotency_key,
    )
    if is_repeated:
        response.headers["Idempotent-Replayed"] = "true"
    return Answer(data=AcceptedSync(run_id=accepted.run_id, dealer=accepted.dealer))
