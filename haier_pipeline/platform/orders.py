"""The client of Haier's order side: push, cancel, reschedule, tracking, pictures.

The contract is docs/platform.md, "Orders". What is common to all calls is in `calls`, the token in
`token`, the pace in `pacing`. No SQL, no Dagster, no environment.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar

from haier_pipeline.errors import HaierError
from haier_pipeline.platform.config import DealerConfig
from haier_pipeline.platform.pacing import Ledger
from haier_pipeline.platform.token import TokenStore

T = TypeVar("T")

Kind = Literal["taken", "refused", "unknown", "not_sent"]


@dataclass(frozen=True)
class OrderItem:
    """One line of an order; amounts in CNY per piece."""

    product_code: str
    quantity: int
    retail_price: Decimal
    actual_price: Decimal
    discount_amount: Decimal = Decimal(0)
    is_gift: bool = False


@dataclass(frozen=True)
class OrderRequest:
    """One order as it is pushed; what cannot be one cannot be made.

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
    items: tuple[OrderItem, ...]
    town: str = field(default="", repr=False)
    remark: str = field(default="", repr=False)
    distribution_at: datetime | None = None
    install_at: datetime | None = None
    is_government_order: bool = False


@dataclass(frozen=True)
class PushOutcome:
    """What came of a push, a cancellation or a rescheduling (design, "Pushing").

    ``kind``: ``taken``; ``refused`` by Haier; ``unknown``: it may have arrived, and is to be sent
    again under the same number; ``not_sent``: not the order's fault, nobody has it.

    ``may_have_arrived``: an attempt of this very call may have arrived before the last one was
    answered; always true with ``unknown``, never with ``taken`` and ``not_sent``. With
    ``refused`` it means that the refusal may be for the repetition.

    ``message``: one sentence for people, without secrets and without the order's name, mobile and
    address; empty where it was taken. ``reason``: Haier's own words alone, the order's numbers left
    out as well, so that two refusals can be compared; empty where it gave none. ``error``: the
    error behind it, `Cancelled` too where nothing had been sent yet.
    """

    kind: Kind
    message: str = ""
    reason: str = ""
    may_have_arrived: bool = False
    attempts: int = 0
    status: int | None = None
    error: HaierError | None = field(default=None, compare=False, repr=False)


class Found(list[T], Generic[T]):
    """A list that says how many entries of the answer could not be read, and left out."""

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


class OrdersClient:
    """Calls the order side as one dealer. Safe for threads; a context manager.

    ``ledger`` shares the pace (``ylh_rate_limit``), ``tokens`` the token, ``stop`` ends every wait
    and call with `Cancelled`, as in `HaierClient`. Raises `InvalidConfig` with the missing keys
    where the dealer has no complete order settings.
    """

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
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the calls in flight and close the connections."""

    def push(self, order: OrderRequest) -> PushOutcome:
        """Send an order; repeated where that may help. Raises `Cancelled` where a stop came after
        the first byte had left: it may have arrived."""
        raise NotImplementedError

    def cancel(self, so_id: str, reason: str, *, at: datetime | None = None) -> PushOutcome:
        """Ask to cancel an order, or to take it back; ``at``: when it was asked for, else now.

        ``taken`` says only that the request was. Raises `InvalidInput` for a blank reason.
        """
        raise NotImplementedError

    def reschedule(
        self,
        haier_order_no: str,
        distribution_at: datetime | None = None,
        install_at: datetime | None = None,
    ) -> PushOutcome:
        """Move delivery and installation; new times are `end_of_day`, others as they were sent.

        Raises `InvalidInput` where both are missing.
        """
        raise NotImplementedError

    def tracking(self, codes: Iterable[str]) -> Found[TrackedDelivery]:
        """The delivery records of at most 100 of Haier's order numbers; of none, no call.

        Raises `InvalidInput` for more, and errors as `HaierClient` does.
        """
        raise NotImplementedError

    def pictures(self, haier_order_no: str) -> Found[Picture]:
        """The pictures of an order. Errors as in `HaierClient`."""
        raise NotImplementedError


def end_of_day(day: date) -> datetime:
    """23:59:59 of a day in China; of a time, that of its day in China."""
    raise NotImplementedError


def masked_words(words: str, *personal: str) -> str:
    """Haier's words without these personal texts (name, mobile, address) and any telephone
    number."""
    raise NotImplementedError
