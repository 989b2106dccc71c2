"""The documentation names everything there is, and nothing that there is not.

What the text says of a thing is for readers to judge; here only names are compared. Citations of
the contract and of the faults are in ``test_citations``.
"""

import importlib
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from fastapi.routing import APIRoute

import haier_pipeline
from haier_pipeline import settings, web
from haier_pipeline.catalog.tables import metadata
from haier_pipeline.cli import app
from haier_pipeline.definitions import build_definitions
from haier_pipeline.domain.product import CHANGE_KINDS
from haier_pipeline.platform.config import DEFAULTS, FIELDS, REQUIRED, SECRET_FIELDS
from haier_pipeline.sandbox.faults import _COMMON, KINDS
from haier_pipeline.sandbox.report import Report
from haier_pipeline.sandbox.settings import Settings as SandboxSettings
from haier_pipeline.web.admin import dealers as dealer_page
from haier_pipeline.web.models import ConfigValues, ShownConfig, ShownSecrets

PACKAGE = Path(haier_pipeline.__file__).parent
ROOT = PACKAGE.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
VARIABLE = re.compile(r"\bHAIER_[A-Z_]*[A-Z]\b")


def names(page: Path) -> Any:
    """Makes the parameter of a test readable."""
    return page.name


def read(page: str) -> str:
    return (DOCS / page).read_text("utf-8")


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    level = heading.index(" ")
    found = re.search(
        rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{level}}} |\Z)", text, re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"there is no heading {heading!r}"
    return found[1]


def first_cells(text: str) -> set[str]:
    """The code in the first cell of each row of the tables in ``text``."""
    return set(re.findall(r"^\| `([^`]+)`", text, re.MULTILINE))


def commands() -> dict[str, Any]:
    """Every command with its whole name; hidden ones are not for users."""

    def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        if getattr(command, "hidden", False):
            return
        if hasattr(command, "commands"):
            for word, inner in command.commands.items():
                yield from walk(inner, f"{name} {word}")
        else:
            yield name, command

    return dict(walk(typer.main.get_command(app), "haier"))


def options(command: Any) -> set[str]:
    return {
        option
        for parameter in command.params
        if parameter.param_type_name == "option" and not getattr(parameter, "hidden", False)
        for option in [*parameter.opts, *parameter.secondary_opts]
        if option.startswith("--")
    }


def invocations(text: str) -> Iterator[list[str]]:
    """The words of every ``haier …`` in code, in line or fenced, placeholders left out."""
    lines = re.findall(r"`([^`\n]+)`", text)
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        lines += block.replace("\\\n", " ").splitlines()
    for line in lines:
        found = re.match(r"(?:python3 bootstrap\.py |\.venv/bin/)?(haier [a-z].*)", line.strip())
        if found:
            yield shlex.split(found[1].split(" | ")[0], comments=True)


def test_every_command_and_option_is_documented_and_no_other() -> None:
    text = read("commands.md")
    documented = set(re.findall(r"^## `(haier [^`]+)`$", text, re.MULTILINE))
    assert documented == commands().keys()
    for name, command in commands().items():
        described = {cell.split()[0] for cell in first_cells(section(text, f"## `{name}`"))}
        assert {cell for cell in described if cell.startswith("--")} == options(command), name


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_a_page_calls_only_commands_and_options_that_exist(page: Path) -> None:
    known = commands()
    for words in invocations(page.read_text("utf-8")):
        name = next((n for n in (" ".join(words[:3]), " ".join(words[:2])) if n in known), None)
        groups = {known_name.rsplit(" ", 1)[0] for known_name in known}
        if name is None:
            assert " ".join(words[:2]) in groups, f"there is no command {' '.join(words)!r}"
            continue
        used = {word.split("=")[0] for word in words if word.startswith("--")}
        assert used <= options(known[name]), " ".join(words)


def test_every_variable_is_documented_and_no_other() -> None:
    known = set(VARIABLE.findall(Path(settings.__file__).read_text("utf-8")))
    described = {cell for cell in first_cells(read("configuration.md")) if VARIABLE.match(cell)}
    described |= set(
        re.findall(r"^\| `[a-z_]+` \| `(HAIER_[A-Z_]+)`", read("configuration.md"), re.MULTILINE)
    )
    assert described == known
    for page in PAGES:
        assert set(VARIABLE.findall(page.read_text("utf-8"))) <= known, page.name


def test_the_dealers_keys_stand_with_their_variables_and_defaults() -> None:
    rows = re.findall(
        r"^\| `([a-z_]+)` \| `(HAIER_[A-Z_]+)` \| (yes|no)(, secret)? \|(.*)\|$",
        section(read("configuration.md"), "## The dealer"),
        re.MULTILINE,
    )
    assert [row[0] for row in rows] == list(FIELDS)
    for key, variable, required, secret, default in rows:
        assert settings.DEALER_VARIABLES[variable] == key
        assert bool(secret) == (key in SECRET_FIELDS), key
        assert (required == "yes") == (key in REQUIRED), key
        if key in DEFAULTS:
            value = DEFAULTS[key]
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            assert default.strip() == f"`{text}`", key


def test_every_key_of_a_dealer_can_be_given_and_seen_on_every_surface() -> None:
    """The command line has no option for a secret, which it asks for."""
    keys = set(FIELDS)
    for name in ("haier config create", "haier config update"):
        given = {
            option.removeprefix("--").replace("-", "_") for option in options(commands()[name])
        }
        given = {"county_codes" if option == "county_code" else option for option in given}
        assert given >= keys - SECRET_FIELDS, name
        assert not given & SECRET_FIELDS, name
    assert ConfigValues.model_fields.keys() == keys
    assert ShownConfig.model_fields.keys() == keys - SECRET_FIELDS
    assert ShownSecrets.model_fields.keys() == SECRET_FIELDS
    assert set(dealer_page.FORM) == keys
    template = Path(dealer_page.__file__).with_name("templates") / "dealer.html"
    assert set(re.findall(r'row\("([a-z_]+)"', template.read_text("utf-8"))) == keys | {"name"}


def test_every_table_and_column_is_documented_and_no_other() -> None:
    text = read("tables.md")
    documented = set(re.findall(r"^## `(\w+)`$", text, re.MULTILINE))
    assert documented == metadata.tables.keys()
    for name, table in metadata.tables.items():
        assert first_cells(section(text, f"## `{name}`")) == set(table.columns.keys()), name


def test_every_kind_of_change_is_documented() -> None:
    kinds = section(read("tables.md"), "## `catalog_change`")
    assert all(kind in kinds for kind in CHANGE_KINDS)


def test_every_route_is_documented() -> None:
    text = section(read("rest.md"), "## Routes")
    rows = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    modules = [
        importlib.import_module(f"{web.__name__}.{module.name}")
        for module in pkgutil.iter_modules(web.__path__)
    ]
    routes = [
        (method, route.path.removeprefix("/"))
        for router in {id(m.router): m.router for m in modules if hasattr(m, "router")}.values()
        for route in router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in route.methods or ()
    ]
    assert len(routes) > 15
    for method, path in routes:
        last = path.rstrip("/").split("/")[-1] + "/"
        assert f"`/{path}`" in text or any(
            re.search(rf"\b{method}\b", row) and (path in row or f"`{last}`" in row) for row in rows
        ), f"{method} {path}"


def test_every_fault_setting_and_figure_of_the_sandbox_is_documented_and_no_other() -> None:
    text = read("sandbox.md")
    assert first_cells(section(text, "### Report")) == Report().figures().keys()
    assert first_cells(section(text, "### Settings")) == SandboxSettings().as_json().keys()
    keys, kinds = section(text, "## Faults").split("| kind |")
    assert first_cells(keys) == _COMMON.keys()
    assert first_cells(kinds) == KINDS.keys()
    for kind, takes in KINDS.items():
        row = re.search(rf"^\| `{kind}` \|[^|]*\|(.*)\|$", kinds, re.MULTILINE)
        assert row is not None, kind
        assert takes.arguments.keys() <= set(re.findall(r"`(\w+)`", row[1])), kind


def test_every_asset_check_is_documented_with_what_it_does_and_no_other() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \|.*\| (yes|no) \|$",
        section(read("architecture.md"), "## Checks"),
        re.MULTILINE,
    )
    repository = build_definitions().get_repository_def()
    graph = repository.asset_graph
    assert sorted(rows) == sorted(
        (key.asset_key.to_user_string(), key.name, "yes" if graph.get(key).blocking else "no")
        for key in graph.asset_check_keys
    )


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_a_page_links_only_to_what_exists(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if not target.startswith(("https://", "http://")):
            path, _, anchor = target.partition("#")
            linked = page.parent / path if path else page
            assert linked.exists(), target
            if anchor:
                headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.MULTILINE)
                assert anchor in {anchor_of(heading) for heading in headings}, target


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_a_page_names_only_files_that_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:haier_pipeline|haier_pipeline_tests|docs|benchmarks)/[^`\s:]*)`",
        page.read_text("utf-8"),
    )
    for path in named:
        assert (ROOT / path).exists(), path


def anchor_of(heading: str) -> str:
    """The anchor that a heading gets where the pages are shown."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
