"""What leaves a process: nothing that steers a terminal, and never at the cost of a result."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from haier_pipeline.cli.console import Console
from haier_pipeline.cli.output import SteadyStream, clean, clean_json

STEERING = "\x1b]0;owned\x07 \x9b2J \u202eback\u2066 \x7f \r \ud800 \u200f"


def test_nothing_that_steers_a_terminal_is_left_in_a_text() -> None:
    shown = clean(STEERING)
    assert shown.isprintable()
    assert "\\x1b]0;owned\\x07" in shown
    assert clean("名称 é\n\tok") == "名称 é\n\tok"


def test_tables_and_lines_show_steering_characters_written_out() -> None:
    from rich.table import Table

    out = io.StringIO()
    console = Console(file=out, width=300, force_terminal=True, color_system=None)
    table = Table(title=STEERING)
    table.add_column(STEERING)
    table.add_row(STEERING)
    console.print(table)
    console.print(STEERING)
    # Rich itself may style; of what was given nothing is left raw.
    for raw in ("\x1b]0", "\x9b", "\u202e", "\u2066", "\x7f", "\x07"):
        assert raw not in out.getvalue()
    assert out.getvalue().count("owned") == 4


@pytest.mark.parametrize("encoding", ["utf-8", "gbk", "latin-1", "ascii", None])
def test_json_keeps_its_meaning_in_every_encoding(encoding: str | None) -> None:
    value = {"message": STEERING + "海尔 é 𠮷"}
    text = clean_json(json.dumps(value, ensure_ascii=False), encoding)
    assert json.loads(text) == value
    text.encode(encoding or "ascii")
    assert clean(text) == text


WRITER = """
import sys
from haier_pipeline.cli.output import steady
steady()
for n in range(int(sys.argv[1])):
    print("海尔 line", n, file=sys.stderr if sys.argv[2] == "err" else sys.stdout)
sys.exit(7)
"""


def writer(
    lines: int, stream: str, encoding: str = "utf-8", **options: Any
) -> tuple[list[str], dict[str, Any]]:
    return (
        [sys.executable, "-c", WRITER, str(lines), stream],
        {"env": {"PYTHONIOENCODING": encoding, "PATH": os.defpath}, **options},
    )


def start(lines: int, stream: str, encoding: str = "utf-8", **options: Any) -> int:
    command, keywords = writer(lines, stream, encoding, **options)
    done = subprocess.run(command, check=False, timeout=60, **keywords)
    return int(done.returncode)


@pytest.mark.parametrize("encoding", ["gbk", "latin-1", "ascii"])
def test_what_the_encoding_lacks_is_replaced_and_the_exit_code_stays(encoding: str) -> None:
    """Fault matrix, row 68."""
    assert start(3, "out", encoding, stdout=subprocess.DEVNULL) == 7
    command, keywords = writer(1, "out", encoding, stdout=subprocess.PIPE)
    done = subprocess.run(command, check=False, **keywords)
    assert done.returncode == 7
    wanted = "海尔" if encoding == "gbk" else "??"
    assert done.stdout.decode(encoding) == f"{wanted} line 0\n"


def test_a_reader_that_has_gone_and_a_full_disk_change_no_exit_code() -> None:
    command, keywords = writer(100_000, "out", stdout=subprocess.PIPE)
    with subprocess.Popen(command, **keywords) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.wait(60) == 7
    with Path("/dev/full").open("wb") as full:
        assert start(5, "out", stdout=full) == 7
        assert start(5, "err", stderr=full) == 7


def test_a_reader_of_results_is_waited_for_and_gets_all() -> None:
    command, keywords = writer(20_000, "out", stdout=subprocess.PIPE)
    with subprocess.Popen(command, **keywords) as child:
        assert child.stdout is not None
        time.sleep(0.5)
        assert child.poll() is None
        assert len(child.stdout.read().splitlines()) == 20_000
        assert child.wait(60) == 7


def test_a_reader_of_progress_that_stands_still_holds_nothing_up() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        steady = SteadyStream(stream, patience=0.2)
        began = time.monotonic()
        for _ in range(200):
            steady.write("x" * 1_000)
        assert time.monotonic() - began < 5
        os.read(reading, 1_000_000)
        steady.write("heard again")
        assert os.read(reading, 1_000_000).endswith(b"heard again")
    os.close(reading)
