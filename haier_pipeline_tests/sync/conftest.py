"""What the tests of syncs share: the dealer, and the catalog that it starts from."""

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from haier_pipeline.catalog.database import open_engine
from haier_pipeline.domain.partition import today
from haier_pipeline.platform import calls
from haier_pipeline.sandbox.catalog import SandboxCatalog
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync.run import SyncRun
from haier_pipeline_tests.sync.synced_dealer import (
    CANARY,
    COUNTIES,
    PRODUCTS,
    Catalog,
    Expect,
    SyncedDealer,
    Undisturbed,
    statuses,
)


@pytest.fixture
def dealer(
    engine: Engine,
    sandbox: SandboxProcess,
    open_sync: Callable[..., SyncRun],
    dealer_variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[SyncedDealer]:
    """A dealer without rows yet. Whatever the test did, log and secrets must be in order."""
    caplog.set_level("DEBUG")
    # How long the client waits between attempts has tests of its own.
    monkeypatch.setattr(calls, "BACKOFF_SECONDS", 0.005)
    dealer_variables["customer_password"] = CANARY
    sandbox.set(products=PRODUCTS)
    dealer = SyncedDealer(engine, open_sync)
    yield dealer
    dealer.check_log()
    dealer.check_secrets(caplog.text, *(repr(run.config()) for run in dealer.runs))


@pytest.fixture
def platform() -> SandboxCatalog:
    """What the sandbox answers, computed beside it."""
    return SandboxCatalog(1, PRODUCTS)


@pytest.fixture
def codes(platform: SandboxCatalog) -> list[str]:
    """The products that may be bought, in order; each is in stock somewhere and has a price."""
    return sorted(
        code
        for code in platform.procurable_codes()
        if all(platform.stock(code, county, today()) for county in COUNTIES)
        and (platform.price(code, today()) or {}).get("supplyPrice") is not None
    )


@pytest.fixture
def undisturbed(
    dealer: SyncedDealer, new_database: Callable[..., str], dealer_variables: dict[str, str]
) -> Undisturbed:
    """The catalog of a sync that never failed, in a database of its own (invariant B)."""

    def sync(**options: Any) -> Catalog:
        engine = open_engine(new_database())
        try:
            run = dealer.open_sync(**{"run_id": "undisturbed", **options})
            run.engine = engine
            other = SyncedDealer(engine, lambda: run)
            ended = other.sync()
            assert {outcome.result.status for outcome in ended.values()} == {"success"}
            return other.catalog()
        finally:
            engine.dispose()

    return sync


@pytest.fixture
def good(dealer: SyncedDealer, sandbox: SandboxProcess) -> Catalog:
    """A catalog that stands before the fault: that of a day whose prices and stock were others."""
    sandbox.set(date=str(today() - dt.timedelta(days=3)))
    statuses(dealer.sync(run_id="good"), everything="success")
    sandbox.set(date=None)
    sandbox.reset()
    return dealer.catalog()


@pytest.fixture
def expect() -> Expect:
    """Compares how the assets ended: ``everything="success"``, or one keyword for each."""
    return statuses
