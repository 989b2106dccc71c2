"""An installation to look at: a past, ``haier dev`` over it, and what is in its database.

The past is fetched day by day through the steps of a sync, so Dagster knows nothing of it.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import time_machine

from haier_pipeline.catalog.database import open_engine
from haier_pipeline.domain.partition import SHANGHAI, Partition, today
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync import derive, fetch
from haier_pipeline.sync.dealers import ENVIRONMENT_DEALER, Dealers
from haier_pipeline.sync.run import SyncRun
from haier_pipeline_tests.browser.interface import PATIENCE_SECONDS

DAYS_STORED = 8
PRODUCTS_BEFORE = 20
PRODUCTS_TODAY = 30


@dataclass(frozen=True)
class Installation:
    """A running ``haier dev``, its database, and the platform that its dealer talks to."""

    url: str
    database_url: str
    platform: SandboxProcess

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return connection.execute(query.encode(), values).fetchall()


def store_past(database: str, platform: SandboxProcess, dealer: Mapping[str, str]) -> None:
    """Fetch each of the last days on that day, and load the last of them."""
    engine = open_engine(database)
    try:
        dealers = Dealers(
            engine, environment=dealer, allowed_hosts=("127.0.0.1",), secret_keys=(), sandbox=dict
        )
        days = past_days()
        for day in days:
            platform.set(date=str(day), products=PRODUCTS_BEFORE)
            ten = datetime(day.year, day.month, day.day, 10, tzinfo=SHANGHAI)
            with time_machine.travel(ten):
                run = SyncRun(
                    engine, dealers, Partition(ENVIRONMENT_DEALER, day), run_id=f"past {day}"
                )
                try:
                    ended = [
                        fetch.fetch_listing(run),
                        fetch.fetch_prices(run),
                        fetch.fetch_stock(run),
                    ]
                    if day == days[-1]:
                        ended += [derive.price_products(run), *derive.load_catalog(run).values()]
                finally:
                    run.close()
            assert {outcome.result.status for outcome in ended} == {"success"}
        platform.set(date=None, products=PRODUCTS_TODAY)
        platform.reset(tokens=True)
    finally:
        engine.dispose()


def past_days() -> list[date]:
    """The days whose answers are stored, the oldest first."""
    return [today() - timedelta(days=back) for back in range(DAYS_STORED, 0, -1)]


@contextmanager
def dev(environment: Mapping[str, str], folder: Path, port: int, api_port: int) -> Iterator[None]:
    """``haier dev`` for the time of a block; nothing of it is left afterwards."""
    command = [sys.executable, "-m", "haier_pipeline.cli", "dev"]
    command += [f"--port={port}", f"--api-port={api_port}"]
    # A file, since a pipe that nobody reads would stop the workers.
    with (
        (folder / "dev.log").open("wb") as output,
        subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE_SECONDS)
                wait_for(lambda: not processes_of(environment["HAIER_HOME"]))
            finally:
                for pid in processes_of(environment["HAIER_HOME"]):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


def processes_of(home: str) -> list[int]:
    """Every process that runs with this ``HAIER_HOME``."""
    mark = f"HAIER_HOME={home}\0".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def serves(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except (urllib.error.URLError, ConnectionError):
        return False


def wait_for(what: Callable[[], Any]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.2)
