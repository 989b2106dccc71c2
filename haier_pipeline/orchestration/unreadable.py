"""What a reader of events or rows cannot read: it is put aside and reported once, the rest goes on.

What is read, and what becomes of it, belongs to the readers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from haier_pipeline.errors import DatabaseUnavailable, HaierError

#: How many reports are remembered; the oldest are forgotten.
MOST_REMEMBERED = 10_000


class Unreadable:
    """Keeps one unreadable thing from stopping the others; ``report`` gets each sentence once."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.report = report
        self._reported: dict[str, None] = {}

    @contextmanager
    def tolerate(self, what: str) -> Iterator[None]:
        """Put ``what`` aside where the block fails.

        Raises:
            DatabaseUnavailable: the database is away, so nothing can be read at all.
        """
        try:
            yield
        except DatabaseUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the next one must have its turn
            # The text of a foreign error may hold anything, a secret too.
            reason = (
                str(error)
                if isinstance(error, HaierError)
                else f"unexpected {type(error).__name__}"
            )
            self.report_once(f"{what}: put aside, it cannot be read: {reason}")

    def report_once(self, sentence: str) -> None:
        """Report the sentence, unless it has been reported."""
        if sentence not in self._reported:
            self._reported[sentence] = None
            if len(self._reported) > MOST_REMEMBERED:
                del self._reported[next(iter(self._reported))]
            self.report(sentence)
