"""What a command says where it cannot work: one sentence, the right exit code, and no secret."""

import socket
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from haier_pipeline.domain.partition import today
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline_tests.cli.commands import (
    Ended,
    Haier,
    catalog,
    database_as_text,
    execute,
    folder_as_text,
    forms,
    log,
    together,
)
from haier_pipeline_tests.cli.conftest import DATABASE_PASSWORD, FirstSync

CANARIES = {
    "HAIER_CLIENT_SECRET": "canary+client/secret é?",
    "HAIER_PASSWORD": "canary&password=1 ü%",
    "HAIER_SELLER_PASSWORD": "canary/seller+password~",
    "HAIER_CUSTOMER_PASSWORD": 'canary"customer\\password',
}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sync", "--county-code", "11010"], "--county-code '11010' is not six digits"),
        (["sync", "--county-code", "１１０１０１"], "is not six digits"),
        (["sync", "--product-code", " "], "--product-code is blank"),
        (["backfill", "--from", "2026-11-02", "--to", "2026-11-01"], "is after --to 2026-11-01"),
        (["backfill", "--from", "2026-11-01", "--to", "2999-01-01"], "has not come yet"),
        (["backfill", "--from", "2026-02-30", "--to", "2026-03-01"], "'2026-02-30' is not a day"),
        (["logs", "--limit", "201"], "200"),
        (["logs", "--limit", "-1"], "--limit"),
        (["logs", "--status", "好"], "--status '好' is none of: pending"),
        (["logs", "--type", "'; DROP TABLE product"], "is none of: products"),
        (["sync", "--no-such-option"], "--no-such-option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_request_that_makes_no_sense_is_refused_before_anything_is_started(
    bare: Haier, arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    ended = bare.with_variables(HAIER_HOME=str(tmp_path / "home")).run(*arguments)
    assert ended.code == 2, ended.output
    assert sentence in ended.err
    assert ended.out == ""
    ended.assert_no_traceback()
    assert not (tmp_path / "home").exists()


def test_an_unknown_dealer_is_refused_with_the_names_of_those_there_are(haier: Haier) -> None:
    ended = haier.run("sync", "--dealer", "nobody", "--json")
    assert ended.code == 2
    assert ended.err == "error: there is no active dealer named 'nobody'; active: haier\n"
    assert ended.json["status"] == "failed"
    assert ended.json["runs"] == []


def test_a_day_before_the_first_partition_is_refused(haier: Haier) -> None:
    ended = haier.run("backfill", "--from", "2025-12-31", "--to", f"{today()}")
    assert ended.code == 2
    assert "2025-12-31 is before 2026-01-01, the first day" in ended.err
    ended.assert_no_traceback()


@pytest.fixture(scope="module")
def web_page() -> Iterator[str]:
    """The address of a server that answers everything with a page, as a gateway might."""

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html><body>Welcome</body></html>")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody_listens() -> Iterator[str]:
    """An address that refuses every connection: its port is taken and not listened to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def leaks(haier: Haier, ended: Ended) -> list[str]:
    """Which secrets left a trace, in any form, anywhere a command leaves something."""
    places = {
        "output": ended.output,
        "database": database_as_text(haier.database_url),
        "files": folder_as_text(Path(haier.variables["HAIER_HOME"])),
    }
    secrets = {name: haier.variables[name] for name in CANARIES if name in haier.variables} | {
        "the database's password": DATABASE_PASSWORD
    }
    return [
        f"{name} in {place}"
        for name, secret in secrets.items()
        for place, text in places.items()
        if any(form in text for form in forms(secret))
    ]


def test_a_platform_that_refuses_the_login_is_reported_in_a_sentence_without_any_secret(
    new_haier: Callable[[], Haier],
    platform: SandboxProcess,
    web_page: str,
    nobody_listens: str,
) -> None:
    """Fault matrix, rows 2 and 7, and D: no secret anywhere, in any form."""
    right = new_haier().variables["HAIER_CLIENT_SECRET"]
    cases = {
        "a wrong password": (
            {**CANARIES, "HAIER_CLIENT_SECRET": right},
            "客户密码错误",
        ),
        "a wrong client secret": (CANARIES, "check client_id and client_secret"),
        "an unreachable host": (
            {**CANARIES, "HAIER_BASE_URL": nobody_listens, "HAIER_TOKEN_URL": nobody_listens},
            "the connection was refused, after 4 attempts; check token_url",
        ),
        "a web page": (
            {**CANARIES, "HAIER_BASE_URL": web_page, "HAIER_TOKEN_URL": f"{web_page}/oauth2/auth"},
            "is not JSON",
        ),
    }
    commands = {
        name: new_haier().with_variables(**variables) for name, (variables, _) in cases.items()
    }
    before = {name: catalog(haier.database_url, leaving_out=()) for name, haier in commands.items()}
    ended = together([lambda haier=haier: haier.run("sync") for haier in commands.values()])  # type: ignore[misc]
    for (name, haier), end in zip(commands.items(), ended, strict=True):
        sentence = cases[name][1]
        assert end.code == 1, (name, end.output)
        assert sentence in end.err, name
        end.assert_no_traceback()
        asset, status, message = log(haier.database_url)[-1]
        assert (asset, status) == ("product_listings", "failed"), name
        assert sentence in message, name
        assert catalog(haier.database_url, leaving_out=()) == before[name], name
        assert leaks(haier, end) == [], name


def test_a_sync_that_works_leaves_no_secret_either(first_sync: FirstSync) -> None:
    """Fault matrix, D."""
    assert first_sync.ended.code == 0
    assert leaks(first_sync.haier, first_sync.ended) == []


def test_a_leak_would_be_found(haier: Haier) -> None:
    """The search above finds a secret in a table of Dagster's and in a file, whatever its form."""
    planted = haier.with_variables(**CANARIES)
    basic = b64encode(f"haier:{CANARIES['HAIER_PASSWORD']}".encode()).decode()
    execute(haier.database_url, "INSERT INTO dagster.kvs (key, value) VALUES ('x', %s)", basic)
    home = Path(haier.variables["HAIER_HOME"])
    home.mkdir()
    (home / "trace").write_text(quote_plus(CANARIES["HAIER_CLIENT_SECRET"]))
    leaking = Ended(0, "", f"postgresql://clerk:{DATABASE_PASSWORD}@host", 0)
    assert leaks(planted, leaking) == [
        "HAIER_CLIENT_SECRET in files",
        "HAIER_PASSWORD in database",
        "the database's password in output",
    ]


def test_a_database_that_refuses_the_login_is_reported_without_its_password(haier: Haier) -> None:
    address = haier.database_url
    user = address.partition("://")[2].partition("@")[0]
    with ExitStack() as stack:
        taken = stack.enter_context(socket.socket())
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        cases = {
            # What is wrong, and what the sentence has to name.
            f"postgresql://{user}@127.0.0.1:{port}/x": f"127.0.0.1:{port} cannot be reached",
            address.replace("clerk:", "clerk:wrong-"): "refuses the login of clerk",
            address.replace("/clerk_", "/nosuch_"): "nosuch_",
            f"mysql://{user}@localhost/x": "HAIER_DATABASE_URL says mysql",
            f"postgresql://{user}@localhost:port/x": "HAIER_DATABASE_URL is not a URL",
            f"no url but {DATABASE_PASSWORD}": "HAIER_DATABASE_URL is not a URL",
        }
        ended = together(
            [
                lambda url=url: haier.with_variables(HAIER_DATABASE_URL=url).run("sync", "--json")  # type: ignore[misc]
                for url in cases
            ]
        )
    for (url, sentence), end in zip(cases.items(), ended, strict=True):
        assert end.code in (1, 2), (url, end.output)
        assert sentence in end.err, url
        assert end.json["status"] == "failed", url
        assert "HAIER_DATABASE_URL" in end.err, url
        end.assert_no_traceback()
        for secret in (DATABASE_PASSWORD, f"wrong-{DATABASE_PASSWORD}"):
            assert not any(form in end.output for form in forms(secret)), url


def test_a_home_that_cannot_be_written_is_reported(bare: Haier, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    ended = bare.with_variables(HAIER_HOME=str(tmp_path / "file" / "home")).run("sync", "--json")
    assert ended.code == 1
    assert str(tmp_path / "file") in ended.err
    ended.assert_no_traceback()
    assert ended.json["status"] == "failed"


def test_a_configuration_that_is_not_valid_names_the_fields_and_not_their_values(
    haier: Haier, platform: SandboxProcess
) -> None:
    """Fault matrix, rows 46 and 51."""
    ended = haier.with_variables(
        HAIER_CUSTOMER_CODE="88 not valid",
        HAIER_COUNTY_CODES="110101,99",
        HAIER_BASE_URL="http://169.254.169.254/latest",
    ).run("sync", "--json")
    assert ended.code == 1
    [message] = [entry["message"] for entry in ended.json["runs"][0]["logs"]]
    for field in ("customer_code", "county_codes", "base_url"):
        assert field in message
    for value in ("88 not valid", "110101,99", "169.254"):
        assert value not in ended.output
    ended.assert_no_traceback()
    assert platform.report()["total"] == 0
