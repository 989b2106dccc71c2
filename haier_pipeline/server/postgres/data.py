"""The server's folders: where they lie, what is written into them, and what its logs say."""

import errno
import os
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from haier_pipeline.errors import DatabaseUnavailable
from haier_pipeline.server.files import owner_name, write_whole
from haier_pipeline.server.postgres.accounts import Account, may, version

ROLE = "haier"
PORT = 5432
"""No port is opened; the number is part of the socket's name."""

SOCKET_BYTES = 103 - len(f"/.s.PGSQL.{PORT}")
"""How long the path of the socket's folder may be."""

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


def socket_folder(place: Path) -> Path:
    """Where the socket is: in ``place``, or in /tmp where its path would be too long."""
    link = place / "socket"
    return link.readlink() if link.is_symlink() else link


def make_socket_folder(place: Path, account: Account) -> None:
    """Make it, and trust only one that nobody else could have made; with the gate held."""
    link = place / "socket"
    with suppress(FileNotFoundError):
        found = socket_folder(place).lstat()
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid in (account.uid, os.geteuid())
        if is_ours and found.st_mode & 0o077 == 0:
            if found.st_uid != account.uid:
                os.chown(socket_folder(place), account.uid, account.gid)
            return
        if not link.is_symlink():
            raise DatabaseUnavailable(f"The socket folder {link} is not as it was made: remove it.")
    # Left over where the folder in /tmp was cleared away, or taken by somebody else since.
    link.unlink(missing_ok=True)
    fits = len(os.fsencode(link)) <= SOCKET_BYTES
    if fits and (not account.other or may(account, 'cd "$1"', place)):
        link.mkdir(mode=0o700)
        link.chmod(0o700)
    else:
        link.symlink_to(tempfile.mkdtemp(prefix="haier-", dir="/tmp"))
    if account.other:
        os.chown(socket_folder(place), account.uid, account.gid)


def base_folder(place: Path, elsewhere: Path, account: Account) -> Path:
    """The folder of configuration and data: ``place`` in home, unless the server's user is kept out
    of it; then ``elsewhere``."""
    reachable = not account.other or may(account, 'cd "$1"', place)
    if (place / "data").exists():
        if not reachable:
            raise DatabaseUnavailable(
                f"The user {owner_name(account.uid)}, as which the server runs, cannot enter "
                f"{place}, where the data lies: a parent folder is closed to it."
            )
        return place
    if reachable and not (account.other and (elsewhere / "data").exists()):
        return place
    for folder in (elsewhere.parent, elsewhere):
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            folder.chmod(0o755)
    return elsewhere


def configure(base: Path, account: Account) -> None:
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


def check_version(data: Path) -> None:
    found = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    ours = version().split(".")[0]
    if found != ours:
        raise DatabaseUnavailable(
            f"The data in {data} was made by PostgreSQL {found}, this program brings {ours}: dump "
            f"it with PostgreSQL {found} (pg_dump), move the folder away, start again and restore; "
            "or run the old version yourself and set HAIER_DATABASE_URL."
        )


def initialise(base: Path, pginstall: Path, account: Account) -> None:
    """Make the data folder: under another name first, so that a killed start leaves no half one."""
    for left in base.glob("data.new-*"):
        shutil.rmtree(left, ignore_errors=True)
    half = Path(tempfile.mkdtemp(prefix="data.new-", dir=base))
    try:
        if account.other:
            os.chown(half, account.uid, account.gid)
        done = account.run([str(pginstall / "bin" / "initdb"), "-D", str(half), *INITDB])
        if done.returncode:
            raise OSError(errno.EIO, complaints(done.stdout), str(base))
        half.rename(base / "data")
    finally:
        shutil.rmtree(half, ignore_errors=True)


def stale_pid(data: Path) -> dict[str, str]:
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


def last_words(data: Path) -> str:
    """What the server's log says about its end, in one line."""
    early = data / "log" / "start.log"
    logs = {path: path.stat().st_mtime for path in (data / "log").glob("postgresql-*.log")}
    with suppress(FileNotFoundError):
        # Its first words go to this file, until it opens the log proper and says so.
        if "redirecting log output" not in early.read_text(encoding="utf-8", errors="replace"):
            logs = {early: 0.0}
    if logs:
        log = max(logs, key=lambda path: logs[path])
        words = complaints(log.read_text(encoding="utf-8", errors="replace")[-8000:])
        return f"{words} (log: {log})"
    return "it ended without a word."


def complaints(text: str) -> str:
    """The last lines of an output that say what went wrong, without time and process id."""
    marks = ("FATAL:", "PANIC:", "ERROR:", "HINT:", "error:", "invalid", "could not", "No space")
    lines = [re.sub(r"^\d{4}-.*? \[\d+\] ", "", line).strip() for line in text.splitlines()]
    telling = [line for line in lines if any(mark in line for mark in marks)]
    return "; ".join((telling or lines)[-3:])
