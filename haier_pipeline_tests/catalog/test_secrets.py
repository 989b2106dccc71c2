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
    stored = secrets.encrypt("a", CONFIG)
    assert "c4nary" not in json.dumps(stored)
    assert stored | {"client_secret": ""} == CONFIG | {"client_secret": ""}
    assert secrets.decrypt("a", stored) == CONFIG


def test_the_same_secret_never_looks_the_same() -> None:
    secrets = Secrets([NEW], FIELDS)
    assert secrets.encrypt("a", CONFIG) != secrets.encrypt("a", CONFIG)


def test_a_new_key_encrypts_while_the_old_one_still_reads() -> None:
    stored = Secrets([OLD], FIELDS).encrypt("a", CONFIG)
    rotating = Secrets([NEW, OLD], FIELDS)
    assert rotating.decrypt("a", stored) == CONFIG
    assert Secrets([NEW], FIELDS).decrypt("a", rotating.encrypt("a", CONFIG)) == CONFIG
    with pytest.raises(InvalidConfig):
        Secrets([OLD], FIELDS).decrypt("a", rotating.encrypt("a", CONFIG))


def test_a_wrong_key_names_the_field_and_never_its_value() -> None:
    """Fault matrix, row 46."""
    stored = Secrets([OLD], FIELDS).encrypt("a", CONFIG)
    with pytest.raises(InvalidConfig, match="client_secret cannot be decrypted") as caught:
        Secrets([NEW], FIELDS).decrypt("a", stored)
    assert caught.value.fields == ("client_secret",)
    assert str(stored["client_secret"]) not in str(caught.value)
    # Python keeps what an error was raised from; nothing there may tell either.
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("value", [CANARY, "encrypted:" + CANARY, "", 12, ["x"]])
def test_plain_text_is_refused_and_not_repeated(value: object) -> None:
    """Fault matrix, rows 46 and 48: there is no plain-text mode."""
    with pytest.raises(InvalidConfig) as caught:
        Secrets([NEW], FIELDS).decrypt("a", CONFIG | {"client_secret": value})
    assert "c4nary" not in str(caught.value)


def test_without_a_key_secrets_are_neither_stored_nor_read() -> None:
    """Fault matrix, row 48."""
    stored = Secrets([NEW], FIELDS).encrypt("a", CONFIG)
    with pytest.raises(InvalidInput, match="HAIER_SECRET_KEY is not set"):
        Secrets([], FIELDS).encrypt("a", CONFIG)
    with pytest.raises(InvalidInput, match="HAIER_SECRET_KEY is not set"):
        Secrets([], FIELDS).decrypt("a", stored)


@pytest.mark.parametrize("key", ["short", "秘" * 44, "c4nary" * 10])
def test_what_is_no_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(InvalidInput, match="HAIER_SECRET_KEY holds something") as caught:
        Secrets([NEW, key], FIELDS).encrypt("a", CONFIG)
    assert key not in str(caught.value)


def test_no_secret_lies_readable_in_the_database(engine: Engine) -> None:
    """Fault matrix, invariant D."""
    secrets = Secrets([NEW], FIELDS)
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO haier_config (name, config, is_active) VALUES ('a', :c, true)"),
            {"c": dump_json(secrets.encrypt("a", CONFIG))},
        )
        row = connection.execute(text("SELECT config::text FROM haier_config")).scalar_one()
    assert "c4nary" not in row
    assert '"client_id": "me"' in row
    assert configs.read(engine, "a", secrets) == CONFIG
    assert configs.read(engine, "b", secrets) is None
    assert configs.active_names(engine) == ["a"]


def test_a_secret_is_of_no_use_in_another_dealers_row_or_under_another_key() -> None:
    secrets = Secrets([NEW], FIELDS)
    stored = secrets.encrypt("a", {"client_secret": CANARY, "password": "p4ss"})
    for dealer, moved in (
        ("b", stored),
        ("a", {"client_secret": stored["password"]}),
        ("a\0client_secret", {"password": stored["client_secret"]}),
    ):
        with pytest.raises(InvalidConfig, match="was stored for another dealer or key") as caught:
            secrets.decrypt(dealer, moved)
        assert "p4ss" not in str(caught.value)
        assert "c4nary" not in str(caught.value)


def test_what_an_older_version_stored_is_read_and_bound_to_its_dealer(engine: Engine) -> None:
    old = "encrypted:" + Fernet(OLD).encrypt(CANARY.encode()).decode()
    insert = text("INSERT INTO haier_config (name, config, is_active) VALUES (:n, :c, true)")
    with engine.begin() as connection:
        connection.execute(insert, {"n": "a", "c": dump_json({"client_secret": old})})
        connection.execute(insert, {"n": "odd", "c": dump_json({"client_secret": "encrypted:x"})})
        connection.execute(insert, {"n": "list", "c": "[]"})
    secrets = Secrets([NEW, OLD], FIELDS)
    assert configs.read(engine, "a", secrets) == {"client_secret": CANARY}
    assert configs.encrypt_anew(engine, secrets) == 1
    assert configs.encrypt_anew(engine, secrets) == 0
    row = configs.find(engine, "a")
    assert row is not None
    assert Secrets([NEW], FIELDS).decrypt("a", row.config) == {"client_secret": CANARY}
    with pytest.raises(InvalidConfig):
        secrets.decrypt("b", row.config)
