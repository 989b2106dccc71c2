"""Syncs on demand: accepted once, found in the log at once, carried out by a process."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from haier_pipeline.catalog import log
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.domain.request import SyncRequest
from haier_pipeline.errors import CatalogError, DatabaseUnavailable
from haier_pipeline.installation import Installation
from haier_pipeline.orchestration import launch
from haier_pipeline.orchestration.launch import ProcessLauncher
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync import fetch
from haier_pipeline.web.app import build_app
from haier_pipeline_tests.web.callers import API, OPERATOR_TOKEN, caller

SYNC = f"{API}/sync/"


def test_one_idempotency_key_starts_one_sync(
    operator: TestClient, reader: TestClient, dealer: Any, launched: list[SyncRequest]
) -> None:
    """Row 55."""
    key = {"Idempotency-Key": "order-1"}

    first = operator.post(SYNC, json={}, headers=key)
    second = operator.post(SYNC, json={"dealer": "shop"}, headers=key)
    other = operator.post(SYNC, json={"stock": False}, headers=key)
    unkeyed = operator.post(SYNC, json={})

    assert first.status_code == second.status_code == unkeyed.status_code == 202
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert other.status_code == 409
    # The first one waits still, so this one joins it without being a repetition.
    assert unkeyed.json() == first.json()
    assert "Idempotent-Replayed" not in unkeyed.headers
    assert len(launched) == 1
    run_id = first.json()["data"]["run_id"]
    (row,) = reader.get(f"{API}/logs/?run_id={run_id}").json()["data"]
    assert (row["status"], row["asset_key"], row["dealer"]) == (
        *("pending", "product_listings", "shop"),
    )


def test_two_at_the_same_moment_start_one_sync(
    operator: TestClient, dealer: Any, launched: list[SyncRequest]
) -> None:
    """Row 55: "sync now" pressed twice."""
    answers: list[Any] = []

    def press() -> None:
        key = {"Idempotency-Key": "order-1"}
        answers.append(operator.post(SYNC, json={}, headers=key).json()["data"]["run_id"])

    threads = [threading.Thread(target=press) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(answers)) == 1
    assert len(launched) == 1


def test_what_is_ordered_is_what_is_launched(
    operator: TestClient, dealer: Any, launched: list[SyncRequest]
) -> None:
    body = {
        "dealer": "shop",
        "product_codes": ["A1", "--B2"],
        "county_codes": ["110101"],
        "prices": False,
        "accept_shrink": True,
    }
    answer = operator.post(SYNC, json=body)

    assert answer.status_code == 202
    (order,) = launched
    assert order == SyncRequest(
        "shop",
        ("A1", "--B2"),
        ("110101",),
        prices=False,
        accept_shrink=True,
        run_id=answer.json()["data"]["run_id"],
    )
    assert SyncRequest.from_json(order.to_json()) == order


def test_an_order_that_cannot_be_meant_is_422(operator: TestClient, dealer: Any) -> None:
    wrong: tuple[Any, ...] = (
        {"dealer": "unknown"},
        {"product_codes": [""]},
        {"county_codes": ["abc"]},
        {"limit": 5},
        {"prices": "no"},
        {"product_codes": ["A"] * 201},
        {"product_codes": ["\ud800"]},
        [],
    )
    for body in wrong:
        content = str(body).replace("'", '"').encode("utf-8", "replace")
        answer = operator.post(SYNC, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, body
    for key in ("", "a b", "x" * 201):
        answer = operator.post(SYNC, json={}, headers={"Idempotency-Key": key})
        assert answer.status_code == 422, key


def test_a_launch_that_fails_closes_its_row(
    installation: Installation, config: dict[str, Any]
) -> None:
    def fail(order: SyncRequest) -> None:
        raise CatalogError("no room for a process")

    app = build_app(installation, launch=fail, dagster_problem=lambda: None)
    with caller(app, OPERATOR_TOKEN) as client:
        client.post(f"{API}/config/", json={"name": "shop", "config": config})
        answer = client.post(SYNC, json={})
        (row,) = client.get(f"{API}/logs/").json()["data"]

    assert answer.status_code == 500
    assert row["status"] == "failed"
    assert "no room for a process" in row["message"]


def finished(client: TestClient, run_id: str, seconds: float) -> list[dict[str, Any]]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        rows: list[dict[str, Any]] = client.get(f"{API}/logs/?run_id={run_id}").json()["data"]
        ended = bool(rows) and all(row["completed_at"] for row in rows)
        whole = any(row["asset_key"] == "product_stock" for row in rows)
        if ended and (whole or rows[0]["status"] == "failed"):
            return rows
        time.sleep(0.3)
    raise AssertionError(rows)


def watchers_end() -> None:
    """Wait for the processes that were started: the database goes with the test."""
    for thread in threading.enumerate():
        if thread.name == "sync watcher":
            thread.join(60)


def test_a_sync_is_carried_out_by_a_process_under_the_run_id_of_the_answer(
    new_installation: Callable[..., Installation],
    config: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installation = new_installation()
    settings = installation.settings
    monkeypatch.setenv("HAIER_HOME", str(settings.home))
    monkeypatch.setenv("HAIER_DATABASE_URL", str(settings.database_url))
    monkeypatch.setenv("HAIER_SECRET_KEY", ",".join(settings.secret_keys))
    monkeypatch.setenv("HAIER_ALLOWED_HOSTS", "127.0.0.1")
    folder = tmp_path / "syncs"
    app = build_app(
        installation,
        launch=ProcessLauncher(folder, lambda: installation.engine),
        dagster_problem=lambda: launch.dagster_problem(installation.engine),
    )
    with caller(app, OPERATOR_TOKEN) as client:
        client.post(f"{API}/config/", json={"name": "shop", "config": config})
        run_id = client.post(SYNC, json={}).json()["data"]["run_id"]
        rows = finished(client, run_id, 60)
        catalog = client.get(f"{API}/catalog/products/?limit=200").json()["data"]
        watchers_end()
        ready = client.get("/readyz").json()

    assert {row["status"] for row in rows} == {"success"}
    assert len(catalog) == 30
    assert ready["dagster"] == "ok"
    assert (folder / f"{run_id}.log").read_text().count(run_id) >= 1


def test_a_process_that_ends_before_it_begins_closes_its_row(
    new_installation: Callable[..., Installation],
    config: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installation = new_installation()
    monkeypatch.setattr(launch, "COMMAND", ("/bin/false",))
    app = build_app(
        installation,
        launch=ProcessLauncher(tmp_path, lambda: installation.engine),
        dagster_problem=lambda: None,
    )
    with caller(app, OPERATOR_TOKEN) as client:
        client.post(f"{API}/config/", json={"name": "shop", "config": config})
        run_id = client.post(SYNC, json={}).json()["data"]["run_id"]
        (row,) = finished(client, run_id, 10)
        watchers_end()

    assert row["status"] == "failed"
    assert "exit code 1" in row["message"]


def test_a_dealer_that_is_disabled_in_mid_run_stops_at_the_next_batch(
    installation: Installation,
    operator: TestClient,
    dealer: dict[str, Any],
    sandbox: SandboxProcess,
) -> None:
    """Row 47: partial, "disabled", and what was fetched stays."""
    sandbox.set(products=200, latency_ms=[200, 200])
    run = installation.open_run(Partition("shop", today()), run_id="run-1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetch, "WORKERS", 4)
        try:
            assert fetch.fetch_listing(run).result.status == "success"
            assert fetch.fetch_prices(run).result.status == "success"
            timer = threading.Timer(1.0, operator.post, [f"{API}/config/{dealer['id']}/disable/"])
            timer.start()
            stock = fetch.fetch_stock(run)
            timer.join()
            prices = fetch.fetch_prices(run)
        finally:
            run.close()

    assert stock.result.status == "partial"
    assert "disabled" in stock.result.message
    assert stock.stops
    assert 0 < stock.result.success < 60
    assert stock.result.success + stock.result.failed > 150
    assert prices.result.status == "failed"
    assert "disabled" in prices.result.message
    newest = log.entries(installation.engine, run_id="run-1", limit=2)
    assert [(row.asset_key, row.status) for row in newest] == [
        ("price_quotes", "failed"),
        ("stock_levels", "partial"),
    ]
    with installation.engine.connect() as connection:
        kept = connection.exec_driver_sql(
            "SELECT count(*) FROM raw_record WHERE asset_key = 'stock_levels'"
        ).scalar()
    assert kept == stock.result.success


def test_one_sync_of_a_dealer_waits_however_often_it_is_ordered(
    operator: TestClient,
    installation: Installation,
    config: dict[str, Any],
    dealer: Any,
    launched: list[SyncRequest],
) -> None:
    """Each start costs a process."""
    operator.post(f"{API}/config/", json={"name": "second", "config": config})
    with ThreadPoolExecutor(8) as callers:
        orders = [callers.submit(operator.post, SYNC, json={"dealer": "shop"}) for _ in range(16)]
        answers = [each.result() for each in orders]
    other = operator.post(SYNC, json={"dealer": "second"})

    assert {answer.status_code for answer in (*answers, other)} == {202}
    assert len({answer.json()["data"]["run_id"] for answer in answers}) == 1
    assert not any("Idempotent-Replayed" in answer.headers for answer in answers)
    assert [order.dealer for order in launched] == ["shop", "second"]

    # What has begun does not wait any more.
    with installation.engine.begin() as connection:
        connection.execute(text("UPDATE haier_sync_log SET status = 'processing'"))
    again = operator.post(SYNC, json={"dealer": "shop"}).json()["data"]["run_id"]
    assert [order.run_id for order in launched][2:] == [again]


def test_an_order_whose_process_is_gone_keeps_none_waiting(
    operator: TestClient, installation: Installation, dealer: Any, launched: list[SyncRequest]
) -> None:
    operator.post(SYNC, json={})
    with installation.engine.begin() as connection:
        connection.execute(text("UPDATE haier_sync_log SET created_at = now() - interval '1 h'"))
    operator.post(SYNC, json={})

    assert len({order.run_id for order in launched}) == 2


def test_a_key_belongs_to_what_began(installation: Installation, config: dict[str, Any]) -> None:
    """A launch that failed leaves the key free; one that worked keeps it."""
    launched: list[SyncRequest] = []
    errors: list[Exception] = [
        CatalogError("no room for a process"),
        DatabaseUnavailable("the database is away"),
    ]

    def launch(order: SyncRequest) -> None:
        if errors:
            raise errors.pop(0)
        launched.append(order)

    app = build_app(installation, launch=launch, dagster_problem=lambda: None)
    key = {"Idempotency-Key": "once"}
    with caller(app, OPERATOR_TOKEN) as client:
        client.post(f"{API}/config/", json={"name": "shop", "config": config})
        answers = [client.post(SYNC, json={}, headers=key) for _ in range(4)]
        rows = client.get(f"{API}/logs/").json()["data"]

    assert [answer.status_code for answer in answers] == [500, 503, 202, 202]
    assert len(launched) == 1
    assert {answer.json()["data"]["run_id"] for answer in answers[2:]} == {launched[0].run_id}
    assert "Idempotent-Replayed" not in answers[2].headers
    assert answers[3].headers["Idempotent-Replayed"] == "true"
    assert [row["status"] for row in rows] == ["pending", "failed", "failed"]


def test_a_key_of_a_sync_that_was_launched_and_failed_stays_its_own(
    installation: Installation, operator: TestClient, dealer: Any, launched: list[SyncRequest]
) -> None:
    key = {"Idempotency-Key": "once"}
    first = operator.post(SYNC, json={}, headers=key).json()["data"]["run_id"]
    with installation.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE haier_sync_log SET status = 'failed', started_at = now(),"
                " completed_at = now() WHERE run_id = :run_id"
            ),
            {"run_id": first},
        )
    again = operator.post(SYNC, json={}, headers=key)
    assert again.json()["data"]["run_id"] == first
    assert len(launched) == 1
