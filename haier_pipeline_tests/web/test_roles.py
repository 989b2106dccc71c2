"""Who is let in: every route, every role, wrong tokens, headers (fault matrix, row 49)."""

import base64
import hmac
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from haier_pipeline.errors import InvalidInput
from haier_pipeline.installation import Installation
from haier_pipeline.web.auth import MOST_FAILURES, WINDOW_SECONDS, FailureLimit, Tokens, new_token
from haier_pipeline_tests.web.callers import (
    API,
    OPERATOR_ENTRY,
    OPERATOR_TOKEN,
    READER_TOKEN,
    app_on,
    caller,
)

OPEN = {"/healthz", "/readyz"}


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Every method and path of the description, with something in the place of each parameter."""
    return [
        (method.upper(), path.replace("{id}", "1"))
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    ] + [("GET", "/docs"), ("GET", "/docs/start.js"), ("GET", "/openapi.json"), ("GET", "/none")]


def test_the_description_holds_every_route_of_the_design(app: FastAPI) -> None:
    known = {path.removeprefix(API) for _, path in routes(app)}

    assert known >= {
        *("/products/", "/prices/", "/stock/", "/balance/", "/logistics/", "/logs/"),
        *("/config/", "/config/1/", "/config/1/test/", "/config/1/enable/", "/config/1/disable/"),
        *("/catalog/products/", "/sync/", "/healthz", "/readyz", "/metrics", "/docs"),
    }


def test_every_route_but_the_health_ones_is_closed_without_a_token(
    app: FastAPI, stranger: TestClient
) -> None:
    """Row 49. A body that cannot even be read changes nothing about it."""
    for method, path in routes(app):
        answer = stranger.request(method, path, content=b"{not json")
        if path in OPEN:
            assert answer.status_code == 200, path
            continue
        assert answer.status_code == 401, path
        challenges = answer.headers.get_list("WWW-Authenticate")
        assert challenges[-1].startswith("Bearer"), path
        # A line of its own for what browsers know; a browser reads no further than a comma.
        assert len(challenges) == (2 if path.startswith(("/docs", "/openapi")) else 1), path
        assert answer.headers["Content-Type"] == "application/problem+json", path


WRONG = (
    "Bearer wrong",
    f"Bearer {OPERATOR_TOKEN}x",
    f"Bearer {OPERATOR_TOKEN[:-1]}",
    f"Bearer {OPERATOR_ENTRY.rpartition(':')[2]}",
    f"Basic {OPERATOR_TOKEN}",
    OPERATOR_TOKEN,
    "Bearer",
    "Bearer \u00e9",
)


def test_a_wrong_token_is_401_and_is_not_repeated(stranger: TestClient) -> None:
    """Row 49."""
    for authorization in WRONG:
        headers = {b"Authorization": authorization.encode("latin-1")}
        answer = stranger.get(f"{API}/logs/", headers=headers)

        assert answer.status_code == 401, authorization
        assert OPERATOR_TOKEN[:20] not in answer.text


def test_a_reader_changes_nothing(app: FastAPI, reader: TestClient, dealer: Any) -> None:
    """Row 49."""
    writes = [(method, path) for method, path in routes(app) if method != "GET"]

    assert len(writes) >= 8
    for method, path in writes:
        answer = reader.request(method, path, content=b"{not json")
        assert answer.status_code == 403, (method, path)
    assert reader.get(f"{API}/config/{dealer['id']}/").json()["data"]["is_active"]


def test_a_reader_reads(reader: TestClient) -> None:
    assert reader.get(f"{API}/logs/").status_code == 200
    assert reader.get(f"{API}/config/").status_code == 200
    assert reader.get("/metrics").status_code == 200


def test_every_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 49: no entry is skipped, whichever one it is."""
    made = [new_token(name, "reader") for name in ("a", "b", "c")]
    tokens = Tokens([entry for _, entry in made])
    compared: list[str] = []
    real = hmac.compare_digest

    def spy(one: str, other: str) -> bool:
        compared.append(one)
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    found = tokens.find(made[0][0])

    assert found is not None
    assert found.name == "a"
    assert len(compared) == 3
    assert tokens.find("nobody's") is None
    assert len(compared) == 6


def test_wrong_tokens_shut_an_address_out_and_are_counted(
    app: FastAPI, stranger: TestClient, reader: TestClient
) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    for _ in range(MOST_FAILURES):
        assert stranger.get(f"{API}/logs/", headers=wrong).status_code == 401

    shut_out = stranger.get(f"{API}/logs/", headers=wrong)

    assert shut_out.status_code == 429
    assert 0 < int(shut_out.headers["Retry-After"]) <= WINDOW_SECONDS
    # Whoever knows a token is let in from the same address; whoever has none is told to send one.
    assert stranger.get(f"{API}/logs/").status_code == 401
    elsewhere = caller(app, READER_TOKEN).get("/metrics")
    assert f"haier_wrong_tokens_total {float(MOST_FAILURES)}" in elsewhere.text


def test_an_address_is_let_in_again_after_the_window() -> None:
    now = [100.0]
    limit = FailureLimit(lambda: now[0])
    for _ in range(MOST_FAILURES):
        assert limit.seconds_left("192.0.2.1") == 0
        limit.count("192.0.2.1")

    assert limit.seconds_left("192.0.2.1") == WINDOW_SECONDS
    assert limit.seconds_left("192.0.2.2") == 0
    now[0] += WINDOW_SECONDS
    assert limit.seconds_left("192.0.2.1") == 0
    limit.count("192.0.2.1")
    assert limit.seconds_left("192.0.2.1") == 0


@pytest.mark.parametrize("entry", ["x", "a:reader:00", "a:root:" + "0" * 64, ":reader:" + "0" * 64])
def test_a_malformed_entry_stops_the_start_and_is_not_repeated(
    new_installation: Callable[..., Installation], entry: str
) -> None:
    installation = new_installation(api_tokens=(OPERATOR_ENTRY, entry))

    with pytest.raises(InvalidInput, match="entry 2 of HAIER_API_TOKENS") as raised:
        app_on(installation, [])
    assert entry not in str(raised.value) or len(entry) == 1


def test_without_tokens_nobody_is_let_in(new_installation: Callable[..., Installation]) -> None:
    client = caller(app_on(new_installation(api_tokens=()), []), OPERATOR_TOKEN)

    assert client.get(f"{API}/logs/").status_code == 401
    assert client.get("/healthz").status_code == 200


def test_a_new_token_says_whose_it_is_and_only_its_hash_is_kept() -> None:
    token, entry = new_token("shop", "operator")
    found = Tokens([entry]).find(token)

    assert token not in entry
    assert found is not None
    assert (found.name, found.is_operator) == ("shop", True)
    for name, role in (("shop", "root"), ("sh:op", "reader"), ("", "reader")):
        with pytest.raises(InvalidInput):
            new_token(name, role)


def test_every_answer_has_security_headers_and_no_cors(stranger: TestClient) -> None:
    for path in ("/healthz", f"{API}/logs/", "/docs"):
        headers = stranger.get(path, headers={"Origin": "https://evil.example"}).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert not [name for name in headers if name.startswith("access-control")]


def test_cors_is_for_the_configured_origins_only(
    new_installation: Callable[..., Installation],
) -> None:
    shop = "https://shop.example"
    client = caller(app_on(new_installation(cors_origins=(shop,)), []))
    asked = {"Access-Control-Request-Method": "GET"}

    allowed = client.options(f"{API}/logs/", headers={"Origin": shop, **asked})
    refused = client.options(f"{API}/logs/", headers={"Origin": "https://evil.example", **asked})

    assert allowed.headers["Access-Control-Allow-Origin"] == shop
    assert "Access-Control-Allow-Origin" not in refused.headers
    assert client.get(f"{API}/logs/", headers={"Origin": shop}).status_code == 401


def test_a_body_that_is_too_large_or_of_unknown_length_is_refused(operator: TestClient) -> None:
    large = operator.post(f"{API}/config/", content=b" " * (256 * 1024 + 1))
    endless = operator.post(f"{API}/config/", content=iter([b"{}"]))

    assert large.status_code == 413
    assert endless.status_code == 411


def test_the_documentation_works_offline_and_takes_the_token_as_a_password(
    stranger: TestClient, operator: TestClient
) -> None:
    basic = base64.b64encode(f"anybody:{READER_TOKEN}".encode()).decode()
    page = stranger.get("/docs", headers={"Authorization": f"Basic {basic}"})

    assert page.status_code == 200
    assert "//" not in page.text.replace("<!doctype", "")
    for name, size in (("swagger-ui-bundle.js", 500_000), ("swagger-ui.css", 50_000)):
        assert f"docs/{name}" in page.text
        asset = operator.get(f"/docs/{name}")
        assert len(asset.content) > size
        assert asset.headers["Content-Type"].startswith("text/")
    assert operator.get("/docs/../app.py").status_code == 404
    # A browser sends Basic by itself, so it opens nothing that could be abused.
    assert (
        stranger.get(f"{API}/logs/", headers={"Authorization": f"Basic {basic}"}).status_code == 401
    )
