"""The processes of ``haier dev``: Dagster with its daemon and code server, and REST with the pages.

Starting and stopping them together belongs here; what they serve does not.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

STOP_SECONDS = 20.0
LOOK_SECONDS = 0.2

#: Python that takes no module from the folder it is started in; in the environment of the
#: children, ``PYTHONSAFEPATH`` says the same to theirs.
SAFE_PYTHON = (sys.executable, "-P")

# Reads until our end of the pipe is closed, by whatever ended us, and then ends the groups.
_WATCH = f"""
cat >/dev/null
kill -INT -- "$@" 2>/dev/null
waited=0
while [ $waited -lt {STOP_SECONDS:.0f} ] && kill -0 -- "$@" 2>/dev/null; do
    sleep 1; waited=$((waited + 1))
done
kill -KILL -- "$@" 2>/dev/null
"""


def run_together(
    commands: Iterable[Sequence[str]], *, folder: Path, environment: Mapping[str, str]
) -> int:
    """Run the commands in ``folder`` until one of them ends or Ctrl-C; then end them all.

    They end with this process too, however it ends: a watcher outlives it for that.

    Returns the exit code of the one that ended by itself, 0 after Ctrl-C.
    """
    with ExitStack() as stack:
        children = [
            # Groups of their own: Ctrl-C reaches us, and we end each once and in order.
            stack.enter_context(
                subprocess.Popen(
                    command,
                    cwd=folder,
                    env={**environment, "PYTHONSAFEPATH": "1"},
                    umask=0o077,
                    start_new_session=True,
                )
            )
            for command in commands
        ]
        watcher = _watch([child.pid for child in children])
        try:
            while all(child.poll() is None for child in children):
                time.sleep(LOOK_SECONDS)
            return next(child.returncode for child in children if child.returncode is not None)
        except KeyboardInterrupt:
            return 0
        finally:
            _end(children)
            watcher.kill()
            watcher.communicate()


def _watch(groups: Sequence[int]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["/bin/sh", "-c", _WATCH, "sh", *(f"-{group}" for group in groups)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


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
