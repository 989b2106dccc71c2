"""A process that uses the catalog's database until it is killed, or until its input ends.

Run as ``database_user.py URL WHAT …`` and says ``ready`` when it does:

- ``lock DEALER DATE``: holds the partition's lock and waits,
- ``busy DEALER DATE``: holds it, and another statement of the same connection never ends,
- ``pace CLIENT RATE SECONDS``: sends at its client's pace; prints the moments that it booked.
"""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import date

import sqlalchemy
from sqlalchemy import Connection, event, text

from haier_pipeline.catalog.database import open_engine
from haier_pipeline.catalog.locks import partition_lock
from haier_pipeline.catalog.pace import SharedLedger
from haier_pipeline.domain.partition import Partition
from haier_pipeline.platform.pacing import Pace

url, what, dealer, *rest = sys.argv[1:]
engine = open_engine(url)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if what == "pace":
    rate, seconds = int(rest[0]), float(rest[1])
    moments: list[float] = []

    class Ledger(SharedLedger):
        """Remembers what was booked through it."""

        def book(
            self, rate: int, plan: Callable[[Sequence[float], float, int], Sequence[float]]
        ) -> tuple[Sequence[float], float]:
            booked, now = super().book(rate, plan)
            moments.extend(booked)
            return booked, now

    pace = Pace(rate, Ledger(engine, dealer, "https://platform:443"))

    def send() -> None:
        while time.monotonic() < end:
            pace.wait()

    say("ready")
    sys.stdin.readline()
    end = time.monotonic() + seconds
    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(" ".join(f"{moment:.6f}" for moment in moments))
else:
    held: list[sqlalchemy.Connection] = []

    @event.listens_for(engine, "engine_connect")
    def remember(connection: Connection) -> None:
        held.append(connection)

    with partition_lock(engine, Partition(dealer, date.fromisoformat(rest[0]))):
        say("ready")
        if what == "busy":
            held[0].execute(text("SELECT pg_sleep(600)"))
        sys.stdin.read()
