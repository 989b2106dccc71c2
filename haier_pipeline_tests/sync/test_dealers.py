"""Stored dealers: what others keep in their rows, and what dealers of one client share."""

import json
import logging
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text

from haier_pipeline.errors import InvalidConfig
from haier_pipeline.sync.dealers import Dealers

FOREIGN: dict[str, Any] = {"erp_api_key": "canary", "ylh": {"shop": [1, "二"]}}


@pytest.fixture
def dealers(engine: Engine) -> Dealers:
    return Dealers(
        engine,
        environment={},
        allowed_hosts=("127.0.0.1",),
        secret_keys=(Fernet.generate_key().decode(),),
        sandbox=dict,
    )


def stored(engine: Engine, name: str) -> dict[str, Any]:
    with engine.connect() as connection:
        query = text("SELECT config FROM haier_config WHERE name = :name")
        found: dict[str, Any] = connection.execute(query, {"name": name}).scalar_one()
    return found


def test_keys_of_other_programs_are_named_and_left_as_they_are(
    engine: Engine,
    dealers: Dealers,
    dealer_variables: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    number = dealers.create("shop", dealer_variables).id
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE haier_config SET config = config || CAST(:more AS jsonb)"),
            {"more": json.dumps(FOREIGN)},
        )
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert dealers.config("shop").customer_code == dealer_variables["customer_code"]
    (record,) = caplog.records
    assert "erp_api_key, ylh" in record.getMessage()
    assert "canary" not in record.getMessage()
    assert dealers.get(number).unknown_keys == ("erp_api_key", "ylh")

    dealers.update(number, {"rate_limit": 7})
    dealers.replace(number, dealer_variables | {"rate_limit": 8})
    dealers.disable(number)
    dealers.enable(number)
    assert {key: stored(engine, "shop")[key] for key in FOREIGN} == FOREIGN
    assert dealers.config("shop").rate_limit == 8

    for act in (dealers.update, dealers.replace):
        with pytest.raises(InvalidConfig, match="erp_api_key is not a known field"):
            act(number, dealer_variables | {"erp_api_key": None})


def test_the_smallest_rate_of_the_active_dealers_of_a_client_holds(
    dealers: Dealers, dealer_variables: dict[str, str]
) -> None:
    """Fault matrix, row 14."""
    dealers.create("one", dealer_variables | {"rate_limit": 100})
    slow = dealers.create("two", dealer_variables | {"rate_limit": 20}).id
    dealers.create("elsewhere", dealer_variables | {"client_id": "sandbox-2", "rate_limit": 3})
    config = dealers.config("one")
    with dealers.client(config) as client:
        assert client.dealer.rate_limit == 20
    dealers.disable(slow)
    with dealers.client(config) as client:
        assert client.dealer.rate_limit == 100


def test_an_address_that_follows_moves_with_the_other(
    dealers: Dealers, dealer_variables: dict[str, str]
) -> None:
    """Fault matrix, row 51: and wants the secrets again."""
    given = {key: value for key, value in dealer_variables.items() if key != "token_url"}
    number = dealers.create("shop", given).id
    assert dealers.get(number).config["token_url"] == f"{given['base_url']}/oauth2/auth"
    production = "https://openplat-bj-aliyun.haier.net"
    with pytest.raises(InvalidConfig, match="base_url and token_url names another host"):
        dealers.update(number, {"base_url": production})
    secrets = dict.fromkeys(("client_secret", "password", "seller_password"), "new")
    moved = dealers.update(number, {"base_url": production, **secrets})
    assert moved.config["token_url"] == f"{production}/oauth2/auth"


def test_order_settings_that_are_wrong_in_a_row_stop_no_sync_of_the_catalog(
    engine: Engine, dealers: Dealers, dealer_variables: dict[str, str]
) -> None:
    catalog = {key: value for key, value in dealer_variables.items() if "ylh" not in key}
    dealers.create("shop", catalog)
    wrong = {"ylh_client_id": "orders", "ylh_rate_limit": "many"}
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE haier_config SET config = config || CAST(:more AS jsonb)"),
            {"more": json.dumps(wrong)},
        )
    config = dealers.config("shop")
    assert config.customer_code == dealer_variables["customer_code"]
    with pytest.raises(InvalidConfig, match=r"ylh_rate_limit must be .*ylh_shop_name is missing"):
        config.require_orders()
