"""The connection to PostgreSQL: URLs, the engine, migrations, transactions that replay.

What is done inside a transaction belongs to its neighbours. Errors of the driver become
:class:`~haier_pipeline.errors.CatalogError` here and nowhere else.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psycopg
import simplejson
from psycopg.types.json import set_json_dumps, set_json_loads
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from haier_pipeline.errors import CatalogError, DatabaseUnavailable, InvalidInput

T = TypeVar("T")

MIGRATIONS = Path(__file__).parent / "migrations"
HEAD = "0002"

REPLAYS = 3
RECONNECT_SECONDS = 30.0

# Failures after which the same transaction may well succeed: serialisation, deadlock.
_REPLAYABLE_STATES = ("40001", "40P01")
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


def open_engine(url: URL | str) -> Engine:
    """An engine on the catalog. Connects at first use, not here."""
    engine = create_engine(
        parse_url(url) if isinstance(url, str) else url,
        # As many as REST serves at a time; a sync has hardly more than two open.
        pool_size=16,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 10, "application_name": "haier-pipeline"},
        json_serializer=dump_json,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: psycopg.Connection[tuple[object, ...]], _: object) -> None:
        # psycopg decodes json itself; with our functions numbers stay exact in both directions.
        set_json_dumps(dump_json, connection)
        set_json_loads(load_json, connection)
        autocommit = connection.autocommit
        connection.autocommit = True
        connection.execute("SET timezone = 'UTC'")
        # A killed client in the middle of a statement frees its locks within seconds; where the
        # server's system cannot watch a socket, PostgreSQL refuses and it only takes longer.
        with suppress(psycopg.Error):
            connection.execute("SET client_connection_check_interval = '1s'")
        connection.autocommit = autocommit

    return engine


def upgrade(engine: Engine) -> None:
    """Bring the tables to the newest migration; quick when they are there already.

    Raises:
        DatabaseUnavailable: no connection.
        CatalogError: the database belongs to a newer version of this program, or refuses.
    """
    with translated(engine):
        with engine.connect() as connection:
            found = None
            if connection.scalar(text("SELECT to_regclass('alembic_version')")) is not None:
                found = connection.scalar(text("SELECT version_num FROM alembic_version"))
        if found == HEAD:
            return
        known = {path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py")}
        if found is not None and found not in known:
            raise CatalogError(
                f"the database was made by a newer version of this program (migration {found}); "
                "install that version, or name another database in HAIER_DATABASE_URL"
            )
        _run_migrations(engine)


def _run_migrations(engine: Engine) -> None:
    # Imported here: alembic takes a third of a second that most starts need not spend.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        # Two processes may meet here at their first start; the second finds the work done.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('haier migrations'))"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    """Run ``work`` in one transaction; replay the whole of it after a deadlock or a lost server.

    ``work`` may therefore run several times and must not keep anything between two runs. A server
    that restarts is waited for up to 30 seconds (fault matrix, rows 38 and 40).

    Raises:
        DatabaseUnavailable: the server stayed away.
        CatalogError: the database refused; nothing was committed.
    """
    patience = time.monotonic() + RECONNECT_SECONDS
    replays = 0
    with translated(engine):
        while True:
            try:
                with engine.begin() as connection:
                    return work(connection)
            # COPY speaks with the driver itself, whose errors come as they are.
            except (DBAPIError, psycopg.Error) as error:
                _raise_interrupt(error)
                if _state(error) in _REPLAYABLE_STATES and replays < REPLAYS:
                    replays += 1
                    continue
                if not _is_away(error) or time.monotonic() > patience:
                    raise
                engine.dispose()
                time.sleep(0.5)


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Let no driver's error out: what leaves is a ``CatalogError`` with one sentence."""
    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as error:
        _raise_interrupt(error)
        raise _translate(error, engine.url) from error


def _raise_interrupt(error: BaseException) -> None:
    """Raise the Ctrl-C, or the word that the run was terminated, that the error stands in for.

    What comes in the middle of a statement makes the driver stumble while it cleans up, and its
    complaint takes the interrupt's place: the run would go on as if nothing had been said.
    """
    cause: BaseException | None = error
    while cause is not None:
        if not isinstance(cause, Exception | GeneratorExit):
            raise cause
        cause = cause.__context__


def _translate(error: SQLAlchemyError | psycopg.Error, url: URL) -> CatalogError:
    cause = getattr(error, "orig", None) or error
    state = _state(error)
    said = _first_line(cause)
    if _is_login(error):
        return DatabaseUnavailable(
            f"the database refuses the login of {url.username}: {said}; check HAIER_DATABASE_URL"
        )
    if _is_away(error):
        where = url.query.get("host") or f"{url.host}:{url.port or 5432}"
        return DatabaseUnavailable(
            f"the database at {where} cannot be reached: {said}; "
            "check that it runs and that HAIER_DATABASE_URL is right"
        )
    if state in ("53100", "53200"):
        return CatalogError(
            f"the database has run out of room: {said}; free some and start the sync again"
        )
    return CatalogError(f"the database refused: {said}")


def _is_login(error: BaseException) -> bool:
    return (_state(error) or "").startswith("28") or "authentication failed" in str(error)


def _is_away(error: BaseException) -> bool:
    """Whether the server left in mid-work, or is not there (yet)."""
    if getattr(error, "connection_invalidated", False) or _state(error) in _RESTART_STATES:
        return True
    # What no server said with a code was said by the driver, about the connection.
    cause = getattr(error, "orig", None) or error
    silent = isinstance(cause, psycopg.OperationalError) and _state(error) is None
    return silent and not _is_login(error)


def _state(error: BaseException) -> str | None:
    return getattr(getattr(error, "orig", error), "sqlstate", None)


def _first_line(error: BaseException) -> str:
    diagnosis = getattr(error, "diag", None)
    primary = getattr(diagnosis, "message_primary", None)
    lines = (primary or str(error) or type(error).__name__).strip().splitlines()
    return lines[0] if lines else type(error).__name__
