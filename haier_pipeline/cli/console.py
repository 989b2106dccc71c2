"""Rich's console as this program uses it; the only module that imports Rich before it draws.

What is printed, and where Rich is not needed, is in ``output``.
"""

from typing import Any

from rich import console
from rich.text import Text

from haier_pipeline.cli.output import clean


class Console(console.Console):
    """Rich's console, which shows control characters rather than obeying them."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(clean(text), **options)


#: Standard error: notes, progress and errors, never a result.
errors = Console(stderr=True, highlight=False, soft_wrap=True)
