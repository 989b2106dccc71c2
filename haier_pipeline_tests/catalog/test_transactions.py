"""Transactions in trouble: replayed whole, or taken back whole with a sentence that helps."""

import os
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
from sqlalchemy import Connection, Engine, text

from haier_pipeline.catalog import configs, database, locks, log, repair
from haier_pipeline.catalog import load as load_module
from haier_pipeline.catalog.database import open_engine, transaction, upgrade
from haier_pipeline.catalog.load import (
    ANSWER_COLUMNS,
    PRODUCT_COLUMNS,
    STOCK_COLUMNS,
    CatalogFrames,
    LoadReport,
    load,
    store_priced,
)
from haier_pipeline.catalog.pace import SharedLedger
from haier_pipeline.catalog.raw import RawRecord, save
from haier_pipeline.catalog.tokens import SharedTokens
from haier_pipeline.domain.partition import Partition
from haier_pipeline.errors import CatalogError, DatabaseUnavailable
from haier_pipeline.server.postgres import EmbeddedPostgres

PARTITION = Partition("haier", date(2026, 11, 22))


NOTHING = CatalogFrames(
    answers=pd.DataFrame([], columns=list(ANSWER_COLUMNS), dtype=object),
    stock=pd.DataFrame([], columns=list(STOCK_COLUMNS), dtype=object),
    is_complete=True,
    counties=["110101"],
)


def load_codes(
    engine: Engine,
    codes: Sequence[str],
    conclude: Callable[[Connection, LoadReport], None],
    partition: Partition = PARTITION,
) -> None:
    """Load products of which no more is known."""
    columns = PRODUCT_COLUMNS | {"no_price_reason": "text"}
    rows = [{"product_code": code, "is_sales": "1", "product_page_urls": []} for code in codes]
    values = [[row.get(name) for name in columns] for row in rows]
    store_priced(engine, partition, pd.DataFrame(values, columns=list(columns), dtype=object))
    load(engine, partition, NOTHING, conclude)


def content(connection: Connection, report: LoadReport) -> None:
    """Concludes a load without a word."""


def codes(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        query = "SELECT product_code FROM product ORDER BY product_code"
        return list(connection.scalars(text(query)))


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def trouble(engine: Engine, action: str, table: str = "product") -> None:
    """Makes the next writes to the table run the plpgsql ``action``; ``turn`` counts from 1."""
    run(
        engine,
        "CREATE SEQUENCE turns",
        "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$"
        # What a sequence gave stays given when the transaction is rolled back.
        f" DECLARE turn bigint := nextval('turns'); BEGIN {action} RETURN NULL; END $$",
        f"CREATE TRIGGER trouble AFTER INSERT OR UPDATE ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION trouble()",
    )


def turns(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT last_value FROM turns")).scalar_one())


def test_a_deadlock_is_replayed_whole(engine: Engine) -> None:
    """Fault matrix, row 40: a real one, in which PostgreSQL picks the load as the victim."""
    load_codes(engine, ["A"], content)
    run(engine, "CREATE TABLE shelf (id int)", "INSERT INTO shelf VALUES (1)")
    held, crossed = threading.Event(), threading.Event()
    replays: list[int] = []

    def shop() -> None:
        with engine.begin() as connection:
            # The load loses patience first.
            connection.execute(text("SET LOCAL deadlock_timeout = '20s'"))
            connection.execute(text("UPDATE shelf SET id = 2"))
            held.set()
            assert crossed.wait(10)
            connection.execute(text("UPDATE product SET price = 7"))

    def conclude(connection: Connection, report: LoadReport) -> None:
        replays.append(report.products)
        if len(replays) == 1:
            thread.start()
            assert held.wait(10)
        crossed.set()
        connection.execute(text("UPDATE shelf SET id = 3"))

    thread = threading.Thread(target=shop)
    load_codes(engine, ["A", "B"], conclude)
    thread.join(10)
    assert replays == [2, 2]
    assert codes(engine) == ["A", "B"]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT price FROM product WHERE product_code = 'A'")) == 7


def test_deadlocks_without_end_are_given_up_after_three_replays(engine: Engine) -> None:
    """Fault matrix, row 40."""
    trouble(engine, "RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01';")
    with pytest.raises(CatalogError, match="deadlock detected"):
        load_codes(engine, ["A"], content)
    assert turns(engine) == 4
    assert codes(engine) == []


def test_a_connection_lost_in_a_statement_is_replayed(engine: Engine) -> None:
    """Fault matrix, row 38."""
    trouble(engine, "IF turn = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;")
    load_codes(engine, ["A"], content)
    assert codes(engine) == ["A"]
    assert turns(engine) > 1


def test_a_connection_lost_in_a_copy_is_replayed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault matrix, row 38: COPY speaks with the driver itself, whose errors are others."""
    rows = load_module._rows
    times: list[str] = []

    def cut(frame: pd.DataFrame, columns: dict[str, str]) -> Iterator[Sequence[Any]]:
        times.append("")
        for number, row in enumerate(rows(frame, columns)):
            if number == 3 and len(times) == 1:
                run(
                    engine,
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                    " WHERE query LIKE 'COPY stage_priced%' AND datname = current_database()",
                )
            yield row

    monkeypatch.setattr(load_module, "_rows", cut)
    many = [f"P{number:05}" for number in range(5_000)]
    load_codes(engine, many, content)
    assert len(times) > 3
    assert codes(engine) == many


def test_the_last_words_of_a_load_may_lose_the_connection_too(engine: Engine) -> None:
    """Fault matrix, row 38: lost between the last statement and the commit."""
    pids: list[int] = []

    def conclude(connection: Connection, report: LoadReport) -> None:
        pids.append(int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one()))
        if len(pids) == 1:
            run(engine, f"SELECT pg_terminate_backend({pids[0]}, 5000)")

    load_codes(engine, ["A"], conclude)
    assert len(set(pids)) == 2
    assert codes(engine) == ["A"]


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgres]:
    """A server of the test's own, to be killed."""
    home = Path(tempfile.mkdtemp(prefix="haier-tests-", dir="/tmp"))
    home.chmod(0o755)
    try:
        with EmbeddedPostgres(home) as server:
            yield server
    finally:
        shutil.rmtree(home)


def kill(server: EmbeddedPostgres) -> None:
    with closing(psycopg.connect(server.libpq_url)) as spy:
        query = "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int"
        row = spy.execute(query).fetchone()
    assert row is not None
    os.kill(row[0], signal.SIGQUIT)


def test_bookings_and_tokens_wait_for_a_server_that_restarts(own_server: EmbeddedPostgres) -> None:
    """Fault matrix, row 38: no call is made meanwhile, and none fails."""
    origin = "https://openplat-test.haier.net:443"
    engine = open_engine(own_server.url())
    upgrade(engine)
    ledger = SharedLedger(engine, "c", origin)
    tokens = SharedTokens(engine, "c", origin, "secret")
    ledger.book(100, lambda booked, at, rate: [at])
    version = tokens.put("note", 3000, known=0)
    tokens.confirm("note", version)
    again = EmbeddedPostgres(own_server.home)

    def start() -> None:
        time.sleep(1)
        again.start()

    kill(own_server)
    time.sleep(0.3)
    starting = threading.Thread(target=start)
    starting.start()
    began = time.monotonic()
    try:
        booked, now = ledger.book(100, lambda booked, at, rate: [at])
        assert 1 <= time.monotonic() - began < 20
        assert list(booked) == [now]
        assert tokens.take(0)[:2] == (version, "note")
    finally:
        starting.join()
        again.stop()
        engine.dispose()


def test_postgresql_restarts_in_the_middle_of_a_load(own_server: EmbeddedPostgres) -> None:
    """Fault matrix, row 38: killed for real, started again a second later."""
    engine = open_engine(own_server.url())
    upgrade(engine)
    load_codes(engine, ["A"], content)
    again = EmbeddedPostgres(own_server.home)
    replays: list[int] = []

    def start() -> None:
        time.sleep(1)
        again.start()

    def conclude(connection: Connection, report: LoadReport) -> None:
        replays.append(report.products_new)
        if len(replays) == 1:
            kill(own_server)
            starter.start()
            # Until the connection is lost: what is committed before needs no replay.
            while True:
                connection.execute(text("SELECT pg_sleep(0.05)"))

    starter = threading.Thread(target=start)
    try:
        load_codes(engine, ["A", "B"], conclude)
        assert replays == [1, 1]
        assert codes(engine) == ["A", "B"]
    finally:
        engine.dispose()
        starter.join(30)
        again.stop()


def test_a_server_that_stays_away_is_named_and_no_longer_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fault matrix, row 38."""
    monkeypatch.setattr(database, "RECONNECT_SECONDS", 1.0)
    engine = open_engine("postgresql://haier@127.0.0.1:1/haier")
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:1 cannot be reached"):
        transaction(engine, lambda connection: None)
    assert 1.0 <= time.monotonic() - began < 5


FULL = (
    "RAISE EXCEPTION 'could not extend file \"base/5/1259\": No space left on device'"
    " USING ERRCODE = '53100';"
)


@pytest.mark.parametrize("table", ["brand", "product", "product_stock"])
def test_a_full_disk_takes_the_load_back_and_is_named(engine: Engine, table: str) -> None:
    """Fault matrix, row 39."""
    load_codes(engine, ["A"], content)
    trouble(engine, FULL, table)
    with pytest.raises(CatalogError, match=r"run out of room: .*No space left on device"):
        load_codes(engine, ["B"], content)
    assert turns(engine) == 1
    assert codes(engine) == ["A"]


def test_a_full_disk_in_a_copy_is_named_too(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault matrix, row 39: COPY speaks with the driver itself, whose errors are others."""

    def full(frame: pd.DataFrame, columns: dict[str, str]) -> Iterator[Sequence[Any]]:
        raise psycopg.errors.DiskFull("could not extend file: No space left on device")
        yield ()

    monkeypatch.setattr(load_module, "_rows", full)
    with pytest.raises(CatalogError, match="run out of room"):
        load_codes(engine, ["B"], content)


def test_a_full_disk_under_the_answers_of_the_platform_is_named(engine: Engine) -> None:
    """Fault matrix, row 39."""
    trouble(engine, FULL, "raw_answer")
    with pytest.raises(CatalogError, match="run out of room"):
        save(engine, PARTITION, "price_quotes", "r", [RawRecord("A", {})], run_id="r")


@pytest.mark.parametrize(
    ("work", "error"),
    [
        (lambda connection: 1 / 0, ZeroDivisionError),
        (lambda connection: connection.execute(text("SELECT nonsense")), CatalogError),
    ],
)
def test_other_errors_are_not_replayed_and_leave_nothing(
    engine: Engine, work: Callable[[Connection], object], error: type[Exception]
) -> None:
    tries: list[str] = []

    def insert(connection: Connection) -> None:
        tries.append("")
        connection.execute(text("INSERT INTO brand (dealer, name) VALUES ('haier', '海尔')"))
        work(connection)

    with pytest.raises(error):
        transaction(engine, insert)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM brand")) == 0
    assert len(tries) == 1


def test_a_lock_that_another_session_holds_is_said_and_then_given_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A row of the shop's, in a transaction that somebody has left open."""
    monkeypatch.setattr(database, "LOG_HOLDER_SECONDS", 0.3)
    engine = open_engine(database_url, lock_seconds=1.5)
    try:
        load_codes(engine, ["A"], content)
        with engine.begin() as shop:
            shop.execute(text("SET LOCAL application_name = 'the shop'"))
            shop.execute(text("UPDATE product SET price = 3"))
            pid = shop.scalar(text("SELECT pg_backend_pid()"))
            began = time.monotonic()
            with pytest.raises(CatalogError) as given_up:
                load_codes(engine, ["A", "B"], content)
            assert 1.4 < time.monotonic() - began < 10
        holder = rf"process {pid} \(the shop, user haier, idle in transaction, .*\)"
        assert re.search(f"gave up waiting for what {holder} holds", str(given_up.value))
        assert re.search(f"waits for what {holder} holds", caplog.text)
        assert codes(engine) == ["A"]
        load_codes(engine, ["A", "B"], content)
        assert codes(engine) == ["A", "B"]
    finally:
        engine.dispose()


def test_a_load_and_a_migration_that_wait_for_another_one_are_given_up_too(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOG_HOLDER_SECONDS", 0.2)
    engine = open_engine(database_url, lock_seconds=1)
    try:
        with engine.begin() as connection:
            locks.lock_dealer(connection, "haier")
            with pytest.raises(CatalogError, match=r"gave up waiting for what process \d+"):
                load_codes(engine, ["A"], content)
        run(engine, "UPDATE haier_schema_version SET version_num = '0002'")
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('haier migrations'))"))
            with pytest.raises(CatalogError, match=r"gave up waiting for what process \d+"):
                upgrade(engine)
    finally:
        engine.dispose()


def test_what_the_driver_cannot_send_is_no_outage(engine: Engine) -> None:
    began = time.monotonic()
    many = {f"p{number}": number for number in range(70_000)}
    listed = ", ".join(f":{name}" for name in many)
    with pytest.raises(CatalogError, match="parameters") as refused:
        transaction(engine, lambda c: c.execute(text(f"SELECT 1 WHERE 1 IN ({listed})"), many))
    assert not isinstance(refused.value, DatabaseUnavailable)
    assert "reached" not in str(refused.value)
    assert time.monotonic() - began < 25


def test_a_connection_pool_that_is_used_up_is_said_as_such(database_url: str) -> None:
    engine = open_engine(database_url)
    engine.pool._timeout = 0.1  # type: ignore[attr-defined]
    with ExitStack() as stack:
        for _ in range(26):
            stack.enter_context(engine.connect())
        with pytest.raises(DatabaseUnavailable, match=r"all connections .* are busy"):
            transaction(engine, lambda connection: None)
    engine.dispose()


def test_a_connection_in_use_while_the_engine_is_disposed_is_closed_when_it_comes_back(
    database_url: str,
) -> None:
    engine = open_engine(database_url)
    with engine.connect() as connection:
        used = connection.connection.dbapi_connection
        engine.dispose()
        assert connection.scalar(text("SELECT 1")) == 1
    assert isinstance(used, psycopg.Connection)
    assert used.closed
    # The engine itself goes on, and keeps what it opens from now on.
    with engine.connect() as connection:
        kept = connection.connection.dbapi_connection
    assert isinstance(kept, psycopg.Connection)
    assert not kept.closed
    engine.dispose()
    assert kept.closed


def test_reads_of_a_sync_and_its_locks_wait_for_a_server_that_is_away(
    own_server: EmbeddedPostgres,
) -> None:
    """Fault matrix, row 38: reads and locks of a sync are as patient as its load."""
    engine = open_engine(own_server.url())
    upgrade(engine)
    again = EmbeddedPostgres(own_server.home)
    found: list[object] = []

    def read() -> None:
        found.append(configs.active_names(engine))
        found.append(configs.is_active(engine, "haier"))
        found.append(log.entries(engine, limit=1))
        found.append(repair.silent(engine, ["r"]))
        with locks.partition_lock(engine, PARTITION):
            found.append("held")

    with closing(psycopg.connect(own_server.libpq_url)) as spy:
        query = "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int"
        row = spy.execute(query).fetchone()
    assert row is not None
    os.kill(row[0], signal.SIGQUIT)
    with suppress(psycopg.OperationalError):
        while True:
            psycopg.connect(own_server.libpq_url).close()
            time.sleep(0.02)
    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(1.5)
    assert found == []
    again.start()
    reader.join(30)
    try:
        assert found == [[], None, [], [], "held"]
    finally:
        engine.dispose()
        again.stop()


def test_who_waits_for_an_answer_is_told_soon_that_the_database_is_away() -> None:
    engine = open_engine("postgresql://haier@127.0.0.1:1/haier", patience=0.5)
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        transaction(engine, lambda connection: None)
    assert time.monotonic() - began < 5
