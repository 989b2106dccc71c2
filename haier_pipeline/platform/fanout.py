"""Many calls at once: units in, results out as they come, in flat memory.

It knows threads and when to give up; what a call does, how fast it may be made and how often it is
repeated belongs to `client` and `pacing`.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Any, Final, Generic, TypeVar

from haier_pipeline.errors import CallFailed, Cancelled, PlatformClosed, TransientFailure

U = TypeVar("U")
A = TypeVar("A")

_LOOK_SECONDS: Final = 0.2
#: So many calls are made one after the other until one has worked: a wrong password should not be
#: sent as many times as there are workers.
CAREFUL_CALLS: Final = 5
#: With so many calls in flight 100 calls a second go on where an answer takes longer than a second.
MOST_WORKERS: Final = 128


def fan_out(
    units: Iterable[U],
    call: Callable[[U], A],
    *,
    workers: int,
    stop: threading.Event,
    wants_more: Callable[[], bool] = lambda: False,
    give_up_after: int = 50,
    refused_after: int = CAREFUL_CALLS,
) -> Generator[tuple[U, A | CallFailed]]:
    """Yield ``(unit, call(unit))`` for every unit, in the order in which the calls end.

    ``workers`` calls are in flight at a time, and one more after each answer at which
    ``wants_more`` says that there is room for it, up to `MOST_WORKERS`; the first ones go one after
    the other until one has worked, at most `CAREFUL_CALLS`. Units are pulled as they are needed, by
    the consuming thread, at most two for each worker ahead of what has been yielded. A `CallFailed`
    is yielded in place of the answer.

    Any other error of a call ends it and is raised: `PlatformClosed`, `Cancelled`, a bug. So does
    ``stop`` (`Cancelled`). An outage, ``give_up_after`` `TransientFailure` in a row, raises
    `PlatformClosed`; so do ``refused_after`` refusals for one and the same reason where no call has
    worked yet (fault matrix, row 2): sent on and on, a wrong password gets the account locked. A
    reason that comes after a success, or among others, is about its unit alone.

    When it ends early, or the consumer closes it, no further call is begun and those in flight are
    not waited for; closing their client ends them at once.
    """
    crew: _Crew[U, A] = _Crew(call)
    source = iter(units)
    outstanding = 0
    exhausted = False
    failures_in_a_row = refusals_in_a_row = ended_calls = 0
    has_worked = False
    reason = ""
    try:
        while True:
            # As many again as there are workers: they go on while the consumer is busy.
            most = 2 * workers if has_worked or ended_calls >= CAREFUL_CALLS else 1
            while not exhausted and outstanding < most:
                if stop.is_set():
                    raise Cancelled("The calls to the platform were cancelled.")
                try:
                    unit = next(source)
                except StopIteration:
                    exhausted = True
                    break
                outstanding += 1
                crew.give(unit, at_most=workers)
            if not outstanding:
                return
            unit, answer, error = crew.take(stop)
            outstanding -= 1
            ended_calls += 1
            if workers < MOST_WORKERS and wants_more():
                workers += 1
            if error is None:
                has_worked = True
                failures_in_a_row = 0
                yield unit, answer
                continue
            if not isinstance(error, CallFailed):
                raise error
            failures_in_a_row = failures_in_a_row + 1 if isinstance(error, TransientFailure) else 0
            if failures_in_a_row >= give_up_after:
                raise PlatformClosed(
                    f"The platform is not answering: the last {failures_in_a_row} calls failed, "
                    f"the last one so: {error}",
                    endpoint=error.endpoint,
                    status=error.status,
                    attempts=error.attempts,
                )
            if error.reason and not has_worked:
                refusals_in_a_row = refusals_in_a_row + 1 if error.reason == reason else 1
                reason = error.reason
                if refusals_in_a_row >= refused_after:
                    raise PlatformClosed(
                        f"The platform refuses every call for the same reason; after "
                        f"{refusals_in_a_row} of them no more are made: {error}",
                        endpoint=error.endpoint,
                        status=error.status,
                        attempts=error.attempts,
                    )
            yield unit, error
    finally:
        crew.dismiss()


class _Crew(Generic[U, A]):
    """Threads that call for units as long as there are any.

    Lighter than an executor's futures, of which a call has a lock and a condition each.
    """

    def __init__(self, call: Callable[[U], A]) -> None:
        self._call = call
        self._given: queue.SimpleQueue[tuple[U] | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[tuple[U, Any, BaseException | None]] = queue.SimpleQueue()
        self._threads = 0
        self._open = 0
        self._is_dismissed = False

    def give(self, unit: U, *, at_most: int) -> None:
        """Have the unit called for, by a new thread where all are busy and more are allowed."""
        self._open += 1
        self._given.put((unit,))
        if self._threads < min(at_most, self._open):
            self._threads += 1
            threading.Thread(target=self._work, name=f"haier-call_{self._threads}").start()

    def take(self, stop: threading.Event) -> tuple[U, Any, BaseException | None]:
        """A unit whose call has ended, with its answer or its error. Raises `Cancelled`."""
        # Looks up now and then, so that a stop counts even where no call comes back.
        while True:
            if stop.is_set():
                raise Cancelled("The calls to the platform were cancelled.")
            try:
                ended = self._ended.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            self._open -= 1
            return ended

    def dismiss(self) -> None:
        """Begin no further call; each thread ends with the one that it makes."""
        self._is_dismissed = True
        for _ in range(self._threads):
            self._given.put(None)

    def _work(self) -> None:
        while (given := self._given.get()) is not None and not self._is_dismissed:
            (unit,) = given
            try:
                answer = self._call(unit)
            except BaseException as error:  # noqa: BLE001 - judged, and raised, by the consumer
                self._ended.put((unit, None, error))
            else:
                self._ended.put((unit, answer, None))
