"""What Haier tells about orders: checked, stored, answered, and applied after.

The form of the answer is the contract's ("Callbacks"); HTTP itself belongs to ``web``.
"""

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from haier_pipeline.catalog.orders import callbacks
from haier_pipeline.catalog.orders.callbacks import Kept, Received
from haier_pipeline.domain.partition import SHANGHAI
from haier_pipeline.errors import (
    CatalogError,
    HaierError,
    InvalidConfig,
    InvalidInput,
    InvalidSignature,
    NotFound,
)
from haier_pipeline.platform.callbacks import Callback, read_form, verify_callback
from haier_pipeline.sync.order_book import Orders

#: How long a dealer's secrets are remembered; a change of them is known everywhere after this.
_REMEMBERED_SECONDS: Final = 2.0
#: Of so many orders callbacks are applied together.
_AT_ONCE: Final = 20


@dataclass(frozen=True)
class CallbackAnswer:
    """What Haier is answered: the HTTP ``status`` and the JSON ``body``.

    ``outcome``: ``stored``, ``repeated``, ``unknown`` (nobody's order), ``unreadable``,
    ``refused`` (401, to be counted) or ``unavailable`` (503). ``order_id``: which order there is
    something to be applied to, if any.
    """

    status: int
    outcome: str
    body: dict[str, Any]
    order_id: int | None = None


class CallbackDesk:
    """Takes callbacks. Safe for threads; one for each process that is called.

    What is stored is applied by a thread of its own, many at a time, so that Haier's next call
    waits for none of it. What a process that dies leaves is applied by the sensor. Close it.
    """

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._known: dict[str, tuple[float, str, Collection[str]]] = {}
        self._waiting = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def receive(self, dealer: str, body: bytes, content_type: str) -> CallbackAnswer:
        """Check a callback, store it, and say what Haier is to be answered; raises nothing of ours.

        Applied it is soon after.
        """
        try:
            found = self._received(dealer, body, content_type)
        except InvalidSignature as error:
            return _answer(401, "refused", "error", str(error))
        except (CatalogError, InvalidInput):
            # Ours to mend: Haier may send it again.
            return _answer(503, "unavailable", "error", "not available now; send it again")
        callback, kept = found
        number = callback.platform_order_no
        if kept.outcome == "unreadable":
            said = callback.problem or "Data cannot be read"
            return _answer(200, "unreadable", "error", said, number)
        if kept.outcome == "unknown":
            said = "no order of this number is known"
            return _answer(200, "unknown", "order_not_found", said, number)
        self._apply_soon()
        return _answer(200, kept.outcome, "success", "received", number, kept.order_id)

    def _received(self, dealer: str, body: bytes, content_type: str) -> tuple[Callback, Kept]:
        app_key, secrets = self._secrets(dealer)
        callback = verify_callback(read_form(body, content_type), app_key, secrets)
        received = Received(
            method=callback.method,
            signature=callback.signature,
            sent_at=callback.sent_at,
            platform_order_no=callback.platform_order_no,
            external_order_no=callback.external_order_no,
            words=callback.fail_msg,
            data=callback.payload,
            problem=_problem(callback),
        )
        return callback, callbacks.keep(self._orders.store, dealer, received)

    def _secrets(self, dealer: str) -> tuple[str, Collection[str]]:
        """AppKey and secrets of a dealer, a disabled one too.

        Raises:
            InvalidSignature: there is no such dealer, or it has no order settings.
        """
        known = self._known.get(dealer)
        if known is not None and time.monotonic() < known[0]:
            return known[1], known[2]
        try:
            config = self._orders.dealers.config(dealer)
        except InvalidConfig:
            raise
        except InvalidInput:
            if self._exists(dealer):
                raise
            raise InvalidSignature("The callback's AppKey or signature is not right.") from None
        keys = config.ylh_callback_app_key, config.callback_secrets
        self._known[dealer] = (time.monotonic() + _REMEMBERED_SECONDS, *keys)
        return keys

    def _exists(self, dealer: str) -> bool:
        try:
            self._orders.dealers.find(dealer)
        except NotFound:
            return False
        return True

    def _apply_soon(self) -> None:
        self._waiting.set()
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(
                    target=self._apply, daemon=True, name="haier-callbacks"
                )
                self._thread.start()

    def _apply(self) -> None:
        while not self._closed.is_set():
            self._waiting.wait()
            self._waiting.clear()
            if self._closed.is_set():
                return
            began = time.monotonic()
            try:
                applied = callbacks.apply_pending(self._orders.store, most=_AT_ONCE)
            except HaierError:
                # The sensor tries again; so does the next callback.
                continue
            if applied == _AT_ONCE:
                self._waiting.set()
            # Half of the time at least belongs to those who call.
            self._closed.wait(min(1.0, time.monotonic() - began))

    def close(self) -> None:
        """Apply no more; what is stored stays for the next who does."""
        self._closed.set()
        self._waiting.set()
        if self._thread is not None:
            self._thread.join(10)


def _problem(callback: Callback) -> str | None:
    if callback.problem is not None:
        return callback.problem
    if callback.platform_order_no is None and callback.external_order_no is None:
        return "Data names no order"
    return None


def _answer(
    status: int,
    outcome: str,
    code: str,
    said: str,
    number: str | None = None,
    order_id: int | None = None,
) -> CallbackAnswer:
    body = {
        "success": code == "success",
        "code": code,
        "description": said,
        "timeStamp": f"{datetime.now(SHANGHAI):%Y%m%d%H%M%S}",
        "data": {"statusCode": 200, "message": said, "platformOrderNo": number or ""},
    }
    return CallbackAnswer(status, outcome, body, order_id)
