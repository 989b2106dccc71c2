"""How the load grows with the catalog where nobody gathers statistics: autovacuum is off.

Measured in this process on computed products and stock, without a platform. ``GROWTH_DATABASE_URL``
names another server than the embedded one; it must let databases be made.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pandas as pd
import psycopg
from sqlalchemy import Connection, Engine

from benchmarks.cases import Row
from benchmarks.commands import new_home
from haier_pipeline.catalog import load
from haier_pipeline.catalog.database import open_engine, parse_url, upgrade
from haier_pipeline.catalog.load import CatalogFrames, LoadReport
from haier_pipeline.domain.partition import Partition
from haier_pipeline.rules import frame
from haier_pipeline.server.postgres import EmbeddedPostgres

SIZES = (10_000, 20_000, 40_000)
COUNTIES = ("110101", "310101")
WAREHOUSES = ("Q1", "Q2")
FIRST_DAY = date(2026, 11, 24)
DATABASE = "haier_growth"


def growth() -> Iterator[Row]:
    """Twice the products, at most 2.2 times the time; new rows, then all of them changed."""
    with ExitStack() as stack:
        url = os.environ.get("GROWTH_DATABASE_URL")
        if url is None:
            server = stack.enter_context(EmbeddedPostgres(stack.enter_context(new_home())))
            url = server.libpq_url
        days = [_seconds(url, products) for products in SIZES]
    for day, work in enumerate(("into fresh tables", "a second day, every row changed")):
        seconds = [of_size[day] for of_size in days]
        steps = [after / before for before, after in pairwise(seconds)]
        slowest = min(_rows(n) / s for n, s in zip(SIZES, seconds, strict=True))
        yield Row(
            f"load of {', '.join(f'{size:,}' for size in SIZES)} products in 2 counties, {work}",
            "at most 2.2 times for twice as many, at least 40,000 rows/s",
            f"{', '.join(f'{one:.1f} s' for one in seconds)}; at least {slowest:,.0f} rows/s",
            max(steps) <= 2.2 and slowest >= 40_000,
        )


def _rows(products: int) -> int:
    return products * (1 + len(COUNTIES) * len(WAREHOUSES))


def _seconds(url: str, products: int) -> Sequence[float]:
    """The seconds of the load's transaction on two days, in a new database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {DATABASE}".encode())
    engine = open_engine(parse_url(url).set(database=DATABASE))
    try:
        upgrade(engine)
        return [_load(engine, products, day) for day in range(2)]
    finally:
        engine.dispose()


def _load(engine: Engine, products: int, day: int) -> float:
    codes = [f"P{number:07}" for number in range(products)]
    partition = Partition("haier", FIRST_DAY + timedelta(days=day))
    priced = [
        {
            "product_code": code,
            "product_model": f"model {number}",
            "brand": f"brand {number % 30}",
            "product_page_urls": [f"https://cdn.example/{number}.jpg"],
            "is_sales": "1",
            "supply_price": Decimal(1_000 + number + day),
            "invoice_price": Decimal(900 + number),
            "market_price": Decimal(2_000 + number),
        }
        for number, code in enumerate(codes)
    ]
    load.store_priced(
        engine, partition, _frame(priced, load.PRODUCT_COLUMNS | {"no_price_reason": "text"})
    )
    stock = [
        {"product_code": code, "county_code": county, "sec_code": sec, "stock": number % 50 + day}
        for number, code in enumerate(codes)
        for county in COUNTIES
        for sec in WAREHOUSES
    ]
    answers = [(code, county, True) for code in codes for county in COUNTIES]
    frames = CatalogFrames(
        answers=frame(answers, list(load.ANSWER_COLUMNS)),
        stock=_frame(stock, load.STOCK_COLUMNS),
        is_complete=True,
        counties=COUNTIES,
    )
    began = time.monotonic()
    load.load(engine, partition, frames, _conclude)
    return time.monotonic() - began


def _conclude(connection: Connection, report: LoadReport) -> None:
    """Nothing is to be written beside the load."""


def _frame(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    return frame([[row.get(name) for name in columns] for row in rows], list(columns))


GROWTH = {"growth": growth}
