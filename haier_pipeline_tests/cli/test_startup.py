"""What a command imports before it does its work: modules are counted here, never milliseconds."""

import subprocess
import sys
from pathlib import Path

import pytest

from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline_tests.cli.commands import Haier

#: What takes long to import, and neither the calls to the platform nor a look at the log needs.
HEAVY = ("alembic", "dagster", "dagster_postgres", "pandas", "numpy", "fastapi", "rich")

# Runs the command line, and writes at its end, or at the first call to the platform, which of the
# heavy packages are there.
PROBE = """
import sys
from haier_pipeline.cli import main
from haier_pipeline.sync import ahead

_, heavy, path, moment, *words = sys.argv
sys.argv = ["haier", *words]

def tell():
    found = {name.partition(".")[0] for name in sys.modules} & set(heavy.split(","))
    with open(path, "w") as file:
        file.write(",".join(sorted(found)))

def begin(*given, fetch_ahead=ahead.fetch_ahead):
    tell()
    fetch_ahead(*given)

if moment == "first call":
    ahead.fetch_ahead = begin
    main()
else:
    try:
        main()
    finally:
        tell()
"""


def imported(haier: Haier, folder: Path, moment: str, *arguments: str) -> set[str]:
    """The heavy packages that the command has imported at this moment."""
    told = folder / "told"
    done = subprocess.run(
        [sys.executable, "-c", PROBE, ",".join(HEAVY), str(told), moment, *arguments],
        env=dict(haier.variables),
        cwd=haier.variables["HOME"],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(filter(None, told.read_text().split(",")))


@pytest.mark.parametrize(
    "arguments",
    [("logs", "--json"), ("config", "list", "--json"), ("db", "url"), ("db", "upgrade")],
    ids=" ".join,
)
def test_a_look_at_the_installation_imports_neither_dagster_nor_frames(
    haier: Haier, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    assert haier.run("logs").code == 0, "the tables are there"
    assert imported(haier, tmp_path, "end", *arguments) == set()


def test_help_imports_what_it_draws_with_and_no_database(haier: Haier, tmp_path: Path) -> None:
    assert imported(haier, tmp_path, "end", "--help") <= {"rich"}


def test_before_the_first_call_a_sync_imports_nothing_that_the_calls_do_not_need(
    haier: Haier, platform: SandboxProcess, tmp_path: Path
) -> None:
    assert haier.run("logs").code == 0, "the tables are there"
    assert imported(haier, tmp_path, "first call", "sync", "--json") == set()
    assert platform.report()["total"] > 0
