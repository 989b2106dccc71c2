"""Live queries: the platform's answer, its refusals, the caller's deadline, the log."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import MetaData, Table, select, text
from starlette.testclient import TestClient

from haier_pipeline.catalog.tables import metadata
from haier_pipeline.errors import PlatformClosed
from haier_pipeline.installation import Installation
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.web.problems import of_error
from haier_pipeline_tests.spellings import spellings
from haier_pipeline_tests.web.callers import API, OPERATOR_TOKEN, SECRETS

pytestmark = pytest.mark.usefixtures("dealer")


@pytest.fixture
def codes(installation: Installation, dealer: Any, sandbox: SandboxProcess) -> list[str]:
    from haier_pipeline.platform.client import HaierClient

    with HaierClient(installation.dealers.config("stored")) as client:
        listing = client.list_products()
    sandbox.reset()
    return [record.value.product_code for record in listing.records if record.value.is_sales]


def logs(reader: TestClient) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = reader.get(f"{API}/logs/?sync_type=manual").json()["data"]
    return rows


def test_the_platform_answers_and_one_manual_row_tells_of_it(
    reader: TestClient, codes: list[str], sandbox: SandboxProcess
) -> None:
    asked = f"{codes[0]},{codes[1]},UNKNOWN1"

    products = reader.get(f"{API}/products/?product_codes={asked}").json()
    prices = reader.get(f"{API}/prices/?product_codes={asked}").json()
    stock = reader.get(f"{API}/stock/?product_code={codes[0]}&county_code=110101").json()
    balance = reader.get(f"{API}/balance/").json()
    logistics = reader.get(f"{API}/logistics/?order_code=SO.20190106.000003").json()

    assert all(answer["success"] for answer in (products, prices, stock, balance, logistics))
    assert {row["product_code"] for row in products["data"]} == set(codes[:2])
    assert products["missing"] == ["UNKNOWN1"]
    assert all(isinstance(row["supply_price"], str) for row in prices["data"])
    assert stock["data"]["stock"] == sum(row["stock"] for row in stock["data"]["warehouses"])
    assert {"payer_account_code", "balance"} <= balance["data"][0].keys()
    assert logistics["data"].keys() == {"order_code", "central", "own", "third_party"}
    rows = logs(reader)
    assert [row["metadata"]["endpoint"] for row in rows] == [
        *("logistics", "balance", "stock", "prices", "listing")
    ]
    assert {row["metadata"]["caller"] for row in rows} == {"reader-1"}
    assert all(row["total_count"] == row["success_count"] + row["failed_count"] for row in rows)
    assert all(row["completed_at"] and row["duration"] >= 0 for row in rows)
    # One token for all of them: the client lives on between two queries.
    assert sandbox.report()["calls"]["token"] == 1


def test_a_changed_configuration_counts_at_once(
    operator: TestClient, dealer: dict[str, Any], sandbox: SandboxProcess
) -> None:
    assert operator.get(f"{API}/balance/").status_code == 200
    operator.patch(f"{API}/config/{dealer['id']}/", json={"config": {"client_secret": "wrong"}})

    answer = operator.get(f"{API}/balance/")

    assert answer.status_code == 502
    assert "HTTP 401" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"kind": "refuse", "message": "参数错误"}, 502),
        ({"kind": "status", "status": 400}, 502),
        ({"kind": "status", "status": 403}, 502),
        ({"kind": "status", "status": 429, "retry_after": "90"}, 503),
        ({"kind": "status", "status": 503, "retry_after": "90"}, 503),
        ({"kind": "status", "status": 504, "retry_after": "90"}, 504),
        ({"kind": "redirect", "location": "http://169.254.169.254/"}, 502),
    ],
)
def test_a_refusal_is_passed_on_with_a_time_to_come_back(
    reader: TestClient, sandbox: SandboxProcess, fault: dict[str, Any], status: int
) -> None:
    sandbox.fault(interface="balance", **fault)

    answer = reader.get(f"{API}/balance/")

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) == (90 if "retry_after" in fault else 30)
    assert "balance" in answer.json()["detail"]
    assert [row["status"] for row in logs(reader)] == ["failed"]


def test_nobody_waits_longer_than_he_said(reader: TestClient, sandbox: SandboxProcess) -> None:
    sandbox.fault(interface="balance", kind="hang", seconds=5, times=1)
    began = time.monotonic()

    answer = reader.get(f"{API}/balance/?timeout=0.6")

    assert time.monotonic() - began < 2
    assert answer.status_code == 504
    assert "0.6 s" in answer.json()["detail"]
    assert [row["status"] for row in logs(reader)] == ["failed"]
    assert reader.get(f"{API}/balance/?timeout=3").status_code == 200


def test_several_active_dealers_want_one_named(
    operator: TestClient, config: dict[str, Any]
) -> None:
    operator.post(f"{API}/config/", json={"name": "second", "config": config})

    unnamed = operator.get(f"{API}/balance/")
    named = operator.get(f"{API}/balance/?dealer=second")
    unknown = operator.get(f"{API}/balance/?dealer=third")

    assert unnamed.status_code == 422
    assert "second" in unnamed.json()["detail"]
    assert named.status_code == 200
    assert unknown.status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "products/",
        "products/?product_codes=",
        "products/?product_codes=A,,B",
        "prices/?product_codes=" + ",".join(f"C{n}" for n in range(101)),
        "stock/?product_code=A&county_code=1101",
        "stock/?product_code=A",
        "balance/?timeout=0",
        "balance/?timeout=nan",
        "balance/?timeout=1e9",
        "logistics/?order_code=%00",
    ],
)
def test_a_wrong_parameter_is_422_before_any_call(
    reader: TestClient, sandbox: SandboxProcess, path: str
) -> None:
    answer = reader.get(f"{API}/{path}")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] in (
        *("product_codes", "county_code", "timeout", "order_code"),
    )
    assert sum(sandbox.report()["calls"].values()) == 0


def test_a_refusal_that_knows_its_time_rounds_it_up() -> None:
    error = PlatformClosed("Wait.", endpoint="stock", status=429, retry_after=61.2)

    assert of_error(error).headers["Retry-After"] == "62"


def test_no_secret_is_in_answers_logs_or_tables(
    app: FastAPI,
    operator: TestClient,
    installation: Installation,
    sandbox: SandboxProcess,
    dealer: dict[str, Any],
    config: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Fault matrix, D: canaries are planted, echoed by the platform, and searched for
    in every spelling."""
    canaries = {key: f"canary/{key}?&=%" for key in (*SECRETS, "customer_password")}
    seen: list[str] = []

    def keep(answer: Any) -> None:
        seen.append(answer.text + str(answer.headers))

    url = f"{API}/config/{dealer['id']}/"
    keep(operator.patch(url, json={"config": {**canaries, "client_secret": "sandbox-secret"}}))
    echo = " ".join(value for key, value in canaries.items() if key != "client_secret")
    for interface in ("balance", "prices", "stock", "listing", "logistics"):
        sandbox.fault(interface=interface, kind="refuse", message=echo)
    keep(operator.get(f"{API}/balance/"))
    keep(operator.get(f"{API}/stock/?product_code=A&county_code=110101"))
    keep(operator.get(f"{API}/logistics/?order_code=A"))
    sandbox.clear_faults()
    known = [*echo.split(" "), "sandbox-secret"]
    echoes = [one for secret in known for one in spellings(secret, "sandbox")]
    data = {"getAllLogisticsInfoByOrderCode": [{"echo": echoes}]}
    sandbox.fault(interface="logistics", kind="answer", answer={"success": True, "data": data})
    keep(operator.get(f"{API}/logistics/?order_code=A"))
    for interface in ("balance", "prices", "stock", "listing"):
        sandbox.fault(interface=interface, kind="refuse", message=echo)
    keep(operator.post(f"{url}test/"))
    keep(operator.patch(url, json={"config": canaries}))
    sandbox.clear_faults()
    sandbox.fault(
        interface="token", kind="status", status=400, body={"message": " ".join(canaries.values())}
    )
    keep(operator.get(f"{API}/balance/"))
    keep(operator.post(f"{url}test/"))
    keep(operator.post(f"{API}/config/", json={"name": "x,y", "config": {**config, **canaries}}))
    keep(operator.post(f"{API}/config/", json={"name": "z", "config": {**canaries, "extra": echo}}))
    keep(operator.post(f"{API}/config/", content=f'{{"name": "z", "config": "{echo}"'.encode()))
    keep(operator.get(f"{API}/logs/"))
    keep(operator.get(url))
    keep(operator.get("/metrics"))
    seen.append(caplog.text)
    seen += capfd.readouterr()
    with installation.engine.connect() as connection:
        for table in every_table(connection):
            rows = select(text(f'"{table.name}"::text')).select_from(table)
            seen += [str(row) for row in connection.execute(rows)]

    everything = "\n".join(seen)
    assert "•••" in everything
    for secret in (*canaries.values(), OPERATOR_TOKEN, "sandbox-secret"):
        for form in spellings(secret, "sandbox"):
            # As it is, and as JSON writes it.
            assert form not in everything, form
            assert json.dumps(form)[1:-1] not in everything, form


def every_table(connection: Any) -> list[Table]:
    found = MetaData()
    found.reflect(connection)
    assert set(metadata.tables) <= set(found.tables)
    return list(found.tables.values())


def test_a_dealer_whose_platform_hangs_holds_up_no_other(
    operator: TestClient, config: dict[str, Any], dealer: Any, sandbox: SandboxProcess
) -> None:
    """Forty callers wait a second each for the one; the other's is answered as ever."""
    with SandboxProcess() as hanging:
        hanging.fault(interface="balance", kind="hang", seconds=60)
        address = {"base_url": hanging.url, "token_url": f"{hanging.url}/oauth2/auth"}
        operator.post(f"{API}/config/", json={"name": "slow", "config": {**config, **address}})
        assert operator.get(f"{API}/balance/?dealer=stored").status_code == 200
        with ThreadPoolExecutor(40) as callers:
            slow = [
                callers.submit(operator.get, f"{API}/balance/?dealer=slow&timeout=1")
                for _ in range(40)
            ]
            time.sleep(0.3)
            began = time.monotonic()
            beside = operator.get(f"{API}/balance/?dealer=stored&timeout=10")
            beside_seconds = time.monotonic() - began
        statuses = {each.result().status_code for each in slow}
        # Whoever has left took the calls along: the next ones find threads.
        time.sleep(0.5)
        hanging.clear_faults()
        afterwards = operator.get(f"{API}/balance/?dealer=slow&timeout=3")

    assert beside.status_code == 200
    assert beside_seconds < 8
    assert statuses <= {503, 504}
    assert afterwards.status_code == 200
