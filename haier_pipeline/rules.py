"""Pure functions on frames: what a product costs, what stands where, what looks wrong.

pandas in, pandas out. No database, no network, no clock; what a field of the platform means is read
elsewhere. All frames hold Python objects (``Decimal``, ``None``), never floats.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

SHANGHAI = ZoneInfo("Asia/Shanghai")

LISTING_COLUMNS = (
    "product_code",
    "product_model",
    "product_group",
    "brand",
    "product_image_url",
    "product_page_urls",
    "is_sales",
    "no_sales_reason",
)
QUOTE_COLUMNS = (
    "product_code",
    "supply_price",
    "invoice_price",
    "market_price",
    "stock_rebate",
    "rebate_money",
    "reason",
)
PRICE_COLUMNS = ("supply_price", "invoice_price", "market_price", "stock_rebate", "rebate_money")
STOCK_COLUMNS = (
    "product_code",
    "county_code",
    "sec_code",
    "stock",
    "warehouse_grade",
    "cut_time",
    "expected_delivery_at",
    "delivery_hours",
    "is_transfer",
)

# A unique index cannot hold longer names than this in every script.
BRAND_LENGTH = 200

_CENT = Decimal("0.01")


def frame(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> pd.DataFrame:
    """A frame of Python objects, also when it is empty: ``None`` stays ``None``."""
    return pd.DataFrame(list(rows), columns=list(columns), dtype=object)


def price_products(listing: pd.DataFrame, quotes: pd.DataFrame) -> pd.DataFrame:
    """Put the prices beside the products: one row for each product of the listing.

    Columns are those of the listing, the five price columns and ``no_price_reason``. A product
    without a quote, or whose quote names no supply price, has ``None`` in all five: its rebates
    mean nothing without a price they lower.
    """
    in_force = quotes[quotes["supply_price"].notna() | quotes["market_price"].notna()]
    priced = listing.merge(
        in_force[["product_code", *PRICE_COLUMNS]], on="product_code", how="left"
    ).merge(
        quotes[["product_code", "reason"]].rename(columns={"reason": "no_price_reason"}),
        on="product_code",
        how="left",
    )
    for column in PRICE_COLUMNS:
        priced[column] = _each(priced[column], _cents)
    priced["no_price_reason"] = _each(priced["no_price_reason"], lambda reason: reason)
    priced["brand"] = _each(
        priced["brand"], lambda brand: brand if len(brand) <= BRAND_LENGTH else None
    )
    return priced.sort_values("product_code", ignore_index=True)


def overlong_brands(listing: pd.DataFrame) -> list[str]:
    """The products whose brand is too long to be kept; they are loaded without one."""
    too_long = [brand is not None and len(brand) > BRAND_LENGTH for brand in listing["brand"]]
    return list(listing.loc[too_long, "product_code"])


def listing_shrank(before: int | None, now: int) -> bool:
    """Whether a listing is more than half shorter than the last good one."""
    return before is not None and now * 2 < before


def delivery_time(text: str | None) -> datetime | None:
    """The platform's expected delivery time, which it writes without a zone and means in China.

    Text that is no date and time gives ``None``; it stays in the stored payload.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=SHANGHAI)


def _cents(amount: Decimal) -> Decimal:
    """An amount written with at least two decimals, its value untouched."""
    exponent = amount.as_tuple().exponent
    return amount.quantize(_CENT) if isinstance(exponent, int) and exponent > -2 else amount


def _each(values: "pd.Series[Any]", change: Callable[[Any], Any]) -> "pd.Series[Any]":
    """Change every value that is there; what a merge left empty becomes ``None``."""
    changed = [None if missing else change(value)
               for value, missing in zip(values, values.isna(), strict=True)]  # fmt: skip
    return pd.Series(changed, index=values.index, dtype=object)
