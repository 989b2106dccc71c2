"""The load: from priced products and stock to the catalog tables, in one transaction.

``brand``, ``product`` and ``product_stock`` change together or not at all. What is loaded is
computed elsewhere; here are only the rules of what may overwrite what:

* the row of an older sync date never overwrites that of a newer one,
* ``price`` starts as the market price, where there is none as the supply price, and waits where
  the market price is zero; once it is there it is the shop's,
* the six price columns change together, where a quote has a positive supply price,
* stock changes only where the platform answered; of the rows of a storage location one counts in a
  product's stock, and only in configured counties,
* a product that left a complete listing is switched off, never deleted; one whose record stands in
  it and could not be read stays as it is.

Every statement is linear in its rows whatever the planner knows of the tables: on a fresh database,
or where nobody gathers statistics, it guesses one row and would join thousands row by row.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Engine, text

from haier_pipeline.catalog import priced
from haier_pipeline.catalog.database import dump_json, transaction
from haier_pipeline.catalog.locks import lock_dealer
from haier_pipeline.domain.partition import Partition
from haier_pipeline.domain.product import PRICE_COLUMNS

VANISHED = "已不在海尔可采商品列表中"

PRODUCT_COLUMNS: dict[str, str] = {
    "product_code": "text",
    "product_model": "text",
    "product_group": "text",
    "brand": "text",
    "product_image_url": "text",
    "product_page_urls": "jsonb",
    "is_sales": "text",
    "no_sales_reason": "text",
    "supply_price": "numeric",
    "invoice_price": "numeric",
    "market_price": "numeric",
    "stock_rebate": "numeric",
    "rebate_money": "numeric",
    "rebate_policy": "text",
}
PRICED_COLUMNS: dict[str, str] = PRODUCT_COLUMNS | {"no_price_reason": "text"}
CHANGE_COLUMNS: dict[str, str] = {
    "product_code": "text",
    "kind": "text",
    "old_value": "text",
    "new_value": "text",
}
ANSWER_COLUMNS: dict[str, str] = {
    "product_code": "text",
    "county_code": "text",
    "is_whole": "boolean",
}
STOCK_COLUMNS: dict[str, str] = {
    "product_code": "text",
    "county_code": "text",
    "sec_code": "text",
    "stock": "bigint",
    "warehouse_grade": "text",
    "cut_time": "text",
    "expected_delivery_at": "timestamptz",
    "delivery_hours": "numeric",
    "is_transfer": "boolean",
}


@dataclass(frozen=True)
class CatalogFrames:
    """What a load writes beside the partition's priced products, which never leave the database.

    ``answers`` says which product was answered in which county (``ANSWER_COLUMNS``); where
    ``is_whole`` is false, a warehouse of the answer could not be read and none is taken away.
    ``stock`` holds the warehouses of these answers (``STOCK_COLUMNS``).

    ``is_complete``: the products are everything the dealer may buy, so what is missing has
    vanished. ``counties`` are those of the dealer's configuration, whose stock counts; rows of
    other counties are removed, but for those that this run ``asked`` for, which count nowhere.
    """

    answers: pd.DataFrame
    stock: pd.DataFrame
    is_complete: bool
    counties: Collection[str]
    asked: Collection[str] = ()


@dataclass(frozen=True)
class LoadReport:
    """What a load did, in rows."""

    brands: int
    brands_new: int
    products: int
    products_new: int
    products_changed: int
    products_newer: int
    vanished: int
    stock_rows: int
    stock_new: int
    stock_removed: int
    # What the checks compare: counted in the tables after the writes.
    products_found: int
    stock_found: int
    stock_sums_wrong: tuple[str, ...]
    seconds: float


def load(
    engine: Engine,
    partition: Partition,
    frames: CatalogFrames,
    conclude: Callable[[Connection, LoadReport], None],
) -> LoadReport:
    """Write the stored priced products and the frames.

    ``conclude`` runs last in the same transaction and may refuse by raising.

    Loads of one dealer wait for each other. Loading the same frames twice changes only the times
    of sync.

    Raises:
        CatalogError: the database refused, nothing was committed.
        Exception: whatever ``conclude`` raised, nothing was committed.
    """

    def work(connection: Connection) -> LoadReport:
        lock_dealer(connection, partition.dealer)
        report = _load(connection, partition, frames)
        conclude(connection, report)
        return report

    return transaction(engine, work)


def _load(connection: Connection, partition: Partition, frames: CatalogFrames) -> LoadReport:
    bound = {
        "dealer": partition.dealer,
        "sync_date": partition.sync_date,
        "counties": list(frames.counties),
    }

    def run(statement: str, **values: Any) -> Any:
        return connection.execute(text(statement), bound | values)

    began = run("SELECT extract(epoch FROM clock_timestamp())").scalar_one()
    # Every join below has an equality to hash by; a nested loop is only ever a wrong guess.
    run("SET LOCAL enable_nestloop = off")
    _create(connection, "stage_product", PRODUCT_COLUMNS)
    run(_STAGE_PRODUCTS)
    run("ANALYZE stage_product")
    _stage(connection, "stage_answer", ANSWER_COLUMNS, frames.answers)
    _stage(connection, "stage_stock", STOCK_COLUMNS, frames.stock)
    run("CREATE TEMPORARY TABLE stage_recount (product_code text) ON COMMIT DROP")

    newer = run(_DROP_NEWER).rowcount
    run("DELETE FROM stage_answer a WHERE NOT EXISTS (SELECT FROM stage_product s"
        " WHERE s.product_code = a.product_code)")  # fmt: skip
    run("DELETE FROM stage_stock k WHERE NOT EXISTS (SELECT FROM stage_answer a"
        " WHERE (a.product_code, a.county_code) = (k.product_code, k.county_code))")  # fmt: skip
    run(_SWITCH_OFF_LATECOMERS, reason=VANISHED)

    brands_new = run(_UPSERT_BRANDS).rowcount
    removed = run(_REMOVE_STOCK).rowcount
    kept = [*frames.counties, *frames.asked]
    removed += run(_REMOVE_COUNTIES, kept=kept).scalar_one()
    stock = run(_UPSERT_STOCK).one()
    run(_MARK_COUNTED)
    products = run(_UPSERT_PRODUCTS).one()
    run(_RECOUNT)
    vanished = run(_SWITCH_OFF_VANISHED, reason=VANISHED).rowcount if frames.is_complete else 0
    run("UPDATE raw_partition SET loaded_at = clock_timestamp() WHERE dealer = :dealer"
        " AND sync_date = :sync_date AND asset_key = 'product_listings'")  # fmt: skip

    found = run(_COUNT).one()
    ended = run("SELECT extract(epoch FROM clock_timestamp())").scalar_one()
    return LoadReport(
        brands=found.brands,
        brands_new=brands_new,
        products=products.written,
        products_new=products.new,
        products_changed=products.changed,
        products_newer=newer,
        vanished=vanished,
        stock_rows=stock.written,
        stock_new=stock.new,
        stock_removed=removed,
        products_found=found.products,
        stock_found=found.stock,
        stock_sums_wrong=tuple(found.sums_wrong or ()),
        seconds=round(float(ended - began), 3),
    )


def _create(connection: Connection, name: str, columns: dict[str, str]) -> None:
    defined = ", ".join(f"{column} {kind}" for column, kind in columns.items())
    connection.execute(text(f"CREATE TEMPORARY TABLE {name} ({defined}) ON COMMIT DROP"))


def _stage(connection: Connection, name: str, columns: dict[str, str], frame: pd.DataFrame) -> None:
    _create(connection, name, columns)
    _copy(connection, name, list(columns), _rows(frame, columns))
    connection.execute(text(f"ANALYZE {name}"))


def _rows(frame: pd.DataFrame, columns: dict[str, str]) -> Iterable[Sequence[Any]]:
    series = [
        [None if value is None else dump_json(value) for value in frame[column]]
        if kind == "jsonb"
        else frame[column].to_list()
        for column, kind in columns.items()
    ]
    return zip(*series, strict=True)


def _copy(
    connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - an open connection has one
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def store_priced(engine: Engine, partition: Partition, products: pd.DataFrame) -> None:
    """Replace the partition's priced products by those of the frame."""

    def work(connection: Connection) -> None:
        lock_dealer(connection, partition.dealer)
        _stage(connection, "stage_priced", PRICED_COLUMNS, products)
        priced.replace(connection, partition, PRICED_COLUMNS)

    transaction(engine, work)


def store_changes(engine: Engine, partition: Partition, changes: pd.DataFrame) -> None:
    """Replace the partition's changes by those of the frame: code, kind, old and new value."""

    bound = {"dealer": partition.dealer, "sync_date": partition.sync_date}

    def work(connection: Connection) -> None:
        lock_dealer(connection, partition.dealer)
        _stage(connection, "stage_change", CHANGE_COLUMNS, changes)
        # A change that stays as it is stays untouched: who follows the changes is sent none twice.
        connection.execute(text(_REMOVE_CHANGES), bound)
        connection.execute(text(_UPSERT_CHANGES), bound)

    transaction(engine, work)


def read_priced(engine: Engine, partition: Partition, limit: int | None = None) -> pd.DataFrame:
    """The partition's priced products by code, all or the first ones, with ``PRICED_COLUMNS``."""
    statement = text(
        f"SELECT {', '.join(PRICED_COLUMNS)} FROM {priced.OF_DAY}"
        " ORDER BY product_code LIMIT :limit"
    )
    bound = {"dealer": partition.dealer, "sync_date": partition.sync_date, "limit": limit}
    rows = transaction(engine, lambda connection: connection.execute(statement, bound).all())
    return pd.DataFrame([tuple(row) for row in rows], columns=list(PRICED_COLUMNS), dtype=object)


# A quote that does not count changes nothing. `rules` says so too; a day that was priced by an
# earlier version may hold one.
_STAGED = {
    name: f"CASE WHEN supply_price > 0 THEN {name} END" if name in PRICE_COLUMNS else name
    for name in PRODUCT_COLUMNS
}
_STAGE_PRODUCTS = f"""
INSERT INTO stage_product ({", ".join(_STAGED)})
SELECT {", ".join(_STAGED.values())}
FROM {priced.OF_DAY}
"""

_REMOVE_CHANGES = """
DELETE FROM catalog_change c WHERE c.dealer = :dealer AND c.sync_date = :sync_date
  AND NOT EXISTS (
        SELECT FROM stage_change s WHERE (s.product_code, s.kind) = (c.product_code, c.kind))
"""

_UPSERT_CHANGES = """
INSERT INTO catalog_change AS c (dealer, sync_date, product_code, kind, old_value, new_value)
SELECT :dealer, :sync_date, product_code, kind, old_value, new_value
FROM stage_change ORDER BY product_code, kind
ON CONFLICT (dealer, sync_date, product_code, kind) DO UPDATE
SET old_value = excluded.old_value, new_value = excluded.new_value
WHERE (c.old_value, c.new_value) IS DISTINCT FROM (excluded.old_value, excluded.new_value)
"""

_DROP_NEWER = """
DELETE FROM stage_product s USING product p
WHERE p.dealer = :dealer AND p.product_code = s.product_code AND p.sync_date > :sync_date
"""

# A day that is loaded after a later one may bring products which the later listing no longer had.
_SWITCH_OFF_LATECOMERS = """
UPDATE stage_product s SET is_sales = '0', no_sales_reason = :reason
WHERE NOT EXISTS (
        SELECT FROM product p WHERE p.dealer = :dealer AND p.product_code = s.product_code)
  AND EXISTS (
        SELECT FROM raw_partition r
        WHERE r.dealer = :dealer AND r.asset_key = 'product_listings' AND r.is_complete
          AND r.loaded_at IS NOT NULL AND r.sync_date > :sync_date)
  -- It had them where it had a record of theirs that could not be read.
  AND NOT EXISTS (
        SELECT FROM listed_product l
        WHERE l.dealer = :dealer AND l.last_date > :sync_date
          AND l.product_code = s.product_code)
"""

_UPSERT_BRANDS = """
INSERT INTO brand (dealer, name)
SELECT :dealer, brand FROM stage_product WHERE brand IS NOT NULL GROUP BY brand ORDER BY brand
ON CONFLICT (dealer, name) DO NOTHING
"""

_REMOVE_STOCK = """
DELETE FROM product_stock t USING stage_answer a
WHERE t.dealer = :dealer AND t.product_code = a.product_code AND t.county_code = a.county_code
  AND a.is_whole
  AND NOT EXISTS (
        SELECT FROM stage_stock k
        WHERE (k.product_code, k.county_code, k.sec_code)
            = (t.product_code, t.county_code, t.sec_code))
"""

# Where a row that counted goes, the product is counted anew, asked for or not.
_REMOVE_COUNTIES = """
WITH removed AS (
    DELETE FROM product_stock
    WHERE dealer = :dealer AND sync_date <= :sync_date AND NOT county_code = ANY(:kept)
    RETURNING product_code, is_counted
), recounted AS (
    INSERT INTO stage_recount SELECT product_code FROM removed WHERE is_counted
)
SELECT count(*) FROM removed
"""

# A storage location is one place whatever counties it serves: the row with the most counts, that of
# the smaller county code where there are several.
_IS_COUNTED = """
county_code = ANY(:counties) AND row_number() OVER (
    PARTITION BY product_code, sec_code
    ORDER BY county_code = ANY(:counties) DESC, stock DESC, county_code COLLATE "C") = 1
"""

_UPSERT_STOCK = f"""
WITH written AS (
    INSERT INTO product_stock AS t (
        dealer, product_code, county_code, sec_code, stock, warehouse_grade, cut_time,
        expected_delivery_at, delivery_hours, is_transfer, is_counted, sync_date, synced_at)
    SELECT :dealer, product_code, county_code, sec_code, stock, warehouse_grade, cut_time,
        expected_delivery_at, delivery_hours, is_transfer, {_IS_COUNTED}, :sync_date, now()
    FROM stage_stock ORDER BY product_code, county_code, sec_code
    ON CONFLICT (dealer, product_code, county_code, sec_code) DO UPDATE SET
        stock = excluded.stock, warehouse_grade = excluded.warehouse_grade,
        cut_time = excluded.cut_time, expected_delivery_at = excluded.expected_delivery_at,
        delivery_hours = excluded.delivery_hours, is_transfer = excluded.is_transfer,
        is_counted = excluded.is_counted, sync_date = excluded.sync_date,
        synced_at = excluded.synced_at
    RETURNING (xmax = 0) AS is_new
)
SELECT count(*) AS written, count(*) FILTER (WHERE is_new) AS new FROM written
"""

# All of the dealer's rows, since a county that enters or leaves the configuration concerns products
# that nobody asked about; written is only what differs. Rows of newer days are theirs.
_MARK_COUNTED = f"""
WITH marked AS (
    UPDATE product_stock t SET is_counted = NOT t.is_counted
    FROM (
        SELECT product_code, county_code, sec_code, {_IS_COUNTED} AS is_counted
        FROM product_stock k
        WHERE dealer = :dealer AND NOT EXISTS (
            SELECT FROM product p
            WHERE p.dealer = :dealer AND p.product_code = k.product_code
              AND p.sync_date > :sync_date)
    ) m
    WHERE t.dealer = :dealer AND t.product_code = m.product_code
      AND t.county_code = m.county_code AND t.sec_code = m.sec_code
      AND t.is_counted <> m.is_counted
    RETURNING t.product_code
)
INSERT INTO stage_recount SELECT product_code FROM marked
"""

_FOLLOWING = (
    "name",
    "product_model",
    "product_group",
    "brand_id",
    "product_image_url",
    "product_page_urls",
    "is_sales",
    "no_sales_reason",
)
# What a row becomes, column by column; `updated_at` moves only when one of these differs.
_NEW_VALUES = (
    {name: f"excluded.{name}" for name in _FOLLOWING}
    | {
        # One quote or the other, never a mixture.
        name: f"CASE WHEN excluded.supply_price IS NULL THEN p.{name} ELSE excluded.{name} END"
        for name in PRICE_COLUMNS
    }
    | {
        "price": "coalesce(p.price, excluded.price)",
        "stock": "coalesce(excluded.stock, p.stock)",
    }
    | {
        name: f"CASE WHEN excluded.stock IS NULL THEN p.{name} ELSE excluded.{name} END"
        for name in ("warehouse_code", "warehouse_grade")
    }
)


# The products whose stock is to be computed: an answer about another county says nothing of it.
_ANSWERED = "SELECT product_code FROM stage_answer WHERE county_code = ANY(:counties)"


def _totals(products: str) -> str:
    """The stock of the products of a query: the sum of what counts, and the fullest warehouse."""
    return f"""
    SELECT c.product_code, coalesce(sum(t.stock), 0) AS stock,
        (array_agg(t.sec_code ORDER BY t.stock DESC, t.sec_code)
            FILTER (WHERE t.stock > 0))[1] AS warehouse_code,
        (array_agg(t.warehouse_grade ORDER BY t.stock DESC, t.sec_code)
            FILTER (WHERE t.stock > 0))[1] AS warehouse_grade
    FROM (SELECT DISTINCT product_code FROM ({products}) asked) c
    LEFT JOIN product_stock t
        ON t.dealer = :dealer AND t.product_code = c.product_code AND t.is_counted
    GROUP BY c.product_code
    """


_UPSERT_PRODUCTS = f"""
WITH totals AS ({_totals(_ANSWERED)}), written AS (
    INSERT INTO product AS p (
        dealer, product_code, name, product_model, product_group, brand_id, price,
        supply_price, invoice_price, market_price, stock_rebate, rebate_money,
        rebate_policy, product_image_url, product_page_urls, is_sales, no_sales_reason,
        stock, warehouse_code, warehouse_grade, source, sync_date, last_sync_at)
    SELECT :dealer, s.product_code, coalesce(s.product_model, s.product_code), s.product_model,
        s.product_group, b.id,
        CASE WHEN s.market_price IS NULL THEN s.supply_price
             WHEN s.market_price > 0 THEN s.market_price END,
        s.supply_price, s.invoice_price, s.market_price, s.stock_rebate, s.rebate_money,
        s.rebate_policy,
        s.product_image_url, coalesce(s.product_page_urls, '[]'), s.is_sales, s.no_sales_reason,
        w.stock, w.warehouse_code, w.warehouse_grade, 'haier', :sync_date, now()
    FROM stage_product s
    LEFT JOIN brand b ON b.dealer = :dealer AND b.name = s.brand
    LEFT JOIN totals w ON w.product_code = s.product_code
    ORDER BY s.product_code
    ON CONFLICT (dealer, product_code) DO UPDATE SET
        {", ".join(f"{name} = {value}" for name, value in _NEW_VALUES.items())},
        sync_date = excluded.sync_date,
        last_sync_at = excluded.last_sync_at,
        updated_at = CASE
            WHEN ({", ".join(f"p.{name}" for name in _NEW_VALUES)})
                IS DISTINCT FROM ({", ".join(_NEW_VALUES.values())})
            THEN now() ELSE p.updated_at END
    RETURNING (xmax = 0) AS is_new, updated_at = now() AS is_changed
)
SELECT count(*) AS written, count(*) FILTER (WHERE is_new) AS new,
    count(*) FILTER (WHERE is_changed AND NOT is_new) AS changed
FROM written
"""

# Products that lost a county without being asked for: those that vanished, a sync without stock.
_RECOUNT = f"""
UPDATE product p
SET stock = w.stock, warehouse_code = w.warehouse_code, warehouse_grade = w.warehouse_grade,
    updated_at = now()
FROM ({_totals("SELECT product_code FROM stage_recount")}) w
WHERE p.dealer = :dealer AND p.product_code = w.product_code
  AND (p.stock, p.warehouse_code, p.warehouse_grade)
    IS DISTINCT FROM (w.stock, w.warehouse_code, w.warehouse_grade)
"""

_SWITCH_OFF_VANISHED = """
UPDATE product p
SET is_sales = '0', no_sales_reason = :reason, sync_date = :sync_date,
    updated_at = now(), last_sync_at = now()
WHERE p.dealer = :dealer AND p.source = 'haier' AND p.sync_date <= :sync_date
  AND (p.is_sales <> '0' OR p.no_sales_reason IS DISTINCT FROM :reason)
  AND NOT EXISTS (SELECT FROM stage_product s WHERE s.product_code = p.product_code)
  -- Neither present nor gone: its record stands in the listing and could not be read.
  AND NOT EXISTS (
        SELECT FROM raw_record l
        WHERE l.dealer = :dealer AND l.sync_date = :sync_date AND l.asset_key = 'product_listings'
          AND l.product_code = p.product_code)
"""

_COUNT = f"""
SELECT
    (SELECT count(DISTINCT brand) FROM stage_product) AS brands,
    (SELECT count(*) FROM stage_product s JOIN product p
        ON p.dealer = :dealer AND p.product_code = s.product_code
        AND p.sync_date = :sync_date AND p.is_sales = s.is_sales) AS products,
    (SELECT count(*) FROM stage_stock k JOIN product_stock t
        ON t.dealer = :dealer AND t.product_code = k.product_code
        AND t.county_code = k.county_code AND t.sec_code = k.sec_code
        AND t.stock = k.stock) AS stock,
    (SELECT array_agg(product_code ORDER BY product_code) FROM (
        SELECT p.product_code FROM product p
        JOIN ({_ANSWERED} UNION SELECT product_code FROM stage_recount) c USING (product_code)
        LEFT JOIN product_stock t
            ON t.dealer = :dealer AND t.product_code = p.product_code AND t.is_counted
        WHERE p.dealer = :dealer
        GROUP BY p.product_code, p.stock
        HAVING p.stock IS DISTINCT FROM coalesce(sum(t.stock), 0)
    ) wrong) AS sums_wrong
"""
