"""Each payload of the platform once, a day's answers as packs, priced products where they change.
And the newest rows of a long log without reading the others.

What a version before this one stored stays where it is, and readable: the views take both.
Since that version may still run beside this one, and reads yesterday, the answers of the next two
days are stored in its way where there are answers already.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0006"
branch_labels = None
depends_on = None

# Every answer of a day, the newest where there are several about the same. Payloads are looked up
# only where somebody asks for them.
RAW_RECORD = """
CREATE VIEW raw_record AS
SELECT dealer, sync_date, asset_key, product_code, county_code,
    CASE WHEN payload_id IS NULL THEN payload
         ELSE (SELECT p.payload FROM raw_payload p WHERE p.id = payload_id) END AS payload,
    root_run_id, fetched_at
FROM (
    SELECT DISTINCT ON (dealer, sync_date, asset_key, product_code, county_code) *
    FROM (
        SELECT dealer, sync_date, asset_key, position, root_run_id, fetched_at,
            unnest(product_codes) AS product_code, unnest(county_codes) AS county_code,
            unnest(payload_ids) AS payload_id, NULL::jsonb AS payload,
            generate_subscripts(product_codes, 1) AS place
        FROM raw_answer
        UNION ALL
        SELECT dealer, sync_date, 'product_listings', 0, root_run_id, fetched_at,
            product_code::text COLLATE "C", NULL, NULL, payload, 0 FROM raw_product_listing
        UNION ALL
        SELECT dealer, sync_date, 'price_quotes', 0, root_run_id, fetched_at,
            product_code::text COLLATE "C", NULL, NULL, payload, 0 FROM raw_price_quote
        UNION ALL
        SELECT dealer, sync_date, 'stock_levels', 0, root_run_id, fetched_at,
            product_code::text COLLATE "C", county_code::text COLLATE "C", NULL, payload, 0
        FROM raw_stock_level
    ) told
    ORDER BY dealer, sync_date, asset_key, product_code, county_code,
        position DESC, place DESC
) newest
"""

_PRICED = """product_code, product_model, product_group, brand, product_image_url,
    product_page_urls, is_sales, no_sales_reason, supply_price, invoice_price, market_price,
    stock_rebate, rebate_money, no_price_reason, rebate_policy"""

PRICED_PRODUCT_OF_DAY = f"""
CREATE VIEW priced_product_of_day AS
SELECT d.dealer, d.sync_date, {_PRICED}
FROM raw_partition d
JOIN priced_product p ON p.dealer = d.dealer
    AND p.sync_date <= d.sync_date AND p.valid_to > d.sync_date
WHERE d.asset_key = 'priced_products'
UNION ALL
SELECT dealer, sync_date, {_PRICED} FROM priced_product WHERE valid_to IS NULL
"""


def upgrade() -> None:
    op.add_column(
        "haier_database",
        sa.Column("packed_from", sa.Date(), server_default="0001-01-01", nullable=False),
    )
    op.execute(
        "UPDATE haier_database SET packed_from ="
        " (clock_timestamp() AT TIME ZONE 'Asia/Shanghai')::date + 2"
        " WHERE EXISTS (SELECT FROM raw_partition)"
    )
    op.execute("CREATE SEQUENCE raw_number")
    op.create_table(
        "raw_payload",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_raw_payload")),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index(op.f("ix_raw_payload_hash_id"), "raw_payload", ["hash", "id"])
    op.create_table(
        "raw_answer",
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("sync_date", sa.Date(), nullable=False),
        sa.Column("asset_key", sa.String(length=100), nullable=False),
        sa.Column(
            "position",
            sa.BigInteger(),
            server_default=sa.text("nextval('raw_number'::regclass)"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("root_run_id", sa.String(length=64), nullable=False),
        sa.Column("product_codes", sa.ARRAY(sa.Text(collation="C")), nullable=False),
        sa.Column("county_codes", sa.ARRAY(sa.Text(collation="C")), nullable=True),
        sa.Column("payload_ids", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column(
            "fetched_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint(
            "dealer", "sync_date", "asset_key", "position", name=op.f("pk_raw_answer")
        ),
        postgresql_partition_by="LIST (sync_date)",
    )
    # Packs of a few dozen answers are worth compressing too; the partitions take this over.
    for column in ("product_codes", "county_codes", "payload_ids"):
        op.execute(f"ALTER TABLE raw_answer ALTER {column} SET STORAGE MAIN")
    # For a role that may write, but is not the owner who alone can make partitions.
    op.execute("CREATE TABLE raw_payload_rest PARTITION OF raw_payload DEFAULT")
    op.execute("CREATE TABLE raw_answer_rest PARTITION OF raw_answer DEFAULT")
    op.create_table(
        "listed_product",
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("product_code", sa.String(length=100), nullable=False),
        sa.Column("first_date", sa.Date(), nullable=False),
        sa.Column("last_date", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("dealer", "product_code", name=op.f("pk_listed_product")),
        postgresql_with={"fillfactor": 50},
    )
    op.execute(
        "INSERT INTO listed_product (dealer, product_code, first_date, last_date)"
        " SELECT dealer, product_code, min(sync_date), max(sync_date) FROM raw_product_listing"
        " GROUP BY dealer, product_code"
    )
    op.add_column("priced_product", sa.Column("valid_to", sa.Date(), nullable=True))
    op.create_check_constraint(
        op.f("ck_priced_product_valid_to"), "priced_product", "valid_to > sync_date"
    )
    op.create_index(
        op.f("ix_priced_product_dealer_valid_to"), "priced_product", ["dealer", "valid_to"]
    )
    of_assets = sa.text("asset_key IS NOT NULL")
    op.create_index(
        "ix_haier_sync_log_last_end",
        "haier_sync_log",
        ["dealer", "asset_key", sa.text("completed_at DESC"), sa.text("id DESC")],
        postgresql_where=of_assets,
    )
    op.create_index(
        "ix_haier_sync_log_seen",
        "haier_sync_log",
        ["dealer", "created_at"],
        postgresql_where=of_assets,
    )
    op.create_index(
        op.f("ix_haier_sync_log_root_run_id_asset_key"),
        "haier_sync_log",
        ["root_run_id", "asset_key"],
    )
    op.execute(RAW_RECORD)
    op.execute(PRICED_PRODUCT_OF_DAY)


def downgrade() -> None:
    op.execute("DROP VIEW priced_product_of_day, raw_record")
    for index in ("root_run_id_asset_key", "seen", "last_end"):
        op.drop_index(f"ix_haier_sync_log_{index}", table_name="haier_sync_log")
    op.drop_index(op.f("ix_priced_product_dealer_valid_to"), table_name="priced_product")
    # What such rows hold is computed again from the answers.
    op.execute("DELETE FROM priced_product WHERE valid_to IS NOT NULL")
    op.drop_column("priced_product", "valid_to")
    for table in ("listed_product", "raw_answer", "raw_payload"):
        op.drop_table(table)
    op.execute("DROP SEQUENCE raw_number")
    op.drop_column("haier_database", "packed_from")
