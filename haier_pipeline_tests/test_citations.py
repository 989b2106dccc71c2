"""What code, tests and pages cite stands where they say.

The wire contract is ``docs/platform.md``, cited by the title of a section; what can go wrong is
``docs/faults.md``, cited by the number of a row or a letter that holds in all of them. What the
two pages say is for readers to judge; that the documentation names everything is in ``test_docs``.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import haier_pipeline
from haier_pipeline.sandbox import contract

PACKAGE = Path(haier_pipeline.__file__).parent
TESTS = Path(__file__).parent
ROOT = PACKAGE.parent
PLATFORM = (ROOT / "docs" / "platform.md").read_text("utf-8")
FAULTS = (ROOT / "docs" / "faults.md").read_text("utf-8")
SOURCES = sorted(
    path
    for pattern in ("*.py", "*.md", "docs/*.md", "*/**/*.py", "*/**/*.html")
    for path in ROOT.glob(pattern)
    # What is cited here are examples.
    if path != Path(__file__) and not any(p.startswith(".") for p in path.relative_to(ROOT).parts)
)

_ROW = r"\d+[a-z]?"
_ROWS = rf"{_ROW}(?:(?:, and|,| and| to) {_ROW})*"
_TITLES = r'"[^"]+"(?:(?:,| and) "[^"]+")*'
# The rows and letters of one citation stand before the next stop.
_MATRIX = re.compile(r"[Ff]ault matrix, ([^.:;()\"]*)")
_CITED_ROWS = re.compile(rf"\b[Rr]ows? ({_ROWS})\b")
_CITED_TITLES = re.compile(rf"\b[Cc]ontract(?:, | \(| [\w ]*\()({_TITLES})")


def in_one_line(source: str) -> str:
    """The text with its line breaks gone, and the marks of comments that stood at them."""
    return re.sub(r"\s*\n\s*(?:#:?\s*|>\s*)?", " ", source)


def cited_rows(source: str) -> set[str]:
    """Numbers and letters of the faults that a text cites."""
    text = in_one_line(source)
    cited = {row for rows in _CITED_ROWS.findall(text) for row in re.findall(_ROW, rows)}
    for citation in _MATRIX.findall(text):
        cited |= set(re.findall(rf"\b(?:{_ROW}|[A-Z])\b", citation))
    return cited


def cited_titles(source: str) -> set[str]:
    """Sections of the contract that a text cites."""
    return {
        title
        for titles in _CITED_TITLES.findall(in_one_line(source))
        for title in re.findall(r'"([^"]+)"', titles)
    }


def under(heading: str) -> str:
    """What stands on the page of the faults under a heading."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", FAULTS, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def table(text: str) -> list[tuple[str, str]]:
    """First cell, and the rest, of each row of the tables whose first cell is a row's name."""
    return re.findall(rf"^\| ({_ROW}|[A-Z]) \| (.*) \|$", text, re.MULTILINE)


LETTERS = set(re.findall(r"^- \*\*([A-Z])\*\* ", FAULTS, re.MULTILINE))
PLANNED = [row for row, _ in table(under("Planned"))]
BUILT = [row for row, _ in table(FAULTS.split("## Planned")[0])]
PROOFS = {row: re.findall(r"`([^`]+)`", cell) for row, cell in table(under("Tests of each row"))}


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield node


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("(fault matrix, rows 46 and\n    51)", {"46", "51"}),
        ('"""Fault matrix, rows 2, 3, 5 to 10, 31a."""', {"2", "3", "5", "10", "31a"}),
        ("Fault matrix, rows 32 and 35, and B.", {"32", "35", "B"}),
        ("Fault matrix, row 8 and invariant D.", {"8", "D"}),
        ("#: Bounds of decoded answers (row\n#: 10). A full", {"10"}),
        ("Fault matrix, row 38: COPY speaks with A driver", {"38"}),
        ("a table of 12 rows; the row 'A'", set()),
    ],
)
def test_a_citation_of_rows_is_read_whole(text: str, cited: set[str]) -> None:
    assert cited_rows(text) == cited


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ('#: One call (contract, "Rules for\n#: every call").', {"Rules for every call"}),
        ('the wire contract ("The dealer\'s configuration")', {"The dealer's configuration"}),
        ('The contract allows a client so many ("Token", "Stock")', {"Token", "Stock"}),
        ('(contract, "Prices" and "Stock")', {"Prices", "Stock"}),
        ("def test_contract(): the contract holds", set()),
    ],
)
def test_a_citation_of_the_contract_is_read_whole(text: str, cited: set[str]) -> None:
    assert cited_titles(text) == cited


def test_rows_and_sections_have_a_name_of_their_own() -> None:
    assert sorted(LETTERS) == list("ABCD")
    rows = BUILT + PLANNED
    assert len(rows) == len(set(rows))
    numbers = {int(re.sub(r"\D", "", row)) for row in rows}
    assert numbers == set(range(1, max(numbers) + 1))
    titles = re.findall(r"^## (.+)$", PLATFORM, re.MULTILINE)
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_whatever_is_cited_exists(source: Path) -> None:
    text = source.read_text("utf-8")
    assert cited_rows(text) <= LETTERS | {*BUILT, *PLANNED}
    titles = set(re.findall(r"^## (.+)$", PLATFORM, re.MULTILINE))
    assert cited_titles(text) <= titles


def test_the_citations_are_found_at_all() -> None:
    everything = [path.read_text("utf-8") for path in SOURCES if path.is_relative_to(PACKAGE)]
    assert len(set.union(*map(cited_rows, everything))) > 20
    assert cited_titles("\n".join(everything)) >= {"Environments", "Prices", "Logistics"}


def test_every_row_that_is_built_names_its_tests() -> None:
    assert PROOFS.keys() - LETTERS == {*BUILT}
    assert PROOFS.keys() >= LETTERS
    assert all(PROOFS.values())


@pytest.mark.parametrize("row", PROOFS)
def test_a_test_that_a_row_names_exists_and_cites_the_row(row: str) -> None:
    for proof in PROOFS[row]:
        file, _, name = proof.partition("::")
        test = next((f for f in functions(TESTS / file) if f.name == name), None)
        assert test is not None, f"{file} holds no {name}"
        said = ast.get_docstring(test)
        assert said is not None, f"{proof} does not say which row it is about"
        # "rows 1 to 31" cites what is between, too; such ranges are expanded for this one.
        ranges = re.findall(rf"({_ROW}) to ({_ROW})", in_one_line(said))
        cited = cited_rows(said) | {
            str(number) for a, b in ranges for number in range(int(a), int(b) + 1)
        }
        assert row in cited, f"{proof} does not cite row {row}"


def test_the_contract_names_every_interface_and_no_other() -> None:
    paths = set(re.findall(r"`POST (/yilihuo/[^`]+)`", PLATFORM))
    assert paths == {path for path in contract.PATHS if path.startswith("/yilihuo/")}
