"""Followers of the catalog: whatever is committed in whatever order, nothing is missed."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.dialects.postgresql import insert

from haier_pipeline.catalog import feed, pages
from haier_pipeline.catalog.database import open_engine
from haier_pipeline.catalog.feed import Feed, Position
from haier_pipeline.catalog.load import CHANGE_COLUMNS, LoadReport, store_changes
from haier_pipeline.catalog.migrations.followed import FOLLOWED
from haier_pipeline.catalog.pages import CHANGES, PRODUCTS, STOCK, ProductFilter
from haier_pipeline.catalog.tables import metadata, product
from haier_pipeline.domain.partition import Partition
from haier_pipeline.errors import InvalidInput, PositionGone
from haier_pipeline_tests.catalog.test_transactions import content, load_codes, run

TODAY = date(2026, 11, 22)
PARTITION = Partition("haier", TODAY)
EVERYTHING: dict[str, Any] = {
    "product": ProductFilter(),
    "product_stock": pages.StockFilter(),
    "catalog_change": pages.ChangeFilter(),
}


class Follower:
    """A reader that keeps a copy: by key what it was told last, and everything in its order."""

    def __init__(
        self,
        engine: Engine,
        listed: Feed = PRODUCTS,
        wanted: Any = None,
        *,
        dealer: str = "haier",
        limit: int = 200,
    ) -> None:
        self._engine = engine
        self._listed = listed
        self._wanted = wanted or EVERYTHING[listed.table]
        self._dealer = dealer
        self._limit = limit
        self.copy: dict[tuple[Any, ...], dict[str, Any]] = {}
        after = None
        position = None
        while True:
            page = pages.read(engine, listed, dealer, self._wanted, after=after, limit=limit)
            position = position or page.position
            self._take(page.rows)
            after = page.last
            if after is None:
                break
        self.position = self._sent_back(position)

    def _sent_back(self, position: Position) -> Position:
        # As it comes back from the reader.
        return Position.parse(str(position), self._listed)

    def _take(self, rows: str) -> list[dict[str, Any]]:
        taken = json.loads(rows)
        for row in taken:
            key = tuple(row[name] for name in self._listed.key)
            if row["removed"]:
                self.copy.pop(key, None)
            else:
                self.copy[key] = row
        return list(taken)

    def ask(self) -> list[dict[str, Any]]:
        """One page of what has changed."""
        page = pages.follow(
            self._engine,
            self._listed,
            self._dealer,
            self._wanted,
            after=self.position,
            limit=self._limit,
        )
        self.position = self._sent_back(page.position)
        return self._take(page.rows)

    def catch_up(self) -> list[Any]:
        """Everything that has changed; the first part of each key."""
        told = []
        while rows := self.ask():
            told += [row[next(iter(self._listed.key))] for row in rows]
        return told


@contextmanager
def open_transaction(engine: Engine, *statements: str) -> Iterator[Connection]:
    """A neighbour in the middle of its work; the block's end commits it."""
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
        yield connection


def test_who_has_seen_everything_is_sent_what_changes_and_nothing_else(engine: Engine) -> None:
    load_codes(engine, ["A", "B", "C"], content)
    follower = Follower(engine)
    assert [key for (key,) in follower.copy] == ["A", "B", "C"]
    assert follower.ask() == []

    run(engine, "UPDATE product SET price = 7 WHERE product_code = 'B'")
    (told,) = follower.ask()
    assert (told["product_code"], told["price"], told["removed"]) == ("B", "7", False)
    assert follower.ask() == []


def test_a_sync_that_changes_nothing_sends_nothing(engine: Engine) -> None:
    load_codes(engine, ["A", "B"], content)
    follower = Follower(engine)
    load_codes(engine, ["A", "B"], content, Partition("haier", date(2026, 11, 23)))
    assert follower.ask() == []
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT min(sync_date) FROM product")) == date(2026, 11, 23)


def test_what_an_older_transaction_commits_later_is_not_missed(engine: Engine) -> None:
    """The shop's slow transaction began first and ends last, and readers ask in between."""
    load_codes(engine, ["A", "B", "C"], content)
    follower = Follower(engine)
    with open_transaction(engine, "UPDATE product SET price = 1 WHERE product_code = 'A'"):
        run(engine, "UPDATE product SET price = 2 WHERE product_code = 'B'")
        assert follower.catch_up() == ["B"]
        # What is committed is sent once, whoever else is still at work.
        assert follower.catch_up() == []
        run(engine, "UPDATE product SET price = 3 WHERE product_code = 'C'")
        assert follower.catch_up() == ["C"]
    assert follower.catch_up() == ["A"]
    assert follower.catch_up() == []


def test_what_commits_in_the_middle_of_the_pages_is_not_missed(engine: Engine) -> None:
    load_codes(engine, [f"P{number}" for number in range(6)], content)
    follower = Follower(engine, limit=2)
    with open_transaction(engine, "UPDATE product SET price = 1 WHERE product_code = 'P0'"):
        run(engine, "UPDATE product SET price = 2 WHERE product_code <> 'P0'")
        assert [row["product_code"] for row in follower.ask()] == ["P1", "P2"]
    run(engine, "UPDATE product SET price = 3 WHERE product_code = 'P1'")
    assert sorted(follower.catch_up()) == ["P0", "P1", "P3", "P4", "P5"]
    assert {key: row["price"] for (key,), row in follower.copy.items()} == {
        "P0": "1", "P1": "3", "P2": "2", "P3": "2", "P4": "2", "P5": "2",
    }  # fmt: skip


def test_a_dense_reader_has_the_catalog_when_the_writers_have_ended(engine: Engine) -> None:
    """Loads and a shop that write for seconds, a lock that is held, a reader that never rests."""
    codes = [f"P{number:03}" for number in range(60)]
    load_codes(engine, codes, content)
    follower = Follower(engine, limit=7)
    ended = threading.Event()
    problems: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def done() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - told to the test
                problems.append(error)

        return done

    def shop(number: int) -> Callable[[], None]:
        def write() -> None:
            for turn in range(25):
                chosen = f"P{(turn * 7 + number * 13) % 60:03}"
                with engine.begin() as connection:
                    connection.execute(
                        text("UPDATE product SET price = :price WHERE product_code = :code"),
                        {"price": number * 1000 + turn, "code": chosen},
                    )
                    time.sleep(0.01 * (number + 1))

        return write

    def sync() -> None:
        def linger(connection: Connection, report: LoadReport) -> None:
            time.sleep(0.2)

        for turn in range(8):
            kept = [code for number, code in enumerate(codes) if (number + turn) % 5]
            load_codes(engine, kept, linger)

    def remover() -> None:
        for turn in range(20):
            with engine.begin() as connection:
                connection.execute(
                    text("DELETE FROM product WHERE product_code = :code"),
                    {"code": f"P{turn:03}"},
                )
                if turn % 2:
                    connection.execute(
                        insert(product)
                        .values(
                            dealer="haier",
                            product_code=f"P{turn:03}",
                            name="again",
                            is_sales="1",
                            sync_date=TODAY,
                        )
                        .on_conflict_do_nothing()
                    )
            time.sleep(0.05)

    def read() -> None:
        while not ended.is_set():
            follower.ask()

    writers = [
        threading.Thread(target=guarded(work))
        for work in (sync, remover, *(shop(number) for number in range(3)))
    ]
    reader = threading.Thread(target=guarded(read))
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join(60)
    ended.set()
    reader.join(10)
    follower.catch_up()
    assert problems == []

    def told(rows: dict[Any, dict[str, Any]]) -> dict[str, Any]:
        return {key: (row["price"], row["is_sales"], row["name"]) for (key,), row in rows.items()}

    assert told(follower.copy) == told(Follower(engine).copy)


def test_a_removed_row_is_told_once_and_one_that_came_back_is_a_row(engine: Engine) -> None:
    load_codes(engine, ["A", "B", "C"], content)
    follower = Follower(engine)
    run(engine, "DELETE FROM product WHERE product_code IN ('A', 'B')")
    assert follower.ask() == [
        {"product_code": "A", "removed": True},
        {"product_code": "B", "removed": True},
    ]
    assert follower.ask() == []
    load_codes(engine, ["B"], content)
    assert [(row["product_code"], row["removed"]) for row in follower.ask()] == [
        ("B", False),
        ("C", False),
    ]
    run(engine, "UPDATE product SET product_code = 'D' WHERE product_code = 'B'")
    assert sorted((row["product_code"], row["removed"]) for row in follower.ask()) == [
        ("B", True),
        ("D", False),
    ]
    run(engine, "TRUNCATE product")
    assert [row["removed"] for row in follower.ask()] == [True, True]
    assert follower.copy == {}


def test_a_row_that_leaves_the_filter_is_removed_from_the_copy(engine: Engine) -> None:
    load_codes(engine, ["A", "B"], content)
    follower = Follower(engine, wanted=ProductFilter(procurable=True))
    one = Follower(engine, wanted=ProductFilter(codes=["B"]))
    run(engine, "UPDATE product SET is_sales = '0' WHERE product_code = 'A'")
    assert follower.ask() == [{"product_code": "A", "removed": True}]
    assert one.ask() == []


def test_a_brand_that_gets_another_name_moves_its_products(engine: Engine) -> None:
    load_codes(engine, ["A"], content)
    run(
        engine,
        "INSERT INTO brand (dealer, name) VALUES ('haier', 'Haier')",
        "UPDATE product SET brand_id = (SELECT id FROM brand)",
    )
    follower = Follower(engine)
    run(engine, "UPDATE brand SET name = '海尔'")
    assert [row["brand"] for row in follower.ask()] == ["海尔"]


def test_stock_and_changes_can_be_followed_too(engine: Engine) -> None:
    stock, changes = Follower(engine, STOCK), Follower(engine, CHANGES)
    other = Follower(engine, STOCK, dealer="other")
    run(
        engine,
        "INSERT INTO product_stock (dealer, product_code, county_code, sec_code, stock, sync_date)"
        " VALUES ('haier', 'A', '110101', 'W1', 3, '2026-11-22')",
        "INSERT INTO catalog_change VALUES ('haier', '2026-11-22', 'A', 'back', NULL, NULL)",
    )
    assert [row["stock"] for row in stock.ask()] == [3]
    assert [row["kind"] for row in changes.ask()] == ["back"]
    assert other.ask() == []
    run(engine, "UPDATE product_stock SET synced_at = now(), sync_date = '2026-11-23'")
    assert stock.ask() == []
    run(engine, "DELETE FROM product_stock", "DELETE FROM catalog_change")
    assert stock.ask() == [
        {"product_code": "A", "county_code": "110101", "sec_code": "W1", "removed": True}
    ]
    assert changes.ask() == [
        {"sync_date": "2026-11-22", "product_code": "A", "kind": "back", "removed": True}
    ]


def test_changes_that_are_worked_out_again_alike_are_not_sent_again(engine: Engine) -> None:
    def found(*rows: tuple[str, str, str]) -> pd.DataFrame:
        full = [(code, kind, None, value) for code, kind, value in rows]
        return pd.DataFrame(full, columns=list(CHANGE_COLUMNS), dtype=object)

    follower = Follower(engine, CHANGES)
    store_changes(engine, PARTITION, found(("A", "back", "1"), ("B", "price_up", "5")))
    assert len(follower.ask()) == 2
    store_changes(engine, PARTITION, found(("A", "back", "1"), ("B", "price_up", "6")))
    assert [(row["product_code"], row["new_value"]) for row in follower.ask()] == [("B", "6")]
    store_changes(engine, PARTITION, found(("B", "price_up", "6")))
    assert [(row["product_code"], row["removed"]) for row in follower.ask()] == [("A", True)]


def test_a_shop_that_may_only_change_products_can_do_so_from_any_schema(engine: Engine) -> None:
    load_codes(engine, ["A", "B"], content)
    follower = Follower(engine)
    run(engine, "DROP ROLE IF EXISTS shop", "CREATE ROLE shop")
    try:
        run(
            engine,
            "GRANT SELECT, UPDATE, DELETE ON product TO shop",
            "GRANT SELECT, UPDATE ON brand TO shop",
            "SET LOCAL ROLE shop",
            "SET LOCAL search_path = pg_catalog",
            "UPDATE public.product SET price = 5 WHERE product_code = 'A'",
            "DELETE FROM public.product WHERE product_code = 'B'",
        )
        assert follower.catch_up() == ["A", "B"]
    finally:
        run(engine, "DROP OWNED BY shop", "DROP ROLE shop")


def test_every_column_that_says_something_moves_its_row(engine: Engine) -> None:
    """A migration that adds a column has to let it be watched."""
    with engine.connect() as connection:
        for table, (_, silent) in FOLLOWED.items():
            condition = connection.execute(
                text(
                    "SELECT pg_get_triggerdef(oid) FROM pg_trigger"
                    " WHERE tgrelid = to_regclass(:name) AND tgname = 'zz_haier_updated'"
                ),
                {"name": table},
            ).scalar_one()
            columns = {column.name for column in metadata.tables[table].columns}
            assert set(re.findall(r"old\.(\w+)", condition)) == columns - {*silent, "change_xid"}


def test_a_position_that_is_too_old_is_gone(engine: Engine) -> None:
    follower = Follower(engine)
    parts = follower.position
    old = feed.Snapshot(parts.seen.moment - 7 * 86_400 - 5, parts.seen.xmax)
    follower.position = Position(parts.table, parts.dealer, parts.place, old)
    with pytest.raises(PositionGone, match="older than 7 days"):
        follower.ask()


def test_a_position_of_another_database_or_of_before_a_restore_is_gone(
    engine: Engine, new_database: Callable[..., str]
) -> None:
    load_codes(engine, ["A"], content)
    follower = Follower(engine)
    # A copy has the same tables and rows, down to the id.
    engine.dispose()
    copied = open_engine(new_database("test_0"))
    try:
        with pytest.raises(PositionGone, match="another database"):
            pages.follow(
                copied, PRODUCTS, "haier", ProductFilter(), after=follower.position, limit=5
            )
    finally:
        copied.dispose()
    assert follower.ask() == []
    feed.start_anew(engine)
    with pytest.raises(PositionGone, match="restored"):
        follower.ask()
    Follower(engine).ask()


def test_a_position_from_a_later_time_of_the_same_database_is_gone(engine: Engine) -> None:
    """The files were put back to an earlier state."""
    follower = Follower(engine)
    parts = follower.position
    later = feed.Snapshot(parts.seen.moment, parts.seen.xmax + 1000)
    follower.position = Position(parts.table, parts.dealer, parts.place, later)
    with pytest.raises(PositionGone, match="restored"):
        follower.ask()


@pytest.mark.parametrize("said", ["x", "A" * 500, "eJyLjgUAARUAuQ", "é", "eJwzAAAAMQAx"])
def test_words_that_are_no_position_are_refused(said: str) -> None:
    with pytest.raises(InvalidInput, match="after_position is no position"):
        Position.parse(said, PRODUCTS)


def test_a_position_of_another_list_is_refused(engine: Engine) -> None:
    position = str(Follower(engine, STOCK).position)
    with pytest.raises(InvalidInput, match="another list"):
        Position.parse(position, PRODUCTS)


def test_a_position_stays_short_however_many_transactions_are_open() -> None:
    said = f"5:9000:{','.join(str(number) for number in range(5, 8000, 3))}"
    snapshot = feed.Snapshot.read(1, said)
    # Everything from the first that is not named on counts as not seen.
    assert snapshot.xmax == 605
    assert len(snapshot.open) == 200
    position = str(Position("product", "海" * 50, "0" * 32, snapshot, snapshot, (600, "码" * 100)))
    assert len(position) < 8_000
    assert Position.parse(position, PRODUCTS).seen == snapshot


def test_whoever_holds_up_readers_is_named(engine: Engine) -> None:
    load_codes(engine, ["A"], content)
    assert feed.holders(engine) == []
    with open_transaction(
        engine, "SET LOCAL application_name = 'the shop'", "UPDATE product SET price = 1"
    ):
        (holder,) = feed.holders(engine)
        assert (holder.application, holder.user) == ("the shop", "haier")
        assert holder.pid is not None
        assert 0 <= holder.seconds < 60
    assert feed.holders(engine) == []


def test_notes_of_removals_go_when_no_position_can_ask_for_them(engine: Engine) -> None:
    load_codes(engine, ["A", "B"], content)
    run(
        engine,
        "DELETE FROM product",
        "UPDATE catalog_removed SET removed_at = now() - interval '9 days' WHERE key @> "
        "jsonb_build_object('product_code', 'A')",
    )
    assert feed.forget_removed(engine) == 1
    assert feed.forget_removed(engine) == 0
