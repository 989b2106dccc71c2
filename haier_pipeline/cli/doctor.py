"""The command ``haier doctor``; what it looks at is in the package's own module ``doctor``."""

import json
import os
import sys

from haier_pipeline.cli.command import AsJson, Exit
from haier_pipeline.cli.output import print_json, print_styled
from haier_pipeline.errors import Cancelled
from haier_pipeline.settings import read_settings


def doctor(as_json: AsJson = False) -> None:
    """Look at this installation and say what to mend; exit 1 where something is bad."""
    from haier_pipeline.doctor import STATES, TOPICS, examine

    try:
        findings = list(examine(read_settings(os.environ), os.environ))
    except KeyboardInterrupt:
        raise Cancelled("cancelled") from None
    worst = max((list(STATES).index(one.state) for one in findings), default=0)
    if as_json:
        status = list(STATES)[worst]
        lines = [
            {"topic": one.topic, "state": one.state, "message": one.message} for one in findings
        ]
        print_json(json.dumps({"status": status, "findings": lines}, ensure_ascii=False))
    else:
        styles = {"ok": "green", "warn": "yellow", "bad": "red"}
        for one in findings:
            state = (f"{one.state} {STATES[one.state]}", styles[one.state])
            print_styled(state, f"  {one.topic} {TOPICS[one.topic]}: {one.message}")
    sys.exit(Exit.FAILED if findings and list(STATES)[worst] == "bad" else Exit.SUCCESS)
