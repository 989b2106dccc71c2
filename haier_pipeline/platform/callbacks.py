"""What Haier's order side sends to a dealer: forms that are signed, and what they say.

Pure functions of one request (contract, "Callbacks"): no HTTP, no storage. What a callback does to
an order belongs elsewhere.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qsl

from haier_pipeline.domain.partition import SHANGHAI
from haier_pipeline.errors import InvalidSignature
from haier_pipeline.platform.answers import clean, read_amount

CONFIRM: Final = "hmm.scm_heorder.confirm"
CANCEL: Final = "hmm.scm_heorder.cancel"
OUT_OF_STOCK: Final = "hmm.scm_heorder.oostock"

#: More fields than this are none of Haier's; it sends five.
MOST_FIELDS: Final = 50
#: A longer number cannot be one of an order's.
_MOST_NUMBER_LENGTH: Final = 200
_TIME: Final = re.compile(r"[0-9]{14}")


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
    is Haier's own text and may hold personal data. ``items`` are those of which the product can be
    read. ``payload``: the decoded ``Data``, without characters that PostgreSQL does not take; None
    with a problem.
    """

    method: str
    signature: str
    sent_at: datetime | None
    platform_order_no: str | None = None
    external_order_no: str | None = None
    state: int | None = None
    fail_msg: str | None = field(default=None, repr=False)
    items: tuple[CallbackItem, ...] = field(default=(), repr=False)
    payload: Mapping[str, Any] | None = field(default=None, repr=False)
    problem: str | None = None


def read_form(body: bytes, content_type: str) -> dict[str, str]:
    """The fields of a request as they were signed: a form, or a JSON object of texts.

    ``content_type`` is only a hint: a body that begins as a JSON object is one. Raises
    `InvalidSignature` where it is neither, or a field stands there twice: nothing in it could be
    verified.
    """
    try:
        text = body.decode("utf-8-sig")
        if text.lstrip().startswith("{"):
            pairs = _json_pairs(text)
        else:
            pairs = parse_qsl(
                text,
                keep_blank_values=True,
                max_num_fields=MOST_FIELDS,
                errors="strict",
            )
    except (ValueError, RecursionError):
        kind = "JSON" if "json" in content_type.lower() else "a form"
        raise InvalidSignature(f"The callback is not {kind} in UTF-8.") from None
    form = dict(pairs)
    if not form or len(form) != len(pairs) or len(pairs) > MOST_FIELDS:
        raise InvalidSignature("The callback has no fields, or one of them twice.")
    return form


def _json_pairs(text: str) -> list[tuple[str, str]]:
    """The fields of a JSON body. What is no text cannot have been signed, but for a number, whose
    digits are."""

    def pairs_of(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return pairs

    found = json.loads(text, object_pairs_hook=pairs_of, parse_int=str, parse_float=str)
    fields: list[tuple[str, str]] = []
    for name, value in found:
        if value is not None and not isinstance(value, str):
            raise ValueError(name)
        fields.append((name, value or ""))
    return fields


def signature(form: Mapping[str, str], secret: str) -> str:
    """The signature of a form, 32 hexadecimal digits in upper case.

    All fields but ``Sign`` whose value is not blank, by name, name and value joined; the secret in
    front and behind; in lower case; MD5 of its UTF-8 (contract, "Callbacks").
    """
    signed = "".join(
        name + form[name] for name in sorted(form) if name != "Sign" and form[name].strip()
    )
    text = f"{secret}{signed}{secret}".lower()
    # The vendor's choice. Halves of characters cannot have been signed, and must not raise.
    return hashlib.md5(text.encode(errors="replace"), usedforsecurity=False).hexdigest().upper()


def verify_callback(form: Mapping[str, str], app_key: str, secrets: Collection[str]) -> Callback:
    """Check who sent a form, in constant time, and read it.

    ``secrets`` are the ones that are accepted: the present one, and the previous one while it is
    being changed; blank ones never fit. Raises `InvalidSignature` for another ``AppKey``, a
    missing or wrong signature, or where there is no secret.
    """
    given = form.get("Sign", "").strip().upper()
    is_known = bool(app_key.strip()) and _same(form.get("AppKey", ""), app_key)
    # All of them are tried, so that the time tells nothing of which one fits.
    fits = [_same(given, signature(form, secret)) for secret in secrets if secret.strip()]
    if not (is_known and any(fits)):
        raise InvalidSignature("The callback's AppKey or signature is not right.")
    return _read(form, given)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))


# --------------------------------------------------------------------------------- what it says


def _read(form: Mapping[str, str], signed: str) -> Callback:
    method = _number(form.get("Method")) or ""
    sent_at = _time(form.get("TimeStamp", ""))
    data, problem = _data(form.get("Data", ""))
    if data is None:
        return Callback(method, signed, sent_at, problem=problem)
    return Callback(
        method=method,
        signature=signed,
        sent_at=sent_at,
        platform_order_no=_number(data.get("PlatformOrderNo")),
        external_order_no=_number(data.get("ExtOrderNo")),
        state=_state(data.get("State")),
        fail_msg=_text(data.get("FailMsg")) or _text(data.get("failMsg")),
        items=tuple(_items(data.get("itemList"))),
        payload=data,
    )


def _data(text: str) -> tuple[dict[str, Any] | None, str | None]:
    if not text.strip():
        return None, "Data is missing"
    try:
        data = json.loads(text, parse_float=Decimal, parse_int=_integer, parse_constant=str)
    except (ValueError, RecursionError):
        return None, "Data is not JSON"
    if not isinstance(data, dict):
        return None, "Data is not a JSON object"
    # PostgreSQL's jsonb takes neither NUL nor half characters, and numbers as text are exact.
    cleaned: dict[str, Any] = _without_decimals(clean(data)[0])
    return cleaned, None


def _integer(text: str) -> int | str:
    return int(text) if len(text) <= _MOST_NUMBER_LENGTH else text


def _without_decimals(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_decimals(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_decimals(item) for item in value]
    return str(value) if isinstance(value, Decimal) else value


def _time(text: str) -> datetime | None:
    if not _TIME.fullmatch(text.strip()):
        return None
    try:
        return datetime.strptime(text.strip(), "%Y%m%d%H%M%S").replace(tzinfo=SHANGHAI)
    except ValueError:
        return None


def _text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def _number(value: object) -> str | None:
    """A number of an order, trimmed; None for what is beyond any."""
    text = clean(_text(value) or "")[0]
    return text if 0 < len(text) <= _MOST_NUMBER_LENGTH else None


def _state(value: object) -> int | None:
    number = _quantity(value)
    return number if number in (0, 1, 2) else None


def _quantity(value: object) -> int | None:
    """Pieces, from 0, as a number or text: ``2``, ``"2"``, ``"2.0"``."""
    try:
        number = read_amount(value)
    except ValueError:
        return None
    return int(number) if number >= 0 and number == int(number) else None


def _items(value: object) -> list[CallbackItem]:
    if isinstance(value, str):
        # The list may come as JSON text.
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    entries = value if isinstance(value, list) else [value]
    items: list[CallbackItem] = []
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        code = _number(entry.get("productCode"))
        if code is not None:
            items.append(
                CallbackItem(
                    code,
                    total=_quantity(entry.get("totalQty")),
                    received=_quantity(entry.get("receiveQty")),
                    returned=_quantity(entry.get("returnQty")),
                    rejected=_quantity(entry.get("rejectQty")),
                )
            )
    return items
