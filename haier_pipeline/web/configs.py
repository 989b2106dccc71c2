"""Dealers: their configurations are read by every role and changed by operators."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Path, Query

from haier_pipeline.errors import Conflict, InvalidConfig, NotFound
from haier_pipeline.sync.dealers import Dealer
from haier_pipeline.sync.trial import try_connection
from haier_pipeline.web.models import (
    MOST_ROWS,
    Answer,
    ChangedDealer,
    NewDealer,
    Page,
    ReplacedDealer,
    ShownDealer,
    TestResult,
)
from haier_pipeline.web.problems import InvalidBody, documented
from haier_pipeline.web.services import ServicesHere

router = APIRouter(prefix="/config", tags=["dealers"])

_MOST_ID = 2**63 - 1
Number = Annotated[
    int, Path(ge=0, le=_MOST_ID, description="0: the dealer of the environment's variables")
]


@router.get("/", summary="All dealers", responses=documented())
def read_all(
    services: ServicesHere,
    after: Annotated[int | None, Query(ge=0, le=_MOST_ID, description="`next` of a page")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
) -> Page[ShownDealer]:
    """By id; the dealer of the environment's variables comes first, with the id 0."""
    dealers = services.dealers.all(after=after, limit=limit)
    return Page(
        data=[ShownDealer.model_validate(dealer) for dealer in dealers],
        next=dealers[-1].id if len(dealers) == limit else None,
    )


@router.post("/", summary="Store a dealer", status_code=201, responses=documented(409))
def create(services: ServicesHere, body: NewDealer) -> Answer[ShownDealer]:
    """Checks the whole configuration, names every key at fault, and encrypts the secrets."""
    with _refused():
        dealer = services.dealer_editor.create(
            body.name, body.config.given(), active=body.is_active
        )
    return _shown(dealer)


@router.get("/{id}/", summary="One dealer", responses=documented(404))
def read(services: ServicesHere, id: Number) -> Answer[ShownDealer]:  # noqa: A002 - the path's word
    """Shows which secrets are set, never their values."""
    return _shown(services.dealers.get(id))


@router.put("/{id}/", summary="Replace a configuration", responses=documented(404, 409))
def replace(services: ServicesHere, id: Number, body: ReplacedDealer) -> Answer[ShownDealer]:  # noqa: A002
    """All keys at once, secrets included; a key left out has its default."""
    with _refused():
        dealer = services.dealer_editor.replace(
            services.dealers.get(id), body.config.given(), active=body.is_active
        )
    return _shown(dealer)


@router.patch("/{id}/", summary="Change some keys", responses=documented(404, 409))
def change(services: ServicesHere, id: Number, body: ChangedDealer) -> Answer[ShownDealer]:  # noqa: A002
    """Another host wants all secrets again."""
    given = body.config.given() if body.config is not None else {}
    with _refused():
        dealer = services.dealer_editor.update(
            services.dealers.get(id), given, active=body.is_active
        )
    return _shown(dealer)


@router.delete("/{id}/", summary="Delete a dealer", status_code=204, responses=documented(404, 409))
def delete(services: ServicesHere, id: Number) -> None:  # noqa: A002
    """Its catalog, answers and log stay; a sync at work stops at its next batch."""
    services.dealer_editor.delete(services.dealers.get(id))


@router.post("/{id}/enable/", summary="Let a dealer sync", responses=documented(404, 409))
def enable(services: ServicesHere, id: Number) -> Answer[ShownDealer]:  # noqa: A002
    """The configuration must be valid."""
    return _shown(services.dealer_editor.enable(services.dealers.get(id)))


@router.post("/{id}/disable/", summary="Let a dealer sync no more", responses=documented(404, 409))
def disable(services: ServicesHere, id: Number) -> Answer[ShownDealer]:  # noqa: A002
    """A sync at work stops at its next batch."""
    return _shown(services.dealer_editor.disable(services.dealers.get(id)))


@router.post("/{id}/test/", summary="Test the connection", responses=documented(404, 409))
def test(services: ServicesHere, id: Number) -> Answer[TestResult]:  # noqa: A002
    """Asks for a token, then for the listing, and says which of the two failed and why."""
    dealer = services.dealers.get(id)
    return Answer(data=TestResult.model_validate(try_connection(services.dealers, dealer.name)))


def _shown(dealer: Dealer) -> Answer[ShownDealer]:
    return Answer(data=ShownDealer.model_validate(dealer))


@contextmanager
def _refused() -> Iterator[None]:
    """A configuration that was sent and is wrong is the sender's error, not a conflict."""
    try:
        yield
    except (Conflict, NotFound):
        raise
    except InvalidConfig as error:
        raise InvalidBody(str(error), [f"config.{name}" for name in error.fields]) from error
