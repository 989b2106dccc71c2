"""The priced products of every stored day, a row only where something changed.

A row of ``priced_product`` holds from its ``sync_date`` on until before ``valid_to``, for those
days that were priced at all: of these ``raw_partition`` has a note. The view
``priced_product_of_day`` shows each day whole, also those which a version before this one stored as
rows of their own (``valid_to`` null).

Days may be stored in any order, and again: a day that differs from its neighbours cuts the row that
held for all three.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, text

from haier_pipeline.domain.partition import Partition

ASSET = "priced_products"


def replace(connection: Connection, partition: Partition, columns: Collection[str]) -> None:
    """Make the rows of the temporary table ``stage_priced`` those of the partition.

    ``columns``: of ``stage_priced``, ``product_code`` among them. Whoever calls holds the dealer's
    lock.
    """
    bound: dict[str, Any] = vars(partition) | {"asset": ASSET}
    # Text, since Python knows no infinite day.
    bound["next_day"] = connection.scalar(text(_NEXT_DAY), bound)
    facts = [name for name in columns if name != "product_code"]
    same = (
        f"({', '.join(f's.{name}' for name in facts)})"
        f" IS NOT DISTINCT FROM ({', '.join(f'p.{name}' for name in facts)})"
    )
    listed = ", ".join(columns)
    next_day = "CAST(CAST(:next_day AS text) AS date)"
    # Every join here has an equality to hash by; a nested loop is only ever a wrong guess.
    for statement in (
        "SET LOCAL enable_nestloop = off",
        """
        DELETE FROM priced_product
        WHERE dealer = :dealer AND sync_date = :sync_date AND valid_to IS NULL
        """,
        f"""
        CREATE TEMPORARY TABLE stage_differing ON COMMIT DROP AS
        SELECT p.product_code, p.sync_date, p.valid_to FROM priced_product p
        WHERE {_HOLDS} AND NOT EXISTS (
            SELECT FROM stage_priced s WHERE s.product_code = p.product_code AND {same})
        """,
        f"""
        INSERT INTO priced_product (dealer, sync_date, valid_to, {listed})
        SELECT p.dealer, {next_day}, p.valid_to, {", ".join(f"p.{name}" for name in columns)}
        FROM stage_differing d
        JOIN priced_product p ON p.product_code = d.product_code AND p.sync_date = d.sync_date
        WHERE p.dealer = :dealer AND d.valid_to > {next_day}
        """,
        """
        UPDATE priced_product p SET valid_to = :sync_date FROM stage_differing d
        WHERE p.dealer = :dealer AND p.product_code = d.product_code AND p.sync_date = d.sync_date
          AND d.sync_date < :sync_date
        """,
        """
        DELETE FROM priced_product p USING stage_differing d
        WHERE p.dealer = :dealer AND p.product_code = d.product_code AND p.sync_date = d.sync_date
          AND d.sync_date = :sync_date
        """,
        f"""
        INSERT INTO priced_product (dealer, sync_date, valid_to, {listed})
        SELECT CAST(:dealer AS text), :sync_date, {next_day}, {listed} FROM stage_priced s
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


_HOLDS = "p.dealer = :dealer AND p.sync_date <= :sync_date AND p.valid_to > :sync_date"

#: The rows of a day, ``:dealer`` and ``:sync_date``, as something to select from. The view would
#: join the note of the day, and nothing but a loop joins what has no equality.
OF_DAY = """(
    SELECT * FROM priced_product p
    WHERE p.dealer = :dealer AND p.sync_date <= :sync_date AND p.valid_to > :sync_date
      AND EXISTS (
            SELECT FROM raw_partition
            WHERE dealer = :dealer AND sync_date = :sync_date AND asset_key = 'priced_products')
    UNION ALL
    SELECT * FROM priced_product
    WHERE dealer = :dealer AND sync_date = :sync_date AND valid_to IS NULL
) AS of_day"""

_NEXT_DAY = """
    SELECT coalesce(min(sync_date), '9999-12-31')::text FROM raw_partition
    WHERE dealer = :dealer AND asset_key = :asset AND sync_date > :sync_date
"""
