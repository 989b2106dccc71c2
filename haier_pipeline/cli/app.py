"""The program ``haier``: its commands put together, its signals and its last word."""

import atexit
import gc
import signal
import sys
from typing import NoReturn

import typer

from haier_pipeline.cli import database, dealers, doctor, servers, sync
from haier_pipeline.cli.command import Exit, exit_cancelled, fail, fail_unexpectedly, signals
from haier_pipeline.cli.output import steady
from haier_pipeline.errors import HaierError

app = typer.Typer(
    name="haier",
    help="Keeps a Haier dealer's catalog in PostgreSQL: products, prices and stock.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# The help lists commands in this order.
app.command()(sync.sync)
app.command()(sync.backfill)
app.command()(sync.logs)
app.command()(servers.dev)
app.command()(doctor.doctor)
app.command()(servers.sandbox)
app.command()(servers.api)
app.add_typer(database.database, name="db")
app.add_typer(dealers.config, name="config")
app.add_typer(dealers.token, name="token")


def main() -> None:
    """Run the command line; an error of ours becomes one sentence and an exit code."""
    # A terminated sync ends like an interrupted one: rolled back, its log rows closed.
    signal.signal(signal.SIGTERM, lambda *_: _interrupt())
    # A shell starts what it runs in the background with SIGINT ignored, and so would our children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signals.listen()
    steady()
    # At its end the interpreter would look through all that was imported once more, for 0.6 s.
    atexit.register(gc.freeze)
    try:
        app()
    except HaierError as error:
        fail(error)
    except SystemExit as end:
        # A command that was broken off says by which signal; one that got through says how.
        if end.code == Exit.FAILED and (number := signals.first()) is not None:
            sys.exit(128 + number)
        raise
    except KeyboardInterrupt:
        exit_cancelled()
    except Exception as error:  # noqa: BLE001 - a defect of ours; its traceback helps no dealer
        fail_unexpectedly(error)


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt
