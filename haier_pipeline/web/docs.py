"""The OpenAPI description made complete, and Swagger UI over it without any foreign host."""

from importlib.resources import files
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse, Response

from haier_pipeline.web.guard import DOCS, OPEN, OWN_LOGIN
from haier_pipeline.web.problems import ProblemResponse

router = APIRouter(include_in_schema=False)

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Haier pipeline: REST</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START: Final = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout", persistAuthorization: false,
});
"""
_ASSETS: Final = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
}


@router.get("/")
async def root() -> Response:
    """Who opens the address itself wants the pages."""
    # Relative: `Host` is whatever was sent.
    return Response(status_code=307, headers={"Location": OWN_LOGIN.removeprefix("/") + "/"})


@router.get(DOCS)
async def page() -> HTMLResponse:
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


@router.get(f"{DOCS}/start.js")
async def start() -> Response:
    return Response(_START, media_type="text/javascript")


@router.get(f"{DOCS}/{{name}}")
def asset(name: str) -> Response:
    """The files of Swagger UI, which the package fastapi-offline brings along."""
    if name not in _ASSETS:
        return Response(status_code=404)
    content = (files("fastapi_offline") / "static" / name).read_bytes()
    return Response(
        content, media_type=_ASSETS[name], headers={"Cache-Control": "private, max-age=86400"}
    )


def complete_description(app: FastAPI) -> None:
    """Add to the description what the framework does not know: the token, problem answers."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            schema["components"]["securitySchemes"] = {
                "token": {"type": "http", "scheme": "bearer", "description": "An API token."}
            }
            for path, methods in schema["paths"].items():
                for operation in methods.values():
                    operation["security"] = [] if path in OPEN else [{"token": []}]
                    _file_problems(operation)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign] # the framework's own way to extend it


def _file_problems(operation: dict[str, Any]) -> None:
    """Put the model of every problem under its own media type, and only there."""
    for answer in operation["responses"].values():
        content = answer.get("content", {})
        model = content.get("application/json", {}).get("schema", {}).get("$ref", "")
        if ProblemResponse.media_type in content and model.endswith("/Problem"):
            content[ProblemResponse.media_type] = content.pop("application/json")
