"""The commands on a machine where nothing is configured: embedded database, built-in sandbox.

One home serves them all, in their order here: the first sync fills it, ``haier dev`` comes last.
"""

import json
import os
import re
import shutil
import signal
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haier_pipeline.domain.partition import today
from haier_pipeline.settings import TIMETABLE_VARIABLES
from haier_pipeline_tests.cli.commands import Ended, Haier
from haier_pipeline_tests.ports import free_ports


@pytest.fixture(scope="module")
def haier(bare: Haier) -> Iterator[Haier]:
    """The command in a home whose path has spaces and Chinese letters in it."""
    # Not pytest's own folder: nobody but its owner may enter that, and root's server is not root.
    folder = Path(tempfile.mkdtemp(prefix="haier-tests-", dir="/tmp"))
    folder.chmod(0o755)
    yield bare.with_variables(HAIER_HOME=str(folder / "海尔 掌柜 home"))
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def first(haier: Haier) -> Ended:
    return haier.run("sync")


def shell(haier: Haier, query: str) -> str:
    """What psql prints for the query, through ``haier db shell``."""
    ended = haier.run("db", "shell", stdin=f"\\pset tuples_only\n\\pset format unaligned\n{query};")
    assert ended.code == 0, ended.output
    return ended.out.partition("Output format is unaligned.\n")[2].strip()


def processes_of(haier: Haier) -> list[str]:
    """The command lines of every process that runs with this home."""
    mark = f"HAIER_HOME={haier.variables['HAIER_HOME']}\0".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes() and folder.name != str(os.getpid()):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_without_any_configuration_a_sync_says_that_it_uses_the_sandbox_and_works(
    first: Ended,
) -> None:
    assert first.code == 0, first.output
    assert "No dealer is configured: this sync talks to the built-in sandbox." in first.err
    assert "HAIER_CLIENT_ID" in first.err


def test_where_there_is_no_terminal_each_asset_gets_a_line_and_a_table_comes_last(
    first: Ended,
) -> None:
    assert re.search(r"^[\d-]+\|sandbox stock_levels: success, 566 of 566", first.err, re.MULTILINE)
    assert "\x1b" not in first.output
    [row] = [line for line in first.out.splitlines() if "product_listings" in line]
    assert [cell.strip() for cell in row.strip("│").split("│")][:4] == [
        "product_listings",
        "success",
        "300",
        "0",
    ]
    assert not any(line.strip() == "" for line in first.out.splitlines())


@pytest.mark.usefixtures("first")
def test_the_database_can_be_looked_at_without_knowing_where_it_is(haier: Haier) -> None:
    assert shell(haier, "SELECT count(*), count(DISTINCT dealer) FROM product") == "300|1"
    assert haier.run("db", "upgrade").code == 0
    url = haier.run("db", "url")
    assert url.code == 0
    assert re.fullmatch(r"postgresql://haier@/haier\?host=\S+&port=5432\n", url.out)


@pytest.mark.usefixtures("first")
def test_the_log_can_be_filtered_and_read_by_a_program(haier: Haier) -> None:
    answer = haier.run("logs", "--type", "stock", "--status", "success", "--json").json
    [stock, levels] = answer["logs"]
    assert (stock["asset_key"], levels["asset_key"]) == ("product_stock", "stock_levels")
    assert levels["metadata"]["calls"] >= levels["total_count"] == 566
    assert levels["metadata"]["calls_per_second"] > 80
    assert levels["completed_at"] > levels["started_at"]
    assert haier.run("logs", "--dealer", "nobody", "--json").json == {"logs": []}
    shown = haier.run("logs", "--limit", "2")
    assert shown.out.count("成功") == 2


@pytest.mark.usefixtures("first")
def test_ctrl_c_on_a_terminal_with_bars_ends_the_sync_at_once_and_leaves_the_catalog(
    haier: Haier,
) -> None:
    """Fault matrix, row 34, with the database and the sandbox in the same terminal."""
    with haier.on_terminal("sync") as sync:
        sync.wait_until(lambda: "stock_levels" in sync.shown)
        time.sleep(0.3)
        sync.press_ctrl_c()
        ended = sync.ended()
    assert ended.seconds < 5
    assert ended.code == 130, sync.shown
    assert "━" in sync.shown, "a progress bar was drawn"
    assert "\x1b" not in ended.out
    assert "Traceback" not in sync.shown + ended.out
    assert "cancelled; the catalog is as it was" in sync.shown
    # The row of a load ends in the load's own transaction, so nothing it wrote is younger.
    loaded = "SELECT max(completed_at) FROM haier_sync_log WHERE asset_key = 'products'"
    touched = f"SELECT count(*) FROM product WHERE last_sync_at > ({loaded})"  # noqa: S608
    last = f"SELECT ({touched}), asset_key, status, message FROM haier_sync_log"  # noqa: S608
    assert shell(haier, f"{last} ORDER BY id DESC LIMIT 1") == (
        "0|stock_levels|failed|cancelled; the catalog is as it was"
    )
    assert processes_of(haier) == []


def test_the_sandbox_alone_serves_until_ctrl_c(bare: Haier) -> None:
    with bare.started("sandbox", "--port", "0", "--products", "7") as sandbox:
        url = json.loads(sandbox.line())["url"]
        with urllib.request.urlopen(f"{url}/_sandbox/report", timeout=5) as answer:
            assert json.load(answer)["total"] == 0
        sandbox.send(signal.SIGINT)
        ended = sandbox.ended()
    assert ended.code == 0, ended.output
    assert ended.seconds < 3


def test_a_sandbox_with_unknown_faults_is_refused(bare: Haier) -> None:
    ended = bare.run("sandbox", "--faults", '[{"kind": "earthquake"}]')
    assert ended.code == 2
    assert "kind: one of" in ended.err
    ended.assert_no_traceback()


def get(url: str) -> str | None:
    """The page at the address; ``None`` while nobody serves there."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, ConnectionError):
        return None


def graphql(url: str, query: str, **variables: Any) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["data"]


LAUNCH = """
mutation ($run: ExecutionParams!) {
  launchRun(executionParams: $run) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
LOCATIONS = """
{
  workspaceOrError {
    ... on Workspace {
      locationEntries {
        loadStatus
        locationOrLoadError {
          __typename
          ... on RepositoryLocation { name repositories { name } }
          ... on PythonError { message }
        }
      }
    }
  }
}
"""


STATUS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("first")
def test_dev_serves_dagsters_page_runs_what_is_asked_there_and_leaves_no_process(
    haier: Haier,
) -> None:
    port, api_port = free_ports(2)
    url = f"http://127.0.0.1:{port}"
    # No schedule may come between.
    never = dict.fromkeys(TIMETABLE_VARIABLES, "0 0 1 1 *")
    one_county = haier.with_variables(HAIER_COUNTY_CODES="110101", **never)
    with one_county.started("dev", "--port", str(port), "--api-port", str(api_port)) as dev:
        dev.wait_until(lambda: get(f"{url}/server_info") is not None, seconds=90)
        page = get(url)
        assert page is not None
        assert ">Dagster</title>" in page
        [entry] = graphql(url, LOCATIONS)["workspaceOrError"]["locationEntries"]
        assert entry["loadStatus"] == "LOADED"
        location = entry["locationOrLoadError"]
        assert location["__typename"] == "RepositoryLocation", location
        asked = {
            "selector": {
                "repositoryLocationName": location["name"],
                "repositoryName": location["repositories"][0]["name"],
                "jobName": "sync",
            },
            "runConfigData": {},
            "executionMetadata": {
                "tags": [{"key": "dagster/partition", "value": f"{today()}|sandbox"}]
            },
        }
        run_id = graphql(url, LAUNCH, run=asked)["launchRun"]["run"]["runId"]

        def status() -> str:
            answer = graphql(url, STATUS, id=run_id)
            return str(answer["runOrError"]["status"])

        dev.wait_until(lambda: status() in ("SUCCESS", "FAILURE"), seconds=120)
        assert status() == "SUCCESS"
        logs = one_county.run("logs", "--limit", "50", "--json").json["logs"]
        ended_as = {row["asset_key"]: row["status"] for row in logs if row["run_id"] == run_id}
        assert len(ended_as) == 8
        assert set(ended_as.values()) == {"success"}
        dev.send(signal.SIGINT)
        ended = dev.ended()
    assert ended.code == 0, ended.output
    assert ended.seconds < 20
    assert url in ended.err
    end = time.monotonic() + 5
    while left := processes_of(haier):
        assert time.monotonic() < end, left
        time.sleep(0.1)
