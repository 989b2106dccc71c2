"""The sync log brought into agreement with Dagster's event log, whatever became of the runs.

New events say which runs to look at; then everything that is known of such a run is compared with
its log rows. So an event may be met twice, late or in any order. How events are read is in
``events``, what the log ought to say is decided in ``sync.reconcile``.

Anybody who reaches Dagster may write events and tags of any kind. What of them cannot be read, or
cannot be written into the log, is put aside and reported once; the rest goes on.
"""

import json
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus, EventLogEntry, EventLogRecord
from sqlalchemy import Engine

from haier_pipeline.catalog import repair
from haier_pipeline.orchestration.events import KINDS, Steps, evaluation, seen_run, time_of
from haier_pipeline.orchestration.unreadable import Unreadable
from haier_pipeline.sync.reconcile import Seen, decide, lone_checks

PAGE_EVENTS = 1_000
MOST_ID = 2**63
# Of two writers the later number may become visible first; what lies this far back is read again.
OVERLAP_IDS = 200
# After a quiet minute nothing can come late any more.
OVERLAP_SECONDS = 60
TICK_SECONDS = 20
AT_WORK = (DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING)


@dataclass
class Position:
    """How far one kind of event has been read.

    ``last`` is the highest id, ``moved_at`` when it was met (seconds since 1970), ``near`` the ids
    met within the overlap behind it.
    """

    last: int = 0
    moved_at: float = 0.0
    near: set[int] = field(default_factory=set)

    def after(self, now: float) -> int:
        """The id behind which to read on."""
        return self.last if now - self.moved_at > OVERLAP_SECONDS else self.last - OVERLAP_IDS

    def advance(self, ids: Collection[int], now: float) -> None:
        if (highest := max(ids)) > self.last:
            self.last, self.moved_at = highest, now
        self.near = {number for number in {*self.near, *ids} if number > self.last - OVERLAP_IDS}


def read_cursor(text: str | None) -> dict[str, Position]:
    """The positions by kind; every kind that the cursor does not know begins at the beginning.

    So does what somebody has set by hand and cannot be read: an event that is met again changes
    nothing.
    """
    try:
        stored = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        stored = {}
    found = stored if isinstance(stored, dict) else {}
    return {kind.value: _position(found.get(kind.value)) for kind in KINDS}


def _position(stored: object) -> Position:
    try:
        last, moved_at, near = cast("tuple[int, float, list[int]]", stored)
        position = Position(int(last), float(moved_at), {int(number) for number in near})
    except (TypeError, ValueError, OverflowError):
        return Position()
    return position if 0 <= position.last < MOST_ID else Position()


def write_cursor(positions: Mapping[str, Position]) -> str:
    return json.dumps(
        {kind: (p.last, p.moved_at, sorted(p.near)) for kind, p in positions.items()},
        separators=(",", ":"),
    )


class Reconciler:
    """Brings the sync log into agreement with what Dagster knows.

    ``unreadable`` reports each run or event once that cannot be carried over, and why.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        engine: Engine,
        steps: Steps,
        unreadable: Unreadable | None = None,
    ) -> None:
        self._unreadable = unreadable or Unreadable(logging.getLogger(__name__).warning)
        self._instance = instance
        self._engine = engine
        self._steps = steps
        # Runs that had ended when they were compared: nothing more can become known of them.
        self._settled: set[str] = set()

    def catch_up(self, cursor: str | None, seconds: float = TICK_SECONDS) -> tuple[str, int]:
        """Read on from the cursor and repair the log; the new cursor, and how much was repaired.

        Stops after ``seconds`` with a cursor to go on from.
        """
        until = time.monotonic() + seconds
        positions = read_cursor(cursor)
        changes = 0
        for kind in KINDS:
            position = positions[kind.value]
            while time.monotonic() < until:
                now = time.time()
                after = max(position.after(now), 0)
                records = self._page(kind, after, PAGE_EVENTS)
                new = [record for record in records if record.storage_id not in position.near]
                if new:
                    changes += self._compare([record.event_log_entry for record in new])
                    position.advance([record.storage_id for record in new], now)
                if len(records) < PAGE_EVENTS:
                    break
        return write_cursor(positions), changes

    def _page(self, kind: DagsterEventType, after: int, limit: int) -> Sequence[EventLogRecord]:
        return self._instance.event_log_storage.get_event_records(
            dg.EventRecordsFilter(event_type=kind, after_cursor=after), limit=limit, ascending=True
        )

    def _compare(self, events: Sequence[EventLogEntry]) -> int:
        changes = 0
        for event in events:
            if not event.run_id:
                with self._unreadable.tolerate(
                    f"an event without a run, of {time_of(event.timestamp)}"
                ):
                    changes += self._note_runless(event)
        return changes + self.reconcile({event.run_id for event in events if event.run_id})

    def _note_runless(self, event: EventLogEntry) -> bool:
        """Write down a check that a sensor evaluated, which belongs to no run."""
        if event.get_dagster_event().event_type != DagsterEventType.ASSET_CHECK_EVALUATION:
            return False
        (asset, _), check, partition = evaluation(event)
        if partition is None:
            return False
        at = time_of(event.timestamp)
        return repair.note_check(
            self._engine, partition.dealer, partition.sync_date, asset, check, at
        )

    def reconcile(self, run_ids: Collection[str]) -> int:
        """Compare what is known of these runs with their log rows; returns the changes made."""
        wanted = sorted({*run_ids} - self._settled)
        changes = 0
        if not wanted:
            return changes
        for record in self._instance.get_run_records(dg.RunsFilter(run_ids=wanted)):
            with self._unreadable.tolerate(f"run {record.dagster_run.run_id}"):
                seen = seen_run(self._instance, record, self._steps)
                if seen is not None:
                    changes += self._repair(seen)
            if record.dagster_run.is_finished:
                self._settled.add(record.dagster_run.run_id)
        return changes

    def _repair(self, seen: Seen) -> int:
        changes = repair.repair(self._engine, seen.run_id, lambda rows: decide(seen, rows))
        partition = seen.partition
        return changes + sum(
            repair.note_check(self._engine, partition.dealer, partition.sync_date, asset, check, at)
            for asset, check, at in lone_checks(seen)
        )

    def close_dead_runs(self) -> int:
        """Close what dead runs left open, in the log and at Dagster; returns how many there were.

        A run whose worker and code server were killed together stays started at Dagster for ever.
        """
        dead = set(repair.close_dead(self._engine))
        at_work = self._instance.get_runs(dg.RunsFilter(statuses=list(AT_WORK)))
        dead |= set(repair.silent(self._engine, [run.run_id for run in at_work]))
        closed = 0
        for run in at_work:
            if run.run_id not in dead:
                continue
            closed += 1
            with self._unreadable.tolerate(f"the end of run {run.run_id}"):
                if run.status == DagsterRunStatus.CANCELING:
                    self._instance.report_run_canceled(run, "The run's process is gone.")
                else:
                    self._instance.report_run_failed(
                        run, "The run's process was killed or the machine went down."
                    )
        return closed + self._fail_unbegun()

    def _fail_unbegun(self) -> int:
        waiting = repair.unbegun(self._engine)
        if not waiting:
            return 0
        known = self._instance.get_runs(dg.RunsFilter(run_ids=waiting))
        alive = {run.run_id for run in known if not run.is_finished}
        return sum(
            repair.give_up(self._engine, run_id) for run_id in waiting if run_id not in alive
        )
