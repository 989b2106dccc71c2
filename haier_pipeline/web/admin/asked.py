"""What a page is asked for: the parameters of its address, checked.

A filter that is left blank is no filter; a value that cannot be one is refused (fault matrix, row
50). Whatever passes is bound in SQL and escaped in HTML.
"""

import json
import re
from collections.abc import Collection
from datetime import date
from typing import Final

from fastapi import Request

from haier_pipeline.errors import InvalidInput
from haier_pipeline.web.models import CONTROLS

PAGE_ROWS: Final = 50
# JSON can bring halves of a surrogate pair, which no database and no page can hold.
_PRINTABLE: Final = re.compile(rf"[^{CONTROLS}\ud800-\udfff]+")
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_MOST_CHARACTERS: Final = 200
_MOST_KEY_CHARACTERS: Final = 1_000


class Asked:
    """The parameters of a request. Every method raises ``InvalidInput`` for a value it refuses."""

    def __init__(self, request: Request) -> None:
        self._parameters = request.query_params

    def text(self, name: str) -> str | None:
        """Text without control characters; blank counts as none."""
        value = self._parameters.get(name, "").strip()
        if not value:
            return None
        if len(value) > _MOST_CHARACTERS or not _PRINTABLE.fullmatch(value):
            raise InvalidInput(
                f"{name} has at most {_MOST_CHARACTERS} characters, none of them control characters"
            )
        return value

    def one_of(self, name: str, values: Collection[str]) -> str | None:
        value = self.text(name)
        if value is not None and value not in values:
            raise InvalidInput(f"{name} is none of: {', '.join(values)}")
        return value

    def flag(self, name: str) -> bool | None:
        """``yes`` or ``no``."""
        value = self.one_of(name, ("yes", "no"))
        return None if value is None else value == "yes"

    def day(self, name: str) -> date | None:
        value = self.text(name)
        if value is None:
            return None
        try:
            day = date.fromisoformat(value)
        except ValueError:
            raise InvalidInput(f"{name} is no date like 2026-11-22") from None
        if not 2000 <= day.year < 2200:
            raise InvalidInput(f"{name} is no date of this century")
        return day

    def number(self, name: str) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        if not _NUMBER.fullmatch(value):
            raise InvalidInput(f"{name} is no number")
        return int(value)

    def key(self, name: str, length: int) -> list[str] | None:
        """The key of a page's last row, a JSON list of that many texts."""
        sent = self._parameters.get(name)
        if not sent:
            return None
        try:
            parts = json.loads(sent) if len(sent) <= _MOST_KEY_CHARACTERS else None
        except (ValueError, RecursionError):
            parts = None
        if (
            not isinstance(parts, list)
            or len(parts) != length
            or not all(isinstance(part, str) and _PRINTABLE.fullmatch(part) for part in parts)
        ):
            raise InvalidInput(f"{name} is not the end of a page")
        return parts
