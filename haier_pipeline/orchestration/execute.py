"""Runs of this process: what the command line starts, seen in Dagster's interface like any other.

Only starting and waiting belongs here; what a run did is read from the sync log.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef

import haier_pipeline
from haier_pipeline.domain.partition import Partition
from haier_pipeline.domain.request import SyncRequest
from haier_pipeline.errors import CatalogError, InvalidInput
from haier_pipeline.orchestration.partitions import FIRST_DATE, dealers
from haier_pipeline.orchestration.resources import ROOT_RUN_TAG
from haier_pipeline.orchestration.storage import CatalogStorage
from haier_pipeline.server.files import private_folder, private_home, write_whole

# What Dagster reads: the instance, and where the definitions are.
INSTANCE_FILES = ("dagster.yaml", "workspace.yaml")

TAGS = {
    # Nobody but this process knows how to start such a run: the daemon must not try it again.
    "dagster/max_retries": "0",
    # Else the run would not be listed under its job. The location's name is workspace.yaml's.
    ".dagster/repository": "__repository__@haier_pipeline",
}

# A run of this process has the operator's terminal. Dagster would send what is written there into
# files: bars would stand still, and the helpers that copy it back answer Ctrl-C with tracebacks.
UNCAPTURED = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}


def dagster_home(home: Path) -> Path:
    """Dagster's folder in ``home``, with the instance files of this version in it.

    Raises:
        CatalogError: the folder cannot be written or is not ours.
    """
    folder = private_folder(private_home(home) / "dagster")
    try:
        if (folder / "dagster.yaml").is_file() and (folder / "dagster.yaml").stat().st_size:
            require_ours(folder, "HAIER_HOME")
        # In a checkout the files stand at the top, in an installed package beside the code.
        package = Path(haier_pipeline.__file__).parent
        for name in INSTANCE_FILES:
            source = next(p for p in (package.parent, package) if (p / name).is_file())
            # Dagster may be reading it this moment, and takes an empty one for "SQLite".
            write_whole(folder / name, (source / name).read_bytes())
    except OSError as error:
        raise CatalogError(
            f"{folder} cannot be written: {error.strerror}; check HAIER_HOME"
        ) from error
    return folder


def require_ours(folder: Path, variable: str = "DAGSTER_HOME") -> None:
    """Refuse the instance of another project, in whose tables our runs would end up.

    Raises:
        InvalidInput: it is none of ours; the message names the folder.
    """
    if not folder.is_absolute():
        raise InvalidInput(f"{variable}: {folder} is relative; write the whole path")
    try:
        text = (folder / "dagster.yaml").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise InvalidInput(
            f"{variable}: {folder} holds no dagster.yaml that can be read; unset it, or copy this "
            "project's dagster.yaml and workspace.yaml there"
        ) from None
    if CatalogStorage.__name__ not in text:
        raise InvalidInput(
            f"{variable}: {folder} is another project's: its dagster.yaml does not name "
            f"{CatalogStorage.__name__} as storage; unset it, or name a folder of this project's"
        )


@contextmanager
def open_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance: that of ``DAGSTER_HOME`` where it is set, else the one in ``home``.

    Raises:
        InvalidInput: ``DAGSTER_HOME`` is no folder, or another project's instance.
        CatalogError: the folder in ``home`` cannot be used.
    """
    if not os.environ.get("DAGSTER_HOME"):
        os.environ["DAGSTER_HOME"] = str(dagster_home(home))
    folder = os.environ["DAGSTER_HOME"]
    require_ours(Path(folder))
    try:
        ref = InstanceRef.from_dir(folder, overrides=UNCAPTURED)
    except (dg.DagsterInvariantViolationError, dg.DagsterInvalidConfigError) as error:
        raise InvalidInput(
            f"{folder}/dagster.yaml is not one that Dagster takes; copy this version's"
        ) from error
    with dg.DagsterInstance.from_ref(ref) as instance:
        yield instance


def execute(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    partition: Partition,
    *,
    run_id: str,
    root_run_id: str | None = None,
    request: SyncRequest | None = None,
) -> str | None:
    """Run the job over the partition in this process; return why it failed, if it did.

    A ``request`` restricts it to what it asks for. Dagster prints nothing: what
    became of the run stands in the sync log.

    Raises:
        InvalidInput: the date is before the first partition.
    """
    if f"{partition.sync_date:%Y-%m-%d}" < FIRST_DATE:
        raise InvalidInput(f"{partition.sync_date:%Y-%m-%d} is before {FIRST_DATE}, the first day")
    instance.add_dynamic_partitions(str(dealers.name), [partition.dealer])
    # Half a million objects have been imported by now and stay to the end. Whenever the collector
    # looked through them, all calls would stand still for 0.2 s.
    gc.freeze()
    config = {} if request is None else request.asset_config
    result = job.execute_in_process(
        instance=instance,
        partition_key=partition.key,
        run_id=run_id,
        asset_selection=None if request is None else [dg.AssetKey(name) for name in request.assets],
        run_config={
            "ops": {asset: {"config": values} for asset, values in config.items()},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        tags=TAGS | ({} if root_run_id is None else {ROOT_RUN_TAG: root_run_id}),
        raise_on_error=False,
    )
    if result.success:
        return None
    failures = [event.event_specific_data for event in result.all_events if event.is_failure]
    for error in (getattr(data, "error", None) for data in failures):
        if error is not None:
            line = str((error.cause or error).message).strip().splitlines()[0]
            # Without the name of the class that carried it here.
            return line.removeprefix("dagster._core.definitions.events.Failure: ")
    return "the run failed"
