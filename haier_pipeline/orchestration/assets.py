"""The assets, from what the platform said to the catalog tables.

Each is a shell over one step of ``sync``. An asset's name is the plural of what one of its records
is; its group says how far from the platform it stands: ``platform``, ``pricing``, ``catalog``, and
``account`` beside them.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import dagster as dg
from pydantic import Field

from haier_pipeline.catalog.log import Check
from haier_pipeline.orchestration.partitions import date_and_dealer
from haier_pipeline.orchestration.resources import HaierApi
from haier_pipeline.sync import account, checks, derive, fetch
from haier_pipeline.sync.run import Outcome

Results = Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]

OWNERS = ["team:catalog"]


class ListingConfig(dg.Config):
    """What to list."""

    product_codes: list[str] = Field(
        default=[], description="Only these products; empty for everything the dealer may buy."
    )
    accept_shrink: bool = Field(
        default=False,
        description="Let this one run pass although the listing is less than half as long as the "
        "longest good one of the last days, or of which too much cannot be read.",
    )


class StockConfig(dg.Config):
    """Where to ask for stock."""

    county_codes: list[str] = Field(
        default=[], description="Only these counties; empty for those of the dealer's config."
    )


def results(context: dg.AssetExecutionContext, outcomes: Mapping[str, Outcome]) -> Results:
    """Tell Dagster how the assets ended: results, check evaluations, at last the failure."""
    for asset, outcome in outcomes.items():
        evaluations = [_result(asset, check) for check in outcome.result.checks]
        if outcome.failed:
            yield from evaluations
        else:
            context.log.info("%s: %s", asset, outcome.result.message)
            yield dg.MaterializeResult(
                asset_key=asset, metadata=_metadata(outcome), check_results=evaluations
            )
    failed = [asset for asset, ended in outcomes.items() if ended.failed or ended.stops]
    if failed:
        # Asking again is the client's business, and a safety stop is nobody's.
        raise dg.Failure(outcomes[failed[0]].result.message, allow_retries=False)


def _result(asset: str, check: Check) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=check.name,
        passed=check.passed,
        severity=dg.AssetCheckSeverity(check.severity),
        description=check.description,
        metadata={
            **check.metadata,
            **({"offenders": _table(check.offenders)} if check.offenders else {}),
        },
    )


def _metadata(outcome: Outcome) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "message": outcome.result.message,
        "status": outcome.result.status,
        "success_count": outcome.result.success,
        "failed_count": outcome.result.failed,
    }
    # What is empty is left out: an operator should see at a glance what there is to see.
    metadata |= {
        name: value for name, value in outcome.result.metadata.items() if value not in ([], {})
    }
    if "records" in metadata:
        metadata["dagster/partition_row_count"] = metadata["records"]
    if not outcome.preview.empty:
        # Last, or its rows would push the figures off the screen.
        metadata["preview"] = _table(outcome.preview.to_dict("records"))
    return metadata


def _table(rows: Sequence[Mapping[Any, Any]]) -> dg.TableMetadataValue:
    def shown(value: Any) -> str:
        if value is None:
            return ""
        return format(value, "f") if isinstance(value, Decimal) else str(value)

    return dg.MetadataValue.table(
        records=[
            dg.TableRecord({str(column): shown(value) for column, value in row.items()})
            for row in rows
        ]
    )


def check(asset: str, name: str, description: str, *, blocking: bool = False) -> dg.AssetCheckSpec:
    """A check of the asset's own partitions; a blocking one stops the sync where it fails."""
    with warnings.catch_warnings():
        # Partitions of checks are a preview in Dagster 1.13; without them the planned checks of a
        # partitioned run are never resolved.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(
            name,
            asset=asset,
            blocking=blocking,
            description=description,
            partitions_def=date_and_dealer,
        )


@dg.asset(
    partitions_def=date_and_dealer,
    group_name="platform",
    kinds={"api", "postgres"},
    owners=OWNERS,
    description="What the platform says the dealer may buy, one record for each product. "
    "Only today can be asked for.",
    check_specs=[
        check(
            "product_listings",
            checks.NOT_EMPTY,
            "The listing holds products. An empty one is never loaded.",
            blocking=True,
        ),
        check(
            "product_listings",
            checks.NOT_SHRUNK,
            "The listing is at least half as long as the dealer's longest good one of the last "
            "days; records that cannot be read count as missing. Where it is right that it is "
            "not, run once with accept_shrink.",
            blocking=True,
        ),
        check(
            "product_listings",
            checks.RECORDS_READABLE,
            "At most 5 % of the records cannot be read. Where that is all right, run once with "
            "accept_shrink.",
            blocking=True,
        ),
        check(
            "product_listings",
            checks.CODES_VALID,
            "Every record has a product code, and no code comes twice with other values.",
        ),
    ],
)
def product_listings(
    context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi], config: ListingConfig
) -> Results:
    outcome = fetch.fetch_listing(
        haier.run(context), config.product_codes, accept_shrink=config.accept_shrink
    )
    yield from results(context, {"product_listings": outcome})


@dg.asset(
    partitions_def=date_and_dealer,
    deps=[product_listings],
    group_name="platform",
    kinds={"api", "postgres"},
    owners=OWNERS,
    description="Haier's prices of the procurable products, 20 products a call. Only today can be "
    "asked for.",
    check_specs=[
        check(
            "price_quotes",
            checks.QUOTES_ANSWERED,
            "At least 95 % of the procurable products were answered.",
        )
    ],
)
def price_quotes(context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi]) -> Results:
    yield from results(context, {"price_quotes": fetch.fetch_prices(haier.run(context))})


@dg.asset(
    partitions_def=date_and_dealer,
    deps=[product_listings],
    group_name="platform",
    kinds={"api", "postgres"},
    owners=OWNERS,
    description="Which warehouses hold how many, one call for each procurable product and county. "
    "Only today can be asked for.",
    check_specs=[
        check(
            "stock_levels",
            checks.STOCK_ANSWERED,
            "Every product was answered in every county; more than 5 % missing is an error.",
        ),
        check(
            "stock_levels",
            checks.QUANTITIES_VALID,
            "Every quantity is a whole number, none is negative.",
        ),
    ],
)
def stock_levels(
    context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi], config: StockConfig
) -> Results:
    outcome = fetch.fetch_stock(haier.run(context), config.county_codes)
    yield from results(context, {"stock_levels": outcome})


@dg.asset(
    partitions_def=date_and_dealer,
    deps=[product_listings, price_quotes],
    group_name="pricing",
    kinds={"pandas", "postgres"},
    owners=OWNERS,
    description="Each listed product with its prices. Computed from what is stored, so any past "
    "day can be computed again.",
    check_specs=[
        check(
            "priced_products",
            checks.QUOTES_UNDERSTOOD,
            "Every rebate is of a known kind, every discount a fraction below 1, no price is zero.",
        ),
        check(
            "priced_products",
            checks.INVOICE_ADDS_UP,
            "Invoice price = supply price × (1 − discount) − rebate, to the cent; none is missing.",
        ),
        check(
            "priced_products",
            checks.PRICES_PLAUSIBLE,
            "No amount is negative, no price more than half off or double since the last sync.",
        ),
    ],
)
def priced_products(
    context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi]
) -> Results:
    yield from results(context, {"priced_products": derive.price_products(haier.run(context))})


def _catalog_table(name: str, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        name,
        deps=[priced_products, stock_levels],
        group_name="catalog",
        kinds={"postgres", "table"},
        owners=OWNERS,
        description=description,
    )


@dg.multi_asset(
    name="load_catalog",
    partitions_def=date_and_dealer,
    specs=[
        _catalog_table("brands", "Table brand: the brands met so far."),
        _catalog_table(
            "products",
            "Table product: what the dealer sells, with Haier's prices and the stock. The shop's "
            "own columns are never touched; an older day never overwrites a newer one.",
        ),
        _catalog_table(
            "product_stock", "Table product_stock: how many stand in which warehouse for a county."
        ),
    ],
    check_specs=[
        check(
            "products",
            checks.ROWS_MATCH,
            "Every computed product is in the table, else the load is taken back.",
            blocking=True,
        ),
        check(
            "product_stock",
            checks.ROWS_MATCH,
            "Every computed warehouse row is in the table, else the load is taken back.",
            blocking=True,
        ),
        check(
            "product_stock",
            checks.STOCK_ADDS_UP,
            "A product's stock is the sum of its warehouses that count, else the load is "
            "taken back.",
            blocking=True,
        ),
    ],
)
def load_catalog(context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi]) -> Results:
    yield from results(context, derive.load_catalog(haier.run(context)))


@dg.asset(
    partitions_def=date_and_dealer,
    deps=["brands", "products", "product_stock"],
    group_name="catalog",
    kinds={"postgres", "table"},
    owners=OWNERS,
    description="Table catalog_change: what appeared, vanished, came back, became dearer or "
    "cheaper, sold out or was restocked since the dealer's previous day.",
)
def catalog_changes(
    context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi]
) -> Results:
    yield from results(context, {"catalog_changes": derive.find_changes(haier.run(context))})


@dg.asset(
    partitions_def=date_and_dealer,
    group_name="account",
    kinds={"api", "postgres"},
    owners=OWNERS,
    description="Table account_balance: what stands on the dealer's payer accounts, in CNY.",
)
def account_balances(
    context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi]
) -> Results:
    yield from results(context, {"account_balances": account.fetch_balances(haier.run(context))})


@dg.asset(
    partitions_def=date_and_dealer,
    group_name="account",
    kinds={"api", "postgres"},
    owners=OWNERS,
    description="Table order_logistics: where the orders of the table tracked_order are, until "
    "they are delivered.",
)
def order_logistics(
    context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi]
) -> Results:
    # By hand everything under way is asked for at once.
    scheduled = "dagster/schedule_name" in context.run.tags
    outcome = account.fetch_logistics(haier.run(context), only_due=scheduled)
    yield from results(context, {"order_logistics": outcome})


FETCHED = (product_listings, price_quotes, stock_levels)
DERIVED = (priced_products, load_catalog, catalog_changes)
ACCOUNT = (account_balances, order_logistics)
