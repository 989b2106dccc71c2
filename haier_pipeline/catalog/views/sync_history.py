"""How the syncs have gone: each dealer's last one, and what became of them day by day.

For the overview of the admin pages. Figures for a metrics system are in ``figures``, what an
incident is made of in ``latest``.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Engine, text

from haier_pipeline.catalog.database import translated


@dataclass(frozen=True)
class LastSync:
    """The newest sync of a dealer: all log rows of its run together.

    ``status`` is the worst of theirs, or ``processing`` and ``pending`` while it works or waits.
    ``seconds`` from its beginning to its end, or until now.
    """

    dealer: str
    run_id: str
    status: str
    began_at: datetime
    ended_at: datetime | None
    seconds: float


@dataclass(frozen=True)
class DayOfSyncs:
    """One dealer's syncs that ended on one day in Shanghai, and its calls of that day.

    ``seconds`` is the time of all of them together, ``longest`` that of the longest. Live queries
    are no syncs, but their calls count.
    """

    dealer: str
    day: date
    success: int
    partial: int
    failed: int
    seconds: float
    longest: float
    calls: int
    refused_calls: int

    @property
    def syncs(self) -> int:
        return self.success + self.partial + self.failed


_STATUS = """
    CASE WHEN bool_or(status = 'processing') THEN 'processing'
         WHEN bool_or(status = 'pending') THEN 'pending'
         WHEN bool_or(status = 'failed') THEN 'failed'
         WHEN bool_or(status = 'partial') THEN 'partial'
         ELSE 'success' END AS status
"""

_LAST = f"""
SELECT d.dealer, newest.run_id, run.status, run.began_at, run.ended_at,
    extract(epoch FROM coalesce(run.ended_at, clock_timestamp()) - run.began_at)::double precision
        AS seconds
FROM unnest(CAST(:dealers AS text[])) AS d(dealer)
CROSS JOIN LATERAL (
    SELECT run_id FROM haier_sync_log l
    WHERE l.dealer = d.dealer AND run_id IS NOT NULL ORDER BY id DESC LIMIT 1
) newest
CROSS JOIN LATERAL (
    SELECT {_STATUS}, min(coalesce(started_at, created_at)) AS began_at,
        CASE WHEN bool_and(completed_at IS NOT NULL) THEN max(completed_at) END AS ended_at
    FROM haier_sync_log l WHERE l.run_id = newest.run_id AND l.dealer = d.dealer
) run
"""

_DAYS = f"""
WITH ended AS (
    SELECT dealer, run_id, status, started_at, completed_at,
        (completed_at AT TIME ZONE 'Asia/Shanghai')::date AS day,
        -- A live query is one call, or hardly more.
        coalesce((metadata->>'calls')::bigint, (sync_type = 'manual')::int) AS calls,
        coalesce((metadata->>'refused_calls')::bigint, 0) AS refused_calls
    FROM haier_sync_log
    WHERE completed_at >= CAST(:first AS timestamp) AT TIME ZONE 'Asia/Shanghai'
), runs AS (
    SELECT dealer, max(day) AS day, {_STATUS},
        extract(epoch FROM max(completed_at) - min(coalesce(started_at, completed_at)))
            ::double precision AS seconds
    FROM ended WHERE run_id IS NOT NULL GROUP BY dealer, run_id
), syncs AS (
    SELECT dealer, day,
        count(*) FILTER (WHERE status = 'success') AS success,
        count(*) FILTER (WHERE status = 'partial') AS partial,
        count(*) FILTER (WHERE status = 'failed') AS failed,
        sum(seconds) AS seconds, max(seconds) AS longest
    FROM runs GROUP BY dealer, day
), calls AS (
    SELECT dealer, day, sum(calls)::bigint AS calls, sum(refused_calls)::bigint AS refused_calls
    FROM ended GROUP BY dealer, day
)
SELECT dealer, day, coalesce(success, 0) AS success, coalesce(partial, 0) AS partial,
    coalesce(failed, 0) AS failed, coalesce(seconds, 0) AS seconds,
    coalesce(longest, 0) AS longest, calls, refused_calls
FROM calls LEFT JOIN syncs USING (dealer, day) ORDER BY day, dealer
"""


def last_syncs(engine: Engine, dealers: Collection[str]) -> dict[str, LastSync]:
    """The newest sync of each of the dealers that ever had one."""
    with translated(engine), engine.connect() as connection:
        rows = connection.execute(text(_LAST), {"dealers": list(dealers)}).mappings()
        return {row["dealer"]: LastSync(**row) for row in rows}


def days(engine: Engine, last: date, count: int) -> list[DayOfSyncs]:
    """Each dealer's days with syncs or calls, of ``count`` days up to ``last``."""
    first = last - timedelta(days=count - 1)
    with translated(engine), engine.connect() as connection:
        rows = connection.execute(text(_DAYS), {"first": first}).mappings()
        return [DayOfSyncs(**row) for row in rows if row["day"] <= last]
