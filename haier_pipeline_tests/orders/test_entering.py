"""Orders that are entered: from files, lists and the inbox, all or none, once for each number."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from haier_pipeline.catalog.database import dump_json
from haier_pipeline.catalog.orders import inbox
from haier_pipeline.catalog.orders.store import Selection
from haier_pipeline.errors import InvalidConfig, InvalidInput
from haier_pipeline.sync.dealer_editor import DealerEditor
from haier_pipeline.sync.dealers import ENVIRONMENT_DEALER as DEALER
from haier_pipeline.sync.dealers import Dealers
from haier_pipeline.sync.order_book import Orders
from haier_pipeline.sync.run import Outcome
from haier_pipeline_tests.orders.conftest import KEY, an_order, no_sandbox

Push = Callable[..., Outcome | None]
States = Callable[[], dict[str, str]]


def test_orders_of_a_file_are_stored_all_or_none(orders: Orders, states: States) -> None:
    wrong = an_order("A2", total_amount=1)
    added = orders.add_file(DEALER, dump_json([an_order("A1"), wrong]).encode())
    [problem] = added.refused
    assert (problem.so_id, problem.field, problem.is_conflict) == ("A2", "total_amount", False)
    assert "is 1, but its items add up to 3998.00" in problem.problem
    assert states() == {}
    added = orders.add_file(DEALER, dump_json([an_order("A1"), an_order("A2")]).encode())
    assert (added.stored, added.known, added.refused) == (("A1", "A2"), (), ())
    assert states() == {"A1": "new", "A2": "new"}


def test_the_same_number_with_the_same_content_is_the_same_order(
    orders: Orders, states: States
) -> None:
    orders.add(DEALER, [an_order("A1")])
    # Written otherwise, and the same.
    again = an_order("A1", total_amount="3998", online_no="A1", is_government_order="false")
    added = orders.add(DEALER, [again, an_order("A2"), an_order("A2")])
    assert (added.stored, added.known, added.refused) == (("A2",), ("A1", "A2"), ())
    added = orders.add(DEALER, [an_order("A3"), an_order("A1", city="苏州市")])
    [problem] = added.refused
    assert (problem.line, problem.so_id, problem.is_conflict) == (2, "A1", True)
    assert list(states()) == ["A1", "A2"]


def test_a_price_that_does_not_follow_from_the_discount_is_only_a_warning(orders: Orders) -> None:
    order = an_order("A1")
    order["items"][0]["discount_amount"] = 0
    added = orders.add(DEALER, [order])
    assert added.stored == ("A1",)
    assert [(one.field, one.so_id) for one in added.warnings] == [("items[1].actual_price", "A1")]


@pytest.mark.parametrize(
    ("first", "second", "field"),
    [
        (("A1", "S1"), ("A2", "A1"), "online_no"),
        (("A1", "A2"), ("A2", "S2"), "so_id"),
    ],
)
def test_an_online_no_may_not_be_another_orders_so_id(
    first: tuple[str, str], second: tuple[str, str], field: str, orders: Orders
) -> None:
    one, other = (an_order(so_id, online_no=number) for so_id, number in (first, second))
    [problem] = orders.add(DEALER, [one, other]).refused
    assert (problem.field, problem.is_conflict) == (field, True)
    assert orders.add(DEALER, [one]).stored == (first[0],)
    [problem] = orders.add(DEALER, [other]).refused
    assert (problem.field, problem.is_conflict) == (field, True)


def test_two_dealers_of_one_source_system_may_not_use_the_same_number(
    orders: Orders, editor: DealerEditor, order_variables: dict[str, str]
) -> None:
    editor.create("same", order_variables)
    editor.create("other", order_variables | {"ylh_source_system": "another"})
    assert orders.add("same", [an_order("A1")]).stored == ("A1",)
    [problem] = orders.add(DEALER, [an_order("A1")]).refused
    assert (problem.field, problem.is_conflict) == ("so_id", True)
    assert orders.add("other", [an_order("A1")]).stored == ("A1",)


def test_one_number_given_twice_at_once_is_stored_once(orders: Orders) -> None:
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(orders.add(DEALER, [an_order("A1")])))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(added.stored) for added in found) == 1
    assert sum(len(added.known) for added in found) == 7


def put(engine: Engine, *payloads: Any, dealer: str = DEALER) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO retail_order_inbox (dealer, payload) VALUES (:dealer, :payload)"),
            [{"dealer": dealer, "payload": dump_json(payload)} for payload in payloads],
        )


def waiting(engine: Engine) -> list[str | None]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT problem FROM retail_order_inbox ORDER BY id")))


def test_what_a_shop_puts_into_the_inbox_is_taken_over_and_removed(
    orders: Orders, engine: Engine, push_all: Push, states: States
) -> None:
    put(engine, an_order("A1"), an_order("A1"), an_order("A2", total_amount=1), [1],
        an_order("A1", city="苏州市"))  # fmt: skip
    assert orders.take_over(DEALER) == (2, 3)
    assert states() == {"A1": "new"}
    problems = waiting(engine)
    assert len(problems) == 3
    assert "total_amount is 1" in str(problems[0])
    assert "must be an object" in str(problems[1])
    assert "so_id is another order's already" in str(problems[2])
    # Looked at again it stays; mended it is taken.
    assert orders.take_over(DEALER) == (0, 0)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE retail_order_inbox SET problem = NULL, payload = jsonb_set(payload,"
                " '{total_amount}', '3998') WHERE problem LIKE 'total_amount%'"
            )
        )
    assert push_all() is not None
    assert states() == {"A1": "pushed", "A2": "pushed"}


def test_what_cannot_be_taken_goes_after_a_month_and_strangers_are_told(engine: Engine) -> None:
    put(engine, [1], dealer="nobody")
    assert inbox.refuse_strangers(engine, [DEALER]) == 1
    assert waiting(engine) == ["dealer is no dealer of this installation"]
    assert inbox.remove_old(engine) == 0
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE retail_order_inbox SET created_at = now() - interval '31 days'")
        )
    assert inbox.remove_old(engine) == 1


def test_orders_are_listed_by_state_time_and_mobile_a_page_at_a_time(orders: Orders) -> None:
    orders.add(DEALER, [an_order(f"A{number}") for number in range(5)])
    orders.add(DEALER, [an_order("B1", consignee_mobile="138 0000 1111")])
    orders.cancel(DEALER, "A0", "no longer wanted", by="test")

    def numbers(**wanted: Any) -> list[str]:
        return [row["so_id"] for row in orders.listed(Selection(DEALER, **wanted))]

    assert numbers() == ["B1", "A4", "A3", "A2", "A1", "A0"]
    assert numbers(state="cancelled") == ["A0"]
    assert numbers(mobile="13800001111") == ["B1"]
    page = orders.listed(Selection(DEALER, limit=2))
    assert [row["so_id"] for row in page] == ["B1", "A4"]
    assert numbers(limit=2, before=page[-1]["id"]) == ["A3", "A2"]
    assert numbers(since=page[0]["created_at"]) == ["B1"]
    for wrong in ({"state": "lost"}, {"limit": 0}, {"limit": 201}):
        with pytest.raises(InvalidInput):
            numbers(**wrong)


def test_without_a_key_and_without_settings_orders_refuse(
    engine: Engine, dealers: Dealers, dealer_variables: dict[str, str]
) -> None:
    with pytest.raises(InvalidInput, match="HAIER_SECRET_KEY is not set"):
        Orders(engine, dealers, ()).add(DEALER, [an_order("A1")])
    without = {key: value for key, value in dealer_variables.items() if not key.startswith("ylh")}
    bare = Dealers(
        engine, environment=without, allowed_hosts=("127.0.0.1",), secret_keys=(KEY,),
        sandbox=no_sandbox,
    )  # fmt: skip
    orders = Orders(engine, bare, (KEY,))
    with pytest.raises(InvalidConfig, match="ylh_client_id"):
        orders.add(DEALER, [an_order("A1")])
    assert orders.with_settings() == []
    with pytest.raises(InvalidInput, match="no active dealer has order settings"):
        orders.choose(None)


def test_the_only_dealer_with_settings_is_meant_where_none_is_named(
    orders: Orders, editor: DealerEditor, order_variables: dict[str, str]
) -> None:
    assert orders.choose(None) == DEALER
    editor.create("second", order_variables)
    with pytest.raises(InvalidInput, match="name the dealer: haier, second"):
        orders.choose(None)
    assert orders.choose("second") == "second"
