"""What Haier's order side sends to a dealer: forms that are signed, and what they say.

Pure functions of one request (contract of the order side, "Callbacks"): no HTTP, no storage. What
a callback does to an order belongs elsewhere.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class CallbackItem:
    """One product of a cancellation; quantities are totals in pieces, None where not to be read."""

    product_code: str
    total: int | None
    received: int | None
    returned: int | None
    rejected: int | None


@dataclass(frozen=True)
class Callback:
    """A signed callback. ``repr`` shows nothing that Haier wrote.

    ``method`` as it came, ``sent_at`` aware, None where the time stamp is none. ``state`` 0, 1, 2
    or None where it is missing or nothing of these. ``problem`` says why ``Data`` could not be
    read, None where it could; what is missing in it is None or empty and no problem. ``fail_msg``
    is Haier's own text and may hold personal data. ``payload``: the decoded ``Data``, without
    characters that PostgreSQL does not take; None with a problem.
    """

    method: str
    signature: str
    sent_at: datetime | None
    platform_order_no: str | None
    external_order_no: str | None
    state: int | None
    fail_msg: str | None = field(repr=False)
    items: tuple[CallbackItem, ...] = field(repr=False)
    payload: Mapping[str, object] | None = field(repr=False)
    problem: str | None = None


def read_form(body: bytes, content_type: str) -> dict[str, str]:
    """The fields of a request as they were signed: a form, or a JSON object of texts.

    Raises `InvalidSignature` where it is neither: nothing in it could be verified.
    """
    raise NotImplementedError


def signature(form: Mapping[str, str], secret: str) -> str:
    """The signature of a form, 32 hexadecimal digits in upper case."""
    raise NotImplementedError


def verify_callback(form: Mapping[str, str], app_key: str, secrets: Collection[str]) -> Callback:
    """Check who sent a form, in constant time, and read it.

    ``secrets`` are the ones that are accepted: the present one, and the previous one while it is
    being changed; blank ones never fit. Raises `InvalidSignature` for another ``AppKey``, a
    missing or wrong signature, or where there is no secret.
    """
    raise NotImplementedError
