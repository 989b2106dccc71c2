"""What is wrong or at risk in the database server's settings and state, for ``haier doctor``.

What the program refuses at its start is in ``premises``.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine, text

from haier_pipeline.catalog.database import translated

#: Seconds that the clocks of two machines may differ before times stop adding up.
MOST_SKEW = 5.0
OLDEST_POSTGRES = 140000
STALE_DAYS = 7

_SETTINGS = """
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::int AS number,
       current_setting('server_encoding') AS encoding,
       current_setting('transaction_read_only') = 'on' OR pg_is_in_recovery() AS is_read_only,
       current_setting('autovacuum') = 'on' AND current_setting('track_counts') = 'on'
           AS is_vacuumed,
       current_setting('fsync') = 'on' AS is_safe,
       current_setting('max_connections')::int AS connections,
       extract(epoch FROM clock_timestamp())::float8 AS now,
       pg_size_pretty(pg_database_size(current_database())) AS size
"""
_TIMEOUTS = """
SELECT name, setting::bigint AS milliseconds FROM pg_settings
WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'lock_timeout',
               'transaction_timeout', 'idle_session_timeout') AND setting::bigint > 0
ORDER BY name
"""
_STALE = """
SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_stat_user_tables
WHERE schemaname = current_schema() AND n_live_tup + n_mod_since_analyze > 10000
  AND n_mod_since_analyze > greatest(n_live_tup, 1)
  AND coalesce(greatest(last_analyze, last_autoanalyze), '-infinity')
      < now() - make_interval(days => :days)
"""
_WAITS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND state = 'idle in transaction'
  AND xact_start < now() - interval '1 hour'
"""

Remark = tuple[str, str]
"""``ok``, ``warn`` or ``bad``, and a sentence."""


def look(engine: Engine, now: float) -> list[Remark]:
    """The remarks on the database; ``now`` is our own clock, in seconds since 1970.

    Raises:
        CatalogError: it cannot be asked.
    """
    with translated(engine), engine.connect() as connection:
        return list(_look(connection, now))


def _look(connection: Connection, now: float) -> Iterator[Remark]:
    found: Any = connection.execute(text(_SETTINGS)).one()
    yield "ok", f"PostgreSQL {found.version}, {found.size}, {found.connections} connections at most"
    if found.number < OLDEST_POSTGRES:
        yield (
            "warn",
            "before PostgreSQL 14 a killed sync keeps its locks for long: use a newer one",
        )
    if found.encoding != "UTF8":
        yield (
            "bad",
            (
                f"its encoding is {found.encoding}: make one with"
                " CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
            ),
        )
    if found.is_read_only:
        yield "bad", "it can only be read: name the primary server in HAIER_DATABASE_URL"
    if not found.is_vacuumed:
        yield "bad", "autovacuum or track_counts is off: set both to on, or tables grow for ever"
    if not found.is_safe:
        yield "bad", "fsync is off: a crash can lose everything; set it to on"
    for timeout in connection.execute(text(_TIMEOUTS)):
        if timeout.milliseconds < 60_000:
            yield (
                "warn",
                (
                    f"{timeout.name} is {timeout.milliseconds} ms: a load of many products can take"
                    " longer; ALTER ROLE … SET it to 0 for this program's role"
                ),
            )
    stale = connection.scalar(text(_STALE), {"days": STALE_DAYS})
    if stale:
        yield "warn", f"the statistics of {stale} are old: run ANALYZE, and look after autovacuum"
    if waiting := connection.scalar(text(_WAITS)):
        yield (
            "warn",
            (
                f"{waiting} sessions have left a transaction open for more than an hour:"
                " end them, or nothing is cleaned up"
            ),
        )
    skew = abs(now - found.now)
    if skew > MOST_SKEW:
        yield "bad", f"its clock and ours differ by {skew:.0f} s: let both follow a time server"
