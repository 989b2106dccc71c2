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

# Reads the children's groups until our end of the pipe is closed, by whatever ended us, and then
# ends them.
_WATCH = f"""
while read -r group; do set -- "$@" "-$group"; done
[ $# = 0 ] && exit
any() {{ for group; do kill -s 0 -- "$group" 2>/dev/null && return 0; done; return 1; }}
kill -s INT -- "$@" 2>/dev/null
waited=0
while [ $waited -lt {STOP_SECONDS:.0f} ] && any "$@"; do sleep 1; waited=$((waited + 1)); done
kill -s KILL -- "$@" 2>/dev/null
"""


def run_together(
    commands: Iterable[Sequence[str]], *, folder: Path, environment: Mapping[str, str]
) -> int:
    """Run the commands in ``folder`` until one of them ends or Ctrl-C; then end them all.

    They end with this process too, however it ends: a watcher outlives it for that.

    Returns the exit code of the one that ended by itself, 0 after Ctrl-C.
    """
    with ExitStack() as stack:
        watcher = stack.enter_context(_watcher())
        children = []
        for command in commands:
            child = subprocess.Popen(
                command,
                cwd=folder,
                env={**environment, "PYTHONSAFEPATH": "1"},
                umask=0o077,
                # Groups of their own: Ctrl-C reaches us, and we end each once and in order.
                start_new_session=True,
            )
            children.append(stack.enter_context(child))
            assert watcher.stdin is not None  # noqa: S101 - tells mypy of the pipe below
            watcher.stdin.write(f"{child.pid}\n".encode())
            watcher.stdin.flush()
        try:
            while all(child.poll() is None for child in children):
                time.sleep(LOOK_SECONDS)
            return next(child.returncode for child in children if child.returncode is not None)
        except KeyboardInterrupt:
            return 0
        finally:
            _end(children)
            watcher.kill()


def _watcher() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["/bin/sh", "-c", _WATCH],
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
