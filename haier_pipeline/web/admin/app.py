"""The admin pages put together: login, the other modules' routes, errors as pages.

Only what concerns all pages belongs here.
"""

import logging
import re
from pathlib import Path
from typing import Final
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from haier_pipeline.errors import HaierError
from haier_pipeline.web.admin import dealers, pages
from haier_pipeline.web.admin.rendering import render
from haier_pipeline.web.admin.sessions import (
    CheckedForm,
    LoginForm,
    LoginWanted,
    Session,
    Sessions,
    keep_login_secret,
    log_in,
    log_out,
    login_secret,
    remember,
    session_of,
)
from haier_pipeline.web.guard import OWN_LOGIN
from haier_pipeline.web.models import CONTROLS
from haier_pipeline.web.problems import WebError, of_error
from haier_pipeline.web.services import Services

logger = logging.getLogger(__name__)

_STATIC: Final = Path(__file__).parent / "static"
_INSIDE: Final = re.compile(rf"/(?![/\\])[^\\{CONTROLS}]{{0,2000}}")
_FILES: Final = {"admin.css": "text/css", "icon.svg": "image/svg+xml"}

# The routes that need no session.
_open_router = APIRouter()


def mount_admin(app: FastAPI) -> None:
    """Put the admin pages on the app that ``build_app`` makes, where its guard lets them be."""
    app.mount(OWN_LOGIN, build_admin(app.state.services))


def build_admin(services: Services, sessions: Sessions | None = None) -> FastAPI:
    """The pages as an app of their own."""
    # What the framework redirects to it takes from `Host`, which anybody may send.
    admin = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    admin.state.services = services
    admin.state.sessions = sessions or Sessions()
    _add_handlers(admin)
    admin.include_router(_open_router)
    # Closed by default: all routes of these routers require a session.
    for router in (pages.router, dealers.router):
        admin.include_router(router, dependencies=[Depends(session_of)])
    return admin


@_open_router.get("/static/{name}")
def static(name: str) -> Response:
    """The style sheet and the icon."""
    if name not in _FILES:
        return Response(status_code=404)
    return FileResponse(
        _STATIC / name,
        media_type=_FILES[name],
        headers={"Cache-Control": "public, max-age=3600"},
    )


@_open_router.get("/login")
def show_login(request: Request) -> HTMLResponse:
    """The form; its secret ties it to this browser."""
    return _login_page(request)


@_open_router.post("/login")
def login(request: Request, form: LoginForm) -> Response:
    """Begin a session and go where the visitor wanted to."""
    number = log_in(request, form.get("token", ""))
    if number is None:
        return _login_page(request, wrong=True)
    response = RedirectResponse(_inside(request), status_code=303)
    remember(request, response, number)
    return response


@_open_router.post("/logout")
def logout(request: Request, _: CheckedForm) -> Response:
    """End the session."""
    response = RedirectResponse(request.scope["root_path"] + "/login", status_code=303)
    log_out(request, response)
    return response


def _login_page(request: Request, *, wrong: bool = False) -> HTMLResponse:
    secret = login_secret(request)
    response = render(
        request,
        "login.html",
        session=None,
        status=401 if wrong else 200,
        wrong=wrong,
        secret=secret,
        has_tokens=len(request.app.state.services.tokens) > 0,
    )
    keep_login_secret(request, response, secret)
    return response


def _inside(request: Request) -> str:
    """Where to go after the login: a page of ours, never another site's."""
    root = str(request.scope["root_path"])
    wanted = request.query_params.get("next", "")
    # A path behind the root only; forms that a browser could read as another host are refused.
    is_ours = _INSIDE.fullmatch(wanted) is not None
    return root + (wanted if is_ours else "/")


def _add_handlers(admin: FastAPI) -> None:
    @admin.exception_handler(LoginWanted)
    async def wanted(request: Request, error: LoginWanted) -> Response:
        del error
        root = request.scope["root_path"]
        path = request.url.path.removeprefix(root)
        if request.method not in ("GET", "HEAD") or path == "/":
            return RedirectResponse(f"{root}/login", status_code=303)
        back = f"{path}?{request.url.query}" if request.url.query else path
        return RedirectResponse(f"{root}/login?next={quote(back)}", status_code=303)

    @admin.exception_handler(HaierError)
    async def ours(request: Request, error: HaierError) -> Response:
        status = of_error(error).status_code
        if status >= 500:
            logger.warning("%s: %s", type(error).__name__, error)
        return _error_page(request, status, str(error))

    @admin.exception_handler(WebError)
    async def of_route(request: Request, error: WebError) -> Response:
        return _error_page(request, error.status, error.detail, dict(error.headers or {}))

    @admin.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # Only the numbers in addresses are read by the framework.
        del error
        return _error_page(request, 404, "there is nothing here")

    @admin.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return _error_page(request, error.status_code, str(error.detail))

    @admin.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        del error
        return _error_page(request, 500, "an unexpected error; the server's log has more")


def _error_page(
    request: Request, status: int, detail: str, headers: dict[str, str] | None = None
) -> HTMLResponse:
    session: Session | None
    try:
        session = session_of(request)
    except LoginWanted:
        session = None
    response = render(
        request, "error.html", session=session, status=status, code=status, detail=detail
    )
    response.headers.update(headers or {})
    return response
