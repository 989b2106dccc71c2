"""What an operator does in Dagster's interface, done by clicks in a real browser."""

from datetime import timedelta
from functools import partial

import pytest
from playwright.sync_api import expect

from haier_pipeline.domain.partition import today
from haier_pipeline_tests.browser.installation import (
    PRODUCTS_BEFORE,
    PRODUCTS_TODAY,
    Installation,
    past_days,
    wait_for,
)
from haier_pipeline_tests.browser.interface import CHROMIUM, Interface

pytestmark = [
    pytest.mark.skipif(
        not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}; Debian's package is chromium"
    ),
    # Every single wait is bounded by itself; the start of everything counts with the first test.
    pytest.mark.timeout(420),
]

DERIVED = ["brands", "catalog_changes", "priced_products", "product_stock", "products"]
FETCHED = ["price_quotes", "product_listings", "stock_levels"]
ACCOUNT = ["account_balances", "order_logistics"]


def test_todays_partition_of_every_asset_is_materialized_by_clicks(
    interface: Interface, installation: Installation
) -> None:
    interface.go_to("Lineage")
    interface.materialize_all(dealer="haier")
    run_id = interface.open_launched_run()
    ended = interface.says("Success").or_(interface.says("Failure"))
    expect(ended.first).to_be_visible()
    expect(interface.says("Success")).to_be_visible()

    log = installation.rows(
        "SELECT asset_key, status, sync_date, dealer FROM haier_sync_log WHERE run_id = %s"
        " ORDER BY asset_key",
        run_id,
    )
    assert log == [
        (asset, "success", today(), "haier") for asset in sorted(ACCOUNT + FETCHED + DERIVED)
    ]
    loaded = installation.rows(
        "SELECT count(*), min(sync_date), count(brand_id), count(price) FROM product"
    )
    [(products, oldest, with_brand, with_price)] = loaded
    assert (products, oldest) == (PRODUCTS_TODAY, today())
    assert with_brand > 0
    assert with_price > 0
    [(warehouses, oldest)] = installation.rows("SELECT count(*), min(sync_date) FROM product_stock")
    assert warehouses > 0
    assert oldest == today()
    [(accounts,)] = installation.rows("SELECT count(*) FROM account_balance")
    assert accounts > 0

    # What the log says is what the asset's page says.
    [(message,)] = installation.rows(
        "SELECT message FROM haier_sync_log WHERE run_id = %s AND asset_key = 'products'", run_id
    )
    interface.open_asset("products")
    expect(interface.says(message)).to_be_visible()
    expect(interface.says(f"{today()}|haier")).to_be_visible()


def test_a_week_is_backfilled_by_clicks_without_a_call_and_newer_rows_stay(
    interface: Interface, installation: Installation
) -> None:
    """Fault matrix, row 44."""
    week = past_days()[:-1]
    assert week[-1] - week[0] == timedelta(days=6)
    newer = [installation.rows(query) for query in CATALOG]
    assert all(newer)
    assert installation.rows(COMPUTED, week) == []
    installation.platform.reset()

    def have_ended(count: int) -> bool:
        return len(installation.rows(ENDED, week, len(DERIVED))) >= count

    interface.open_job("derive")
    interface.materialize_all(dealer="haier", dates=f"[{week[0]}...{week[-1]}]")
    for count in range(1, len(week) + 1):
        wait_for(partial(have_ended, count))

    interface.open_newest_backfill()
    expect(interface.says("Succeeded")).to_be_visible()
    assert interface.cells()[1:] == ["7", "0", "7", "0"]
    log = installation.rows(
        "SELECT sync_date, array_agg(asset_key::text ORDER BY asset_key), count(DISTINCT run_id),"
        f" array_agg(DISTINCT status::text) {OF_BACKFILL} GROUP BY sync_date ORDER BY sync_date",
        week,
    )
    assert log == [(day, DERIVED, 1, ["success"]) for day in week]
    [(runs,)] = installation.rows(f"SELECT count(DISTINCT run_id) {OF_BACKFILL}", week)
    assert runs == len(week), "days share a run"
    assert installation.rows(COMPUTED, week) == [(day, PRODUCTS_BEFORE) for day in week]
    assert installation.platform.report()["total"] == 0, "the backfill called the platform"
    assert [installation.rows(query) for query in CATALOG] == newer


CATALOG = (
    "SELECT to_jsonb(t) FROM product t ORDER BY product_code",
    "SELECT to_jsonb(t) FROM product_stock t ORDER BY product_code, county_code, sec_code",
)
COMPUTED = (
    "SELECT sync_date, count(*) FROM priced_product_of_day WHERE sync_date = ANY(%s)"
    " GROUP BY sync_date ORDER BY sync_date"
)
OF_BACKFILL = "FROM haier_sync_log WHERE sync_date = ANY(%s) AND run_id NOT LIKE 'past %%'"
# Runs whose last asset has its end.
ENDED = (
    f"SELECT run_id {OF_BACKFILL} AND completed_at IS NOT NULL GROUP BY run_id HAVING count(*) = %s"
)
