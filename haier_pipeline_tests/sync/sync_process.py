"""A sync in a process of its own, which can be told where to die.

Run as ``sync_process.py`` with one argument, a JSON object: ``url`` of the database, ``dealer``
(the keys of its configuration), ``date``, ``run_id``, ``root_run_id``, and ``die``, the moment at
which the process kills itself with signal 9: after the ``prices``, while ``staging`` the rows of
the load, ``loading`` with all written but the commit, ``loaded`` with the commit done, or null.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import date
from typing import Any

from haier_pipeline.catalog import load as load_module
from haier_pipeline.catalog.database import open_engine
from haier_pipeline.domain.partition import Partition
from haier_pipeline.sync import derive, fetch
from haier_pipeline.sync.dealers import Dealers
from haier_pipeline.sync.run import SyncRun

wanted = json.loads(sys.argv[1])
die = wanted["die"]


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def no_sandbox() -> dict[str, str]:
    raise AssertionError


real_copy: Callable[..., Any] = load_module._copy
real_load: Callable[..., Any] = load_module.load


def copy(connection: Any, table: str, columns: Any, rows: Any) -> None:
    if table == "stage_stock" and die == "staging":
        kill_myself()
    real_copy(connection, table, columns, rows)


def load(engine: Any, partition: Any, frames: Any, conclude: Callable[..., None]) -> Any:
    def then_die(connection: Any, report: Any) -> None:
        conclude(connection, report)
        if die == "loading":
            kill_myself()

    report = real_load(engine, partition, frames, then_die)
    if die == "loaded":
        kill_myself()
    return report


load_module._copy = copy
load_module.load = load

engine = open_engine(wanted["url"])
run = SyncRun(
    engine,
    Dealers(
        engine,
        environment=wanted["dealer"],
        allowed_hosts=("127.0.0.1",),
        secret_keys=(),
        sandbox=no_sandbox,
    ),
    Partition("haier", date.fromisoformat(wanted["date"])),
    run_id=wanted["run_id"],
    root_run_id=wanted["root_run_id"],
)
fetch.fetch_listing(run)
fetch.fetch_prices(run)
if die == "prices":
    kill_myself()
fetch.fetch_stock(run)
derive.price_products(run)
derive.load_catalog(run)
run.close()
