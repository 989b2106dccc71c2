"""The sync log repaired from outside: rows that a dead run left open, or could not write at all.

What ought to stand in the log is decided elsewhere, from what is known of a run; here it is read,
compared and written, so that doing it twice changes nothing. An end that was written is never
changed. How a run writes its own rows is in ``log``.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ARRAY, Connection, Engine, String, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from haier_pipeline.catalog import log
from haier_pipeline.catalog.database import transaction
from haier_pipeline.catalog.locks import KEEP_SECONDS, PARTITION_KEY_SQL
from haier_pipeline.catalog.log import DEAD_RUN, Attempt, Check, Result
from haier_pipeline.catalog.tables import FINAL_STATUSES, haier_sync_log

# An attempt opens its row first and takes its lock right after.
YOUNG_SECONDS = 10
# After a restart of the server every live run takes its lock again.
RESTART_SECONDS = 30 + KEEP_SECONDS
# Between its last row and its end a run only says goodbye.
FAREWELL_SECONDS = 45
UNBEGUN_SECONDS = 600

NEVER_BEGUN = "never started: what was to run it is gone"


@dataclass(frozen=True)
class Row:
    """A row as it stands."""

    id: int
    asset_key: str
    status: str
    checks: Sequence[Mapping[str, Any]]

    @property
    def is_open(self) -> bool:
        return self.status not in FINAL_STATUSES


@dataclass(frozen=True)
class Ended:
    """The open row gets this end."""

    row: int
    result: Result


@dataclass(frozen=True)
class Missing:
    """A row that was never written, with its end."""

    attempt: Attempt
    result: Result
    started_at: datetime
    completed_at: datetime


@dataclass(frozen=True)
class Checked:
    """These checks are added to a row that has its end."""

    row: int
    checks: Sequence[Check]


Change = Ended | Missing | Checked


def repair(engine: Engine, run_id: str, decide: Callable[[list[Row]], Sequence[Change]]) -> int:
    """Bring the rows of a run to what ``decide`` makes of them; returns how many changes it took.

    ``decide`` may be asked twice: once to look, and again with the run's rows held.
    """
    if not decide(transaction(engine, lambda connection: _rows(connection, run_id))):
        return 0

    def work(connection: Connection) -> int:
        # Two repairs at once would both insert the row that is missing.
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"),
            {"key": f"haier repair {run_id}"},
        )
        changes = decide(_rows(connection, run_id, hold=True))
        missing = [change for change in changes if isinstance(change, Missing)]
        if missing:
            connection.execute(insert(haier_sync_log).values([_values(one) for one in missing]))
        for change in changes:
            if isinstance(change, Ended):
                log.finish(connection, change.row, change.result)
            elif isinstance(change, Checked):
                _add_checks(connection, change)
        return len(changes)

    return transaction(engine, work)


def _rows(connection: Connection, run_id: str, *, hold: bool = False) -> list[Row]:
    table = haier_sync_log.c
    statement = (
        select(table.id, table.asset_key, table.status, table.checks)
        .where(table.run_id == run_id, table.asset_key.is_not(None))
        .order_by(table.id)
    )
    if hold:
        statement = statement.with_for_update()
    return [Row(**row) for row in connection.execute(statement).mappings()]


def _add_checks(connection: Connection, change: Checked) -> None:
    checks = haier_sync_log.c.checks
    added = bindparam("added", [check.as_json() for check in change.checks], checks.type)
    connection.execute(
        update(haier_sync_log)
        .where(haier_sync_log.c.id == change.row)
        .values(checks=checks.op("||")(added))
    )


def _values(change: Missing) -> dict[str, Any]:
    attempt, result, table = change.attempt, change.result, haier_sync_log.c
    earlier = (
        select(func.count())
        .where(
            table.dealer == attempt.dealer,
            table.sync_date == attempt.sync_date,
            table.asset_key == attempt.asset_key,
            table.root_run_id == attempt.root_run_id,
        )
        .scalar_subquery()
    )
    return {
        "sync_type": attempt.sync_type,
        "asset_key": attempt.asset_key,
        "dealer": attempt.dealer,
        "sync_date": attempt.sync_date,
        "run_id": attempt.run_id,
        "root_run_id": attempt.root_run_id,
        "attempt": earlier + 1,
        "status": result.status,
        "message": result.message,
        "total_count": result.total,
        "success_count": result.success,
        "failed_count": result.failed,
        "metadata": dict(result.metadata),
        "checks": [check.as_json() for check in result.checks],
        "started_at": change.started_at,
        "completed_at": change.completed_at,
    }


def note_check(
    engine: Engine, dealer: str, sync_date: date, asset: str, check: Check, at: datetime
) -> bool:
    """Write a check that ran by itself into the row of what it looked at.

    That is the partition's newest end before ``at``, in which it takes the place of an older
    evaluation of the same name. Returns whether anything changed.
    """
    table = haier_sync_log.c
    statement = (
        select(table.id, table.checks, table.completed_at)
        .where(
            table.dealer == dealer,
            table.sync_date == sync_date,
            table.asset_key == asset,
            table.completed_at <= at,
        )
        .order_by(table.id.desc())
        .limit(1)
        .with_for_update()
    )

    def work(connection: Connection) -> bool:
        row = connection.execute(statement).one_or_none()
        if row is None:
            return False
        stamp = at.isoformat()
        others = [entry for entry in row.checks if entry["name"] != check.name]
        same = [entry for entry in row.checks if entry["name"] == check.name]
        if any(str(entry.get("evaluated_at", "")) >= stamp for entry in same):
            return False
        connection.execute(
            update(haier_sync_log)
            .where(table.id == row.id)
            .values(checks=[*others, check.as_json() | {"evaluated_at": stamp}])
        )
        return True

    return transaction(engine, work)


_HELD_LOCKS = """
    SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# A lock on a bigint shows up as two halves.
_LOCK_IS_FREE = f"hashtextextended({PARTITION_KEY_SQL}, 0) NOT IN ({_HELD_LOCKS})"
_SERVER_IS_UP = "pg_postmaster_start_time() < clock_timestamp() - make_interval(secs => :restart)"

_CLOSE_DEAD = f"""
UPDATE haier_sync_log SET status = 'failed', message = :message, completed_at = clock_timestamp()
WHERE status = 'processing' AND id IN (
    SELECT id FROM haier_sync_log
    WHERE status = 'processing' AND asset_key IS NOT NULL
      AND started_at < clock_timestamp() - make_interval(secs => :young)
      AND {_SERVER_IS_UP} AND {_LOCK_IS_FREE})
RETURNING run_id
"""

_SILENT = f"""
SELECT run_id FROM haier_sync_log
WHERE run_id = ANY(:run_ids) AND asset_key IS NOT NULL AND {_SERVER_IS_UP}
GROUP BY run_id
HAVING bool_and(completed_at IS NOT NULL)
   AND max(completed_at) < clock_timestamp() - make_interval(secs => :farewell)
   AND bool_and({_LOCK_IS_FREE})
"""


def close_dead(engine: Engine) -> list[str]:
    """Fail the open rows whose partition nobody holds: their process is gone (row 35).

    A live run holds its partition by a connection, so PostgreSQL itself says who is dead. Returns
    the runs that were met.
    """
    values = {"message": DEAD_RUN, "young": YOUNG_SECONDS, "restart": RESTART_SECONDS}

    def work(connection: Connection) -> list[str]:
        return sorted(set(connection.execute(text(_CLOSE_DEAD), values).scalars()))

    return transaction(engine, work)


def silent(engine: Engine, run_ids: Collection[str]) -> list[str]:
    """Those of the runs that have ended all their rows a while ago and hold their partition no
    more."""
    if not run_ids:
        return []
    statement = text(_SILENT).bindparams(bindparam("run_ids", list(run_ids), ARRAY(String)))
    values = {"farewell": FAREWELL_SECONDS, "restart": RESTART_SECONDS}
    return transaction(
        engine, lambda connection: list(connection.execute(statement, values).scalars())
    )


def unbegun(engine: Engine) -> list[str]:
    """The runs of rows that were accepted ten minutes ago or earlier and have not begun."""
    statement = text(
        "SELECT DISTINCT coalesce(run_id, '') FROM haier_sync_log WHERE status = 'pending'"
        " AND created_at < clock_timestamp() - make_interval(secs => :old)"
    )
    values = {"old": UNBEGUN_SECONDS}
    return transaction(
        engine, lambda connection: list(connection.execute(statement, values).scalars())
    )


def give_up(engine: Engine, run_id: str) -> int:
    """Fail the rows of ``unbegun`` under this run; returns how many."""
    table = haier_sync_log.c
    statement = (
        update(haier_sync_log)
        .where(func.coalesce(table.run_id, "") == run_id, table.status == "pending")
        .values(status="failed", message=NEVER_BEGUN, completed_at=func.clock_timestamp())
    )
    return transaction(engine, lambda connection: connection.execute(statement).rowcount)
