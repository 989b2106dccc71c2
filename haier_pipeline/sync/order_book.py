"""Retail orders as commands, routes and pages ask for them: entered, read, changed, forgotten.

`Orders` is what they hold: the store, the dealers and their clients together. Pushing is in
``order_push``, what Haier tells in ``order_callbacks``, parcels and pictures in ``order_tracking``.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from sqlalchemy import Engine

from haier_pipeline.catalog.orders import callbacks as stored_callbacks
from haier_pipeline.catalog.orders import changes, inbox, privacy, pushes
from haier_pipeline.catalog.orders.changes import Requested
from haier_pipeline.catalog.orders.cipher import OrderCipher
from haier_pipeline.catalog.orders.store import Added, OrderStore, Selection
from haier_pipeline.domain.order import (
    Parsed,
    Problem,
    end_of_day,
    parse_file,
    parse_orders,
    telling,
)
from haier_pipeline.errors import (
    CallFailed,
    CallRefused,
    Cancelled,
    HaierError,
    InvalidConfig,
    InvalidInput,
    TransientFailure,
)
from haier_pipeline.platform.config import DealerConfig
from haier_pipeline.platform.orders import OrdersClient, PushOutcome, masked_words
from haier_pipeline.sync.dealers import Dealers

#: A pusher that was not seen for so long is taken for absent.
PUSHER_ABSENT: Final = timedelta(minutes=1)


class Orders:
    """The retail orders of this installation. ``secret_keys``: those of HAIER_SECRET_KEY.

    ``by`` and ``viewer`` name who asks: a token's name, or the system's user. Every method raises
    `InvalidInput` where there is no key, `NotFound` for an unknown order and `CatalogError` where
    the database does not work.
    """

    def __init__(self, engine: Engine, dealers: Dealers, secret_keys: Collection[str]) -> None:
        self.engine = engine
        self.dealers = dealers
        self._secret_keys = secret_keys

    @cached_property
    def store(self) -> OrderStore:
        return OrderStore(self.engine, OrderCipher(self._secret_keys), masked_words)

    # ------------------------------------------------------------------------------- whose

    def config(self, dealer: str) -> DealerConfig:
        """A dealer's configuration, its order settings complete.

        Raises:
            InvalidConfig: names what is missing.
            InvalidInput: there is no such dealer.
        """
        config = self.dealers.config(dealer)
        config.require_orders()
        return config

    def with_settings(self) -> list[str]:
        """The active dealers whose order settings are complete."""
        found = []
        for name in self.dealers.active():
            try:
                self.config(name)
            except InvalidConfig:
                continue
            found.append(name)
        return found

    def choose(self, dealer: str | None) -> str:
        """The dealer that is meant: the one named, else the only active one with order settings.

        Raises:
            InvalidInput: there is none, or several.
        """
        if dealer is not None:
            [name] = self.dealers.choose(dealer)
            self.config(name)
            return name
        found = self.with_settings()
        if len(found) == 1:
            return found[0]
        if not found:
            raise InvalidInput(
                "no active dealer has order settings; set the keys ylh_… of one (see"
                " docs/configuration.md)"
            )
        raise InvalidInput(f"name the dealer: {', '.join(found)} have order settings")

    def client(self, dealer: str, **options: Any) -> OrdersClient:
        """A client of the order side, to be closed."""
        return self.dealers.orders_client(self.config(dealer), **options)

    # ----------------------------------------------------------------------------- entering

    def add_file(self, dealer: str, content: bytes) -> Added:
        """Store the orders of a file, JSON or CSV: all of them or none."""
        return self._add(dealer, parse_file(content))

    def add(self, dealer: str, values: Sequence[object]) -> Added:
        """Store orders in the design's form, as JSON decodes them: all or none."""
        return self._add(dealer, parse_orders(values))

    def _add(self, dealer: str, parsed: Parsed) -> Added:
        config = self.config(dealer)
        if parsed.problems:
            return Added(refused=parsed.problems)
        added = self.store.add(dealer, parsed.orders, sharing=self.dealers.sharing_source(config))
        warnings = tuple(
            Problem(line, order.so_id, field, said)
            for line, order in parsed.orders
            if order.so_id in added.stored
            for field, said in order.warnings
        )
        return replace(added, warnings=warnings)

    def take_over(self, dealer: str) -> tuple[int, int]:
        """Store what a shop put into the inbox; returns how many orders were taken, and how many
        rows have a problem now."""
        sharing = self.dealers.sharing_source(self.config(dealer))
        return inbox.take_over(self.store, dealer, sharing=sharing)

    # ------------------------------------------------------------------------------ reading

    def listed(self, wanted: Selection, *, viewer: str | None = None) -> list[dict[str, Any]]:
        """The selected orders, the newest first: the columns of ``retail_order``, ``attention``.

        Masked, or whole for a ``viewer``, who is written down. Raises `InvalidInput` for an
        unknown state or a limit beyond 200.
        """
        return self.store.listed(wanted, viewer=viewer)

    def show(self, dealer: str, so_id: str, *, viewer: str | None = None) -> dict[str, Any]:
        """One order with ``items``, ``events``, ``parcels`` and ``pictures``; masked or whole as
        in `listed`. ``is_overdue``: Haier's answer has been awaited for longer than the dealer
        allows."""
        shown = self.store.shown(dealer, so_id, viewer=viewer)
        return shown | {"is_overdue": self.is_overdue(dealer, shown)}

    def is_overdue(self, dealer: str, shown: dict[str, Any]) -> bool:
        """Whether a confirmation, or the answer to a cancellation, is awaited for too long."""
        since = {"pushed": shown["pushed_at"], "cancel_requested": shown["updated_at"]}
        begun = since.get(shown["state"])
        if begun is None:
            return False
        hours = timedelta(hours=self.dealers.config(dealer).order_confirm_hours)
        return bool(datetime.now(UTC) - begun > hours)

    def unmatched(self, dealer: str) -> list[dict[str, Any]]:
        """Callbacks that belong to no order here, for a person to look at."""
        return stored_callbacks.unmatched(self.store, dealer)

    # ----------------------------------------------------------------------------- changing

    def cancel(self, dealer: str, so_id: str, reason: str, *, by: str) -> dict[str, Any]:
        """Ask Haier to cancel an order, or to take it back; one that was not sent ends here.

        Returns the order, masked.

        Raises:
            Conflict: Haier's answer to its push is not known, it is ended, or a cancellation is
                asked for already.
            CallRefused: Haier refused the request.
            TransientFailure: it is not known whether it arrived; it stays asked for.
        """
        config = self.config(dealer)
        requested = changes.request_cancel(
            self.store,
            dealer,
            so_id,
            reason,
            by=by,
            again_after=timedelta(hours=config.order_confirm_hours),
        )
        if requested is not None:
            personal = self._personal(dealer, so_id)
            self._ask(
                dealer,
                requested,
                lambda client: client.cancel(so_id, requested.reason, personal=personal),
            )
        return self.store.shown(dealer, so_id)

    def reschedule(
        self,
        dealer: str,
        so_id: str,
        *,
        distribution_at: object = None,
        install_at: object = None,
        by: str,
    ) -> dict[str, Any]:
        """Move delivery or installation: a date, or a time of that day; sent as 23:59:59.

        Returns the order, masked.

        Raises:
            InvalidInput: neither time is given, or one is none.
            Conflict: Haier has not confirmed the order, or it is over.
            CallRefused, TransientFailure: as in `cancel`.
        """
        requested = changes.request_reschedule(
            self.store,
            dealer,
            so_id,
            _day("distribution_at", distribution_at),
            _day("install_at", install_at),
            by=by,
        )
        personal = self._personal(dealer, so_id)
        self._ask(
            dealer,
            requested,
            lambda client: client.reschedule(
                requested.haier_order_no or "",
                requested.distribution_at,
                requested.install_at,
                personal=personal,
            ),
        )
        return self.store.shown(dealer, so_id)

    def resolve(
        self,
        dealer: str,
        so_id: str,
        state: str,
        reason: str,
        *,
        by: str,
        haier_order_no: str | None = None,
    ) -> dict[str, Any]:
        """Store what a person learnt from Haier about an order; returns it, masked.

        Raises:
            InvalidInput: the state, the number or the reason cannot be one.
            Conflict: it is to be `new` again, and that is not known to be safe.
        """
        changes.resolve(
            self.store, dealer, so_id, state, reason, by=by, haier_order_no=haier_order_no
        )
        return self.store.shown(dealer, so_id)

    def forget(self, dealer: str, so_id: str) -> dict[str, Any]:
        """Remove an ended order's personal data now; returns what is kept.

        Raises:
            Conflict: the order is not ended.
        """
        privacy.forget(self.store, dealer, so_id)
        return self.store.shown(dealer, so_id)

    def _personal(self, dealer: str, so_id: str) -> list[str]:
        """What must not be read in Haier's words about this order."""
        return telling(self.store.personal_of(dealer, so_id))

    def _ask(self, dealer: str, requested: Requested, call: Any) -> None:
        outcome = PushOutcome("not_sent", "the request was not sent")
        try:
            with self.client(dealer) as client:
                outcome = _called(call, client)
        except HaierError as error:
            outcome = PushOutcome("not_sent", str(error), error=error)
            raise
        finally:
            changes.answer(self.store, requested, outcome.kind, outcome.message)
        if outcome.kind != "taken":
            raise _failure(requested.so_id, outcome)

    # ------------------------------------------------------------------------------ upkeep

    def apply_pending(self) -> int:
        """Apply the callbacks that were only stored, those included whose order has come since;
        returns of how many orders."""
        return stored_callbacks.apply_pending(self.store, is_sweep=True)

    def encrypt_anew(self) -> tuple[int, int]:
        """Encrypt personal data under the newest key; returns of how many orders, and how many
        could not be read."""
        return privacy.encrypt_anew(self.store)

    def hold_after_restore(self) -> list[tuple[str, str, str]]:
        """After the database was restored: what is `new`, in the inbox too, goes by hand only.

        Returns dealer, number and state of every order that is not ended, for `resolve`.
        """
        for dealer in self.with_settings():
            self.take_over(dealer)
        return pushes.hold_after_restore(self.engine)

    def is_pusher_absent(self) -> bool:
        """Whether nobody who pushes orders was seen for a minute."""
        seen = pushes.pusher_seen_at(self.engine)
        return seen is None or datetime.now(UTC) - seen > PUSHER_ABSENT


def remove_personal_data(engine: Engine, days: int) -> privacy.Removed:
    """Remove personal data ``days`` after an order's end (HAIER_ORDER_PRIVACY_DAYS), and what could
    not be taken out of the inbox for a month. Needs no key."""
    inbox.remove_old(engine)
    return privacy.remove_old(engine, days)


def _called(call: Any, client: OrdersClient) -> PushOutcome:
    try:
        outcome: PushOutcome = call(client)
    except Cancelled as error:
        return PushOutcome("unknown", str(error), may_have_arrived=True, error=error)
    return outcome


def _failure(so_id: str, outcome: PushOutcome) -> CallFailed:
    endpoint = "orders"
    if outcome.kind == "refused":
        return CallRefused(
            f"{so_id}: {outcome.message}",
            endpoint=endpoint,
            status=outcome.status,
            attempts=outcome.attempts,
            reason=outcome.reason,
        )
    said = outcome.message or "Haier did not answer"
    if outcome.kind == "unknown":
        said += "; it is not known whether the request arrived"
    return TransientFailure(
        f"{so_id}: {said}", endpoint=endpoint, status=outcome.status, attempts=outcome.attempts
    )


def _day(name: str, value: object) -> datetime | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        return end_of_day(value)
    except ValueError as error:
        raise InvalidInput(f"{name} {error}") from None
