"""An operator's own database: it works whatever it is set to, or one sentence says what to mend."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from haier_pipeline.catalog.database import open_engine, parse_url, transaction, upgrade
from haier_pipeline.errors import CatalogError, DatabaseUnavailable
from haier_pipeline.server.postgres import EmbeddedPostgres
from haier_pipeline_tests.conftest import url_of

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.fixture
def admin(server: EmbeddedPostgres) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(server.libpq_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def own(
    server: EmbeddedPostgres, admin: psycopg.Connection[tuple[object, ...]]
) -> Iterator[Callable[[str], str]]:
    """Makes the operator's database with these options, and returns its URL."""

    def make(options: str = "") -> str:
        admin.execute(f"CREATE DATABASE own TEMPLATE template0 {options}".encode())
        return url_of(server, "own")

    yield make
    admin.execute("DROP DATABASE IF EXISTS own WITH (FORCE)")
    admin.execute("DROP ROLE IF EXISTS restricted")


def opened(url: str) -> None:
    """Opens it as a start does."""
    engine = open_engine(url)
    try:
        upgrade(engine)
    finally:
        engine.dispose()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_CN"])
def test_another_encoding_is_refused(own: Callable[[str], str], encoding: str) -> None:
    """Fault matrix, row 67."""
    url = own(f"ENCODING '{encoding}' LOCALE 'C'")
    with pytest.raises(CatalogError, match=f"encoding {encoding}, the catalog needs UTF8"):
        opened(url)


def test_a_database_that_can_only_be_read_is_refused(
    own: Callable[[str], str], admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    url = own("")
    admin.execute("ALTER DATABASE own SET default_transaction_read_only = on")
    with pytest.raises(CatalogError, match="can only be read by haier"):
        opened(url)


def test_a_role_that_may_make_nothing_is_told_what_to_grant(
    own: Callable[[str], str], admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    url = own("")
    admin.execute("CREATE ROLE restricted")
    restricted = f"{url}&options=-crole%3Drestricted"
    with pytest.raises(CatalogError, match="GRANT CREATE ON SCHEMA public TO restricted"):
        opened(restricted)
    with pytest.raises(CatalogError, match="search_path of restricted in own names no schema"):
        opened(f"{restricted}%20-csearch_path%3Dnowhere")
    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql")) as connection:
        connection.execute("GRANT CREATE ON SCHEMA public TO restricted")
    with pytest.raises(CatalogError, match="GRANT CREATE ON DATABASE own TO restricted"):
        opened(restricted)
    admin.execute("GRANT CREATE ON DATABASE own TO restricted")
    opened(restricted)


def test_a_user_whom_the_server_does_not_let_in_is_said_to_be_that(
    own: Callable[[str], str],
) -> None:
    stranger = parse_url(own("")).set(username="stranger")
    with pytest.raises(DatabaseUnavailable, match="refuses the login of stranger"):
        opened(stranger.render_as_string(hide_password=False))


def test_settings_of_the_operator_do_no_harm(
    own: Callable[[str], str], admin: psycopg.Connection[tuple[object, ...]]
) -> None:
    url = own("")
    for name, value in {
        "datestyle": "German, DMY",
        "timezone": "Asia/Shanghai",
        "intervalstyle": "iso_8601",
        "standard_conforming_strings": "off",
        "client_encoding": "LATIN1",
        "statement_timeout": "50ms",
        "lock_timeout": "1ms",
        "idle_in_transaction_session_timeout": "50ms",
        "default_transaction_isolation": "serializable",
        "extra_float_digits": "-15",
    }.items():
        admin.execute(f"ALTER DATABASE own SET {name} = '{value}'".encode())
    engine = open_engine(url)
    try:
        upgrade(engine)
        with engine.connect() as connection:
            found = connection.execute(
                text(
                    "SELECT '2026-11-22 08:00+08'::timestamptz, '2026-11-22'::date, '海尔\\n',"
                    " current_setting('transaction_isolation'), pg_sleep(0.1)"
                )
            ).one()
            time.sleep(0.1)
            assert connection.scalar(text("SELECT current_setting('timezone')")) == "UTC"
        assert found[0].isoformat() == "2026-11-22T00:00:00+00:00"
        assert found[1].isoformat() == "2026-11-22"
        assert found[2:4] == ("海尔\\n", "read committed")
    finally:
        engine.dispose()


@pytest.fixture
def pooler(
    tmp_path: Path,
    own: Callable[[str], str],
    admin: psycopg.Connection[tuple[object, ...]],
) -> Iterator[Callable[[str], str]]:
    """Starts a real PgBouncer with this pool mode before the operator's database."""
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed")
    url = parse_url(own(""))
    # The embedded server lets in only whom the system knows as its owner: not PgBouncer.
    row = admin.execute("SHOW hba_file").fetchone()
    assert row is not None
    rules = Path(str(row[0]))
    before = rules.read_text()
    rules.write_text(f"local own all trust\n{before}")
    admin.execute("SELECT pg_reload_conf()")
    folder = Path(str(url.query["host"]))
    started: list[subprocess.Popen[bytes]] = []

    def start(mode: str) -> str:
        settings = (
            f"[databases]\nown = host={folder} port=5432 dbname=own user=haier\n"
            f"[pgbouncer]\nunix_socket_dir = {tmp_path}\nlisten_port = 6432\nauth_type = any\n"
            f"pool_mode = {mode}\nlogfile = {tmp_path}/log\npidfile = {tmp_path}/pid\n"
            "ignore_startup_parameters = extra_float_digits\n"
        )
        for parent in (tmp_path, *tmp_path.parents):
            if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
                parent.chmod(0o755)
        tmp_path.chmod(0o777)
        file = tmp_path / "pgbouncer.ini"
        file.write_text(settings)
        assert PGBOUNCER is not None
        # Nobody else may open the server's socket.
        owner = (folder / ".s.PGSQL.5432").owner()
        as_owner = [f"--user={owner}"] if os.geteuid() == 0 else []
        started.append(
            subprocess.Popen(
                [PGBOUNCER, *as_owner, str(file)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        until = time.monotonic() + 10
        while not (tmp_path / ".s.PGSQL.6432").exists():
            assert time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.05)
        return f"postgresql://haier@/own?host={tmp_path}&port=6432"

    yield start
    for process in started:
        process.terminate()
        process.wait()
    rules.write_text(before)
    admin.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_that_changes_connections_between_transactions_is_refused(
    pooler: Callable[[str], str], mode: str
) -> None:
    with pytest.raises(CatalogError, match="stands a pooler"):
        opened(pooler(mode))


def test_a_pooler_that_keeps_a_connection_for_each_of_ours_works(
    pooler: Callable[[str], str],
) -> None:
    engine = open_engine(pooler("session"))
    try:
        upgrade(engine)
        assert transaction(engine, lambda c: c.scalar(text("SELECT count(*) FROM product"))) == 0
    finally:
        engine.dispose()
