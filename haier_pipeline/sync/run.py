"""One sync over one partition: what its steps share, and the log around each of them.

The steps themselves are in ``fetch`` and ``derive``.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import pandas as pd
from sqlalchemy import Connection, Engine

from haier_pipeline.catalog import log, raw
from haier_pipeline.catalog.database import transaction
from haier_pipeline.catalog.locks import partition_lock
from haier_pipeline.catalog.log import Attempt, Check, Result
from haier_pipeline.catalog.tables import RAW_TABLES
from haier_pipeline.domain.assets import SYNC_TYPES, sync_type
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.errors import (
    AlreadyRunning,
    Cancelled,
    DealerDisabled,
    HaierError,
    NothingStored,
)
from haier_pipeline.platform.client import HaierClient
from haier_pipeline.platform.config import DealerConfig
from haier_pipeline.rules import frame
from haier_pipeline.sync.dealers import Dealers


class Progress(Protocol):
    """Somebody who watches: a progress bar, a log line, nobody."""

    def begin(self, asset: str, total: int) -> None: ...
    def advance(self, asset: str, done: int) -> None: ...
    def end(self, asset: str, outcome: "Outcome") -> None: ...


class NoProgress:
    """Nobody watches."""

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
    preview: pd.DataFrame = field(default_factory=lambda: frame([], []))
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
    preview: pd.DataFrame | None = None,
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
    return Outcome(result) if preview is None else Outcome(result, preview)


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

    def close(self) -> None:
        self.stop.set()
        self._open.close()

    @property
    def config(self) -> DealerConfig:
        return self._dealers.config(self.partition.dealer)

    @property
    def client(self) -> HaierClient:
        """The dealer's client, one for the whole run: its token, its pace, its connections."""
        if self._client is None:
            client = self._dealers.client(self.config, stop=self.stop)
            self._client = self._open.enter_context(client)
        return self._client

    @property
    def is_enabled(self) -> bool:
        """Whether the dealer may go on syncing; asked between two batches (row 47)."""
        return self._dealers.stays_active(self.partition.dealer)

    def require_enabled(self) -> None:
        """Refuse to begin calling for a dealer that was disabled.

        Raises:
            DealerDisabled: it was.
        """
        if not self.is_enabled:
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

    def attempt(
        self, assets: Sequence[str], work: Callable[["Rows"], Mapping[str, Outcome]]
    ) -> Mapping[str, Outcome]:
        """Run ``work`` with a log row open for each asset, and finish every row exactly once.

        ``work`` may finish rows itself, in its own transaction; what it leaves open is finished
        with the outcomes it returns. An error of ours becomes a failed outcome; anything else is
        logged and goes on upwards.

        Raises:
            Cancelled: the run was declared dead while it worked.
        """
        refusal = self._hold_partition(sync_type(assets[0]))
        rows = Rows({asset: log.begin(self.engine, self._attempt(asset)) for asset in assets})
        try:
            outcomes = work(rows) if refusal is None else self._failed(assets, str(refusal))
        except HaierError as error:
            outcomes = self._failed(assets, str(error))
            self._close(rows, outcomes)
            if isinstance(error, Cancelled):
                raise
        except Exception as error:
            self._close(rows, self._failed(assets, f"unexpected {type(error).__name__}"))
            raise
        except BaseException:
            # Ctrl-C, SIGTERM, or Dagster's word that the run was terminated.
            self.cancelled = True
            self.stop.set()
            with _undisturbed():
                self._close(rows, self._failed(assets, "cancelled; the catalog is as it was"))
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
        # A run that is refused for our sake begins its row after this moment, and ends it itself.
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
def _undisturbed() -> Iterator[None]:
    """Let no second signal keep us from writing down the first (fault matrix, row 34)."""
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
