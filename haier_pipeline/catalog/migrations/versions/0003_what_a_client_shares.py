"""What the processes of a client share: the pace of its calls, and its token.

``dealer_pace`` stays for a version of the program that may still run beside this one.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "client_pace",
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("booked", sa.ARRAY(sa.Double()), server_default="{}", nullable=False),
        sa.Column("counts", sa.ARRAY(sa.Integer()), server_default="{}", nullable=False),
        sa.Column(
            "rates",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("client_id", "origin", name=op.f("pk_client_pace")),
        prefixes=["UNLOGGED"],
        postgresql_with={"fillfactor": 10},
    )
    op.create_table(
        "client_token",
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("renew_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("holder", sa.Uuid(), nullable=True),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("client_id", "origin", "secret_hash", name=op.f("pk_client_token")),
    )


def downgrade() -> None:
    op.drop_table("client_token")
    op.drop_table("client_pace")
