"""Who calls in these tests: two tokens, and clients that send them."""

from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from haier_pipeline.domain.request import SyncRequest
from haier_pipeline.installation import Installation
from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.web.app import build_app
from haier_pipeline.web.auth import new_token

API = "/api/haier"
SECRETS = {
    "client_secret": CREDENTIALS["client_secret"],
    "password": CREDENTIALS["password"],
    "seller_password": CREDENTIALS["seller_password"],
}
OPERATOR_TOKEN, OPERATOR_ENTRY = new_token("olga", "operator")
READER_TOKEN, READER_ENTRY = new_token("rita", "reader")


def app_on(installation: Installation, launched: list[SyncRequest]) -> FastAPI:
    """The app over an installation; orders are noted and nothing is started."""
    return build_app(installation, launch=launched.append, dagster_problem=lambda: None)


def caller(app: FastAPI, token: str | None = None, **options: Any) -> TestClient:
    """A client with this token."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return TestClient(app, headers=headers, **options)
