"""Killed with -9 at every moment of a push, and started again: each order arrives once (row 57)."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from haier_pipeline.catalog import log
from haier_pipeline.catalog.database import dump_json
from haier_pipeline.errors import AlreadyRunning
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync.dealers import ENVIRONMENT_DEALER as DEALER
from haier_pipeline.sync.order_book import Orders
from haier_pipeline.sync.run import Outcome
from haier_pipeline_tests.orders.conftest import KEY, an_order

SCRIPT = Path(__file__).with_name("push_process.py")

Push = Callable[..., Outcome | None]
States = Callable[[], dict[str, str]]


@pytest.fixture
def start(
    database_url: str, order_variables: dict[str, str]
) -> Callable[..., "subprocess.Popen[bytes]"]:
    def work(die: str | None = None, run_id: str = "killed") -> "subprocess.Popen[bytes]":
        wanted = {"url": database_url, "dealer": order_variables, "key": KEY, "run_id": run_id}
        arguments = [sys.executable, str(SCRIPT), json.dumps({**wanted, "die": die})]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    return work


def push_again(push_all: Push) -> None:
    """The lock of a killed process is free within seconds."""
    for _ in range(100):
        with suppress(AlreadyRunning):
            push_all()
            return
        time.sleep(0.1)
    raise AssertionError("the lock of the dead run is still held")


@pytest.mark.parametrize(
    ("moment", "is_there"),
    [
        ("claiming", False),
        ("claimed", False),
        ("sending", True),
        ("answered", True),
        ("storing", True),
        ("stored", True),
    ],
)
def test_a_push_that_is_killed_is_finished_by_the_next(
    moment: str,
    is_there: bool,
    orders: Orders,
    add: Callable[..., None],
    start: Callable[..., "subprocess.Popen[bytes]"],
    push_all: Push,
    states: States,
    order_sandbox: SandboxProcess,
) -> None:
    add("A1")
    order_sandbox.set(latency_ms=[1000, 1000] if moment == "sending" else [0, 0])
    killed = start(moment)
    killed.communicate(timeout=60)
    assert killed.returncode == -9
    if moment == "sending":
        # It answers nobody, and applies what it read.
        time.sleep(1.5)
    assert len(order_sandbox.orders()) == is_there
    expected = {"claiming": "new", "stored": "pushed"}.get(moment, "pushing")
    assert states() == {"A1": expected}
    push_again(push_all)
    assert states() == {"A1": "pushed"}
    assert len(order_sandbox.orders()) == 1
    # Of a run that was dead before its row was ended, the next one ends it.
    rows = log.entries(orders.engine, sync_type="order")
    assert all(row.status in ("success", "failed") for row in rows)
    assert rows[-1].run_id == "killed"
    assert rows[-1].status == "failed"


def test_an_inbox_that_is_killed_while_it_is_taken_over_loses_nothing(
    engine: Engine,
    start: Callable[..., "subprocess.Popen[bytes]"],
    push_all: Push,
    states: States,
    order_sandbox: SandboxProcess,
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO retail_order_inbox (dealer, payload) VALUES (:dealer, :payload)"),
            [{"dealer": DEALER, "payload": dump_json(an_order(f"A{n}"))} for n in range(3)],
        )
    killed = start("taking")
    killed.communicate(timeout=60)
    assert killed.returncode == -9
    assert states() == {}
    push_again(push_all)
    assert set(states().values()) == {"pushed"}
    assert len(order_sandbox.orders()) == 3


@pytest.mark.timeout(400)
def test_killed_at_twenty_random_moments_every_order_is_accepted_exactly_once(
    orders: Orders,
    start: Callable[..., "subprocess.Popen[bytes]"],
    push_all: Push,
    states: States,
    order_sandbox: SandboxProcess,
) -> None:
    chance = random.Random(20260115)
    numbers = [f"K{number:03}" for number in range(500)]
    orders.add(DEALER, [an_order(so_id) for so_id in numbers])
    order_sandbox.set(latency_ms=[50, 50])
    kills = 0
    deadline = time.monotonic() + 150
    while kills < 20 and time.monotonic() < deadline:
        process = start(run_id=f"killed-{kills}")
        # It takes a second and more to come up; then it has work for some seconds.
        had = len(order_sandbox.orders())
        while process.poll() is None and len(order_sandbox.orders()) == had:
            time.sleep(0.02)
        time.sleep(chance.random() * 0.12)
        process.kill()
        process.communicate()
        kills += 1
        if set(states().values()) == {"pushed"}:
            break
    push_again(push_all)
    assert Counter(states().values()) == {"pushed": 500}
    taken = [order["so_id"] for order in order_sandbox.orders()]
    assert sorted(taken) == numbers
    rows = log.entries(orders.engine, sync_type="order", limit=200)
    assert all(row.status != "processing" for row in rows)
