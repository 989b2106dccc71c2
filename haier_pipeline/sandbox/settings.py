"""How the sandbox behaves when it behaves: its settings, and reading them from JSON.

By default they follow the vendor's newest text (V1.0.10) and, where it is silent, what was seen
live; older and other forms are values of the settings. Faults are in ``faults``.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from haier_pipeline.errors import InvalidInput
from haier_pipeline.sandbox import CREDENTIALS, contract
from haier_pipeline.sandbox.report import CATALOG_INTERFACES


@dataclass(frozen=True)
class Settings:
    """What is served, how fast, and in which form; ``docs/sandbox.md`` tells the values.

    ``products``, ``seed``, ``date`` (None: today in Shanghai) and ``counties`` (None: warehouses
    everywhere) choose the catalog; ``latency_ms`` bounds the time of an answer, ``rate`` the calls
    of one client in any second (0: no limit; refused calls take no place in the second).
    ``customer_code`` and ``send_to_code`` are the only sold-to and ship-to party that are let in;
    other codes, and wrong passwords, are refused with the HTTP status ``refusal_status``.
    ``token_life`` is in seconds.

    Of the order side: ``order_step`` is how many seconds an order takes from one stage to the next
    (None: it moves when told), ``orders_refused`` and ``orders_out_of_stock`` are percent,
    ``callback_url`` is where the dealer is called back (None: callbacks are kept).
    """

    products: int = 300
    seed: int = 1
    latency_ms: tuple[float, float] = (0.0, 0.0)
    rate: int = 100
    date: dt.date | None = None
    counties: tuple[str, ...] | None = None
    customer_code: str = CREDENTIALS["customer_code"]
    send_to_code: str = CREDENTIALS["send_to_code"]
    refusal_status: int = 200
    token_life: float = 3600
    token_path: str = contract.TOKEN_PATHS[0]
    other_token_status: int = 404
    token_answer: str = "token"  # noqa: S105 - the name of a form
    token_form: str = "bare"  # noqa: S105 - the name of a form
    one_token: bool = False
    envelope: tuple[str, ...] = ("stock", "balance")
    envelope_form: str = "vendor"
    listing_needs_codes: bool = False
    rebate_form: str = "rate"
    stock_shape: str = "list"
    stock_quantity: str = "text"
    order_step: float | None = 2.0
    orders_refused: int = 5
    orders_out_of_stock: int = 5
    order_refusal_status: int = 200
    order_envelope: str = "vendor"
    order_token_type: str = "bearer"  # noqa: S105 - the word before a token
    callback_url: str | None = None
    callback_app_key: str = CREDENTIALS["ylh_callback_app_key"]
    callback_secret: str = CREDENTIALS["ylh_callback_secret"]
    callbacks_held: bool = False
    callback_body: str = "form"
    callback_number: str = "so_id"
    callback_state: str = "number"
    callback_items: str = "list"

    def changed(self, values: Mapping[str, object]) -> "Settings":
        """These settings with some others, from JSON; ``InvalidInput`` names what is wrong."""
        new: dict[str, Any] = {}
        for key, value in values.items():
            if key not in _READERS:
                raise InvalidInput(f"{key}: not a setting; there are {', '.join(sorted(_READERS))}")
            try:
                new[key] = _READERS[key](value)
            except (TypeError, ValueError) as error:
                raise InvalidInput(f"{key}: {error}") from error
        return replace(self, **new)

    def as_json(self) -> dict[str, Any]:
        return {
            setting.name: str(value) if isinstance(value, dt.date) else value
            for setting in fields(self)
            for value in [getattr(self, setting.name)]
        }


def _read_count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("a whole number from 0")
    return value


def _read_latency(value: Any) -> tuple[float, float]:
    low, high = (float(bound) for bound in value)
    if not 0 <= low <= high < 3_600_000:
        raise ValueError("two bounds in milliseconds, the lower first")
    return low, high


def _read_life(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError("seconds, more than 0")
    return value


def _read_step(value: Any) -> float | None:
    return None if value is None else _read_life(value)


def _read_percent(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100:
        raise ValueError("a whole number from 0 to 100")
    return value


def _read_url(value: Any) -> str | None:
    if value is not None and not str(value).startswith(("http://", "https://")):
        raise ValueError("an address with http or https, or null")
    return None if value is None else str(value)


def _read_date(value: Any) -> dt.date | None:
    return None if value is None else dt.date.fromisoformat(value)


def _read_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false")
    return value


def _read_code(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a code, as a text")
    return value


def _one_of(*choices: str | int) -> Callable[[Any], Any]:
    def read(value: Any) -> str | int:
        if isinstance(value, bool) or value not in choices:
            raise ValueError(f"one of {', '.join(map(str, choices))}")
        chosen: str | int = value
        return chosen

    return read


def _read_counties(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not all(isinstance(code, str) and len(code) == 6 and code.isdigit() for code in value):
        raise ValueError("codes of six digits")
    return tuple(value)


def _read_envelope(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not set(value) <= set(CATALOG_INTERFACES[1:]):
        raise ValueError(f"a list of {', '.join(CATALOG_INTERFACES[1:])}")
    return tuple(value)


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "products": _read_count,
    "seed": _read_count,
    "latency_ms": _read_latency,
    "rate": _read_count,
    "date": _read_date,
    "counties": _read_counties,
    "customer_code": _read_code,
    "send_to_code": _read_code,
    "refusal_status": _one_of(200, 400, 403),
    "token_life": _read_life,
    "token_path": _one_of(*contract.TOKEN_PATHS),
    "other_token_status": _one_of(200, 400, 401, 403, 404, 405, 500, 502, 503),
    "token_answer": _one_of("token", "access_token", "data"),
    "token_form": _one_of("bare", "bearer", "either"),
    "one_token": _read_flag,
    "envelope": _read_envelope,
    "envelope_form": _one_of("vendor", "message"),
    "listing_needs_codes": _read_flag,
    "rebate_form": _one_of("rate", "policy"),
    "stock_shape": _one_of("list", "object"),
    "stock_quantity": _one_of("text", "number"),
    "order_step": _read_step,
    "orders_refused": _read_percent,
    "orders_out_of_stock": _read_percent,
    "order_refusal_status": _one_of(200, 400, 404, 409, 415, 422),
    "order_envelope": _one_of("vendor", "short"),
    "order_token_type": _one_of("bearer", "Bearer"),
    "callback_url": _read_url,
    "callback_app_key": _read_code,
    "callback_secret": _read_code,
    "callbacks_held": _read_flag,
    "callback_body": _one_of("form", "json"),
    "callback_number": _one_of("so_id", "online_no"),
    "callback_state": _one_of("number", "text", "missing"),
    "callback_items": _one_of("list", "text"),
}
