"""The platform's answers as typed values: what each field means, and what makes a record unusable.

Pure functions from decoded JSON (the data inside the envelope, numbers as `Decimal` or `int`) to
`Answer`; they work on stored payloads as well as on fresh ones. No HTTP, no SQL, and nothing about
what a value means for the catalog. The field names on the wire are the vendor's own, misspellings
included. The rules are those of the fault matrix, rows 15 to 28.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Generic, TypeGuard, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from haier_pipeline.errors import CallRefused
from haier_pipeline.platform.masking import MASK, without_invisible

T = TypeVar("T", bound=BaseModel)
M = TypeVar("M", bound="_WireModel")

#: An amount has at most ten digits before the point; behind it any number, up to what PostgreSQL's
#: numeric holds.
AMOUNT_BOUND: Final = Decimal(10) ** 10
AMOUNT_DECIMALS: Final = 16_000
#: No warehouse holds a thousand million appliances; and so a sum of quantities stays a bigint.
QUANTITY_BOUND: Final = 10**9
#: More than a year of delivery time is none.
HOURS_BOUND: Final = 10_000
#: A longer code cannot be indexed by PostgreSQL, and no code of Haier's is longer than 20.
MAX_CODE_LENGTH: Final = 100


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that could not be read: why, in which wire field, and the record itself.

    ``code`` is the record's own code (product, storage location, payer account) where it is
    readable.
    """

    reason: str
    field: str | None
    payload: Any
    code: str | None


@dataclass(frozen=True, slots=True)
class Record(Generic[T]):
    """A record that was read, and the untouched payload (but for the characters removed)."""

    value: T
    payload: Any


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What one or several calls answered.

    ``records``: at most one for each code, the last one where the platform repeated it.
    ``rejected``: records that could not be read.
    ``removed_characters``: NUL characters and lone surrogates taken out of all text, and characters
    that show nothing taken out of codes.
    ``ignored``: records whose code was not asked for.
    ``duplicates``: codes that came more than once with different values, or that differed only in
    characters that show nothing; each named once.
    """

    records: tuple[Record[T], ...] = ()
    rejected: tuple[Rejected, ...] = ()
    removed_characters: int = 0
    ignored: int = 0
    duplicates: tuple[str, ...] = ()

    def __add__(self, other: "Answer[T]") -> "Answer[T]":
        """Join the answers of two calls that asked for different codes."""
        return Answer(
            records=self.records + other.records,
            rejected=self.rejected + other.rejected,
            removed_characters=self.removed_characters + other.removed_characters,
            ignored=self.ignored + other.ignored,
            duplicates=self.duplicates + other.duplicates,
        )


# --------------------------------------------------------------------------------------- values

_NUMBER = re.compile(r"[+-]?([0-9]+|[0-9]{1,3}(,[0-9]{3})+)(\.[0-9]+)?([eE][+-]?[0-9]{1,6})?")
_FLAGS: Final[Mapping[str, bool]] = {"1": True, "true": True, "0": False, "false": False}


def read_amount(value: object, decimals: int = AMOUNT_DECIMALS) -> Decimal:
    """Read an amount in CNY exactly: ``"2,999.00"``, ``"2999.00"`` and ``2999`` are equal.

    Raises ValueError for anything that is not a finite number in ASCII digits, that is 10^10 or
    more either way, or that needs more than so many ``decimals`` (rows 19 and 20). Nothing is
    rounded.
    """
    is_readable = isinstance(value, int | Decimal | str | float) and not isinstance(value, bool)
    text = without_invisible(str(value)).strip() if is_readable else ""
    if not _NUMBER.fullmatch(text):
        raise ValueError("is not a number")
    number = Decimal(text.replace(",", ""))
    if not number:
        return Decimal(0)
    # By exponent and digits: arithmetic would round, and on 1e400000 be as slow as pointless.
    if number.adjusted() >= AMOUNT_BOUND.adjusted():
        raise ValueError("is beyond every amount")
    _, digits, exponent = number.as_tuple()
    surplus = -int(exponent) - decimals
    if surplus > 0 and any(digits[-surplus:]):
        raise ValueError(f"has more than {decimals} decimals")
    return number


def _amount(value: object) -> Decimal:
    number = read_amount(value)
    if number < 0:
        raise ValueError("is negative")
    return number


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not without_invisible(value).strip())


def _amount_or_none(value: object) -> Decimal | None:
    return None if _is_blank(value) else _amount(value)


def _hours_or_none(value: object) -> Decimal | None:
    hours = _amount_or_none(value)
    if hours is not None and hours >= HOURS_BOUND:
        raise ValueError("is beyond every delivery time")
    return hours


def _quantity(value: object) -> int:
    try:
        number = read_amount(value)
    except ValueError:
        raise ValueError("is not a quantity") from None
    if number < 0:
        raise ValueError("is negative")
    if number != int(number):
        raise ValueError("is not a whole number")
    if number >= QUANTITY_BOUND:
        raise ValueError("is beyond every quantity")
    return int(number)


def _code(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    code = "" if value is None else None
    if isinstance(value, str):
        code = without_invisible(value).strip()
    if code is None:
        raise ValueError("is not text")
    if not code:
        raise ValueError("is blank")
    if len(code) > MAX_CODE_LENGTH:
        raise ValueError(f"is longer than {MAX_CODE_LENGTH} characters")
    return code


def _is_whole(value: object) -> TypeGuard[int | Decimal]:
    """A number without a fraction, and not beyond every code: 1E+300 is none."""
    if isinstance(value, Decimal):
        return value.is_finite() and abs(value.adjusted()) < MAX_CODE_LENGTH and value == int(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _code_or_none(value: object) -> str | None:
    return None if _is_blank(value) else _code(value)


def read_text(value: object) -> str | None:
    """Any text, trimmed and of any length; a number as its digits; anything else is no text."""
    if isinstance(value, bool):
        return None
    if _is_whole(value):
        return str(int(value))
    if isinstance(value, int | Decimal):
        return str(value)
    return (value.strip() or None) if isinstance(value, str) else None


def _grade(value: object) -> str | None:
    """A code of one digit that may come as a flag does."""
    return str(int(value)) if isinstance(value, bool) else read_text(value)


def _texts(value: object) -> tuple[str, ...]:
    entries = value if isinstance(value, list | tuple) else [value]
    return tuple(text for text in map(read_text, entries) if text)


def _flag(value: object) -> bool:
    if _is_whole(value):
        value = str(int(value))
    readable = isinstance(value, str | bool)
    text = without_invisible(str(value)).strip().lower() if readable else ""
    if text not in _FLAGS:
        raise ValueError("is neither 1 nor 0")
    return _FLAGS[text]


def _flag_or_true(value: object) -> bool:
    return True if _is_blank(value) else _flag(value)


def _flag_or_none(value: object) -> bool | None:
    return None if _is_blank(value) else _flag(value)


def _lenient(read: Callable[[object], Any]) -> Callable[[object], Any]:
    def read_or_none(value: object) -> Any:
        try:
            return read(value)
        except ValueError:
            return None

    return read_or_none


Code = Annotated[str, BeforeValidator(_code)]
Text = Annotated[str | None, BeforeValidator(read_text)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
CodeOrNone = Annotated[str | None, BeforeValidator(_code_or_none)]
Grade = Annotated[str | None, BeforeValidator(_grade)]
FlagOrTrue = Annotated[bool, BeforeValidator(_flag_or_true)]
AmountOrNone = Annotated[Decimal | None, BeforeValidator(_amount_or_none)]
SignedAmount = Annotated[Decimal, BeforeValidator(read_amount)]
Quantity = Annotated[int, BeforeValidator(_quantity)]
HoursOrNone = Annotated[Decimal | None, BeforeValidator(_lenient(_hours_or_none))]
LenientFlag = Annotated[bool | None, BeforeValidator(_lenient(_flag_or_none))]


# -------------------------------------------------------------------------------------- records


class _WireModel(BaseModel):
    """A record of the wire: read by the vendor's names, kept under ours, unknown fields left to
    the payload."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=False)

    #: The wire field that identifies the record, for `Rejected.code`.
    code_field: ClassVar[str]

    @property
    def key(self) -> str:
        """What may occur only once in an answer."""
        raise NotImplementedError


class ProductListing(_WireModel):
    """One product the dealer may know of (contract, "Procurable products").

    ``is_sales`` tells whether it may be bought; where the platform does not say, it may.
    ``no_sales_reason`` tells why not.
    """

    code_field = "productCode"

    product_code: Code = Field(alias="productCode")
    product_model: Text = Field(None, alias="productModel")
    product_group: Text = Field(None, alias="productGroupNamd")
    brand: Text = Field(None, alias="productBrandName")
    product_image_url: Text = Field(None, alias="productImageUrl")
    product_page_urls: Texts = Field((), alias="productLageUrls")
    is_sales: FlagOrTrue = Field(True, alias="isSales")
    no_sales_reason: Text = Field(None, alias="noSalesReason")

    @property
    def key(self) -> str:
        return self.product_code

    @model_validator(mode="before")
    @classmethod
    def _either_spelling_of_the_group(cls, data: Any) -> Any:
        if "productGroupName" in data and _is_blank(data.get("productGroupNamd")):
            return {**data, "productGroupNamd": data["productGroupName"]}
        return data


class PriceQuote(_WireModel):
    """Haier's prices of one product in CNY (contract, "Prices"); what is left out is None.

    ``stock_rebate`` is the direct discount, a fraction 0 ≤ r < 1, from ``rebateRate``; answers of
    V1.0.7, which know no such field, hold it under ``stockRebatePolicy``. ``rebate_policy`` is the
    kind of rebate: a known one as its digit (``0`` normal, ``1`` none, ``2`` firewall, ``5`` fixed
    price), any other text as it came. ``rebate_money`` is the rebate per unit. ``remarks`` tell
    which of these fields was not understood; that never costs the quote.
    """

    code_field = "productCode"

    product_code: Code = Field(alias="productCode")
    supply_price: AmountOrNone = Field(None, alias="supplyPrice")
    invoice_price: AmountOrNone = Field(None, alias="invoicePrice")
    market_price: AmountOrNone = Field(None, alias="marketPrice")
    rebate_money: AmountOrNone = Field(None, alias="rebateMoney")
    # No names of the contract: read below from two fields that depend on each other.
    stock_rebate: Decimal | None = Field(None, alias="__stockRebate")
    rebate_policy: str | None = Field(None, alias="__rebatePolicy")
    remarks: tuple[str, ...] = Field((), alias="__remarks")
    reason: Text = Field(None, alias="reason")
    is_sales: LenientFlag = Field(None, alias="isSales")

    @property
    def key(self) -> str:
        return self.product_code

    @model_validator(mode="before")
    @classmethod
    def _tell_the_discount_from_the_kind(cls, data: Any) -> Any:
        rate, policy = data.get("rebateRate"), data.get("stockRebatePolicy")
        remarks: list[str] = []
        discount = kind = None
        if not _is_blank(rate):
            discount = _discount(rate)
            if discount is None:
                remarks.append("rebateRate is not a fraction from 0 to below 1")
        if not _is_blank(policy):
            # A V1.0.7 answer: the discount stands where the kind does now.
            fraction = _discount(policy) if _is_blank(rate) else None
            if fraction:
                discount = fraction
            else:
                kind = _rebate_kind(policy)
                if kind not in _KNOWN_KINDS:
                    remarks.append("stockRebatePolicy is no known kind of rebate")
        own = {"__stockRebate": discount, "__rebatePolicy": kind, "__remarks": tuple(remarks)}
        return {**data, **own}


#: The kinds of rebate by the texts that the vendor prints beside them (contract, "Prices").
_KINDS_BY_TEXT: Final[Mapping[str, str]] = {"COM": "0", "BF": "1", "FHQ": "2", "DTDBF": "5"}
_KNOWN_KINDS: Final = frozenset(_KINDS_BY_TEXT.values())


def _discount(value: object) -> Decimal | None:
    try:
        number = read_amount(value)
    except ValueError:
        return None
    return number if 0 <= number < 1 else None


def _rebate_kind(value: object) -> str:
    """A known kind as its digit, anything else as the text that it came as."""
    if isinstance(value, str):
        text = value.strip()
    elif isinstance(value, int | Decimal) and not isinstance(value, bool):
        text = str(Decimal(value))
    else:
        text = json.dumps(value, default=str, ensure_ascii=False)
    if (kind := _KINDS_BY_TEXT.get(text.upper())) is not None:
        return kind
    try:
        number = read_amount(value)
    except ValueError:
        return text
    return next((kind for kind in _KNOWN_KINDS if number == int(kind)), text)


class Warehouse(_WireModel):
    """The stock of one product at one storage location, for one county (contract, "Stock").

    ``stock`` in pieces; ``warehouse_grade`` ``"0"`` own level, ``"1"`` upper level;
    ``delivery_hours`` in hours. ``cut_time`` and ``expected_delivery_at`` are the platform's own
    text. A malformed delivery time is None and never costs the quantity.
    """

    code_field = "secCode"

    sec_code: Code = Field(alias="secCode")
    stock: Quantity = Field(alias="stock")
    warehouse_grade: Grade = Field(None, alias="warehouseGrade")
    cut_time: Text = Field(None, alias="cutTime")
    expected_delivery_at: Text = Field(None, alias="achieveUserOrderCut")
    delivery_hours: HoursOrNone = Field(None, alias="hour")
    is_transfer: LenientFlag = Field(None, alias="isTranfer")

    @property
    def key(self) -> str:
        return self.sec_code

    @model_validator(mode="before")
    @classmethod
    def _lift_the_timeliness(cls, data: Any) -> Any:
        timeliness = data.get("timelinessData")
        fields = timeliness if isinstance(timeliness, Mapping) else {}
        lifted = ("cutTime", "achieveUserOrderCut", "hour", "isTranfer")
        return {**data, **{name: fields.get(name) for name in lifted}}


class PayerBalance(_WireModel):
    """The balance of one payer account in CNY (contract, "Payer balance"); it may be overdrawn."""

    code_field = "payerAccountCode"

    sale_group_code: CodeOrNone = Field(None, alias="saleGroupCode")
    sale_group_name: Text = Field(None, alias="saleGroupName")
    payer_account_code: Code = Field(alias="payerAccountCode")
    payer_account_name: Text = Field(None, alias="payerAccountName")
    payer_account_balance: SignedAmount = Field(alias="payerAccountBalance")

    @property
    def key(self) -> str:
        return f"{self.sale_group_code or ''}/{self.payer_account_code}"


class DeliveryStatus(BaseModel):
    """One thing that was said of a parcel: state ``codes``, the ``words`` beside them, and when.

    ``at`` is the platform's own text of the time. Where it says nothing of a field, it is empty.
    """

    model_config = ConfigDict(frozen=True)

    codes: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    at: str | None = None


class LogisticsRecord(BaseModel):
    """One entry of an order's logistics (contract, "Logistics").

    ``source`` names the list it stood in: ``central`` warehouse, ``own`` delivery or
    ``third_party`` courier; ``position`` its place in that list, from 0. ``delivery_record_code``
    names the delivery: several entries may be of one, and one order can have several deliveries.
    ``parcels`` hold for each parcel of the entry what was said of it, in the platform's order. Of
    an entry that is not of the contract's form, ``said`` is what it says itself.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    position: int
    delivery_record_code: str | None = None
    parcels: tuple[tuple[DeliveryStatus, ...], ...] = ()
    said: DeliveryStatus | None = None


def _entry(source: str, position: int, entry: Mapping[str, Any]) -> LogisticsRecord:
    parcels: list[tuple[DeliveryStatus, ...]]
    if source == "own":
        own = _objects(entry.get("logisticsInfo"))
        parcels = [tuple(map(_status, own))] if own else []
    elif source == "third_party":
        numbers = _objects(entry.get("logisticsNoList"))
        parcels = [tuple(map(_status, _objects(number.get("logisticsInfo")))) for number in numbers]
    else:
        sent = _objects(entry.get("getStoreOutboundLogisticsInfoResultDto"))
        parcels = [
            # Without any step the order's own status tells how far the parcel is.
            tuple(map(_status, _objects(one.get("deliveryLogisticsDtos")))) or (_status(one),)
            for one in sent
        ]
    said = None if parcels else _status(entry)
    return LogisticsRecord(
        source=source,
        position=position,
        delivery_record_code=_lenient(_code)(entry.get("deliveryRecordCode")),
        parcels=tuple(parcels),
        said=said if said is not None and (said.codes or said.words) else None,
    )


def _objects(value: object) -> list[Mapping[str, Any]]:
    entries = value if isinstance(value, list) else [value]
    return [entry for entry in entries if isinstance(entry, Mapping)]


_STATUS_CODES: Final = ("stateCode", "statusCode", "state", "orderStatus")
_STATUS_WORDS: Final = (
    *("stateName", "stateDescription", "nodeName", "context", "orderStatusName"),
    # Not of the contract: what answers before V1.0.10 were seen to hold.
    *("logisticsStatus", "logisticsInfo", "status", "statusName"),
)
_STATUS_TIMES: Final = ("stateTime", "operateTime", "createTime", "sendDate", "deliveryCreateTime")


def _status(entry: Mapping[str, Any]) -> DeliveryStatus:
    times = (read_text(entry.get(name)) for name in _STATUS_TIMES)
    return DeliveryStatus(
        codes=tuple(code for name in _STATUS_CODES if (code := _lenient(_code)(entry.get(name)))),
        words=tuple(word for name in _STATUS_WORDS if (word := read_text(entry.get(name)))),
        at=next((time for time in times if time), None),
    )


#: The wire names of the three lists of a logistics answer, and what we call them.
LOGISTICS_LISTS: Final[Mapping[str, str]] = {
    "getAllLogisticsInfoByOrderCode": "central",
    "getStockDeliveryLogisticsRecord": "own",
    "getStockDeliveryLogisticsRecordThirdparty": "third_party",
}


# -------------------------------------------------------------------------------------- answers


def parse_listing(data: object, asked: Collection[str] | None = None) -> Answer[ProductListing]:
    """Read the data of a listing answer; ``asked`` are the codes asked for, None for all.

    Raises `CallRefused` where it is neither a list nor a single product: "could not read" is never
    "read nothing".
    """
    return _parse(ProductListing, _records(data, "listing", "productCode"), "listing", asked)


def parse_prices(data: object, asked: Collection[str]) -> Answer[PriceQuote]:
    """Read the data of a price answer; records of codes not ``asked`` are ignored and counted.

    Codes that the answer leaves out are simply not there (row 15). Raises `CallRefused` where the
    data is neither a list nor a single price.
    """
    return _parse(PriceQuote, _records(data, "prices", "productCode"), "prices", asked)


def parse_stock(data: object) -> Answer[Warehouse]:
    """Read the data of a stock answer: a list, an empty list (none available) or one warehouse.

    A caller must not sum an answer with ``rejected`` records: part of the stock is unknown. Raises
    `CallRefused` for null and for anything else (row 24).
    """
    return _parse(Warehouse, _records(data, "stock", None), "stock", None)


def parse_balances(data: object) -> Answer[PayerBalance]:
    """Read the data of a balance answer, one account or a list. Raises `CallRefused`."""
    return _parse(PayerBalance, _records(data, "balance", None), "balance", None)


def parse_logistics(data: object) -> Answer[LogisticsRecord]:
    """Read the data of a logistics answer: three lists, each of which may be missing or null.

    Raises `CallRefused` where it is not an object that holds at least one of them.
    """
    if not isinstance(data, Mapping) or not any(name in data for name in LOGISTICS_LISTS):
        raise _no_data("logistics", data)
    try:
        cleaned, removed = clean(data)
    except RecursionError:
        raise _no_data("logistics", data) from None
    records: list[Record[LogisticsRecord]] = []
    rejected: list[Rejected] = []
    for name, source in LOGISTICS_LISTS.items():
        entries = cleaned.get(name)
        if entries is None:
            continue
        for position, entry in enumerate(entries if isinstance(entries, list) else [entries]):
            if isinstance(entry, dict):
                records.append(Record(_entry(source, position, entry), entry))
            else:
                rejected.append(Rejected("is not an object", name, entry, None))
    return Answer(tuple(records), tuple(rejected), removed)


def _records(data: object, endpoint: str, wanted: str | None) -> list[Any]:
    if isinstance(data, list):
        return data
    # A lone object is a record of its own only where it looks like one: an error page in JSON is
    # not a product.
    if isinstance(data, Mapping) and (wanted is None or wanted in data):
        return [data]
    raise _no_data(endpoint, data)


def _no_data(endpoint: str, data: object) -> CallRefused:
    kind = "no data" if data is None else "data of an unknown shape"
    return CallRefused(f"The {endpoint} answer holds {kind}.", endpoint=endpoint, status=200)


def _parse(
    model: type[M], entries: list[Any], endpoint: str, asked: Collection[str] | None
) -> Answer[M]:
    wanted = None if asked is None else frozenset(asked)
    records: dict[str, Record[M]] = {}
    rejected: list[Rejected] = []
    duplicates: dict[str, None] = {}
    hidden_in: dict[str, int] = {}
    removed = ignored = 0
    try:
        for entry in entries:
            payload, count = clean(entry)
            removed += count
            if not isinstance(payload, dict):
                rejected.append(Rejected("is not an object", None, payload, None))
                continue
            written = payload.get(model.code_field)
            code = _lenient(_code)(written)
            hidden = 0
            if code is not None and isinstance(written, str):
                hidden = len(written) - len(without_invisible(written))
                removed += hidden
            if wanted is not None and code is not None and code not in wanted:
                ignored += 1
                continue
            try:
                value = model.model_validate(payload)
            except ValidationError as error:
                rejected.append(_rejection(error, payload, code))
                continue
            key = value.key
            # A repeated record is within the contract; one that says something else is not, and
            # neither are two codes that only look alike.
            if key in records and (records[key].value != value or hidden != hidden_in[key]):
                duplicates[key] = None
            records[key] = Record(value, payload)
            hidden_in[key] = hidden
    except RecursionError:
        raise _no_data(endpoint, entries) from None
    return Answer(tuple(records.values()), tuple(rejected), removed, ignored, tuple(duplicates))


def _rejection(error: ValidationError, payload: Any, code: str | None) -> Rejected:
    first = error.errors(include_url=False, include_input=False)[0]
    field = str(first["loc"][0]) if first["loc"] else None
    if first["type"] == "missing":
        reason = "is missing"
    else:
        reason = str(first["msg"]).removeprefix("Value error, ")
    return Rejected(f"{field} {reason}", field, payload, code)


# --------------------------------------------------------------------------------- personal data

#: Wire names that hold a driver's or a contact's name, telephone or number plate, and names of
#: their kind.
_OF_PEOPLE: Final = re.compile(
    "contact|phone|mobile|telno|driver|vehicle|plate|carno|receiver|consignee|address|signer"
    "|memberid|membername|idcard|联系|电话|手机|司机|车牌|收件|收货|地址|姓名",
    re.IGNORECASE,
)
#: Wire names that hold nothing of the kind, whatever digits stand in them.
_NOT_OF_PEOPLE: Final = frozenset(
    {
        *("deliveryRecordCode", "deliveryCreateTime", "deliveryModel", "isTranfer", "id"),
        *("logisticsCompanyName", "logisticsName", "expNo", "expNoList", "recordCode", "orderCode"),
        *("orderStatus", "orderStatusName", "stateCode", "statusCode", "stateTime", "createTime"),
        *("sendDate", "barcodes", "logisticsCode", "logisticsNo", "itemName", "itemModel"),
        *("itemUnit", "shippingQty", "itemPictureUrl", "operateTime", "deliveryNo"),
    }
)
_TELLS_OF_PEOPLE: Final = re.compile(
    # A telephone: seven digits and more, however they are parted. A number plate. Somebody's part.
    r"(?:\d[\s\-–—.·()（）]*){7,}"
    "|[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领][\\s·.\\-]*[A-Za-z]"
    "[\\s·.\\-]*[A-Za-z0-9]{4,6}"
    "|员|师傅|司机|联系|签收人|收件人|收货人|代收|先生|女士|经理|老板|电话|手机|车牌|车辆|姓名|由.{1,8}签收"
)


def without_people(payload: Any) -> Any:
    """A logistics payload without the personal data of drivers and contacts (contract,
    "Logistics").

    Fields that hold it become null. A free text goes whole where it names one of them, holds a
    telephone number or a number plate, or speaks of a person; codes, times and states stay.
    """
    names: set[str] = set()
    _collect_people(payload, names)
    return _without_people(payload, "", tuple(names))


def _collect_people(payload: Any, names: set[str], name: str = "") -> None:
    if isinstance(payload, Mapping):
        for key, value in payload.items():
            _collect_people(value, names, str(key))
    elif isinstance(payload, list):
        for value in payload:
            _collect_people(value, names, name)
    elif isinstance(payload, str) and len(payload.strip()) > 1 and _is_of_people(name):
        names.add(payload.strip())


def _without_people(payload: Any, name: str, people: tuple[str, ...]) -> Any:
    if isinstance(payload, Mapping):
        return {
            key: None if _is_of_people(str(key)) else _without_people(value, str(key), people)
            for key, value in payload.items()
        }
    if isinstance(payload, list):
        return [_without_people(value, name, people) for value in payload]
    if name in _NOT_OF_PEOPLE or not isinstance(payload, str | int) or isinstance(payload, bool):
        return payload
    text = unicodedata.normalize("NFKC", without_invisible(str(payload)))
    if _TELLS_OF_PEOPLE.search(text) or any(one in text for one in people):
        return None
    return payload


def _is_of_people(name: str) -> bool:
    return name not in _NOT_OF_PEOPLE and _OF_PEOPLE.search(name) is not None


_TELEPHONE: Final = re.compile(
    r"(?<![\d.])(?:\+?86[\s-]?)?(?:1[3-9]\d[\s-]?\d{4}[\s-]?\d{4}|0\d{2,3}[\s-]?\d{7,8})(?!\d)",
    re.ASCII,
)
_PLATE: Final = re.compile(
    "[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-Z][·.\\-]?[A-Z0-9]{5,6}"
)


def without_telephones(sentence: str) -> str:
    """A sentence for people in which telephone numbers and number plates are masked."""
    return _PLATE.sub(MASK, _TELEPHONE.sub(MASK, sentence))


# ------------------------------------------------------------------------------------- cleaning

#: What PostgreSQL takes neither in text nor in jsonb.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean(value: Any) -> tuple[Any, int]:
    """Take NUL characters and lone surrogates out of every text in ``value``, keys included.

    Returns the cleaned value and the number of characters removed (row 23). A value without any
    comes back as it is.
    """
    # Counted first: nearly no payload needs to be built anew.
    count = sum(len(_UNSTORABLE.findall(text)) for text in _all_texts(value))
    return (_rebuilt(value), count) if count else (value, 0)


def _all_texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)


def _rebuilt(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("", value)
    if isinstance(value, Mapping):
        return {_rebuilt(key): _rebuilt(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rebuilt(item) for item in value]
    return value
