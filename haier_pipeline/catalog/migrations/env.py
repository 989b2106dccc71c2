"""How alembic runs a migration here: on the connection that the caller has opened and locked."""

from alembic import context

from haier_pipeline.catalog.database import VERSION_TABLE
from haier_pipeline.catalog.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # Dagster's tables stand in a schema of their own beside ours and are none of our business.
    include_schemas=False,
    version_table=VERSION_TABLE,
    compare_server_default=False,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
