"""Many calls at once: units in, results out as they come, in flat memory.

It knows threads and when to give up; what a call does, how fast it may be made and how often it is
repeated belongs to `client` and `pacing`.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from haier_pipeline.errors import CallFailed, Cancelled, PlatformClosed, TransientFailure

U = TypeVar("U")
A = TypeVar("A")

_LOOK_SECONDS: Final = 0.2


def fan_out(
    units: Iterable[U],
    call: Callable[[U], A],
    *,
    workers: int,
    stop: threading.Event,
    give_up_after: int = 50,
) -> Generator[tuple[U, A | CallFailed]]:
    """Yield ``(unit, call(unit))`` for every unit, in the order in which the calls end.

    ``workers`` calls are in flight at a time. Units are pulled as they are needed, by the consuming
    thread, at most two for each worker ahead of what has been yielded. A `CallFailed` is yielded
    in place of the answer.

    Any other error of a call ends it and is raised: `PlatformClosed`, `Cancelled`, a bug. So does
    ``stop`` (`Cancelled`), and an outage: after ``give_up_after`` `TransientFailure` in a row,
    `PlatformClosed`. When it ends early, or the consumer closes it, no further call is begun and
    those in flight are not waited for; closing their client ends them at once.
    """
    executor = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="haier-call")
    ended: queue.SimpleQueue[tuple[U, Future[A]]] = queue.SimpleQueue()
    source = iter(units)
    outstanding = 0
    exhausted = False
    failures_in_a_row = 0
    try:
        while True:
            # As many again as there are workers: they go on while the consumer is busy.
            while not exhausted and outstanding < 2 * workers:
                if stop.is_set():
                    raise Cancelled("The calls to the platform were cancelled.")
                try:
                    unit = next(source)
                except StopIteration:
                    exhausted = True
                    break
                outstanding += 1
                future = executor.submit(call, unit)
                future.add_done_callback(lambda done, unit=unit: ended.put((unit, done)))  # type: ignore[misc]
            if not outstanding:
                return
            unit, future = _next_ended(ended, stop)
            outstanding -= 1
            error = future.exception()
            if error is None:
                failures_in_a_row = 0
                yield unit, future.result()
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
            yield unit, error
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _next_ended(
    ended: "queue.SimpleQueue[tuple[U, Future[A]]]", stop: threading.Event
) -> tuple[U, Future[A]]:
    # Looks up now and then, so that a stop counts even where no call comes back.
    while True:
        if stop.is_set():
            raise Cancelled("The calls to the platform were cancelled.")
        try:
            return ended.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            continue
