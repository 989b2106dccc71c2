"""The assets, from what the platform said to the catalog tables.

Each is a shell over one step of ``sync``. What they are called is declared in ``domain.assets``.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from haier_pipeline.domain.assets import ASSETS
from haier_pipeline.orchestration.checks import check_result, check_specs, table
from haier_pipeline.orchestration.partitions import date_and_dealer
from haier_pipeline.orchestration.resources import HaierApi
from haier_pipeline.sync import account, derive, fetch
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
    """How the assets ended, as Dagster takes it: results and check evaluations.

    Raises:
        dagster.Failure: an asset failed, or a check stops the sync.
    """
    for asset, outcome in outcomes.items():
        evaluations = [check_result(asset, check) for check in outcome.result.checks]
        if outcome.failed:
            yield from evaluations
        else:
            context.log.info("%s: %s", asset, outcome.result.message)
            yield dg.MaterializeResult(
                asset_key=asset, metadata=_metadata(outcome), check_results=evaluations
            )
    failed = [asset for asset, ended in outcomes.items() if ended.failed or ended.stops]
    if failed:
        # The client has repeated its calls already, and a safety stop is not repeated at all.
        raise dg.Failure(outcomes[failed[0]].result.message, allow_retries=False)


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
        metadata["preview"] = table(outcome.preview.to_dict("records"))
    return metadata


def _asset(name: str, *deps: Any) -> Callable[[Callable[..., Results]], dg.AssetsDefinition]:
    """The decorator of a step that makes one asset, as the table of the domain declares it."""
    declared = ASSETS[name]
    return dg.asset(
        name=name,
        partitions_def=date_and_dealer,
        deps=deps,
        group_name=declared.group,
        kinds=set(declared.kinds),
        owners=OWNERS,
        description=declared.description,
        check_specs=check_specs(name),
    )


@_asset("product_listings")
def product_listings(
    context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi], config: ListingConfig
) -> Results:
    outcome = fetch.fetch_listing(
        haier.run(context), config.product_codes, accept_shrink=config.accept_shrink
    )
    yield from results(context, {"product_listings": outcome})


@_asset("price_quotes", product_listings)
def price_quotes(context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi]) -> Results:
    yield from results(context, {"price_quotes": fetch.fetch_prices(haier.run(context))})


@_asset("stock_levels", product_listings)
def stock_levels(
    context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi], config: StockConfig
) -> Results:
    outcome = fetch.fetch_stock(haier.run(context), config.county_codes)
    yield from results(context, {"stock_levels": outcome})


@_asset("priced_products", product_listings, price_quotes)
def priced_products(
    context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi]
) -> Results:
    yield from results(context, {"priced_products": derive.price_products(haier.run(context))})


_LOADED = ("brands", "products", "product_stock")


@dg.multi_asset(
    name="load_catalog",
    partitions_def=date_and_dealer,
    specs=[
        dg.AssetSpec(
            name,
            deps=[priced_products, stock_levels],
            group_name=ASSETS[name].group,
            kinds=set(ASSETS[name].kinds),
            owners=OWNERS,
            description=ASSETS[name].description,
        )
        for name in _LOADED
    ],
    check_specs=check_specs(*_LOADED),
)
def load_catalog(context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi]) -> Results:
    yield from results(context, derive.load_catalog(haier.run(context)))


@_asset("catalog_changes", *_LOADED)
def catalog_changes(
    context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi]
) -> Results:
    yield from results(context, {"catalog_changes": derive.find_changes(haier.run(context))})


@_asset("account_balances")
def account_balances(
    context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi]
) -> Results:
    yield from results(context, {"account_balances": account.fetch_balances(haier.run(context))})


@_asset("order_logistics")
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
