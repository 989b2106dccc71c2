"""The client of Haier's order side: push, cancel, reschedule, tracking, pictures.

Here stand its services, what they are sent and what their answers mean (contract, "Orders"). How a
call is made and repeated belongs to `calls`, what Haier sends to `callbacks`. No SQL, no Dagster,
no environment.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import urlencode, urlsplit

import requests
from requests.auth import HTTPBasicAuth

from haier_pipeline.domain.order import MAX_NUMBER_LENGTH, Item, is_so_id
from haier_pipeline.errors import (
    CallRefused,
    Cancelled,
    HaierError,
    InvalidInput,
    PlatformError,
)
from haier_pipeline.platform import envelope
from haier_pipeline.platform.answers import AMOUNT_BOUND, clean, read_text, without_telephones
from haier_pipeline.platform.calls import ANSWER_BYTES, PlatformClient, sentence
from haier_pipeline.platform.client import batches
from haier_pipeline.platform.config import ORDER_HOSTS, SECRET_FIELDS, DealerConfig
from haier_pipeline.platform.envelope import Step, Verdict
from haier_pipeline.platform.masking import MASK, Masker
from haier_pipeline.platform.pacing import Ledger
from haier_pipeline.platform.token import Token, TokenStore, parse_token
from haier_pipeline.platform.transport import BrokenError, ExchangeError, Reply, decode

T = TypeVar("T")

#: Orders that one call for tracking numbers may ask for (contract, "Tracking").
MOST_TRACKED: Final = 100
#: No appliance is sold so many at a time; and a sum of quantities stays an integer everywhere.
_MOST_PIECES: Final = 10**6
_MOST_DECIMALS: Final = 8
_NO_AMOUNT: Final = f"must be an exact amount from 0, of at most {_MOST_DECIMALS} decimals"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Milliseconds of thirteen digits: September 2001 to 2286.
_MILLISECONDS: Final = range(10**12, 10**13)

#: Service and path of each interface.
_PLACES: Final[Mapping[str, tuple[str, str]]] = {
    "order_token": ("ylh-cloud-mgt-auth", "/oauth/token"),
    "push": (
        "ylh-cloud-service-jst-order",
        "/api/page/hmm/retailorder/receive-hmm-retail-order",
    ),
    "cancel": (
        "ylh-cloud-service-jst-order",
        "/api/page/hmm/retailorder/cancel-hmm-retail-order",
    ),
    "reschedule": (
        "ylh-cloud-service-order",
        "/api/page/retailorder/hmm/update-distribution-time",
    ),
    "pictures": (
        "ylh-cloud-service-order",
        "/api/page/retailorder/search/get-retail-order-delivery-img",
    ),
    "tracking": (
        "ylh-cloud-service-stock",
        "/api/composite/stock/logistics/get-store-logistics-by-order-code",
    ),
}

_CHECK: Final[Mapping[int, str]] = {
    400: "check the order settings and what was sent",
    401: "check the credentials of the order side and the rights of its account",
    403: "check the rights of the order side's account and Haier's IP allow-list",
    404: "check ylh_base_url: there is no such service",
    429: "another program may be calling as the same dealer; lower ylh_rate_limit",
}

Kind = Literal["taken", "refused", "unknown", "not_sent"]


# ------------------------------------------------------------------------------------- requests


@dataclass(frozen=True)
class OrderRequest:
    """One order as it is pushed; what cannot be one cannot be made (contract, "Push").

    Times are aware. Raises `InvalidInput` with one sentence that names every field at fault:
    a required one that is blank, a ``so_id`` of another form, no item, a quantity below 1, an
    amount below 0, a ``total_amount`` that is not Σ quantity × actual_price. ``repr`` shows no
    personal data.
    """

    so_id: str
    online_no: str
    ordered_at: datetime
    consignee_name: str = field(repr=False)
    consignee_mobile: str = field(repr=False)
    province: str = field(repr=False)
    city: str = field(repr=False)
    area: str = field(repr=False)
    detail_address: str = field(repr=False)
    total_amount: Decimal
    items: tuple[Item, ...]
    town: str = field(default="", repr=False)
    remark: str = field(default="", repr=False)
    distribution_at: datetime | None = None
    install_at: datetime | None = None
    is_government_order: bool = False

    def __post_init__(self) -> None:
        problems = _order_problems(self)
        if problems:
            said = "; ".join(f"{name} {problem}" for name, problem in problems.items())
            raise InvalidInput(f"This is no order that can be sent: {said}.")

    @property
    def total_quantity(self) -> int:
        """Pieces in the order."""
        return sum(item.quantity for item in self.items)

    @property
    def personal(self) -> tuple[str, ...]:
        """What nobody may read in Haier's words about this order."""
        # A remark of two characters is in many sentences, and says nothing of a person.
        remark = (self.remark,) if len(self.remark) >= 4 else ()
        town = f"{self.town}{self.detail_address}"
        return (self.consignee_name, self.consignee_mobile, town, self.detail_address, *remark)


def _order_problems(order: OrderRequest) -> dict[str, str]:
    problems: dict[str, str] = {}
    required = (
        *("so_id", "online_no", "consignee_name", "consignee_mobile"),
        *("province", "city", "area", "detail_address"),
    )
    for name in (*required, "town", "remark"):
        value = getattr(order, name)
        if not isinstance(value, str) or clean(value)[1]:
            problems[name] = "must be text without NUL and half characters"
        elif name in required and not value.strip():
            problems[name] = "must not be blank"
    if "so_id" not in problems and not is_so_id(order.so_id):
        problems["so_id"] = (
            f"must be 1 to {MAX_NUMBER_LENGTH} printable characters without blanks and /"
        )
    for name in ("ordered_at", "distribution_at", "install_at"):
        moment = getattr(order, name)
        if moment is None and name != "ordered_at":
            continue
        if not isinstance(moment, datetime) or moment.utcoffset() is None:
            problems[name] = "must be a time with its zone"
        elif milliseconds(moment) not in _MILLISECONDS:
            problems[name] = "must be a time of this century"
    if not order.items:
        problems["items"] = "must hold one item at least"
    for position, item in enumerate(order.items, start=1):
        for name, problem in _item_problems(item).items():
            problems[f"items[{position}].{name}"] = problem
    if not _is_amount(order.total_amount):
        problems["total_amount"] = _NO_AMOUNT
    elif not problems:
        total = sum((item.quantity * item.actual_price for item in order.items), Decimal(0))
        if total != order.total_amount:
            problems["total_amount"] = (
                f"is {order.total_amount:f}, and quantity × actual_price of its items make"
                f" {total:f}"
            )
    return problems


def _item_problems(item: Item) -> dict[str, str]:
    problems: dict[str, str] = {}
    code = item.product_code
    if not isinstance(code, str) or not code.strip() or clean(code)[1]:
        problems["product_code"] = "must be a text that is not blank"
    is_whole = isinstance(item.quantity, int) and not isinstance(item.quantity, bool)
    if not is_whole or not 1 <= item.quantity <= _MOST_PIECES:
        problems["quantity"] = f"must be a whole number from 1 to {_MOST_PIECES}"
    for name in ("retail_price", "actual_price", "discount_amount"):
        if not _is_amount(getattr(item, name)):
            problems[name] = _NO_AMOUNT
    return problems


def _is_amount(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return False
    number = Decimal(value)
    # With so few digits sums are exact.
    return (
        number.is_finite()
        and 0 <= number < AMOUNT_BOUND
        and int(number.as_tuple().exponent) >= -_MOST_DECIMALS
    )


def milliseconds(moment: datetime) -> int:
    """An aware time as the order side has it: whole milliseconds since 1970."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _pushed(order: OrderRequest, dealer: DealerConfig) -> dict[str, Any]:
    """The body of a push (contract, "Push")."""
    both = order.distribution_at, order.install_at
    is_one_visit = both[0] is not None and both[0] == both[1]
    body: dict[str, Any] = {
        "sourceSystem": dealer.ylh_source_system,
        "shopName": dealer.ylh_shop_name,
        "sellerCode": dealer.ylh_seller_code,
        "consigneeName": order.consignee_name,
        "consigneeMobile": order.consignee_mobile,
        "onlineNo": order.online_no,
        "soId": order.so_id,
        "totalQty": order.total_quantity,
        "totalAmt": _number(order.total_amount),
        "createTime": milliseconds(order.ordered_at),
        "province": order.province,
        "city": order.city,
        "area": order.area,
        "detailAddress": order.detail_address,
        "governmentOrder": order.is_government_order,
        "deliveryInstall": "true" if is_one_visit else "false",
        "itemList": [
            {
                "productCode": item.product_code,
                "itemQty": item.quantity,
                "retailPrice": _number(item.retail_price),
                "discountAmount": _number(item.discount_amount),
                "actualPrice": _number(item.actual_price),
                "isGift": item.is_gift,
            }
            for item in order.items
        ],
    }
    optional = {
        "town": order.town.strip() or None,
        "remark": order.remark.strip() or None,
        "distributionTime": None if both[0] is None else milliseconds(both[0]),
        "installTime": None if both[1] is None else milliseconds(both[1]),
    }
    return body | {name: value for name, value in optional.items() if value is not None}


def _number(amount: Decimal) -> Decimal:
    """An amount as a plain number of JSON: neither ``1E+3`` nor ``0E-8``."""
    return Decimal(f"{Decimal(amount):f}") if amount else Decimal(0)


# ------------------------------------------------------------------------------------- outcomes


@dataclass(frozen=True)
class PushOutcome:
    """What came of a push, a cancellation or a rescheduling (contract, "What an answer means").

    ``kind``: ``taken``; ``refused`` by Haier; ``unknown``: it may have arrived, and is to be sent
    again under the same number; ``not_sent``: not the order's fault, nobody has it.

    ``may_have_arrived``: an attempt of this very call may have arrived before the last one was
    answered; always true with ``unknown``, never with ``taken`` and ``not_sent``. With
    ``refused`` it means that the refusal may be for the repetition.

    ``message``: one sentence for people, without secrets and without the order's name, mobile and
    address; empty where it was taken. ``reason``: Haier's own words alone, the order's numbers
    masked as well, so that two refusals can be compared; empty where it gave none. ``status``: of
    HTTP, of the last answer. ``error``: the error behind it, `Cancelled` too where nothing had been
    sent yet.
    """

    kind: Kind
    message: str = ""
    reason: str = ""
    may_have_arrived: bool = False
    attempts: int = 0
    status: int | None = None
    error: HaierError | None = field(default=None, compare=False, repr=False)


#: The statuses with which a readable no is an answer to the order, and not to the call.
_REFUSING: Final = frozenset({400, 404, 409, 415, 422})
#: What concerns the caller, in whatever envelope it is said.
_CALLERS: Final = frozenset({401, 403, 429})


def classify(outcome: Reply | ExchangeError, *, has_sent: bool = True) -> tuple[Kind, Verdict]:
    """What one attempt to change something at Haier came to, and what is to be done next.

    ``has_sent``: whether any byte of the request had left. In doubt it may have arrived: an order
    that is taken for lost, and sent under another number, is delivered twice.
    """
    verdict = envelope.classify(outcome)
    if isinstance(outcome, ExchangeError):
        return ("unknown" if has_sent else "not_sent"), verdict
    status = outcome.status
    if status >= 500:
        return "unknown", verdict
    if 300 <= status < 400 or status in _CALLERS:
        return "not_sent", verdict
    try:
        answer = decode(outcome.body)
    except BrokenError:
        answer = None
    if status >= 400:
        if status in _REFUSING and _says_no(answer, status):
            return _refused(answer, status, verdict)
        return "not_sent", replace(verdict, step=Step.REFUSE, status=status)
    no = _says_no(answer, status)
    if no is None:
        problem = verdict.problem if verdict.step is Step.REPEAT else "the answer is no envelope"
        return "unknown", Verdict(Step.REPEAT, status=status, http_status=status, problem=problem)
    if no:
        return _refused(answer, status, verdict)
    return "taken", Verdict(Step.DONE, answer, status, status)


def _refused(answer: Any, status: int, verdict: Verdict) -> tuple[Kind, Verdict]:
    """A no of Haier's: to the order, or to who calls."""
    if isinstance(answer, Mapping):
        named = {envelope.read_number(answer.get(key)) for key in ("code", "errCode")}
        if verdict.step is not Step.REFUSE and verdict.status in (401, 429):
            return "not_sent", verdict
        if 403 in named:
            problem = f"HTTP {status}, code 403"
            return "not_sent", replace(
                verdict,
                step=Step.REFUSE,
                status=403,
                problem=problem,
                reason=envelope.reason(answer),
            )
    return "refused", Verdict(
        Step.REFUSE,
        # It has understood the call: nothing but its own words is to be said.
        status=200,
        http_status=status,
        problem="the platform says no",
        reason=envelope.reason(answer),
    )


def _says_no(answer: Any, status: int) -> bool | None:
    """Whether an answer is a no; None where it cannot be read as either."""
    if isinstance(answer, bool):
        return not answer
    if not isinstance(answer, Mapping):
        return None
    data = answer.get("data")
    if envelope.read_flag(data) is False:
        return True
    success = answer.get("success")
    if success is not None:
        flag = envelope.read_flag(success)
        if flag is not True:
            return True if flag is False else None
    elif _is_code_of_a_no(answer, status):
        return True
    if isinstance(data, Mapping) and envelope.is_envelope(data):
        return _says_no(data, status)
    return False


def _is_code_of_a_no(answer: Mapping[str, Any], status: int) -> bool:
    """Whether an envelope without ``success`` says no by its code, or by its reason alone."""
    code = answer.get("code")
    number = envelope.read_number(code)
    if status >= 400:
        # A gateway that knows no such service repeats its status here.
        return number == 1 or bool(envelope.said_in(answer.get("errorMsg")))
    if number is not None:
        return number != 0 and not 200 <= number < 300
    if code is not None and envelope.read_flag(code) is not None:
        return not envelope.read_flag(code)
    said = (envelope.said_in(answer.get(key)) for key in ("errorMsg", "error", "errCode"))
    return answer.get("data") is None and any(said)


class _Attempts:
    """What became of the attempts of one call, with Haier's words masked."""

    def __init__(self, personal: Collection[str], numbers: Collection[str]) -> None:
        self._personal = personal
        self._numbers = numbers
        self.kinds: list[Kind] = []
        self.reason = ""
        self.status: int | None = None

    def judge(self, outcome: Reply | ExchangeError, has_sent: bool) -> Verdict:
        kind, verdict = classify(outcome, has_sent=has_sent)
        words = masked_words(verdict.reason, *self._personal)
        self.kinds.append(kind)
        self.status = verdict.http_status
        self.reason = words
        for number in self._numbers:
            self.reason = self.reason.replace(number, MASK)
        return replace(verdict, reason=words)

    @property
    def kind(self) -> Kind:
        """What the whole call came to, if it was not taken."""
        if self.kinds and self.kinds[-1] == "refused":
            return "refused"
        return "unknown" if "unknown" in self.kinds else "not_sent"

    @property
    def may_have_arrived(self) -> bool:
        return "unknown" in self.kinds


def masked_words(words: str, *personal: str) -> str:
    """Haier's words without these personal texts (name, mobile, address), in whatever spelling,
    and without any telephone number."""
    given = [text.strip() for text in personal if text.strip()]
    if not words:
        return ""
    return without_telephones(Masker(given).text(words) if given else words)


# -------------------------------------------------------------------------------------- answers


class Found(list[T], Generic[T]):
    """A list that says how many entries of the answer could not be read, and were left out."""

    unreadable: int = 0


@dataclass(frozen=True)
class Parcel:
    """One parcel; ``serial_numbers`` of the goods in it."""

    carrier_code: str | None
    carrier_name: str | None
    tracking_no: str | None
    serial_numbers: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrackedDelivery:
    """One delivery record of an order (``SO.….F1``; blank where Haier gives none) and its parcels.

    One without a parcel has not left yet.
    """

    order_code: str
    delivery_record_code: str
    parcels: tuple[Parcel, ...] = ()


@dataclass(frozen=True)
class Picture:
    """One picture of a delivery (``scene`` 1) or an installation (2); it may show a home."""

    order_code: str
    delivery_record_code: str
    serial_number: str | None
    scene: int | None
    description: str | None = field(repr=False)
    url: str = field(repr=False)


def parse_tracking(data: object, asked: Collection[str]) -> Found[TrackedDelivery]:
    """Read the answer to a call for tracking numbers (contract, "Tracking").

    Orders that were not asked for are left out; one that Haier says nothing of has no entry.
    """
    found: Found[TrackedDelivery] = Found()
    for entry in _entries(data):
        code = _text_of(entry, "orderCode")
        if code is None and len(asked) == 1:
            (code,) = asked
        parcels = _list(entry.get("logisticsList")) if isinstance(entry, Mapping) else None
        if code is None or parcels is None:
            found.unreadable += 1
        elif code in asked:
            readable = [parcel for parcel in parcels if isinstance(parcel, Mapping)]
            found.unreadable += len(parcels) - len(readable)
            found.append(
                TrackedDelivery(
                    code,
                    _text_of(entry, "deliveryRecordCode") or "",
                    tuple(_parcel(parcel) for parcel in readable),
                )
            )
    return found


def _parcel(entry: Mapping[str, Any]) -> Parcel:
    codes = entry.get("barCodes", entry.get("barcodes"))
    if isinstance(codes, str):
        codes = codes.replace("，", ",").split(",")
    codes = codes if isinstance(codes, list) else [codes]
    return Parcel(
        carrier_code=_text_of(entry, "logisticsCode"),
        carrier_name=_text_of(entry, "logisticsName"),
        tracking_no=_text_of(entry, "expNo"),
        serial_numbers=tuple(text for code in codes if (text := read_text(code))),
    )


def parse_pictures(data: object, order_code: str) -> Found[Picture]:
    """Read the answer to a call for pictures (contract, "Pictures"). An address that is none of
    the web counts as unreadable."""
    found: Found[Picture] = Found()
    for entry in _entries(data):
        photos = _list(entry.get("photosDeliveryList")) if isinstance(entry, Mapping) else None
        if photos is None:
            found.unreadable += 1
            continue
        # `orderCode` names a delivery here too, never the order.
        record = _text_of(entry, "ylhOrderCode") or _text_of(entry, "orderCode") or ""
        for photo in photos:
            url = _text_of(photo, "imgUrl")
            if url is None or not url.lower().startswith(("https://", "http://")):
                found.unreadable += 1
                continue
            scene = _text_of(photo, "scene")
            found.append(
                Picture(
                    order_code=order_code,
                    delivery_record_code=record,
                    serial_number=_text_of(entry, "snNo"),
                    scene=int(scene) if scene in ("1", "2") else None,
                    description=_text_of(photo, "imgDesc"),
                    url=url,
                )
            )
    return found


def _entries(data: object) -> list[Any]:
    """The entries of an answer: a list, one object in its place, or nothing."""
    entries = _list(clean(data)[0])
    if entries is None:
        raise CallRefused("the answer is no list", endpoint="", status=200)
    return entries


def _list(value: object) -> list[Any] | None:
    if value is None:
        return []
    return value if isinstance(value, list) else [value] if isinstance(value, Mapping) else None


def _text_of(entry: object, name: str) -> str | None:
    return read_text(entry.get(name)) if isinstance(entry, Mapping) else None


# --------------------------------------------------------------------------------------- client


class OrdersClient(PlatformClient):
    """Calls the order side as one dealer. Safe for threads; a context manager.

    ``ledger`` shares the pace (``ylh_rate_limit``), ``tokens`` the token, ``stop`` ends every wait
    and call with `Cancelled`, as in `HaierClient`. Raises `InvalidConfig` with the missing keys
    where the dealer has no complete order settings.
    """

    token_endpoint = "order_token"  # noqa: S105 - an interface's name
    checks = _CHECK
    credentials_check = "check ylh_client_id, ylh_client_secret, ylh_username and ylh_password"
    address_keys = ("ylh_base_url", "ylh_base_url")

    def __init__(
        self,
        dealer: DealerConfig,
        *,
        ledger: Ledger | None = None,
        tokens: TokenStore | None = None,
        stop: threading.Event | None = None,
        workers: int = 32,
        attempt_seconds: float = 30.0,
        token_seconds: float = 10.0,
    ) -> None:
        dealer.require_orders()
        self.dealer = dealer
        host = urlsplit(dealer.ylh_base_url).hostname or ""
        self._suffix = ORDER_HOSTS.get(host, "")
        super().__init__(
            rate_limit=dealer.ylh_rate_limit,
            secrets=(getattr(dealer, key).get_secret_value() for key in SECRET_FIELDS),
            ids=(dealer.ylh_client_id, dealer.ylh_username),
            ledger=ledger,
            tokens=tokens,
            sends_token_type=True,
            stop=stop,
            workers=workers,
            attempt_seconds=attempt_seconds,
            token_seconds=token_seconds,
        )

    def __repr__(self) -> str:
        return f"OrdersClient({self.dealer.name!r})"

    def push(self, order: OrderRequest) -> PushOutcome:
        """Send an order; repeated where that may help. Raises `Cancelled` where a stop came after
        the first byte had left: it may have arrived."""
        return self._change(
            "push",
            _pushed(order, self.dealer),
            about=order.so_id,
            personal=order.personal,
            numbers=(order.so_id, order.online_no),
        )

    def cancel(
        self,
        so_id: str,
        reason: str,
        *,
        at: datetime | None = None,
        personal: Collection[str] = (),
    ) -> PushOutcome:
        """Ask to cancel an order, or to take it back; ``at``: when it was asked for, else now.

        ``taken`` says only that the request was. ``personal`` is masked in Haier's words. Raises
        `InvalidInput` for a blank reason, and `Cancelled` as `push` does.
        """
        if not so_id.strip() or not reason.strip():
            raise InvalidInput("A cancellation needs the order's so_id and a reason.")
        body = {
            "soId": so_id,
            "cancelTime": str(milliseconds(datetime.now(UTC) if at is None else at)),
            "cancelReason": reason,
            "sourceSystem": self.dealer.ylh_source_system,
        }
        return self._change("cancel", body, about=so_id, personal=personal, numbers=(so_id,))

    def reschedule(
        self,
        haier_order_no: str,
        distribution_at: datetime | None = None,
        install_at: datetime | None = None,
        *,
        personal: Collection[str] = (),
    ) -> PushOutcome:
        """Move delivery and installation; new times are `end_of_day`, others as they were sent.

        ``personal`` is masked in Haier's words. Raises `InvalidInput` where both times are missing,
        and `Cancelled` as `push` does.
        """
        times = {"distributionTime": distribution_at, "installTime": install_at}
        given = {name: milliseconds(time) for name, time in times.items() if time is not None}
        if not haier_order_no.strip() or not given:
            raise InvalidInput(
                "Rescheduling needs Haier's number of the order, and distribution_at or install_at."
            )
        body = {"retailOrderNo": haier_order_no, **given}
        return self._change(
            "reschedule", body, about=haier_order_no, personal=personal, numbers=(haier_order_no,)
        )

    def tracking(self, codes: Iterable[str]) -> Found[TrackedDelivery]:
        """The delivery records of at most 100 of Haier's order numbers; of none, no call.

        `batches` splits more. Raises `InvalidInput` for more, and errors as `HaierClient` does.
        """
        chunks = list(batches(codes, MOST_TRACKED))
        if not chunks:
            return Found()
        if len(chunks) > 1:
            raise InvalidInput(f"One call tracks at most {MOST_TRACKED} orders.")
        asked = chunks[0]
        return self._read("tracking", asked, lambda data: parse_tracking(data, asked), about=asked)

    def pictures(self, haier_order_no: str) -> Found[Picture]:
        """The pictures of an order. Errors as in `HaierClient`."""
        return self._read(
            "pictures",
            {"orderNo": haier_order_no},
            lambda data: parse_pictures(data, haier_order_no),
            about=(haier_order_no,),
        )

    # --------------------------------------------------------------------------------- one call

    def _address(self, endpoint: str) -> str:
        service, path = _PLACES[endpoint]
        return f"{self.dealer.ylh_base_url}/{service}{self._suffix}{path}"

    def _change(
        self,
        endpoint: str,
        body: Mapping[str, Any],
        *,
        about: str,
        personal: Collection[str],
        numbers: Collection[str],
    ) -> PushOutcome:
        attempts = _Attempts(personal, numbers)
        failure: HaierError
        try:
            self._ask(
                endpoint,
                self._address(endpoint),
                body,
                about=(about,),
                seconds=self._attempt_seconds,
                most_bytes=ANSWER_BYTES,
                judge=attempts.judge,
            )
        except PlatformError as error:
            failure = error
        except Cancelled as error:
            if attempts.may_have_arrived:
                raise
            failure = error
        else:
            return PushOutcome("taken", attempts=len(attempts.kinds), status=attempts.status)
        return PushOutcome(
            attempts.kind,
            message=str(failure),
            reason=attempts.reason,
            may_have_arrived=attempts.may_have_arrived,
            attempts=len(attempts.kinds),
            status=attempts.status,
            error=failure,
        )

    def _read(
        self,
        endpoint: str,
        body: Mapping[str, Any] | tuple[str, ...],
        parse: Callable[[Any], Found[T]],
        *,
        about: tuple[str, ...],
    ) -> Found[T]:
        answer = self._ask(
            endpoint,
            self._address(endpoint),
            body,
            about=about,
            seconds=self._attempt_seconds,
            most_bytes=ANSWER_BYTES,
        )
        try:
            return parse(self._masker().payload(answer))
        except CallRefused as error:
            problem = str(error)
            raise CallRefused(
                sentence(endpoint, about, problem), endpoint=endpoint, status=200, reason=problem
            ) from None

    def _fetch_token(self, address: str | None) -> tuple[Token, str]:  # noqa: ARG002 - there is one
        url = self._address(self.token_endpoint)
        dealer = self.dealer
        body = {
            "grant_type": "password",
            "username": dealer.ylh_username,
            "password": dealer.ylh_password.get_secret_value(),
        }
        # In UTF-8, since requests would take Latin-1.
        basic = HTTPBasicAuth(
            dealer.ylh_client_id.encode(),
            dealer.ylh_client_secret.get_secret_value().encode(),
        )

        def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["Content-Type"] = "application/x-www-form-urlencoded"
            request.headers["system-name"] = "ylh-open-api"
            signed: requests.PreparedRequest = basic(request)
            return signed

        # In the body and not, as the vendor's example has it, in the address, which logs keep.
        content = urlencode(body).encode()
        return self._asked_token(url, content, parse_token, auth=sign), url
