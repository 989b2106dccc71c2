"""The processes of ``haier dev``: Dagster with its daemon and code server, and REST with the pages.

Starting and stopping them together belongs here; what they serve does not.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

STOP_SECONDS = 20.0
LOOK_SECONDS = 0.2


def run_together(
    commands: Iterable[Sequence[str]], *, folder: Path, environment: Mapping[str, str]
) -> int:
    """Run the commands in ``folder`` until one of them ends or Ctrl-C; then end them all.

    Returns the exit code of the one that ended by itself, 0 after Ctrl-C.
    """
    with ExitStack() as stack:
        children = [
            # Groups of their own: Ctrl-C reaches us, and we end each once and in order.
            stack.enter_context(
                subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True)
            )
            for command in commands
        ]
        try:
            while all(child.poll() is None for child in children):
                time.sleep(LOOK_SECONDS)
            return next(child.returncode for child in children if child.returncode is not None)
        except KeyboardInterrupt:
            return 0
        finally:
            _end(children)


def _end(children: Sequence["subprocess.Popen[bytes]"]) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
    deadline = time.monotonic() + STOP_SECONDS
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
