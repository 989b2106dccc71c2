"""Dealers on the admin pages: stored, changed, tried out, synced; secrets go in and never out."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI

from haier_pipeline.domain.request import SyncRequest
from haier_pipeline.errors import CatalogError
from haier_pipeline.installation import Installation
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.web.app import build_app
from haier_pipeline_tests.web.admin_visitor import ADMIN, Visitor, fields_of, forms
from haier_pipeline_tests.web.callers import OPERATOR_TOKEN, SECRETS, app_on

NEW = "/dealers/new"


@pytest.fixture
def admin(app: FastAPI) -> Visitor:
    """An operator who is logged in."""
    return Visitor(app).log_in(OPERATOR_TOKEN)


@pytest.fixture
def filled_in(config: dict[str, Any]) -> dict[str, str]:
    """What a person types into the form of a new dealer."""
    typed = {key: str(value) for key, value in config.items()}
    return {**typed, "name": "stored", "county_codes": "110101, 310101", "is_active": "on"}


@pytest.fixture
def dealer_page(admin: Visitor, filled_in: dict[str, str]) -> str:
    """The page of the stored dealer ``stored``."""
    answer = admin.send(NEW, NEW, **filled_in)
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"].removeprefix(ADMIN)


def wrong_fields(page: str) -> set[str]:
    return set(re.findall(r'name="(\w+)"[^>]*aria-invalid="true"', page))


def test_a_dealer_is_stored_changed_disabled_and_enabled(
    admin: Visitor, dealer_page: str, installation: Installation
) -> None:
    dealers = installation.dealers
    stored = dealers.config("stored")
    assert stored.county_codes == ("110101", "310101")
    assert stored.password.get_secret_value() == SECRETS["password"]
    assert "Test its connection next" in admin.page(dealer_page)
    assert "Test its connection next" not in admin.page(dealer_page)

    changed = admin.send(
        dealer_page, dealer_page, county_codes="310101", rate_limit="", password="new one"
    )
    assert changed.status_code == 303
    after = dealers.config("stored")
    assert after.county_codes == ("310101",)
    assert after.rate_limit == 100
    assert after.password.get_secret_value() == "new one"
    assert after.seller_password == stored.seller_password

    assert admin.send(dealer_page, f"{dealer_page}/disable").status_code == 303
    assert "stops at its next batch" in admin.page(dealer_page)
    assert dealers.find("stored").is_active is False
    assert f"{ADMIN}/sync" not in forms(admin.page(dealer_page))
    assert admin.send(dealer_page, f"{dealer_page}/enable").status_code == 303
    assert dealers.find("stored").is_active is True


def test_saving_a_form_unchanged_changes_nothing(
    admin: Visitor, dealer_page: str, installation: Installation
) -> None:
    """A default that was only shown does not become a value of the dealer's own."""
    before = installation.dealers.find("stored")

    assert admin.send(dealer_page, dealer_page).status_code == 303

    after = installation.dealers.find("stored")
    assert (after.config, after.secrets) == (before.config, before.secrets)


def test_an_optional_secret_can_be_given_and_forgotten(
    admin: Visitor, dealer_page: str, installation: Installation
) -> None:
    admin.send(dealer_page, dealer_page, customer_password="its own")
    own = installation.dealers.config("stored").customer_password.get_secret_value()
    admin.send(dealer_page, dealer_page, forget_customer_password="on")
    forgotten = installation.dealers.config("stored").customer_password.get_secret_value()

    assert own == "its own"
    assert forgotten == SECRETS["password"]


def test_order_settings_are_part_of_the_form(
    admin: Visitor, dealer_page: str, installation: Installation, config: dict[str, Any]
) -> None:
    typed = {
        "ylh_base_url": str(config["base_url"]),
        "ylh_client_id": "orders",
        "ylh_client_secret": "canary-a",
        "ylh_username": "user",
        "ylh_password": "canary-b",
        "ylh_source_system": "shop",
        "ylh_shop_name": "电器行",
        "ylh_callback_app_key": "app",
        "ylh_callback_secret": "canary-c",
        "ylh_callback_secret_previous": "canary-d",
    }
    assert admin.send(dealer_page, dealer_page, **typed).status_code == 303
    dealer = installation.dealers.config("stored")
    dealer.require_orders()
    assert dealer.callback_secrets == ("canary-c", "canary-d")
    page = admin.page(dealer_page)
    assert "电器行" in page
    assert "canary" not in page

    gone = admin.send(dealer_page, dealer_page, forget_ylh_callback_secret_previous="on")
    assert gone.status_code == 303
    assert installation.dealers.config("stored").callback_secrets == ("canary-c",)


def test_secrets_stand_on_no_page(
    admin: Visitor, dealer_page: str, filled_in: dict[str, str], app: FastAPI
) -> None:
    """Row 52: not even in the form that they were typed into, when it comes back."""
    canaries = {key: f"canary-{key}" for key in (*SECRETS, "customer_password")}

    refused = admin.send(
        NEW, NEW, **{**filled_in, **canaries, "name": "other", "send_to_code": "8 8"}
    )
    unchanged = admin.send(dealer_page, dealer_page, **canaries, rate_limit="many")

    assert refused.status_code == unchanged.status_code == 422
    pages = [
        refused.text,
        unchanged.text,
        *(admin.page(path) for path in ("/", "/dealers", dealer_page)),
    ]
    for page in pages:
        assert "canary" not in page
        for secret in SECRETS.values():
            assert secret not in page
    assert pages[-1].count("set; leave blank to keep it") == 3


def test_every_wrong_field_is_marked_and_the_others_are_kept(
    admin: Visitor, filled_in: dict[str, str], installation: Installation
) -> None:
    """Row 46."""
    bad = {**filled_in, "customer_code": "too short", "county_codes": "1101", "password": ""}

    answer = admin.send(NEW, NEW, **bad)

    assert answer.status_code == 422
    assert wrong_fields(answer.text) == {"customer_code", "county_codes", "password"}
    kept = fields_of(answer.text, f"{ADMIN}{NEW}")
    assert kept["client_id"] == filled_in["client_id"]
    assert kept["base_url"] == filled_in["base_url"]
    assert kept["is_active"] == "on"
    assert installation.dealers.all() == []


def test_another_host_asks_for_the_secrets_again(
    admin: Visitor, dealer_page: str, installation: Installation
) -> None:
    """Row 51."""
    elsewhere = "https://openplat-test.haier.net"

    refused = admin.send(dealer_page, dealer_page, base_url=elsewhere)
    hostile = admin.send(dealer_page, dealer_page, base_url="http://169.254.169.254", **SECRETS)
    given = admin.send(dealer_page, dealer_page, base_url=elsewhere, **SECRETS)

    assert refused.status_code == hostile.status_code == 422
    assert wrong_fields(refused.text) == set(SECRETS)
    assert wrong_fields(hostile.text) == {"base_url"}
    assert given.status_code == 303
    assert installation.dealers.config("stored").base_url == elsewhere


def test_a_taken_name_is_said(admin: Visitor, dealer_page: str, filled_in: dict[str, str]) -> None:
    answer = admin.send(NEW, NEW, **filled_in)

    assert answer.status_code == 409
    assert "there is a dealer named" in answer.text


def test_without_a_key_nothing_is_stored(
    new_installation: Callable[..., Installation], filled_in: dict[str, str]
) -> None:
    """Row 48."""
    keyless = new_installation(secret_keys=())
    visitor = Visitor(app_on(keyless, [])).log_in(OPERATOR_TOKEN)

    answer = visitor.send(NEW, NEW, **filled_in)

    assert answer.status_code == 422
    assert "HAIER_SECRET_KEY is not set" in answer.text
    assert keyless.dealers.all() == []


def test_the_dealer_of_the_environment_is_shown_and_cannot_be_edited(
    new_installation: Callable[..., Installation], config: dict[str, Any], sandbox: SandboxProcess
) -> None:
    variables = {**config, "county_codes": "110101", "rate_limit": "900"}
    visitor = Visitor(app_on(new_installation(dealer=variables), [])).log_in(OPERATOR_TOKEN)

    page = visitor.page("/dealers/0")
    changed = visitor.post("/dealers/0", csrf=visitor.csrf, rate_limit="5")
    visitor.post("/dealers/0/disable", csrf=visitor.csrf)

    assert "from the environment" in visitor.page("/dealers")
    assert "<fieldset disabled>" in page
    assert {target.removeprefix(ADMIN) for target in forms(page)} == {
        *("/logout", "/dealers/0", "/dealers/0/test", "/sync")
    }
    assert changed.status_code == 409
    assert 'value="900"' in visitor.page("/dealers/0")
    assert visitor.send("/dealers/0", "/dealers/0/test").status_code == 303
    assert "The connection works." in visitor.page("/dealers/0")


@pytest.mark.parametrize(
    ("fault", "headline", "detail"),
    [
        (None, "The connection works.", "30 products"),
        ({"interface": "token", "status": 401}, "The platform gives no token.", "HTTP 401"),
        (
            {"interface": "listing", "status": 403},
            "The token works, the listing does not.",
            "HTTP 403",
        ),
    ],
)
def test_a_test_of_the_connection_says_what_came_of_it(
    admin: Visitor,
    dealer_page: str,
    sandbox: SandboxProcess,
    fault: dict[str, Any] | None,
    headline: str,
    detail: str,
) -> None:
    if fault is not None:
        sandbox.fault(kind="status", **fault)

    answer = admin.send(dealer_page, f"{dealer_page}/test")
    page = admin.page(dealer_page)

    assert answer.headers["Location"] == ADMIN + dealer_page
    assert headline in page
    assert detail in page


def test_sync_now_starts_one_sync_however_often_the_form_is_sent(
    admin: Visitor, dealer_page: str, launched: list[SyncRequest]
) -> None:
    """Row 55."""
    form = fields_of(admin.page(dealer_page), f"{ADMIN}/sync")
    answers = [admin.post("/sync", **form) for _ in range(3)]
    again = admin.send(dealer_page, "/sync")

    places = {answer.headers["Location"] for answer in answers}
    assert len(places) == 1
    # A new form orders anew, and joins what waits still.
    assert [order.dealer for order in launched] == ["stored"]
    (place,) = places
    assert place == f"{ADMIN}/log?run_id={launched[0].run_id}"
    assert again.headers["Location"] == place
    page = admin.page(place.removeprefix(ADMIN))
    assert page.count('class="status pending"') == 1
    assert '<meta http-equiv="refresh"' in page


def test_a_sync_that_cannot_be_started_is_said(installation: Installation, admin: Visitor) -> None:
    def launch(order: SyncRequest) -> None:
        raise CatalogError(f"no process for {order.dealer}")

    app = build_app(installation, launch=launch)
    visitor = Visitor(app).log_in(OPERATOR_TOKEN)

    failed = visitor.post("/sync", csrf=visitor.csrf, dealer="nobody", key="1")
    page = visitor.page("/dealers")

    assert failed.headers["Location"] == f"{ADMIN}/dealers"
    assert "That did not work." in page
    assert "no active dealer named" in page


def test_where_nobody_is_configured_the_sandbox_can_be_synced(admin: Visitor) -> None:
    page = admin.page("/dealers")

    assert "built-in sandbox" in page
    assert fields_of(page, f"{ADMIN}/sync")["dealer"] == "sandbox"
    assert "sandbox" in admin.page("/")
