"""What the browser looks at: ``haier dev`` of a dealer who has a past, and a tab before it.

One of each for all tests of a module, since starting it takes a quarter of a minute.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser, sync_playwright

from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.server.postgres import EmbeddedPostgres
from haier_pipeline.settings import DEALER_VARIABLES, TIMETABLE_VARIABLES
from haier_pipeline_tests.browser.installation import (
    Installation,
    dev,
    serves,
    store_past,
    wait_for,
)
from haier_pipeline_tests.browser.interface import CHROMIUM, CHROMIUM_OPTIONS, Interface
from haier_pipeline_tests.conftest import SANDBOX_SETTINGS, TEMPLATE, url_of
from haier_pipeline_tests.ports import free_ports

# Nothing may start by itself: the twenty-ninth of February is far.
NEVER = "0 0 29 2 *"


@pytest.fixture(scope="module")
def platform(sandbox_of_the_session: SandboxProcess) -> SandboxProcess:
    """The sandbox of the session; nobody else uses it while this module's tests run."""
    sandbox_of_the_session.reset(faults=True, tokens=True)
    sandbox_of_the_session.set(**SANDBOX_SETTINGS)
    return sandbox_of_the_session


@pytest.fixture(scope="module")
def database(server: EmbeddedPostgres) -> Iterator[str]:
    """A migrated database, as ``HAIER_DATABASE_URL`` names it."""
    with psycopg.connect(server.libpq_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE browser TEMPLATE {TEMPLATE}".encode())
        # As libpq spells it, for the tests' own questions.
        yield url_of(server, "browser").replace("postgresql+psycopg:", "postgresql:", 1)
        connection.execute(b"DROP DATABASE browser WITH (FORCE)")


@pytest.fixture(scope="module")
def installation(
    database: str, platform: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """``haier dev`` of the dealer ``haier``, of whom the answers of eight days are stored.

    Only yesterday is in the catalog, and nothing of it in Dagster.
    """
    folder = tmp_path_factory.mktemp("dev")
    dealer = {
        **CREDENTIALS,
        "base_url": platform.url,
        "token_url": f"{platform.url}/oauth2/auth",
        "rate_limit": "1000",
    }
    store_past(database, platform, dealer)
    by_key = {key: variable for variable, key in DEALER_VARIABLES.items()}
    port, api_port = free_ports(2)
    url = f"http://127.0.0.1:{port}"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "HAIER_HOME": str(folder / "home"),
        "HAIER_DATABASE_URL": database,
        "HAIER_ALLOWED_HOSTS": "127.0.0.1",
        **dict.fromkeys(TIMETABLE_VARIABLES, NEVER),
        **{by_key[key]: value for key, value in dealer.items()},
    }
    with dev(environment, folder, port, api_port):
        wait_for(lambda: serves(f"{url}/server_info"))
        yield Installation(url, database, platform)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=CHROMIUM_OPTIONS, headless=True
        )
        yield chromium
        chromium.close()


@pytest.fixture
def interface(
    browser: Browser, installation: Installation, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Interface]:
    """A new tab at Dagster's first page. Where the test fails, a picture of it is kept."""
    failed_before = request.session.testsfailed
    with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = context.new_page()
        yield Interface(page, installation.url)
        if request.session.testsfailed > failed_before:
            picture = tmp_path / "last.png"
            page.screenshot(path=picture)
            sys.stderr.write(f"what the browser saw last: {picture}\n")
