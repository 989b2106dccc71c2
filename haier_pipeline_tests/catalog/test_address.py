"""The database's URL: no part of it that could be a secret is ever shown or made an argument."""

import stat
from pathlib import Path

import pytest

from haier_pipeline.catalog.address import for_child, shown
from haier_pipeline.catalog.database import parse_url
from haier_pipeline.errors import InvalidInput


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:canary@h:5433/db",
        "postgresql://u:can%40ary%2Fcanary@h/db",
        "postgres://u@h/db?password=canary",
        "postgresql://h/db?user=u&password=canary&password=canary",
        "postgresql://u:x@h/db?sslpassword=canary&sslmode=require",
        "postgresql://u@h/db?passfile=/canary",
        "postgresql://u@h/db?options=-c%20x%3Dcanary&PASSWORD=canary",
        "postgresql+psycopg2://u:canary?x#y@h/db",
        "postgresql://u:canary:x@h/db",
    ],
)
def test_no_secret_of_a_url_is_shown(url: str) -> None:
    text = shown(parse_url(url))
    assert "canary" not in text
    assert "ary" not in text
    assert text.startswith("postgresql://")
    assert "***" in text


@pytest.mark.parametrize(
    "url", ["postgresql://u:x@canary@h/db", "postgresql://u:x/y@canary@h:1/db"]
)
def test_a_password_that_was_not_encoded_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidInput, match="write it encoded") as caught:
        parse_url(url)
    assert "canary" not in str(caught.value)


def test_what_is_no_secret_stays_readable() -> None:
    url = "postgresql://u@/db?host=%2Frun%2Fpg&port=5432&sslmode=require"
    assert "sslmode=require" in shown(parse_url(url))
    assert "***" not in shown(parse_url(url))


def test_a_child_gets_the_whole_url_by_a_file_and_variables_of_its_owner() -> None:
    url = parse_url("postgresql://u:p%20w@h:5433/db?sslpassword=s3cret&sslmode=require&host=a")
    with for_child(url) as variables:
        path = Path(variables["PGSERVICEFILE"])
        lines = path.read_text().splitlines()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert variables["PGPASSWORD"] == "p w"
        assert "sslpassword=s3cret" in lines
        assert "dbname=db" in lines
        assert not any("p w" in line for line in lines)
    assert not path.exists()
    with (
        pytest.raises(InvalidInput, match="control character"),
        for_child(parse_url("postgresql://u@h/db?application_name=a%0Ahost%3Devil")),
    ):
        pass
