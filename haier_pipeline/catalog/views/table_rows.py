"""Rows of the catalog for a person who looks through them, page by page.

What another system reads is in ``json_pages``, the log in ``log``. Every list is ordered by a
unique key, so that a page begins where the one before ended, whatever was loaded meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import Engine, text

from haier_pipeline.catalog.database import translated

T = TypeVar("T")


@dataclass(frozen=True)
class StockRow:
    """What stands in one warehouse for one county; ``delivery_hours`` as the platform says it."""

    product_code: str
    name: str | None
    county_code: str
    sec_code: str
    stock: int
    warehouse_grade: str | None
    expected_delivery_at: datetime | None
    delivery_hours: Decimal | None
    is_transfer: bool | None
    is_counted: bool
    synced_at: datetime


@dataclass(frozen=True)
class Change:
    """What moved on a product since the dealer's sync before."""

    sync_date: date
    product_code: str
    name: str | None
    kind: str
    old_value: str | None
    new_value: str | None


@dataclass(frozen=True)
class RejectedRow:
    """A record that could not be read, and why."""

    id: int
    dealer: str
    sync_date: date
    asset_key: str
    run_id: str
    reason: str
    payload: Any
    created_at: datetime


def dealers(engine: Engine) -> list[str]:
    """Every dealer that has a catalog."""
    statement = "SELECT DISTINCT dealer FROM raw_partition ORDER BY dealer"
    with translated(engine), engine.connect() as connection:
        return list(connection.execute(text(statement)).scalars())


def brands(engine: Engine, dealer: str) -> list[str]:
    """The names of the dealer's brands."""
    statement = text("SELECT name FROM brand WHERE dealer = :dealer ORDER BY name")
    with translated(engine), engine.connect() as connection:
        return list(connection.execute(statement, {"dealer": dealer}).scalars())


def groups(engine: Engine, dealer: str) -> list[str]:
    """The product groups of the dealer's products."""
    statement = text(
        "SELECT DISTINCT product_group FROM product"
        " WHERE dealer = :dealer AND product_group IS NOT NULL ORDER BY product_group"
    )
    with translated(engine), engine.connect() as connection:
        return list(connection.execute(statement, {"dealer": dealer}).scalars())


def stock(
    engine: Engine,
    dealer: str,
    *,
    product_code: str | None = None,
    county_code: str | None = None,
    after: tuple[str, str, str] | None = None,
    limit: int,
) -> list[StockRow]:
    """A dealer's stock by product, county and warehouse; ``after`` is that key of the last row."""
    conditions = ["s.dealer = :dealer"]
    bound: dict[str, Any] = {"dealer": dealer, "limit": limit}
    if product_code is not None:
        conditions.append("s.product_code = :product_code")
        bound["product_code"] = product_code
    if county_code is not None:
        conditions.append("s.county_code = :county_code")
        bound["county_code"] = county_code
    if after is not None:
        conditions.append("(s.product_code, s.county_code, s.sec_code) > (:code, :county, :sec)")
        bound |= dict(zip(("code", "county", "sec"), after, strict=True))
    statement = (
        f"SELECT {_columns(StockRow, 's', name='p.name')} FROM product_stock s"
        " LEFT JOIN product p ON p.dealer = s.dealer AND p.product_code = s.product_code"
        f" WHERE {' AND '.join(conditions)}"
        " ORDER BY s.product_code, s.county_code, s.sec_code LIMIT :limit"
    )
    return _read(engine, StockRow, statement, bound)


def changes(
    engine: Engine,
    dealer: str,
    *,
    day: date | None = None,
    kind: str | None = None,
    product_code: str | None = None,
    after: tuple[date, str, str] | None = None,
    limit: int,
) -> list[Change]:
    """What moved, the newest day first, by product; ``after`` is day, code and kind of the last."""
    conditions = ["c.dealer = :dealer"]
    bound: dict[str, Any] = {"dealer": dealer, "limit": limit}
    for column, value in (("sync_date", day), ("kind", kind), ("product_code", product_code)):
        if value is not None:
            conditions.append(f"c.{column} = :{column}")
            bound[column] = value
    if after is not None:
        conditions.append(
            "c.sync_date <= :after_day AND (c.sync_date < :after_day"
            " OR (c.product_code, c.kind) > (:after_code, :after_kind))"
        )
        bound |= dict(zip(("after_day", "after_code", "after_kind"), after, strict=True))
    statement = (
        f"SELECT {_columns(Change, 'c', name='p.name')} FROM catalog_change c"
        " LEFT JOIN product p ON p.dealer = c.dealer AND p.product_code = c.product_code"
        f" WHERE {' AND '.join(conditions)}"
        " ORDER BY c.sync_date DESC, c.product_code, c.kind LIMIT :limit"
    )
    return _read(engine, Change, statement, bound)


def rejected(
    engine: Engine,
    *,
    dealer: str | None = None,
    asset_key: str | None = None,
    day: date | None = None,
    before: int | None = None,
    limit: int,
) -> list[RejectedRow]:
    """Records that could not be read, the newest first; ``before`` is the id of the last row."""
    conditions = ["true"]
    bound: dict[str, Any] = {"limit": limit}
    for column, value in (("dealer", dealer), ("asset_key", asset_key), ("sync_date", day)):
        if value is not None:
            conditions.append(f"{column} = :{column}")
            bound[column] = value
    if before is not None:
        conditions.append("id < :before")
        bound["before"] = before
    statement = (
        f"SELECT {_columns(RejectedRow, 'r')} FROM rejected_record r"
        f" WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT :limit"
    )
    return _read(engine, RejectedRow, statement, bound)


def _columns(shape: type[Any], table: str, **elsewhere: str) -> str:
    return ", ".join(
        f"{elsewhere[name]} AS {name}" if name in elsewhere else f"{table}.{name}"
        for name in shape.__dataclass_fields__
    )


def _read(engine: Engine, shape: type[T], statement: str, bound: dict[str, Any]) -> list[T]:
    with translated(engine), engine.connect() as connection:
        rows: Sequence[Any] = connection.execute(text(statement), bound).mappings().all()
    return [shape(**row) for row in rows]
