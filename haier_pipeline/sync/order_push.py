"""One push run: the dealer's new orders, each sent until it is known what became of it.

An order is stored as `pushing` before its first byte leaves, so that a run that is killed leaves no
order of which nobody knows that it may have arrived: the next run sends it again, under the same
number. The rules are in docs/orders.md, "Pushing" (design of the order side).
"""

import time
from collections import Counter, deque
from collections.abc import Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from haier_pipeline.catalog import log
from haier_pipeline.catalog.log import Entry
from haier_pipeline.catalog.orders import callbacks as stored_callbacks
from haier_pipeline.catalog.orders import pushes
from haier_pipeline.catalog.orders.pushes import Answered, Candidate, Claimed, Refusals
from haier_pipeline.domain.order import Order
from haier_pipeline.errors import Cancelled, HaierError
from haier_pipeline.platform.orders import OrderRequest, OrdersClient
from haier_pipeline.sync.order_book import Orders
from haier_pipeline.sync.run import Outcome, Rows, SyncRun, outcome

ASSET: Final = "retail_orders"
WORKERS: Final = 24
#: So many refusals in a row in the same words end a run.
SAME_REFUSALS: Final = 3
#: So many orders in a row without an answer end it too.
UNANSWERED: Final = 5
#: How long the run after one that was stopped waits, doubled each time, up to the longest.
FIRST_WAIT: Final = timedelta(seconds=20)
LONGEST_WAIT: Final = timedelta(hours=1)

_LOOK_SECONDS: Final = 1.0
_GRACE_SECONDS: Final = 5.0
_SHOWN: Final = 20


def push(
    orders: Orders, run: SyncRun, so_ids: Collection[str] = (), *, by_hand: bool
) -> Outcome | None:
    """Push the dealer's new orders; None, and no row in the log, where there is nothing to send.

    First it takes over what the inbox holds, and applies what callbacks told. ``so_ids``: only
    these. By hand also those orders go that a restore holds back, and nothing is waited for: a run
    by itself sends nothing while the wait after a stopped one lasts.

    Raises:
        AlreadyRunning: another run pushes for this dealer.
        InvalidConfig: the order settings are not complete.
        NotFound, InvalidInput: one of ``so_ids`` does not exist, or is not to be sent.
    """
    dealer = run.partition.dealer
    orders.config(dealer)
    store = orders.store
    pushes.note_pusher(run.engine)
    run.hold("order")
    orders.take_over(dealer)
    stored_callbacks.apply_pending(store)
    if not by_hand and waiting_seconds(orders, dealer) > 0:
        return None
    candidates = pushes.to_send(run.engine, dealer, so_ids, by_hand=by_hand)
    if not candidates:
        return None
    work = _Push(orders, run, candidates)
    run.progress.begin(ASSET, len(candidates))
    return run.attempt([ASSET], work.done)[ASSET]


def dealers_to_push(orders: Orders) -> list[str]:
    """The active dealers with something to send, whose wait is over; notes that a pusher is there.

    What the sensor asks at each look.
    """
    pushes.note_pusher(orders.engine)
    waiting = set(pushes.dealers_to_push(orders.engine))
    if not waiting:
        return []
    return [
        dealer
        for dealer in orders.with_settings()
        if dealer in waiting and waiting_seconds(orders, dealer) <= 0
    ]


def waiting_seconds(orders: Orders, dealer: str) -> float:
    """How long the dealer's next run by itself waits, after runs that were stopped."""
    last = log.entries(orders.engine, dealer=dealer, sync_type="order", limit=10)
    if not last or not last[0].metadata.get("stopped"):
        return 0.0
    return _wait(last, log.now(orders.engine))


def _wait(last: Collection[Entry], now: datetime) -> float:
    stopped = 0
    for entry in last:
        if not entry.metadata.get("stopped"):
            break
        stopped += 1
    newest = next(iter(last))
    if newest.completed_at is None:
        return 0.0
    pause = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (stopped - 1))
    left: float = (newest.completed_at + pause - now).total_seconds()
    return max(0.0, left)


@dataclass
class _Push:
    """The work of one run. Calls are made by threads, everything is written by one."""

    orders: Orders
    run: SyncRun
    candidates: Collection[Candidate]
    tried: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    refusals: Refusals = field(default_factory=Refusals)
    unanswered: int = 0
    stopped: str | None = None
    why: str = ""
    has_worked: bool = False

    def done(self, rows: Rows) -> Mapping[str, Outcome]:  # noqa: ARG002 - finished by the caller
        dealer = self.run.partition.dealer
        self.refusals = pushes.refusals_in_a_row(self.run.engine, dealer, SAME_REFUSALS)
        if self.refusals.count >= SAME_REFUSALS:
            # The cause may be mended by now: one more order tells.
            self.refusals = Refusals(self.refusals.reason, SAME_REFUSALS - 1)
        waiting = deque(self.candidates)
        with (
            self.orders.client(dealer, stop=self.run.stop, workers=WORKERS) as client,
            ThreadPoolExecutor(WORKERS, thread_name_prefix="haier-push") as pool,
        ):
            flying: dict[Future[Answered], Claimed] = {}
            try:
                self._send(client, pool, waiting, flying)
            except BaseException:
                # Whoever stops the run still wants to know what Haier answered.
                self.run.stop.set()
                wait(flying, timeout=_GRACE_SECONDS)
                self._collect(flying, [one for one in flying if one.done()])
                raise
        return {ASSET: self._outcome(len(waiting))}

    def _send(
        self,
        client: OrdersClient,
        pool: ThreadPoolExecutor,
        waiting: deque[Candidate],
        flying: dict[Future[Answered], Claimed],
    ) -> None:
        dealer = self.run.partition.dealer
        looked_at = time.monotonic()
        self.run.require_enabled()
        while flying or (waiting and self.stopped is None):
            if self.run.stop.is_set() and not flying:
                raise Cancelled("the push run was stopped; what was not sent stays new")
            if time.monotonic() - looked_at > _LOOK_SECONDS:
                looked_at = time.monotonic()
                if not self.run.is_enabled():
                    self._stop("disabled", f"the dealer {dealer} is disabled")
            room = self._window() - len(flying)
            if waiting and room > 0 and self.stopped is None and not self.run.stop.is_set():
                batch = [waiting.popleft() for _ in range(min(room, len(waiting)))]
                claimed, unreadable = pushes.claim(self.orders.store, dealer, batch)
                for one in claimed:
                    flying[pool.submit(_call, client, one)] = one
                names = {candidate.order_id: candidate.so_id for candidate in batch}
                for number, problem in unreadable.items():
                    self.tried["unreadable"] += 1
                    self.failures[names[number]] = problem
            ended, _ = wait(flying, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
            self._collect(flying, ended)

    def _window(self) -> int:
        """How many orders may be on their way at once: few until one was taken, and few as long as
        the last ones were refused or not answered, so that a cause that is not theirs costs few."""
        if self.refusals.count:
            return max(1, SAME_REFUSALS - self.refusals.count)
        return WORKERS if self.has_worked and not self.unanswered else SAME_REFUSALS

    def _collect(
        self, flying: dict[Future[Answered], Claimed], ended: Collection[Future[Answered]]
    ) -> None:
        answers = [future.result() for future in ended]
        pushes.answer(self.orders.store, self.run.partition.dealer, answers)
        for future in ended:
            del flying[future]
        for answered in answers:
            self._count(answered)
        self.run.progress.advance(ASSET, len(answers))

    def _count(self, answered: Answered) -> None:
        so_id = answered.claimed.order.so_id
        self.tried["perhaps_arrived" if _is_perhaps(answered) else answered.outcome] += 1
        if not answered.counts_as_taken:
            self.failures[so_id] = answered.message
        if answered.outcome == "taken":
            self.has_worked = True
        if not _is_perhaps(answered):
            self.refusals = self.refusals.after(answered.outcome, answered.reason)
        self.unanswered = self.unanswered + 1 if answered.outcome == "unknown" else 0
        if answered.outcome == "not_sent":
            self._stop("not_sent", answered.message)
        elif self.refusals.count >= SAME_REFUSALS:
            self._stop(
                "refused",
                f"{SAME_REFUSALS} orders in a row were refused in the same words, so nothing more "
                f"is sent: {answered.message}",
            )
        elif self.unanswered >= UNANSWERED:
            self._stop("unanswered", f"{UNANSWERED} orders in a row were not answered")

    def _stop(self, reason: str, why: str) -> None:
        if self.stopped is None:
            self.stopped, self.why = reason, why

    def _outcome(self, left: int) -> Outcome:
        taken = self.tried["taken"] + self.tried["perhaps_arrived"]
        total = sum(self.tried.values())
        parts = [f"{taken} of {total} orders were taken by Haier"]
        words = {
            "perhaps_arrived": "were refused as a repetition and wait for their confirmation",
            "refused": "were refused",
            "unknown": "were not answered and are sent again",
            "not_sent": "could not be sent",
            "unreadable": "cannot be decrypted",
        }
        parts += [f"{self.tried[key]} {said}" for key, said in words.items() if self.tried[key]]
        if self.stopped is not None:
            parts.append(self.why)
            if left:
                parts.append(f"{left} more stay new")
        elif self.failures:
            so_id, said = next(iter(self.failures.items()))
            parts.append(f"failed: {so_id}: {said}")
        metadata: dict[str, Any] = {
            "orders": total,
            **{key: self.tried[key] for key in ("taken", *words)},
            "left": left,
            "failed_units": list(self.failures)[:_SHOWN],
        }
        if self.stopped is not None:
            metadata["stopped"] = self.stopped
        return outcome(
            success=taken,
            failed=total - taken,
            message="; ".join(parts),
            metadata=metadata,
            flawed=self.stopped is not None,
        )


def _is_perhaps(answered: Answered) -> bool:
    return answered.counts_as_taken and answered.outcome != "taken"


def _call(client: OrdersClient, claimed: Claimed) -> Answered:
    """Send one order; whatever happens, the answer says what is to be stored."""
    try:
        said = client.push(_request(claimed.order))
    except Cancelled as error:
        return Answered(claimed, "unknown", str(error))
    except HaierError as error:
        # The order cannot be built as the wire wants it: it never leaves.
        return Answered(
            claimed, "refused", str(error), str(error), may_have_arrived=claimed.may_have_arrived
        )
    except Exception as error:  # noqa: BLE001 - a defect must not leave the order unaccounted for
        return Answered(claimed, "unknown", f"unexpected {type(error).__name__}")
    may_have_arrived = claimed.may_have_arrived or said.may_have_arrived
    return Answered(claimed, said.kind, said.message, said.reason, may_have_arrived)


def _request(order: Order) -> OrderRequest:
    assert order.ordered_at is not None  # noqa: S101 - a stored order has one
    return OrderRequest(
        so_id=order.so_id,
        online_no=order.online_no,
        ordered_at=order.ordered_at,
        consignee_name=order.consignee_name,
        consignee_mobile=order.consignee_mobile,
        province=order.province,
        city=order.city,
        area=order.area,
        detail_address=order.detail_address,
        total_amount=order.total_amount,
        items=order.items,
        town=order.town or "",
        remark=order.remark or "",
        distribution_at=order.distribution_at,
        install_at=order.install_at,
        is_government_order=order.is_government_order,
    )
