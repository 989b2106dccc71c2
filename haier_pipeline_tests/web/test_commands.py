"""``haier config`` and ``haier token``: what is typed, what is asked, what is shown."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from cryptography.fernet import Fernet
from typer.testing import CliRunner, Result

from haier_pipeline.cli import app
from haier_pipeline.cli_config import KEY_OPTIONS
from haier_pipeline.cli_config import SECRETS as SECRETS_OF_FILES
from haier_pipeline.errors import Conflict, HaierError, InvalidConfig, InvalidInput, NotFound
from haier_pipeline.platform.config import FIELDS, SECRET_FIELDS
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.settings import DEALER_VARIABLES
from haier_pipeline.web.auth import Tokens
from haier_pipeline_tests.web.callers import SECRETS


@pytest.fixture
def environment(
    database_url: str, sandbox: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "HAIER_HOME": str(tmp_path),
        "HAIER_DATABASE_URL": database_url,
        "HAIER_SECRET_KEY": Fernet.generate_key().decode(),
        "HAIER_ALLOWED_HOSTS": "127.0.0.1",
        "COLUMNS": "300",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def options(environment: None, config: dict[str, Any], tmp_path: Path) -> list[str]:
    """The options of ``haier config create`` for a dealer at the sandbox, secrets in a file."""
    secrets = tmp_path / "secrets"
    secrets.write_text("# mine\n" + "".join(f"{key} = {SECRETS[key]}\n" for key in SECRETS))
    plain = ("client_id", "customer_code", "send_to_code", "base_url", "token_url", "rate_limit")
    return [part for key in plain for part in (f"--{key.replace('_', '-')}", str(config[key]))] + [
        "--secrets-file",
        str(secrets),
    ]


def haier(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=stdin)


def shown(*arguments: str) -> Any:
    ended = haier(*arguments, "--json")
    assert ended.exit_code == 0, ended.output + repr(ended.exception)
    assert not any(secret in ended.output for secret in SECRETS.values())
    return json.loads(ended.stdout)


def refused(kind: type[HaierError], *arguments: str, stdin: str | None = None) -> str:
    ended = haier(*arguments, stdin=stdin)
    assert isinstance(ended.exception, kind), ended.output
    said = str(ended.exception)
    assert not any(secret in said + ended.output for secret in SECRETS.values())
    return said


def test_a_dealer_is_kept_from_the_command_line(options: list[str]) -> None:
    made = shown("config", "create", "shop", *options)
    assert (made["name"], made["is_active"], made["config"]["rate_limit"]) == ("shop", True, 1000)
    assert shown("config", "list")["dealers"] == [made]
    assert shown("config", "show", "shop") == made
    assert shown("config", "show", "shop", "--key", "supplier_code") == {"supplier_code": "1001"}
    assert haier("config", "show", "shop", "--key", "county_codes").stdout == "110101\n"
    assert shown("config", "test", "shop")["ok"] is True

    changed = shown("config", "update", "shop", "--county-code", "310101", "--unset", "rate_limit")
    assert changed["config"]["county_codes"] == ["310101"]
    assert changed["config"]["rate_limit"] == 100
    assert shown("config", "disable", "shop")["is_active"] is False
    assert shown("config", "enable", "shop")["is_active"] is True
    assert "shop" in haier("config", "list").stdout
    assert "not set" in haier("config", "show", "shop").stdout

    assert haier("config", "delete", "shop", stdin="n\n").exit_code != 0
    assert haier("config", "delete", "shop", "--yes").exit_code == 0
    assert shown("config", "list") == {"dealers": []}


def test_what_is_wrong_is_named_without_its_value(options: list[str], tmp_path: Path) -> None:
    shown("config", "create", "shop", *options)
    secret = tmp_path / "wrong"
    secret.write_text("just-the-secret-canary\n")

    refused(Conflict, "config", "create", "shop", *options)
    refused(NotFound, "config", "show", "other")
    refused(InvalidInput, "config", "show", "shop", "--key", "password")
    refused(InvalidInput, "config", "show", "shop", "--key", "unknown")
    refused(InvalidInput, "config", "update", "shop")
    assert "county_codes" in refused(
        InvalidConfig, "config", "update", "shop", "--county-code", "abc"
    )
    assert "give its secrets again" in refused(
        InvalidConfig, "config", "update", "shop", "--base-url", "https://openplat-test.haier.net"
    )
    said = refused(InvalidInput, "config", "create", "x", "--secrets-file", str(secret))
    assert "line 1" in said
    assert "canary" not in said
    refused(InvalidInput, "config", "create", "x", "--secrets-file", str(tmp_path / "none"))
    both = ("--secrets-file", str(secret), "--secrets-from-env")
    refused(InvalidInput, "config", "create", "x", *both)


def test_secrets_come_from_variables_or_standard_input_and_never_from_an_argument(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = options[: options.index("--secrets-file")]
    for key, value in SECRETS.items():
        monkeypatch.setenv(f"HAIER_{key.upper()}", value)

    assert haier("config", "create", "one", *plain, "--secrets-from-env").exit_code == 0
    lines = "".join(f"{key}={value}\n" for key, value in SECRETS.items())
    made = haier("config", "create", "two", *plain, "--secrets-file", "-", stdin=lines)
    assert made.exit_code == 0
    assert shown("config", "test", "two")["ok"] is True
    assert "terminal" in refused(InvalidInput, "config", "create", "three", *plain)

    commands = typer.main.get_command(app).commands["config"].commands  # type: ignore[attr-defined] # a group has them
    for command in commands.values():
        for option in command.params:
            assert option.name not in (*SECRETS, "customer_password")


def test_a_failing_test_exits_with_1(options: list[str], sandbox: SandboxProcess) -> None:
    shown("config", "create", "shop", *options)
    sandbox.fault(interface="listing", kind="status", status=403)

    ended = haier("config", "test", "shop")

    assert ended.exit_code == 1
    assert "The token works, the listing does not." in ended.stdout


def test_a_token_is_shown_once_with_its_entry() -> None:
    made = shown("token", "create", "--name", "shop", "--role", "operator")
    found = Tokens([made["entry"]]).find(made["token"])

    assert found is not None
    assert found.is_operator
    ended = haier("token", "create", "--name", "shop")
    assert ended.stdout.startswith("haier_")
    refused(InvalidInput, "token", "create", "--name", "shop", "--role", "root")


def test_every_key_that_is_no_secret_has_an_option_and_every_secret_a_place_in_a_file() -> None:
    assert set(KEY_OPTIONS) == set(FIELDS) - SECRET_FIELDS
    assert set(SECRETS_OF_FILES) == SECRET_FIELDS
    assert set(DEALER_VARIABLES.values()) == set(FIELDS)
    assert all(name == f"HAIER_{key.upper()}" for name, key in DEALER_VARIABLES.items())


def test_order_settings_are_given_by_options_and_their_secrets_in_the_file(
    options: list[str], tmp_path: Path, config: dict[str, Any]
) -> None:
    secret = tmp_path / "secrets"
    more = "HAIER_YLH_CLIENT_SECRET=canary-a\nylh_password=canary-b\nylh_callback_secret=canary-c\n"
    secret.write_text(secret.read_text() + more)
    given = {
        "ylh_base_url": config["base_url"],
        "ylh_client_id": "orders",
        "ylh_username": "user",
        "ylh_source_system": "shop",
        "ylh_shop_name": "电器行",
        "ylh_callback_app_key": "app",
        "order_confirm_hours": "48",
    }
    arguments = [f"--{key.replace('_', '-')}={value}" for key, value in given.items()]
    made = shown("config", "create", "shop", *options, *arguments)
    assert made["config"]["ylh_shop_name"] == "电器行"
    assert made["config"]["order_confirm_hours"] == 48
    assert made["secrets"]["ylh_callback_secret"] is True
    assert "canary" not in json.dumps(made)
    changed = shown("config", "update", "shop", "--ylh-seller-code", "TEST-1")
    assert changed["config"]["ylh_seller_code"] == "TEST-1"
    assert "order_confirm_hours" in refused(
        InvalidConfig, "config", "update", "shop", "--order-confirm-hours", "0"
    )
