"""What a command prints: never raw what could steer a terminal, and never at the cost of a result.

Here is how text leaves a process: which characters are shown as what, what is done where the
terminal's encoding lacks them, and where nobody reads. What is said belongs to the commands. Rich
is imported where something is drawn: a sync has called the platform by then.
"""

import json
import os
import re
import select
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from haier_pipeline.cli.console import Console

# C0 and DEL, C1, the marks and overrides of text direction, line and paragraph separators, what is
# half of a character. A newline and a tabulator may stay.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
#: Seconds for which notes and progress wait for a reader that stands still; results wait for ever.
PATIENCE = 5.0
# What a pipe takes at once where it takes anything.
_PIECE = 4096


def clean(text: str) -> str:
    """The text with every control character written out, such as ``\\x1b``."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def clean_json(text: str, encoding: str | None = "utf-8") -> str:
    """JSON of the same meaning, its control characters, and what ``encoding`` lacks, escaped."""

    def escape(found: re.Match[str]) -> str:
        return json.dumps(found[0])[1:-1]

    # They stand in strings only; C0 is escaped there anyway.
    safe = _CONTROL.sub(escape, text)
    try:
        safe.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return re.sub(r"[^\x00-\x7f]", escape, safe)
    return safe


def print_json(text: str) -> None:
    """Print the text of one JSON value on a line of its own."""
    print(clean_json(text, getattr(sys.stdout, "encoding", None)))  # noqa: T201


def print_line(text: str) -> None:
    """Print plain text for people and scripts."""
    print(clean(text))  # noqa: T201


class SteadyStream:
    """Standard output or error that never fails.

    What the encoding lacks is replaced. A reader that has gone, or a full disk, ends the output and
    nothing else. ``patience``: how many seconds a reader may stand still before a piece is dropped;
    ``None`` waits, as a pager wants it.
    """

    def __init__(self, stream: TextIO, patience: float | None) -> None:
        self._stream = stream
        self._patience = patience
        self._waits = True
        self._fd = stream.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        data = text.encode(self._stream.encoding, "replace")
        until = None if self._patience is None else time.monotonic() + self._patience
        try:
            while data:
                # After a piece was dropped nobody waits again until somebody reads.
                left = None if until is None else max(0.0, until - time.monotonic()) * self._waits
                self._waits = bool(select.select([], [self._fd], [], left)[1])
                if not self._waits:
                    break
                try:
                    data = data[os.write(self._fd, data[:_PIECE]) :]
                except BlockingIOError:
                    continue
        except (OSError, ValueError):
            self._fd = os.open(os.devnull, os.O_WRONLY)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """There is nothing to flush: all is written at once."""


def steady() -> None:
    """Let this process's output never fail nor change what it ends with."""
    for name, patience in (("stdout", None), ("stderr", PATIENCE)):
        stream: TextIO | None = getattr(sys, name)
        if stream is not None and sys.platform != "win32":
            stream.flush()
            setattr(sys, name, SteadyStream(stream, patience))


def note(text: str) -> None:
    """Tell the person at the terminal, on standard error, where no result stands."""
    _errors().print(text, markup=False)


def draws() -> bool:
    """Whether standard error is a terminal, on which something can be drawn."""
    return sys.stderr.isatty()


def print_error(text: str) -> None:
    """Say on standard error why the command ends."""
    from rich.markup import escape

    _errors().print(f"[red]error:[/red] {escape(text)}")


#: Plain text, or text with a style of Rich's.
Cell = str | tuple[str, str]


def print_styled(*parts: Cell) -> None:
    """Print one line on standard output, however long, its parts in their styles."""
    from haier_pipeline.cli.console import Console

    Console(highlight=False, soft_wrap=True).print("".join(map(_cell, parts)))


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    title: str | None = None,
    folded: Collection[str] = (),
) -> None:
    """Print a table; the last column is folded where a line is too long, and those in ``folded``.

    Columns of figures stand right.
    """
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title and escape(title), title_justify="left")
    for column in columns:
        right = column in ("total", "failed", "seconds")
        whole = column != columns[-1] and column not in folded
        table.add_column(
            column, justify="right" if right else "left", no_wrap=whole, overflow="fold"
        )
    for row in rows:
        table.add_row(*map(_cell, row))
    _out().print(table)


def print_values(title: str, values: Iterable[tuple[str, str]]) -> None:
    """Print names and their values below a title."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", show_header=False)
    for name, value in values:
        table.add_row(name, escape(value))
    _out().print(table)


def _cell(cell: Cell) -> str:
    from rich.markup import escape

    return escape(cell) if isinstance(cell, str) else f"[{cell[1]}]{escape(cell[0])}[/]"


def _out() -> "Console":
    """Standard output; where it is no terminal, wide enough that lines need no folding."""
    from haier_pipeline.cli.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def _errors() -> "Console":
    from haier_pipeline.cli.console import errors

    return errors
