"""Syncs requested over REST or from the pages: started as a command line of their own.

A process of its own rather than a queued run of Dagster's: it needs neither webserver nor daemon,
and it outlives the process that serves REST. It shows up in Dagster's interface all the same, since
the command line records its runs there.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from sqlalchemy import Engine, text

from haier_pipeline.catalog import log
from haier_pipeline.catalog.database import translated
from haier_pipeline.domain.request import SyncRequest
from haier_pipeline.errors import CatalogError, HaierError
from haier_pipeline.server.files import open_private, private_folder

#: Reads the request from its standard input.
COMMAND: Final = (sys.executable, "-m", "haier_pipeline.cli", "sync", "--request", "--json")


class ProcessLauncher:
    """Starts ``haier sync`` for a request; what it prints goes to a file in ``folder``.

    ``engine`` gives the catalog's database: a request whose process ends without having begun is
    failed there.
    """

    def __init__(self, folder: Path, engine: Callable[[], Engine]) -> None:
        self._folder = folder
        self._engine = engine

    def __call__(self, request: SyncRequest) -> None:
        """Start the sync and return.

        Raises:
            CatalogError: the process cannot be started.
        """
        try:
            private_folder(self._folder)
            log_file = open_private(self._folder / f"{request.run_id}.log")
            with os.fdopen(log_file, "wb") as output, TemporaryFile() as sent:
                sent.write(request.to_json().encode())
                sent.seek(0)
                # A session of its own: it goes on when REST is stopped by Ctrl-C.
                process = subprocess.Popen(
                    COMMAND,
                    stdin=sent,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    # No module is taken from the folder that the caller happens to be in.
                    env=os.environ | {"PYTHONSAFEPATH": "1"},
                    umask=0o077,
                    start_new_session=True,
                )
        except OSError as error:
            raise CatalogError(f"the sync cannot be started: {error.strerror}") from error
        threading.Thread(
            target=self._watch, args=(process, request.run_id), name="sync watcher", daemon=True
        ).start()

    def _watch(self, process: subprocess.Popen[bytes], run_id: str) -> None:
        code = process.wait()
        try:
            log.give_up(
                self._engine(), run_id, f"the sync ended before it began (exit code {code})"
            )
        except HaierError:
            # The database is away; the sensor that looks for dead runs fails the row later.
            return


def dagster_problem(engine: Engine) -> str | None:
    """Why Dagster's storage cannot be used, ``None`` where it can, or where the first run will make
    it.

    Asked in SQL: importing Dagster costs seconds and 100 MB, which REST has no other use for.
    """
    try:
        with translated(engine), engine.connect() as connection:
            if connection.scalar(text("SELECT to_regclass('dagster.runs')")) is not None:
                connection.execute(text("SELECT 1 FROM dagster.runs LIMIT 1"))
    except HaierError:
        return "its storage cannot be read"
    return None
