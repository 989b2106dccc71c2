"""The pace of one client's calls: never more than the allowance in any one-second window.

The contract allows a client so many calls a second ("Rules for every call"). Here lives when the
next call may be sent, for all threads of a process and, through a `Ledger`, for all processes and
all dealers that call as one client. What is sent, and what is done about a refusal, belongs to
`client`.

The rule is a sliding log: a call leaves at least `WINDOW` seconds after the call ``rate_limit``
places before it. Calls are evenly spaced; only after a stall they follow each other faster
until it is caught up, so hardly anything of the allowance is lost and there is never a burst.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from haier_pipeline.errors import Cancelled

#: Seconds in which at most ``rate_limit`` calls are sent. The 19 ms above a second are what one
#: call may take longer than another on its way to the platform before 101 arrive in a second.
WINDOW: Final = 1.019
#: A longer silence is no stall but a time without work, and is not caught up.
CATCH_UP_SECONDS: Final = 1.0
#: How many times faster than evenly spaced the calls may follow each other after a stall.
CATCH_UP_SPEED: Final = 3
#: As `WINDOW`, for the moments at which calls really left, which may be later than planned.
_RELEASED_WINDOW: Final = 1.01
#: A slot that could not be used in time is given up: used late, it would crowd those after it.
_STALE_SECONDS: Final = 0.02
#: An entry further ahead of the clock than this was written before the clock was set back.
_CLOCK_JUMP_SECONDS: Final = 10.0


def book(log: Sequence[float], now: float, wanted: int, rate: int) -> list[float]:
    """Return the next ``wanted`` send times, ascending, none before ``now``.

    ``log`` holds the send times booked so far, in the order in which they were booked; all times
    are seconds of one clock. With ``rate`` calls a second allowed, any ``rate`` + 1 neighbours
    span at least `WINDOW` seconds.
    """
    spacing = WINDOW / rate
    times = [entry for entry in log[-rate:] if entry <= now + _CLOCK_JUMP_SECONDS]
    # No booking is later than its follower, unless the clock was set back between the two.
    times = [entry for entry in times if entry <= times[-1]]
    booked: list[float] = []
    for _ in range(wanted):
        slot = now
        if times:
            # With a full log this is the slot `rate` places back, a whole window later.
            due = times[0] + len(times) * spacing
            soonest = max(now, times[-1] + spacing / CATCH_UP_SPEED)
            if soonest - due > CATCH_UP_SECONDS:
                soonest = max(now, times[-1] + spacing)
            slot = max(due, soonest)
        times.append(slot)
        del times[:-rate]
        booked.append(slot)
    return booked


class Ledger(Protocol):
    """Where the send times of one client are booked: its clock and its lock are the client's."""

    def book(
        self, rate: int, plan: Callable[[Sequence[float], float, int], Sequence[float]]
    ) -> tuple[Sequence[float], float]:
        """Call ``plan(times booked so far, now, rate)`` under the client's lock; store what it
        books.

        ``rate`` is what the caller may send in a second; the plan is given the smallest one of all
        who share the ledger. Keeps, in the order of booking, at least the newest times of a window
        that are no more than the largest of these rates. Returns the newly booked times and the
        ``now`` that was passed, both in seconds of the ledger's own clock.
        """
        ...


class MemoryLedger:
    """A ledger for the threads of one process that alone calls as this client."""

    def __init__(self, rate_limit: int) -> None:
        self._lock = threading.Lock()
        self._log: deque[float] = deque(maxlen=rate_limit)

    def book(
        self, rate: int, plan: Callable[[Sequence[float], float, int], Sequence[float]]
    ) -> tuple[Sequence[float], float]:
        """See `Ledger.book`; the clock is `time.monotonic`."""
        with self._lock:
            now = time.monotonic()
            booked = plan(list(self._log), now, rate)
            self._log.extend(booked)
            return booked, now


class Interruption:
    """A stop that comes from any of several events, and a sleep that it ends."""

    _LOOK_SECONDS: Final = 0.2

    def __init__(self, *events: threading.Event) -> None:
        self._events = events

    def is_set(self) -> bool:
        return any(event.is_set() for event in self._events)

    def check(self) -> None:
        """Raise `Cancelled` if one of the events is set."""
        if self.is_set():
            raise Cancelled("The calls to the platform were cancelled.")

    def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds``. Raises `Cancelled` within 0.2 s of a stop."""
        end = time.monotonic() + seconds
        while True:
            self.check()
            left = end - time.monotonic()
            if left <= 0:
                return
            self._events[0].wait(min(left, self._LOOK_SECONDS))


class Pace:
    """Lets the callers of one client through at the client's pace. Safe for threads.

    ``rate_limit`` is the client's calls a second; ``stop`` ends every wait with `Cancelled`.
    """

    def __init__(
        self,
        rate_limit: int,
        ledger: Ledger | None = None,
        stop: threading.Event | Interruption | None = None,
    ) -> None:
        self._rate = rate_limit
        self._ledger: Ledger = ledger if ledger is not None else MemoryLedger(rate_limit)
        if not isinstance(stop, Interruption):
            stop = Interruption(stop if stop is not None else threading.Event())
        self._stop = stop
        self._most_at_once = max(1, rate_limit // 10)
        self._count = threading.Lock()
        self._waiting = 0
        self._turn = threading.Lock()
        self._slots: deque[float] = deque()
        self._released: deque[float] = deque(maxlen=rate_limit)
        self._paused_until = 0.0

    def wait(self) -> None:
        """Return when a call may be sent. Raises `Cancelled` when stopped."""
        with self._count:
            self._waiting += 1
        try:
            # One thread at a time sleeps here, and holds the others up: whoever wakes late then
            # delays its followers instead of being overtaken, and the calls leave evenly.
            with self._turn:
                self._take_a_slot()
        finally:
            with self._count:
                self._waiting -= 1

    def pause(self, seconds: float) -> None:
        """Let nobody through for ``seconds`` from now (``Retry-After``, fault matrix, row 5)."""
        with self._count:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def _take_a_slot(self) -> None:
        while True:
            self._sleep_until(self._paused_until)
            if not self._slots:
                self._book()
            slot = self._slots.popleft()
            if len(self._released) == self._rate:
                slot = max(slot, self._released[0] + _RELEASED_WINDOW)
            self._sleep_until(slot)
            now = time.monotonic()
            if now <= slot + _STALE_SECONDS and now >= self._paused_until:
                self._released.append(now)
                return

    def _book(self) -> None:
        # Only for those who wait now: a slot that nobody uses is lost to the other processes.
        wanted = min(self._waiting, self._most_at_once)
        times, now = self._ledger.book(
            self._rate, lambda log, at, rate: book(log, at, min(wanted, rate), rate)
        )
        offset = time.monotonic() - now
        self._slots.extend(entry + offset for entry in times)

    def _sleep_until(self, moment: float) -> None:
        self._stop.check()
        left = moment - time.monotonic()
        if left > 0:
            self._stop.sleep(left)
