"""What is looked for in the sync log, found without reading all of it."""

from collections.abc import Callable

from sqlalchemy import Engine, text

from haier_pipeline.catalog import overview, watch

DEALERS = [f"dealer{number}" for number in range(5)]


LOOKS: dict[str, Callable[[Engine], object]] = {
    "last ends": watch.last_ends,
    "last loads": watch.last_loads,
    "ever synced": lambda engine: watch.has_synced(engine, DEALERS),
    "last syncs": lambda engine: overview.last_syncs(engine, DEALERS),
}


def test_looking_at_a_long_log_reads_a_small_part_of_it(engine: Engine) -> None:
    """Row 56: in pages of the log and its indexes, which no neighbour on the machine changes."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO haier_sync_log (sync_type, status, message, dealer, sync_date, run_id,"
                " root_run_id, asset_key, created_at, started_at, completed_at, metadata, checks)"
                " SELECT 'stock', 'success', 'row', 'dealer' || n % 5, at::date,"
                " 'run' || n / 35, 'run' || n / 35, (ARRAY['product_listings', 'price_quotes',"
                " 'stock_levels', 'priced_products', 'brands', 'products', 'product_stock'])"
                "[n / 5 % 7 + 1], at - interval '1 minute', at - interval '1 minute', at,"
                " '{\"calls\": 100}', '[]'"
                # All of it within the days that are looked at.
                " FROM (SELECT n, now() - interval '2 days' * (1 - n / 150000.0) AS at"
                " FROM generate_series(1, 150000) n) spread"
            )
        )
    read = (
        "SELECT sum(heap_blks_read + heap_blks_hit) + sum(idx_blks_read + idx_blks_hit)"
        " FROM pg_statio_user_tables WHERE relname = 'haier_sync_log'"
    )

    def pages() -> int:
        # The session that ends tells what it has read.
        engine.dispose()
        with engine.connect() as connection:
            return int(connection.scalar(text(read)) or 0)

    spent = {}
    for name, look in LOOKS.items():
        before = pages()
        assert look(engine)
        spent[name] = pages() - before
    # The table has thousands, and nobody has gathered statistics of it.
    assert max(spent.values()) < 1_500, spent


def test_the_last_ends_and_loads_are_those_of_the_last_days(engine: Engine) -> None:
    def write(asset: str, root: str, age: str, status: str = "success", day: str = "0") -> None:
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO haier_sync_log (sync_type, status, message, dealer, sync_date,"
                    " run_id, root_run_id, asset_key, created_at, completed_at) VALUES ('products',"
                    " :status, :message, 'haier', (now() AT TIME ZONE 'Asia/Shanghai')::date"
                    " - CAST(:day AS int), :root, :root, :asset, now() - CAST(:age AS interval),"
                    " now() - CAST(:age AS interval))"
                ),
                {"asset": asset, "root": root, "age": age, "status": status, "day": day}
                | {"message": f"{asset} of {root}"},
            )

    write("price_quotes", "daily", "5 hours")
    write("products", "daily", "4 hours")
    write("products", "hourly", "1 hour", status="failed")
    write("stock_levels", "hourly", "1 hour")
    write("product_stock", "hourly", "50 minutes", status="partial")
    write("products", "backfill", "10 minutes", day="9")
    write("brands", "long ago", "3 days")
    ends = {end.asset_key: end.message for end in watch.last_ends(engine)}
    assert ends == {
        "price_quotes": "price_quotes of daily",
        "products": "products of hourly",
        "stock_levels": "stock_levels of hourly",
        "product_stock": "product_stock of hourly",
    }
    loads = watch.last_loads(engine)["haier"]
    with engine.connect() as connection:
        synced, stocked, first = connection.execute(
            text(
                "SELECT max(completed_at) FILTER (WHERE asset_key = 'products'"
                " AND root_run_id = 'daily'), max(completed_at) FILTER (WHERE asset_key ="
                " 'product_stock'), min(created_at) FROM haier_sync_log"
            )
        ).one()
    assert (loads.synced_at, loads.stocked_at, loads.first_seen_at) == (synced, stocked, first)
