"""The definitions beside those of the last snapshot, so that a change of the graph shows in review.

After a change that is meant: ``python -m haier_pipeline_tests.orchestration.test_snapshot``.
"""

import json
from pathlib import Path
from typing import Any

import dagster as dg

from haier_pipeline.definitions import build_definitions, defs

SNAPSHOT = Path(__file__).with_name("snapshot.json")


def snapshot(repository: dg.RepositoryDefinition) -> dict[str, Any]:
    graph = repository.asset_graph
    return {
        "assets": {
            node.key.to_user_string(): {
                "group": node.group_name,
                "depends_on": sorted(key.to_user_string() for key in node.parent_keys),
                "partitions": sorted(node.partitions_def.partition_dimension_names)
                if isinstance(node.partitions_def, dg.MultiPartitionsDefinition)
                else [],
            }
            for node in sorted(graph.asset_nodes, key=lambda node: node.key)
        },
        "checks": {
            f"{key.asset_key.to_user_string()}: {key.name}": "stops the sync"
            if graph.get(key).blocking
            else "does not stop the sync"
            for key in sorted(graph.asset_check_keys)
        },
        "jobs": {
            job.name: sorted(job.graph.node_dict)
            for job in sorted(repository.get_all_jobs(), key=lambda job: job.name)
            if not job.name.startswith("__")
        },
        "schedules": {
            one.name: [one.job_name, one.cron_schedule, one.execution_timezone,
                       one.default_status.value]
            for one in sorted(repository.schedule_defs, key=lambda one: one.name)
        },
        "sensors": {
            one.name: [one.minimum_interval_seconds, one.default_status.value]
            for one in sorted(repository.sensor_defs, key=lambda one: one.name)
        },
    }  # fmt: skip


def written(repository: dg.RepositoryDefinition) -> str:
    return json.dumps(snapshot(repository), indent=2, ensure_ascii=False) + "\n"


def test_the_definitions_are_those_of_the_snapshot() -> None:
    assert written(build_definitions().get_repository_def()) == SNAPSHOT.read_text("utf-8"), (
        "if this is meant, run python -m haier_pipeline_tests.orchestration.test_snapshot"
    )


def test_the_code_location_gives_the_same_as_the_function() -> None:
    assert written(defs().get_repository_def()) == SNAPSHOT.read_text("utf-8")


if __name__ == "__main__":
    SNAPSHOT.write_text(written(build_definitions().get_repository_def()), "utf-8")
