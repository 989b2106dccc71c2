"""The state of a retail order: one pure function of what is stored about it.

The table is that of docs/orders.md, "State" (design of the order side): the topmost row whose fact
is there, in whatever order the facts arrived. Time counts in three places only: whether a cancel
callback came after our own last request, which of two callbacks Haier sent later, and `resolved`.
What the facts are stored in, and who finds them out, belongs elsewhere.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

CONFIRM: Final = "hmm.scm_heorder.confirm"
CANCEL: Final = "hmm.scm_heorder.cancel"
OUT_OF_STOCK: Final = "hmm.scm_heorder.oostock"

#: Every state with its words in English and Chinese, from the first to the last.
STATE_LABELS: Final[Mapping[str, tuple[str, str]]] = {
    "new": ("new", "待推送"),
    "pushing": ("being pushed", "推送中"),
    "pushed": ("pushed, waiting", "已推送，待确认"),
    "confirmed": ("confirmed", "已确认"),
    "out_of_stock": ("out of stock", "缺货"),
    "refused": ("refused", "已拒绝"),
    "shipped": ("shipped", "已发货"),
    "delivered": ("delivered", "已送达"),
    "cancel_requested": ("cancellation requested", "取消申请中"),
    "partly_cancelled": ("partly cancelled", "部分取消"),
    "cancelled": ("cancelled", "已取消"),
}
STATES: Final = tuple(STATE_LABELS)

EVENT_KINDS: Final = (
    *("created", "sent", "pushed", "push_failed", "confirmed", "refused", "cancel_requested"),
    *("cancelled", "partly_cancelled", "cancel_refused", "rescheduled", "out_of_stock", "shipped"),
    *("delivered", "picture", "resolved", "unclear", "note"),
)

#: What a person has to look at, by its code: what it means in English and Chinese.
ATTENTION: Final[Mapping[str, tuple[str, str]]] = {
    "perhaps_arrived": (
        "Haier refused the repetition of an order that may have arrived; wait for its confirmation",
        "重复推送被拒，首次推送可能已送达海尔；请等待确认",
    ),
    "number_perhaps_taken": (
        "Haier refused the push; it may know the number already: ask Haier before you send it anew",
        "推送被拒；海尔可能已有该单号，重新下单前请先向海尔核实",
    ),
    "confirmed_and_refused": (
        "Haier both confirmed and refused the order; the confirmation counts",
        "海尔既确认又拒绝了该订单；以确认为准",
    ),
    "confirmed_after_refusal": (
        "the push was refused, and yet Haier confirmed the order",
        "推送被拒，但海尔确认了该订单",
    ),
    "known_though_cancelled": (
        "the order was cancelled here before it was sent, and yet Haier has it",
        "订单推送前已在本地取消，但海尔已有该订单",
    ),
    "parcel_after_end": (
        "a parcel is on its way though the order was cancelled or refused",
        "订单已取消或被拒，但有包裹在途",
    ),
    "second_order_no": (
        "Haier named a second order number for the order",
        "海尔为该订单给出了第二个单号",
    ),
    "cancel_refused": ("Haier refused the cancellation", "海尔拒绝取消"),
    "cancel_open": (
        "a cancellation of the rest was asked for and is not answered",
        "剩余部分的取消申请尚未答复",
    ),
    "not_understood": (
        "a message of Haier's could not be understood and moved nothing",
        "海尔的某条消息无法识别，未作处理",
    ),
}


@dataclass(frozen=True)
class Line:
    """One line of the order, by its position from 1; ``quantity`` in pieces."""

    position: int
    product_code: str
    quantity: int
    is_gift: bool = False


@dataclass(frozen=True)
class Given:
    """Pieces of a line that were received, brought back, and rejected or intercepted."""

    received: int = 0
    returned: int = 0
    rejected: int = 0


@dataclass(frozen=True)
class Fact:
    """One stored event. ``at`` is when it was stored here, ``number`` tells two of one time apart.

    A callback has a ``method``; ``sent_at`` is Haier's own time of it and ``data`` what it said.
    Of our own events ``data`` holds what came of them (``outcome``) or was decided (``state``).
    """

    kind: str
    at: datetime
    number: int = 0
    method: str | None = None
    sent_at: datetime | None = None
    external_order_no: str | None = None
    signature: str | None = None
    data: Mapping[str, Any] | None = field(default=None, repr=False)
    detail: str | None = field(default=None, repr=False)

    @property
    def moment(self) -> tuple[datetime, int]:
        return self.at, self.number

    @property
    def sent(self) -> datetime:
        return self.sent_at or self.at

    @property
    def outcome(self) -> str | None:
        return (self.data or {}).get("outcome")


@dataclass(frozen=True)
class Arrival:
    """A parcel: when tracking named it first, and when it arrived, if it has.

    ``has_left`` is false of a delivery record that has no parcel yet.
    """

    first_seen_at: datetime
    delivered_at: datetime | None = None
    has_left: bool = True


@dataclass(frozen=True)
class Standing:
    """What the facts of an order come to.

    ``given`` holds the quantities of each position, None where the callback that decides them is
    no longer kept in full. ``attention``: codes of `ATTENTION`. ``is_ended``: nothing more is
    expected; a delivered order may still be brought back.
    """

    state: str
    reason: str | None = None
    given: Mapping[int, Given] | None = None
    attention: tuple[str, ...] = ()
    is_ended: bool = False
    pushed_at: datetime | None = None
    confirmed_at: datetime | None = None
    cancelled_at: datetime | None = None
    delivered_at: datetime | None = None


# ----------------------------------------------------------------------------- what callbacks say


def state_said(data: Mapping[str, Any] | None) -> int | None:
    """The ``State`` of a callback, 0, 1 or 2; it may come as text, and may be missing."""
    number = _whole((data or {}).get("State"))
    return number if number in (0, 1, 2) else None


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal | float):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    if not number.is_finite() or number != number.to_integral_value() or abs(number) > 10**9:
        return None
    return int(number)


def quantities_said(data: Mapping[str, Any] | None) -> Mapping[str, Given] | None:
    """The totals of each product in a cancel callback; None where it holds none to be read.

    The list may come as JSON text. A product on several entries counts with their sum.
    """
    entries: object = (data or {}).get("itemList")
    if isinstance(entries, str):
        try:
            entries = json.loads(entries)
        except (ValueError, RecursionError):
            return None
    if isinstance(entries, Mapping):
        entries = [entries]
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        return None
    found: dict[str, Given] = {}
    for entry in entries:
        if not isinstance(entry, Mapping):
            return None
        counts = [_whole(entry.get(key)) for key in ("receiveQty", "returnQty", "rejectQty")]
        code = entry.get("productCode")
        # One that is left out gave nothing; one that cannot be read makes the whole unclear.
        readable = [
            count if entry.get(key) not in (None, "") else 0
            for key, count in zip(("receiveQty", "returnQty", "rejectQty"), counts, strict=True)
        ]
        if not isinstance(code, str | int) or any(one is None or one < 0 for one in readable):
            return None
        before = found.get(str(code).strip(), Given())
        received, returned, rejected = (one or 0 for one in readable)
        found[str(code).strip()] = Given(
            before.received + received, before.returned + returned, before.rejected + rejected
        )
    return found or None


def spread(lines: Iterable[Line], said: Mapping[str, Given]) -> dict[int, Given]:
    """The quantities of each line, of totals by product.

    Received pieces fill the lines by position, gifts last; rejected ones what is left; returned
    ones only what was received.
    """
    given: dict[int, Given] = {}
    ordered = sorted(lines, key=lambda line: (line.is_gift, line.position))
    for code in {line.product_code for line in ordered}:
        total = said.get(code, Given())
        received, returned, rejected = total.received, total.returned, total.rejected
        for line in (line for line in ordered if line.product_code == code):
            took = min(line.quantity, received)
            lost = min(line.quantity - took, rejected)
            back = min(took, returned)
            received, rejected, returned = received - took, rejected - lost, returned - back
            given[line.position] = Given(took, back, lost)
    return given


@dataclass(frozen=True)
class _Cancel:
    """A cancel callback: whether it gives ``all``, ``part`` or ``none`` back, or says nothing."""

    fact: Fact
    gives: str | None
    given: Mapping[int, Given] | None
    pieces: int


def _read_cancel(fact: Fact, lines: Sequence[Line]) -> _Cancel:
    if fact.data is None:
        # Taken away with the personal data; what it came to stands in its kind.
        kinds = {"cancelled": "all", "partly_cancelled": "part", "cancel_refused": "none"}
        return _Cancel(fact, kinds.get(fact.kind), None, 0)
    state = state_said(fact.data)
    said = quantities_said(fact.data)
    given = spread(lines, said) if said is not None else {}
    back = {position: one.returned + one.rejected for position, one in given.items()}
    pieces = sum(one.returned + one.rejected for one in (said or {}).values())
    is_all = bool(lines) and all(back.get(line.position, 0) >= line.quantity for line in lines)
    gives: str | None
    if state == 0:
        gives = "none"
    elif state == 1 or is_all:
        gives = "all"
        pieces = pieces or sum(line.quantity for line in lines)
    elif state == 2 or any(back.values()):
        gives = "part"
    else:
        gives = None if said is None else "none"
    return _Cancel(fact, gives, given, pieces)


def callback_kind(method: str, data: Mapping[str, Any] | None, lines: Sequence[Line] = ()) -> str:
    """The kind of event that a callback is; with the order's lines it is the final one."""
    state = state_said(data)
    if method == CONFIRM:
        return {1: "confirmed", 0: "refused"}.get(state if state is not None else -1, "unclear")
    if method == OUT_OF_STOCK:
        return "unclear" if state == 0 else "out_of_stock"
    if method == CANCEL:
        now = datetime.fromtimestamp(0).astimezone()
        gives = _read_cancel(Fact("", now, data=data or {}), lines).gives
        kinds = {"all": "cancelled", "part": "partly_cancelled", "none": "cancel_refused"}
        return kinds.get(gives or "", "unclear")
    return "unclear"


# ------------------------------------------------------------------------------------ the state


def _once(facts: Iterable[Fact]) -> list[Fact]:
    """Callbacks without their repetitions: the same data under a new time stamp.

    Of equal ones the one that Haier sent first stands for all, with the time at which the first
    arrived; so it does not matter which came first. Of ``cancel`` those before and after our own
    request are two.
    """
    facts = sorted(facts, key=lambda fact: fact.moment)
    first: dict[tuple[object, ...], Fact] = {}
    requests = 0
    for fact in facts:
        if fact.kind == "cancel_requested":
            requests += 1
        if fact.method is None:
            continue
        said = json.dumps(fact.data, sort_keys=True, default=str) if fact.data else fact.number
        key = (fact.method, said, requests if fact.method == CANCEL else 0)
        other = first.get(key)
        if other is None:
            first[key] = fact
        elif (fact.sent, fact.signature or "") < (other.sent, other.signature or ""):
            first[key] = Fact(**{**fact.__dict__, "at": other.at, "number": other.number})
    own = [fact for fact in facts if fact.method is None]
    return sorted([*own, *first.values()], key=lambda fact: fact.moment)


def standing(
    lines: Sequence[Line],
    facts: Iterable[Fact],
    arrivals: Iterable[Arrival] = (),
    *,
    may_have_arrived: bool = False,
) -> Standing:
    """The state of an order, whatever the order of its facts.

    ``may_have_arrived`` only adds what is to be shown.
    """
    known = _once(facts)
    parcels = list(arrivals)
    everything = known
    resolved = max(
        (fact for fact in known if fact.kind == "resolved"),
        key=lambda fact: fact.moment,
        default=None,
    )
    decided = ""
    if resolved is not None:
        # It stands as the fact of its row; only what came later joins it.
        decided = str((resolved.data or {}).get("state", ""))
        known = [fact for fact in known if fact.moment > resolved.moment]
        parcels = [
            parcel
            for parcel in parcels
            if parcel.first_seen_at > resolved.at
            or (parcel.delivered_at is not None and parcel.delivered_at > resolved.at)
        ]
    of = _Facts(lines, known, parcels, decided, resolved)
    state, reason_of = of.state()
    given = of.given(state)
    shown = of.attention(state, everything, may_have_arrived=may_have_arrived)
    is_made_up = given is not None and all(
        (one := given.get(line.position, Given())).received + one.rejected >= line.quantity
        for line in lines
    )
    pushed = min((fact.at for fact in everything if fact.kind == "pushed"), default=None)
    confirmed = min((fact.at for fact in of.confirmations(1)), default=None)
    arrived = max((parcel.delivered_at for parcel in parcels if parcel.delivered_at), default=None)
    return Standing(
        state=state,
        reason=reason_of.detail if reason_of is not None else None,
        given=given,
        attention=shown,
        is_ended=state in ("cancelled", "refused", "delivered")
        or (state == "partly_cancelled" and is_made_up),
        pushed_at=pushed,
        confirmed_at=confirmed or (resolved.at if resolved and decided == "confirmed" else None),
        cancelled_at=reason_of.at if reason_of is not None and state == "cancelled" else None,
        delivered_at=None
        if state != "delivered"
        else arrived or (resolved.at if resolved is not None else None),
    )


@dataclass(frozen=True)
class _Facts:
    """The facts that count, by the rows of the table."""

    lines: Sequence[Line]
    known: Sequence[Fact]
    parcels: Sequence[Arrival]
    decided: str
    resolved: Fact | None

    def confirmations(self, state: int) -> list[Fact]:
        kind = "confirmed" if state else "refused"
        return [fact for fact in self.known if fact.method == CONFIRM and fact.kind == kind]

    def cancels(self) -> list[_Cancel]:
        return [_read_cancel(fact, self.lines) for fact in self.known if fact.method == CANCEL]

    def deciding(self) -> _Cancel | None:
        """The cancel callback that Haier sent last among those that give something back."""
        giving = [cancel for cancel in self.cancels() if cancel.gives in ("all", "part")]
        return max(
            giving,
            key=lambda one: (one.fact.sent, one.pieces, one.fact.signature or ""),
            default=None,
        )

    def is_confirmed(self) -> bool:
        return bool(self.confirmations(1)) or self.decided == "confirmed"

    def refusal(self) -> Fact | None:
        """The fact of the row ``refused``: a confirm 0, or a refused push, and no confirm 1.

        A push that was refused though Haier then confirmed the order had arrived.
        """
        if self.is_confirmed():
            return None
        if self.confirmations(0):
            return self.confirmations(0)[-1]
        if self.decided == "refused":
            return self.resolved
        return self._refused_push()

    def _pushes(self) -> list[Fact]:
        if self.resolved is not None and self.decided != "new":
            return []
        return [fact for fact in self.known if fact.kind in ("sent", "pushed", "push_failed")]

    def _refused_push(self) -> Fact | None:
        refused = [
            fact
            for fact in self._pushes()
            if fact.kind == "push_failed" and fact.outcome == "refused"
        ]
        return refused[-1] if refused and not self._taken() else None

    def _taken(self) -> Fact | None:
        return next((fact for fact in self._pushes() if fact.kind == "pushed"), None)

    def request(self) -> Fact | None:
        """Our request to cancel that is open: not refused, and no cancel callback came after it."""
        answers = [cancel.fact.moment for cancel in self.cancels() if cancel.gives is not None]
        open_ones = [
            fact
            for fact in self.known
            if fact.kind == "cancel_requested"
            and fact.outcome not in ("refused", "not_sent")
            and not any(moment > fact.moment for moment in answers)
        ]
        return open_ones[-1] if open_ones else None

    def _is_refused_by_callback(self) -> bool:
        refused = bool(self.confirmations(0)) or self.decided == "refused"
        return refused and not self.is_confirmed()

    def shortage(self) -> Fact | None:
        """The out-of-stock callback that counts: not older than the last confirmation."""
        short = [fact for fact in self.known if fact.kind == "out_of_stock"]
        last = max((fact.sent for fact in self.confirmations(1)), default=None)
        if last is None and self.decided == "confirmed" and self.resolved is not None:
            # What came after a person's word is newer, whatever Haier's clock says.
            return short[-1] if short else None
        counting = [fact for fact in short if last is None or fact.sent >= last]
        return max(counting, key=lambda fact: fact.sent, default=None)

    def cancelled_here(self) -> Fact | None:
        return next(
            (fact for fact in self.known if fact.kind == "cancelled" and fact.method is None), None
        )

    def state(self) -> tuple[str, Fact | None]:
        """The state, and the fact that says why."""
        deciding = self.deciding()
        if deciding is not None and deciding.gives == "all":
            return "cancelled", deciding.fact
        if self.decided == "cancelled":
            return "cancelled", self.resolved
        if deciding is not None:
            return "partly_cancelled", deciding.fact
        below, fact = self._below()
        here = self.cancelled_here()
        # Only what shows that Haier has the order takes a cancellation of ours back: a message
        # that cannot be understood must not let the order be sent.
        if here is not None and below == "new":
            return "cancelled", here
        return below, fact

    def _below(self) -> tuple[str, Fact | None]:
        request = self.request()
        if request is not None and not self._is_refused_by_callback():
            return "cancel_requested", request
        have_all = all(parcel.delivered_at is not None for parcel in self.parcels)
        if have_all and (self.parcels or self.decided == "delivered"):
            return "delivered", None
        if any(parcel.has_left for parcel in self.parcels) or self.decided == "delivered":
            return "shipped", None
        refusal = self.refusal()
        if refusal is not None:
            return "refused", refusal
        shortage = self.shortage()
        if shortage is not None:
            return "out_of_stock", shortage
        if self.is_confirmed():
            return "confirmed", None
        taken = self._taken()
        if taken is not None:
            return "pushed", taken
        attempts = [
            fact
            for fact in self._pushes()
            if fact.kind == "sent" or (fact.kind == "push_failed" and fact.outcome == "not_sent")
        ]
        if attempts and attempts[-1].kind == "sent":
            return "pushing", None
        return "new", attempts[-1] if attempts else None

    def given(self, state: str) -> Mapping[int, Given] | None:
        """The quantities of every line; state and quantities come from the same callback."""
        deciding = self.deciding()
        if state in ("cancelled", "partly_cancelled") and deciding is not None:
            return deciding.given
        return {}

    def attention(
        self, state: str, everything: Sequence[Fact], *, may_have_arrived: bool
    ) -> tuple[str, ...]:
        of_callbacks = [fact for fact in everything if fact.method is not None]
        numbers = {fact.external_order_no for fact in of_callbacks if fact.external_order_no}
        ended = state == "cancelled" or (self.refusal() is not None and bool(self.parcels))
        last_cancel = max(self.cancels(), key=lambda one: one.fact.moment, default=None)
        reasons = {
            "perhaps_arrived": state == "pushed" and may_have_arrived,
            "number_perhaps_taken": state == "refused" and self.refusal() is self._refused_push(),
            "confirmed_and_refused": bool(self.confirmations(0)) and self.is_confirmed(),
            "confirmed_after_refusal": self._refused_push() is not None and self.is_confirmed(),
            "known_though_cancelled": self.cancelled_here() is not None
            and (state != "cancelled" or any(fact.method for fact in self.known)),
            "parcel_after_end": ended and bool(self._moving(state)),
            "second_order_no": len(numbers) > 1,
            "cancel_refused": last_cancel is not None
            and last_cancel.gives == "none"
            and state not in ("cancelled", "partly_cancelled", "cancel_requested"),
            "cancel_open": state == "partly_cancelled" and self.request() is not None,
            "not_understood": any(fact.kind == "unclear" for fact in self.known),
        }
        return tuple(code for code, is_true in reasons.items() if is_true)

    def _moving(self, state: str) -> list[Arrival]:
        """The parcels that moved after the order's end; of a cancelled one those on their way
        back are not told from it, so only what is newer than its cancellation counts."""
        deciding = self.deciding()
        end = deciding.fact.at if deciding is not None else None
        if self.decided == "cancelled" and self.resolved is not None:
            end = self.resolved.at
        parcels = [parcel for parcel in self.parcels if parcel.has_left]
        if state != "cancelled" or end is None:
            return parcels
        return [
            parcel
            for parcel in parcels
            if parcel.first_seen_at > end
            or (parcel.delivered_at is not None and parcel.delivered_at > end)
        ]
