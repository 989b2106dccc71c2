"""The assets, from what the platform said to the catalog tables.

Each is a shell over one step of ``sync``. An asset's name is the plural of what one of its records
is; its group says how far from the platform it stands: ``platform``, ``pricing``, ``catalog``.
"""

import warnings
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import dagster as dg
import pandas as pd
from pydantic import Field

from haier_pipeline.catalog.log import Check
from haier_pipeline.orchestration.partitions import date_and_dealer
from haier_pipeline.orchestration.resources import HaierApi
from haier_pipeline.sync import derive, fetch
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
        "last good one.",
    )


class StockConfig(dg.Config):
    """Where to ask for stock."""

    county_codes: list[str] = Field(
        default=[], description="Only these counties; empty for those of the dealer's config."
    )


def results(context: dg.AssetExecutionContext, outcomes: Mapping[str, Outcome]) -> Results:
    """Tell Dagster how the assets ended: results, check evaluations, at last the failure."""
    for asset, outcome in outcomes.items():
        checks = [_check(asset, check) for check in outcome.result.checks]
        if outcome.failed:
            yield from checks
        else:
            context.log.info("%s: %s", asset, outcome.result.message)
            yield dg.MaterializeResult(
                asset_key=asset, metadata=_metadata(outcome), check_results=checks
            )
    failed = [asset for asset, outcome in outcomes.items() if outcome.failed]
    if failed:
        # Asking again is the client's business, and a safety stop is nobody's.
        raise dg.Failure(outcomes[failed[0]].result.message, allow_retries=False)


def _check(asset: str, check: Check) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=check.name,
        passed=check.passed,
        severity=dg.AssetCheckSeverity(check.severity),
        description=check.description,
        metadata=dict(check.metadata),
    )


def _metadata(outcome: Outcome) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "status": outcome.result.status,
        "message": outcome.result.message,
        **outcome.result.metadata,
    }
    if "records" in metadata:
        metadata["dagster/partition_row_count"] = metadata["records"]
    if not outcome.preview.empty:
        metadata["preview"] = _table(outcome.preview)
    return metadata


def _table(preview: pd.DataFrame) -> dg.TableMetadataValue:
    def shown(value: Any) -> Any:
        return format(value, "f") if isinstance(value, Decimal) else str(value)

    return dg.MetadataValue.table(
        records=[
            dg.TableRecord({
                str(column): "" if value is None else shown(value)
                for column, value in zip(preview.columns, row, strict=True)
            })
            for row in preview.itertuples(index=False, name=None)
        ]
    )  # fmt: skip


def blocking_check(asset: str, name: str, description: str) -> dg.AssetCheckSpec:
    """A check of the asset's own partitions that stops the sync where it fails."""
    with warnings.catch_warnings():
        # Partitions of checks are a preview in Dagster 1.13; without them the planned checks of a
        # partitioned run are never resolved.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(
            name,
            asset=asset,
            blocking=True,
            description=description,
            partitions_def=date_and_dealer,
        )


@dg.asset(
    partitions_def=date_and_dealer,
    group_name="platform",
    kinds={"api", "postgres"},
    owners=OWNERS,
    description="What the platform says the dealer may buy today, one record for each product.",
    check_specs=[
        blocking_check(
            "product_listings",
            "not_empty",
            "The listing holds products. An empty one is never loaded.",
        ),
        blocking_check(
            "product_listings",
            "not_shrunk",
            "The listing is at least half as long as the dealer's last good one. Where it is "
            "right that it is not, run once with accept_shrink.",
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
    description="Haier's prices of the procurable products, 20 products a call.",
)
def price_quotes(context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi]) -> Results:
    yield from results(context, {"price_quotes": fetch.fetch_prices(haier.run(context))})


@dg.asset(
    partitions_def=date_and_dealer,
    deps=[product_listings],
    group_name="platform",
    kinds={"api", "postgres"},
    owners=OWNERS,
    description="Which warehouses hold how many, one call for each procurable product and county.",
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
        blocking_check("products", "rows_match", "Every computed product is in the table."),
        blocking_check(
            "product_stock", "rows_match", "Every computed warehouse row is in the table."
        ),
        blocking_check(
            "product_stock", "stock_adds_up", "A product's stock is the sum of its warehouses."
        ),
    ],
)
def load_catalog(context: dg.AssetExecutionContext, haier: dg.ResourceParam[HaierApi]) -> Results:
    yield from results(context, derive.load_catalog(haier.run(context)))


FETCHED = (product_listings, price_quotes, stock_levels)
DERIVED = (priced_products, load_catalog)
