"""The web application over a database of its own and the sandbox, with a caller of each role."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from fastapi import FastAPI
from starlette.testclient import TestClient

from haier_pipeline.domain.request import SyncRequest
from haier_pipeline.installation import Installation
from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.settings import Settings
from haier_pipeline_tests.web.callers import (
    API,
    OPERATOR_ENTRY,
    OPERATOR_TOKEN,
    READER_ENTRY,
    READER_TOKEN,
    SECRETS,
    app_on,
    caller,
)


@pytest.fixture
def new_installation(
    database_url: str, sandbox: SandboxProcess, tmp_path: Path
) -> Iterator[Callable[..., Installation]]:
    """Opens installations on the test's database; arguments change their settings."""
    with ExitStack() as stack:

        def make(**changes: Any) -> Installation:
            settings: dict[str, Any] = {
                "home": tmp_path,
                "database_url": database_url,
                "secret_keys": (Fernet.generate_key().decode(),),
                "allowed_hosts": ("127.0.0.1",),
                "api_tokens": (OPERATOR_ENTRY, READER_ENTRY),
            }
            return stack.enter_context(Installation(Settings(**{**settings, **changes})))

        yield make


@pytest.fixture
def installation(new_installation: Callable[..., Installation]) -> Installation:
    return new_installation()


@pytest.fixture
def launched() -> list[SyncRequest]:
    """The orders that were launched: nothing is started here, that has tests of its own."""
    return []


@pytest.fixture
def app(installation: Installation, launched: list[SyncRequest]) -> FastAPI:
    return app_on(installation, launched)


@pytest.fixture
def operator(app: FastAPI) -> Iterator[TestClient]:
    with caller(app, OPERATOR_TOKEN) as client:
        yield client


@pytest.fixture
def reader(app: FastAPI, operator: TestClient) -> TestClient:
    return caller(app, READER_TOKEN)


@pytest.fixture
def stranger(app: FastAPI, operator: TestClient) -> TestClient:
    return caller(app)


@pytest.fixture
def config(sandbox: SandboxProcess) -> dict[str, Any]:
    """A valid configuration that leads to the sandbox, as REST takes it."""
    return {
        "client_id": CREDENTIALS["client_id"],
        "customer_code": CREDENTIALS["customer_code"],
        "send_to_code": CREDENTIALS["send_to_code"],
        "base_url": sandbox.url,
        "token_url": f"{sandbox.url}/oauth2/auth",
        "county_codes": ["110101"],
        "rate_limit": 1000,
        **SECRETS,
    }


@pytest.fixture
def dealer(operator: TestClient, config: dict[str, Any]) -> dict[str, Any]:
    """The stored dealer ``shop``."""
    answer = operator.post(f"{API}/config/", json={"name": "shop", "config": config})
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()["data"]
    return shown
