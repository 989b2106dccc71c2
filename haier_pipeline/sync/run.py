"""One sync over one partition: what its steps share, and the log around each of them.

The steps themselves are in ``fetch`` and ``derive``.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, Engine

from haier_pipeline.catalog import log, raw
from haier_pipeline.catalog.database import InUse, transaction
from haier_pipeline.catalog.locks import partition_lock
from haier_pipeline.catalog.log import Attempt, Check, Result
from haier_pipeline.catalog.tables import RAW_TABLES
from haier_pipeline.domain.assets import SYNC_TYPES, sync_type
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.errors import (
    CANCELLED,
    AlreadyRunning,
    Cancelled,
    DealerDisabled,
    HaierError,
    NothingStored,
)
from haier_pipeline.platform.client import HaierClient
from haier_pipeline.platform.config import DealerConfig
from haier_pipeline.sync.ahead import Ahead, Step
from haier_pipeline.sync.dealers import Dealers

# How long the end of a step that was broken off is waited for: its last write to the log.
END_SECONDS = 30.0


class Progress(Protocol):
    """Where progress is reported: a progress bar, log lines, nowhere."""

    def begin(self, asset: str, total: int) -> None: ...
    def advance(self, asset: str, done: int) -> None: ...
    def end(self, asset: str, outcome: "Outcome") -> None: ...


class NoProgress:
    """Progress is not reported."""

    def begin(self, asset: str, total: int) -> None: ...
    def advance(self, asset: str, done: int) -> None: ...
    def end(self, asset: str, outcome: "Outcome") -> None: ...


@dataclass(frozen=True)
class Outcome:
    """How a step ended: what the log keeps, and a few rows to look at.

    A step that worked on bad data ends with the status ``failed`` here; what raises is a step that
    was stopped from outside or met a defect.
    """

    result: Result
    preview: Sequence[Mapping[str, Any]] = ()
    # What was fetched stays, but nothing after this step may run: the dealer was disabled.
    stops: bool = False

    @property
    def failed(self) -> bool:
        return self.result.status == "failed"

    @property
    def blocked(self) -> bool:
        """A blocking check failed."""
        return any(check.blocking and not check.passed for check in self.result.checks)


def outcome(
    *,
    success: int,
    failed: int,
    message: str,
    metadata: Mapping[str, Any],
    checks: Sequence[Check] = (),
    preview: Sequence[Mapping[str, Any]] = (),
    flawed: bool = False,
) -> Outcome:
    """An outcome whose status follows from its counts: all worked, some did, none did.

    ``flawed`` makes a success partial although every unit worked.
    """
    blocked = any(check.blocking and not check.passed for check in checks)
    if blocked or (failed and not success):
        status = "failed"
    else:
        status = "partial" if failed or flawed else "success"
    result = Result(status, message, success, failed, metadata, checks)
    return Outcome(result, preview)


class SyncRun:
    """One run over one partition. Close it: it holds the partition's lock and a session.

    ``run_id`` is this run, ``root_run_id`` the first of its chain of retries: what was fetched
    under the same root is not fetched again. ``shrink_days``: of how many days the longest listing
    is what a new one is measured by.
    """

    def __init__(
        self,
        engine: Engine,
        dealers: Dealers,
        partition: Partition,
        *,
        run_id: str,
        root_run_id: str | None = None,
        progress: Progress | None = None,
        shrink_days: int = 7,
    ) -> None:
        self.engine = engine
        self.partition = partition
        self.run_id = run_id
        self.root_run_id = root_run_id or run_id
        self.progress: Progress = progress or NoProgress()
        self.shrink_days = shrink_days
        self.stop = threading.Event()
        self.cancelled = False
        # The products to ask for, once a step knows them: the next one need not read the listing.
        self.procurable: list[str] | None = None
        self._dealers = dealers
        self._open = ExitStack()
        self._held: set[str] = set()
        self._client: HaierClient | None = None
        self._ahead: Ahead | None = None
        self._in_use: InUse | None = None
        # Why the steps that still work are broken off, and whether they are writing that down.
        self._reason: str | None = None
        self._is_closing = threading.Event()

    def close(self) -> None:
        self.stop.set()
        if self.works_ahead:
            self._break_off("broken off: what ordered this sync has ended")
        self._open.close()

    @property
    def works_ahead(self) -> bool:
        """Whether a step is at work, or still to come, in the thread of those that began early."""
        return self._ahead is not None and self._ahead.is_at_work

    def begin_ahead(self, steps: Mapping[str, Step]) -> None:
        """Begin with these steps, by asset, in a thread; `attempt` takes their outcomes."""
        self._in_use = InUse(self.engine)
        self._ahead = Ahead(steps)
        self._ahead.start()

    def cancel(self) -> None:
        """End what works ahead, and let its log rows say that the sync was cancelled."""
        self.cancelled = True
        with _signals_ignored():
            self._break_off(CANCELLED)

    def _break_off(self, reason: str) -> None:
        self._reason = self._reason or reason
        self.stop.set()
        if self._ahead is None or self._in_use is None:
            return
        end = time.monotonic() + END_SECONDS
        while self._ahead.is_at_work and time.monotonic() < end:
            # A statement that waits for a lock does not look at ``stop``.
            if not self._is_closing.is_set():
                self._in_use.cancel()
            self._ahead.join(0.2)

    def config(self) -> DealerConfig:
        """The dealer's configuration as it is now, read and decrypted anew."""
        return self._dealers.config(self.partition.dealer)

    def client(self) -> HaierClient:
        """The dealer's client, one for the whole run: its token, its pace, its connections."""
        if self._client is None:
            client = self._dealers.client(self.config(), stop=self.stop)
            self._client = self._open.enter_context(client)
        return self._client

    def is_enabled(self) -> bool:
        """Whether the dealer may go on syncing; asked between two batches (row 47)."""
        return self._dealers.stays_active(self.partition.dealer)

    def require_enabled(self) -> None:
        """Refuse to begin calling for a dealer that was disabled.

        Raises:
            DealerDisabled: it was.
        """
        if not self.is_enabled():
            raise DealerDisabled(f"the dealer {self.partition.dealer} is disabled")

    def require_today(self) -> None:
        """Refuse to ask the platform about a day that is over; a run may outlive midnight.

        Raises:
            NothingStored: the partition is not today's and was not begun under this root run.
        """
        if self.partition.sync_date == today():
            return
        begun = [raw.find(self.engine, self.partition, asset) for asset in RAW_TABLES]
        if not any(stored and stored.root_run_id == self.root_run_id for stored in begun):
            raise NothingStored(
                f"{self.partition.key}: the platform knows only today ({today():%Y-%m-%d}), "
                "so answers of another day cannot be fetched"
            )

    def step(self, asset: str, work: Callable[[], Outcome]) -> Outcome:
        """Run ``work`` with a log row of the asset open, which is finished with what it returns.

        Errors are treated as in `attempt`.
        """
        return self.attempt([asset], lambda _: {asset: work()})[asset]

    def attempt(
        self, assets: Sequence[str], work: Callable[["Rows"], Mapping[str, Outcome]]
    ) -> Mapping[str, Outcome]:
        """Run ``work`` with a log row open for each asset, and finish every row exactly once.

        ``work`` may finish rows itself, in its own transaction; what it leaves open is finished
        with the outcomes it returns. An error of ours becomes a failed outcome; any other is logged
        and raised.

        An asset whose step already works ahead is not begun again: its outcome is waited for.

        Raises:
            Cancelled: the run was declared dead while it worked, or broken off.
        """
        if self._ahead is not None:
            try:
                taken = self._ahead.take(assets[0])
            except Exception:
                raise
            except BaseException:
                # Ctrl-C, SIGTERM, or Dagster's word that the run was terminated.
                self.cancel()
                raise
            if taken is not None:
                return {assets[0]: taken}
        refusal = self._hold_partition(sync_type(assets[0]))
        rows = Rows({asset: log.begin(self.engine, self._attempt(asset)) for asset in assets})
        try:
            outcomes = work(rows) if refusal is None else self._failed(assets, str(refusal))
        except HaierError as error:
            self._is_closing.set()
            outcomes = self._failed(assets, self._reason or str(error))
            self._close(rows, outcomes)
            if self._reason is not None:
                raise Cancelled(self._reason) from error
            if isinstance(error, Cancelled):
                raise
            self._is_closing.clear()
        except Exception as error:
            self._close(rows, self._failed(assets, f"unexpected {type(error).__name__}"))
            raise
        except BaseException:
            # Ctrl-C, SIGTERM, or termination by Dagster.
            self.cancelled = True
            self.stop.set()
            with _signals_ignored():
                self._close(rows, self._failed(assets, CANCELLED))
            raise
        else:
            self._finish(rows, outcomes)
        for asset, ended in outcomes.items():
            self.progress.end(asset, ended)
        return outcomes

    def _attempt(self, asset: str) -> Attempt:
        return Attempt(
            sync_type=sync_type(asset),
            asset_key=asset,
            dealer=self.partition.dealer,
            sync_date=self.partition.sync_date,
            run_id=self.run_id,
            root_run_id=self.root_run_id,
        )

    def hold(self, held_type: str) -> None:
        """Hold what a run of this type must have for itself, before its first row is begun.

        Raises:
            AlreadyRunning: another run has it.
        """
        refusal = self._hold_partition(held_type)
        if refusal is not None:
            raise refusal

    def _hold_partition(self, held_type: str) -> AlreadyRunning | None:
        """Hold the partition for the rest of the run; return why that is refused, if it is."""
        key = self.partition.lock_key(held_type)
        if key in self._held:
            return None
        # A run that is refused because we hold the lock opens its row after this moment and ends it
        # itself. An open row of before is that of a dead run.
        moment = log.now(self.engine)
        try:
            self._open.enter_context(
                partition_lock(self.engine, self.partition, held_type, lost=self.stop.set)
            )
        except AlreadyRunning as refusal:
            return refusal
        self._held.add(key)
        guarded = [other for other in SYNC_TYPES if self.partition.lock_key(other) == key]
        log.close_abandoned(self.engine, self.partition, guarded, before=moment)
        return None

    def _failed(self, assets: Sequence[str], message: str) -> dict[str, Outcome]:
        return {asset: Outcome(Result("failed", message)) for asset in assets}

    def _finish(self, rows: "Rows", outcomes: Mapping[str, Outcome]) -> None:
        def work(connection: Connection) -> None:
            for asset, ended in outcomes.items():
                rows.finish(connection, asset, ended)

        transaction(self.engine, work)

    def _close(self, rows: "Rows", outcomes: Mapping[str, Outcome]) -> None:
        """Fail what is open; what somebody else has closed meanwhile may stay closed."""

        def work(connection: Connection) -> None:
            for asset, ended in outcomes.items():
                rows.close(connection, asset, ended)

        transaction(self.engine, work)


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Ignore further signals while the first one is written to the log (fault matrix, row 34)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)


class Rows:
    """The open log rows of one attempt, by asset."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        self._ids = ids

    def finish(self, connection: Connection, asset: str, ended: Outcome) -> None:
        """End the asset's row on this connection; a row that has ended well stays as it is.

        Raises:
            Cancelled: the row was closed as failed by somebody who took this run for dead; what
                was done on the connection must not be committed.
        """
        if self.close(connection, asset, ended) or ended.failed:
            return
        # A commit that is replayed finds its own success.
        if log.status(connection, self._ids[asset]) == "failed":
            raise Cancelled("the run was taken for dead while it worked; nothing was loaded")

    def close(self, connection: Connection, asset: str, ended: Outcome) -> bool:
        """End the asset's row where it is open; returns whether it was."""
        return log.finish(connection, self._ids[asset], ended.result)


def resumable(engine: Engine, partition: Partition) -> str | None:
    """The root run that a resumed sync of the partition goes on with.

    ``None`` where the last sync of the partition did all it was asked for, or where there was none.
    """
    begun = raw.find(engine, partition, "product_listings")
    if begun is None:
        return None
    newest: dict[str | None, str] = {}
    for entry in log.entries(engine, root_run_id=begun.root_run_id, limit=1_000):
        newest.setdefault(entry.asset_key, entry.status)
    done = "products" in newest and set(newest.values()) == {"success"}
    return None if done else begun.root_run_id
