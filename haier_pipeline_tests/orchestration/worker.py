"""A process that runs one job over today's partition, for tests that kill it.

``python worker.py JOB RUN_ID``; everything else comes from the environment.
"""

import os
import signal
import sys
from pathlib import Path

from haier_pipeline.definitions import build_definitions
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.orchestration.execute import execute, open_instance


def main(job: str, run_id: str) -> None:
    # As in the command line: a terminated run ends like an interrupted one.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with open_instance(Path(os.environ["HAIER_HOME"])) as instance:
        definition = build_definitions().resolve_job_def(job)
        execute(definition, instance, Partition("haier", today()), run_id=run_id)


if __name__ == "__main__":
    main(*sys.argv[1:])
