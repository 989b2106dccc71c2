"""``python -m haier_pipeline.sandbox``: the sandbox as a process of its own.

Prints one line of JSON, ``{"url": …}``, then serves until SIGTERM or SIGINT; with
``--with-parent`` until SIGTERM or the end of standard input. What it serves is in ``server``.
"""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from haier_pipeline.errors import InvalidInput
from haier_pipeline.sandbox.faults import Rule
from haier_pipeline.sandbox.server import running_sandbox
from haier_pipeline.sandbox.settings import Settings


def _latency(text: str) -> tuple[float, float]:
    low, _, high = text.partition("-")
    return float(low), float(high or low)


def _json(text: str) -> Any:
    """JSON from a file, or from the argument itself where that begins like JSON."""
    source = text if text.lstrip().startswith(("[", "{")) else Path(text).read_text("utf-8")
    return json.loads(source)


def _object(text: str) -> dict[str, Any]:
    value = _json(text)
    if not isinstance(value, dict):
        raise InvalidInput("--settings: a JSON object is needed")
    return value


def _faults(text: str) -> list[Rule]:
    value = _json(text)
    return [Rule.parse(item) for item in (value if isinstance(value, list) else [value])]


def _arguments(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Settings, list[Rule]]:
    parser = argparse.ArgumentParser(
        prog="python -m haier_pipeline.sandbox",
        description="A stand-in for Haier's dealer platform that can be told to misbehave.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--products", type=int, default=300)
    parser.add_argument("--latency-ms", type=_latency, default=(50.0, 200.0), metavar="LOW-HIGH")
    parser.add_argument("--rate", type=int, default=100, help="calls a second; 0 for no limit")
    parser.add_argument("--faults", default="[]", metavar="FILE|JSON", help="rules to begin with")
    parser.add_argument(
        "--settings", default="{}", metavar="FILE|JSON", help="settings, over the other options"
    )
    parser.add_argument("--date", help="the catalog's day; default: today in Shanghai")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--counties", help="where there are warehouses; default: everywhere")
    parser.add_argument(
        "--orders", default=":memory:", metavar="FILE", help="where orders are kept"
    )
    parser.add_argument(
        "--with-parent", action="store_true", help="end when standard input is closed"
    )
    chosen = parser.parse_args(arguments)
    try:
        settings = Settings().changed(
            {
                "products": chosen.products,
                "latency_ms": chosen.latency_ms,
                "rate": chosen.rate,
                "date": chosen.date,
                "seed": chosen.seed,
                "counties": chosen.counties.split(",") if chosen.counties else None,
            }
        )
        settings = settings.changed(_object(chosen.settings))
        return chosen, settings, _faults(chosen.faults)
    except (InvalidInput, OSError, ValueError) as error:
        parser.error(str(error))


def main(arguments: Sequence[str] | None = None) -> int:
    chosen, settings, faults = _arguments(arguments)
    # Signals come as bytes in a pipe: the kernel may hand one to any thread, and then neither a
    # lock nor a read that the main thread waits in is interrupted to run a Python handler.
    ended, end = os.pipe()
    os.set_blocking(end, False)
    signal.set_wakeup_fd(end)
    signal.signal(signal.SIGTERM, _noted)
    # Ctrl-C reaches the whole terminal group; a parent still has to finish its last calls.
    signal.signal(signal.SIGINT, signal.SIG_IGN if chosen.with_parent else _noted)
    with running_sandbox(
        settings, faults=faults, port=chosen.port, orders=chosen.orders
    ) as running:
        sys.stdout.write(json.dumps({"url": running.url}) + "\n")
        sys.stdout.flush()
        if chosen.with_parent:
            threading.Thread(target=_watch_input, args=(end,), daemon=True).start()
        os.read(ended, 1)
    return 0


def _noted(*_: object) -> None:
    """Keeps a signal from ending the process; the pipe has already been told."""


def _watch_input(pipe: int) -> None:
    # The parent holds the other end of standard input and never writes; only its death closes it.
    while os.read(0, 1024):
        pass
    os.write(pipe, b".")


if __name__ == "__main__":
    sys.exit(main())
