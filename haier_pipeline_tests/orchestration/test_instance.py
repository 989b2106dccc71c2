"""The instance file: that Dagster takes it whole, without a word of warning."""

import warnings

import dagster as dg

from haier_pipeline.orchestration.execute import open_instance
from haier_pipeline.settings import Settings


def test_the_instance_loads_without_a_warning(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    """A deprecated key would warn here, an unknown one would raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_instance(settings.home) as again:
            assert again.run_retries_enabled
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_runtime_seconds == 4 * 3_600
    assert not instance.run_retries_retry_on_asset_or_op_failure
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled


def test_a_backfill_leaves_places_for_the_syncs_of_the_day(instance: dg.DagsterInstance) -> None:
    queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None
    assert queue.max_concurrent_runs == 8
    limits = {limit["key"]: limit for limit in queue.tag_concurrency_limits}
    assert limits["dagster/backfill"]["limit"] == 2
    assert limits["haier/catalog"]["limit"] == 1


def test_instances_of_one_process_share_their_connections(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    """A code server opens an instance for many a tick; each must not bring its own pool."""
    with open_instance(settings.home) as again:
        assert again.run_storage._engine is instance.run_storage._engine  # type: ignore[attr-defined]
