"""The catalog, read from the tables.

This is what other systems ask for again and again, so the routes do without the framework's own
reading of parameters, which takes as long as all the rest together: a model of pydantic does it.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime, BaseModel, Field, ValidationError
from starlette.responses import Response

from haier_pipeline.catalog import pages
from haier_pipeline.catalog.feed import Feed, Position
from haier_pipeline.catalog.pages import ChangeFilter, Filter, ProductFilter, StockFilter
from haier_pipeline.platform.config import MAX_NAME_LENGTH
from haier_pipeline.web.models import (
    COUNTY,
    MOST_CODES,
    MOST_ROWS,
    PRINTABLE,
    CatalogPage,
    ChangesPage,
    StockPage,
)
from haier_pipeline.web.parameters import described, invalid, read_codes
from haier_pipeline.web.problems import documented
from haier_pipeline.web.services import services_of

router = APIRouter(prefix="/catalog", tags=["catalog"])

_Text = Annotated[str | None, Field(max_length=500, pattern=PRINTABLE)]


class _Query(BaseModel):
    """The parameters that every list has."""

    dealer: str | None = Field(
        None,
        max_length=MAX_NAME_LENGTH,
        pattern=PRINTABLE,
        description="Whose; left out, the only active dealer's",
    )
    code: str | None = Field(
        None,
        max_length=10_000,
        pattern=PRINTABLE,
        description=f"At most {MOST_CODES} product codes, separated by commas",
        examples=["GA0SZC00U,GA0SZC01U"],
    )
    after: str | None = Field(
        None, max_length=1_000, pattern=PRINTABLE, description="`next` of a page"
    )
    after_position: str | None = Field(
        None,
        min_length=1,
        max_length=8_000,
        pattern=PRINTABLE,
        description="`position` of an answer: what has changed since, in the order of commit",
    )
    limit: int = Field(50, ge=1, le=MOST_ROWS)


class ProductQuery(_Query):
    """The parameters of a page of products."""

    brand: _Text = None
    group: _Text = None
    procurable: bool | None = Field(None, description="May be bought now")
    in_stock: bool | None = Field(None, description="Some stand in a warehouse")
    changed_since: AwareDatetime | None = Field(
        None,
        description="Facts, prices or stock changed at that time or later; with its offset. For "
        "people: a program that must miss nothing takes `after_position`",
        examples=["2026-11-22T00:00:00+08:00"],
    )


class StockQuery(_Query):
    """The parameters of a page of stock."""

    county_code: str | None = Field(None, pattern=COUNTY, description="A six-digit county code")
    in_stock: bool | None = Field(None, description="Some stand in the warehouse")


class ChangeQuery(_Query):
    """The parameters of a page of changes."""

    sync_date: date | None = Field(None, description="The day in Shanghai on which they came")
    kind: (
        Literal["appeared", "vanished", "back", "price_up", "price_down", "sold_out", "restocked"]
        | None
    ) = None


_IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The `ETag` of an earlier answer",
}
_Q = TypeVar("_Q", bound=_Query)


_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "Nothing has changed since the answer with this `ETag`"},
    **documented(410),
}


def _parameters(query: type[_Query]) -> dict[str, Any]:
    return {"parameters": [*described(query), _IF_NONE_MATCH]}


@router.get(
    "/products/",
    summary="Products of the catalog",
    response_model=CatalogPage,
    responses=_RESPONSES,
    openapi_extra=_parameters(ProductQuery),
)
async def products(request: Request) -> Response:
    """Reads the tables and asks the platform nothing. By product code, page after page; after a
    position, what has changed since.

    The `ETag` is of these very rows, so a shop's own change of a price counts too.
    """
    return await _answer(request, pages.PRODUCTS, ProductQuery, _of_products)


@router.get(
    "/stock/",
    summary="Stock of the catalog",
    response_model=StockPage,
    responses=_RESPONSES,
    openapi_extra=_parameters(StockQuery),
)
async def stock(request: Request) -> Response:
    """What stands in each warehouse for each county, by product code, county and warehouse; after
    a position, what has changed since."""
    return await _answer(request, pages.STOCK, StockQuery, _of_stock)


@router.get(
    "/changes/",
    summary="What moved in the catalog",
    response_model=ChangesPage,
    responses=_RESPONSES,
    openapi_extra=_parameters(ChangeQuery),
)
async def changes(request: Request) -> Response:
    """What each day's sync changed, the oldest day first; after a position, what came since."""
    return await _answer(request, pages.CHANGES, ChangeQuery, _of_changes)


async def _answer(
    request: Request, listed: Feed, shape: type[_Q], choose: Callable[[_Q], Filter]
) -> Response:
    try:
        query = shape.model_validate(dict(request.query_params))
    except ValidationError as error:
        found = [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(found) from None
    services = services_of(request)
    wanted = choose(query)
    after = _key(listed, query.after)
    position = None
    if query.after_position is not None:
        if after is not None or getattr(wanted, "changed_since", None) is not None:
            raise invalid("after_position", "cannot be combined with after or changed_since")
        position = Position.parse(query.after_position, listed)

    def read() -> pages.Page:
        dealer = services.catalog_of(query.dealer)
        if position is not None:
            return pages.follow(
                services.engine, listed, dealer, wanted, after=position, limit=query.limit
            )
        return pages.read(services.engine, listed, dealer, wanted, after=after, limit=query.limit)

    page = await anyio.to_thread.run_sync(read, limiter=services.catalog_limiter)
    rows = f'"data":{page.rows},"next":{json.dumps(_next(page.last))}'
    # Not of the position, which moves whenever anything is written anywhere: that of an earlier
    # answer with the same rows leads on from there as well. Following, it is what is asked for.
    tagged = rows if position is None else f"{rows}{page.position}"
    tag = f'"{hashlib.blake2b(tagged.encode(), digest_size=16).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if _matches(request.headers.get("If-None-Match", ""), tag):
        return Response(status_code=304, headers=headers)
    body = f'{{"success":true,{rows},"position":"{page.position}"}}'
    return Response(body.encode(), media_type="application/json", headers=headers)


def _of_products(query: ProductQuery) -> ProductFilter:
    return ProductFilter(
        codes=read_codes(query.code, most=MOST_CODES),
        brand=query.brand,
        group=query.group,
        procurable=query.procurable,
        in_stock=query.in_stock,
        changed_since=_bounded(query.changed_since),
    )


def _of_stock(query: StockQuery) -> StockFilter:
    return StockFilter(
        codes=read_codes(query.code, most=MOST_CODES),
        county_code=query.county_code,
        in_stock=query.in_stock,
    )


def _of_changes(query: ChangeQuery) -> ChangeFilter:
    return ChangeFilter(
        codes=read_codes(query.code, most=MOST_CODES), sync_date=query.sync_date, kind=query.kind
    )


def _next(last: Sequence[Any] | None) -> str | None:
    """The key of a row as one word: a key of one part is that part, so that it can be read."""
    if last is None:
        return None
    if len(last) == 1:
        return str(last[0])
    packed = json.dumps([str(part) for part in last], ensure_ascii=False)
    return base64.urlsafe_b64encode(packed.encode()).decode()


def _key(listed: Feed, said: str | None) -> Sequence[Any] | None:
    if said is None:
        return None
    if len(listed.key) == 1:
        return (said,)
    try:
        return listed.read_key(json.loads(base64.b64decode(said, altchars=b"-_", validate=True)))
    except (binascii.Error, ValueError, TypeError):
        raise invalid("after", "is no `next` of this list; send one back as it came") from None


def _matches(sent: str, tag: str) -> bool:
    tags = [part.strip().removeprefix("W/") for part in sent.split(",")]
    return tag in tags or "*" in tags


def _bounded(moment: datetime | None) -> Any:
    # At either end of the calendar a change of time zone leaves it.
    if moment is None or moment.year == 1:
        return None
    return moment if moment.year < 9999 else moment.replace(year=9998, day=1)
