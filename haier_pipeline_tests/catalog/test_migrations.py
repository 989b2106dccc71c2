"""The migrations: up, down and up again, and the same tables as the definitions in Python."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from pytest_alembic import tests as alembic_tests
from pytest_alembic.runner import MigrationContext
from sqlalchemy import Connection, Engine, text

from haier_pipeline.catalog import database
from haier_pipeline.catalog.database import HEAD, MIGRATIONS, open_engine, upgrade
from haier_pipeline.catalog.tables import metadata
from haier_pipeline.errors import CatalogError, DatabaseUnavailable

# Everything that makes up a table, in PostgreSQL's own words.
SHAPE = {
    "columns": """
        SELECT table_name, ordinal_position, column_name, udt_name, character_maximum_length,
               numeric_precision, numeric_scale, is_nullable, column_default, is_identity
        FROM information_schema.columns WHERE table_schema = 'public'
          AND table_name <> 'haier_schema_version' ORDER BY table_name, ordinal_position""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
          AND conrelid::regclass::text <> 'haier_schema_version' ORDER BY 1, 2""",
    "indexes": """
        SELECT tablename, indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'haier_schema_version' ORDER BY 1, 2""",
    "storage": """
        SELECT relname, relpersistence, reloptions FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
          AND relname <> 'haier_schema_version' ORDER BY 1""",
}


def config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


@pytest.fixture
def empty_engine(new_database: Callable[..., str]) -> Iterator[Engine]:
    engine = open_engine(new_database("template1"))
    yield engine
    engine.dispose()


@pytest.fixture
def alembic_config() -> Config:
    return config()


@pytest.fixture
def alembic_engine(empty_engine: Engine) -> Iterator[Connection]:
    with empty_engine.connect() as connection:
        yield connection


@pytest.mark.parametrize(
    "check",
    [
        alembic_tests.test_single_head_revision,
        alembic_tests.test_upgrade,
        alembic_tests.test_model_definitions_match_ddl,
        alembic_tests.test_up_down_consistency,
    ],
)
def test_the_history_passes_what_every_history_should(
    check: Callable[[MigrationContext], None], alembic_runner: MigrationContext
) -> None:
    check(alembic_runner)


def shape(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    with engine.connect() as connection:
        return {
            name: [tuple(row) for row in connection.execute(text(query))]
            for name, query in SHAPE.items()
        }


def test_the_migrations_make_exactly_the_tables_that_python_defines(
    engine: Engine, empty_engine: Engine
) -> None:
    """Alembic's own comparison does not see CHECK constraints, defaults and storage."""
    metadata.create_all(empty_engine)
    migrated = shape(engine)
    assert len(migrated["storage"]) == len(metadata.tables)
    assert migrated == shape(empty_engine)


def test_down_leaves_nothing_behind_and_up_again_makes_the_same(
    engine: Engine, alembic_runner: MigrationContext, alembic_engine: Connection
) -> None:
    alembic_runner.migrate_up_to("head")
    alembic_runner.migrate_down_to("base")
    left = alembic_engine.execute(
        text(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relname NOT LIKE 'haier_schema_version%'"
        )
    )
    assert left.all() == []
    alembic_runner.migrate_up_to("head")
    alembic_engine.commit()
    assert shape(alembic_engine.engine) == shape(engine)


def test_head_names_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(config()).get_current_head() == HEAD


def test_upgrade_does_nothing_where_the_tables_are_there(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(_: Engine) -> None:
        raise AssertionError("alembic was started")

    monkeypatch.setattr(database, "_run_migrations", too_much)
    upgrade(engine)


def test_a_database_of_a_newer_version_is_refused_and_left_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE haier_schema_version SET version_num = '9999'"))
    before = shape(engine)
    with pytest.raises(CatalogError, match=r"newer version .*9999"):
        upgrade(engine)
    assert shape(engine) == before


def test_a_password_in_an_address_is_in_no_error(new_database: Callable[..., str]) -> None:
    """Fault matrix, invariant D."""
    for address in (
        "mysql://u:c4nary-word@h/d",
        "c4nary-word",
        "postgresql://u:c4nary-word@h:x/d",
    ):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever comes must be clean
            database.parse_url(address)
        assert "c4nary" not in str(caught.value)
    engine = open_engine("postgresql://u:c4nary-word@127.0.0.1:1/d")
    with pytest.raises(DatabaseUnavailable) as refused:
        upgrade(engine)
    assert "c4nary" not in str(refused.value)
    assert "127.0.0.1:1" in str(refused.value)
