"""Pure functions on frames: what a product costs, what stands where, what looks wrong.

pandas in, pandas out. No database, no network, no clock; what a field of the platform means is read
elsewhere. All frames hold Python objects (``Decimal``, ``None``), never floats.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

from haier_pipeline.domain.partition import SHANGHAI
from haier_pipeline.domain.product import (
    AMOUNT_COLUMNS,
    BRAND_LENGTH,
    CHANGE_COLUMNS,
    PRICE_COLUMNS,
)

if TYPE_CHECKING:
    # The steps that fetch use a few rules that need no frames, and do not wait for pandas.
    import pandas as pd

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
    import pandas as pd

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
    stored payload, and not here: the description of a check is read by more people.
    """
    rows: list[tuple[str, str]] = []
    columns = ["product_code", "supply_price", "market_price", "remarks"]
    for code, supply, market, remarks in quotes[columns].itertuples(index=False, name=None):
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
    quantity that was answered for any of the counties. Columns ``product_code``, ``stock``.
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


# ------------------------------------------------------------------------------------ deliveries

# Times outside of these years are misprints, and such as calendars and pages cannot show.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)

_WRITTEN_TIME = re.compile(
    r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?"
    r"(?:[ T]*(\d{1,2})[:时](\d{1,2})(?:[:分](\d{1,2})(?:\.\d{1,9})?)?[分秒]?)?",
    re.ASCII,
)
_COMPACT_TIME = re.compile(r"(\d{4})(\d{2})(\d{2})(?:(\d{2})(\d{2})(\d{2})?)?", re.ASCII)


def delivery_time(text: str | None) -> datetime | None:
    """A time as the platform writes it: without a zone, and then meant in China.

    Dates (``2025-07-01``, ``20250701``), dates with a time of day, and seconds or milliseconds
    since 1970 are read. What is none of these, or not between 2000 and 2100, gives ``None``; it
    stays in the stored payload.
    """
    written = (text or "").strip()
    if re.fullmatch(r"[0-9]{9,14}", written):
        for divisor in (1, 1000):
            if EARLIEST.timestamp() <= int(written) / divisor < LATEST.timestamp():
                return datetime.fromtimestamp(int(written) / divisor, UTC)
    try:
        moment = _moment_written(written)
    except (ValueError, OverflowError):
        return None
    return moment if moment is not None and EARLIEST <= moment < LATEST else None


def _moment_written(written: str) -> datetime | None:
    if found := _WRITTEN_TIME.fullmatch(written) or _COMPACT_TIME.fullmatch(written):
        year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
        return datetime(year, month, day, hour, minute, second, tzinfo=SHANGHAI)
    if written.isdigit():
        return None
    moment = datetime.fromisoformat(written)
    return moment if moment.tzinfo else moment.replace(tzinfo=SHANGHAI)


@dataclass(frozen=True)
class ParcelStatus:
    """One status of a parcel: state codes, the words beside them, and when."""

    codes: tuple[str, ...]
    words: tuple[str, ...]
    at: datetime | None


# By source (which of the platform's lists), its parcels, each with all of its statuses.
Delivery = Mapping[str, Sequence[Sequence[ParcelStatus]]]


def is_delivered(deliveries: Collection[Delivery], now: datetime) -> bool:
    """Whether an order has arrived: every delivery record of it has, by its newest status.

    Several lists may speak of one delivery, such as the central warehouse's and the courier's;
    the one with the newest status is believed, and of it every parcel must have arrived. An order
    without any delivery has not. When in doubt the answer is no: an order that stays open is asked
    for again, one that is taken for delivered never.
    """
    return bool(deliveries) and all(_has_arrived(delivery, now) for delivery in deliveries)


def _has_arrived(delivery: Delivery, now: datetime) -> bool:
    # A list that says nothing of this delivery decides nothing.
    speaking = [parcels for parcels in delivery.values() if any(parcels)]
    if not speaking:
        return False

    def newest(parcels: Sequence[Sequence[ParcelStatus]]) -> datetime | None:
        times = [status.at for parcel in parcels for status in parcel]
        known = [time for time in times if time is not None]
        return None if len(known) < len(times) else max(known)

    ends = [newest(parcels) for parcels in speaking]
    last = max((end for end in ends if end is not None), default=None)
    # A list that does not tell its times may be the newest as well.
    deciding = [
        parcels for parcels, end in zip(speaking, ends, strict=True) if end is None or end == last
    ]
    return all(_parcel_arrived(parcel, now) for parcels in deciding for parcel in parcels)


def _parcel_arrived(parcel: Sequence[ParcelStatus], now: datetime) -> bool:
    last = max((status.at for status in parcel if status.at is not None), default=None)
    if not parcel or (last is not None and last > now + timedelta(days=1)):
        return False
    # Where two are of the same moment, or have none, each of them may be the newest.
    verdicts = [_verdict(status) for status in parcel if status.at is None or status.at == last]
    return ARRIVED in verdicts and REFUTED not in verdicts


ARRIVED, OPEN, REFUTED = "arrived", "open", "refuted"
_DELIVERED_CODE = "DELIVERED"
# The order has left the warehouse (contract, "Logistics").
_OPEN_CODES = frozenset({"LF"})


def _verdict(status: ParcelStatus) -> str:
    codes = {code.strip().upper() for code in status.codes}
    verdicts = {read_carrier(words) for words in status.words}
    if REFUTED in verdicts:
        return REFUTED
    if codes & _OPEN_CODES:
        return OPEN
    if _DELIVERED_CODE in codes:
        return ARRIVED
    # A name of the step and a sentence about it have to agree.
    return ARRIVED if verdicts == {ARRIVED} else OPEN


# What carriers in China write. A sentence is taken apart at its punctuation; one of the parts must
# be nothing but the statement that the parcel was received, and none may raise a doubt.
_PARTING = re.compile(r"[，,。；;！!\n\r\t、|~…()（）]+|\s+|\.(?=\D|$)")
_THING = "(?:(?:您的?|该|此|本|贵)*(?:快件|快递|包裹|订单|货物|商品|邮件|运单|物品|家电|产品|件)?)"
_PERSON = (
    "(?:客户|用户|顾客|收件人|收货人|买家|本人|您本人|您|家人|家属|亲友|亲戚|朋友|同事|父母|爱人|邻居"
    "|门卫|保安|物业|前台|门岗|他人|其他人|其他|收发室|传达室|单位)"
)
_SIGNED = "(?:签收|妥投)"
_HOW = "(?:成功|正常|安全|顺利|确认|当面|完成|完好)*"
_STATEMENT = re.compile(
    f"(?:(?:当前|最新|物流|订单|快件|配送|运单)*状态[:：为]+)?(?:{_THING}|{_PERSON})(?:"
    f"(?:已经?|于今日已|现已){_HOW}(?:[由被]([^，,。]{{1,8}}?)|{_PERSON})?代?{_HOW}{_SIGNED}"
    f"|[由被]([^，,。]{{1,8}}?)(?:已经?)?{_HOW}代?{_SIGNED}"
    f"|{_HOW}{_SIGNED}"
    f"|(?:已经?)?(?:投递|派送|派件|配送|送达|送货)?(?:并|且)(?:已经?)?{_HOW}(?:由{_PERSON})?{_SIGNED}"
    f"|已(?:经)?{_HOW}送达(?:{_PERSON}|收货地址|指定地址|您手中|家中)?"
    f"(?:(?:并|且)(?:已经?)?{_HOW}(?:由{_PERSON})?代?{_SIGNED})?"
    ")(?:成功|完成|完毕|了|啦)*"
)
# Who may not have received it for the customer.
_NOT_THE_CUSTOMER = re.compile(
    "寄件|发件|发货|商家|卖家|网点|站|柜|仓|驿|自提|代收点|公司|营业|中心|超市|便利|菜鸟|丰巢"
    "|冒|拒|退|未|不|没|无|误|要求|通知|联系|安排|等|待|请|催|将|预|约|改|需|须|应|可"
)
_SIGNED_BY = re.compile(r"(?:签收人|收件人|代收人|签收类型|签收方式)(?:是|为|[:：])?.*")
_NOT_A_SIGNATORY = re.compile(
    "寄件|发件|发货|商家|卖家|网点|站|柜|驿|自提|代收点|菜鸟|丰巢|拒|退|未知|无人|冒"
)
# What comes with the news, and says nothing of this parcel.
_CONDITION = re.compile("(?:如|若|倘|假如|有任何?疑问|有问题|投诉|签收后|收货后).*")
_COURTESY = re.compile(
    "(?:请|感谢|谢谢|欢迎|期待|祝|客服|联系电话|电话|签收时间|您对|对此|期盼|为您).*"
)
# Said of any part, these make it another story than "received".
_REFUSED = re.compile(
    "拒|退|失败|未能?|没有?|无法|无人|异常|取消|撤销|部分|剩余|其余|返|误|虚假|冒|丢|损|破|短少|缺|差异"
    "|不(?:予|能|同意|愿|便|在|想|要|成)|改期|改日|改天|改约|另约"
)
_DOUBTFUL = re.compile(
    "待|等|将|预计|预约|约定|约|即|请|是否|吗|[?？]|要求|希望|想|如|若|应|需|须|可能|可以|能否|准备|通知"
    "|催|明[日天早晚]|后天|下周|稍后|尽快|派送中|派件中|配送中|运输中|途中|正在|转运|中转|中心|分拨|网点|驿站"
    "|自提|快递柜|代收|柜|仓|入库|营业|回单|面单|另|还有|尚|但|显示|核实|调查|争议|寄件|发件|疑|到达|到站|站点"
    "|[0-9一二两三四五六七八九十半]+[件台箱套个票]"
)
_ABOUT = re.compile("签收|妥投|送达|收货")


def read_carrier(sentence: str) -> str:
    """What a carrier's words say of a parcel: ``ARRIVED``, ``REFUTED``, or neither, ``OPEN``.

    Only an unmistakable statement that the customer has received it is ``ARRIVED``. A refusal, a
    return, a failure, a part of it, or that it did not happen is ``REFUTED``. An intention, an
    instruction, a question, somebody else who received it, a shelf or a depot that it was brought
    to: ``OPEN``.
    """
    text = unicodedata.normalize("NFKC", sentence).strip()
    # Where it happened stands in front, in brackets; there a depot's name means nothing.
    places = "".join(re.findall(r"^(?:[【\[][^】\]]*[】\]]\s*)+", text))
    body = re.sub(r"[【】\[\]“”\"']", "", text[len(places) :])
    if _REFUSED.search(places):
        return REFUTED
    stated = False
    verdict = OPEN
    doubt = False
    for part in (part for part in _PARTING.split(body) if part):
        if found := _STATEMENT.fullmatch(part):
            names = "".join(name for name in found.groups() if name)
            if _NOT_THE_CUSTOMER.search(names):
                doubt = True
            stated = True
        elif _SIGNED_BY.fullmatch(part):
            doubt = doubt or _NOT_A_SIGNATORY.search(part[3:]) is not None
        elif _CONDITION.fullmatch(part) or (
            stated and _COURTESY.fullmatch(part) and not _REFUSED.search(part)
        ):
            continue
        elif _REFUSED.search(part):
            verdict = REFUTED
        elif _DOUBTFUL.search(part) or _ABOUT.search(part):
            doubt = True
    if verdict == REFUTED:
        return REFUTED
    return ARRIVED if stated and not doubt else OPEN


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


def _each(values: pd.Series[Any], change: Callable[[Any], Any]) -> pd.Series[Any]:
    """Change every value that is there; what a merge left empty becomes ``None``."""
    changed = [None if missing else change(value)
               for value, missing in zip(values, values.isna(), strict=True)]  # fmt: skip
    import pandas as pd

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
    reasons = []
    if synced_at is None:
        if begun:
            reasons.append("products and prices were not synced within a week")
    elif now - synced_at > SYNC_AGE:
        reasons.append(f"products and prices are of {_moment(synced_at)}")
    if STOCK_HOURS[0] <= now.astimezone(SHANGHAI).hour < STOCK_HOURS[1]:
        if stocked_at is None:
            if begun:
                reasons.append("stock was not synced within a week")
        elif now - stocked_at > STOCK_AGE:
            reasons.append(f"stock is of {_moment(stocked_at)}")
    return reasons


def _moment(time: datetime) -> str:
    return f"{time.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"
