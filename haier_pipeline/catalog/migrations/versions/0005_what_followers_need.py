"""Readers follow in the order of commit; the database says who it is and who may use it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from haier_pipeline.catalog.migrations.followed import FOLLOWED, follow, unfollow

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "haier_database",
        sa.Column("only_row", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("oldest_program", sa.String(length=32), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("only_row", name=op.f("ck_haier_database_only_row")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("pk_haier_database")),
    )
    op.execute(f"INSERT INTO haier_database (oldest_program) VALUES ('{revision}')")
    op.create_table(
        "catalog_removed",
        sa.Column("table_name", sa.String(length=63), nullable=False),
        sa.Column("dealer", sa.String(length=50), nullable=False),
        sa.Column("key", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("change_xid", sa.BigInteger(), nullable=False),
        sa.Column(
            "removed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("table_name", "dealer", "key", name=op.f("pk_catalog_removed")),
    )
    op.create_index(
        "ix_catalog_removed_followed", "catalog_removed", ["table_name", "dealer", "change_xid"]
    )
    op.create_index(op.f("ix_catalog_removed_removed_at"), "catalog_removed", ["removed_at"])
    for table, (key, _) in FOLLOWED.items():
        # A constant default: no row is written anew, however many there are.
        op.add_column(
            table, sa.Column("change_xid", sa.BigInteger(), server_default="0", nullable=False)
        )
        if table == "product_stock":
            # All quantities may move every hour: since PostgreSQL 16 a BRIN index lets their rows
            # be rewritten in place.
            op.create_index(
                f"ix_{table}_followed",
                table,
                ["change_xid"],
                postgresql_using="brin",
                postgresql_with={"pages_per_range": 16},
            )
        else:
            op.create_index(f"ix_{table}_followed", table, ["dealer", "change_xid", *key])
    follow(op.get_bind())


def downgrade() -> None:
    unfollow(op.get_bind())
    for table in FOLLOWED:
        op.drop_index(f"ix_{table}_followed", table_name=table)
        op.drop_column(table, "change_xid")
    op.drop_table("catalog_removed")
    op.drop_table("haier_database")
