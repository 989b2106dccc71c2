"""Dagster's own tables, in the schema ``dagster`` of the catalog's database.

``dagster.yaml`` names this class, so that the webserver, the daemon, run workers and the command
line all find the same database by the same variables, the embedded one included.
"""

import atexit
import os
from functools import cache
from pathlib import Path
from typing import Any, Self

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import Connection, Engine, create_engine, make_url, text

from haier_pipeline.catalog.database import SESSION, open_engine, transaction
from haier_pipeline.catalog.premises import look_at_rights, look_at_server
from haier_pipeline.installation import Installation
from haier_pipeline.settings import Settings, read_settings

SCHEMA = "dagster"

# Dagster's sessions are like our own, but for what not every server knows.
_SESSION = " ".join(
    f"-c{name}={value.replace(' ', chr(92) + ' ')}"
    for name, value in {"search_path": SCHEMA, **SESSION}.items()
    if name not in ("transaction_timeout", "idle_session_timeout")
)


class CatalogStorage(DagsterPostgresStorage):
    """dagster-postgres on the database that ``HAIER_DATABASE_URL`` names, or the embedded one."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        del config_value
        storage = cls(_url_of_the_environment(), inst_data=inst_data)
        storage._keep_connections()
        return storage

    def _keep_connections(self) -> None:
        """Let the three storages share a pool.

        dagster-postgres connects anew for every statement but in its webserver: more than 200
        times in a sync, which is half a second here and several over TLS.
        """
        engine = _pool(self.postgres_url)
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            # No setting leads there; the webserver's own way lets a restart through as an error.
            storage._engine = engine  # noqa: SLF001


def _url_of_the_environment() -> str:
    settings = read_settings(os.environ)
    return _url(settings.home, settings.database_url)


@cache
def _url(home: Path, database_url: str | None) -> str:
    """Dagster's URL; the embedded server runs until this process ends.

    Kept, since a code server opens an instance for many a tick, and Dagster never closes a storage.
    """
    installation = Installation(Settings(home, database_url))
    atexit.register(installation.close)
    return storage_url(installation)


@cache
def _pool(url: str) -> Engine:
    """One pool for all instances of this process."""
    engine = create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=1,
        max_overflow=20,
        # A server that was restarted is met with a new connection, as without a pool.
        pool_pre_ping=True,
    )
    atexit.register(engine.dispose)
    return engine


def storage_url(installation: Installation) -> str:
    """The URL of Dagster's schema, which is made here. It may hold a password.

    dagster-postgres needs psycopg2: with psycopg 3 its notification of run events fails.
    """
    url = make_url(installation.database_url("psycopg2"))
    engine = open_engine(installation.database_url())

    def work(connection: Connection) -> None:
        look_at_server(connection)
        exists = connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA})
        if exists is None:
            # Webserver, daemon and code server meet here at their first start, and IF NOT EXISTS
            # alone lets one of them fail.
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('haier dagster'))"))
            look_at_rights(connection)
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))

    transaction(engine, work)
    engine.dispose()
    inside = url.update_query_dict({"options": _SESSION, "client_encoding": "UTF8"})
    return inside.render_as_string(hide_password=False)
