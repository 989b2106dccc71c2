"""A real Dagster instance on a real PostgreSQL, and what its runs and ticks need."""

import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.defs_state.base import _current_storage
from sqlalchemy import Engine

from haier_pipeline.catalog import log
from haier_pipeline.catalog.log import Entry
from haier_pipeline.definitions import build_definitions
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.orchestration.assets import ACCOUNT, DERIVED, FETCHED
from haier_pipeline.orchestration.checks import fresh_check
from haier_pipeline.orchestration.events import Steps
from haier_pipeline.orchestration.execute import execute, open_instance
from haier_pipeline.orchestration.reconcile import Reconciler
from haier_pipeline.orchestration.shared import Shared
from haier_pipeline.settings import DEALER_VARIABLES, Settings, read_settings


@pytest.fixture(autouse=True)
def no_instance_of_another_test() -> None:
    """Dagster remembers whose storage was entered last; where instances end in another order than
    they began, that may be one that is gone."""
    _current_storage.set(None)


@pytest.fixture
def variables(
    database_url: str, dealer_variables: dict[str, str], tmp_path: Path
) -> dict[str, str]:
    """The environment of an installation whose dealer ``haier`` talks to the sandbox."""
    by_key = {key: variable for variable, key in DEALER_VARIABLES.items()}
    return {
        "HAIER_DATABASE_URL": database_url,
        "HAIER_HOME": str(tmp_path),
        "HAIER_ALLOWED_HOSTS": "127.0.0.1",
        "HAIER_SECRET_KEY": "NEvMPZuvRkxx7Psn_xU5Kv3PXhKoQUKIyUUzbNsBUXI=",
        **{by_key[key]: value for key, value in dealer_variables.items()},
    }


@pytest.fixture
def settings(variables: dict[str, str]) -> Settings:
    return read_settings(variables)


@pytest.fixture
def instance(
    variables: dict[str, str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """Dagster's production instance in the test's database."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.delenv("DAGSTER_HOME")
    with open_instance(settings.home) as instance:
        yield instance


@pytest.fixture
def shared(settings: Settings) -> Iterator[Shared]:
    shared = Shared(settings)
    yield shared
    shared.installation.close()


@pytest.fixture
def repository(settings: Settings) -> dg.RepositoryDefinition:
    return build_definitions(settings=settings).get_repository_def()


@pytest.fixture
def steps(shared: Shared) -> Steps:
    return Steps.of([*FETCHED, *DERIVED, *ACCOUNT, fresh_check(shared)])


@pytest.fixture
def reconciler(instance: dg.DagsterInstance, engine: Engine, steps: Steps) -> Reconciler:
    return Reconciler(instance, engine, steps)


@pytest.fixture
def rows(engine: Engine) -> Callable[..., dict[str, Entry]]:
    """Reads the log: the rows of a run, or all, by asset; a doubled asset fails the test."""

    def read(run_id: str | None = None) -> dict[str, Entry]:
        entries: list[Any] = log.entries(engine, run_id=run_id, limit=1_000)
        found = {entry.asset_key: entry for entry in entries}
        assert len(found) == len(entries), [entry.asset_key for entry in entries]
        return found

    return read


@pytest.fixture
def tick(instance: dg.DagsterInstance, repository: dg.RepositoryDefinition) -> Callable[..., Any]:
    """Evaluates a sensor or a schedule as its daemon would; returns what it asks for."""

    def evaluate(name: str, cursor: str | None = None, at: datetime | None = None) -> Any:
        if repository.has_sensor_def(name):
            sensor_context = dg.build_sensor_context(
                instance_ref=instance.get_ref(), cursor=cursor, repository_def=repository
            )
            return repository.get_sensor_def(name).evaluate_tick(sensor_context)
        schedule_context = dg.build_schedule_context(
            instance_ref=instance.get_ref(), scheduled_execution_time=at, repository_def=repository
        )
        return repository.get_schedule_def(name).evaluate_tick(schedule_context)

    return evaluate


@pytest.fixture
def run_job(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition
) -> Callable[..., str]:
    """Runs a job over today's partition in this process and returns the run's id."""

    def run(job: str = "sync", **options: Any) -> str:
        run_id = str(uuid.uuid4())
        partition = Partition("haier", today())
        execute(repository.get_job(job), instance, partition, run_id=run_id, **options)
        return run_id

    return run
