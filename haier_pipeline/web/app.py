"""The web application: REST under ``/api/haier/``, admin pages, health, metrics, documentation.

Only putting together belongs here; the routes are beside this module.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from haier_pipeline.installation import Installation
from haier_pipeline.web import catalog, configs, docs, health, live, logs, metrics, problems, syncs
from haier_pipeline.web.admin.app import mount_admin
from haier_pipeline.web.auth import Tokens
from haier_pipeline.web.guard import REST, Guard
from haier_pipeline.web.parameters import only_known
from haier_pipeline.web.services import Launch, Services

DESCRIPTION = """
Reads a Haier dealer's catalog, asks the platform for live prices and stock, keeps the dealers'
configurations and starts syncs.

* **Tokens.** Every route but `/healthz` and `/readyz` wants `Authorization: Bearer <token>`. A
  `reader` may read and ask live; everything that changes something wants an `operator`.
* **Amounts** are strings with the exact decimal (`"2999.00"`): a JSON number would become a float
  in many readers. Times are ISO 8601 with their offset.
* **Errors** are `application/problem+json` (RFC 9457): `detail` is a sentence for a person,
  `errors` names every parameter or field at fault.
* **Pages.** A list answers at most 200 rows. Where there are more, `next` holds what to send as
  `before` (log) or `after` (catalog, dealers) for the next page.
* **`dealer`** picks the dealer; left out, the only active one.
"""


def build_app(installation: Installation, *, launch: Launch) -> FastAPI:
    """The app over an installation, which stays the caller's to close.

    ``launch`` starts a sync. Nothing is contacted before the first request.

    Raises:
        InvalidInput: an entry of ``HAIER_API_TOKENS`` is malformed.
    """
    settings = installation.settings
    services = Services(installation, tokens=Tokens(settings.api_tokens), launch=launch)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        services.close()

    # From the outside in: a preflight request carries no token, so CORS stands before the guard.
    middleware = [Middleware(Guard, tokens=services.tokens, failures=services.failures)]
    if settings.cors_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-None-Match"],
            expose_headers=["ETag", "Retry-After"],
        )
        middleware.insert(0, cors)
    app = FastAPI(
        title="Haier pipeline",
        version=version("haier-pipeline"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        # The guard does it; the framework would redirect to whatever `Host` says.
        redirect_slashes=False,
        middleware=middleware,
        lifespan=lifespan,
    )
    app.state.services = services
    problems.add_handlers(app)
    app.include_router(health.router)
    app.include_router(metrics.router, dependencies=[Depends(only_known)])
    app.include_router(docs.router)
    for router in (catalog.router, logs.router, live.router, configs.router, syncs.router):
        app.include_router(router, prefix=REST, dependencies=[Depends(only_known)])
    docs.complete_description(app)
    mount_admin(app)
    return app
