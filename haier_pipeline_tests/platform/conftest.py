"""A sandbox in its own process for the whole folder, clean before each test, and clients of it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from haier_pipeline.platform import calls
from haier_pipeline.platform.client import HaierClient
from haier_pipeline.platform.config import DealerConfig
from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sandbox.settings import Settings

DAY = "2026-11-22"


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[SandboxProcess]:
    with SandboxProcess(products=60, rate=0, date=DAY) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> SandboxProcess:
    sandbox_process.reset(faults=True, tokens=True)
    settings = Settings().as_json() | {"products": 60, "rate": 0, "date": DAY}
    sandbox_process.set(**settings)
    return sandbox_process


@pytest.fixture
def dealer_at() -> Callable[..., DealerConfig]:
    """Makes the sandbox's dealer for a platform at any loopback address."""

    def make(url: str, **changes: object) -> DealerConfig:
        values = {
            **CREDENTIALS,
            "base_url": url,
            "token_url": f"{url}/oauth2/auth",
            "rate_limit": 1000,
            **changes,
        }
        return DealerConfig.parse("sandbox", values, allowed_hosts=("127.0.0.1",))

    return make


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the waits between attempts; how long they are has a test of its own."""
    monkeypatch.setattr(calls, "BACKOFF_SECONDS", 0.005)


@pytest.fixture
def new_client(
    sandbox: SandboxProcess, dealer_at: Callable[..., DealerConfig], quick_backoff: None
) -> Iterator[Callable[..., HaierClient]]:
    """Makes clients of the sandbox; ``dealer`` changes keys of the dealer."""
    with ExitStack() as stack:

        def make(dealer: dict[str, object] | None = None, **options: Any) -> HaierClient:
            config = dealer_at(sandbox.url, **(dealer or {}))
            return stack.enter_context(HaierClient(config, **options))

        yield make


@pytest.fixture
def client(new_client: Callable[..., HaierClient]) -> HaierClient:
    return new_client()


@pytest.fixture
def codes(sandbox: SandboxProcess, client: HaierClient) -> list[str]:
    """Procurable codes; asking for them leaves nothing in the sandbox's report."""
    listing = client.list_products()
    sandbox.reset()
    return [record.value.product_code for record in listing.records if record.value.is_sales]
