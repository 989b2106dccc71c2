"""The priced products of every stored day, a row only where something changed.

A row of ``priced_product`` holds from its ``sync_date`` on until before ``valid_to``, for those
days that were priced at all: of these ``raw_partition`` has a note. The view
``priced_product_of_day`` shows each day whole, also those which a version before this one stored as
rows of their own (``valid_to`` null).

Days may be stored in any order, and again: a day that differs from its neighbours cuts the row that
held for all three.
"""

from collections.abc import Collection

from sqlalchemy import Connection, text

from haier_pipeline.catalog.raw import Partition

ASSET = "priced_products"


def replace(connection: Connection, partition: Partition, columns: Collection[str]) -> None:
    """Make the rows of the temporary table ``stage_priced`` those of the partition.

    ``columns``: of ``stage_priced``, ``product_code`` among them. Whoever calls holds the dealer's
    lock.
    """
    bound = {"dealer": partition.dealer, "sync_date": partition.sync_date, "asset": ASSET}
    facts = [name for name in columns if name != "product_code"]
    same = (
        f"({', '.join(f's.{name}' for name in facts)})"
        f" IS NOT DISTINCT FROM ({', '.join(f'p.{name}' for name in facts)})"
    )
    listed = ", ".join(columns)
    # Every join here has an equality to hash by; a nested loop is only ever a wrong guess.
    for statement in (
        "SET LOCAL enable_nestloop = off",
        f"DELETE FROM priced_product WHERE {_OF_DEALER} AND {_OF_DAY} AND valid_to IS NULL",
        f"""
        CREATE TEMPORARY TABLE stage_differing ON COMMIT DROP AS
        SELECT p.product_code, p.sync_date, p.valid_to FROM priced_product p
        WHERE {_HOLDS} AND NOT EXISTS (
            SELECT FROM stage_priced s WHERE s.product_code = p.product_code AND {same})
        """,
        f"""
        INSERT INTO priced_product (dealer, sync_date, valid_to, {listed})
        SELECT p.dealer, n.day, p.valid_to, {", ".join(f"p.{name}" for name in columns)}
        FROM ({_NEXT_DAY}) n(day) CROSS JOIN stage_differing d
        JOIN priced_product p ON p.product_code = d.product_code AND p.sync_date = d.sync_date
        WHERE p.dealer = :dealer AND d.valid_to > n.day
        """,
        f"""
        UPDATE priced_product p SET valid_to = :sync_date FROM stage_differing d
        WHERE p.dealer = :dealer AND p.product_code = d.product_code AND p.sync_date = d.sync_date
          AND d.sync_date < :sync_date
        """,
        f"""
        DELETE FROM priced_product p USING stage_differing d
        WHERE p.dealer = :dealer AND p.product_code = d.product_code AND p.sync_date = d.sync_date
          AND d.sync_date = :sync_date
        """,
        f"""
        INSERT INTO priced_product (dealer, sync_date, valid_to, {listed})
        SELECT :dealer, :sync_date, n.day, {listed}
        FROM ({_NEXT_DAY}) n(day) CROSS JOIN stage_priced s
        WHERE NOT EXISTS (
            SELECT FROM priced_product p WHERE {_HOLDS} AND p.product_code = s.product_code)
        """,
        """
        INSERT INTO raw_partition (dealer, sync_date, asset_key, root_run_id, completed_at)
        VALUES (:dealer, :sync_date, :asset, '', clock_timestamp())
        ON CONFLICT (dealer, sync_date, asset_key)
        DO UPDATE SET completed_at = excluded.completed_at
        """,
        "SET LOCAL enable_nestloop TO DEFAULT",
    ):
        connection.execute(text(statement), bound)


_OF_DEALER = "dealer = :dealer"
_OF_DAY = "sync_date = :sync_date"
_HOLDS = "p.dealer = :dealer AND p.sync_date <= :sync_date AND p.valid_to > :sync_date"
_NEXT_DAY = f"""
    SELECT coalesce(min(sync_date), 'infinity') FROM raw_partition
    WHERE {_OF_DEALER} AND asset_key = :asset AND sync_date > :sync_date
"""
