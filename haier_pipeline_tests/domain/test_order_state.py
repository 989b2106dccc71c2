"""The state of an order: the topmost row whose fact is there, in whatever order the facts came."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from haier_pipeline.domain.order_state import (
    CANCEL,
    CONFIRM,
    OUT_OF_STOCK,
    Arrival,
    Fact,
    Given,
    Line,
    callback_kind,
    quantities_said,
    spread,
    standing,
    state_said,
)

START = datetime(2026, 1, 15, 4, 0, tzinfo=UTC)
LINES = [Line(1, "P1", 2), Line(2, "P2", 1)]
OWN_PUSH = (Fact("sent", START, data={"attempt": 1}),)


def entry(code: str, received: int = 0, returned: int = 0, rejected: int = 0) -> dict[str, Any]:
    return {
        "productCode": code,
        "totalQty": 9,
        "receiveQty": received,
        "returnQty": returned,
        "rejectQty": rejected,
    }


def callback(
    method: str, state: object = None, *, sent: int = 0, number: str | None = None, **data: Any
) -> Fact:
    """A callback that Haier sent so many minutes after the start."""
    said: dict[str, Any] = {"PlatformOrderNo": "A1", **data}
    if state is not None:
        said["State"] = state
    return Fact(
        callback_kind(method, said, LINES),
        START,
        method=method,
        sent_at=START + timedelta(minutes=sent),
        external_order_no=number,
        signature=f"{method}{sorted(said.items())}{sent}",
        data=said,
    )


PART = [entry("P1", received=1, rejected=1)]
ALL = [entry("P1", received=1, returned=1, rejected=1), entry("P2", rejected=1)]
NOTHING = [entry("P1"), entry("P2")]

FACTS: Mapping[str, Fact | Arrival] = {
    "pushed": Fact("pushed", START, data={"attempt": 1, "outcome": "taken"}),
    "push refused": Fact("push_failed", START, data={"attempt": 1, "outcome": "refused"}),
    "confirm 1": callback(CONFIRM, 1, sent=2),
    "confirm 0": callback(CONFIRM, "0", sent=3),
    "no stock": callback(OUT_OF_STOCK, 1, sent=4),
    "no stock, older": callback(OUT_OF_STOCK, sent=1),
    "stock state 0": callback(OUT_OF_STOCK, 0, sent=4),
    "cancel all": callback(CANCEL, 1, sent=5),
    "cancel part": callback(CANCEL, 2, sent=6, itemList=PART),
    "cancel 0": callback(CANCEL, 0, sent=7),
    "cancel by quantities": callback(CANCEL, sent=8, itemList=ALL),
    "cancel says nothing": callback(CANCEL, sent=9),
    "parcel": Arrival(START),
    "arrived parcel": Arrival(START, START),
}


def state_of(facts: Sequence[Fact | Arrival], before: Sequence[Fact] = OWN_PUSH) -> str:
    """The state where the facts arrived in this order, a second apart, after the push began."""
    known = list(before)
    parcels: list[Arrival] = []
    for number, fact in enumerate(facts, len(known) + 1):
        at = START + timedelta(seconds=number)
        if isinstance(fact, Fact):
            known.append(replace(fact, at=at, number=number))
        else:
            parcels.append(Arrival(at, at if fact.delivered_at else None))
    return standing(LINES, known, parcels).state


def row_of(names: Sequence[str]) -> str:
    """The table, row by row, as the page has it."""
    there = set(names)
    confirmed = "confirm 1" in there
    if there & {"cancel all", "cancel by quantities"}:
        # Which decides is a matter of when Haier sent it.
        sent = {"cancel all": 5, "cancel part": 6, "cancel by quantities": 8}
        last = max(there & sent.keys(), key=lambda name: sent[name])
        return "partly_cancelled" if last == "cancel part" else "cancelled"
    if "cancel part" in there:
        return "partly_cancelled"
    if there & {"parcel", "arrived parcel"}:
        return "shipped" if "parcel" in there else "delivered"
    if "confirm 0" in there and not confirmed:
        return "refused"
    if there >= {"push refused"} and not confirmed and "pushed" not in there:
        return "refused"
    if "no stock" in there or ("no stock, older" in there and not confirmed):
        return "out_of_stock"
    if confirmed:
        return "confirmed"
    return "pushed" if "pushed" in there else "pushing"


def test_pairs_and_triples_of_facts_come_to_the_topmost_row_in_whatever_order() -> None:
    tried = 0
    for size in (1, 2, 3):
        for names in itertools.combinations(FACTS, size):
            found = {
                state_of([FACTS[name] for name in order]) for order in itertools.permutations(names)
            }
            assert found == {row_of(names)}, names
            tried += 1
    assert tried > 400


def test_the_quantities_and_the_state_come_from_the_callback_that_haier_sent_last() -> None:
    first = callback(CANCEL, 2, sent=1, itemList=[entry("P1", rejected=1)])
    last = callback(CANCEL, 2, sent=2, itemList=[entry("P1", received=1, rejected=1)])
    for order in itertools.permutations((first, last)):
        facts = [
            replace(fact, at=START + timedelta(seconds=number), number=number)
            for number, fact in enumerate(order)
        ]
        now = standing(LINES, facts)
        assert now.state == "partly_cancelled"
        assert now.given is not None
        assert now.given[1] == Given(received=1, rejected=1)


def test_of_two_callbacks_of_one_second_the_one_that_gives_more_back_decides() -> None:
    less = callback(CANCEL, 2, sent=1, itemList=[entry("P1", rejected=1)])
    more = callback(CANCEL, 2, sent=1, itemList=[entry("P1", rejected=2)])
    assert {state_of(order) for order in itertools.permutations((less, more))} == {
        "partly_cancelled"
    }
    for order in itertools.permutations((less, more)):
        facts = [replace(fact, number=number) for number, fact in enumerate(order)]
        given = standing(LINES, facts).given
        assert given is not None
        assert given[1].rejected == 2


def test_the_same_data_under_a_new_time_stamp_is_a_repetition() -> None:
    part = callback(CANCEL, 2, sent=1, itemList=[entry("P1", rejected=1)])
    everything = callback(CANCEL, 1, sent=2)
    again = replace(
        part, sent_at=START + timedelta(minutes=3), signature="another", external_order_no=None
    )
    found = {state_of(order) for order in itertools.permutations((part, everything, again))}
    assert found == {"cancelled"}


REQUEST = Fact("cancel_requested", START, data={"outcome": "taken"})


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (["confirm 1", REQUEST], "cancel_requested"),
        ([REQUEST, "confirm 1"], "cancel_requested"),
        (["confirm 1", REQUEST, "cancel 0"], "confirmed"),
        (["confirm 1", "cancel 0", REQUEST], "cancel_requested"),
        (["confirm 1", REQUEST, "cancel says nothing"], "cancel_requested"),
        (["confirm 1", REQUEST, callback(CANCEL, sent=9, itemList=NOTHING)], "confirmed"),
        (["confirm 0", REQUEST], "refused"),
        (["confirm 0", REQUEST, "confirm 1"], "cancel_requested"),
        (["confirm 1", REQUEST, "arrived parcel"], "cancel_requested"),
        (["confirm 1", REQUEST, "cancel all"], "cancelled"),
        (["confirm 1", "cancel part", REQUEST], "partly_cancelled"),
        (["confirm 1", replace(REQUEST, data={"outcome": "refused"})], "confirmed"),
        (["confirm 1", replace(REQUEST, data={"outcome": "unknown"})], "cancel_requested"),
        (["confirm 1", replace(REQUEST, data={})], "cancel_requested"),
        # The same refusal again answers a second request, for that lies between.
        (["confirm 1", REQUEST, "cancel 0", REQUEST, "cancel 0 again"], "confirmed"),
        (["confirm 1", REQUEST, "cancel 0", "cancel 0 again", REQUEST], "cancel_requested"),
    ],
)
def test_a_request_to_cancel_stands_until_a_cancel_callback_comes_after_it(
    facts: list[str | Fact], state: str
) -> None:
    again = replace(callback(CANCEL, 0, sent=7), sent_at=START + timedelta(minutes=20),
                    signature="again")  # fmt: skip
    known = {**FACTS, "cancel 0 again": again}
    assert state_of([known[fact] if isinstance(fact, str) else fact for fact in facts]) == state


def resolved(state: str) -> Fact:
    return Fact("resolved", START, data={"state": state})


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (["confirm 0", resolved("confirmed")], "confirmed"),
        (["confirm 0", resolved("confirmed"), "no stock"], "out_of_stock"),
        (["cancel all", resolved("confirmed")], "confirmed"),
        (["confirm 1", resolved("cancelled"), "confirm 0"], "cancelled"),
        (["confirm 1", resolved("cancelled"), "parcel"], "cancelled"),
        (["confirm 1", resolved("refused")], "refused"),
        (["confirm 0", resolved("refused"), "confirm 1"], "confirmed"),
        (["confirm 1", resolved("refused"), "parcel"], "shipped"),
        (["parcel", resolved("delivered")], "delivered"),
        (["parcel", resolved("delivered"), "parcel"], "shipped"),
        (["parcel", resolved("delivered"), "arrived parcel"], "delivered"),
        (["push refused", resolved("new")], "new"),
        (["push refused", resolved("new"), "pushed"], "pushed"),
        ([resolved("confirmed"), "push refused"], "confirmed"),
        ([resolved("confirmed"), REQUEST], "cancel_requested"),
        # A repetition of what was set aside is nothing new.
        (["confirm 0", resolved("confirmed"), "confirm 0"], "confirmed"),
        (["cancel all", resolved("confirmed"), "cancel all"], "confirmed"),
    ],
)
def test_what_a_person_learnt_sets_aside_what_was_known_before(
    facts: list[str | Fact], state: str
) -> None:
    assert state_of([FACTS[fact] if isinstance(fact, str) else fact for fact in facts]) == state


@pytest.mark.parametrize(
    ("facts", "state", "attention"),
    [
        ([], "cancelled", ()),
        (["confirm 1"], "confirmed", ("known_though_cancelled",)),
        (["parcel"], "shipped", ("known_though_cancelled",)),
        # What moves nothing must not let the order be sent after all.
        (["stock state 0"], "cancelled", ("known_though_cancelled", "not_understood")),
    ],
)
def test_an_order_cancelled_before_it_was_sent_is_taken_up_where_haier_has_it(
    facts: list[str], state: str, attention: tuple[str, ...]
) -> None:
    here = Fact("cancelled", START)
    known = [here]
    parcels = []
    for number, name in enumerate(facts, 1):
        fact = FACTS[name]
        if isinstance(fact, Fact):
            known.append(replace(fact, at=START + timedelta(seconds=number), number=number))
        else:
            parcels.append(fact)
    now = standing(LINES, known, parcels)
    assert (now.state, now.attention) == (state, attention)


@pytest.mark.parametrize(
    ("facts", "attention"),
    [
        (["confirm 1", "confirm 0"], "confirmed_and_refused"),
        (["push refused", "confirm 1"], "confirmed_after_refusal"),
        (["push refused"], "number_perhaps_taken"),
        (["confirm 0", "parcel"], "parcel_after_end"),
        (["confirm 1", "cancel all", "parcel"], "parcel_after_end"),
        (["confirm 1", "cancel 0"], "cancel_refused"),
        (["cancel part", REQUEST], "cancel_open"),
        (["cancel says nothing"], "not_understood"),
        ([callback(CONFIRM, 1, number="SO.1"), callback(CONFIRM, 1, sent=1, number="SO.2", a="b")],
         "second_order_no"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_shown_to_a_person(facts: list[str | Fact], attention: str) -> None:
    known = list(OWN_PUSH)
    parcels = []
    for number, name in enumerate(facts, 1):
        fact = FACTS[name] if isinstance(name, str) else name
        at = START + timedelta(seconds=number)
        if isinstance(fact, Fact):
            known.append(replace(fact, at=at, number=number))
        else:
            parcels.append(Arrival(at))
    assert standing(LINES, known, parcels).attention == (attention,)


def test_an_attempt_that_did_not_leave_makes_the_order_new_again() -> None:
    not_sent = Fact("push_failed", START, data={"attempt": 1, "outcome": "not_sent"})
    unknown = Fact("push_failed", START, data={"attempt": 1, "outcome": "unknown"})
    assert state_of([not_sent]) == "new"
    assert state_of([unknown]) == "pushing"
    assert state_of([not_sent, Fact("sent", START)]) == "pushing"
    assert state_of([], before=()) == "new"


def test_a_delivery_record_without_a_parcel_has_neither_left_nor_arrived() -> None:
    confirmed = [replace(callback(CONFIRM, 1), number=1)]
    waiting = Arrival(START, has_left=False)
    arrived = Arrival(START, START)
    assert standing(LINES, confirmed, [waiting]).state == "confirmed"
    assert standing(LINES, confirmed, [arrived, waiting]).state == "shipped"
    assert standing(LINES, confirmed, [arrived]).state == "delivered"


def test_pieces_of_a_product_on_two_lines_fill_them_by_position_and_gifts_last() -> None:
    lines = [Line(1, "P", 1, is_gift=True), Line(2, "P", 2), Line(3, "P", 2)]
    said = {"P": Given(received=3, returned=2, rejected=2)}
    assert spread(lines, said) == {
        2: Given(received=2, returned=2),
        3: Given(received=1, returned=0, rejected=1),
        1: Given(received=0, returned=0, rejected=1),
    }


def test_quantities_are_read_from_a_list_from_its_text_and_from_numbers_as_text() -> None:
    expected = {"P1": Given(received=1, rejected=1)}
    assert quantities_said({"itemList": PART}) == expected
    text = '[{"productCode": "P1", "receiveQty": "1", "rejectQty": 1.0}]'
    assert quantities_said({"itemList": text}) == expected
    for broken in (None, "no list", 7, [], ["x"], [{"productCode": "P1", "rejectQty": -1}],
                   [{"productCode": "P1", "rejectQty": "many"}], [{"rejectQty": 1}]):  # fmt: skip
        assert quantities_said({"itemList": broken}) is None


def test_a_state_may_be_a_number_or_text_and_nothing_else() -> None:
    said = [state_said({"State": value}) for value in (1, "1", " 0 ", 2.0, True, "yes", 7, None)]
    assert said == [1, 1, 0, 2, None, None, None, None]


def test_an_order_is_ended_where_nothing_more_is_expected() -> None:
    def is_ended(*names: str) -> bool:
        known = list(OWN_PUSH)
        parcels = []
        for number, name in enumerate(names, 1):
            fact = FACTS[name]
            if isinstance(fact, Fact):
                known.append(replace(fact, at=START, number=number))
            else:
                parcels.append(fact)
        return standing(LINES, known, parcels).is_ended

    assert is_ended("cancel all")
    assert is_ended("confirm 0")
    assert is_ended("arrived parcel")
    assert not is_ended("confirm 1")
    assert not is_ended("parcel")
    assert not is_ended("cancel part")
    made_up = [entry("P1", received=1, rejected=1), entry("P2", received=1)]
    facts = [callback(CANCEL, 2, itemList=made_up)]
    assert standing(LINES, facts).is_ended
