"""The pace: no window over the allowance, hardly any of it lost, every wait ended by a stop."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haier_pipeline.errors import Cancelled
from haier_pipeline.platform.pacing import WINDOW, MemoryLedger, Pace, Plan, book


def most_in_a_second(times: Sequence[float], seconds: float = 1.0) -> int:
    most = start = 0
    for end, moment in enumerate(times):
        while times[start] <= moment - seconds:
            start += 1
        most = max(most, end - start + 1)
    return most


@given(
    rate=st.integers(1, 200),
    steps=st.lists(st.tuples(st.floats(0, 3), st.integers(1, 30)), min_size=1, max_size=60),
)
@settings(max_examples=150, deadline=None)
def test_no_window_ever_holds_more_than_the_rate(rate: int, steps: list[tuple[float, int]]) -> None:
    """Fault matrix, row 14: whenever the calls come."""
    log: list[float] = []
    now = 1000.0
    for pause, wanted in steps:
        # Several processes may have booked ahead, but each waits for the slot that it booked.
        now = max(now + pause, log[-1] - 5 if log else 0)
        wanted = min(wanted, max(1, rate // 10))
        booked = book(log, now, wanted, rate)
        assert booked == sorted(booked)
        assert booked[0] >= now
        log += booked
    assert most_in_a_second(log, WINDOW - 1e-6) <= rate


@pytest.mark.parametrize("rate", [1, 3, 10, 100, 1000])
def test_steady_demand_gets_98_percent_and_even_gaps(rate: int) -> None:
    log: list[float] = []
    for _ in range(5 * rate):
        log += book(log, log[-1] if log else 0.0, 1, rate)
    gaps = [later - earlier for earlier, later in pairwise(log)]
    assert len(gaps) / (log[-1] - log[0]) == pytest.approx(rate / WINDOW, rel=0.001)
    assert max(gaps) == pytest.approx(min(gaps))


def test_a_stall_of_400_milliseconds_costs_no_throughput() -> None:
    log: list[float] = []
    now = 0.0
    while now < 10:
        log += book(log, now, 1, 100)
        now = log[-1]
        if len(log) == 300:
            now += 0.4
    assert len(log) / 10 > 97.5
    assert most_in_a_second(log) <= 100


def test_after_a_long_silence_there_is_no_burst() -> None:
    log = book([], 0.0, 100, 100)
    later = book(log, 60.0, 50, 100)
    assert later[-1] - later[0] == pytest.approx(49 * WINDOW / 100)


def test_a_clock_set_back_does_not_stop_the_calls() -> None:
    """Fault matrix, row 41: the log is then an hour ahead."""
    log = book([], 3600.0, 100, 100)
    for _ in range(3):
        booked = book(log, 10.0, 2, 100)
        assert booked[-1] < 10.1
        log += booked


@contextmanager
def calling(pace: Pace, threads: int) -> Iterator[list[float]]:
    """The times at which so many threads, which do nothing else, were let through."""
    times: list[float] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            pace.wait()
            times.append(time.monotonic())

    running = [threading.Thread(target=call) for _ in range(threads)]
    for thread in running:
        thread.start()
    yield times
    stop.set()
    for thread in running:
        thread.join()


@pytest.mark.alone
def test_threads_together_keep_the_pace_and_use_it() -> None:
    with calling(Pace(100), threads=20) as times:
        time.sleep(3)
    times.sort()
    assert most_in_a_second(times) <= 100
    assert len(times) >= 0.97 * 300


@pytest.mark.alone
def test_a_slow_ledger_does_not_hold_up_a_fast_dealer() -> None:
    class SlowLedger(MemoryLedger):
        def book(self, rate: int, plan: Plan) -> tuple[Sequence[float], float]:
            time.sleep(0.001)
            return super().book(rate, plan)

    with calling(Pace(1000, SlowLedger(1000)), threads=32) as times:
        time.sleep(2)
    assert len(times) / 2 >= 900
    assert most_in_a_second(sorted(times)) <= 1000


def test_nobody_books_slots_that_nobody_uses() -> None:
    ledger = MemoryLedger(100)
    pace = Pace(100, ledger)
    for _ in range(5):
        pace.wait()
    booked: list[float] = []

    def look(log: Sequence[float], now: float, rate: int) -> Sequence[float]:
        booked.extend(log)
        return ()

    ledger.book(100, look)
    assert len(booked) == 5


def test_two_paces_on_one_ledger_share_the_allowance() -> None:
    ledger = MemoryLedger(50)
    first, second = Pace(50, ledger), Pace(50, ledger)
    with calling(first, threads=4) as some, calling(second, threads=4) as others:
        time.sleep(2)
    assert some
    assert others
    assert most_in_a_second(sorted(some + others)) <= 50


def test_a_pause_holds_everybody_up() -> None:
    """Fault matrix, row 5."""
    pace = Pace(200)
    with calling(pace, threads=8) as times:
        time.sleep(0.3)
        began = time.monotonic()
        pace.pause(0.5)
        time.sleep(0.9)
    assert not [moment for moment in times if began + 0.02 < moment < began + 0.5]
    assert [moment for moment in times if began + 0.5 <= moment < began + 0.7]


def test_a_stop_ends_the_waits() -> None:
    """Fault matrix, row 34."""
    stop = threading.Event()
    pace = Pace(1, stop=stop)
    pace.pause(60)
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        pace.wait()
    assert time.monotonic() - began < 0.5


def test_a_call_counts_from_when_its_bytes_have_left() -> None:
    """A thread may be held up in the middle of sending; the platform sees the call only then."""
    pace = Pace(10)
    times: list[float] = []

    def held_up() -> None:
        time.sleep(0.3)
        times.append(time.monotonic())

    pace.send(held_up)
    pace.heard()
    for _ in range(10):
        pace.send(lambda: times.append(time.monotonic()))
        pace.heard()
    assert times[10] - times[0] >= WINDOW


def test_calls_that_left_in_a_silence_count_from_its_end() -> None:
    """They may all have arrived when the platform, or the way to it, came back to life."""
    pace = Pace(50)
    times: list[float] = []
    for _ in range(50):
        pace.send(lambda: times.append(time.monotonic()))
    time.sleep(0.5)
    ended = time.monotonic()
    pace.heard()
    pace.send(lambda: times.append(time.monotonic()))
    assert times[50] - ended >= 1


def test_without_any_answer_no_second_allowance_is_sent() -> None:
    pace = Pace(50)
    times: list[float] = []
    for _ in range(50):
        pace.send(lambda: times.append(time.monotonic()))
    waiting = threading.Thread(target=pace.send, args=(lambda: times.append(time.monotonic()),))
    waiting.start()
    waiting.join(1.5)
    assert len(times) == 50
    pace.heard()
    waiting.join(5)
    assert len(times) == 51


def test_who_shares_the_allowance_learns_how_late_a_call_was() -> None:
    ledger = MemoryLedger(10)
    late = Pace(10, ledger)
    late.send(lambda: time.sleep(0.4))
    left = time.monotonic()
    late.heard()
    late.wait()
    seen: list[float] = []

    def look(log: Sequence[float], now: float, rate: int) -> Sequence[float]:
        seen.extend(log)
        return ()

    ledger.book(10, look)
    assert seen[0] == pytest.approx(left, abs=0.05)


def test_lateness_widens_the_window_and_is_forgotten() -> None:
    pace = Pace(100)
    pace.send(lambda: time.sleep(0.04))
    pace.heard()
    wide = pace._margin
    for _ in range(150):
        pace.wait()
    assert wide >= 0.04
    assert pace._margin < wide
