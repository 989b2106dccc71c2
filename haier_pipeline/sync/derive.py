"""The deriving steps: from stored answers to priced products to the catalog, without any call.

Each is a function of a raw partition, so any day that is stored can be derived again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd
from sqlalchemy import Connection

from haier_pipeline import rules
from haier_pipeline.catalog import load, raw
from haier_pipeline.catalog.load import CatalogFrames, LoadReport
from haier_pipeline.catalog.log import Check
from haier_pipeline.errors import NothingStored, SafetyStop
from haier_pipeline.platform.answers import parse_listing, parse_prices, parse_stock
from haier_pipeline.sync.fetch import PREVIEW_ROWS
from haier_pipeline.sync.run import Outcome, Rows, SyncRun, outcome, today

LOADED_ASSETS = ("brands", "products", "product_stock")


def price_products(run: SyncRun) -> Outcome:
    """Compute and store the partition's priced products from its listing and quotes."""
    asset = "priced_products"

    def work(rows: Rows) -> Mapping[str, Outcome]:  # noqa: ARG001 - finished by the caller
        listing = _listing(run)
        products = rules.price_products(listing, _quotes(run))
        load.store_priced(run.engine, run.partition, products)
        procurable = products["is_sales"] == "1"
        priced = products["supply_price"].notna()
        overlong = rules.overlong_brands(listing)
        unpriced = int((procurable & ~priced).sum())
        message = f"{len(products)} products, {int(priced.sum())} with a price"
        if unpriced:
            message += f", {unpriced} procurable ones without"
        if overlong:
            message += f"; brand left out, longer than {rules.BRAND_LENGTH}: {overlong[:5]}"
        shown = ["product_code", "product_model", "brand", *rules.PRICE_COLUMNS, "no_price_reason"]
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
            },
            preview=products[priced][shown].head(PREVIEW_ROWS),
        )}  # fmt: skip

    run.progress.begin(asset, 1)
    return run.attempt([asset], work)[asset]


def load_catalog(run: SyncRun) -> Mapping[str, Outcome]:
    """Load brands, products and stock of the partition in one transaction, their log rows with it.

    A check that fails in the tables takes the whole load back.
    """
    ended: dict[str, Outcome] = {}

    def work(rows: Rows) -> Mapping[str, Outcome]:
        products = load.read_priced(run.engine, run.partition)
        if products.empty:
            raise NothingStored(f"{run.partition.key}: there are no priced products to load")
        answers, stock = _stock(run)
        frames = CatalogFrames(
            products=products,
            answers=answers,
            stock=stock,
            is_complete=_is_complete(run),
            counties=_counties(run, answers),
        )

        def conclude(connection: Connection, report: LoadReport) -> None:
            ended.update(_loaded(report, frames))
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


def _loaded(report: LoadReport, frames: CatalogFrames) -> dict[str, Outcome]:
    rows_match = Check(
        "rows_match",
        passed=report.products_found == report.products,
        description=f"{report.products_found} of {report.products} products are in the table",
        blocking=True,
        metadata={"computed": report.products, "found": report.products_found},
    )
    stock_match = Check(
        "rows_match",
        passed=report.stock_found == report.stock_rows,
        description=f"{report.stock_found} of {report.stock_rows} warehouse rows are in the table",
        blocking=True,
        metadata={"computed": report.stock_rows, "found": report.stock_found},
    )
    wrong = report.stock_sums_wrong
    sums_match = Check(
        "stock_adds_up",
        passed=not wrong,
        description="every product's stock is the sum of its warehouses"
        if not wrong
        else f"{len(wrong)} products differ from the sum of their warehouses: {wrong[:5]}",
        blocking=True,
        metadata={"products": list(wrong[:20])},
    )
    figures = asdict(report)
    seconds = {"seconds": report.seconds}
    blocked = not (rows_match.passed and stock_match.passed and sums_match.passed)

    def of(rows: int, message: str, names: Iterable[str], checks: list[Check]) -> Outcome:
        metadata: dict[str, Any] = {"records": rows} | {name: figures[name] for name in names}
        return outcome(
            success=0 if blocked else rows,
            failed=rows if blocked else 0,
            message=message + "; taken back, the catalog is as it was" * blocked,
            metadata=metadata | seconds,
            checks=checks,
            preview=frames.products[
                ["product_code", "product_model", "brand", "supply_price"]
            ].head(PREVIEW_ROWS)
            if checks and checks[0] is rows_match
            else frames.stock.head(PREVIEW_ROWS)[
                ["product_code", "county_code", "sec_code", "stock"]
            ],
        )

    kept = f", {report.products_newer} newer ones kept" if report.products_newer else ""
    return {
        "brands": of(
            report.brands, f"{report.brands} brands, {report.brands_new} new", ["brands_new"], []
        ),
        "products": of(
            report.products,
            f"{report.products} products, {report.products_new} new, "
            f"{report.products_changed} changed, {report.vanished} vanished{kept}",
            ["products_new", "products_changed", "products_newer", "vanished"],
            [rows_match],
        ),
        "product_stock": of(
            report.stock_rows,
            f"{report.stock_rows} warehouse rows, {report.stock_new} new, "
            f"{report.stock_removed} removed",
            ["stock_new", "stock_removed"],
            [stock_match, sums_match],
        ),
    }


def _listing(run: SyncRun) -> pd.DataFrame:
    payloads = [
        record.payload for record in raw.read(run.engine, run.partition, "product_listings")
    ]
    if not payloads:
        raise NothingStored(
            f"{run.partition.key}: nothing is stored for this day, "
            "and the platform knows only today; there is nothing to derive from"
        )
    answer = parse_listing(payloads)
    return rules.frame(
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
        rules.LISTING_COLUMNS,
    )


def _quotes(run: SyncRun) -> pd.DataFrame:
    records = list(raw.read(run.engine, run.partition, "price_quotes"))
    answer = parse_prices(
        [record.payload for record in records], {record.product_code for record in records}
    )
    return rules.frame(
        [
            tuple(getattr(record.value, column) for column in rules.QUOTE_COLUMNS)
            for record in answer.records
        ],
        rules.QUOTE_COLUMNS,
    )


def _stock(run: SyncRun) -> tuple[pd.DataFrame, pd.DataFrame]:
    answers: list[tuple[Any, ...]] = []
    stock: list[tuple[Any, ...]] = []
    for record in raw.read(run.engine, run.partition, "stock_levels"):
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
        rules.frame(stock, rules.STOCK_COLUMNS),
    )


def _is_complete(run: SyncRun) -> bool:
    stored = raw.find(run.engine, run.partition, "product_listings")
    return stored is not None and stored.is_complete


def _counties(run: SyncRun, answers: pd.DataFrame) -> list[str]:
    """The counties whose stock stays: those configured, and those that were asked for today.

    A past day says nothing about the counties of today.
    """
    if run.partition.sync_date != today():
        return []
    return sorted({*run.config.county_codes, *answers["county_code"]})
