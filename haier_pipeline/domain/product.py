"""What a product is made of: its columns, its codes, what can happen to it."""

import re
from collections.abc import Iterable
from typing import Final

from haier_pipeline.errors import InvalidInput

#: In CNY, of a quote.
AMOUNT_COLUMNS: Final = (
    "supply_price",
    "invoice_price",
    "market_price",
    "stock_rebate",
    "rebate_money",
)
#: What a quote is made of: all of it counts, or none.
PRICE_COLUMNS: Final = (*AMOUNT_COLUMNS, "rebate_policy")
LISTING_COLUMNS: Final = (
    "product_code",
    "product_model",
    "product_group",
    "brand",
    "product_image_url",
    "product_page_urls",
    "is_sales",
    "no_sales_reason",
)
QUOTE_COLUMNS: Final = ("product_code", *PRICE_COLUMNS, "reason", "remarks")
STOCK_COLUMNS: Final = (
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

CHANGE_KINDS: Final = (
    "appeared",
    "vanished",
    "back",
    "price_up",
    "price_down",
    "sold_out",
    "restocked",
)
CHANGE_COLUMNS: Final = ("product_code", "kind", "old_value", "new_value")

#: A unique index cannot hold longer brand names than this in every script.
BRAND_LENGTH: Final = 200

#: A county's national code (GB/T 2260): six ASCII digits.
COUNTY_PATTERN: Final = "[0-9]{6}"


def is_county_code(text: str) -> bool:
    """Whether it is written like a county's code; whether there is such a county is Haier's."""
    return re.fullmatch(COUNTY_PATTERN, text) is not None


def require_county_codes(codes: Iterable[str]) -> None:
    """Refuse what is no county's code.

    Raises:
        InvalidInput: names the first one.
    """
    for code in codes:
        if not is_county_code(code):
            raise InvalidInput(f"county code {code!r} is not six digits, such as 110101")
