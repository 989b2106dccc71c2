"""The sync log: one row for each attempt to materialize one asset partition.

A row is begun in a transaction of its own and finished exactly once, the row of a load inside the
load's own transaction. What the words mean to a person, in both languages, is here too; how rows
are shown is not.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, and_, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from haier_pipeline.catalog.database import transaction, translated
from haier_pipeline.catalog.tables import FINAL_STATUSES, haier_sync_log
from haier_pipeline.domain.partition import DAYLESS_SYNC_TYPE, SHANGHAI, Partition
from haier_pipeline.errors import NotFound

TYPE_LABELS: Mapping[str, tuple[str, str]] = {
    "products": ("products", "商品"),
    "prices": ("prices", "价格"),
    "stock": ("stock", "库存"),
    "order": ("orders", "订单"),
    "logistics": ("logistics", "物流"),
    "manual": ("manual query", "手动查询"),
    "balance": ("balance", "余额"),
}
STATUS_LABELS: Mapping[str, tuple[str, str]] = {
    "pending": ("pending", "等待中"),
    "processing": ("processing", "进行中"),
    "success": ("success", "成功"),
    "failed": ("failed", "失败"),
    "partial": ("partial", "部分成功"),
}

#: The message of a row whose run was killed.
DEAD_RUN = "the run ended without a word: its process was killed or the machine went down"

#: The message of a row that was accepted and not begun within `MOST_WAIT`.
NEVER_BEGUN = "never started: what was to run it is gone"
#: A sync that has waited for longer will hardly begin: its process is gone.
MOST_WAIT = timedelta(minutes=10)

_OPEN = haier_sync_log.c.status.not_in(FINAL_STATUSES)


@dataclass(frozen=True)
class Attempt:
    """What is attempted: one asset of one partition, in one run."""

    sync_type: str
    asset_key: str
    dealer: str
    sync_date: date
    run_id: str
    root_run_id: str


@dataclass(frozen=True)
class Check:
    """The result of one asset check, as the log keeps it."""

    name: str
    passed: bool
    description: str
    severity: str = "ERROR"
    blocking: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    # The records at fault, the first twenty; the metadata say how many there are.
    offenders: Sequence[Mapping[str, Any]] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "passed": self.passed,
            "severity": self.severity,
            "description": self.description,
            "metadata": dict(self.metadata)
            | ({"offenders": list(self.offenders)} if self.offenders else {}),
        }


@dataclass(frozen=True)
class Result:
    """How an attempt ended. ``total`` is ``success + failed``, whatever the unit is."""

    status: str
    message: str
    success: int = 0
    failed: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    checks: Sequence[Check] = ()

    @property
    def total(self) -> int:
        return self.success + self.failed


@dataclass(frozen=True)
class Entry:
    """A row of the log as it is shown."""

    id: int
    sync_type: str
    status: str
    message: str
    total_count: int
    success_count: int
    failed_count: int
    dealer: str
    sync_date: date | None
    run_id: str | None
    attempt: int
    asset_key: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    metadata: dict[str, Any]
    checks: list[dict[str, Any]]

    @property
    def duration(self) -> float | None:
        """Seconds from start to end; ``None`` while there is no end."""
        if self.started_at is None or self.completed_at is None:
            return None
        return round((self.completed_at - self.started_at).total_seconds(), 3)


@dataclass(frozen=True)
class ManualQuery:
    """A live query: what was asked of which dealer, and by whom."""

    dealer: str
    sync_date: date
    endpoint: str
    caller: str


def record_query(
    engine: Engine, query: ManualQuery, seconds: float, message: str, *, success: int, failed: int
) -> None:
    """Write the ``manual`` row of a live query that has ended; it took ``seconds``.

    One row, written once: a query has no partition, and whoever asked knows whether it ended.
    """
    values = {
        "sync_type": "manual",
        "status": "failed" if failed and not success else "partial" if failed else "success",
        "message": message,
        "total_count": success + failed,
        "success_count": success,
        "failed_count": failed,
        "dealer": query.dealer,
        "sync_date": query.sync_date,
        "metadata": {"endpoint": query.endpoint, "caller": query.caller, "seconds": seconds},
        "started_at": func.clock_timestamp() - timedelta(seconds=seconds),
        "completed_at": func.clock_timestamp(),
    }

    def work(connection: Connection) -> None:
        # Somebody waits for the answer; a crash of the server may cost the last such rows.
        connection.execute(text("SET LOCAL synchronous_commit = off"))
        connection.execute(insert(haier_sync_log).values(values))

    transaction(engine, work)


def accept(connection: Connection, attempt: Attempt) -> int:
    """Note an attempt that is asked for but has not begun; ``begin`` takes the row over."""
    row = insert(haier_sync_log).values(new_row(attempt, status="pending"))
    return int(connection.execute(row.returning(haier_sync_log.c.id)).scalar_one())


def new_row(attempt: Attempt, **columns: Any) -> dict[str, Any]:
    """The values of a row to insert for the attempt, ``columns`` among them.

    Attempts are counted by asset, partition and root run.
    """
    table = haier_sync_log.c
    earlier = (
        select(func.count())
        .where(
            table.root_run_id == attempt.root_run_id,
            table.asset_key == attempt.asset_key,
            table.dealer == attempt.dealer,
            table.sync_date == attempt.sync_date,
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
        **columns,
    }


def ended_columns(result: Result) -> dict[str, Any]:
    """What the result writes into a row, but for the time."""
    return {
        "status": result.status,
        "message": result.message,
        "total_count": result.total,
        "success_count": result.success,
        "failed_count": result.failed,
        "metadata": dict(result.metadata),
        "checks": [check.as_json() for check in result.checks],
    }


def waiting(connection: Connection, dealer: str, asset_key: str) -> str | None:
    """The run of the dealer's that was accepted and has not begun, if there is one.

    Whoever asks at the same moment waits until this transaction ends, and then sees its row. What
    was accepted `MOST_WAIT` ago does not count.
    """
    connection.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"haier waiting {dealer}", 0)))
    )
    table = haier_sync_log
    run_id: str | None = connection.scalar(
        select(table.c.run_id)
        .where(
            table.c.status == "pending",
            table.c.dealer == dealer,
            table.c.asset_key == asset_key,
            table.c.created_at > func.now() - MOST_WAIT,
        )
        .order_by(table.c.created_at.desc())
        .limit(1)
    )
    return run_id


def give_up(engine: Engine, run_id: str, message: str) -> int:
    """Fail what was accepted under this run and has not begun; returns how many rows that were.

    Pending rows without a run are those of the run ``""``.
    """
    statement = (
        update(haier_sync_log)
        .where(
            func.coalesce(haier_sync_log.c.run_id, "") == run_id,
            haier_sync_log.c.status == "pending",
        )
        .values(status="failed", message=message, completed_at=func.clock_timestamp())
    )
    return transaction(engine, lambda connection: connection.execute(statement).rowcount)


def never_began(connection: Connection, run_id: str) -> bool:
    """Whether everything that was accepted under this run was given up before it began."""
    table = haier_sync_log.c
    begun = select(table.id).where(
        table.run_id == run_id,
        (table.status != "failed") | table.started_at.is_not(None),
    )
    known = select(table.id).where(table.run_id == run_id)
    return bool(connection.scalar(select(known.exists() & ~begun.exists())))


def now(engine: Engine) -> datetime:
    """The time by the database's clock, as the log's own times are (fault matrix, row 41)."""

    def work(connection: Connection) -> datetime:
        moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return moment

    return transaction(engine, work)


def begin(engine: Engine, attempt: Attempt) -> int:
    """Open the row of an attempt, committed at once, and return its id.

    A row that was accepted for it becomes this row.
    """
    accepted = (
        update(haier_sync_log)
        .where(
            haier_sync_log.c.run_id == attempt.run_id,
            haier_sync_log.c.asset_key == attempt.asset_key,
            haier_sync_log.c.dealer == attempt.dealer,
            haier_sync_log.c.status == "pending",
        )
        .values(
            status="processing",
            sync_date=attempt.sync_date,
            root_run_id=attempt.root_run_id,
            started_at=func.clock_timestamp(),
        )
        .returning(haier_sync_log.c.id)
    )
    row = insert(haier_sync_log).values(
        new_row(attempt, status="processing", started_at=func.clock_timestamp())
    )
    statement = row.returning(haier_sync_log.c.id)

    def work(connection: Connection) -> int:
        taken_over = connection.scalar(accepted)
        return int(taken_over or connection.execute(statement).scalar_one())

    return transaction(engine, work)


def finish(connection: Connection, row: int, result: Result) -> bool:
    """Write the end of an attempt; a row that has ended already is left alone.

    Returns whether this call ended it. A load calls this on its own connection, so that data and
    success become visible together or not at all.
    """
    statement = (
        update(haier_sync_log)
        .where(haier_sync_log.c.id == row, _OPEN)
        .values(**ended_columns(result), completed_at=func.clock_timestamp())
    )
    return connection.execute(statement).rowcount == 1


def status(connection: Connection, row: int) -> str:
    """The status of a row as it is now, whoever wrote it."""
    return str(
        connection.execute(
            select(haier_sync_log.c.status).where(haier_sync_log.c.id == row)
        ).scalar_one()
    )


def close_abandoned(
    engine: Engine, partition: Partition, sync_types: Collection[str], *, before: datetime
) -> int:
    """Fail the open rows of a partition that were begun ``before`` its lock came to the caller.

    Those of a type that belongs to no day: of whatever day. Returns how many there were (fault
    matrix, row 35).
    """
    table = haier_sync_log.c
    statement = (
        update(haier_sync_log)
        .where(
            haier_sync_log.c.dealer == partition.dealer,
            (table.sync_date == partition.sync_date) | (table.sync_type == DAYLESS_SYNC_TYPE),
            haier_sync_log.c.asset_key.is_not(None),
            haier_sync_log.c.sync_type.in_(sync_types),
            haier_sync_log.c.started_at < before,
            haier_sync_log.c.status == "processing",
        )
        .values(
            status="failed",
            message=DEAD_RUN,
            completed_at=func.clock_timestamp(),
        )
    )
    return transaction(engine, lambda connection: connection.execute(statement).rowcount)


def entries(
    engine: Engine,
    *,
    dealer: str | None = None,
    sync_type: str | None = None,
    status: str | None = None,
    run_id: str | None = None,
    root_run_id: str | None = None,
    day: date | None = None,
    search: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Entry]:
    """The newest rows first; ``before`` is the id of the last row of the page before.

    ``day``: the day in Shanghai on which the attempt was noted, whatever day it worked on.
    ``search``: text that the message holds, in any case.
    """
    table = haier_sync_log.c
    conditions = [
        column == value
        for column, value in (
            (table.dealer, dealer),
            (table.sync_type, sync_type),
            (table.status, status),
            (table.run_id, run_id),
            (table.root_run_id, root_run_id),
        )
        if value is not None
    ]
    if day is not None:
        midnight = datetime.combine(day, time(), SHANGHAI)
        conditions += [
            table.created_at >= midnight,
            table.created_at < midnight + timedelta(days=1),
        ]
    if search is not None:
        conditions.append(table.message.icontains(search, autoescape=True))
    if before is not None:
        conditions.append(table.id < before)
    columns = [table[name] for name in Entry.__dataclass_fields__]
    statement = (
        select(*columns).where(and_(True, *conditions)).order_by(table.id.desc()).limit(limit)
    )
    rows = transaction(engine, lambda connection: connection.execute(statement).mappings().all())
    return [Entry(**row) for row in rows]


def entry(engine: Engine, number: int) -> Entry:
    """One row by id.

    Raises:
        NotFound: there is none, or no more.
    """
    table = haier_sync_log.c
    statement = select(*[table[name] for name in Entry.__dataclass_fields__]).where(
        table.id == number
    )
    with translated(engine), engine.connect() as connection:
        row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        raise NotFound(f"the sync log has no row {number}")
    return Entry(**row)
