"""Whether this process lives, and whether it can work."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from haier_pipeline.catalog.views.readiness import dagster_problem, migrations_problem
from haier_pipeline.errors import CatalogError, HaierError
from haier_pipeline.web.services import Services, ServicesHere

router = APIRouter(tags=["health"])

OK = "ok"


class Alive(BaseModel):
    """This process answers."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Whether requests can be served; every part says ``ok`` or what is wrong."""

    status: Literal["ready", "not ready"]
    database: str
    migrations: str
    dagster: str


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Alive:
    """Answers as long as the process does; asks nothing and needs no token."""
    return Alive()


@router.get(
    "/readyz",
    summary="Can it work?",
    responses={503: {"model": Readiness, "description": "Something is missing"}},
)
def readyz(services: ServicesHere, response: Response) -> Readiness:
    """Looks at the database, its migrations and Dagster's storage. Needs no token, so the reasons
    are kept short: the server's log has more."""
    database, migrations = _database(services)
    dagster = "unknown"
    if database == OK:
        dagster = dagster_problem(services.engine) or OK
    ready = database == migrations == dagster == OK
    response.status_code = 200 if ready else 503
    return Readiness(
        status="ready" if ready else "not ready",
        database=database,
        migrations=migrations,
        dagster=dagster,
    )


def _database(services: Services) -> tuple[str, str]:
    try:
        return OK, migrations_problem(services.engine) or OK
    except CatalogError as error:
        return type(error).__name__, "unknown"
    except HaierError:
        return "misconfigured", "unknown"
