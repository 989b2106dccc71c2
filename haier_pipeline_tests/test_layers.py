"""Who may import whom: the contracts in pyproject.toml hold, and each of them can be broken.

Beside them two rules that an import linter cannot see: who reads the environment, and who executes
SQL.

What the rooms do is tested in their own folders.
"""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

import haier_pipeline

PACKAGE = Path(haier_pipeline.__file__).parent
ROOT = PACKAGE.parent
LINT = "from importlinter.cli import lint_imports_command as lint; lint()"

# One forbidden import for each contract, by the contract's id.
VIOLATIONS: Mapping[str, tuple[str, str]] = {
    "layers": ("errors.py", "import haier_pipeline.sync"),
    "dagster": ("sync/run.py", "import dagster"),
    "platform": ("platform/client.py", "import pandas"),
    "catalog": ("catalog/load.py", "import urllib.request"),
    "domain": ("domain/partition.py", "import pandas"),
    "rules": ("rules.py", "import os"),
    "rules-users": ("installation.py", "import haier_pipeline.rules"),
    "standalone": ("sandbox/server.py", "import requests"),
    "web": ("sync/live.py", "import fastapi"),
    "database": ("sync/run.py", "import psycopg"),
}

# The catalog, Dagster's own schema, the embedded server, which makes the database, and the sandbox,
# which keeps its orders in a file of its own.
SQL_EXECUTORS = ("catalog", "orchestration.storage", "sandbox.orders", "server.postgres")
# What others may hold of SQLAlchemy, to hand it on.
HANDED_ON = {"Engine", "Connection"}
EXECUTING = {"execute", "executemany", "exec_driver_sql", "scalar", "scalars", "raw_connection"}

# Entry points; the server's processes hand the environment on to their children.
READERS = ("cli", "definitions", "orchestration", "server.processes")


def contracts() -> dict[str, str]:
    """The contracts' names by their ids."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return {each["id"]: each["name"] for each in settings["tool"]["importlinter"]["contracts"]}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-logo", "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def broken(folder: Path) -> set[str]:
    return set(re.findall(r"^(.+) BROKEN$", lint(folder).stdout, re.MULTILINE))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_import_runs_the_way_the_contracts_say() -> None:
    checked = lint(ROOT)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(contracts())} kept, 0 broken" in checked.stdout


def test_a_forbidden_import_breaks_its_contract_whichever_it_is(copy: Path) -> None:
    assert broken(copy) == set()
    for module, statement in VIOLATIONS.values():
        source = copy / PACKAGE.name / module
        source.write_text(f"{source.read_text('utf-8')}\n{statement}\n", "utf-8")
    assert broken(copy) == set(contracts().values())


def test_there_is_a_violation_for_each_contract() -> None:
    assert VIOLATIONS.keys() == contracts().keys()


def test_a_module_without_a_place_in_the_layers_is_noticed(copy: Path) -> None:
    (copy / PACKAGE.name / "utils.py").write_text('"""Things."""\n', "utf-8")
    assert broken(copy) == {contracts()["layers"]}


def environment_readers(package: Path) -> set[str]:
    """The modules that read a variable, or call the function that reads all of them."""
    found = set()
    for source in package.rglob("*.py"):
        names = {
            getattr(node, "attr", None) or getattr(node, "id", None) or getattr(node, "name", None)
            for node in ast.walk(ast.parse(source.read_text("utf-8")))
            if isinstance(node, ast.Attribute | ast.Name | ast.alias)
        }
        if names & {"environ", "getenv", "read_settings"}:
            found.add(".".join(source.relative_to(package).with_suffix("").parts))
    return found


def strangers(package: Path) -> set[str]:
    return {
        module
        for module in environment_readers(package)
        if not any(module == reader or module.startswith(f"{reader}.") for reader in READERS)
    }


def test_only_entry_points_read_the_environment() -> None:
    assert "cli.command" in environment_readers(PACKAGE)
    # The module that reads is handed a mapping, whose parameter has this name.
    assert strangers(PACKAGE) == {"settings"}


@pytest.mark.parametrize(
    "statement",
    [
        "import os; os.environ",
        "from os import getenv",
        "from haier_pipeline.settings import read_settings",
    ],
)
def test_whoever_else_reads_the_environment_is_noticed(copy: Path, statement: str) -> None:
    package = copy / PACKAGE.name
    source = package / "platform" / "config.py"
    source.write_text(f"{source.read_text('utf-8')}\n{statement}\n", "utf-8")
    assert strangers(package) == {"settings", "platform.config"}


def sql_executors(package: Path) -> set[str]:
    """The modules that write SQL with SQLAlchemy, or call a method that executes it."""
    found = set()
    for source in package.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy"):
                writes = bool({alias.name for alias in node.names} - HANDED_ON)
            elif isinstance(node, ast.Import):
                writes = any(alias.name.split(".")[0] == "sqlalchemy" for alias in node.names)
            else:
                writes = (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in EXECUTING
                )
            if writes:
                found.add(".".join(source.relative_to(package).with_suffix("").parts))
    return {
        module
        for module in found
        if not any(module == name or module.startswith(f"{name}.") for name in SQL_EXECUTORS)
    }


def test_only_the_catalog_executes_sql() -> None:
    assert sql_executors(PACKAGE) == set()


@pytest.mark.parametrize(
    "statement",
    [
        "from sqlalchemy import text",
        "from sqlalchemy.dialects.postgresql import insert",
        "import sqlalchemy as sa",
        "def count(connection): return connection.scalar('SELECT 1')",
        "def clear(engine): engine.connect().execute('DELETE FROM product')",
    ],
)
def test_whoever_else_executes_sql_is_noticed(copy: Path, statement: str) -> None:
    package = copy / PACKAGE.name
    source = package / "sync" / "run.py"
    source.write_text(f"{source.read_text('utf-8')}\n{statement}\n", "utf-8")
    assert sql_executors(package) == {"sync.run"}
