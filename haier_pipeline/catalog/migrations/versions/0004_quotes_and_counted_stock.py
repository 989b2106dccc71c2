"""A quote's kind of rebate, which rows of stock count, and what a listing is measured by.

Also takes back the prices of zero that the last version gave the shop: a first quote whose market
price was 0 made the shop's price 0.00, which no sync touched again. Null means that the next
positive price starts it. Done here once, so that a price of zero which the shop itself sets from now
on stays the shop's.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# A quote of zero once stood in the row, or in a day that is still stored.
PRICES_OF_ZERO = """
UPDATE product p SET price = NULL, updated_at = now()
WHERE p.price = 0 AND p.source = 'haier' AND (
    coalesce(p.market_price, p.supply_price) = 0
    OR EXISTS (
        SELECT FROM priced_product q
        WHERE q.dealer = p.dealer AND q.product_code = p.product_code
          AND coalesce(q.market_price, q.supply_price) = 0))
"""


def upgrade() -> None:
    for table in ("product", "priced_product"):
        op.add_column(table, sa.Column("rebate_policy", sa.Text(), nullable=True))
    op.add_column("product_stock", _flag("is_counted", default="true"))
    op.add_column("raw_partition", _count("longest_count"))
    op.add_column("raw_partition", _flag("shrink_accepted", default="false"))
    op.add_column("raw_partition", _count("nameless_count"))
    op.execute(PRICES_OF_ZERO)


def downgrade() -> None:
    for column in ("nameless_count", "shrink_accepted", "longest_count"):
        op.drop_column("raw_partition", column)
    op.drop_column("product_stock", "is_counted")
    for table in ("priced_product", "product"):
        op.drop_column(table, "rebate_policy")


def _flag(name: str, *, default: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), server_default=sa.text(default), nullable=False)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default="0", nullable=False)
