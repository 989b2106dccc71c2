"""Dagster's own tables, in the schema ``dagster`` of the catalog's database.

``dagster.yaml`` names this class, so that the webserver, the daemon, run workers and the command
line all find the same database by the same variables, the embedded one included.
"""

import atexit
import os
from typing import Any, Self

import psycopg
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import make_url

from haier_pipeline.installation import Installation
from haier_pipeline.settings import read_settings

SCHEMA = "dagster"


class CatalogStorage(DagsterPostgresStorage):
    """dagster-postgres on the database that ``HAIER_DATABASE_URL`` names, or the embedded one."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        del config_value
        installation = Installation(read_settings(os.environ))
        # Dagster never closes a storage; the embedded server stops when its last process ends.
        atexit.register(installation.close)
        return cls(storage_url(installation), inst_data=inst_data)


def storage_url(installation: Installation) -> str:
    """The URL of Dagster's schema, which is made here. It may hold a password.

    dagster-postgres needs psycopg2: with psycopg 3 its notification of run events fails.
    """
    url = make_url(installation.database_url("psycopg2"))
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        found = connection.execute("SELECT to_regnamespace(%s)", [SCHEMA]).fetchone()
        if found == (None,):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    inside = url.update_query_dict({"options": f"-csearch_path={SCHEMA}"})
    return inside.render_as_string(hide_password=False)
