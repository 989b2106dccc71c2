"""The processes of ``haier dev``: Dagster's webserver with its daemon and code server.

Starting and stopping them belongs here; what they serve does not.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

STOP_SECONDS = 20.0


def run_dagster(home: Path, port: int) -> int:
    """Run Dagster's interface on loopback until it ends or Ctrl-C; return its exit code."""
    command = [sys.executable, "-m", "dagster", "dev", "-m", "haier_pipeline.definitions"]
    command += ["-h", "127.0.0.1", "-p", str(port)]
    environment = os.environ | {"DAGSTER_HOME": str(home)}
    # A group of its own: Ctrl-C reaches us, and we end it once and in order.
    with subprocess.Popen(command, env=environment, start_new_session=True) as dagster:
        try:
            return dagster.wait()
        except KeyboardInterrupt:
            dagster.send_signal(signal.SIGINT)
            try:
                dagster.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(dagster.pid, signal.SIGKILL)
            return 0
