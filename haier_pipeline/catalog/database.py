"""The connection to PostgreSQL: URLs, the engine, migrations, transactions that replay.

What is done inside a transaction belongs to its neighbours. Errors of the driver become
:class:`~haier_pipeline.errors.CatalogError` here and nowhere else.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import simplejson
from psycopg.abc import Buffer
from psycopg.pq import TransactionStatus
from psycopg.types.datetime import TimestamptzLoader
from psycopg.types.json import set_json_dumps, set_json_loads
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from haier_pipeline.catalog.premises import POOLED, look_at_rights, look_at_server, look_for_pooler
from haier_pipeline.errors import CatalogError, DatabaseUnavailable, InvalidInput

T = TypeVar("T")

logger = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = "0009"

REPLAYS = 3
RECONNECT_SECONDS = 30.0
# How long a statement waits for a lock, where no setting says otherwise, and after how many
# seconds the holder is logged.
LOCK_SECONDS = 300.0
LOG_HOLDER_SECONDS = 5.0

# Of our own name, since a shop may keep its version in alembic's usual one.
VERSION_TABLE = "haier_schema_version"

# What a session of ours is like, whatever the operator's server, database or role is set to. What
# this server does not know is left out.
SESSION = {
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}

# Failures after which the same transaction may well succeed: serialisation, deadlock.
_REPLAYABLE_STATES = ("40001", "40P01")
# Another session holds what a statement needs, longer than it was to be waited for.
_LOCK_TIMEOUT = "55P03"
# The server goes down, is down, or comes up.
_RESTART_STATES = ("57P01", "57P02", "57P03", "08000", "08003", "08006", "08001")


def parse_url(address: str) -> URL:
    """Any spelling of a PostgreSQL URL, as one that SQLAlchemy opens with psycopg 3.

    Raises:
        InvalidInput: it is no PostgreSQL URL; the message does not repeat it, since it may hold a
            password.
    """
    try:
        url = make_url(address)
    # The latter where the port is no number.
    except (ArgumentError, ValueError):
        raise InvalidInput(
            "HAIER_DATABASE_URL is not a URL; write postgresql://user:password@host/database"
        ) from None
    if url.drivername.split("+")[0] not in ("postgresql", "postgres"):
        raise InvalidInput(
            f"HAIER_DATABASE_URL says {url.drivername}; the catalog needs PostgreSQL: "
            "postgresql://user:password@host/database"
        )
    if "@" in (url.host or "") or any(mark in (url.username or "") for mark in "/?#"):
        # A part of the password would be taken, and shown, for the host or the user.
        raise InvalidInput(
            "HAIER_DATABASE_URL cannot be read: the password holds an @, / or the like; "
            "write it encoded, @ as %40, / as %2F"
        )
    return url.set(drivername="postgresql+psycopg")


def dump_json(value: object) -> str:
    """JSON with every ``Decimal`` written as the number it is."""
    return str(simplejson.dumps(value, use_decimal=True, ensure_ascii=False))


def load_json(value: str | bytes) -> object:
    """JSON with every fraction read as ``Decimal``: an amount is never a float."""
    loaded: object = simplejson.loads(value, use_decimal=True)
    return loaded


def open_engine(
    url: URL | str, *, lock_seconds: float = LOCK_SECONDS, patience: float | None = None
) -> Engine:
    """An engine on the catalog. Connects at first use, not here.

    ``lock_seconds``: how long a statement waits for what another session holds. ``patience``: how
    many seconds a transaction waits for a server that is away, 30 by default.
    """
    engine = create_engine(
        parse_url(url) if isinstance(url, str) else url,
        # As many as REST serves at a time; a sync has hardly more than two open.
        pool_size=16,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 10,
            "application_name": "haier-pipeline",
            "client_encoding": "UTF8",
        },
        json_serializer=dump_json,
        # Whatever the operator's default is: what waits for a lock must see what it waited for.
        isolation_level="READ COMMITTED",
        execution_options={"patience": patience},
    )
    settings = SESSION | {"lock_timeout": f"{round(lock_seconds * 1000)}ms"}
    prepared = ", ".join(f"('{name}', '{value}')" for name, value in settings.items())

    @event.listens_for(engine, "connect")
    def prepare(
        connection: psycopg.Connection[tuple[object, ...]], record: ConnectionPoolEntry
    ) -> None:
        record.info["pool"] = engine.pool
        connection.adapters.register_loader("timestamptz", _BoundedTime)
        # psycopg decodes json itself; with our functions numbers stay exact in both directions.
        set_json_dumps(dump_json, connection)
        set_json_loads(load_json, connection)
        autocommit = connection.autocommit
        connection.autocommit = True
        connection.execute(
            "SELECT set_config(name, value, false)"
            f" FROM (VALUES {prepared}) AS wanted (name, value)"
            " WHERE current_setting(name, true) IS NOT NULL".encode()
        )
        # The locks of a client that is killed in the middle of a statement are free within seconds.
        # A server whose system cannot watch a socket refuses the setting, and it takes longer.
        with suppress(psycopg.Error):
            connection.execute("SET client_connection_check_interval = '1s'")
        connection.autocommit = autocommit

    @event.listens_for(engine, "checkin")
    def close_late(_: object, record: ConnectionPoolEntry) -> None:
        # The engine was disposed while a thread used this connection: it would go back to a pool
        # that nobody looks into any more, and stay open.
        if record.info.get("pool") is not engine.pool:
            record.invalidate()

    return engine


class _BoundedTime(TimestamptzLoader):
    """PostgreSQL's times reach further than Python's: one beyond is read as the last one there is,
    so that nobody loses the rows beside it."""

    def load(self, data: Buffer) -> datetime:
        try:
            return super().load(data)
        except psycopg.DataError:
            written = bytes(data)
            is_early = written.startswith(b"-") or written.endswith(b"BC")
            if is_early:
                return datetime.min.replace(tzinfo=UTC)
            return datetime.max.replace(tzinfo=UTC)


def upgrade(engine: Engine, *, may_migrate: bool = True) -> None:
    """Look at the database, and bring the tables to the newest migration; quick where they are
    there already.

    Where the tables are of a newer version that lets this one use them, they stay as they are.

    Raises:
        DatabaseUnavailable: no connection.
        CatalogError: the database cannot carry a catalog, belongs to a newer version of this
            program, or refuses; or it is to be upgraded and ``may_migrate`` is false.
    """
    # At a start nobody waits for an address that may be wrong.
    starting = engine.execution_options(patience=0.0)
    with translated(engine):
        look_for_pooler(starting)
        found = transaction(starting, lambda connection: _look_at(connection, may_migrate))
        if found == HEAD or (found is not None and found not in _known()):
            return
        if not may_migrate:
            raise CatalogError(
                f"the tables are at migration {found or 'none'}, this version needs {HEAD}, and"
                " HAIER_AUTO_UPGRADE is 0: run `haier db upgrade` once, then start this again"
            )
        _run_migrations(engine)


def _look_at(connection: Connection, may_migrate: bool) -> str | None:
    """The migration that the tables are at, of a database that may be used."""
    look_at_server(connection)
    found = version(connection)
    if found is not None and not may_use(connection, found):
        raise CatalogError(
            f"the database was made by a newer version of this program (migration {found}); "
            "install that version, or name another database in HAIER_DATABASE_URL"
        )
    if may_migrate and found != HEAD and (found is None or found in _known()):
        look_at_rights(connection)
    return found


def may_use(connection: Connection, found: str) -> bool:
    """Whether this program may work on tables that are at ``found``, or make them its own.

    Migrations only add, so that an older program goes on beside a newer one; which is the oldest
    that may, the newer one has written down.
    """
    if found in _known():
        return True
    return connection.scalar(text("SELECT oldest_program FROM haier_database")) in _known()


def _known() -> set[str]:
    return {path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py")}


def version(connection: Connection) -> str | None:
    """The migration that the tables are at; ``None`` where there are no tables of ours."""
    if _has(connection, VERSION_TABLE):
        found: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
        return found
    return _earlier_version(connection)


def _earlier_version(connection: Connection) -> str | None:
    """What a program wrote that kept its version in ``alembic_version``, as others do.

    It is believed only beside tables of ours: the shop's own may have a migration of that name.
    """
    if not (_has(connection, "raw_partition") and _has(connection, "haier_sync_log")):
        return None
    if _has(connection, "alembic_version"):
        ours = connection.scalar(
            text("SELECT max(version_num) FROM alembic_version WHERE version_num = ANY(:known)"),
            {"known": sorted(_known())},
        )
        if ours is not None:
            return str(ours)
    # The shop's own alembic has written over it: the tables show the version.
    return "0002" if _has(connection, "idempotency_key") else "0001"


def _has(connection: Connection, table: str) -> bool:
    return connection.scalar(text("SELECT to_regclass(:name)"), {"name": table}) is not None


def _run_migrations(engine: Engine) -> None:
    # Imported here: alembic takes a third of a second that most starts need not spend.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")

    def work(connection: Connection) -> None:
        # Two processes may meet here at their first start; the second finds the work done.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('haier migrations'))"))
        _take_over(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    transaction(engine, work)


def _take_over(connection: Connection) -> None:
    """Move our version out of ``alembic_version``, once; what is not ours stays there."""
    if _has(connection, VERSION_TABLE):
        return
    found = _earlier_version(connection)
    if found is None:
        return
    connection.execute(
        text(
            f"CREATE TABLE {VERSION_TABLE} (version_num varchar(32) NOT NULL,"
            f" CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num))"
        )
    )
    connection.execute(text(f"INSERT INTO {VERSION_TABLE} VALUES (:found)"), {"found": found})
    if not _has(connection, "alembic_version"):
        return
    taken = connection.execute(
        text("DELETE FROM alembic_version WHERE version_num = :found"), {"found": found}
    )
    if taken.rowcount and not connection.scalar(text("SELECT count(*) FROM alembic_version")):
        connection.execute(text("DROP TABLE alembic_version"))


def transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run ``work`` in one transaction; replay the whole of it after a deadlock or a lost server.

    ``work`` may therefore run several times and must not keep anything between two runs. A server
    that restarts is waited for up to 30 seconds (fault matrix, rows 38 and 40). Whoever holds what
    the work waits for is named in the program's log after some seconds.

    Raises:
        DatabaseUnavailable: the server stayed away.
        CatalogError: the database refused, or another session held for too long what the work
            needs; nothing was committed.
    """
    deadline = time.monotonic() + _patience(engine)
    replays = 0
    with translated(engine):
        while True:
            driver: psycopg.Connection[Any] | None = None
            watch: Watch | None = None
            try:
                with engine.begin() as connection:
                    driver = connection.connection.driver_connection
                    with Watch(engine, driver) as watch:
                        return work(connection)
            # COPY speaks with the driver itself, whose errors come as they are.
            except (DBAPIError, psycopg.Error) as error:
                _raise_interrupt(error)
                state = _state(error)
                if state in _REPLAYABLE_STATES and replays < REPLAYS:
                    replays += 1
                    continue
                if state == _LOCK_TIMEOUT:
                    raise CatalogError(_waited(watch)) from error
                is_away = _is_away(error) or (driver is not None and driver.broken)
                if not is_away:
                    raise
                if time.monotonic() > deadline:
                    raise _away(error, engine.url) from error
                engine.dispose()
                time.sleep(0.5)


def patiently(engine: Engine, attempt: Callable[[], T]) -> T:
    """Do what needs a connection, and repeat it while the server is away, as ``transaction`` does.

    Errors stay the driver's own; ``attempt`` may run several times.
    """
    deadline = time.monotonic() + _patience(engine)
    while True:
        try:
            return attempt()
        except DBAPIError as error:
            _raise_interrupt(error)
            if not _is_away(error) or time.monotonic() > deadline:
                raise
            engine.dispose()
            time.sleep(0.5)


def _patience(engine: Engine) -> float:
    wanted = engine.get_execution_options().get("patience")
    return RECONNECT_SECONDS if wanted is None else float(wanted)


def _waited(watch: "Watch | None") -> str:
    holder = watch.holder if watch is not None and watch.holder else "another session"
    return (
        f"gave up waiting for what {holder} holds in the database; "
        "end that session or wait for it, then start this again"
    )


class Watch:
    """Logs, while a transaction waits for a lock, who holds it.

    ``holder`` is in words who did last. It looks on a connection of its own, after some seconds
    and again and again; most transactions have ended by then.
    """

    def __init__(self, engine: Engine, driver: "psycopg.Connection[Any] | None") -> None:
        self._engine = engine
        self._pid = driver.info.backend_pid if driver is not None else 0
        self._ended = threading.Event()
        self.holder: str | None = None

    def __enter__(self) -> "Watch":
        threading.Thread(target=self._look, daemon=True, name="haier lock watch").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _look(self) -> None:
        logged: str | None = None
        while not self._ended.wait(LOG_HOLDER_SECONDS):
            # Where the server is away there is nothing to say; the transaction itself will.
            with suppress(SQLAlchemyError, psycopg.Error):
                self.holder = _holder(self._engine, self._pid) or self.holder
            if self.holder != logged and not self._ended.is_set():
                logged = self.holder
                logger.warning("the database work waits for what %s holds", logged)


class InUse:
    """The connections of an engine that are in use from now on, to break off what they wait for.

    Python's threads cannot be interrupted; what the server does for them can.
    """

    def __init__(self, engine: Engine) -> None:
        self._drivers: set[psycopg.Connection[Any]] = set()
        event.listen(engine, "checkout", lambda driver, *_: self._drivers.add(driver))
        event.listen(engine, "checkin", lambda driver, *_: self._drivers.discard(driver))

    def cancel(self) -> None:
        """Break off every statement at work."""
        for driver in tuple(self._drivers):
            if driver.info.transaction_status == TransactionStatus.ACTIVE:
                with suppress(psycopg.Error):
                    driver.cancel_safe(timeout=2.0)


_BLOCKERS = """
SELECT b.pid, a.application_name, a.usename, a.state,
    extract(epoch FROM clock_timestamp() - a.xact_start)::bigint AS seconds
FROM unnest(pg_blocking_pids(:pid)) AS b(pid) LEFT JOIN pg_stat_activity a USING (pid)
ORDER BY a.xact_start NULLS LAST, b.pid LIMIT 1
"""


def _holder(engine: Engine, pid: int) -> str | None:
    """Who keeps the session ``pid`` waiting, in words; ``None`` where nobody does."""
    reading = engine.execution_options(isolation_level="AUTOCOMMIT")
    with reading.connect() as connection:
        row = connection.execute(text(_BLOCKERS), {"pid": pid}).one_or_none()
    if row is None:
        return None
    if not row.pid:
        return "a prepared transaction (see pg_prepared_xacts)"
    words = f"process {row.pid} ({row.application_name or 'no application_name'}"
    words += f", user {row.usename}" if row.usename else ""
    words += f", {row.state}" if row.state else ""
    words += f", its transaction is {row.seconds} s old" if row.seconds is not None else ""
    return f"{words})"


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Turn every error of the driver into a ``CatalogError`` with one sentence."""
    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as error:
        _raise_interrupt(error)
        raise _translate(error, engine.url) from error


def _raise_interrupt(error: BaseException) -> None:
    """Raise the Ctrl-C, or the termination of the run, that the error was caused by.

    An interrupt in the middle of a statement makes the driver fail while it cleans up, and the
    driver's error replaces the interrupt: the run would go on.
    """
    cause: BaseException | None = error
    while cause is not None:
        if not isinstance(cause, Exception | GeneratorExit):
            raise cause
        cause = cause.__context__


def _translate(error: SQLAlchemyError | psycopg.Error, url: URL) -> CatalogError:
    cause = getattr(error, "orig", None) or error
    state = _state(error)
    reason = _first_line(cause)
    if _is_login(error):
        return DatabaseUnavailable(
            f"the database refuses the login of {url.username}: {reason}; check HAIER_DATABASE_URL"
        )
    if "unsupported startup parameter" in reason or "transaction blocks not allowed" in reason:
        return CatalogError(POOLED)
    if _is_away(error):
        return _away(error, url)
    if isinstance(error, PoolTimeout):
        return DatabaseUnavailable(
            "all connections of this process to the database are busy; ask again in a moment"
        )
    if state == _LOCK_TIMEOUT:
        return CatalogError(_waited(None))
    if state == "25006":
        return CatalogError(
            f"the database can only be read: {reason}; name one that can be written "
            "in HAIER_DATABASE_URL"
        )
    if state in ("53100", "53200"):
        return CatalogError(
            f"the database has run out of room: {reason}; free some and start the sync again"
        )
    return CatalogError(f"the database refused: {reason}")


def _away(error: BaseException, url: URL) -> DatabaseUnavailable:
    reason = _first_line(getattr(error, "orig", None) or error)
    where = url.query.get("host") or f"{url.host}:{url.port or 5432}"
    return DatabaseUnavailable(
        f"the database at {where} cannot be reached: {reason}; "
        "check that it runs and that HAIER_DATABASE_URL is right"
    )


def _is_login(error: BaseException) -> bool:
    reason = str(error)
    return (_state(error) or "").startswith("28") or (
        "authentication failed" in reason or "no pg_hba.conf entry" in reason
    )


def _is_away(error: BaseException) -> bool:
    """Whether the server left in mid-work, or is not there (yet)."""
    if getattr(error, "connection_invalidated", False) or _state(error) in _RESTART_STATES:
        return True
    # An error without a code of the server's is about the connection, unless a statement failed:
    # then the driver refuses its parameters, and waiting does not help.
    is_connecting = isinstance(error, DBAPIError) and error.statement is None
    silent = isinstance(getattr(error, "orig", None), psycopg.OperationalError)
    return is_connecting and silent and _state(error) is None and not _is_login(error)


def _state(error: BaseException) -> str | None:
    return getattr(getattr(error, "orig", error), "sqlstate", None)


def _first_line(error: BaseException) -> str:
    diagnosis = getattr(error, "diag", None)
    primary = getattr(diagnosis, "message_primary", None)
    lines = (primary or str(error) or type(error).__name__).strip().splitlines()
    return lines[0] if lines else type(error).__name__
