"""How alembic runs a migration here: on the connection that the caller has opened and locked."""

from typing import Any

from alembic import context
from sqlalchemy import text

from haier_pipeline.catalog.database import VERSION_TABLE
from haier_pipeline.catalog.tables import metadata

connection = context.config.attributes["connection"]
partitions = set(
    connection.scalars(text("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'"))
)


def is_defined(_: Any, name: str | None, kind: str, *__: Any) -> bool:
    """Partitions come and go with the days; the tables in Python know nothing of them."""
    return not (kind == "table" and name in partitions)


context.configure(
    connection=connection,
    include_object=is_defined,
    target_metadata=metadata,
    # Dagster's tables stand in a schema of their own beside ours and are none of our business.
    include_schemas=False,
    version_table=VERSION_TABLE,
    compare_server_default=False,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
