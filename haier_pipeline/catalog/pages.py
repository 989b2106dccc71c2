"""Pages of the catalog for readers: what REST answers from the tables.

PostgreSQL writes the JSON itself: the rows never become Python objects, which is what makes
hundreds of pages a second possible.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from haier_pipeline.catalog.database import translated


@dataclass(frozen=True)
class ProductFilter:
    """Which products; ``None`` and empty ask for everything.

    ``changed_since``: whose facts, prices or stock changed at that time or later. ``search``: text
    that the code, the name or the model holds, in any case.
    """

    codes: Sequence[str] = ()
    brand: str | None = None
    group: str | None = None
    procurable: bool | None = None
    in_stock: bool | None = None
    changed_since: datetime | None = None
    search: str | None = None


_AMOUNTS = (
    "price",
    "supply_price",
    "invoice_price",
    "market_price",
    "stock_rebate",
    "rebate_money",
)
# In the order of the answer; an amount is text, so that no reader makes a float of it.
_FIELDS = (
    {"product_code": "p.product_code", "name": "p.name", "product_model": "p.product_model"}
    | {"product_group": "p.product_group", "brand": "b.name"}
    | {name: f"p.{name}::text" for name in _AMOUNTS}
    | {
        name: f"p.{name}"
        for name in (
            "rebate_policy",
            "product_image_url",
            "product_page_urls",
            "is_sales",
            "no_sales_reason",
            "stock",
            "warehouse_code",
            "warehouse_grade",
            "source",
            "is_active",
            "sync_date",
            "created_at",
            "updated_at",
            "last_sync_at",
        )
    }
)
_OBJECT = "json_build_object({})".format(
    ", ".join(f"'{name}', {value}" for name, value in _FIELDS.items())
)


def products(
    engine: Engine, dealer: str, wanted: ProductFilter, *, after: str | None, limit: int
) -> tuple[str, str | None]:
    """A page of a dealer's products by product code, as a JSON list, and the last code of it.

    ``after`` is the last code of the page before. The code comes back only where the page is full,
    so that there may be more. Whatever the values are, they are bound (fault matrix, row 50).
    """
    conditions = ["p.dealer = %(dealer)s"]
    bound: dict[str, Any] = {"dealer": dealer, "limit": limit}

    def want(condition: str, **values: Any) -> None:
        conditions.append(condition)
        bound.update(values)

    if after is not None:
        want("p.product_code > %(after)s", after=after)
    if wanted.codes:
        want("p.product_code = ANY(%(codes)s)", codes=list(wanted.codes))
    if wanted.brand is not None:
        want(
            "p.brand_id = (SELECT id FROM brand WHERE dealer = %(dealer)s AND name = %(brand)s)",
            brand=wanted.brand,
        )
    if wanted.group is not None:
        want("p.product_group = %(product_group)s", product_group=wanted.group)
    if wanted.procurable is not None:
        want("p.is_sales = %(is_sales)s", is_sales="1" if wanted.procurable else "0")
    if wanted.in_stock is not None:
        want("coalesce(p.stock, 0) > 0" if wanted.in_stock else "coalesce(p.stock, 0) = 0")
    if wanted.changed_since is not None:
        want("p.updated_at >= %(changed_since)s", changed_since=wanted.changed_since)
    if wanted.search is not None:
        want(
            "concat_ws(chr(10), p.product_code, p.name, p.product_model) ILIKE %(search)s",
            search=_like(wanted.search),
        )
    statement = (
        f"SELECT coalesce(json_agg({_OBJECT} ORDER BY p.product_code), '[]')::text,"
        " count(*), max(p.product_code) FROM ("
        f"SELECT * FROM product p WHERE {' AND '.join(conditions)}"
        " ORDER BY p.product_code LIMIT %(limit)s) p LEFT JOIN brand b ON b.id = p.brand_id"
    )
    # Past SQLAlchemy's own reading of the text, which takes longer than everything else here.
    # One statement needs no transaction, and no journey to the server for its begin and end.
    reading = engine.execution_options(isolation_level="AUTOCOMMIT")
    with translated(engine), reading.connect() as connection:
        page, count, last = connection.exec_driver_sql(statement, bound).one()
    return page, last if count == limit else None


def _like(part: str) -> str:
    """The pattern of ``LIKE`` for text that holds ``part``, whatever signs are in it."""
    escaped = part.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return f"%{escaped}%"
