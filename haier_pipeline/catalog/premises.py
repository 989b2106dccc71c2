"""Whether a database can carry the catalog: what an operator's own one may be set to or lack.

Looked at once at start, with one sentence for each thing that is wrong. What only needs another
setting of our own sessions is set in ``database``.
"""

from sqlalchemy import Connection, Engine, text

from haier_pipeline.errors import CatalogError

# The oldest with transaction numbers of 64 bits, which readers' positions are made of.
OLDEST_SERVER = 13

POOLED = (
    "between this program and the database stands a pooler that changes the connection between"
    " transactions or refuses what they need: name the PostgreSQL server itself in"
    " HAIER_DATABASE_URL"
)

_LOOK = """
SELECT current_setting('server_version_num')::int / 10000 AS version,
    current_setting('server_version') AS version_text,
    current_database() AS name, current_user AS role,
    (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database())
        AS encoding,
    pg_is_in_recovery() AS is_standby,
    current_setting('transaction_read_only') = 'on' AS is_read_only,
    current_schema() AS schema
"""


def look_at_server(connection: Connection) -> None:
    """Refuse a database that could not be used.

    Raises:
        CatalogError: its version, encoding or schema is wrong, or it can only be read.
    """
    found = connection.execute(text(_LOOK)).one()
    if found.version < OLDEST_SERVER:
        raise CatalogError(
            f"the server is PostgreSQL {found.version_text}; the catalog needs"
            f" {OLDEST_SERVER} or newer"
        )
    if found.encoding != "UTF8":
        raise CatalogError(
            f"the database {found.name} has the encoding {found.encoding}, the catalog needs UTF8:"
            " make one by CREATE DATABASE haier ENCODING 'UTF8' TEMPLATE template0, and name it in"
            " HAIER_DATABASE_URL"
        )
    if found.is_standby:
        raise CatalogError(
            f"the database {found.name} is a standby that can only be read; name its primary in"
            " HAIER_DATABASE_URL"
        )
    if found.is_read_only:
        raise CatalogError(
            f"the database {found.name} can only be read by {found.role}: set"
            " default_transaction_read_only to off for the database and the role, or name another"
            " one in HAIER_DATABASE_URL"
        )
    if found.schema is None:
        raise CatalogError(
            f"the search_path of {found.role} in {found.name} names no schema that is there: set"
            " it to public, or to a schema for the catalog"
        )


def look_for_pooler(engine: Engine) -> None:
    """Refuse a pooler that serves two connections of ours by one process of the server.

    Locks, settings and transactions would be another connection's. One that keeps a process for
    each of ours does no harm. A pooler is known by greeting with a number of its own in place of
    the process's.

    Raises:
        CatalogError: there is such a pooler.
    """
    own_pid = text("SELECT pg_backend_pid()")
    looking = engine.execution_options(isolation_level="AUTOCOMMIT")
    with looking.connect() as one:
        pid = one.scalar(own_pid)
        driver = one.connection.driver_connection
        if driver is None or driver.info.backend_pid == pid:
            return
        with looking.connect() as other:
            if other.scalar(own_pid) == pid or one.scalar(own_pid) != pid:
                raise CatalogError(POOLED)


def look_at_rights(connection: Connection) -> None:
    """Refuse a role that could not make the tables.

    Raises:
        CatalogError: it may not.
    """
    found = connection.execute(
        text(
            "SELECT current_user AS role, current_database() AS name, current_schema() AS schema,"
            " has_schema_privilege(current_schema(), 'CREATE') AS may_make_tables,"
            " to_regnamespace('dagster') IS NOT NULL"
            " OR has_database_privilege(current_database(), 'CREATE') AS may_make_schema"
        )
    ).one()
    if not found.may_make_tables:
        raise CatalogError(
            f"the role {found.role} may not make tables in the schema {found.schema}: GRANT"
            f" CREATE ON SCHEMA {found.schema} TO {found.role}"
        )
    if not found.may_make_schema:
        raise CatalogError(
            f"the role {found.role} may not make the schema dagster: GRANT CREATE ON DATABASE"
            f" {found.name} TO {found.role}, or CREATE SCHEMA dagster AUTHORIZATION {found.role}"
        )
