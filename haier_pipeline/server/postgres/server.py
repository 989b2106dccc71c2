"""The server's processes: started, joined, asked, and stopped by their last user."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
import threading
import time
import urllib.parse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from haier_pipeline.errors import CatalogError, DatabaseUnavailable
from haier_pipeline.server.files import owner_name, private_folder, private_home
from haier_pipeline.server.postgres.accounts import (
    ROOTS_PLACE,
    Account,
    reachable_wheel,
    server_account,
    wheel,
)
from haier_pipeline.server.postgres.data import (
    PORT,
    ROLE,
    base_folder,
    check_version,
    complaints,
    configure,
    initialise,
    last_words,
    make_socket_folder,
    socket_folder,
    stale_pid,
)
from haier_pipeline.server.postgres.ownership import POLL, closing, gate, open_lock, share, take

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

DATABASE = "haier"

SILENCE = 15.0
"""Seconds that a server may be alive and say nothing, as after ``kill -9`` of its first process."""
RECOVERY = 300.0
"""Seconds that it may say "the database system is starting up"."""
SHUTDOWN = 60.0

WAITABLE = ("starting up", "shutting down", "recovery", "not yet accepting", "too many clients")
"""Refusals of a server that lives and will soon, or may, let us in."""


class EmbeddedPostgres:
    """One user of the server in ``home``; as many as you like, in any number of processes.

    Starting and stopping one object twice does no harm, but does not count either: whoever needs
    the server for a time of its own makes an object of its own.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.expanduser().absolute()
        self._place = self.home / "postgres"
        self._key = hashlib.sha256(os.fsencode(self.home.resolve())).hexdigest()[:16]
        self._lock: int | None = None
        self._lock_of = 0
        self._mutex = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def url(self, driver: str = "psycopg") -> str:
        """The database for SQLAlchemy, with ``psycopg`` or ``psycopg2``."""
        return self.libpq_url.replace("postgresql:", f"postgresql+{driver}:", 1)

    @property
    def libpq_url(self) -> str:
        """The database for psql and other clients of libpq."""
        folder = urllib.parse.quote(str(self._socket_folder))
        return f"postgresql://{ROLE}@/{DATABASE}?host={folder}&port={PORT}"

    @property
    def _socket_folder(self) -> Path:
        return socket_folder(self._place)

    @property
    def psql(self) -> Path:
        """The command line client that came with the binaries."""
        return wheel() / "bin" / "psql"

    def start(self) -> None:
        """Start the server, or join the one that runs; returns once it answers.

        Raises :class:`DatabaseUnavailable` with the folder and the cause.
        """
        if sys.platform == "win32":
            raise DatabaseUnavailable(
                "There is no embedded PostgreSQL on Windows: set HAIER_DATABASE_URL to a server."
            )
        with self._mutex:
            if self._lock is not None and self._lock_of == os.getpid():
                return
            try:
                self._make_place()
                with gate(self._place):
                    self._lock = open_lock(self._place / "users.lock")
                    self._lock_of = os.getpid()
                    share(self._lock)
                    try:
                        self._join_or_launch()
                    except BaseException:
                        self._leave(patience=2.0)
                        raise
            except OSError as error:
                raise self._unavailable(error) from error

    def stop(self) -> None:
        """Leave. The last user stops the server and waits for its end.

        Raises :class:`DatabaseUnavailable` where the folder has gone in the meantime.
        """
        with self._mutex:
            if self._lock is None:
                return
            if self._lock_of != os.getpid():
                # A forked copy: the lock is the parent's, who still uses it.
                os.close(self._lock)
                self._lock = None
                return
            try:
                with gate(self._place):
                    self._leave(patience=SILENCE)
            except OSError as error:
                raise self._unavailable(error) from error
            finally:
                if self._lock is not None:
                    os.close(self._lock)
                    self._lock = None

    # -- start ---------------------------------------------------------------------------------

    def _make_place(self) -> None:
        """Make home and what we need in it, and refuse what is not ours."""
        if self.home.is_dir() and (uid := self.home.stat().st_uid) != os.geteuid():
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL in {self.home} belongs to the user {owner_name(uid)}: "
                "run as that user, set HAIER_HOME to a folder of yours, or set HAIER_DATABASE_URL."
            )
        try:
            private_home(self.home)
            # Root's server is another user, who has to pass through to its data.
            group = server_account().gid if os.geteuid() == 0 else None
            for folder in (
                (self.home.resolve(), self._place) if group is not None else (self._place,)
            ):
                private_folder(folder, passing_group=group)
        except DatabaseUnavailable:
            raise
        except CatalogError as error:
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL cannot use {self.home} (HAIER_HOME): {error}"
            ) from error

    def _join_or_launch(self) -> None:
        """Until the server answers: wait while one is alive, launch one where none is."""
        account = server_account()
        make_socket_folder(self._place, account)
        data: Path | None = None
        began = heard = time.monotonic()
        while True:
            refusal = self._ask()
            if refusal is None:
                return
            now = time.monotonic()
            if "FATAL:" in refusal:
                if not any(words in refusal for words in WAITABLE):
                    raise DatabaseUnavailable(
                        f"The embedded PostgreSQL in {self.home} refuses: {refusal}."
                    )
                heard = now
            if now - heard > SILENCE or now - began > RECOVERY:
                raise DatabaseUnavailable(
                    f"A PostgreSQL server in {self.home} is alive but does not answer "
                    f"({refusal}); wait for its end, or end it by hand."
                )
            with closing(open_lock(self._place / "server.lock")) as lock:
                if take(lock):
                    if data is None:
                        data = self._launch(account, lock)
                        heard = time.monotonic()
                        continue
                    cause = last_words(data)
                    if "shared memory block" not in cause or now - began > SILENCE:
                        raise DatabaseUnavailable(
                            f"The embedded PostgreSQL in {data} did not start: {cause}"
                        )
                    # Somebody else's server on our data is just ending.
                    time.sleep(0.2)
                    data = self._launch(account, lock)
                    heard = time.monotonic()
            time.sleep(POLL)

    def _ask(self) -> str | None:
        """None once the server answers and has our database, else why it does not."""
        try:
            with contextlib.closing(self._connect()) as connection:
                found = connection.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]
                ).fetchone()
                if found is None:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.Error as error:
            # Without a code the connection failed; 57P01 to 57P03 say that the server is ending.
            if error.sqlstate is None or error.sqlstate.startswith("57P"):
                return (str(error).strip() or repr(error)).splitlines()[0]
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL in {self.home} cannot be used: {str(error).strip()}"
            ) from error
        return None

    def _connect(self) -> psycopg.Connection:
        """A connection to the database that every server has."""
        return psycopg.connect(
            host=str(self._socket_folder),
            port=PORT,
            user=ROLE,
            dbname="postgres",
            connect_timeout=5,
            autocommit=True,
        )

    def _launch(self, account: Account, lock: int) -> Path:
        """Start the server's processes, which inherit ``lock``; the data folder."""
        base = base_folder(self._place, ROOTS_PLACE / self._key, account)
        pginstall = reachable_wheel(account)
        data = base / "data"
        if (data / "PG_VERSION").exists():
            check_version(data)
        else:
            initialise(base, pginstall, account)
        configure(base, account)
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (self._socket_folder / name).unlink(missing_ok=True)
        done = account.run(
            # Through a shell that ends at once, so that the server is nobody's child: a dead child
            # that its parent has not waited for would look alive to the next server.
            [
                "/bin/sh",
                "-ec",
                'mkdir -p "$1"; log="$1/start.log"; : >"$log"; shift; "$@" >"$log" 2>&1 &',
            ]
            + ["sh", str(data / "log"), str(pginstall / "bin" / "postgres"), "-D", str(data)]
            + [
                argument
                for name, value in {
                    "config_file": base / "postgresql.conf",
                    "hba_file": base / "pg_hba.conf",
                    "ident_file": base / "pg_ident.conf",
                    "unix_socket_directories": self._socket_folder,
                    "port": PORT,
                }.items()
                for argument in ("-c", f"{name}={value}")
            ],
            env=stale_pid(data),
            keep=(lock,),
        )
        if done.returncode:
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL in {data} did not start: {complaints(done.stdout)}"
            )
        return data

    # -- stop ----------------------------------------------------------------------------------

    def _leave(self, patience: float) -> None:
        """Be a user no more; with the gate held."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        try:
            if take(lock):
                self._stop_server(patience)
        finally:
            os.close(lock)

    def _stop_server(self, patience: float) -> None:
        """Ask the server for a fast end and wait until every process of it is gone.

        One that does not let us in within ``patience`` seconds is left alone: the next last user
        will stop it.
        """
        end = time.monotonic() + patience
        asked = False
        with closing(os.open(self._place / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)) as lock:
            while not take(lock) and time.monotonic() < end:
                if not asked and self._signal():
                    asked = True
                    end = time.monotonic() + SHUTDOWN
                time.sleep(POLL)
        # Left as it is where a killed server's socket is in it.
        with suppress(OSError):
            self._socket_folder.rmdir()
            (self._place / "socket").unlink(missing_ok=True)

    def _signal(self) -> bool:
        """Send the server that answers on our socket the signal for a fast end.

        The process id is what that server itself reads in its own folder, and the connection stays
        open meanwhile: a number from a stale file never gets a signal.
        """
        try:
            with contextlib.closing(self._connect()) as connection:
                row = connection.execute(
                    "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int"
                ).fetchone()
                if row is None:
                    return False
                os.kill(row[0], signal.SIGINT)
        except (psycopg.Error, ProcessLookupError):
            return False
        return True

    def _unavailable(self, error: OSError) -> DatabaseUnavailable:
        folder = error.filename or self.home
        return DatabaseUnavailable(
            f"The embedded PostgreSQL cannot use {folder} (HAIER_HOME is {self.home}): "
            f"{error.strerror or error}."
        )
