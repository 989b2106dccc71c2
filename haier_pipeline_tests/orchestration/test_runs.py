"""Runs of the sync on a real instance: what Dagster is told of them, and how they are run again."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus
from sqlalchemy import Engine, text

from haier_pipeline.catalog.log import Entry
from haier_pipeline.definitions import build_definitions
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.orchestration.execute import execute
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync.fetch import WORKERS

Rows = Callable[..., dict[str, Entry]]
ROOT = Path(__file__).parents[2]


def sync_job() -> dg.JobDefinition:
    """The job as a worker finds it: by the name of this function."""
    return build_definitions().resolve_job_def("sync")


def materializations(
    instance: dg.DagsterInstance, run_id: str
) -> dict[str, dg.AssetMaterialization]:
    found = {}
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
        assert entry.dagster_event is not None
        materialization = entry.dagster_event.step_materialization_data.materialization
        found[materialization.asset_key.to_user_string()] = materialization
    return found


def evaluations(instance: dg.DagsterInstance, run_id: str) -> dict[str, dg.AssetCheckEvaluation]:
    found = {}
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        assert entry.dagster_event is not None
        evaluation = entry.dagster_event.asset_check_evaluation_data
        found[f"{evaluation.asset_key.to_user_string()}: {evaluation.check_name}"] = evaluation
    return found


def test_the_metadata_of_a_sync_show_what_it_counted_and_some_of_it(
    run_job: Callable[..., str], instance: dg.DagsterInstance, rows: Rows
) -> None:
    run_id = run_job()
    found = materializations(instance, run_id)
    assert found.keys() == rows(run_id).keys()
    assert {each.partition for each in found.values()} == {f"{today():%Y-%m-%d}|haier"}
    for asset, entry in rows(run_id).items():
        told = found[asset].metadata
        assert told["message"].value == entry.message
        assert told["success_count"].value == entry.success_count
        assert told["failed_count"].value == 0
    for asset in ("product_listings", "price_quotes", "stock_levels"):
        metadata: dict[str, Any] = dict(found[asset].metadata)
        assert metadata["calls"].value > 0
        assert metadata["rejected_records"].value == 0
        for figure in ("seconds", "calls_per_second"):
            # A number, not a text: Dagster draws it over time.
            assert isinstance(metadata[figure], dg.FloatMetadataValue | dg.IntMetadataValue)
            assert metadata[figure].value >= 0
        assert metadata["dagster/partition_row_count"].value == metadata["records"].value
    preview: Any = found["priced_products"].metadata["preview"]
    assert len(preview.records) == 10
    assert set(preview.records[0].data) >= {"product_code", "brand", "supply_price"}


def test_every_check_of_a_sync_is_evaluated_for_the_partition(
    run_job: Callable[..., str],
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition,
    rows: Rows,
) -> None:
    run_id = run_job()
    found = evaluations(instance, run_id)
    assert {each.passed for each in found.values()} == {True}
    logged = {
        f"{asset}: {check['name']}" for asset, entry in rows(run_id).items()
        for check in entry.checks
    }  # fmt: skip
    specified = {
        f"{key.asset_key.to_user_string()}: {key.name}"
        for key in repository.asset_graph.asset_check_keys
    }
    assert found.keys() == logged == specified - {"products: fresh"}
    assert {each.partition for each in found.values()} == {f"{today():%Y-%m-%d}|haier"}


def test_an_empty_listing_fails_its_check_and_stops_the_run(
    run_job: Callable[..., str],
    instance: dg.DagsterInstance,
    rows: Rows,
    sandbox: SandboxProcess,
    engine: Engine,
) -> None:
    """Row 30."""
    run_job()
    sandbox.fault(interface="listing", kind="shrink", keep=0)
    calls = sandbox.report()["calls"]
    run_id = run_job()
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status == DagsterRunStatus.FAILURE
    assert materializations(instance, run_id) == {}
    check = evaluations(instance, run_id)["product_listings: not_empty"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    [entry] = rows(run_id).values()
    assert (entry.asset_key, entry.status) == ("product_listings", "failed")
    [in_log] = [check for check in entry.checks if check["name"] == "not_empty"]
    assert not in_log["passed"]
    after = sandbox.report()["calls"]
    assert (after["prices"], after["stock"]) == (calls["prices"], calls["stock"])
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM product WHERE is_active")) == 30


def test_a_failed_run_goes_on_from_its_failure_under_the_same_root(
    run_job: Callable[..., str], instance: dg.DagsterInstance, rows: Rows, sandbox: SandboxProcess
) -> None:
    """As an operator does it in the interface, with "re-execute from failure"."""
    sandbox.fault(interface="stock", kind="status", status=403, skip=20)
    failed = run_job()
    assert rows(failed)["stock_levels"].status == "failed"
    assert rows(failed)["price_quotes"].status == "success"
    sandbox.clear_faults()
    before = sandbox.report()
    first = instance.get_run_by_id(failed)
    assert first is not None
    with dg.execute_job(
        dg.reconstructable(sync_job),
        instance,
        tags=dict(first.tags),
        reexecution_options=dg.ReexecutionOptions.from_failure(failed, instance),
    ) as again:
        assert again.success
    run = instance.get_run_by_id(again.run_id)
    assert run is not None
    assert (run.parent_run_id, run.root_run_id) == (failed, failed)
    found = rows(again.run_id)
    assert found.keys() == {
        "stock_levels", "brands", "products", "product_stock", "catalog_changes"
    }  # fmt: skip
    assert {entry.status for entry in found.values()} == {"success"}
    assert found["stock_levels"].attempt == 2
    after = sandbox.report()
    for interface in ("listing", "prices"):
        assert after["calls"][interface] == before["calls"][interface]
    # What was under way when the platform said no; never what had been answered before.
    assert after["repeated"] - before["repeated"] <= WORKERS


def test_a_run_takes_day_and_dealer_from_its_partition_and_not_from_the_clock(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, rows: Rows
) -> None:
    """Row 43: a day that is over cannot be fetched, whatever is asked for in the interface."""
    run_id = str(uuid.uuid4())
    day = today().replace(day=1, month=1)
    failure = execute(repository.get_job("sync"), instance, Partition("haier", day), run_id=run_id)
    assert failure is not None
    [entry] = rows(run_id).values()
    assert (entry.sync_date, entry.dealer, entry.status) == (day, "haier", "failed")
    assert "the platform knows only today" in entry.message


def test_a_checkout_can_be_looked_at_with_dagsters_own_tools(tmp_path: Path) -> None:
    """Without a database and without a variable: nothing is contacted while it loads."""
    tools = Path(sys.executable).parent
    commands = [
        [str(tools / "dg"), "check", "defs"],
        [str(tools / "dg"), "list", "defs", "--json"],
        [str(tools / "dagster"), "definitions", "validate", "-w", "workspace.yaml"],
    ]

    def run(command: list[str]) -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": f"{tools}:{os.defpath}", "HOME": str(tmp_path)}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8",
            timeout=120, check=False,
        )  # fmt: skip

    with ThreadPoolExecutor(2) as pool:
        checked, listed, validated = pool.map(run, commands)
    for done in (checked, listed, validated):
        assert done.returncode == 0, done.stdout + done.stderr
    assert '"product_listings"' in listed.stdout
    assert "validation successful" in (validated.stdout + validated.stderr).lower()
