"""Secrets at rest: encrypted, rotated, and refused where they are not as they should be."""

import json

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text

from haier_pipeline.catalog import configs
from haier_pipeline.catalog.configs import Secrets
from haier_pipeline.catalog.database import dump_json
from haier_pipeline.errors import InvalidConfig, InvalidInput

FIELDS = ("client_secret", "password")
CANARY = "c4nary/秘密 +&="
CONFIG = {"client_id": "me", "client_secret": CANARY, "password": None, "rate_limit": 100}
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def test_secrets_come_back_and_all_else_stays_readable() -> None:
    secrets = Secrets([NEW], FIELDS)
    stored = secrets.encrypt(CONFIG)
    assert "c4nary" not in json.dumps(stored)
    assert stored | {"client_secret": ""} == CONFIG | {"client_secret": ""}
    assert secrets.decrypt(stored) == CONFIG


def test_the_same_secret_never_looks_the_same() -> None:
    secrets = Secrets([NEW], FIELDS)
    assert secrets.encrypt(CONFIG) != secrets.encrypt(CONFIG)


def test_a_new_key_encrypts_while_the_old_one_still_reads() -> None:
    stored = Secrets([OLD], FIELDS).encrypt(CONFIG)
    rotating = Secrets([NEW, OLD], FIELDS)
    assert rotating.decrypt(stored) == CONFIG
    assert Secrets([NEW], FIELDS).decrypt(rotating.encrypt(CONFIG)) == CONFIG
    with pytest.raises(InvalidConfig):
        Secrets([OLD], FIELDS).decrypt(rotating.encrypt(CONFIG))


def test_a_wrong_key_names_the_field_and_never_its_value() -> None:
    """Fault matrix, row 46."""
    stored = Secrets([OLD], FIELDS).encrypt(CONFIG)
    with pytest.raises(InvalidConfig, match="client_secret cannot be decrypted") as caught:
        Secrets([NEW], FIELDS).decrypt(stored)
    assert caught.value.fields == ("client_secret",)
    assert str(stored["client_secret"]) not in str(caught.value)
    # Python keeps what an error was raised from; nothing there may tell either.
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("value", [CANARY, "encrypted:" + CANARY, "", 12, ["x"]])
def test_plain_text_is_refused_and_not_repeated(value: object) -> None:
    """Fault matrix, rows 46 and 48: there is no plain-text mode."""
    with pytest.raises(InvalidConfig) as caught:
        Secrets([NEW], FIELDS).decrypt(CONFIG | {"client_secret": value})
    assert "c4nary" not in str(caught.value)


def test_without_a_key_secrets_are_neither_stored_nor_read() -> None:
    """Fault matrix, row 48."""
    stored = Secrets([NEW], FIELDS).encrypt(CONFIG)
    with pytest.raises(InvalidInput, match="HAIER_SECRET_KEY is not set"):
        Secrets([], FIELDS).encrypt(CONFIG)
    with pytest.raises(InvalidInput, match="HAIER_SECRET_KEY is not set"):
        Secrets([], FIELDS).decrypt(stored)


@pytest.mark.parametrize("key", ["short", "秘" * 44, "c4nary" * 10])
def test_what_is_no_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(InvalidInput, match="HAIER_SECRET_KEY holds something") as caught:
        Secrets([NEW, key], FIELDS).encrypt(CONFIG)
    assert key not in str(caught.value)


def test_no_secret_lies_readable_in_the_database(engine: Engine) -> None:
    """Fault matrix, invariant D."""
    secrets = Secrets([NEW], FIELDS)
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO haier_config (name, config, is_active) VALUES ('a', :c, true)"),
            {"c": dump_json(secrets.encrypt(CONFIG))},
        )
        row = connection.execute(text("SELECT config::text FROM haier_config")).scalar_one()
    assert "c4nary" not in row
    assert '"client_id": "me"' in row
    assert configs.read(engine, "a", secrets) == CONFIG
    assert configs.read(engine, "b", secrets) is None
    assert configs.active_names(engine) == ["a"]
