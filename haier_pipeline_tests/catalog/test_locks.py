"""Locks and pace of several processes: real ones, really killed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Engine

from haier_pipeline.catalog.locks import partition_lock
from haier_pipeline.catalog.pace import SharedLedger
from haier_pipeline.errors import AlreadyRunning

USER = Path(__file__).with_name("database_user.py")
ROOT = Path(__file__).parents[2]
TODAY = date(2026, 11, 22)

Process = subprocess.Popen[str]


@pytest.fixture
def start(database_url: str) -> Iterator[Callable[..., Process]]:
    """Starts a process on the test's database and returns once it is ready."""
    started: list[Process] = []

    def start(*arguments: object) -> Process:
        process = subprocess.Popen(
            [sys.executable, str(USER), database_url, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def line(process: Process) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_second_holder_of_a_partition_is_refused_and_told_whose(engine: Engine) -> None:
    """Fault matrix, row 36."""
    with partition_lock(engine, "haier", TODAY):
        with (
            pytest.raises(AlreadyRunning, match=r"haier, 2026-11-22: already running"),
            partition_lock(engine, "haier", TODAY),
        ):
            pass
        # Neither another day nor another dealer is kept waiting.
        with (
            partition_lock(engine, "haier", date(2026, 11, 21)),
            partition_lock(engine, "other", TODAY),
        ):
            pass
    with partition_lock(engine, "haier", TODAY):
        pass


def test_a_lock_is_free_again_after_an_error(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), partition_lock(engine, "haier", TODAY):
        raise ZeroDivisionError
    with partition_lock(engine, "haier", TODAY):
        pass


@pytest.mark.parametrize(("what", "seconds"), [("lock", 2.0), ("busy", 5.0)])
def test_the_lock_of_a_killed_process_is_free_within_seconds(
    engine: Engine, start: Callable[..., Process], what: str, seconds: float
) -> None:
    """Fault matrix, row 37: killed while it waits, and in the middle of a statement."""
    holder = start(what, "haier", TODAY)
    assert line(holder) == "ready"
    with pytest.raises(AlreadyRunning), partition_lock(engine, "haier", TODAY):
        pass
    time.sleep(0.2)
    holder.kill()
    holder.wait()
    killed = time.monotonic()
    while True:
        try:
            with partition_lock(engine, "haier", TODAY):
                break
        except AlreadyRunning:
            assert time.monotonic() - killed < seconds
            time.sleep(0.05)


@pytest.mark.alone
def test_processes_of_one_dealer_together_book_no_more_than_its_pace(
    start: Callable[..., Process],
) -> None:
    """Fault matrix, row 14: never more than the allowance in any window of one second."""
    rate = 100
    processes = [start("pace", "haier", rate, 2.5) for _ in range(2)]
    for process in processes:
        assert line(process) == "ready"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    booked = [[float(moment) for moment in line(process).split()] for process in processes]
    assert all(len(one) > 20 for one in booked)
    moments = sorted(moment for one in booked for moment in one)
    gaps = [later - earlier for earlier, later in zip(moments, moments[rate:], strict=False)]
    assert gaps
    assert min(gaps) > 1.0, f"{rate + 1} calls in {min(gaps):.3f} s"


def test_bookings_of_two_ledgers_never_overlap(engine: Engine) -> None:
    one, two = SharedLedger(engine, "haier"), SharedLedger(engine, "haier")
    first, now = one.book(lambda booked, at: [at + 0.1, at + 0.2])
    second, later = two.book(lambda booked, at: [*booked, at])
    assert list(second)[:2] == pytest.approx(list(first))
    assert now < later < time.time() + 60
    assert SharedLedger(engine, "other").book(lambda booked, at: list(booked))[0] == []


def test_a_ledger_forgets_what_can_no_longer_matter(engine: Engine) -> None:
    ledger = SharedLedger(engine, "haier")
    ledger.book(lambda booked, at: [at - 60, at])
    _, now = ledger.book(lambda booked, at: [])
    kept, _ = ledger.book(lambda booked, at: booked)
    assert [round(now - moment) for moment in kept] == [0]
