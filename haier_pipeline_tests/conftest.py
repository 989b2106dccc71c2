"""What every folder of tests shares: a real PostgreSQL, a sandbox, and a sync between the two.

One server and one sandbox serve the whole session; each test that asks gets a database of its own,
copied from a migrated one. What only one folder needs stands in that folder's conftest.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from haier_pipeline.catalog.database import open_engine, parse_url, upgrade
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sandbox.settings import Settings
from haier_pipeline.server.postgres import EmbeddedPostgres
from haier_pipeline.sync.dealers import ENVIRONMENT_DEALER, Dealers
from haier_pipeline.sync.run import SyncRun

TEMPLATE = "migrated"
# What the sandbox is before each test; a test changes it with ``sandbox.set(…)``.
SANDBOX_SETTINGS: dict[str, Any] = Settings().as_json() | {"products": 30, "rate": 0}


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """No variable of the developer reaches a test, nor a process that a test starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("HAIER_", "DAGSTER_")):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL for the session, with one migrated database to copy from."""
    # Not pytest's own folder: nobody but its owner may enter that, and root's server is not root.
    home = Path(tempfile.mkdtemp(prefix="haier-tests-", dir="/tmp"))
    home.chmod(0o755)
    try:
        with EmbeddedPostgres(home) as server:
            with psycopg.connect(server.libpq_url, autocommit=True) as connection:
                # What is lost in a crash of this server is lost with its folder anyway.
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")
                connection.execute(f"CREATE DATABASE {TEMPLATE}".encode())
            engine = open_engine(url_of(server, TEMPLATE))
            upgrade(engine)
            engine.dispose()
            yield server
    finally:
        shutil.rmtree(home)


def url_of(server: EmbeddedPostgres, database: str) -> str:
    """The URL of a database beside the server's own."""
    url = parse_url(server.url()).set(database=database)
    return url.render_as_string(hide_password=False)


@pytest.fixture
def new_database(server: EmbeddedPostgres) -> Iterator[Callable[..., str]]:
    """Makes a database and returns its URL: migrated, unless ``template`` says otherwise."""
    made: list[str] = []
    with psycopg.connect(server.libpq_url, autocommit=True) as connection:

        def make(template: str = TEMPLATE) -> str:
            name = f"test_{len(made)}"
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
            made.append(name)
            return url_of(server, name)

        yield make
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def database_url(new_database: Callable[..., str]) -> str:
    """A migrated database of this test's own, as ``HAIER_DATABASE_URL`` may name it."""
    return new_database()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on the test's database, opened as the program opens it."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def sandbox_of_the_session() -> Iterator[SandboxProcess]:
    with SandboxProcess(products=30, rate=0) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(sandbox_of_the_session: SandboxProcess) -> SandboxProcess:
    """The platform's stand-in: 30 products, no limit of calls, without faults or memory."""
    sandbox_of_the_session.reset(faults=True, tokens=True)
    sandbox_of_the_session.set(**SANDBOX_SETTINGS)
    return sandbox_of_the_session


@pytest.fixture
def dealer_variables(sandbox: SandboxProcess) -> dict[str, str]:
    """The configuration keys of a dealer whose platform is the sandbox, two counties, no pace."""
    return {
        **CREDENTIALS,
        "base_url": sandbox.url,
        "token_url": f"{sandbox.url}/oauth2/auth",
        "rate_limit": "1000",
    }


@pytest.fixture
def open_sync(engine: Engine, dealer_variables: dict[str, str]) -> Iterator[Callable[..., SyncRun]]:
    """Opens syncs of the dealer ``haier``, today unless ``sync_date`` says otherwise.

    ``run_id`` is a new one where none is given. ``dealer`` changes keys of its configuration;
    without changes that leads to the ``sandbox``. The test's end closes the runs.
    """
    numbers = count(1)
    with ExitStack() as stack:

        def no_sandbox() -> dict[str, str]:
            raise AssertionError("the dealer is configured, nobody may start a sandbox")

        def open_it(
            *,
            sync_date: date | None = None,
            run_id: str | None = None,
            root_run_id: str | None = None,
            **dealer: str,
        ) -> SyncRun:
            dealers = Dealers(
                engine,
                environment={**dealer_variables, **dealer},
                allowed_hosts=("127.0.0.1",),
                secret_keys=(),
                sandbox=no_sandbox,
            )
            run = SyncRun(
                engine,
                dealers,
                Partition(ENVIRONMENT_DEALER, sync_date or today()),
                run_id=run_id or f"run-{next(numbers)}",
                root_run_id=root_run_id,
            )
            stack.callback(run.close)
            return run

        yield open_it
