"""What Dagster's events say of a run, in the words of the sync log.

Anybody who reaches Dagster may write events and tags of any kind, so every value is cut to what the
log's columns hold. Which runs are looked at, and what becomes of it, is in ``reconcile``.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster import DagsterEventType, EventLogEntry, RunRecord

from haier_pipeline.catalog.log import Check, Result
from haier_pipeline.domain.partition import Partition
from haier_pipeline.orchestration.resources import ROOT_RUN_TAG
from haier_pipeline.platform.config import is_dealer_name
from haier_pipeline.sync.reconcile import CheckName, End, Seen, sentence

#: The kinds of event after which a run is compared with its log rows.
KINDS = (
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_CHECK_EVALUATION,
    DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
    DagsterEventType.STEP_FAILURE,
    DagsterEventType.RUN_FAILURE,
    DagsterEventType.RUN_CANCELED,
    DagsterEventType.RUN_SUCCESS,
)
_READ = {
    *KINDS,
    DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    DagsterEventType.STEP_START,
    DagsterEventType.RUN_START,
}
# What the sync log's columns hold.
MOST_COUNT = 10**9
MOST_TEXT = 10_000


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


def seen_run(instance: dg.DagsterInstance, record: RunRecord, steps: Steps) -> Seen | None:
    """What the events of the run say of it; ``None`` where it is no run over one of our partitions.

    Raises:
        Exception: an event that anybody may have written cannot be read; of whatever class.
    """
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
    for entry in instance.all_logs(run.run_id, of_type=_READ):
        event, at = entry.get_dagster_event(), time_of(entry.timestamp)
        kind = event.event_type
        data: Any = event.event_specific_data
        assets = steps.assets.get(event.step_key or "", ())
        if kind == DagsterEventType.RUN_START:
            has_begun = True
        elif kind == DagsterEventType.STEP_START:
            begun |= dict.fromkeys(assets, at)
        elif kind == DagsterEventType.ASSET_MATERIALIZATION_PLANNED:
            planned.append(_asset(event.asset_key))
        elif kind == DagsterEventType.ASSET_MATERIALIZATION:
            materialized[_asset(event.asset_key)] = (_result(data.materialization), at)
        elif kind == DagsterEventType.ASSET_CHECK_EVALUATION:
            name, check, _ = evaluation(entry)
            evaluations[name] = (check, at)
        elif kind == DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
            planned_checks.append((_asset(data.asset_key), _text(data.check_name)))
        elif kind == DagsterEventType.STEP_FAILURE:
            message = _step_failure(data)
            failures |= {one: (message, at) for one in assets if one not in materialized}
            checks = steps.checks.get(event.step_key or "", ())
            broken |= dict.fromkeys(() if assets else checks, message)
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


def _partition(key: str | None) -> Partition | None:
    """The partition; ``None`` where the key is none of ours, as anybody may write a tag."""
    try:
        partition = Partition.from_key(key or "")
    except ValueError:
        return None
    return partition if partition.key == key and is_dealer_name(partition.dealer) else None


def _root(run: dg.DagsterRun) -> str:
    tagged = run.tags.get(ROOT_RUN_TAG)
    return (tagged if tagged and _is_id(tagged) else None) or run.root_run_id or run.run_id


def _is_id(text: str) -> bool:
    return len(text) <= 64 and text.isprintable()


def _asset(key: dg.AssetKey | None) -> str:
    return "" if key is None else _text(key.to_user_string())


def time_of(timestamp: float) -> datetime:
    """The moment of an event, whose time stamp is in seconds since 1970."""
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
    """The count, 0 where the log's column cannot hold it or it is no number."""
    return value if isinstance(value, int) and 0 <= value < MOST_COUNT else 0


def evaluation(entry: EventLogEntry) -> tuple[CheckName, Check, Partition | None]:
    """The check that was evaluated, and of which partition; ``None`` for none of ours."""
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
    """The value as PostgreSQL's JSON takes it: no NUL, no lone surrogate, no NaN, no object."""
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
    lines = (event.message or "").strip().splitlines()
    why = _text(lines[0]) if lines else "no reason given"
    return End("failed", f"the run failed: {why}", at, has_begun)
