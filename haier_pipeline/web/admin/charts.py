"""Charts as plain geometry: stacked columns over days, drawn as SVG by a template.

Numbers in, rectangles out; what they mean and which colour they have is the page's matter.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 420
HEIGHT: Final = 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 4, 8, 20
_MOST_LABELS: Final = 7


@dataclass(frozen=True)
class Part:
    """A part of a column, named by its ``kind``."""

    kind: str
    value: float


@dataclass(frozen=True)
class Column:
    """A column: the label below it, its parts from the bottom up, and the text of its tooltip."""

    label: str
    parts: Sequence[Part]
    title: str


@dataclass(frozen=True)
class Rect:
    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Drawn:
    """A column as it is drawn; ``label`` is empty where there is no room for one."""

    x: float
    width: float
    middle: float
    label: str
    title: str
    rects: Sequence[Rect]


@dataclass(frozen=True)
class Line:
    """A line of the grid and what it stands for."""

    y: float
    value: float


@dataclass(frozen=True)
class Chart:
    columns: Sequence[Drawn]
    lines: Sequence[Line]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def draw(columns: Sequence[Column]) -> Chart | None:
    """The chart of the columns; ``None`` where all of them are zero."""
    highest = max((sum(part.value for part in column.parts) for column in columns), default=0.0)
    if highest <= 0:
        return None
    top = _round_up(highest)
    room = HEIGHT - _TOP - _BOTTOM
    step = (WIDTH - _LEFT - _RIGHT) / len(columns)
    every = math.ceil(len(columns) / _MOST_LABELS)
    drawn = []
    for place, column in enumerate(columns):
        x = _LEFT + place * step
        y = float(HEIGHT - _BOTTOM)
        rects = []
        for part in column.parts:
            height = room * part.value / top
            y -= height
            if height > 0:
                rects.append(
                    Rect(part.kind, round(x + step * 0.15, 1), round(y, 1),
                         round(step * 0.7, 1), round(max(height, 1), 1))
                )  # fmt: skip
        # Counted from the end, so that the newest day has its label.
        is_labelled = (len(columns) - 1 - place) % every == 0
        drawn.append(
            Drawn(
                x=round(x, 1),
                width=round(step, 1),
                middle=round(x + step / 2, 1),
                label=column.label if is_labelled else "",
                title=column.title,
                rects=rects,
            )
        )
    lines = [Line(round(HEIGHT - _BOTTOM - room * share, 1), top * share) for share in (0, 0.5, 1)]
    return Chart(drawn, lines)


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 6, 8, 10, 20, …, of which half is a readable number too."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 4, 6, 8, 10) if power * step >= value * 0.999999)
