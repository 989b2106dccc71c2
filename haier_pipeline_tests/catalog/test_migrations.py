"""The migrations: up, down and up again, and the same tables as the definitions in Python."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from pytest_alembic import tests as alembic_tests
from pytest_alembic.runner import MigrationContext
from sqlalchemy import Connection, Engine, column, select, text
from sqlalchemy import table as named

from haier_pipeline.catalog import database
from haier_pipeline.catalog.database import HEAD, MIGRATIONS, open_engine, transaction, upgrade
from haier_pipeline.catalog.tables import metadata
from haier_pipeline.errors import CatalogError, DatabaseUnavailable

# Everything that makes up a table, in PostgreSQL's own words. Views and the partitions for the rest
# are made by the migrations alone.
SHAPE = {
    "columns": """
        SELECT table_name, ordinal_position, column_name, udt_name, character_maximum_length,
               collation_name, numeric_precision, numeric_scale, is_nullable, column_default,
               is_identity
        FROM information_schema.columns JOIN of_ours ON relname = table_name
        WHERE table_schema = 'public' ORDER BY table_name, ordinal_position""",
    "constraints": """
        SELECT relname, conname, pg_get_constraintdef(pg_constraint.oid)
        FROM pg_constraint JOIN of_ours ON of_ours.oid = conrelid ORDER BY 1, 2""",
    "indexes": """
        SELECT tablename, indexname, indexdef FROM pg_indexes JOIN of_ours ON relname = tablename
        WHERE schemaname = 'public' ORDER BY 1, 2""",
    "storage": """
        SELECT relname, relpersistence, reloptions, pg_get_partkeydef(oid)
        FROM of_ours ORDER BY 1""",
}
OF_OURS = """
    WITH of_ours AS (
        SELECT oid, relname, relpersistence, reloptions FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
          AND NOT relispartition AND relname <> 'haier_schema_version')
"""


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
            name: [tuple(row) for row in connection.execute(text(OF_OURS + query))]
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


def test_a_price_of_zero_that_came_from_a_quote_is_taken_back_and_the_shops_own_stays(
    alembic_runner: MigrationContext, alembic_engine: Connection
) -> None:
    """Fault matrix, row 31b: what the version before loaded from quotes of zero."""
    alembic_runner.migrate_up_before("0004")
    for code, price, market, supply in (
        ("zero", 0, 0, 7),
        ("zero supply", 0, None, 0),
        ("zero once", 0, 9, 7),
        ("the shop's", 0, 9, 7),
        ("priced", 5, 0, 7),
    ):
        alembic_engine.execute(
            text(
                "INSERT INTO product (dealer, product_code, name, price, market_price,"
                " supply_price, is_sales, sync_date)"
                " VALUES ('haier', :code, 'x', :price, :market, :supply, '1', '2026-11-22')"
            ),
            {"code": code, "price": price, "market": market, "supply": supply},
        )
    alembic_engine.execute(
        text(
            "INSERT INTO priced_product (dealer, sync_date, product_code, is_sales, market_price)"
            " VALUES ('haier', '2026-11-20', 'zero once', '1', 0),"
            " ('other', '2026-11-20', 'the shop''s', '1', 0)"
        )
    )
    alembic_engine.commit()
    alembic_runner.migrate_up_to("0004")
    rows = alembic_engine.execute(text("SELECT product_code, price FROM product")).all()
    assert {row[0]: row[1] for row in rows} == {
        "zero": None,
        "zero supply": None,
        "zero once": None,
        "the shop's": 0,
        "priced": 5,
    }


def test_head_names_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(config()).get_current_head() == HEAD


def test_upgrade_does_nothing_where_the_tables_are_there(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(_: Engine) -> None:
        raise AssertionError("alembic was started")

    monkeypatch.setattr(database, "_run_migrations", too_much)
    upgrade(engine)


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_a_database_of_a_newer_version_is_refused_and_left_alone(engine: Engine) -> None:
    run(
        engine,
        "UPDATE haier_schema_version SET version_num = '9999'",
        "UPDATE haier_database SET oldest_program = '9998'",
    )
    before = shape(engine)
    with pytest.raises(CatalogError, match=r"newer version .*9999"):
        upgrade(engine)
    assert shape(engine) == before


def test_a_newer_version_may_let_this_one_go_on_beside_it(engine: Engine) -> None:
    run(engine, "UPDATE haier_schema_version SET version_num = '9999'")
    before = shape(engine)
    upgrade(engine)
    assert shape(engine) == before


def test_a_start_that_may_not_migrate_says_what_to_do(empty_engine: Engine) -> None:
    with pytest.raises(CatalogError, match=r"at migration none, .*run `haier db upgrade` once"):
        upgrade(empty_engine, may_migrate=False)
    upgrade(empty_engine)
    upgrade(empty_engine, may_migrate=False)


@pytest.fixture
def earlier(empty_engine: Engine) -> Engine:
    """A database of the last version that kept its version in ``alembic_version``."""

    def work(connection: Connection) -> None:
        settings = config()
        settings.attributes["connection"] = connection
        command.upgrade(settings, "0002")
        connection.execute(text("ALTER TABLE haier_schema_version RENAME TO alembic_version"))
        connection.execute(
            text("ALTER INDEX haier_schema_version_pkc RENAME TO alembic_version_pkc")
        )

    transaction(empty_engine, work)
    return empty_engine


def versions(engine: Engine, table: str) -> list[str] | None:
    with engine.connect() as connection:
        if connection.scalar(text("SELECT to_regclass(:name)"), {"name": table}) is None:
            return None
        return sorted(connection.scalars(select(column("version_num")).select_from(named(table))))


def test_the_version_is_taken_over_from_where_it_stood_before(
    earlier: Engine, engine: Engine
) -> None:
    upgrade(earlier)
    assert versions(earlier, "haier_schema_version") == [HEAD]
    assert versions(earlier, "alembic_version") is None
    assert shape(earlier) == shape(engine)


@pytest.mark.parametrize("theirs", ["5f3c2a1b", "0001", "0002", HEAD])
def test_the_shops_own_alembic_version_is_left_alone(empty_engine: Engine, theirs: str) -> None:
    """Where it is there first, and whatever its migrations are called."""
    run(
        empty_engine,
        f"CREATE TABLE alembic_version AS SELECT '{theirs}'::varchar(32) AS version_num",
    )
    upgrade(empty_engine)
    assert versions(empty_engine, "haier_schema_version") == [HEAD]
    assert versions(empty_engine, "alembic_version") == [theirs]
    upgrade(empty_engine)
    assert versions(empty_engine, "alembic_version") == [theirs]


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO alembic_version VALUES ('5f3c2a1b')",
        # Their tool has written over ours.
        "UPDATE alembic_version SET version_num = '5f3c2a1b'",
    ],
)
def test_a_version_table_that_the_shop_shares_stays_the_shops(
    earlier: Engine, engine: Engine, change: str
) -> None:
    run(earlier, change)
    upgrade(earlier)
    assert versions(earlier, "haier_schema_version") == [HEAD]
    assert versions(earlier, "alembic_version") == ["5f3c2a1b"]


def test_no_version_beside_tables_of_ours_is_found_by_the_tables(earlier: Engine) -> None:
    run(earlier, "DROP TABLE alembic_version")
    upgrade(earlier)
    assert versions(earlier, "haier_schema_version") == [HEAD]


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
