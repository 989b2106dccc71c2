"""``python -m benchmarks [names…]``: measure, and print what was asked beside what came out.

Only choosing and printing; the cases are in ``cases`` and its neighbours.
"""

import os
import sys

from rich.console import Console
from rich.table import Table

from benchmarks.cases import CASES as SYNCS
from benchmarks.cases import Row
from benchmarks.growth import GROWTH
from benchmarks.operations import OPERATIONS
from benchmarks.orders import ORDERS

CASES = {**SYNCS, **OPERATIONS, **ORDERS, **GROWTH}


def main(names: list[str]) -> int:
    """Run the named cases, or all; 1 where a figure was missed."""
    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise SystemExit(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    console = Console()
    rows: list[Row] = []
    for name in names or CASES:
        with console.status(f"{name} …"):
            rows += CASES[name]()
        console.print(f"{name}: done")
    load = ", ".join(f"{figure:.1f}" for figure in os.getloadavg())
    console.print(_figures(rows))
    if any(row.phases for row in rows):
        console.print(_phases(rows))
    console.print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load {load}")
    return 0 if all(row.is_met for row in rows) else 1


def _figures(rows: list[Row]) -> Table:
    table = Table("work", "asked", "measured", "", title="Figures", title_justify="left")
    for row in rows:
        mark = "[green]met[/green]" if row.is_met else "[red]missed[/red]"
        table.add_row(row.work, row.asked, row.measured, mark)
    return table


def _phases(rows: list[Row]) -> Table:
    shown = [row for row in rows if row.phases]
    names = list(dict.fromkeys(name for row in shown for name in row.phases or {}))
    table = Table("work", title="Where the seconds went", title_justify="left")
    for name in names:
        table.add_column(name, justify="right")
    for row in shown:
        phases = row.phases or {}
        table.add_row(row.work, *(f"{phases.get(name, 0):.2f}" for name in names))
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
