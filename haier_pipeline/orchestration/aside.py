"""What a consumer of events cannot read: put aside, told once, and the rest goes on.

What is read, and what becomes of it, belongs to the consumers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from haier_pipeline.errors import DatabaseUnavailable, HaierError

#: How many are remembered as told; the oldest are forgotten.
MOST_TOLD = 10_000


class Aside:
    """Keeps one unreadable thing from stopping the others; ``tell`` hears of each once."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self._told: dict[str, None] = {}

    @contextmanager
    def keep(self, what: str) -> Iterator[None]:
        """Put ``what`` aside where the block fails, unless it is the database that is away."""
        try:
            yield
        except DatabaseUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the next one must have its turn
            # A foreign error's own words may hold anything, a secret too.
            said = (
                str(error)
                if isinstance(error, HaierError)
                else f"unexpected {type(error).__name__}"
            )
            self.note(f"{what}: put aside, it cannot be read: {said}")

    def note(self, sentence: str) -> None:
        """Say it, unless it was said already."""
        if sentence not in self._told:
            self._told[sentence] = None
            if len(self._told) > MOST_TOLD:
                del self._told[next(iter(self._told))]
            self.tell(sentence)
