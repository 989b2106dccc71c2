"""What assets are given: the Haier API resource, from which they open their sync.

It holds configuration only; the client, the catalog and the sync are plain objects behind it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from haier_pipeline.domain.partition import Partition
from haier_pipeline.installation import SANDBOX_PRODUCTS, Installation
from haier_pipeline.settings import read_settings
from haier_pipeline.sync.run import Progress, SyncRun

# Names the run whose answers a new run goes on with, where Dagster itself knows no such chain.
ROOT_RUN_TAG = "haier/root_run_id"


class HaierApi:
    """Opens the sync over a step's partition; all steps of a Dagster run share it."""

    def __init__(self, installation: Installation, progress: Progress | None = None) -> None:
        self._installation = installation
        self._progress = progress
        self._runs: dict[str, SyncRun] = {}

    def run(self, context: dg.AssetExecutionContext) -> SyncRun:
        """The sync of this Dagster run, with its lock, its token and its connections."""
        run = context.run
        if run.run_id not in self._runs:
            self._runs[run.run_id] = self._installation.open_run(
                Partition.from_key(context.partition_key),
                run_id=run.run_id,
                root_run_id=run.tags.get(ROOT_RUN_TAG) or run.root_run_id,
                progress=self._progress,
            )
        return self._runs[run.run_id]

    @property
    def cancelled(self) -> bool:
        """Somebody ended one of the runs, which Dagster itself only calls a failure."""
        return any(run.cancelled for run in self._runs.values())

    def close(self) -> None:
        """End the syncs; each gives its partition free."""
        for run in self._runs.values():
            run.close()


class HaierApiResource(dg.ConfigurableResource[HaierApi]):
    """Haier's dealer open platform, called as the dealer of the partition.

    The dealer's `HaierConfig` comes from the table `haier_config` or from the variables
    `HAIER_CLIENT_ID` and so on; where there is neither, the built-in sandbox answers.
    """

    sandbox_products: int = SANDBOX_PRODUCTS

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[HaierApi]:
        del context
        settings = read_settings(os.environ)
        with Installation(settings, sandbox_products=self.sandbox_products) as installation:
            api = HaierApi(installation)
            try:
                yield api
            finally:
                api.close()
