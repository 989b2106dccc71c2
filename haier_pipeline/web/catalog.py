"""The catalog, read from the tables.

This is what other systems ask for again and again, so the route does without the framework's own
reading of parameters, which takes as long as all the rest together: a model of pydantic does it.
"""

import hashlib
import json
from datetime import datetime
from typing import Annotated, Any, Final

import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime, BaseModel, Field, ValidationError
from starlette.responses import Response

from haier_pipeline.catalog import pages
from haier_pipeline.catalog.pages import ProductFilter
from haier_pipeline.platform.config import MAX_NAME_LENGTH
from haier_pipeline.web.models import MOST_CODES, MOST_ROWS, PRINTABLE, CatalogPage
from haier_pipeline.web.parameters import described, read_codes
from haier_pipeline.web.problems import documented
from haier_pipeline.web.services import services_of

router = APIRouter(prefix="/catalog", tags=["catalog"])

_Text = Annotated[str | None, Field(max_length=500, pattern=PRINTABLE)]


class ProductQuery(BaseModel):
    """The parameters of a page of products."""

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
    brand: _Text = None
    group: _Text = None
    procurable: bool | None = Field(None, description="May be bought now")
    in_stock: bool | None = Field(None, description="Some stand in a warehouse")
    changed_since: AwareDatetime | None = Field(
        None,
        description="Facts, prices or stock changed at that time or later; with its offset",
        examples=["2026-11-22T00:00:00+08:00"],
    )
    after: str | None = Field(
        None, max_length=100, pattern=PRINTABLE, description="`next` of a page"
    )
    limit: int = Field(50, ge=1, le=MOST_ROWS)


_IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The `ETag` of an earlier answer",
}


@router.get(
    "/products/",
    summary="Products of the catalog",
    response_model=CatalogPage,
    responses={
        304: {"description": "Nothing has changed since the answer with this `ETag`"},
        **documented(),
    },
    openapi_extra={"parameters": [*described(ProductQuery), _IF_NONE_MATCH]},
)
async def products(request: Request) -> Response:
    """Reads the tables and asks the platform nothing. By product code, page after page.

    The `ETag` is of this very page, so a shop's own change of a price counts too.
    """
    try:
        query = ProductQuery.model_validate(dict(request.query_params))
    except ValidationError as error:
        found = [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(found) from None
    services = services_of(request)
    wanted = _filter(query)

    def read() -> tuple[str, str | None]:
        dealer = services.catalog_of(query.dealer)
        return pages.products(services.engine, dealer, wanted, after=query.after, limit=query.limit)

    rows, last = await anyio.to_thread.run_sync(read, limiter=services.catalog_limiter)
    body = f'{{"success":true,"data":{rows},"next":{json.dumps(last)}}}'.encode()
    tag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if _matches(request.headers.get("If-None-Match", ""), tag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def _filter(query: ProductQuery) -> ProductFilter:
    return ProductFilter(
        codes=read_codes(query.code, most=MOST_CODES),
        brand=query.brand,
        group=query.group,
        procurable=query.procurable,
        in_stock=query.in_stock,
        changed_since=_bounded(query.changed_since),
    )


def _matches(sent: str, tag: str) -> bool:
    tags = [part.strip().removeprefix("W/") for part in sent.split(",")]
    return tag in tags or "*" in tags


def _bounded(moment: datetime | None) -> Any:
    # At either end of the calendar a change of time zone leaves it.
    if moment is None or moment.year == 1:
        return None
    return moment if moment.year < 9999 else moment.replace(year=9998, day=1)
