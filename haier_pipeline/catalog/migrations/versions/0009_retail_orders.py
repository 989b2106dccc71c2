"""Retail orders: their items, the inbox, what happened to them, parcels and pictures."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "retail_order",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("so_id", sa.String(length=64), nullable=False),
        sa.Column("online_no", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=20), server_default="new", nullable=False),
        sa.Column("haier_order_no", sa.String(length=100), nullable=True),
        sa.Column("consignee_name", sa.Text(), nullable=True),
        sa.Column("consignee_mobile", sa.Text(), nullable=True),
        sa.Column("province", sa.Text(), nullable=False),
        sa.Column("city", sa.Text(), nullable=False),
        sa.Column("area", sa.Text(), nullable=False),
        sa.Column("town", sa.Text(), nullable=True),
        sa.Column("detail_address", sa.Text(), nullable=True),
        sa.Column("remark", sa.Text(), nullable=True),
        sa.Column("total_amount", sa.Numeric(), nullable=False),
        sa.Column("ordered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("distribution_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("install_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "is_government_order", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column("state_reason", sa.Text(), nullable=True),
        sa.Column(
            "may_have_arrived", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column("push_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("pushed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
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
        sa.Column("content_hash", sa.Text(), nullable=True),
        sa.Column("mobile_digest", sa.String(length=64), nullable=True),
        sa.Column(
            "attention",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="[]",
            nullable=False,
        ),
        sa.Column("is_held", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("tracked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pictured_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("people_removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('new', 'pushing', 'pushed', 'confirmed', 'out_of_stock', 'refused', 'shipped', 'delivered', 'cancel_requested', 'partly_cancelled', 'cancelled')",
            name=op.f("ck_retail_order_state"),
        ),
        sa.CheckConstraint(
            "total_amount >= 0 AND total_amount < 1e16", name=op.f("ck_retail_order_total_amount")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retail_order")),
        sa.UniqueConstraint("dealer", "so_id", name=op.f("uq_retail_order_dealer_so_id")),
    )
    op.create_index(
        op.f("ix_retail_order_dealer_haier_order_no"),
        "retail_order",
        ["dealer", "haier_order_no"],
        unique=False,
    )
    op.create_index(
        op.f("ix_retail_order_dealer_id"), "retail_order", ["dealer", "id"], unique=False
    )
    op.create_index(
        op.f("ix_retail_order_dealer_online_no"),
        "retail_order",
        ["dealer", "online_no"],
        unique=False,
    )
    op.create_index(
        op.f("ix_retail_order_dealer_state_id"),
        "retail_order",
        ["dealer", "state", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_retail_order_mobile_digest"), "retail_order", ["mobile_digest"], unique=False
    )
    op.create_index(
        "ix_retail_order_to_send",
        "retail_order",
        ["dealer", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('new', 'pushing')"),
    )
    op.create_index(
        "ix_retail_order_with_people",
        "retail_order",
        ["ended_at"],
        unique=False,
        postgresql_where=sa.text("people_removed_at IS NULL"),
    )
    op.create_table(
        "retail_order_item",
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("product_code", sa.String(length=100), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("retail_price", sa.Numeric(), nullable=False),
        sa.Column("discount_amount", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("actual_price", sa.Numeric(), nullable=False),
        sa.Column("is_gift", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("received_quantity", sa.Integer(), server_default="0", nullable=False),
        sa.Column("returned_quantity", sa.Integer(), server_default="0", nullable=False),
        sa.Column("rejected_quantity", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "actual_price >= 0 AND actual_price < 1e10",
            name=op.f("ck_retail_order_item_actual_price"),
        ),
        sa.CheckConstraint(
            "discount_amount >= 0 AND discount_amount < 1e10",
            name=op.f("ck_retail_order_item_discount_amount"),
        ),
        sa.CheckConstraint("quantity >= 1", name=op.f("ck_retail_order_item_quantity")),
        sa.CheckConstraint(
            "retail_price >= 0 AND retail_price < 1e10",
            name=op.f("ck_retail_order_item_retail_price"),
        ),
        sa.ForeignKeyConstraint(
            ["order_id"], ["retail_order.id"], name=op.f("fk_retail_order_item_order_id")
        ),
        sa.PrimaryKeyConstraint("order_id", "position", name=op.f("pk_retail_order_item")),
    )
    op.create_table(
        "retail_order_inbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retail_order_inbox")),
    )
    op.create_index(
        "ix_retail_order_inbox_waiting",
        "retail_order_inbox",
        ["dealer", "id"],
        unique=False,
        postgresql_where=sa.text("problem IS NULL"),
    )
    op.create_table(
        "order_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=True),
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("method", sa.String(length=100), nullable=True),
        sa.Column("platform_order_no", sa.String(length=100), nullable=True),
        sa.Column("external_order_no", sa.String(length=100), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("signature", sa.String(length=64), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('created', 'sent', 'pushed', 'push_failed', 'confirmed', 'refused', 'cancel_requested', 'cancelled', 'partly_cancelled', 'cancel_refused', 'rescheduled', 'out_of_stock', 'shipped', 'delivered', 'picture', 'resolved', 'unclear', 'note')",
            name=op.f("ck_order_event_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["order_id"], ["retail_order.id"], name=op.f("fk_order_event_order_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_order_event")),
        sa.UniqueConstraint(
            "dealer",
            "method",
            "platform_order_no",
            "signature",
            name=op.f("uq_order_event_dealer_method_platform_order_no_signature"),
        ),
    )
    op.create_index(
        "ix_order_event_answers",
        "order_event",
        ["dealer", "id"],
        unique=False,
        postgresql_where=sa.text("kind IN ('pushed', 'push_failed')"),
    )
    op.create_index(op.f("ix_order_event_order_id"), "order_event", ["order_id"], unique=False)
    op.create_index(
        "ix_order_event_unknown",
        "order_event",
        ["dealer", "platform_order_no"],
        unique=False,
        postgresql_where=sa.text("order_id IS NULL"),
    )
    op.create_index(
        "ix_order_event_waiting",
        "order_event",
        ["id"],
        unique=False,
        postgresql_where=sa.text("applied_at IS NULL AND order_id IS NOT NULL"),
    )
    op.create_table(
        "order_parcel",
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("delivery_record_code", sa.String(length=100), nullable=False),
        sa.Column("carrier_code", sa.Text(), nullable=True),
        sa.Column("carrier_name", sa.Text(), nullable=True),
        sa.Column("tracking_no", sa.String(length=100), nullable=False),
        sa.Column(
            "serial_numbers",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="[]",
            nullable=False,
        ),
        sa.Column(
            "first_seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["order_id"], ["retail_order.id"], name=op.f("fk_order_parcel_order_id")
        ),
        sa.PrimaryKeyConstraint(
            "order_id", "delivery_record_code", "tracking_no", name=op.f("pk_order_parcel")
        ),
    )
    op.create_table(
        "order_picture",
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("delivery_record_code", sa.String(length=100), server_default="", nullable=False),
        sa.Column("serial_number", sa.Text(), nullable=True),
        sa.Column("scene", sa.Integer(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("url", sa.String(length=1000), nullable=False),
        sa.Column(
            "first_seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["order_id"], ["retail_order.id"], name=op.f("fk_order_picture_order_id")
        ),
        sa.PrimaryKeyConstraint("order_id", "url", name=op.f("pk_order_picture")),
    )
    op.create_table(
        "order_pusher",
        sa.Column("only_row", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column(
            "seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.CheckConstraint("only_row", name=op.f("ck_order_pusher_only_row")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("pk_order_pusher")),
    )


def downgrade() -> None:
    op.drop_table("order_pusher")
    op.drop_table("order_picture")
    op.drop_table("order_parcel")
    op.drop_table("order_event")
    op.drop_table("retail_order_inbox")
    op.drop_table("retail_order_item")
    op.drop_table("retail_order")
