"""The pace of one client's calls: never more than the allowance in any one-second window.

The contract allows a client so many calls a second ("Rules for every call"). Here lives when the
next call may be sent, for all threads of a process and, through a `Ledger`, for all processes and
all dealers that call as one client. What is sent, and what is done about a refusal, belongs to
`client`.

The rule is a sliding log of the moments at which calls count: a call leaves a second and a margin
after the call ``rate_limit`` places before it. Calls are evenly spaced; only after a stall they
follow each other faster until it is caught up, so hardly anything of the allowance is lost and
there is never a burst.

The platform counts arrivals, which nobody sees from here. So the clock is read where the bytes
leave, and how far an arrival may be from that is taken from what is seen: how late this process
wakes and sends of late, which tells how busy the machine is, and a silence of the answers. Calls
that left during one may all have arrived at its end, and count from there.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from haier_pipeline.errors import Cancelled

#: Seconds in which at most ``rate_limit`` calls are sent where nothing is late. The rest above a
#: second is what no lateness of this process tells of: the network's and the platform's own part.
WINDOW: Final = 1.006
#: A longer silence is no stall but a time without work, and is not caught up.
CATCH_UP_SECONDS: Final = 1.0
#: How many times faster than evenly spaced the calls may follow each other after a stall.
CATCH_UP_SPEED: Final = 3
#: After this many calls' time without any answer the platform, or the way to it, has stalled. Of
#: answers that come by chance one gap in some thousands is so long.
_SILENT_CALLS: Final = 12
#: How often the longest delay of late is added to the window: the platform's side may be as late
#: as this one, for the one call and the other.
_LATENESS_SHARE: Final = 1.5
_MOST_LATENESS_SECONDS: Final = 0.1
#: What is left of a delay's weight one second of calls later.
_LATENESS_LEFT: Final = 0.4
#: A slot that could not be used in time is given up: the others who share the allowance know no
#: better than that it was, and plan by it a second later.
_STALE_SECONDS: Final = 0.25
#: An entry further ahead of the clock than this was written before the clock was set back.
_CLOCK_JUMP_SECONDS: Final = 10.0
#: No entry is later than one booked after it by more than a correction may move it; one that is
#: was written before the clock was set back.
_DISORDER_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.01


def book(
    log: Sequence[float], now: float, wanted: int, rate: int, margin: float = 0.0
) -> list[float]:
    """Return the next ``wanted`` send times, ascending, none before ``now``.

    ``log`` holds the moments at which the calls booked so far count, in the order in which they
    were booked; all times are seconds of one clock. With ``rate`` calls a second allowed, any
    ``rate`` + 1 neighbours span at least `WINDOW` + ``margin`` seconds.
    """
    spacing = (WINDOW + margin) / rate
    times = [entry for entry in log[-rate:] if entry <= now + _CLOCK_JUMP_SECONDS]
    if times:
        latest = times[-1] + _DISORDER_SECONDS
        times = sorted(entry for entry in times if entry <= latest)
    times_left = deque(times, maxlen=rate)
    booked: list[float] = []
    for _ in range(wanted):
        slot = now
        if times_left:
            # With a full log this is the slot `rate` places back, a whole window later.
            due = times_left[0] + len(times_left) * spacing
            soonest = max(now, times_left[-1] + spacing / CATCH_UP_SPEED)
            if soonest - due > CATCH_UP_SECONDS:
                soonest = max(now, times_left[-1] + spacing)
            slot = max(due, soonest)
        times_left.append(slot)
        booked.append(slot)
    return booked


#: Called with the moments that calls booked so far count from, now, and the calls a second
#: allowed. It may correct its own moments in the list, and returns what it books.
Plan = Callable[[list[float], float, int], Sequence[float]]


class Ledger(Protocol):
    """Where the send times of one client are booked: its clock and its lock are the client's."""

    def book(self, rate: int, plan: Plan) -> tuple[Sequence[float], float]:
        """Call ``plan(times booked so far, now, rate)`` under the client's lock; store what it
        corrects and what it books.

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
        self._rate_limit = rate_limit
        self._log: list[float] = []

    def book(self, rate: int, plan: Plan) -> tuple[Sequence[float], float]:
        """See `Ledger.book`; the clock is `time.monotonic`."""
        with self._lock:
            now = time.monotonic()
            booked = plan(self._log, now, rate)
            self._log += booked
            # Seldom, since it moves everything.
            if len(self._log) > 2 * self._rate_limit:
                del self._log[: -self._rate_limit]
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
            # Cheaper than waiting for an event, and every call sleeps.
            time.sleep(min(left, self._LOOK_SECONDS))


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
        # Of a large allowance some at a time, though one only is asked for: 5 ms of it.
        self._least_at_once = rate_limit // 200
        self._count = threading.Lock()
        self._waiting = 0
        self._turn = threading.Lock()
        self._clock = _LedgerClock()
        # Each slot as the ledger has it and by our own clock.
        self._slots: deque[tuple[float, float]] = deque()
        self._silence = _SILENT_CALLS / rate_limit
        self._lateness = 0.0
        self._forgetting: float = _LATENESS_LEFT ** (1 / rate_limit)
        # In the order of sending: from when calls count, and those that no answer followed yet.
        self._counted: deque[float] = deque(maxlen=rate_limit)
        self._unheard: deque[tuple[float, float]] = deque()
        self._corrections: dict[float, float] = {}
        self._paused_until = 0.0

    @property
    def is_waited_for(self) -> bool:
        """Whether callers wait for their turn: more of them would only wait as well."""
        return self._waiting > 0

    def send(self, action: Callable[[], object]) -> None:
        """Call ``action``, by which the bytes of one call leave, when they may.

        It holds up all other calls meanwhile, so connect before. Tell `heard` when an answer
        begins to come, and when none will. Raises `Cancelled` when stopped.
        """
        with self._count:
            self._waiting += 1
        try:
            # One thread at a time sleeps here, and holds the others up: whoever wakes late then
            # delays its followers instead of being overtaken, and the calls leave evenly.
            with self._turn:
                self._send_in_a_slot(action)
        finally:
            with self._count:
                self._waiting -= 1

    def wait(self) -> None:
        """Return when a call may be sent, to a caller who does so at once and tells no answer.

        Raises `Cancelled` when stopped.
        """
        self.send(_nothing)
        self.heard()

    def heard(self) -> None:
        """An answer has come, to whichever call: the platform has come to all that left before."""
        now = time.monotonic()
        with self._count:
            while self._unheard and self._unheard[0][1] <= now:
                booked, left = self._unheard.popleft()
                counts = now if now - left > self._silence else left
                self._counted.append(counts)
                self._corrections[booked] = counts

    def pause(self, seconds: float) -> None:
        """Let nobody through for ``seconds`` from now (``Retry-After``, fault matrix, row 5)."""
        with self._count:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def _send_in_a_slot(self, action: Callable[[], object]) -> None:
        while True:
            self._sleep_until(self._paused_until)
            if not self._slots:
                self._book()
            booked, slot = self._slots.popleft()
            self._sleep_until(slot)
            self._wait_for_the_window()
            now = time.monotonic()
            if now <= slot + _STALE_SECONDS and now >= self._paused_until:
                action()
                left = time.monotonic()
                self._note_lateness(left - now)
                with self._count:
                    self._unheard.append((booked, left))
                return

    def _wait_for_the_window(self) -> None:
        """Wait until the call ``rate_limit`` places back is a window ago, as it really left."""
        while (until := self._end_of_window()) > time.monotonic():
            self._sleep_until(until)

    def _end_of_window(self) -> float:
        with self._count:
            place = len(self._counted) + len(self._unheard) - self._rate
            if place < 0:
                return 0.0
            if place < len(self._counted):
                return self._counted[place] + WINDOW + self._margin
            # No answer since: the platform stands still, or is very slow.
            _, left = self._unheard[place - len(self._counted)]
        until = left + WINDOW + self._margin
        if until - left < self._silence:
            return until
        return max(until, time.monotonic() + _LOOK_SECONDS)

    @property
    def _margin(self) -> float:
        return min(_LATENESS_SHARE * self._lateness, _MOST_LATENESS_SECONDS)

    def _note_lateness(self, seconds: float) -> None:
        self._lateness = max(seconds, self._lateness)

    def _book(self) -> None:
        # Only for those who wait now: a slot that nobody uses is lost to the other processes.
        wanted = min(max(self._waiting, self._least_at_once), self._most_at_once)
        with self._count:
            corrections, self._corrections = self._corrections, {}

        def plan(log: list[float], now: float, rate: int) -> Sequence[float]:
            offset = self._clock.offset(now)
            if corrections:
                for place, entry in enumerate(log):
                    if entry in corrections:
                        log[place] = corrections[entry] - offset
            return book(log, now, min(wanted, rate), rate, self._margin)

        times, _ = self._ledger.book(self._rate, plan)
        offset = self._clock.last
        self._slots.extend((entry, entry + offset) for entry in times)

    def _sleep_until(self, moment: float) -> None:
        self._stop.check()
        left = moment - time.monotonic()
        if left > 0:
            self._stop.sleep(left)
            self._lateness *= self._forgetting
            self._note_lateness(time.monotonic() - moment)


class _LedgerClock:
    """What must be added to a ledger's clock to have ours.

    Every reading of both is too large by the time between the two, so the smallest of late counts.
    """

    _READINGS: Final = 16
    _JUMP_SECONDS: Final = 0.5

    def __init__(self) -> None:
        self._readings: deque[float] = deque(maxlen=self._READINGS)
        self.last = 0.0

    def offset(self, now: float) -> float:
        """``now`` is what the ledger's clock has just told."""
        reading = time.monotonic() - now
        if self._readings and reading > self.last + self._JUMP_SECONDS:
            # The ledger's clock was set back.
            self._readings.clear()
        self._readings.append(reading)
        self.last = min(self._readings)
        return self.last


def _nothing() -> None:
    """What a call does that leaves by other means."""
