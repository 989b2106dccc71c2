"""The sync log kept complete from Dagster's event log, whatever became of the runs.

Events say which runs to look at; what of a run is then compared with its log rows is everything
that is known of it. So an event may be met twice, late or in any order. What the log ought to say
is decided in ``sync.mirror``.

Anybody who reaches Dagster may write events and tags of any kind. What of them cannot be read, or
cannot be written into the log, is put aside and told once; it never keeps the rest waiting.
"""

import json
import logging
import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus, EventLogEntry, EventLogRecord, RunRecord
from sqlalchemy import Engine

from haier_pipeline.catalog import repair
from haier_pipeline.catalog.log import Check, Result
from haier_pipeline.domain.partition import Partition
from haier_pipeline.orchestration.aside import Aside
from haier_pipeline.orchestration.resources import ROOT_RUN_TAG
from haier_pipeline.orchestration.shared import Shared
from haier_pipeline.platform.config import is_dealer_name
from haier_pipeline.sync.mirror import CheckName, End, Seen, decide, lone_checks, sentence

KINDS = (
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_CHECK_EVALUATION,
    DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
    DagsterEventType.STEP_FAILURE,
    DagsterEventType.RUN_FAILURE,
    DagsterEventType.RUN_CANCELED,
    DagsterEventType.RUN_SUCCESS,
)
LOOKED_AT = {
    *KINDS,
    DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    DagsterEventType.STEP_START,
    DagsterEventType.RUN_START,
}
PAGE_EVENTS = 1_000
MOST_ID = 2**63
# What the sync log's columns hold.
MOST_COUNT = 10**9
MOST_TEXT = 10_000
# Of two writers the later number may become visible first; what lies this far back is read again.
OVERLAP_IDS = 200
# After a quiet minute nothing can come late any more.
OVERLAP_SECONDS = 60
TICK_SECONDS = 20
AT_WORK = (DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING)


@dataclass(frozen=True)
class Steps:
    """Which assets and checks a step makes, by the step's key."""

    assets: Mapping[str, Sequence[str]]
    checks: Mapping[str, Sequence[CheckName]]

    @classmethod
    def of(cls, definitions: Iterable[dg.AssetsDefinition]) -> "Steps":
        """Read off the definitions, so that a step which is renamed is still known."""
        definitions = list(definitions)
        return cls(
            {one.node_def.name: [key.to_user_string() for key in one.keys] for one in definitions},
            {
                one.node_def.name: [
                    (key.asset_key.to_user_string(), key.name) for key in one.check_keys
                ]
                for one in definitions
            },
        )


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


class Mirror:
    """Carries what Dagster knows into the sync log.

    ``aside`` is told once of each run or event that cannot be carried over, and why.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        engine: Engine,
        steps: Steps,
        aside: Aside | None = None,
    ) -> None:
        self._aside = aside or Aside(logging.getLogger(__name__).warning)
        self._instance = instance
        self._engine = engine
        self._steps = steps
        # Runs that were over when they were looked at: nothing new can be said of them.
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
                    changes += self._look_at([record.event_log_entry for record in new])
                    position.advance([record.storage_id for record in new], now)
                if len(records) < PAGE_EVENTS:
                    break
        return write_cursor(positions), changes

    def _page(self, kind: DagsterEventType, after: int, limit: int) -> Sequence[EventLogRecord]:
        return self._instance.event_log_storage.get_event_records(
            dg.EventRecordsFilter(event_type=kind, after_cursor=after), limit=limit, ascending=True
        )

    def _look_at(self, events: Sequence[EventLogEntry]) -> int:
        changes = 0
        for event in events:
            if not event.run_id:
                with self._aside.keep(f"an event without a run, of {_time(event.timestamp)}"):
                    changes += self._note_runless(event)
        return changes + self.reconcile({event.run_id for event in events if event.run_id})

    def _note_runless(self, event: EventLogEntry) -> bool:
        """A check that a sensor evaluated belongs to no run."""
        if event.get_dagster_event().event_type != DagsterEventType.ASSET_CHECK_EVALUATION:
            return False
        (asset, _), check, partition = _evaluation(event)
        if partition is None:
            return False
        at = _time(event.timestamp)
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
            with self._aside.keep(f"run {record.dagster_run.run_id}"):
                seen = self._see(record)
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

    def _see(self, record: RunRecord) -> Seen | None:
        run = record.dagster_run
        partition = _partition(run.tags.get("dagster/partition"))
        if partition is None:
            return None
        planned: list[str] = []
        planned_checks: list[CheckName] = []
        begun: dict[str, datetime] = {}
        materialized: dict[str, tuple[Result, datetime]] = {}
        failures: dict[str, tuple[str, datetime]] = {}
        evaluations: dict[CheckName, tuple[Check, datetime]] = {}
        broken: dict[CheckName, str] = {}
        has_begun, end = False, None
        for entry in self._instance.all_logs(run.run_id, of_type=LOOKED_AT):
            event, at = entry.get_dagster_event(), _time(entry.timestamp)
            kind = event.event_type
            data: Any = event.event_specific_data
            assets = self._steps.assets.get(event.step_key or "", ())
            if kind == DagsterEventType.RUN_START:
                has_begun = True
            elif kind == DagsterEventType.STEP_START:
                begun |= dict.fromkeys(assets, at)
            elif kind == DagsterEventType.ASSET_MATERIALIZATION_PLANNED:
                planned.append(_asset(event.asset_key))
            elif kind == DagsterEventType.ASSET_MATERIALIZATION:
                materialized[_asset(event.asset_key)] = (_result(data.materialization), at)
            elif kind == DagsterEventType.ASSET_CHECK_EVALUATION:
                name, check, _ = _evaluation(entry)
                evaluations[name] = (check, at)
            elif kind == DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
                planned_checks.append((_asset(data.asset_key), _text(data.check_name)))
            elif kind == DagsterEventType.STEP_FAILURE:
                told = _step_failure(data)
                failures |= {one: (told, at) for one in assets if one not in materialized}
                checks = self._steps.checks.get(event.step_key or "", ())
                broken |= dict.fromkeys(() if assets else checks, told)
            else:
                end = _end(event, at, has_begun)
        return Seen(
            run_id=run.run_id,
            root_run_id=_root(run),
            partition=partition,
            began_at=record.create_timestamp.replace(tzinfo=UTC)
            if record.create_timestamp.tzinfo is None
            else record.create_timestamp,
            end=end if run.is_finished else None,
            planned=planned,
            planned_checks=planned_checks,
            begun=begun,
            materialized=materialized,
            failures=failures,
            evaluations=evaluations,
            broken=broken,
        )

    def bury(self) -> int:
        """Close what dead runs left open, in the log and at Dagster; returns how many it met.

        A run whose worker and code server were killed together stays started at Dagster for ever.
        """
        dead = set(repair.close_dead(self._engine))
        at_work = self._instance.get_runs(dg.RunsFilter(statuses=list(AT_WORK)))
        dead |= set(repair.silent(self._engine, [run.run_id for run in at_work]))
        met = 0
        for run in at_work:
            if run.run_id not in dead:
                continue
            met += 1
            with self._aside.keep(f"the end of run {run.run_id}"):
                if run.status == DagsterRunStatus.CANCELING:
                    self._instance.report_run_canceled(run, "The run's process is gone.")
                else:
                    self._instance.report_run_failed(
                        run, "The run's process was killed or the machine went down."
                    )
        return met + self._give_up_unbegun()

    def _give_up_unbegun(self) -> int:
        waiting = repair.unbegun(self._engine)
        if not waiting:
            return 0
        known = self._instance.get_runs(dg.RunsFilter(run_ids=waiting))
        alive = {run.run_id for run in known if not run.is_finished}
        return sum(
            repair.give_up(self._engine, run_id) for run_id in waiting if run_id not in alive
        )


def _partition(key: str | None) -> Partition | None:
    """The partition; ``None`` where the key is none of ours, as anybody may write a tag."""
    try:
        partition = Partition.from_key(key or "")
    except ValueError:
        return None
    return partition if partition.key == key and is_dealer_name(partition.dealer) else None


def _root(run: dg.DagsterRun) -> str:
    told = run.tags.get(ROOT_RUN_TAG)
    return (told if told and _is_id(told) else None) or run.root_run_id or run.run_id


def _is_id(text: str) -> bool:
    return len(text) <= 64 and text.isprintable()


def _asset(key: dg.AssetKey | None) -> str:
    return "" if key is None else _text(key.to_user_string())


def _time(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)


def _result(materialization: dg.AssetMaterialization) -> Result:
    values = _values(materialization.metadata)
    status = values.pop("status", "success")
    message = values.pop("message", "materialized")
    values.pop("preview", None)
    return Result(
        status if status in ("success", "partial", "failed") else "success",
        str(message),
        _count(values.get("success_count", 0)),
        _count(values.get("failed_count", 0)),
        values,
    )


def _count(value: object) -> int:
    """A count as the log can hold it; what somebody else reported may be anything."""
    return value if isinstance(value, int) and 0 <= value < MOST_COUNT else 0


def _evaluation(entry: EventLogEntry) -> tuple[CheckName, Check, Partition | None]:
    data: Any = entry.get_dagster_event().event_specific_data
    check = Check(
        _text(data.check_name),
        passed=bool(data.passed),
        description=_text(data.description or ""),
        severity=data.severity.value,
        blocking=bool(data.blocking),
        metadata=_values(data.metadata),
    )
    return (_asset(data.asset_key), check.name), check, _partition(data.partition)


def _values(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {
        _text(name): _storable(
            [dict(record.data) for record in value.records]
            if isinstance(value, dg.TableMetadataValue)
            else value.value
        )
        for name, value in metadata.items()
        if not name.startswith("dagster/")
    }


def _storable(value: object) -> Any:
    """The value as PostgreSQL's JSON takes it: no NUL, no half characters, no NaN, no class."""
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {_text(str(key)): _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_storable(item) for item in value]
    return _text(str(value))


def _text(text: str) -> str:
    whole = text[:MOST_TEXT].replace("\0", "\ufffd")
    return whole.encode("utf-8", "replace").decode()


def _step_failure(data: Any) -> str:
    if data.user_failure_data is not None and data.user_failure_data.description:
        # Only our own steps end so, with a sentence of ours.
        return _text(str(data.user_failure_data.description))
    return _error(data.error)


def _error(error: Any) -> str:
    while error is not None and error.cause is not None and error.cls_name.startswith("Dagster"):
        error = error.cause
    if error is None:
        return "unexpected error"
    if error.cls_name in ("DagsterExecutionInterruptedError", "KeyboardInterrupt"):
        return "cancelled; the catalog is as it was"
    return _text(sentence(error.cls_name, error.message))


def _end(event: dg.DagsterEvent, at: datetime, has_begun: bool) -> End:
    if event.event_type == DagsterEventType.RUN_SUCCESS:
        return End("success", "the run ended without a word about this asset", at, has_begun)
    if event.event_type == DagsterEventType.RUN_CANCELED:
        return End("cancelled", "cancelled: the run was terminated", at, has_begun)
    data: Any = event.event_specific_data
    error = getattr(data, "error", None)
    if error is not None:
        return End("failed", f"the run failed: {_error(error)}", at, has_begun)
    # Dagster's own words: a worker that exited, a time limit that was exceeded.
    said = (event.message or "").strip().splitlines()
    why = _text(said[0]) if said else "no reason given"
    return End("failed", f"the run failed: {why}", at, has_begun)


def mirror_sensor(shared: Shared, steps: Steps) -> dg.SensorDefinition:
    """The sensor that keeps the sync log complete."""
    aside = Aside(logging.getLogger(__name__).warning)

    @dg.sensor(
        name="sync_log",
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Writes into the sync log what a run could not write itself: crashes, kills, "
        "cancellations, checks. Closes what dead runs left open.",
    )
    def sync_log(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        # What a tick logs stands on its page.
        aside.tell = context.log.warning
        mirror = Mirror(shared.instance(context), shared.engine, steps, aside)
        buried = mirror.bury()
        cursor, changes = mirror.catch_up(context.cursor)
        told = f"{changes} repairs, {buried} dead runs" if changes or buried else "nothing new"
        return dg.SensorResult(skip_reason=told, cursor=cursor)

    return sync_log
