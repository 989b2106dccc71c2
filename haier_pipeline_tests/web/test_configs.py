"""Dealers over REST: kept, changed, tried out, and never shown with a secret."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text, update
from starlette.testclient import TestClient

from haier_pipeline.catalog.tables import haier_config
from haier_pipeline.installation import Installation
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline_tests.web.callers import API, OPERATOR_TOKEN, SECRETS, app_on, caller

CONFIG = f"{API}/config"


def test_a_dealer_is_created_read_changed_disabled_enabled_and_deleted(
    operator: TestClient, dealer: dict[str, Any]
) -> None:
    url = f"{CONFIG}/{dealer['id']}/"

    assert dealer["name"] == "stored"
    assert dealer["source"] == "stored"
    assert dealer["is_active"] is True
    assert dealer["config"]["supplier_code"] == "1001"
    assert operator.get(url).json()["data"] == dealer
    assert operator.get(f"{CONFIG}/").json()["data"] == [dealer]

    changed = operator.patch(url, json={"config": {"county_codes": ["310101"]}}).json()["data"]
    assert changed["config"]["county_codes"] == ["310101"]
    assert changed["config"]["client_id"] == dealer["config"]["client_id"]
    assert changed["secrets"] == dealer["secrets"]

    assert operator.post(f"{url}disable/").json()["data"]["is_active"] is False
    assert operator.get(f"{API}/balance/?dealer=stored").status_code == 422
    assert operator.post(f"{url}enable/").json()["data"]["is_active"] is True
    assert operator.get(f"{API}/balance/?dealer=stored").status_code == 200

    assert operator.delete(url).status_code == 204
    assert operator.get(url).status_code == 404
    assert operator.delete(url).status_code == 404


def test_a_replaced_configuration_keeps_nothing_of_the_old_one(
    operator: TestClient, dealer: dict[str, Any], config: dict[str, Any]
) -> None:
    whole = {key: value for key, value in config.items() if key != "county_codes"}
    url = f"{CONFIG}/{dealer['id']}/"

    replaced = operator.put(url, json={"config": whole})
    partial = operator.put(url, json={"config": {"client_id": "other"}})

    assert replaced.json()["data"]["config"]["county_codes"] == ["110101"]
    assert partial.status_code == 422
    assert {error["field"] for error in partial.json()["errors"]} == {
        *("config.customer_code", "config.send_to_code"),
        *("config.client_secret", "config.password", "config.seller_password"),
    }


def test_every_missing_or_malformed_key_is_named_and_never_its_value(
    operator: TestClient, config: dict[str, Any]
) -> None:
    """Row 46."""
    bad = {**config, "customer_code": "canary short", "send_to_code": "canary with spaces"}
    del bad["password"]

    answer = operator.post(f"{CONFIG}/", json={"name": "stored", "config": bad})

    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {
        *("config.customer_code", "config.send_to_code", "config.password")
    }
    assert "canary" not in answer.text


@pytest.mark.parametrize(
    ("stored", "named"),
    [
        ([1, 2], "config"),
        ({}, "client_id"),
        ({"client_secret": "plain text"}, "client_secret"),
        ({"password": "encrypted:garbage-canary"}, "password"),
        ({"county_codes": {"a": 1}, "rate_limit": "many"}, "county_codes"),
    ],
)
def test_a_row_that_was_written_by_hand_fails_before_any_call_and_is_still_shown(
    operator: TestClient,
    installation: Installation,
    sandbox: SandboxProcess,
    dealer: dict[str, Any],
    stored: Any,
    named: str,
) -> None:
    """Row 46: malformed or undecryptable."""
    with installation.engine.begin() as connection:
        connection.execute(update(haier_config).values(config=stored))

    answers = [
        operator.get(f"{API}/balance/?dealer=stored"),
        operator.post(f"{API}/sync/", json={"dealer": "stored"}),
        operator.post(f"{CONFIG}/{dealer['id']}/test/"),
        operator.post(f"{CONFIG}/{dealer['id']}/enable/"),
    ]

    for answer in answers:
        assert answer.status_code == 409
        assert named in answer.json()["detail"]
        assert "canary" not in answer.text
        assert "plain text" not in answer.text
    assert operator.get(f"{CONFIG}/{dealer['id']}/").status_code == 200
    assert sandbox.report()["calls"] == {} or not sum(sandbox.report()["calls"].values())


def test_secrets_are_neither_stored_nor_read_without_a_key(
    operator: TestClient,
    dealer: dict[str, Any],
    config: dict[str, Any],
    new_installation: Callable[..., Installation],
) -> None:
    """Row 48."""
    keyless = caller(app_on(new_installation(secret_keys=()), []), OPERATOR_TOKEN)

    stored = keyless.post(f"{CONFIG}/", json={"name": "other", "config": config})
    changed = keyless.patch(f"{CONFIG}/{dealer['id']}/", json={"config": {"rate_limit": 5}})
    read = keyless.get(f"{API}/balance/?dealer=stored")

    for answer in (stored, changed, read):
        assert answer.status_code in (409, 422)
        assert "HAIER_SECRET_KEY is not set" in answer.json()["detail"]
    assert [row["name"] for row in keyless.get(f"{CONFIG}/").json()["data"]] == ["stored"]


def test_another_key_names_the_field_and_a_rotated_key_reads_on(
    new_installation: Callable[..., Installation], config: dict[str, Any]
) -> None:
    """Rows 46 and 48."""
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    first = caller(app_on(new_installation(secret_keys=(old,)), []), OPERATOR_TOKEN)
    assert first.post(f"{CONFIG}/", json={"name": "stored", "config": config}).status_code == 201

    lost = caller(app_on(new_installation(secret_keys=(new,)), []), OPERATOR_TOKEN)
    rotated = caller(app_on(new_installation(secret_keys=(new, old)), []), OPERATOR_TOKEN)

    answer = lost.get(f"{API}/balance/")
    assert answer.status_code == 409
    assert "client_secret" in answer.json()["detail"]
    assert rotated.get(f"{API}/balance/").status_code == 200


ADDRESSES = (
    "http://169.254.169.254/latest/meta-data",
    "https://169.254.169.254",
    "https://[::1]",
    "https://localhost",
    "https://127.0.0.1.nip.io",
    "https://openplat-test.haier.net.evil.example",
    "https://openplat-test.haier.net@evil.example",
    "https://openplat-test.haier.net:8443",
    "http://openplat-test.haier.net",
    "https://metadata.google.internal",
    "file:///etc/passwd",
)


def test_an_address_that_is_neither_haiers_nor_allowed_is_refused(
    operator: TestClient, config: dict[str, Any]
) -> None:
    """Row 51."""
    for key in ("base_url", "token_url"):
        for address in ADDRESSES:
            body = {"name": "stored", "config": {**config, key: address}}
            answer = operator.post(f"{CONFIG}/", json=body)

            assert answer.status_code == 422, address
            assert [error["field"] for error in answer.json()["errors"]] == [f"config.{key}"]
            assert address not in answer.text


def test_a_redirect_is_not_followed(
    operator: TestClient, dealer: dict[str, Any], sandbox: SandboxProcess
) -> None:
    """Row 51."""
    sandbox.fault(
        kind="redirect", interface="listing", location="http://169.254.169.254/", status=302
    )

    trial = operator.post(f"{CONFIG}/{dealer['id']}/test/").json()["data"]

    assert trial["ok"] is False
    assert trial["failed"] == "listing"
    assert "redirect" in trial["message"]


def test_another_host_wants_the_secrets_again(
    operator: TestClient, dealer: dict[str, Any], installation: Installation
) -> None:
    """Row 51: what was meant for one host never goes to another unasked."""
    url = f"{CONFIG}/{dealer['id']}/"
    elsewhere = {"base_url": "https://openplat-test.haier.net"}

    refused = operator.patch(url, json={"config": elsewhere})
    port = operator.patch(url, json={"config": {"token_url": "http://127.0.0.1:1/oauth2/auth"}})
    both = {"base_url": None, "token_url": None}
    default = operator.patch(url, json={"config": both})
    given = operator.patch(url, json={"config": {**elsewhere, **SECRETS}})

    for answer in (refused, port, default):
        assert answer.status_code == 422
        assert {error["field"] for error in answer.json()["errors"]} == {
            f"config.{key}" for key in SECRETS
        }
    assert given.status_code == 200
    assert given.json()["data"]["config"]["base_url"] == elsewhere["base_url"]


UNWANTED: tuple[Any, ...] = (
    {"name": "other"},
    {"id": 7},
    {"created_at": "2026-01-01T00:00:00Z"},
    {"config": {"passwrod": "canary"}},
    {"is_active": "yes"},
    {"config": {"rate_limit": 10**9}},
    {"config": {"county_codes": ["1101"]}},
    {"config": []},
    [],
)


def test_unknown_and_read_only_fields_are_refused(
    operator: TestClient, dealer: dict[str, Any]
) -> None:
    """Row 52."""
    for change in UNWANTED:
        answer = operator.patch(f"{CONFIG}/{dealer['id']}/", json=change)

        assert answer.status_code == 422, change
        assert answer.json()["errors"]
        assert "canary" not in answer.text
    assert operator.get(f"{CONFIG}/{dealer['id']}/").json()["data"] == dealer


def test_secrets_are_in_no_answer_and_not_readable_in_the_table(
    operator: TestClient, dealer: dict[str, Any], installation: Installation
) -> None:
    """Row 52."""
    with installation.engine.connect() as connection:
        stored = str(connection.scalar(text("SELECT config::text FROM haier_config")))
    shown = operator.get(f"{CONFIG}/").text

    assert dealer["secrets"] == {
        "client_secret": True,
        "password": True,
        "seller_password": True,
        "customer_password": False,
        "ylh_client_secret": False,
        "ylh_password": False,
        "ylh_callback_secret": False,
        "ylh_callback_secret_previous": False,
    }
    for secret in SECRETS.values():
        assert secret not in shown
        assert secret not in stored
    assert stored.count("encrypted:") == 3


def test_a_taken_name_and_the_sandboxes_name_are_conflicts(
    operator: TestClient, dealer: dict[str, Any], config: dict[str, Any]
) -> None:
    for name in ("stored", "sandbox"):
        answer = operator.post(f"{CONFIG}/", json={"name": name, "config": config})
        assert answer.status_code == 409


def test_the_dealer_of_the_environment_is_shown_and_cannot_be_edited(
    new_installation: Callable[..., Installation], config: dict[str, Any]
) -> None:
    variables = {**config, "county_codes": "110101,310101", "rate_limit": "900"}
    client = caller(app_on(new_installation(dealer=variables), []), OPERATOR_TOKEN)
    assert client.post(f"{CONFIG}/", json={"name": "haier", "config": config}).status_code == 201

    first, second = client.get(f"{CONFIG}/").json()["data"]

    assert (first["id"], first["name"], first["source"]) == (0, "haier", "environment")
    assert first["config"]["county_codes"] == ["110101", "310101"]
    assert first["config"]["rate_limit"] == 900
    assert second["is_shadowed"] is True
    for answer in (
        client.patch(f"{CONFIG}/0/", json={"is_active": False}),
        client.put(f"{CONFIG}/0/", json={"config": config}),
        client.delete(f"{CONFIG}/0/"),
        client.post(f"{CONFIG}/0/disable/"),
        client.post(f"{CONFIG}/0/enable/"),
    ):
        assert answer.status_code == 409
    assert client.post(f"{CONFIG}/0/test/").json()["data"]["ok"] is True


def test_the_pages_of_dealers_follow_each_other(
    operator: TestClient, config: dict[str, Any]
) -> None:
    names = [f"shop {number}" for number in range(5)]
    for name in names:
        operator.post(f"{CONFIG}/", json={"name": name, "config": config, "is_active": False})
    seen, after = [], None
    for _ in range(4):
        params = {"limit": 2} | ({} if after is None else {"after": after})
        page = operator.get(f"{CONFIG}/", params=params).json()
        seen += [dealer["name"] for dealer in page["data"]]
        after = page["next"]
        if after is None:
            break

    assert seen == names
    assert after is None


@pytest.mark.parametrize(
    ("fault", "failed", "said"),
    [
        ({"kind": "status", "interface": "token", "status": 401}, "token", "HTTP 401"),
        ({"kind": "status", "interface": "listing", "status": 403}, "listing", "HTTP 403"),
        ({"kind": "refuse", "interface": "listing", "message": "密码错误"}, "listing", "密码错误"),
    ],
)
def test_a_test_of_the_connection_says_which_call_failed_and_why(
    operator: TestClient,
    dealer: dict[str, Any],
    sandbox: SandboxProcess,
    fault: dict[str, Any],
    failed: str,
    said: str,
) -> None:
    good = operator.post(f"{CONFIG}/{dealer['id']}/test/").json()["data"]
    sandbox.reset(faults=True, tokens=True)
    sandbox.fault(**fault)

    bad = operator.post(f"{CONFIG}/{dealer['id']}/test/").json()["data"]

    assert good == {
        "ok": True,
        "failed": None,
        "message": good["message"],
    }
    assert "30 products" in good["message"]
    assert (bad["ok"], bad["failed"]) == (False, failed)
    assert said in bad["message"]


ORDERS = {
    "ylh_base_url": "http://127.0.0.1:9",
    "ylh_client_id": "orders",
    "ylh_client_secret": "canary-order-client",
    "ylh_username": "user",
    "ylh_password": "canary-order-password",
    "ylh_source_system": "shop",
    "ylh_shop_name": "电器行",
    "ylh_callback_app_key": "app",
    "ylh_callback_secret": "canary-callback",
    "ylh_rate_limit": 50,
}


def test_order_settings_are_kept_with_the_dealer_and_their_secrets_are_secrets(
    operator: TestClient, dealer: dict[str, Any], installation: Installation
) -> None:
    url = f"{CONFIG}/{dealer['id']}/"
    changed = operator.patch(url, json={"config": ORDERS})
    assert changed.status_code == 200, changed.text
    shown = changed.json()["data"]
    assert shown["config"]["ylh_shop_name"] == "电器行"
    assert shown["config"]["ylh_rate_limit"] == 50
    assert shown["config"]["ylh_seller_code"] == shown["config"]["customer_code"]
    assert shown["config"]["order_confirm_hours"] == 24
    assert shown["secrets"]["ylh_password"] is True
    with installation.engine.connect() as connection:
        stored = str(connection.scalar(text("SELECT config::text FROM haier_config")))
    assert "canary" not in changed.text + operator.get(url).text + stored
    installation.dealers.config("stored").require_orders()

    moved = operator.patch(url, json={"config": {"ylh_base_url": "http://127.0.0.1:10"}})
    assert moved.status_code == 422
    assert {error["field"] for error in moved.json()["errors"]} == {
        "config.ylh_client_secret",
        "config.ylh_password",
    }
    assert operator.get(f"{API}/balance/?dealer=stored").status_code == 200


def test_a_trial_is_never_given_a_host_that_delivers(
    operator: TestClient, dealer: dict[str, Any]
) -> None:
    url = f"{CONFIG}/{dealer['id']}/"
    change = {**ORDERS, "ylh_base_url": "https://www.yilihuo.com"}
    answer = operator.patch(url, json={"config": change})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["config.ylh_base_url"]
