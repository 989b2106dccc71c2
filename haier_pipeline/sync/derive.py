"""The deriving steps: from stored answers to priced products to the catalog, without any call.

Each is a function of a raw partition, so any day that is stored can be derived again.
"""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd
from sqlalchemy import Connection

from haier_pipeline import rules
from haier_pipeline.catalog import load, raw
from haier_pipeline.catalog.load import CatalogFrames, LoadReport
from haier_pipeline.domain import product
from haier_pipeline.domain.partition import Partition
from haier_pipeline.errors import NothingStored, SafetyStop
from haier_pipeline.platform.answers import parse_listing, parse_prices, parse_stock
from haier_pipeline.rules import Unread
from haier_pipeline.sync.checks import load_checks, price_checks, quotes_understood
from haier_pipeline.sync.fetch import PREVIEW_ROWS
from haier_pipeline.sync.run import Outcome, Rows, SyncRun, outcome

LOADED_ASSETS = ("brands", "products", "product_stock")


def price_products(run: SyncRun) -> Outcome:
    """Compute and store the partition's priced products from its listing and quotes."""
    asset = "priced_products"

    def work(rows: Rows) -> Mapping[str, Outcome]:  # noqa: ARG001 - finished by the caller
        listing, _ = _listing(run, run.partition)
        quotes = _quotes(run, run.partition)
        products = rules.price_products(listing, quotes)
        flaws = rules.quote_flaws(quotes)
        earlier = raw.previous(run.engine, run.partition)
        before = _priced(run, earlier) if earlier else rules.frame([], ["product_code"])
        load.store_priced(run.engine, run.partition, products)
        procurable = products["is_sales"] == "1"
        priced = products["supply_price"].notna()
        overlong = rules.overlong_brands(listing)
        unpriced = int((procurable & ~priced).sum())
        message = f"{len(products)} products, {int(priced.sum())} with a price"
        if unpriced:
            message += f", {unpriced} procurable ones without"
        if len(flaws):
            first = flaws.iloc[0]
            message += (
                f"; {len(flaws)} values in quotes are not understood or not maintained, "
                f"the first of {first['product_code']}: {first['reason']}"
            )
        if overlong:
            message += f"; brand left out, longer than {product.BRAND_LENGTH}: {overlong[:5]}"
        shown = [
            "product_code",
            "product_model",
            "brand",
            *product.PRICE_COLUMNS,
            "no_price_reason",
        ]
        return {asset: outcome(
            success=len(products) - len(overlong),
            failed=len(overlong),
            message=message,
            metadata={
                "records": len(products),
                "procurable": int(procurable.sum()),
                "priced": int(priced.sum()),
                "without_price": unpriced,
                "overlong_brands": overlong[:20],
                "flawed_quotes": len(flaws),
            },
            checks=[*price_checks(products, before), quotes_understood(flaws)],
            preview=products[priced][shown].head(PREVIEW_ROWS),
            flawed=rules.lacks_amounts(quotes),
        )}  # fmt: skip

    run.progress.begin(asset, 1)
    return run.attempt([asset], work)[asset]


def load_catalog(run: SyncRun) -> Mapping[str, Outcome]:
    """Load brands, products and stock of the partition in one transaction, their log rows with it.

    A check that fails in the tables takes the whole load back.
    """
    ended: dict[str, Outcome] = {}

    def work(rows: Rows) -> Mapping[str, Outcome]:
        products = load.read_priced(run.engine, run.partition, PREVIEW_ROWS)
        if products.empty:
            raise NothingStored(f"{run.partition.key}: there are no priced products to load")
        counties = run.config.county_codes
        asked = raw.counties_asked(run.engine, run.partition, run.root_run_id).difference(counties)
        # Answers of an earlier run for a county that is configured no longer do not come back.
        answers, stock = _stock(run, run.partition, {*counties, *asked})
        listing = raw.find(run.engine, run.partition, "product_listings")
        frames = CatalogFrames(
            answers=answers,
            stock=stock,
            # Any product may be the record without a code: nobody is switched off for its sake.
            is_complete=listing is not None and listing.is_complete and not listing.nameless_count,
            counties=counties,
            asked=asked,
        )

        def conclude(connection: Connection, report: LoadReport) -> None:
            ended.update(_loaded(report, products, frames.stock))
            if any(outcome.blocked for outcome in ended.values()):
                raise SafetyStop("the tables do not hold what was computed")
            for asset, of_asset in ended.items():
                rows.finish(connection, asset, of_asset)

        try:
            load.load(run.engine, run.partition, frames, conclude)
        except SafetyStop:
            # Taken back; the rows are finished as failed, with the checks that say why.
            return ended
        return ended

    for asset in LOADED_ASSETS:
        run.progress.begin(asset, 1)
    return run.attempt(LOADED_ASSETS, work)


def find_changes(run: SyncRun) -> Outcome:
    """Store what moved since the dealer's previous day with a complete listing.

    Both days are computed from their raw partitions, so the order in which days are derived again
    does not matter, nor how many days lie between.
    """
    asset = "catalog_changes"

    def work(rows: Rows) -> Mapping[str, Outcome]:  # noqa: ARG001 - finished by the caller
        earlier = raw.previous(run.engine, run.partition)
        counties = run.config.county_codes
        now, unread_now = _state(run, run.partition, counties)
        if earlier is None:
            changes = rules.frame([], product.CHANGE_COLUMNS)
            message = "nothing to compare with: the dealer's first day"
        else:
            before, unread_before = _state(run, earlier, counties)
            fresh = set(now["product_code"]) - set(before["product_code"]) | unread_before.codes
            stored = raw.find(run.engine, run.partition, "product_listings")
            changes = rules.find_changes(
                before,
                now,
                raw.listed_before(run.engine, earlier, fresh),
                is_complete=stored is not None and stored.is_complete,
                unread_before=unread_before,
                unread_now=unread_now,
            )
            message = f"{len(changes)} changes since {earlier.sync_date:%Y-%m-%d}"
        load.store_changes(run.engine, run.partition, changes)
        kinds = {kind: int((changes["kind"] == kind).sum()) for kind in product.CHANGE_KINDS}
        told = [f"{number} {kind.replace('_', ' ')}" for kind, number in kinds.items() if number]
        return {
            asset: outcome(
                success=len(changes),
                failed=0,
                message=": ".join([message, ", ".join(told)]) if told else message,
                metadata={"records": len(changes), **kinds}
                | ({"compared_with": f"{earlier.sync_date:%Y-%m-%d}"} if earlier else {}),
                preview=changes.head(PREVIEW_ROWS),
            )
        }

    run.progress.begin(asset, 1)
    return run.attempt([asset], work)[asset]


def _loaded(report: LoadReport, products: pd.DataFrame, stock: pd.DataFrame) -> dict[str, Outcome]:
    """The outcomes of a load, of which one failed check takes back the whole.

    ``products`` and ``stock`` are rows to look at.
    """
    checks = load_checks(report)
    blocked = not all(check.passed for of_asset in checks.values() for check in of_asset)
    kept = f", {report.products_newer} newer ones kept" if report.products_newer else ""
    stock_shown = ["product_code", "county_code", "sec_code", "stock", "warehouse_grade"]
    product_shown = ["product_code", "product_model", "brand", "supply_price", "market_price"]
    brands = products[["brand"]].dropna().drop_duplicates()
    told: list[tuple[str, int, str, tuple[str, ...], pd.DataFrame]] = [
        (
            "brands",
            report.brands,
            f"{report.brands} brands, {report.brands_new} new",
            ("brands_new",),
            brands,
        ),
        (
            "products",
            report.products,
            (
                f"{report.products} products, {report.products_new} new, "
                f"{report.products_changed} changed, {report.vanished} vanished{kept}"
            ),
            ("products_new", "products_changed", "products_newer", "vanished"),
            products[product_shown],
        ),
        (
            "product_stock",
            report.stock_rows,
            (
                f"{report.stock_rows} warehouse rows, {report.stock_new} new, "
                f"{report.stock_removed} removed"
            ),
            ("stock_new", "stock_removed"),
            stock[stock_shown],
        ),
    ]
    return {
        asset: outcome(
            success=0 if blocked else rows,
            failed=rows if blocked else 0,
            message=f"{message}; taken back, the catalog is as it was" if blocked else message,
            metadata={
                "records": rows,
                **{figure: getattr(report, figure) for figure in figures},
                "seconds": report.seconds,
            },
            checks=checks[asset],
            preview=preview.head(PREVIEW_ROWS),
        )
        for asset, rows, message, figures, preview in told
    }


def _priced(run: SyncRun, partition: Partition) -> pd.DataFrame:
    listing, _ = _listing(run, partition)
    return rules.price_products(listing, _quotes(run, partition))


def _state(
    run: SyncRun, partition: Partition, counties: Collection[str]
) -> tuple[pd.DataFrame, Unread]:
    """A day as its raw answers tell it: ``product_code``, ``supply_price``, ``stock``."""
    listing, unread = _listing(run, partition)
    totals = rules.stock_totals(*_stock(run, partition, counties), counties)
    priced = rules.price_products(listing, _quotes(run, partition))
    return rules.with_stock(priced, totals), unread


def _listing(run: SyncRun, partition: Partition) -> tuple[pd.DataFrame, Unread]:
    """The listed products of a day, and what of its listing could not be read."""
    payloads = [record.payload for record in raw.read(run.engine, partition, "product_listings")]
    if not payloads:
        raise NothingStored(
            f"{partition.key}: nothing is stored for this day, "
            "and the platform knows only today; there is nothing to derive from"
        )
    answer = parse_listing(payloads)
    stored = raw.find(run.engine, partition, "product_listings")
    unread = Unread(
        frozenset(rejected.code for rejected in answer.rejected if rejected.code),
        stored.nameless_count if stored else 0,
    )
    products = rules.frame(
        [
            (
                v.product_code,
                v.product_model,
                v.product_group,
                v.brand,
                v.product_image_url,
                list(v.product_page_urls),
                "1" if v.is_sales else "0",
                v.no_sales_reason,
            )
            for v in (record.value for record in answer.records)
        ],
        product.LISTING_COLUMNS,
    )
    return products, unread


def _quotes(run: SyncRun, partition: Partition) -> pd.DataFrame:
    records = list(raw.read(run.engine, partition, "price_quotes"))
    answer = parse_prices(
        [record.payload for record in records], {record.product_code for record in records}
    )
    return rules.frame(
        [
            tuple(getattr(record.value, column) for column in product.QUOTE_COLUMNS)
            for record in answer.records
        ],
        product.QUOTE_COLUMNS,
    )


def _stock(
    run: SyncRun, partition: Partition, counties: Collection[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The day's answers about these counties, and the warehouses in them."""
    answers: list[tuple[Any, ...]] = []
    stock: list[tuple[Any, ...]] = []
    for record in raw.read(run.engine, partition, "stock_levels"):
        if record.county_code not in counties:
            continue
        answer = parse_stock(record.payload)
        answers.append((record.product_code, record.county_code, not answer.rejected))
        stock += [
            (
                record.product_code,
                record.county_code,
                v.sec_code,
                v.stock,
                v.warehouse_grade,
                v.cut_time,
                rules.delivery_time(v.expected_delivery_at),
                v.delivery_hours,
                v.is_transfer,
            )
            for v in (parsed.value for parsed in answer.records)
        ]
    return (
        rules.frame(answers, list(load.ANSWER_COLUMNS)),
        rules.frame(stock, product.STOCK_COLUMNS),
    )
