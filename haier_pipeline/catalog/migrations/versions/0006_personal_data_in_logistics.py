"""When the personal data of drivers and contacts was taken out of a stored logistics entry."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("order_logistics", sa.Column("people_removed_at", sa.DateTime(timezone=True)))
    op.create_index(
        "ix_order_logistics_with_people",
        "order_logistics",
        ["dealer", "order_code"],
        postgresql_where=sa.text("people_removed_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_order_logistics_with_people", table_name="order_logistics")
    op.drop_column("order_logistics", "people_removed_at")
