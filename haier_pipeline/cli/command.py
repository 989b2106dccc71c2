"""What every command needs: the installation that it opens, and what its end says to the shell.

What is printed, and how, is in ``output``.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from haier_pipeline.cli.output import print_error, print_json
from haier_pipeline.errors import CANCELLED, Cancelled, HaierError, InvalidConfig, InvalidInput
from haier_pipeline.settings import read_settings

if TYPE_CHECKING:
    from haier_pipeline.installation import Installation


class Exit(IntEnum):
    """What a command's exit code means. 128 + n: broken off by the signal of the number n."""

    SUCCESS = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3


Dealer = Annotated[str | None, typer.Option(help="Only this dealer; without it every active one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@contextmanager
def opened(**options: Any) -> Iterator["Installation"]:
    """The installation that the environment describes; ``options`` are those of `Installation`.

    Raises:
        Cancelled: Ctrl-C or SIGTERM while it was used.
    """
    try:
        # In here: on a busy machine Ctrl-C may come while this is imported.
        from haier_pipeline.installation import Installation

        with Installation(read_settings(os.environ), **options) as installation:
            yield installation
    except KeyboardInterrupt:
        raise Cancelled(CANCELLED) from None


@contextmanager
def json_errors(as_json: bool) -> Iterator[None]:
    """With ``--json``, an error that ends the command is the one object on standard output."""
    try:
        try:
            yield
        except KeyboardInterrupt:
            raise Cancelled(CANCELLED) from None
    except Exception as error:
        if as_json:
            ours = isinstance(error, HaierError)
            message = str(error) if ours else f"unexpected {type(error).__name__}"
            failed = {"status": "failed", "runs": [], "message": message}
            print_json(json.dumps(failed, ensure_ascii=False))
        raise


class _Signals:
    """Which of SIGINT and SIGTERM came first.

    Handlers cannot tell: while a run works, Dagster has its own and makes no difference.
    """

    def __init__(self) -> None:
        self._pipe = -1
        self._first: int | None = None

    def listen(self) -> None:
        self._pipe, end = os.pipe()
        os.set_blocking(self._pipe, False)
        os.set_blocking(end, False)
        signal.set_wakeup_fd(end, warn_on_full_buffer=False)

    def first(self) -> int | None:
        with suppress(BlockingIOError):
            for number in os.read(self._pipe, 4096):
                if self._first is None and number in (signal.SIGINT, signal.SIGTERM):
                    self._first = number
        return self._first


signals = _Signals()


def exit_cancelled() -> NoReturn:
    """End as a shell expects it of what a signal has broken off."""
    sys.exit(128 + (signals.first() or signal.SIGINT))


def fail(error: HaierError) -> NoReturn:
    """Say what is wrong and end: with 2 where another command line mends it."""
    print_error(str(error))
    if isinstance(error, Cancelled):
        exit_cancelled()
    usage = isinstance(error, InvalidInput) and not isinstance(error, InvalidConfig)
    sys.exit(Exit.USAGE if usage else Exit.FAILED)


def fail_unexpectedly(error: Exception) -> NoReturn:
    """Say where a defect showed itself. Not the error's own words: they might hold a secret."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    print_error(
        f"unexpected {type(error).__name__} in {Path(place.filename).name}:{place.lineno};"
        " the catalog is as it was. Please report this line"
    )
    sys.exit(Exit.FAILED)
