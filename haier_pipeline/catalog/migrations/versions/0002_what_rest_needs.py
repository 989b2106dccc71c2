"""What REST needs: idempotency keys, and indexes for pages of the log and of changed products."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LOG_INDEXES = (["dealer", "id"], ["status", "id"], ["sync_type", "id"], ["completed_at"])


def upgrade() -> None:
    op.create_table(
        "idempotency_key",
        sa.Column("caller", sa.String(length=50), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("caller", "key", name=op.f("pk_idempotency_key")),
    )
    op.create_index(op.f("ix_idempotency_key_created_at"), "idempotency_key", ["created_at"])
    for columns in LOG_INDEXES:
        op.create_index(op.f(f"ix_haier_sync_log_{'_'.join(columns)}"), "haier_sync_log", columns)
    op.create_index(op.f("ix_product_dealer_updated_at"), "product", ["dealer", "updated_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_product_dealer_updated_at"), table_name="product")
    for columns in LOG_INDEXES:
        op.drop_index(op.f(f"ix_haier_sync_log_{'_'.join(columns)}"), table_name="haier_sync_log")
    op.drop_index(op.f("ix_idempotency_key_created_at"), table_name="idempotency_key")
    op.drop_table("idempotency_key")
