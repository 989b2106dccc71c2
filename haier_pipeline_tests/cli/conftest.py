"""What the tests of the command line share: a platform, databases behind a password, commands.

Most tests get a database in which today's sync has been made once, copied for each of them.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.server.postgres import EmbeddedPostgres
from haier_pipeline.settings import DEALER_VARIABLES
from haier_pipeline_tests.cli.commands import Ended, Haier

# What no URL, log line, table or file may show.
DATABASE_PASSWORD = "canary:d@tabase/pass%word+é"
SETTINGS = {"products": 30, "seed": 1, "date": None, "latency_ms": [0, 0], "rate": 0}


@pytest.fixture(scope="session")
def platform_of_the_session() -> Iterator[SandboxProcess]:
    with SandboxProcess(products=30, rate=0) as sandbox:
        yield sandbox


@pytest.fixture
def platform(platform_of_the_session: SandboxProcess) -> SandboxProcess:
    """A sandbox of 30 products with no limit of calls; a test changes it with ``set``."""
    platform_of_the_session.reset(faults=True, tokens=True)
    platform_of_the_session.set(**SETTINGS)
    return platform_of_the_session


@pytest.fixture(scope="session")
def new_clerk_database(server: EmbeddedPostgres) -> Iterator[Callable[..., str]]:
    """Makes databases of the role ``clerk``, who has to give a password, and returns their URLs.

    ``like`` is the URL of such a database, to be copied.
    """
    numbers = count(1)
    made: list[str] = []
    with psycopg.connect(server.libpq_url, autocommit=True) as connection:
        row = connection.execute("SHOW hba_file").fetchone()
        assert row is not None
        access = Path(row[0])
        access.write_text(f"local all clerk scram-sha-256\n{access.read_text()}")
        login = sql.SQL("CREATE ROLE clerk LOGIN PASSWORD {}").format(DATABASE_PASSWORD)
        connection.execute(login)
        connection.execute("SELECT pg_reload_conf()")

        def make(like: str | None = None) -> str:
            name = f"clerk_{next(numbers)}"
            template = "template1" if like is None else like.rpartition("?")[0].rpartition("/")[2]
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER clerk TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
            made.append(name)
            where = server.libpq_url.partition("?")[2]
            return f"postgresql://clerk:{quote(DATABASE_PASSWORD, safe='')}@/{name}?{where}"

        _await_login(make())
        yield make
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        connection.execute("DROP ROLE clerk")


def _await_login(url: str) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert time.monotonic() < end
            time.sleep(0.02)
        else:
            return


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Haier:
    """The command without any variable of the project but a ``HAIER_HOME`` of its own."""
    folder = tmp_path_factory.mktemp("operator")
    (folder / "empty").mkdir()
    return Haier(
        {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder / "empty"),
            "HAIER_HOME": str(folder / "home"),
        }
    )


@pytest.fixture(scope="session")
def dealer_variables_of_the_session(platform_of_the_session: SandboxProcess) -> dict[str, str]:
    values = {
        **CREDENTIALS,
        "base_url": platform_of_the_session.url,
        "token_url": f"{platform_of_the_session.url}/oauth2/auth",
        "rate_limit": "1000",
    }
    variables = {variable: key for variable, key in DEALER_VARIABLES.items() if key in values}
    return {name: values[key] for name, key in variables.items()} | {
        "HAIER_ALLOWED_HOSTS": "127.0.0.1"
    }


@dataclass(frozen=True)
class FirstSync:
    """The first sync into an empty database."""

    haier: Haier
    ended: Ended


@pytest.fixture(scope="session")
def first_sync(
    bare: Haier,
    platform_of_the_session: SandboxProcess,
    dealer_variables_of_the_session: dict[str, str],
    new_clerk_database: Callable[..., str],
) -> FirstSync:
    """``haier sync --json`` of the dealer ``haier`` into a database that has nothing in it."""
    platform_of_the_session.reset(faults=True, tokens=True)
    platform_of_the_session.set(**SETTINGS)
    haier = bare.with_variables(
        HAIER_DATABASE_URL=new_clerk_database(), **dealer_variables_of_the_session
    )
    return FirstSync(haier, haier.run("sync", "--json"))


@pytest.fixture
def new_haier(
    first_sync: FirstSync,
    platform: SandboxProcess,
    new_clerk_database: Callable[..., str],
    tmp_path: Path,
) -> Callable[[], Haier]:
    """Makes commands of the dealer ``haier``, each with a database that has been synced once."""
    numbers = count(1)

    def make() -> Haier:
        return first_sync.haier.with_variables(
            HAIER_DATABASE_URL=new_clerk_database(like=first_sync.haier.database_url),
            HAIER_HOME=str(tmp_path / f"home-{next(numbers)}"),
        )

    return make


@pytest.fixture
def haier(new_haier: Callable[[], Haier]) -> Haier:
    return new_haier()
