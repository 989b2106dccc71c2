"""Priced products of every day, of which only what changed is stored."""

import random
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal

from sqlalchemy import Engine, text

from haier_pipeline.catalog import load
from haier_pipeline.catalog.load import PRICED_COLUMNS
from haier_pipeline.domain.partition import Partition
from haier_pipeline.rules import frame

FIRST = date(2026, 11, 2)
Prices = Mapping[str, int]


def store(engine: Engine, day: int, prices: Prices, dealer: str = "haier") -> None:
    products = [
        {"product_code": code, "product_page_urls": [], "is_sales": "1"}
        | {"supply_price": Decimal(price), "product_model": None if price % 2 else "even"}
        for code, price in prices.items()
    ]
    load.store_priced(
        engine,
        Partition(dealer, FIRST + timedelta(day)),
        frame(
            [[row.get(name) for name in PRICED_COLUMNS] for row in products], list(PRICED_COLUMNS)
        ),
    )


def read(engine: Engine, day: int, dealer: str = "haier") -> dict[str, int]:
    found = load.read_priced(engine, Partition(dealer, FIRST + timedelta(day)))
    return dict(zip(found["product_code"], map(int, found["supply_price"]), strict=True))


def shown(engine: Engine) -> dict[int, dict[str, int]]:
    """What the view shows, by day."""
    days: dict[int, dict[str, int]] = {}
    with engine.connect() as connection:
        for sync_date, code, price in connection.execute(
            text("SELECT sync_date, product_code, supply_price FROM priced_product_of_day")
        ):
            day = days.setdefault((sync_date - FIRST).days, {})
            assert code not in day, "a product stands twice in a day"
            day[code] = int(price)
    return days


def rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM priced_product")) or 0)


def test_a_day_that_repeats_the_last_one_stores_nothing(engine: Engine) -> None:
    for day in range(3):
        store(engine, day, {"A": 1, "B": 2})
    assert rows(engine) == 2
    store(engine, 3, {"A": 1, "B": 3})
    assert rows(engine) == 3
    assert shown(engine) == {day: {"A": 1, "B": 2 if day < 3 else 3} for day in range(4)}


def test_a_day_between_that_differs_leaves_the_days_around_it_alone(engine: Engine) -> None:
    store(engine, 0, {"A": 1, "B": 2})
    store(engine, 4, {"A": 1, "B": 2})
    store(engine, 2, {"A": 9})
    assert shown(engine) == {0: {"A": 1, "B": 2}, 2: {"A": 9}, 4: {"A": 1, "B": 2}}
    assert read(engine, 3) == {}, "nobody priced that day"


def test_days_in_any_order_and_again_are_what_was_stored_last(engine: Engine) -> None:
    draw = random.Random(20261125)
    expected: dict[int, dict[str, int]] = {}
    for _ in range(60):
        day = draw.randrange(8)
        prices = {code: draw.randrange(3) + 1 for code in "ABCD" if draw.random() < 0.8}
        prices = prices or {"A": 1}
        store(engine, day, prices)
        expected[day] = prices
        assert shown(engine) == expected
        for stored in expected:
            assert read(engine, stored) == expected[stored]


def test_dealers_keep_their_own(engine: Engine) -> None:
    store(engine, 0, {"A": 1})
    store(engine, 1, {"A": 5}, dealer="other")
    store(engine, 1, {})
    assert (read(engine, 0), read(engine, 1)) == ({"A": 1}, {})
    assert read(engine, 1, "other") == {"A": 5}


def test_rows_of_a_version_before_hold_for_their_day_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO priced_product (dealer, sync_date, product_code, is_sales,"
                " supply_price) VALUES ('haier', :day, 'A', '1', 7), ('haier', :day, 'B', '1', 7)"
            ),
            {"day": FIRST},
        )
    assert shown(engine) == {0: {"A": 7, "B": 7}}
    store(engine, 1, {"A": 7})
    assert shown(engine) == {0: {"A": 7, "B": 7}, 1: {"A": 7}}
    store(engine, 0, {"B": 8})
    assert shown(engine) == {0: {"B": 8}, 1: {"A": 7}}
