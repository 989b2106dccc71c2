"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account_balance",
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("sync_date", sa.Date(), nullable=False),
        sa.Column("payer_account_code", sa.String(length=100), nullable=False),
        sa.Column("sale_group_code", sa.String(length=100), server_default="", nullable=False),
        sa.Column("payer_account_name", sa.Text(), nullable=True),
        sa.Column("sale_group_name", sa.Text(), nullable=True),
        sa.Column("balance", sa.Numeric(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "fetched_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "balance > -1e12 AND balance < 1e12", name=op.f("ck_account_balance_balance")
        ),
        sa.PrimaryKeyConstraint(
            "dealer",
            "sync_date",
            "payer_account_code",
            "sale_group_code",
            name=op.f("pk_account_balance"),
        ),
    )
    op.create_table(
        "brand",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brand")),
        sa.UniqueConstraint("dealer", "name", name=op.f("uq_brand_dealer_name")),
    )
    op.create_table(
        "catalog_change",
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("sync_date", sa.Date(), nullable=False),
        sa.Column("product_code", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("old_value", sa.Text(), nullable=True),
        sa.Column("new_value", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('appeared', 'vanished', 'back', 'price_up', 'price_down', 'sold_out', 'restocked')",
            name=op.f("ck_catalog_change_kind"),
        ),
        sa.PrimaryKeyConstraint(
            "dealer", "sync_date", "product_code", "kind", name=op.f("pk_catalog_change")
        ),
    )
    op.create_table(
        "dealer_pace",
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("booked", sa.ARRAY(sa.Double()), server_default="{}", nullable=False),
        sa.PrimaryKeyConstraint("dealer", name=op.f("pk_dealer_pace")),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "haier_config",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("config", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_haier_config")),
        sa.UniqueConstraint("name", name=op.f("uq_haier_config_name")),
    )
    op.create_table(
        "haier_sync_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("sync_type", sa.String(length=20), nullable=False),
        sa.Column("status", sa.String(length=20), server_default="pending", nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("total_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("success_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("sync_date", sa.Date(), nullable=True),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.Column("root_run_id", sa.String(length=64), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
        sa.Column("asset_key", sa.String(length=100), nullable=True),
        sa.Column(
            "metadata", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False
        ),
        sa.Column(
            "checks", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False
        ),
        sa.CheckConstraint(
            "(completed_at IS NOT NULL) = (status IN ('success', 'failed', 'partial'))",
            name=op.f("ck_haier_sync_log_completed_when_final"),
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'success', 'failed', 'partial')",
            name=op.f("ck_haier_sync_log_status"),
        ),
        sa.CheckConstraint(
            "sync_type IN ('products', 'prices', 'stock', 'order', 'logistics', 'manual', 'balance')",
            name=op.f("ck_haier_sync_log_sync_type"),
        ),
        sa.CheckConstraint(
            "total_count = success_count + failed_count AND total_count >= 0 AND success_count >= 0 AND failed_count >= 0",
            name=op.f("ck_haier_sync_log_counts_add_up"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_haier_sync_log")),
    )
    op.create_index(
        op.f("ix_haier_sync_log_created_at"), "haier_sync_log", ["created_at"], unique=False
    )
    op.create_index(
        "ix_haier_sync_log_partition",
        "haier_sync_log",
        ["dealer", "sync_date", "asset_key"],
        unique=False,
    )
    op.create_index(op.f("ix_haier_sync_log_run_id"), "haier_sync_log", ["run_id"], unique=False)
    op.create_index(op.f("ix_haier_sync_log_status"), "haier_sync_log", ["status"], unique=False)
    op.create_index(
        "ix_haier_sync_log_status_newest",
        "haier_sync_log",
        ["status", sa.literal_column("created_at DESC")],
        unique=False,
    )
    op.create_index(
        op.f("ix_haier_sync_log_sync_type"), "haier_sync_log", ["sync_type"], unique=False
    )
    op.create_index(
        "ix_haier_sync_log_sync_type_newest",
        "haier_sync_log",
        ["sync_type", sa.literal_column("created_at DESC")],
        unique=False,
    )
    op.create_table(
        "order_logistics",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("sync_date", sa.Date(), nullable=False),
        sa.Column("order_code", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "fetched_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "kind IN ('central', 'own', 'third_party')", name=op.f("ck_order_logistics_kind")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_logistics")),
        sa.UniqueConstraint(
            "dealer",
            "sync_date",
            "order_code",
            "kind",
            "position",
            name=op.f("uq_order_logistics_dealer_sync_date_order_code_kind_position"),
        ),
    )
    op.create_table(
        "priced_product",
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("sync_date", sa.Date(), nullable=False),
        sa.Column("product_code", sa.String(length=100), nullable=False),
        sa.Column("product_model", sa.Text(), nullable=True),
        sa.Column("product_group", sa.Text(), nullable=True),
        sa.Column("brand", sa.String(length=200), nullable=True),
        sa.Column("product_image_url", sa.Text(), nullable=True),
        sa.Column(
            "product_page_urls",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="[]",
            nullable=False,
        ),
        sa.Column("is_sales", sa.String(length=1), nullable=False),
        sa.Column("no_sales_reason", sa.Text(), nullable=True),
        sa.Column("supply_price", sa.Numeric(), nullable=True),
        sa.Column("invoice_price", sa.Numeric(), nullable=True),
        sa.Column("market_price", sa.Numeric(), nullable=True),
        sa.Column("stock_rebate", sa.Numeric(), nullable=True),
        sa.Column("rebate_money", sa.Numeric(), nullable=True),
        sa.Column("no_price_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("is_sales IN ('0', '1')", name=op.f("ck_priced_product_is_sales")),
        sa.CheckConstraint(
            "invoice_price >= 0 AND invoice_price < 1e10",
            name=op.f("ck_priced_product_invoice_price"),
        ),
        sa.CheckConstraint(
            "market_price >= 0 AND market_price < 1e10", name=op.f("ck_priced_product_market_price")
        ),
        sa.CheckConstraint(
            "rebate_money >= 0 AND rebate_money < 1e10", name=op.f("ck_priced_product_rebate_money")
        ),
        sa.CheckConstraint(
            "stock_rebate >= 0 AND stock_rebate < 1e10", name=op.f("ck_priced_product_stock_rebate")
        ),
        sa.CheckConstraint(
            "supply_price >= 0 AND supply_price < 1e10", name=op.f("ck_priced_product_supply_price")
        ),
        sa.PrimaryKeyConstraint(
            "dealer", "sync_date", "product_code", name=op.f("pk_priced_product")
        ),
    )
    op.create_table(
        "product_stock",
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("product_code", sa.String(length=100), nullable=False),
        sa.Column("county_code", sa.String(length=6), nullable=False),
        sa.Column("sec_code", sa.String(length=100), nullable=False),
        sa.Column("stock", sa.BigInteger(), nullable=False),
        sa.Column("warehouse_grade", sa.Text(), nullable=True),
        sa.Column("cut_time", sa.Text(), nullable=True),
        sa.Column("expected_delivery_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivery_hours", sa.Numeric(), nullable=True),
        sa.Column("is_transfer", sa.Boolean(), nullable=True),
        sa.Column("sync_date", sa.Date(), nullable=False),
        sa.Column(
            "synced_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint(
            "delivery_hours >= 0 AND delivery_hours < 1e6",
            name=op.f("ck_product_stock_delivery_hours"),
        ),
        sa.CheckConstraint("stock >= 0", name=op.f("ck_product_stock_stock")),
        sa.PrimaryKeyConstraint(
            "dealer", "product_code", "county_code", "sec_code", name=op.f("pk_product_stock")
        ),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "raw_partition",
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("sync_date", sa.Date(), nullable=False),
        sa.Column("asset_key", sa.String(length=100), nullable=False),
        sa.Column("root_run_id", sa.String(length=64), nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("record_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("is_complete", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("loaded_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("dealer", "sync_date", "asset_key", name=op.f("pk_raw_partition")),
    )
    op.create_table(
        "raw_price_quote",
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("sync_date", sa.Date(), nullable=False),
        sa.Column("product_code", sa.String(length=100), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("root_run_id", sa.String(length=64), nullable=False),
        sa.Column(
            "fetched_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint(
            "dealer", "sync_date", "product_code", name=op.f("pk_raw_price_quote")
        ),
    )
    op.create_table(
        "raw_product_listing",
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("sync_date", sa.Date(), nullable=False),
        sa.Column("product_code", sa.String(length=100), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("root_run_id", sa.String(length=64), nullable=False),
        sa.Column(
            "fetched_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint(
            "dealer", "sync_date", "product_code", name=op.f("pk_raw_product_listing")
        ),
    )
    op.create_table(
        "raw_stock_level",
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("sync_date", sa.Date(), nullable=False),
        sa.Column("product_code", sa.String(length=100), nullable=False),
        sa.Column("county_code", sa.String(length=6), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("root_run_id", sa.String(length=64), nullable=False),
        sa.Column(
            "fetched_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint(
            "dealer", "sync_date", "product_code", "county_code", name=op.f("pk_raw_stock_level")
        ),
    )
    op.create_table(
        "rejected_record",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("sync_date", sa.Date(), nullable=False),
        sa.Column("asset_key", sa.String(length=100), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejected_record")),
    )
    op.create_index(
        op.f("ix_rejected_record_dealer_sync_date"),
        "rejected_record",
        ["dealer", "sync_date"],
        unique=False,
    )
    op.create_table(
        "product",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("product_code", sa.String(length=100), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("product_model", sa.Text(), nullable=True),
        sa.Column("product_group", sa.Text(), nullable=True),
        sa.Column("brand_id", sa.BigInteger(), nullable=True),
        sa.Column("price", sa.Numeric(), nullable=True),
        sa.Column("supply_price", sa.Numeric(), nullable=True),
        sa.Column("invoice_price", sa.Numeric(), nullable=True),
        sa.Column("market_price", sa.Numeric(), nullable=True),
        sa.Column("stock_rebate", sa.Numeric(), nullable=True),
        sa.Column("rebate_money", sa.Numeric(), nullable=True),
        sa.Column("product_image_url", sa.Text(), nullable=True),
        sa.Column(
            "product_page_urls",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="[]",
            nullable=False,
        ),
        sa.Column("is_sales", sa.String(length=1), nullable=False),
        sa.Column("no_sales_reason", sa.Text(), nullable=True),
        sa.Column("stock", sa.BigInteger(), nullable=True),
        sa.Column("warehouse_code", sa.String(length=100), nullable=True),
        sa.Column("warehouse_grade", sa.Text(), nullable=True),
        sa.Column("source", sa.String(length=20), server_default="haier", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("sync_date", sa.Date(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "last_sync_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("is_sales IN ('0', '1')", name=op.f("ck_product_is_sales")),
        sa.CheckConstraint(
            "invoice_price >= 0 AND invoice_price < 1e10", name=op.f("ck_product_invoice_price")
        ),
        sa.CheckConstraint(
            "market_price >= 0 AND market_price < 1e10", name=op.f("ck_product_market_price")
        ),
        sa.CheckConstraint("price >= 0 AND price < 1e10", name=op.f("ck_product_price")),
        sa.CheckConstraint(
            "rebate_money >= 0 AND rebate_money < 1e10", name=op.f("ck_product_rebate_money")
        ),
        sa.CheckConstraint("stock >= 0", name=op.f("ck_product_stock")),
        sa.CheckConstraint(
            "stock_rebate >= 0 AND stock_rebate < 1e10", name=op.f("ck_product_stock_rebate")
        ),
        sa.CheckConstraint(
            "supply_price >= 0 AND supply_price < 1e10", name=op.f("ck_product_supply_price")
        ),
        sa.ForeignKeyConstraint(["brand_id"], ["brand.id"], name=op.f("fk_product_brand_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_product")),
        sa.UniqueConstraint("dealer", "product_code", name=op.f("uq_product_dealer_product_code")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index(op.f("ix_product_brand_id"), "product", ["brand_id"], unique=False)
    op.create_table(
        "tracked_order",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("order_code", sa.String(length=100), nullable=False),
        sa.Column("delivery_record_code", sa.String(length=100), nullable=True),
        sa.Column("member_id", sa.String(length=100), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tracked_order")),
        sa.UniqueConstraint(
            "dealer", "order_code", name=op.f("uq_tracked_order_dealer_order_code")
        ),
    )


def downgrade() -> None:
    op.drop_table("tracked_order")
    op.drop_index(op.f("ix_product_brand_id"), table_name="product")
    op.drop_table("product")
    op.drop_index(op.f("ix_rejected_record_dealer_sync_date"), table_name="rejected_record")
    op.drop_table("rejected_record")
    op.drop_table("raw_stock_level")
    op.drop_table("raw_product_listing")
    op.drop_table("raw_price_quote")
    op.drop_table("raw_partition")
    op.drop_table("product_stock")
    op.drop_table("priced_product")
    op.drop_table("order_logistics")
    op.drop_index("ix_haier_sync_log_sync_type_newest", table_name="haier_sync_log")
    op.drop_index(op.f("ix_haier_sync_log_sync_type"), table_name="haier_sync_log")
    op.drop_index("ix_haier_sync_log_status_newest", table_name="haier_sync_log")
    op.drop_index(op.f("ix_haier_sync_log_status"), table_name="haier_sync_log")
    op.drop_index(op.f("ix_haier_sync_log_run_id"), table_name="haier_sync_log")
    op.drop_index("ix_haier_sync_log_partition", table_name="haier_sync_log")
    op.drop_index(op.f("ix_haier_sync_log_created_at"), table_name="haier_sync_log")
    op.drop_table("haier_sync_log")
    op.drop_table("haier_config")
    op.drop_table("dealer_pace")
    op.drop_table("catalog_change")
    op.drop_table("brand")
    op.drop_table("account_balance")
