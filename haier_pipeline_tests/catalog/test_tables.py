"""What the tables themselves refuse, whoever writes."""

from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from haier_pipeline.catalog.tables import metadata
from haier_pipeline.domain.assets import SYNC_TYPES
from haier_pipeline.domain.product import AMOUNT_COLUMNS

KEY: dict[str, Any] = {"dealer": "haier", "sync_date": "2026-11-22", "product_code": "A"}
ROOT: dict[str, Any] = {"root_run_id": "r", "payload": "{}"}
# One good row for each table; what a test changes is the only thing wrong with it.
GOOD: dict[str, dict[str, Any]] = {
    "brand": {"dealer": "haier", "name": "海尔"},
    "product": KEY | {"name": "冰箱", "is_sales": "1"},
    "product_stock": KEY | {"county_code": "110101", "sec_code": "Q1", "stock": 3},
    "priced_product": KEY | {"is_sales": "1"},
    "catalog_change": KEY | {"kind": "appeared"},
    "rejected_record": {"dealer": "haier", "sync_date": "2026-11-22", "asset_key": "price_quotes"}
    | {"run_id": "r", "reason": "supplyPrice is negative"},
    "account_balance": {"dealer": "haier", "sync_date": "2026-11-22", "payer_account_code": "P"}
    | {"balance": "-12.50", "payload": "{}"},
    "order_logistics": {"dealer": "haier", "sync_date": "2026-11-22", "order_code": "SO.1"}
    | {"kind": "central", "position": 0, "payload": "{}"},
    "tracked_order": {"dealer": "haier", "order_code": "SO.1"},
    "idempotency_key": {"caller": "shop", "key": "k", "request_hash": "h", "run_id": "r"},
    "raw_product_listing": KEY | ROOT,
    "raw_price_quote": KEY | ROOT,
    "raw_stock_level": KEY | ROOT | {"county_code": "110101"},
    "raw_payload": {"id": 1, "hash": "\\x00", "payload": "{}"},
    "raw_answer": {"dealer": "haier", "sync_date": "2026-11-22", "asset_key": "price_quotes"}
    | {"root_run_id": "r", "product_codes": "{A}", "payload_ids": "{1}"},
    "listed_product": {"dealer": "haier", "product_code": "A"}
    | {"first_date": "2026-11-22", "last_date": "2026-11-22"},
    "raw_partition": {"dealer": "haier", "sync_date": "2026-11-22", "asset_key": "price_quotes"}
    | {"root_run_id": "r"},
    "haier_config": {"name": "haier", "config": "{}"},
    "haier_sync_log": {"dealer": "haier", "sync_type": "stock", "status": "processing"},
    "dealer_pace": {"dealer": "haier"},
    "client_pace": {"client_id": "c", "origin": "https://h:443"},
    "client_token": {"client_id": "c", "origin": "https://h:443", "secret_hash": "0" * 64},
    "haier_database": {"oldest_program": "0005"},
    "catalog_removed": {"table_name": "product", "dealer": "haier", "change_xid": 1}
    | {"key": '{"product_code": "A"}'},
    # Its first row has the id 1.
    "retail_order": {"dealer": "haier", "so_id": "A1", "online_no": "A1", "total_amount": 1}
    | {"province": "p", "city": "c", "area": "a", "ordered_at": "2026-11-22T00:00:00Z"},
    "retail_order_item": {"order_id": 1, "position": 1, "product_code": "A", "quantity": 1}
    | {"retail_price": 1, "actual_price": 1},
    "retail_order_inbox": {"dealer": "haier", "payload": "{}"},
    "order_event": {"dealer": "haier", "order_id": 1, "kind": "created"},
    "order_parcel": {"order_id": 1, "delivery_record_code": "SO.1.F1", "tracking_no": "T"},
    "order_picture": {"order_id": 1, "url": "https://pictures.example/1.jpg"},
    "order_pusher": {"only_row": True},
}
BAD_AMOUNTS = ("NaN", "Infinity", "-Infinity", "-0.01", "10000000000")
DONE = {"status": "success", "completed_at": "2026-11-22T00:00:00Z"}


def insert(engine: Engine, table: str, **changes: Any) -> None:
    row = GOOD[table] | changes
    columns, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    with engine.begin() as connection:
        statement = f"INSERT INTO {table} ({columns}) VALUES ({values})"  # noqa: S608 - ours
        connection.execute(text(statement), row)


def refusal(engine: Engine, table: str, **changes: Any) -> str:
    with pytest.raises(DBAPIError) as caught:
        insert(engine, table, **changes)
    assert caught.value.orig is not None
    diagnosis = getattr(caught.value.orig, "diag", None)
    return str(getattr(diagnosis, "constraint_name", None) or caught.value.orig)


def test_a_good_row_of_every_table_is_taken(engine: Engine) -> None:
    """Else the other tests here would prove nothing."""
    assert GOOD.keys() == metadata.tables.keys()
    with engine.begin() as connection:
        # It has one row, which is there already.
        connection.execute(text("DELETE FROM haier_database"))
    for table in GOOD:
        insert(engine, table)


@pytest.mark.parametrize("value", BAD_AMOUNTS)
def test_no_amount_is_unreal_negative_or_boundless(engine: Engine, value: str) -> None:
    """Fault matrix, row 20: NaN and Infinity are refused by the database too."""
    for column in ("price", *AMOUNT_COLUMNS):
        assert refusal(engine, "product", **{column: value}) == f"ck_product_{column}"
    for column in AMOUNT_COLUMNS:
        refused = refusal(engine, "priced_product", **{column: value})
        assert refused == f"ck_priced_product_{column}"


@pytest.mark.parametrize("value", BAD_AMOUNTS)
def test_no_amount_of_an_order_is_unreal_or_negative(engine: Engine, value: str) -> None:
    """Fault matrix, row 20."""
    insert(engine, "retail_order")
    for column in ("retail_price", "discount_amount", "actual_price"):
        refused = refusal(engine, "retail_order_item", **{column: value})
        assert refused == f"ck_retail_order_item_{column}"
    assert refusal(engine, "retail_order", total_amount="NaN") == "ck_retail_order_total_amount"


def test_the_inbox_and_the_words_of_orders_take_only_what_is_known(engine: Engine) -> None:
    insert(engine, "retail_order")
    assert refusal(engine, "retail_order", state="lost") == "ck_retail_order_state"
    assert refusal(engine, "order_event", kind="lost") == "ck_order_event_kind"
    assert refusal(engine, "retail_order") == "uq_retail_order_dealer_so_id"
    assert refusal(engine, "retail_order_item", quantity=0) == "ck_retail_order_item_quantity"
    callback = {"method": "m", "platform_order_no": "A1", "signature": "S"}
    insert(engine, "order_event", **callback)
    refused = refusal(engine, "order_event", **callback)
    assert refused == "uq_order_event_dealer_method_platform_order_no_signature"
    # Of our own events there may be many.
    insert(engine, "order_event")
    insert(engine, "order_event")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e12"])
def test_a_balance_may_be_negative_but_not_unreal(engine: Engine, value: str) -> None:
    """Fault matrix, row 20."""
    assert refusal(engine, "account_balance", balance=value) == "ck_account_balance_balance"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", "1000000"])
def test_no_delivery_time_is_unreal_or_negative(engine: Engine, value: str) -> None:
    """Fault matrix, row 20."""
    refused = refusal(engine, "product_stock", delivery_hours=value)
    assert refused == "ck_product_stock_delivery_hours"


@pytest.mark.parametrize("table", ["product", "product_stock"])
def test_no_stock_is_negative(engine: Engine, table: str) -> None:
    assert refusal(engine, table, stock=-1) == f"ck_{table}_stock"


@pytest.mark.parametrize("table", ["product", "priced_product"])
def test_the_flag_is_one_or_zero(engine: Engine, table: str) -> None:
    assert refusal(engine, table, is_sales="2") == f"ck_{table}_is_sales"


@pytest.mark.parametrize(
    "counts",
    [(3, 1, 1), (0, 1, 0), (0, 1, -1), (-1, -1, 0), (-2, -1, -1)],
)
def test_counts_of_a_log_row_add_up(engine: Engine, counts: tuple[int, int, int]) -> None:
    """Fault matrix, invariant C."""
    names = ("total_count", "success_count", "failed_count")
    refused = refusal(engine, "haier_sync_log", **dict(zip(names, counts, strict=True)))
    assert refused == "ck_haier_sync_log_counts_add_up"


def test_a_log_row_has_an_end_exactly_when_its_status_is_final(engine: Engine) -> None:
    """Fault matrix, invariant C."""
    name = "ck_haier_sync_log_completed_when_final"
    for status in ("success", "partial", "failed"):
        assert refusal(engine, "haier_sync_log", status=status) == name
        insert(engine, "haier_sync_log", **DONE | {"status": status})
    for status in ("pending", "processing"):
        assert refusal(engine, "haier_sync_log", **DONE | {"status": status}) == name


def test_a_log_row_knows_only_its_types_and_statuses(engine: Engine) -> None:
    assert refusal(engine, "haier_sync_log", sync_type="x") == "ck_haier_sync_log_sync_type"
    assert refusal(engine, "haier_sync_log", status="done") == "ck_haier_sync_log_status"
    for sync_type in SYNC_TYPES:
        insert(engine, "haier_sync_log", sync_type=sync_type)


def test_kinds_of_changes_and_of_logistics_are_known_ones(engine: Engine) -> None:
    assert refusal(engine, "catalog_change", kind="moved") == "ck_catalog_change_kind"
    assert refusal(engine, "order_logistics", kind="x") == "ck_order_logistics_kind"


@pytest.mark.parametrize(
    ("table", "constraint"),
    [
        ("brand", "uq_brand_dealer_name"),
        ("product", "uq_product_dealer_product_code"),
        ("product_stock", "pk_product_stock"),
        ("catalog_change", "pk_catalog_change"),
        ("haier_config", "uq_haier_config_name"),
        ("raw_stock_level", "pk_raw_stock_level"),
    ],
)
def test_nothing_stands_twice(engine: Engine, table: str, constraint: str) -> None:
    insert(engine, table)
    assert refusal(engine, table) == constraint


def test_two_dealers_may_have_the_same_product_and_brand(engine: Engine) -> None:
    for table in ("brand", "product", "product_stock"):
        insert(engine, table)
        insert(engine, table, dealer="other")


def test_a_brand_in_use_stays_and_an_unknown_one_is_refused(engine: Engine) -> None:
    assert refusal(engine, "product", brand_id=12345) == "fk_product_brand_id"
    insert(engine, "brand", id=7)
    insert(engine, "product", brand_id=7)
    with pytest.raises(IntegrityError, match="fk_product_brand_id"), engine.begin() as connection:
        connection.execute(text("DELETE FROM brand"))


@pytest.mark.parametrize("column", ["name", "config"])
def test_a_configuration_has_a_name_and_a_content(engine: Engine, column: str) -> None:
    assert column in refusal(engine, "haier_config", **{column: None})


def test_a_name_of_a_dealer_has_at_most_fifty_characters(engine: Engine) -> None:
    insert(engine, "haier_config", name="海" * 50)
    assert "too long" in refusal(engine, "haier_config", name="x" * 51)
