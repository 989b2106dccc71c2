"""Runs ``haier sync`` as a child process and measures it from outside.

Seconds, memory, the sandbox's count of calls, the rows of the sync log and PostgreSQL's statistics
are read here. Which work is measured, and what is asked of it, is in ``cases``.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.server.postgres import EmbeddedPostgres

SYNC = ("-m", "haier_pipeline.cli", "sync", "--json")
COUNTY = "110101"


@dataclass(frozen=True)
class Run:
    """One finished command. ``seconds`` from its start to its end, ``peak_mb`` its own memory.

    ``report`` is what the sandbox counted since it was last reset, ``phases`` the seconds that each
    part of the command took, ``metadata`` what the log keeps of each asset.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    report: Mapping[str, Any]
    phases: Mapping[str, float]
    metadata: Mapping[str, Mapping[str, Any]]

    @property
    def calls(self) -> int:
        return int(self.report["total"])

    @property
    def call_seconds(self) -> float:
        """From the first call to the last, as they reached the platform."""
        return float(self.report["seconds"])

    @property
    def load_seconds(self) -> float:
        """Of the load's transaction, by its own clock."""
        return float(self.metadata["products"]["seconds"])

    @property
    def rate(self) -> float:
        """Calls a second from the first to the last."""
        return self.calls / self.call_seconds


class Command:
    """A command that runs: wait for it, or kill it; at the end of the block it is gone."""

    def __init__(self, arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the command
        self.complaints = tempfile.TemporaryFile()  # noqa: SIM115
        self.began_at = time.time()
        self._began = time.monotonic()
        self._child = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.complaints,
            env=environment,
        )

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.output.close()
        self.complaints.close()

    def kill(self) -> None:
        """As the system does when memory runs out: no handler, no last word."""
        if self._child.returncode is None:
            self._child.kill()
            self._child.wait()

    @property
    def is_running(self) -> bool:
        return self._child.poll() is None

    def wait(self) -> tuple[float, float, float]:
        """Seconds, seconds of processor time and peak memory in MB, once it has ended well."""
        # The figures of this child alone: those of all children together would hide a small one.
        _, status, used = os.wait4(self._child.pid, 0)
        seconds = time.monotonic() - self._began
        self._child.returncode = os.waitstatus_to_exitcode(status)
        if self._child.returncode != 0:
            self.complaints.seek(0)
            output = self.complaints.read().decode(errors="replace")[-2_000:]
            raise SystemExit(f"the command ended with {self._child.returncode}: {output}")
        return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


@contextmanager
def new_home() -> Iterator[Path]:
    """A ``HAIER_HOME`` with nothing in it, removed afterwards with the server that ran there."""
    home = Path(tempfile.mkdtemp(prefix="haier-benchmark-"))
    # Started by root, the server runs as another user, who has to get in here.
    home.chmod(0o755)
    try:
        yield home
    finally:
        # A killed command cannot stop its server; the last one to leave does.
        with EmbeddedPostgres(home):
            pass
        shutil.rmtree(home)


def environment(home: Path, sandbox: SandboxProcess, rate_limit: int = 100) -> dict[str, str]:
    """The variables of a dealer at the sandbox, and none that this shell happens to have."""
    foreign = ("HAIER_", "DAGSTER_")
    variables = {name: text for name, text in os.environ.items() if not name.startswith(foreign)}
    dealer = {f"HAIER_{key.upper()}": value for key, value in CREDENTIALS.items()}
    return variables | dealer | {
        "HAIER_HOME": str(home),
        "HAIER_ALLOWED_HOSTS": "127.0.0.1",
        "HAIER_BASE_URL": sandbox.url,
        "HAIER_TOKEN_URL": f"{sandbox.url}/oauth2/auth",
        "HAIER_COUNTY_CODES": COUNTY,
        "HAIER_RATE_LIMIT": str(rate_limit),
    }  # fmt: skip


def sync(
    home: Path, sandbox: SandboxProcess, *options: str, rate_limit: int = 100, reset: bool = True
) -> Run:
    """Run ``haier sync`` to its end; the sandbox forgets the calls before it unless told not to."""
    if reset:
        sandbox.reset()
    with Command((*SYNC, *options), environment(home, sandbox, rate_limit)) as command:
        seconds, cpu_seconds, peak_mb = command.wait()
        command.output.seek(0)
        run_id = json.load(command.output)["runs"][0]["run_id"]
        began, ended = command.began_at, command.began_at + seconds
    log = query(
        home,
        "SELECT asset_key, extract(epoch FROM started_at)::float8 AS began,"
        " extract(epoch FROM completed_at)::float8 AS ended, metadata"
        " FROM haier_sync_log WHERE run_id = %s ORDER BY id",
        run_id,
    )
    return Run(
        seconds,
        cpu_seconds,
        peak_mb,
        sandbox.report(),
        _phases(log, began, ended),
        {row["asset_key"]: row["metadata"] for row in log},
    )


def query(home: Path, statement: LiteralString, *values: object) -> list[dict[str, Any]]:
    """Rows from the database in ``home``, whose server runs only meanwhile."""
    with (
        EmbeddedPostgres(home) as server,
        psycopg.connect(server.libpq_url, row_factory=psycopg.rows.dict_row) as connection,
    ):
        return connection.execute(statement, values).fetchall()


def _phases(log: list[dict[str, Any]], began: float, ended: float) -> dict[str, float]:
    """Where the seconds went, in order: start-up, each step, what lies between them, the end."""
    phases: dict[str, float] = {"start-up": log[0]["began"] - began}
    between = 0.0
    reached = log[0]["began"]
    for row in log:
        # The three tables are loaded together: one phase.
        name = "load" if row["asset_key"] in ("brands", "products", "product_stock") else None
        between += max(0.0, row["began"] - reached)
        if name not in phases:
            phases[name or row["asset_key"]] = row["ended"] - row["began"]
        reached = max(reached, row["ended"])
    return phases | {"between": between, "end": ended - reached}
