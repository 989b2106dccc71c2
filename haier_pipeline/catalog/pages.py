"""Pages of the catalog for readers: what REST answers from the tables.

PostgreSQL writes the JSON itself: the rows never become Python objects, which is what makes
hundreds of pages a second possible. Each list comes in the order of its key, page by page, or in
the order of commit from a position on, which is in ``feed``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Engine

from haier_pipeline.catalog import feed
from haier_pipeline.catalog.database import translated
from haier_pipeline.catalog.feed import Feed, Position
from haier_pipeline.domain.product import AMOUNT_COLUMNS


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


_AMOUNTS = ("price", *AMOUNT_COLUMNS)
# In the order of the answer; an amount is text, so that no reader makes a float of it.
_FIELDS = (
    {"product_code": "r.product_code", "name": "r.name", "product_model": "r.product_model"}
    | {"product_group": "r.product_group", "brand": "b.name"}
    | {name: f"r.{name}::text" for name in _AMOUNTS}
    | {
        name: f"r.{name}"
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
PRODUCTS = Feed(
    "product", {"product_code": "text"}, _FIELDS, "LEFT JOIN brand b ON b.id = r.brand_id"
)
STOCK = Feed(
    "product_stock",
    {"product_code": "text", "county_code": "text", "sec_code": "text"},
    {
        name: f"r.{name}"
        for name in (
            "product_code",
            "county_code",
            "sec_code",
            "stock",
            "warehouse_grade",
            "cut_time",
            "expected_delivery_at",
        )
    }
    | {"delivery_hours": "r.delivery_hours::text"}
    | {name: f"r.{name}" for name in ("is_transfer", "is_counted", "sync_date", "synced_at")},
)
CHANGES = Feed(
    "catalog_change",
    {"sync_date": "date", "product_code": "text", "kind": "text"},
    {name: f"r.{name}" for name in ("sync_date", "product_code", "kind", "old_value", "new_value")},
)


@dataclass(frozen=True)
class StockFilter:
    """Which rows of stock; ``None`` and empty ask for everything."""

    codes: Sequence[str] = ()
    county_code: str | None = None
    in_stock: bool | None = None


@dataclass(frozen=True)
class ChangeFilter:
    """Which changes; ``None`` and empty ask for everything."""

    codes: Sequence[str] = ()
    sync_date: date | None = None
    kind: str | None = None


Filter = ProductFilter | StockFilter | ChangeFilter


@dataclass(frozen=True)
class Page:
    """Rows as a JSON list.

    ``last`` is the key of the last one where there may be more, ``position`` where a reader that
    has these rows is.
    """

    rows: str
    last: tuple[Any, ...] | None
    position: Position


class _Wanted:
    """A filter in SQL over the row ``r``: conditions on its key, on anything else, their values.

    Whatever the values are, they are bound (fault matrix, row 50).
    """

    def __init__(self, wanted: Filter) -> None:
        self.among: list[str] = []
        self.matching: list[str] = []
        self.bound: dict[str, Any] = {}
        if wanted.codes:
            self._key("r.product_code = ANY(%(codes)s)", codes=list(wanted.codes))
        match wanted:
            case ProductFilter():
                self._of_products(wanted)
            case StockFilter():
                if wanted.county_code is not None:
                    self._key("r.county_code = %(county_code)s", county_code=wanted.county_code)
                self._in_stock(wanted.in_stock)
            case ChangeFilter():
                if wanted.sync_date is not None:
                    self._key("r.sync_date = %(sync_date)s", sync_date=wanted.sync_date)
                if wanted.kind is not None:
                    self._key("r.kind = %(kind)s", kind=wanted.kind)

    def _of_products(self, wanted: ProductFilter) -> None:
        if wanted.brand is not None:
            self._want(
                "r.brand_id = (SELECT id FROM brand"
                " WHERE dealer = %(dealer)s AND name = %(brand)s)",
                brand=wanted.brand,
            )
        if wanted.group is not None:
            self._want("r.product_group = %(product_group)s", product_group=wanted.group)
        if wanted.procurable is not None:
            self._want("r.is_sales = %(is_sales)s", is_sales="1" if wanted.procurable else "0")
        self._in_stock(wanted.in_stock)
        if wanted.changed_since is not None:
            self._want("r.updated_at >= %(changed_since)s", changed_since=wanted.changed_since)
        if wanted.search is not None:
            self._want(
                "concat_ws(chr(10), r.product_code, r.name, r.product_model) ILIKE %(search)s",
                search=_like(wanted.search),
            )

    def _in_stock(self, wanted: bool | None) -> None:
        if wanted is not None:
            self._want("coalesce(r.stock, 0) > 0" if wanted else "coalesce(r.stock, 0) = 0")

    def _key(self, condition: str, **values: Any) -> None:
        self.among.append(condition)
        self.bound |= values

    def _want(self, condition: str, **values: Any) -> None:
        self.matching.append(condition)
        self.bound |= values


def read(
    engine: Engine,
    listed: Feed,
    dealer: str,
    wanted: Filter,
    *,
    after: Sequence[Any] | None = None,
    limit: int,
) -> Page:
    """A page of a dealer's rows by their key; ``after`` is the last key of the page before.

    ``last`` comes only where the page is full, so that there may be more.
    """
    chosen = _Wanted(wanted)
    key = ", ".join(f"r.{name}" for name in listed.key)
    conditions = ["r.dealer = %(dealer)s", *chosen.among, *chosen.matching]
    bound = chosen.bound | {"dealer": dealer, "limit": limit}
    if after is not None:
        conditions.append(
            f"({key}) > ({', '.join(f'%(after_{number})s' for number in range(len(after)))})"
        )
        bound |= {f"after_{number}": part for number, part in enumerate(after)}
    statement = (
        f"SELECT coalesce(json_agg({listed.row} ORDER BY {key}), '[]')::text AS rows,"
        f" count(*) AS number, json_agg(json_build_array({key}) ORDER BY {key})->-1 AS last,"
        f" {feed.HERE} FROM ("
        f"SELECT * FROM {listed.table} r WHERE {' AND '.join(conditions)}"
        f" ORDER BY {key} LIMIT %(limit)s) r {listed.joined}"
    )
    # Past SQLAlchemy's own reading of the text, which takes longer than everything else here.
    # One statement needs no transaction, and no journey to the server for its begin and end.
    reading = engine.execution_options(isolation_level="AUTOCOMMIT")
    with translated(engine), reading.connect() as connection:
        found = connection.exec_driver_sql(statement, bound).one()
    return Page(
        found.rows,
        listed.read_key(found.last) if found.number == limit else None,
        feed.position_of(listed, dealer, found),
    )


def follow(
    engine: Engine, listed: Feed, dealer: str, wanted: Filter, *, after: Position, limit: int
) -> Page:
    """What changed after the position, in the order of commit; a further page wherever it is full.

    Raises:
        PositionGone: the position is too old, or of another database or dealer.
    """
    chosen = _Wanted(wanted)
    rows, position = feed.follow(
        engine,
        listed,
        after,
        dealer=dealer,
        limit=limit,
        among=chosen.among,
        matching=chosen.matching,
        bound=chosen.bound,
    )
    return Page(rows, None, position)


def _like(part: str) -> str:
    """The pattern of ``LIKE`` for text that holds ``part``, whatever signs are in it."""
    escaped = part.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return f"%{escaped}%"
