"""Locks and pace of several processes: real ones, really killed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from haier_pipeline.catalog.locks import PARTITION_KEY_SQL, partition_lock
from haier_pipeline.catalog.pace import SharedLedger
from haier_pipeline.domain.assets import SYNC_TYPES
from haier_pipeline.domain.partition import Partition
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
    with partition_lock(engine, Partition("haier", TODAY)):
        with (
            pytest.raises(AlreadyRunning, match=r"haier, 2026-11-22: already running"),
            partition_lock(engine, Partition("haier", TODAY)),
        ):
            pass
        # Neither another day nor another dealer is kept waiting.
        with (
            partition_lock(engine, Partition("haier", date(2026, 11, 21))),
            partition_lock(engine, Partition("other", TODAY)),
        ):
            pass
    with partition_lock(engine, Partition("haier", TODAY)):
        pass


def test_a_lock_is_free_again_after_an_error(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), partition_lock(engine, Partition("haier", TODAY)):
        raise ZeroDivisionError
    with partition_lock(engine, Partition("haier", TODAY)):
        pass


@pytest.mark.parametrize(("what", "seconds"), [("lock", 2.0), ("busy", 5.0)])
def test_the_lock_of_a_killed_process_is_free_within_seconds(
    engine: Engine, start: Callable[..., Process], what: str, seconds: float
) -> None:
    """Fault matrix, row 37: killed while it waits, and in the middle of a statement."""
    holder = start(what, "haier", TODAY)
    assert line(holder) == "ready"
    with pytest.raises(AlreadyRunning), partition_lock(engine, Partition("haier", TODAY)):
        pass
    time.sleep(0.2)
    holder.kill()
    holder.wait()
    killed = time.monotonic()
    while True:
        try:
            with partition_lock(engine, Partition("haier", TODAY)):
                break
        except AlreadyRunning:
            assert time.monotonic() - killed < seconds
            time.sleep(0.05)


@pytest.mark.alone
def test_processes_of_one_client_together_book_no_more_than_its_pace(
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


ORIGIN = "https://openplat-test.haier.net:443"


def test_bookings_of_two_ledgers_never_overlap(engine: Engine) -> None:
    one, two = SharedLedger(engine, "c", ORIGIN), SharedLedger(engine, "c", ORIGIN)
    first, now = one.book(100, lambda booked, at, rate: [at + 0.1, at + 0.2])
    second, later = two.book(100, lambda booked, at, rate: [*booked, at])
    assert list(second)[:2] == pytest.approx(list(first))
    assert now < later < time.time() + 60
    for client_id, origin in (("other", ORIGIN), ("c", "https://openplat-test.haier.net:8443")):
        other = SharedLedger(engine, client_id, origin)
        assert other.book(100, lambda booked, at, rate: list(booked))[0] == []


def test_a_ledger_forgets_what_can_no_longer_matter(engine: Engine) -> None:
    ledger = SharedLedger(engine, "c", ORIGIN)
    ledger.book(100, lambda booked, at, rate: [at - 60, at])
    _, now = ledger.book(100, lambda booked, at, rate: [])
    kept, _ = ledger.book(100, lambda booked, at, rate: booked)
    assert [round(now - moment) for moment in kept] == [0]


def test_the_smallest_rate_of_those_who_share_holds(engine: Engine) -> None:
    """Fault matrix, row 14."""
    one, two = SharedLedger(engine, "c", ORIGIN), SharedLedger(engine, "c", ORIGIN)
    rates: list[int] = []

    def plan(booked: Sequence[float], at: float, rate: int) -> Sequence[float]:
        rates.append(rate)
        return []

    one.book(100, plan)
    two.book(20, plan)
    one.book(100, plan)
    assert rates == [100, 20, 20]
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE client_pace SET rates = jsonb_set(rates, '{20}', to_jsonb(1.5))")
        )
    one.book(100, plan)
    assert rates[-1] == 100


@pytest.mark.parametrize(("rate", "most_entries"), [(100, 100), (128, 128), (10_000, 127)])
def test_the_row_of_a_client_stays_small(engine: Engine, rate: int, most_entries: int) -> None:
    """Two syncs at 10,000 calls a second made 56 MB of one row."""
    ledgers = [SharedLedger(engine, "c", ORIGIN) for _ in range(2)]
    seen = 0

    def plan(booked: Sequence[float], at: float, rate: int) -> Sequence[float]:
        nonlocal seen
        seen = len(booked)
        return [at + place / rate for place in range(rate // 10)]

    def book(ledger: SharedLedger) -> None:
        for _ in range(300):
            ledger.book(rate, plan)

    with ThreadPoolExecutor(len(ledgers)) as both:
        list(both.map(book, ledgers))
    assert seen >= rate
    with engine.connect() as connection:
        entries, size = connection.execute(
            text(
                "SELECT cardinality(booked), pg_total_relation_size('client_pace') FROM client_pace"
            )
        ).one()
    assert entries <= most_entries
    assert size <= 16 * 8192


def test_what_is_kept_of_a_fast_client_never_counts_a_call_too_early(engine: Engine) -> None:
    ledger = SharedLedger(engine, "c", ORIGIN)
    sent: list[float] = []

    def plan(booked: Sequence[float], at: float, rate: int) -> Sequence[float]:
        assert len(booked) == len(sent)
        assert all(kept >= moment for kept, moment in zip(booked, sent, strict=True))
        first = max(at, *sent[-1:]) if sent else at
        new = [first + place / 1000 for place in range(40)]
        sent.extend(new)
        return new

    for _ in range(3):
        ledger.book(10_000, plan)


@pytest.mark.parametrize("sync_type", SYNC_TYPES)
def test_sql_names_the_lock_of_every_sync_type_as_python_does(
    engine: Engine, sync_type: str
) -> None:
    """Who looks for dead runs computes the key in SQL, a run computes it itself."""
    partition = Partition("上海 O'Neill", date(2026, 1, 2))
    row = "SELECT CAST(:date AS date) AS sync_date, :dealer AS dealer, :type AS sync_type"
    bound = {"date": partition.sync_date, "dealer": partition.dealer, "type": sync_type}
    with engine.connect() as connection:
        key = connection.scalar(text(f"SELECT {PARTITION_KEY_SQL} FROM ({row}) AS r"), bound)  # noqa: S608
    assert key == partition.lock_key(sync_type)
