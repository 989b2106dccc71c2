"""Who uses the server, and who may start or end it: locks that vanish with their process.

What each lock means stands at the top of the package.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from haier_pipeline.errors import DatabaseUnavailable

if sys.platform != "win32":
    import fcntl

POLL = 0.01
GATE = 90.0


def open_lock(path: Path) -> int:
    """The lock's file, made where it is missing; not locked yet."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


@contextmanager
def closing(descriptor: int) -> Iterator[int]:
    """Close it at the end, which frees the lock unless another process has inherited it."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def take(descriptor: int) -> bool:
    """Lock exclusively if that is possible at once."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def share(descriptor: int) -> None:
    """Lock it for one user among others; waits for whoever has it exclusively."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)


@contextmanager
def gate(place: Path) -> Iterator[None]:
    """Only one process or thread at a time starts or leaves."""
    end = time.monotonic() + GATE
    with closing(open_lock(place / "gate.lock")) as lock:
        while not take(lock):
            if time.monotonic() > end:
                raise DatabaseUnavailable(
                    "Another process has been starting or stopping the embedded PostgreSQL in "
                    f"{place.parent} for more than {GATE:.0f} seconds."
                )
            time.sleep(POLL)
        yield
