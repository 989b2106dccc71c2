"""Pure functions on frames: what a product costs, what stands where, what looks wrong.

pandas in, pandas out. No database, no network, no clock; what a field of the platform means is read
elsewhere. All frames hold Python objects (``Decimal``, ``None``), never floats.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
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
    "rebate_policy",
    "reason",
    "remarks",
)
AMOUNT_COLUMNS = ("supply_price", "invoice_price", "market_price", "stock_rebate", "rebate_money")
# What a quote is made of: all of it counts, or none.
PRICE_COLUMNS = (*AMOUNT_COLUMNS, "rebate_policy")
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

# Of a listing: more records that cannot be read are no accident but another wire format.
UNREADABLE_SHARE = 0.05

# How old what a shop reads may be.
SYNC_AGE = timedelta(hours=26)
STOCK_AGE = timedelta(hours=2)
# The hours of the day in which stock is fetched, two hours after the first until the last.
STOCK_HOURS = (9, 23)


def frame(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> pd.DataFrame:
    """A frame of Python objects, also when it is empty: ``None`` stays ``None``."""
    return pd.DataFrame(list(rows), columns=list(columns), dtype=object)


def price_products(listing: pd.DataFrame, quotes: pd.DataFrame) -> pd.DataFrame:
    """Put the prices beside the products: one row for each product of the listing.

    Columns are those of the listing, the six price columns and ``no_price_reason``. A quote is one
    thing: it counts when its supply price is positive, and then all six are its own, ``None`` where
    it leaves one out. A product without such a quote has ``None`` in all six.
    """
    columns = ["product_code", *PRICE_COLUMNS, "reason"]
    priced = listing.merge(quotes[columns], on="product_code", how="left").rename(
        columns={"reason": "no_price_reason"}
    )
    counts = [not missing and price > 0 for price, missing in
              zip(priced["supply_price"], priced["supply_price"].isna(), strict=True)]  # fmt: skip
    priced.loc[[not it for it in counts], list(PRICE_COLUMNS)] = None
    for column in AMOUNT_COLUMNS:
        priced[column] = _each(priced[column], _cents)
    for column in ("rebate_policy", "no_price_reason"):
        priced[column] = _each(priced[column], lambda text: text)
    priced["brand"] = _each(
        priced["brand"], lambda brand: brand if len(brand) <= BRAND_LENGTH else None
    )
    return priced.sort_values("product_code", ignore_index=True)


def quote_flaws(quotes: pd.DataFrame) -> pd.DataFrame:
    """What of the quotes was not understood or not maintained: ``product_code``, ``reason``.

    Zero is how the platform says that nobody maintains a price. The values themselves stand in the
    stored payload, and not here: what is told may be read by more people.
    """
    rows: list[tuple[str, str]] = []
    told = ["product_code", "supply_price", "market_price", "remarks"]
    for code, supply, market, remarks in quotes[told].itertuples(index=False, name=None):
        rows += [(code, remark) for remark in remarks or ()]
        rows += [
            (code, f"{field} is 0, which counts as not maintained")
            for field, price in (("supplyPrice", supply), ("marketPrice", market))
            if price is not None and price == 0
        ]
    return frame(rows, ["product_code", "reason"])


def lacks_amounts(quotes: pd.DataFrame) -> bool:
    """Whether a quote has a zero in place of a price, or a supply price and no invoice price."""
    amounts = quotes[["supply_price", "invoice_price", "market_price"]]
    return any(
        0 in (supply, market) or (supply is not None and invoice is None)
        for supply, invoice, market in amounts.itertuples(index=False, name=None)
    )


def overlong_brands(listing: pd.DataFrame) -> list[str]:
    """The products whose brand is too long to be kept; they are loaded without one."""
    too_long = [brand is not None and len(brand) > BRAND_LENGTH for brand in listing["brand"]]
    return list(listing.loc[too_long, "product_code"])


def listing_shrank(before: int | None, now: int) -> bool:
    """Whether a listing is more than half shorter than the longest good one, ``before``.

    Records that cannot be read are not among the ``now``.
    """
    return before is not None and now * 2 < before


def too_many_unreadable(unreadable: int, readable: int) -> bool:
    """Whether more than two records of a listing, and more than 5 % of them, cannot be read."""
    return unreadable > 2 and unreadable > UNREADABLE_SHARE * (unreadable + readable)


@dataclass(frozen=True)
class Unread:
    """The records of a listing that could not be read: neither present nor gone.

    ``codes`` are the products of those whose code is readable, ``nameless`` the number of the
    others, which may be of any product.
    """

    codes: frozenset[str] = frozenset()
    nameless: int = 0

    def may_hold(self, code: str) -> bool:
        """Whether one of them may be this product's."""
        return self.nameless > 0 or code in self.codes


ALL_READ = Unread()


CHANGE_KINDS = (
    "appeared",
    "vanished",
    "back",
    "price_up",
    "price_down",
    "sold_out",
    "restocked",
)
CHANGE_COLUMNS = ("product_code", "kind", "old_value", "new_value")


def find_changes(
    before: pd.DataFrame,
    now: pd.DataFrame,
    known_earlier: Collection[str],
    *,
    is_complete: bool,
    unread_before: Unread = ALL_READ,
    unread_now: Unread = ALL_READ,
) -> pd.DataFrame:
    """What moved between two days of one dealer, one row for each product and kind of change.

    Both frames have ``product_code``, ``supply_price`` and ``stock`` (``None`` where it was not
    given). ``known_earlier`` are products that stood in a listing before ``before``, so that one of
    them is ``back`` and not ``appeared``. Only a complete ``now`` can tell that a product vanished
    or appeared. A product that may be among the unread ones of ``now`` has not vanished, and one
    that may have been among those of ``before`` is not back; it vanishes later than the others.
    """
    old, new = _by_code(before), _by_code(now)
    rows: list[tuple[str, str, str | None, str | None]] = []
    if is_complete:
        for code in new.keys() - old.keys():
            if code not in known_earlier:
                rows.append((code, "appeared", None, None))
            elif not unread_before.may_hold(code):
                rows.append((code, "back", None, None))
        stood = old.keys() | unread_before.codes.intersection(known_earlier)
        gone = (code for code in stood - new.keys() if not unread_now.may_hold(code))
        rows += [(code, "vanished", None, None) for code in gone]
    for code in old.keys() & new.keys():
        rows += _moves(code, old[code], new[code])
    rows.sort(key=lambda row: row[:2])
    return frame(rows, CHANGE_COLUMNS)


def _moves(
    code: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[tuple[str, str, str | None, str | None]]:
    before, now = old["supply_price"], new["supply_price"]
    if before is not None and now is not None and before != now:
        kind = "price_up" if now > before else "price_down"
        yield code, kind, format(before, "f"), format(now, "f")
    before, now = old["stock"], new["stock"]
    if before is not None and now is not None and (before == 0) != (now == 0):
        yield code, "restocked" if before == 0 else "sold_out", str(before), str(now)


def stock_totals(
    answers: pd.DataFrame, stock: pd.DataFrame, counties: Collection[str]
) -> pd.DataFrame:
    """The stock of each product that was answered in one of the counties.

    A storage location is one place, whatever counties it serves: each counts once, with the largest
    quantity that any of the counties was told. Columns ``product_code``, ``stock``.
    """
    within = stock[stock["county_code"].isin(counties)].astype({"stock": "int64"})
    locations = within.groupby(["product_code", "sec_code"])["stock"].max()
    sums = locations.groupby("product_code").sum()
    codes = sorted(set(answers.loc[answers["county_code"].isin(counties), "product_code"]))
    return frame([(code, int(sums.get(code, 0))) for code in codes], ["product_code", "stock"])


def with_stock(priced: pd.DataFrame, totals: pd.DataFrame) -> pd.DataFrame:
    """``product_code``, ``supply_price``, and ``stock`` or ``None`` where it was not asked."""
    joined = priced[["product_code", "supply_price"]].merge(totals, on="product_code", how="left")
    joined["stock"] = _each(joined["stock"], int)
    return joined


def invoice_mismatches(priced: pd.DataFrame) -> pd.DataFrame:
    """The products whose invoice price is not supply price × (1 − discount) − rebate, to the cent.

    The rule is the platform's own (contract, "Prices"); ``expected`` says what it gives. A quote
    with a supply price and no invoice price is among them.
    """
    rows = []
    for code, row in _by_code(priced).items():
        supply, invoice = row["supply_price"], row["invoice_price"]
        if supply is None:
            continue
        exact = supply * (1 - (row["stock_rebate"] or 0)) - (row["rebate_money"] or 0)
        expected = exact.quantize(_CENT, ROUND_HALF_UP)
        if invoice is None or abs(expected - invoice) >= _CENT:
            rows.append((code, supply, invoice, expected))
    return frame(rows, ["product_code", "supply_price", "invoice_price", "expected"])


def implausible_prices(before: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """The products with a negative amount, or a price halved or doubled since the frame before.

    Both frames have the price columns; ``before`` may be empty. A price of exactly half or double
    still passes.
    """
    rows = []
    compared = ("supply_price", "invoice_price", "market_price")
    earlier = _by_code(before)
    for code, row in _by_code(now).items():
        for column in AMOUNT_COLUMNS:
            new, old = row[column], earlier.get(code, {}).get(column)
            if new is None:
                continue
            moved = column in compared and old and (new * 2 < old or new > old * 2)
            if new < 0 or moved:
                rows.append((code, column, old, new))
    return frame(rows, ["product_code", "field", "before", "now"])


_DELIVERED = re.compile("(?<![待未拒])签收|妥投|已送达")


def says_delivered(payload: Any) -> bool:
    """Whether a logistics record says that the order has arrived.

    The contract does not describe these records, so every text in them is looked at for the words
    that carriers in China use: 签收 (but not 待签收, 未签收, 拒签收), 妥投, 已送达.
    """
    if isinstance(payload, str):
        return _DELIVERED.search(payload) is not None
    if isinstance(payload, Mapping):
        return any(says_delivered(value) for value in payload.values())
    return isinstance(payload, list) and any(says_delivered(value) for value in payload)


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


def _by_code(products: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Each row as a mapping, by its product code."""
    columns = [str(column) for column in products.columns]
    rows = (
        dict(zip(columns, row, strict=True)) for row in products.itertuples(index=False, name=None)
    )
    return {str(row["product_code"]): row for row in rows}


def _each(values: "pd.Series[Any]", change: Callable[[Any], Any]) -> "pd.Series[Any]":
    """Change every value that is there; what a merge left empty becomes ``None``."""
    changed = [None if missing else change(value)
               for value, missing in zip(values, values.isna(), strict=True)]  # fmt: skip
    return pd.Series(changed, index=values.index, dtype=object)


def stale(
    now: datetime,
    synced_at: datetime | None,
    stocked_at: datetime | None,
    first_seen_at: datetime | None,
) -> list[str]:
    """What of a dealer's catalog is older than it may be, in words; empty where all is fresh.

    Products and prices may be a day old and two hours for the sync itself, stock two hours; at
    night no stock is fetched, so its age counts from 9 to 23 o'clock in Shanghai only. A dealer
    that has just begun (``first_seen_at``, its oldest log row) is given the time to.
    """
    begun = first_seen_at is not None and now - first_seen_at > STOCK_AGE
    said = []
    if synced_at is None:
        if begun:
            said.append("products and prices were not synced within a week")
    elif now - synced_at > SYNC_AGE:
        said.append(f"products and prices are of {_moment(synced_at)}")
    if STOCK_HOURS[0] <= now.astimezone(SHANGHAI).hour < STOCK_HOURS[1]:
        if stocked_at is None:
            if begun:
                said.append("stock was not synced within a week")
        elif now - stocked_at > STOCK_AGE:
            said.append(f"stock is of {_moment(stocked_at)}")
    return said


def _moment(time: datetime) -> str:
    return f"{time.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"
