"""Whether this program can work on the database as it is, for the health route.

What an operator may do about the server's settings is in ``database_findings``.
"""

from sqlalchemy import Engine, text

from haier_pipeline.catalog.database import HEAD, may_use, translated, version
from haier_pipeline.errors import HaierError


def migrations_problem(engine: Engine) -> str | None:
    """Why this program cannot work on the tables as they are, ``None`` where it can.

    Raises:
        CatalogError: the database cannot be asked.
    """
    with translated(engine), engine.connect() as connection:
        found = version(connection)
        # A newer version's tables may be used by this one too.
        if found == HEAD or (found is not None and found > HEAD and may_use(connection, found)):
            return None
    return f"at {found}, {HEAD} is wanted"


def dagster_problem(engine: Engine) -> str | None:
    """Why Dagster's storage cannot be used, ``None`` where it can, or where the first run will make
    it.

    Asked in SQL: importing Dagster costs seconds and 100 MB, which REST has no other use for.
    """
    try:
        with translated(engine), engine.connect() as connection:
            if connection.scalar(text("SELECT to_regclass('dagster.runs')")) is not None:
                connection.execute(text("SELECT 1 FROM dagster.runs LIMIT 1"))
    except HaierError:
        return "its storage cannot be read"
    return None
