"""Live queries: the platform is asked while the caller waits."""

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Query, Request

from haier_pipeline.platform.answers import Answer, LogisticsRecord, PriceQuote
from haier_pipeline.sync.live import missing_codes
from haier_pipeline.web.guard import caller_of
from haier_pipeline.web.models import (
    CODE,
    COUNTY,
    MOST_CODES,
    PRINTABLE,
    LiveAnswer,
    LiveBalance,
    LiveLogistics,
    LivePrice,
    LiveProduct,
    LiveStock,
    LiveWarehouse,
    Unreadable,
)
from haier_pipeline.web.parameters import DealerName, read_codes
from haier_pipeline.web.problems import WebError, documented
from haier_pipeline.web.services import Services, ServicesHere

T = TypeVar("T")

router = APIRouter(tags=["live queries"])

_ANSWERS: Final = documented(409, 502, 503, 504)

Timeout = Annotated[
    float,
    Query(
        ge=0.5,
        le=60,
        allow_inf_nan=False,
        description="Seconds that the caller waits; then the answer is 504",
    ),
]
ManyCodes = Annotated[
    str,
    Query(
        max_length=10_000,
        pattern=PRINTABLE,
        description=f"At most {MOST_CODES} product codes, separated by commas",
        examples=["GA0SZC00U,GA0SZC01U"],
    ),
]


@router.get("/products/", summary="May these products be bought?", responses=_ANSWERS)
async def products(
    request: Request,
    services: ServicesHere,
    product_codes: ManyCodes,
    dealer: DealerName = None,
    timeout: Timeout = 30,
) -> LiveAnswer[list[LiveProduct]]:
    """Asks the platform now, at the dealer's pace."""
    codes = read_codes(product_codes, most=MOST_CODES, name="product_codes")
    answer = await _ask(
        request,
        services,
        dealer,
        timeout,
        lambda name, seconds, caller: services.live.products(
            name, codes, seconds=seconds, caller=caller
        ),
    )
    data = [
        LiveProduct(
            **record.value.model_dump(exclude={"is_sales"}),
            is_sales="1" if record.value.is_sales else "0",
        )
        for record in answer.records
    ]
    return LiveAnswer(data=data, missing=missing_codes(codes, answer), rejected=_rejected(answer))


@router.get("/prices/", summary="What do these products cost?", responses=_ANSWERS)
async def prices(
    request: Request,
    services: ServicesHere,
    product_codes: ManyCodes,
    dealer: DealerName = None,
    timeout: Timeout = 30,
) -> LiveAnswer[list[LivePrice]]:
    """Asks the platform now, 20 codes a call, at the dealer's pace."""
    codes = read_codes(product_codes, most=MOST_CODES, name="product_codes")
    answer = await _ask(
        request,
        services,
        dealer,
        timeout,
        lambda name, seconds, caller: services.live.prices(
            name, codes, seconds=seconds, caller=caller
        ),
    )
    return LiveAnswer(
        data=[_price(record.value) for record in answer.records],
        missing=missing_codes(codes, answer),
        rejected=_rejected(answer),
    )


@router.get("/stock/", summary="How many can be delivered to a county?", responses=_ANSWERS)
async def stock(
    request: Request,
    services: ServicesHere,
    product_code: Annotated[str, Query(pattern=CODE, examples=["GA0SZC00U"])],
    county_code: Annotated[str, Query(pattern=COUNTY, examples=["110101"])],
    dealer: DealerName = None,
    timeout: Timeout = 30,
) -> LiveAnswer[LiveStock]:
    """Asks the platform now: one call."""
    answer = await _ask(
        request,
        services,
        dealer,
        timeout,
        lambda name, seconds, caller: services.live.stock(
            name, product_code.strip(), county_code, seconds=seconds, caller=caller
        ),
    )
    warehouses = [
        LiveWarehouse(
            **value.model_dump(exclude={"delivery_hours"}),
            delivery_hours=_text(value.delivery_hours),
        )
        for value in (record.value for record in answer.records)
    ]
    data = LiveStock(
        product_code=product_code,
        county_code=county_code,
        stock=sum(warehouse.stock for warehouse in warehouses),
        warehouses=warehouses,
    )
    return LiveAnswer(data=data, rejected=_rejected(answer))


@router.get("/balance/", summary="The dealer's payer accounts", responses=_ANSWERS)
async def balance(
    request: Request,
    services: ServicesHere,
    dealer: DealerName = None,
    timeout: Timeout = 30,
) -> LiveAnswer[list[LiveBalance]]:
    """Asks the platform now: one call."""
    answer = await _ask(
        request,
        services,
        dealer,
        timeout,
        lambda name, seconds, caller: services.live.balances(name, seconds=seconds, caller=caller),
    )
    data = [
        LiveBalance(
            **value.model_dump(exclude={"payer_account_balance"}),
            balance=format(value.payer_account_balance, "f"),
        )
        for value in (record.value for record in answer.records)
    ]
    return LiveAnswer(data=data, rejected=_rejected(answer))


@router.get("/logistics/", summary="Where is an order?", responses=_ANSWERS)
async def logistics(
    request: Request,
    services: ServicesHere,
    order_code: Annotated[str, Query(pattern=CODE, examples=["SO.20190106.000003"])],
    dealer: DealerName = None,
    timeout: Timeout = 30,
) -> LiveAnswer[LiveLogistics]:
    """Asks the platform now: one call. The records are the platform's own."""
    answer = await _ask(
        request,
        services,
        dealer,
        timeout,
        lambda name, seconds, caller: services.live.logistics(
            name, order_code.strip(), seconds=seconds, caller=caller
        ),
    )
    data = LiveLogistics(
        order_code=order_code,
        central=_of_list(answer, "central"),
        own=_of_list(answer, "own"),
        third_party=_of_list(answer, "third_party"),
    )
    return LiveAnswer(data=data, rejected=_rejected(answer))


async def _ask(
    request: Request,
    services: Services,
    dealer: str | None,
    seconds: float,
    ask: Callable[[str, float, str], T],
) -> T:
    """Run the query in a thread of the dealer's, within what is left of the caller's time."""
    began = time.monotonic()
    name = await anyio.to_thread.run_sync(services.choose_dealer, dealer)
    limiter = services.live_limiter(name)
    if limiter.available_tokens < 1:
        raise WebError(
            503, "too many callers wait for the platform already", headers={"Retry-After": "1"}
        )

    def work() -> T:
        left = max(0.0, seconds - (time.monotonic() - began))
        return ask(name, left, caller_of(request.scope).name)

    return await anyio.to_thread.run_sync(work, limiter=limiter)


def _price(quote: PriceQuote) -> LivePrice:
    return LivePrice(
        product_code=quote.product_code,
        supply_price=_text(quote.supply_price),
        invoice_price=_text(quote.invoice_price),
        market_price=_text(quote.market_price),
        stock_rebate=_text(quote.stock_rebate),
        rebate_policy=quote.rebate_policy,
        rebate_money=_text(quote.rebate_money),
        reason=quote.reason,
    )


def _text(number: Any) -> str | None:
    return None if number is None else format(number, "f")


def _of_list(answer: Answer[LogisticsRecord], source: str) -> Sequence[Any]:
    return [record.payload for record in answer.records if record.value.source == source]


def _rejected(answer: Answer[Any]) -> list[Unreadable]:
    return [
        Unreadable(code=record.code, field=record.field, reason=record.reason)
        for record in answer.rejected
    ]
