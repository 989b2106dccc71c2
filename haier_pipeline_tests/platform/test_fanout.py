"""Many calls at once: order, laziness, giving up, and ending promptly whatever ends it."""

import threading
import time
from collections.abc import Iterator

import pytest

from haier_pipeline.errors import (
    CallFailed,
    CallRefused,
    Cancelled,
    PlatformClosed,
    TransientFailure,
)
from haier_pipeline.platform.fanout import fan_out


def refuse(unit: int) -> int:
    raise CallRefused("no", endpoint="stock", status=400)


def break_down(unit: int) -> int:
    raise TransientFailure("no answer", endpoint="stock", attempts=4)


def test_every_unit_comes_back_once_with_its_answer() -> None:
    results = dict(fan_out(range(200), lambda unit: unit * 2, workers=8, stop=threading.Event()))
    assert results == {unit: unit * 2 for unit in range(200)}


def test_results_come_as_the_calls_end() -> None:
    def call(unit: float) -> float:
        time.sleep(unit)
        return unit

    units = [0, 0.4, 0.02, 0.2]
    results = fan_out(units, call, workers=3, stop=threading.Event())
    assert [unit for unit, _ in results] == sorted(units)


def test_as_many_calls_as_workers_are_in_flight() -> None:
    """Once the first call has worked."""
    gate = threading.Barrier(6)

    def call(unit: int) -> int:
        return gate.wait(5) if unit else 0

    list(fan_out(range(13), call, workers=6, stop=threading.Event()))


def test_more_calls_go_at_a_time_where_there_is_room_for_them() -> None:
    in_flight = most = 0
    lock = threading.Lock()

    def call(unit: int) -> int:
        nonlocal in_flight, most
        with lock:
            in_flight += 1
            most = max(most, in_flight)
        time.sleep(0.02)
        with lock:
            in_flight -= 1
        return unit

    def most_of(*, room: bool) -> int:
        nonlocal most
        most = 0
        stop = threading.Event()
        list(fan_out(range(100), call, workers=4, stop=stop, wants_more=lambda: room))
        return most

    assert most_of(room=False) <= 4
    assert most_of(room=True) > 8


def test_units_are_pulled_as_needed() -> None:
    pulled = []

    def units() -> Iterator[int]:
        for unit in range(10_000):
            pulled.append(unit)
            yield unit

    results = fan_out(units(), lambda unit: unit, workers=4, stop=threading.Event())
    for _ in range(20):
        next(results)
    assert len(pulled) <= 20 + 2 * 4


def test_a_failed_call_is_yielded_and_the_others_go_on() -> None:
    """Fault matrix, row 27."""

    def call(unit: int) -> int:
        return refuse(unit) if unit % 2 else unit

    results = dict(fan_out(range(200), call, workers=4, stop=threading.Event()))
    assert sum(isinstance(result, CallFailed) for result in results.values()) == 100


def test_an_outage_ends_it() -> None:
    begun = []

    def call(unit: int) -> int:
        begun.append(unit)
        return break_down(unit)

    results = fan_out(range(10_000), call, workers=4, stop=threading.Event(), give_up_after=10)
    with pytest.raises(PlatformClosed, match="not answering"):
        list(results)
    assert len(begun) <= 10 + 2 * 4


def wrong_password(unit: int) -> int:
    raise CallRefused(f"{unit}: wrong password", endpoint="stock", reason="wrong password")


def test_equal_refusals_from_the_first_call_on_end_it_after_a_few() -> None:
    """Fault matrix, row 2: 554 calls with a wrong password get an account locked."""
    begun = []

    def call(unit: int) -> int:
        begun.append(unit)
        return wrong_password(unit)

    with pytest.raises(PlatformClosed, match=r"same reason.*wrong password"):
        list(fan_out(range(554), call, workers=32, stop=threading.Event()))
    assert len(begun) == 5


def test_refusals_among_transient_failures_are_counted() -> None:
    """A call that found nobody says nothing about the password."""
    begun = []

    def call(unit: int) -> int:
        begun.append(unit)
        return break_down(unit) if unit % 2 else wrong_password(unit)

    with pytest.raises(PlatformClosed, match="same reason"):
        list(fan_out(range(554), call, workers=4, stop=threading.Event()))
    assert len(begun) <= 9 + 2 * 4


@pytest.mark.parametrize("working", [0, 3])
def test_refusals_after_a_call_that_worked_are_about_their_units(working: int) -> None:
    def call(unit: int) -> int:
        return unit if unit == working else wrong_password(unit)

    results = dict(fan_out(range(100), call, workers=4, stop=threading.Event()))
    assert sum(isinstance(result, CallFailed) for result in results.values()) == 99


def test_refusals_for_different_reasons_are_about_their_units() -> None:
    def call(unit: int) -> int:
        raise CallRefused("no", endpoint="stock", reason=f"{unit} is no product")

    assert len(list(fan_out(range(100), call, workers=4, stop=threading.Event()))) == 100


def test_the_first_calls_go_one_after_the_other_until_one_has_worked() -> None:
    flying = most = 0
    lock = threading.Lock()

    def call(unit: int) -> int:
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying) if unit < 5 else most
        time.sleep(0.01)
        with lock:
            flying -= 1
        return refuse(unit) if unit < 4 else unit

    assert len(list(fan_out(range(20), call, workers=8, stop=threading.Event()))) == 20
    assert most == 1


def test_failures_between_answers_are_no_outage() -> None:
    def call(unit: int) -> int:
        return unit if unit % 5 == 0 else break_down(unit)

    results = fan_out(range(200), call, workers=1, stop=threading.Event(), give_up_after=5)
    assert len(list(results)) == 200


@pytest.mark.parametrize(
    "error", [PlatformClosed("closed", endpoint="stock", status=403), KeyError("a bug")]
)
def test_any_other_error_ends_it_and_is_raised(error: Exception) -> None:
    begun = []

    def call(unit: int) -> int:
        begun.append(unit)
        if unit == 5:
            raise error
        return unit

    with pytest.raises(type(error)):
        list(fan_out(range(10_000), call, workers=2, stop=threading.Event()))
    assert len(begun) < 50


def test_a_stop_ends_it_though_no_call_comes_back() -> None:
    """Fault matrix, row 34."""
    stop, release = threading.Event(), threading.Event()
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        list(fan_out(range(10), lambda unit: release.wait(10), workers=2, stop=stop))
    assert time.monotonic() - began < 1
    release.set()


def test_closing_it_begins_no_further_call() -> None:
    begun = []

    def call(unit: int) -> int:
        begun.append(unit)
        time.sleep(0.01)
        return unit

    results = fan_out(range(10_000), call, workers=2, stop=threading.Event())
    next(results)
    results.close()
    time.sleep(0.1)
    count = len(begun)
    assert count <= 6
    time.sleep(0.1)
    assert len(begun) == count


def test_an_interrupted_consumer_does_not_hang() -> None:
    release = threading.Event()

    def units() -> Iterator[int]:
        yield 0
        yield 1
        raise KeyboardInterrupt

    def call(unit: int) -> None:
        if unit:
            release.wait(10)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(fan_out(units(), call, workers=2, stop=threading.Event()))
    assert time.monotonic() - began < 1
    release.set()
