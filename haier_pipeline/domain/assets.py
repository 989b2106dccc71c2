"""The assets and their checks: the one place where both are declared.

An asset's name is the plural of what one of its records is; its group says how far from the
platform it stands: ``platform``, ``pricing``, ``catalog``, with ``account`` and ``orders`` beside
them. How a check is judged is decided elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: What a row of the sync log can be about.
SYNC_TYPES: Final = ("products", "prices", "stock", "order", "logistics", "manual", "balance")


@dataclass(frozen=True)
class CheckRule:
    """What must hold of an asset. A ``blocking`` one stops the sync where it fails.

    ``severity`` is that of a failure, ``WARN`` or ``ERROR``. ``name`` is what Dagster shows and the
    sync log keeps. One that is not ``is_partitioned`` looks at all dealers at once and is judged by
    the clock, not by the step that makes the asset.
    """

    name: str
    description: str
    blocking: bool = False
    severity: str = "ERROR"
    is_partitioned: bool = True


NOT_EMPTY: Final = CheckRule(
    "not_empty", "The listing holds products. An empty one is never loaded.", blocking=True
)
NOT_SHRUNK: Final = CheckRule(
    "not_shrunk",
    "The listing is at least half as long as the dealer's longest good one of the last days; "
    "records that cannot be read count as missing. Where it is right that it is not, run once with "
    "accept_shrink.",
    blocking=True,
)
RECORDS_READABLE: Final = CheckRule(
    "records_readable",
    "At most 5 % of the records cannot be read. Where that is all right, run once with "
    "accept_shrink.",
    blocking=True,
)
CODES_VALID: Final = CheckRule(
    "codes_valid",
    "Every record has a product code, and no code comes twice with other values.",
    severity="WARN",
)
QUOTES_ANSWERED: Final = CheckRule(
    "quotes_answered", "At least 95 % of the procurable products were answered."
)
# A few gaps warn, more than 5 % are an error.
STOCK_ANSWERED: Final = CheckRule(
    "stock_answered",
    "Every product was answered in every county; more than 5 % missing is an error.",
)
QUANTITIES_VALID: Final = CheckRule(
    "quantities_valid", "Every quantity is a whole number, none is negative."
)
QUOTES_UNDERSTOOD: Final = CheckRule(
    "quotes_understood",
    "Every rebate is of a known kind, every discount a fraction below 1, no price is zero.",
    severity="WARN",
)
INVOICE_ADDS_UP: Final = CheckRule(
    "invoice_price_adds_up",
    "Invoice price = supply price × (1 − discount) − rebate, to the cent; none is missing.",
    severity="WARN",
)
PRICES_PLAUSIBLE: Final = CheckRule(
    "prices_plausible",
    "No amount is negative, no price more than half off or double since the last sync.",
)
PRODUCTS_MATCH: Final = CheckRule(
    "rows_match",
    "Every computed product is in the table, else the load is taken back.",
    blocking=True,
)
STOCK_MATCHES: Final = CheckRule(
    "rows_match",
    "Every computed warehouse row is in the table, else the load is taken back.",
    blocking=True,
)
STOCK_ADDS_UP: Final = CheckRule(
    "stock_adds_up",
    "A product's stock is the sum of its warehouses that count, else the load is taken back.",
    blocking=True,
)
FRESHNESS: Final = CheckRule(
    "fresh",
    "Every active dealer's last sync is at most a day old, by day its stock at most two hours.",
    is_partitioned=False,
)


@dataclass(frozen=True)
class Asset:
    """What is made for each partition; ``sync_type`` is under which the log keeps it."""

    name: str
    sync_type: str
    group: str
    kinds: frozenset[str]
    description: str
    checks: tuple[CheckRule, ...] = ()


_FETCHED = frozenset({"api", "postgres"})
_COMPUTED = frozenset({"pandas", "postgres"})
_TABLE = frozenset({"postgres", "table"})

ASSETS: Final[Mapping[str, Asset]] = {
    asset.name: asset
    for asset in (
        Asset(
            "product_listings",
            "products",
            "platform",
            _FETCHED,
            "What the platform says the dealer may buy, one record for each product. "
            "Only today can be asked for.",
            (NOT_EMPTY, NOT_SHRUNK, RECORDS_READABLE, CODES_VALID),
        ),
        Asset(
            "price_quotes",
            "prices",
            "platform",
            _FETCHED,
            "Haier's prices of the procurable products, 20 products a call. Only today can be "
            "asked for.",
            (QUOTES_ANSWERED,),
        ),
        Asset(
            "stock_levels",
            "stock",
            "platform",
            _FETCHED,
            "Which warehouses hold how many, one call for each procurable product and county. "
            "Only today can be asked for.",
            (STOCK_ANSWERED, QUANTITIES_VALID),
        ),
        Asset(
            "priced_products",
            "prices",
            "pricing",
            _COMPUTED,
            "Each listed product with its prices. Computed from what is stored, so any past "
            "day can be computed again.",
            (QUOTES_UNDERSTOOD, INVOICE_ADDS_UP, PRICES_PLAUSIBLE),
        ),
        Asset("brands", "products", "catalog", _TABLE, "Table brand: the brands met so far."),
        Asset(
            "products",
            "products",
            "catalog",
            _TABLE,
            "Table product: what the dealer sells, with Haier's prices and the stock. The shop's "
            "own columns are never touched; an older day never overwrites a newer one.",
            (PRODUCTS_MATCH, FRESHNESS),
        ),
        Asset(
            "product_stock",
            "stock",
            "catalog",
            _TABLE,
            "Table product_stock: how many stand in which warehouse for a county.",
            (STOCK_MATCHES, STOCK_ADDS_UP),
        ),
        Asset(
            "catalog_changes",
            "products",
            "catalog",
            _TABLE,
            "Table catalog_change: what appeared, vanished, came back, became dearer or "
            "cheaper, sold out or was restocked since the dealer's previous day.",
        ),
        Asset(
            "account_balances",
            "balance",
            "account",
            _FETCHED,
            "Table account_balance: what stands on the dealer's payer accounts, in CNY.",
        ),
        Asset(
            "order_logistics",
            "logistics",
            "account",
            _FETCHED,
            "Table order_logistics: where the orders of the table tracked_order are, until "
            "they are delivered.",
        ),
        Asset(
            "retail_orders",
            "order",
            "orders",
            _FETCHED,
            "Table retail_order: the shop's orders that were to be sent, pushed to Haier.",
        ),
        Asset(
            "order_parcels",
            "logistics",
            "orders",
            _FETCHED,
            "Table order_parcel: the parcels of retail orders on their way, and their arrival.",
        ),
        Asset(
            "order_pictures",
            "logistics",
            "orders",
            _FETCHED,
            "Table order_picture: the pictures of deliveries and installations.",
        ),
    )
}


def sync_type(asset: str) -> str:
    """The type under which the log keeps the asset."""
    return ASSETS[asset].sync_type
