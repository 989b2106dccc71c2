"""The admin pages' door: login, sessions and their end, forms of other sites, roles, headers."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.routing import Mount

from haier_pipeline.domain.request import SyncRequest
from haier_pipeline.installation import Installation
from haier_pipeline.web.admin.app import build_admin
from haier_pipeline.web.admin.sessions import LIFE_SECONDS, MOST_SESSIONS, Sessions
from haier_pipeline.web.auth import MOST_FAILURES, Caller
from haier_pipeline_tests.web.admin_visitor import ADMIN, Visitor, forms
from haier_pipeline_tests.web.callers import OPERATOR_TOKEN, READER_TOKEN, app_on

OPEN = {"/login", "/static/admin.css"}
ACTS = (
    "/dealers/new",
    "/dealers/{number}",
    "/dealers/{number}/test",
    "/dealers/{number}/enable",
    "/dealers/{number}/disable",
    "/sync",
)


@pytest.fixture
def visitor(app: FastAPI) -> Visitor:
    return Visitor(app)


@pytest.fixture
def olga(app: FastAPI) -> Visitor:
    """An operator who is logged in."""
    return Visitor(app).log_in(OPERATOR_TOKEN)


@pytest.fixture
def rita(app: FastAPI) -> Visitor:
    """A reader who is logged in."""
    return Visitor(app).log_in(READER_TOKEN)


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method and path of the admin pages."""
    mount = next(route for route in app.routes if isinstance(route, Mount))
    assert mount.path == ADMIN
    assert isinstance(mount.app, FastAPI)
    for path, methods in _described(mount.app).items():
        for method in methods:
            yield method.upper(), path


def _described(admin: FastAPI) -> dict[str, Any]:
    from fastapi.openapi.utils import get_openapi

    paths: dict[str, Any] = get_openapi(title="", version="", routes=admin.routes)["paths"]
    return paths


def test_nobody_sees_or_does_anything_without_a_session(app: FastAPI, visitor: Visitor) -> None:
    """Row 49."""
    seen = 0
    for method, path in routes(app):
        target = path.replace("{number}", "1").replace("{name}", "admin.css")
        answer = visitor.client.request(method, ADMIN + target)
        if target in OPEN:
            assert answer.status_code == (200 if method == "GET" else 403), path
            continue
        assert answer.status_code == 303, (method, path)
        assert answer.headers["Location"].startswith(f"{ADMIN}/login"), (method, path)
        assert not answer.text
        seen += 1
    assert seen >= 18


def test_an_unknown_token_is_refused_and_not_repeated(visitor: Visitor) -> None:
    answer = visitor.send("/login", "/login", token="canary-token")

    assert answer.status_code == 401
    assert "This token is not known." in answer.text
    assert "canary" not in answer.text
    assert visitor.get("/").status_code == 303


def test_a_login_leads_where_the_visitor_wanted_to(app: FastAPI, visitor: Visitor) -> None:
    wanted = visitor.get("/log", status="failed").headers["Location"]

    page = visitor.page(wanted.removeprefix(ADMIN))
    (target,) = forms(page)
    answer = visitor.send(
        wanted.removeprefix(ADMIN), target.removeprefix(ADMIN), token=OPERATOR_TOKEN
    )

    assert answer.status_code == 303
    assert answer.headers["Location"] == f"{ADMIN}/log?status=failed"


def test_a_login_never_leads_to_another_site(visitor: Visitor) -> None:
    for place in (
        *(
            "https://evil.example/",
            "//evil.example/",
            "/\\evil.example",
            "evil",
            "/\t/e",
            "/\r\nX:",
        ),
    ):
        visitor.page("/login")
        answer = visitor.client.post(
            f"{ADMIN}/login",
            params={"next": place},
            data={"token": OPERATOR_TOKEN, "csrf": visitor.client.cookies["haier_admin_login"]},
        )
        assert answer.status_code == 303
        assert answer.headers["Location"] == f"{ADMIN}/", place


def test_the_login_form_of_another_site_logs_nobody_in(app: FastAPI) -> None:
    answer = Visitor(app).post("/login", token=OPERATOR_TOKEN, csrf="")
    guessed = Visitor(app).post("/login", token=OPERATOR_TOKEN, csrf="x" * 43)

    for refused in (answer, guessed):
        assert refused.status_code == 403
        assert "set-cookie" not in refused.headers


def test_wrong_tokens_shut_an_address_out(visitor: Visitor) -> None:
    for _ in range(MOST_FAILURES):
        assert visitor.send("/login", "/login", token="wrong").status_code == 401

    answer = visitor.send("/login", "/login", token="wrong")

    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(("base", "secure"), [("http://pages", False), ("https://pages", True)])
def test_the_cookie_is_for_this_site_and_no_script(app: FastAPI, base: str, secure: bool) -> None:
    visitor = Visitor(app, base_url=base)
    answer = visitor.send("/login", "/login", token=OPERATOR_TOKEN)

    cookies = answer.headers.get_list("set-cookie")
    session = next(cookie for cookie in cookies if re.match(r"haier_admin_[0-9a-f]{8}=", cookie))
    flags = {part.strip().lower() for part in session.split(";")[1:]}
    assert flags >= {"httponly", "samesite=strict", "path=/admin", f"max-age={8 * 3600}"}
    assert ("secure" in flags) is secure


def test_two_installations_on_one_host_have_cookies_of_their_own() -> None:
    assert Sessions().cookie != Sessions().cookie


def test_a_session_ends_after_eight_hours(app: FastAPI) -> None:
    now = [0.0]
    admin = build_admin(app.state.services, Sessions(lambda: now[0]))
    pages = FastAPI()
    pages.mount(ADMIN, admin)
    visitor = Visitor(pages).log_in(OPERATOR_TOKEN)

    now[0] = LIFE_SECONDS - 1
    assert visitor.get("/log").status_code == 200
    now[0] = LIFE_SECONDS
    assert visitor.get("/log").status_code == 303
    now[0] = 0.0
    assert visitor.get("/log").status_code == 303


def test_logging_out_ends_the_session_for_whoever_has_its_cookie(
    app: FastAPI, olga: Visitor
) -> None:
    thief = Visitor(app)
    thief.client.cookies.update(olga.client.cookies)
    assert thief.get("/").status_code == 200

    answer = olga.send("/", "/logout")

    assert answer.headers["Location"] == f"{ADMIN}/login"
    assert olga.get("/").status_code == 303
    assert thief.get("/").status_code == 303


def test_the_oldest_session_makes_room() -> None:
    sessions = Sessions()
    numbers = [sessions.open(Caller("olga", "operator")) for _ in range(MOST_SESSIONS + 1)]

    assert sessions.find(numbers[0]) is None
    assert sessions.find(numbers[1]) is not None


def test_the_logins_of_one_caller_end_nobody_elses_session() -> None:
    sessions = Sessions()
    operators = sessions.open(Caller("olga", "operator"))
    readers = [sessions.open(Caller("rita", "reader")) for _ in range(1_000)]

    assert sessions.find(operators) is not None
    assert sum(sessions.find(number) is not None for number in readers) == MOST_SESSIONS


def test_a_form_of_another_site_changes_nothing(
    app: FastAPI, olga: Visitor, rita: Visitor, dealer: Any, launched: list[SyncRequest]
) -> None:
    acts = [path for method, path in routes(app) if method == "POST" and path != "/login"]
    assert set(acts) == {*ACTS, "/logout"}

    for path in acts:
        target = path.replace("{number}", str(dealer["id"]))
        for csrf in ({}, {"csrf": ""}, {"csrf": rita.csrf}, {"csrf": "ü"}):
            answer = olga.post(target, dealer="shop", is_active="on", **csrf)
            assert answer.status_code == 403, (path, csrf)
    assert olga.get("/").status_code == 200
    assert "shop" in olga.page("/dealers")
    assert launched == []


def test_a_reader_looks_and_does_not_act(
    app: FastAPI, rita: Visitor, dealer: Any, launched: list[SyncRequest]
) -> None:
    """Row 49."""
    number = str(dealer["id"])
    for path in ACTS:
        answer = rita.post(path.replace("{number}", number), csrf=rita.csrf, dealer="shop")
        assert answer.status_code == 403, path
    for path in ("/", "/dealers", f"/dealers/{number}", "/log", "/products"):
        page = rita.page(path)
        acting = {target.removeprefix(ADMIN) for target in forms(page)} - {"/logout"}
        assert acting <= {f"/dealers/{number}"}, path
    assert "<fieldset disabled>" in rita.page(f"/dealers/{number}")
    assert launched == []


def test_without_tokens_the_login_page_says_what_to_do(
    new_installation: Callable[..., Installation],
) -> None:
    page = Visitor(app_on(new_installation(api_tokens=()), [])).page("/login")

    assert "haier token create" in page


def test_no_script_may_run_and_nothing_comes_from_elsewhere(
    olga: Visitor, visitor: Visitor
) -> None:
    for who, path in ((visitor, "/login"), (olga, "/"), (olga, "/log"), (olga, "/none")):
        answer = who.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "<script" not in answer.text
        assert " style=" not in answer.text
        for address in re.findall(r'(?:src|href|action)="([^"]*)"', answer.text):
            assert address.startswith(f"{ADMIN}/"), address


def test_what_is_not_there_is_said_on_a_page(olga: Visitor, visitor: Visitor) -> None:
    for path in ("/none", "/log/7", "/log/x", f"/log/{2**63}", "/dealers/7", "/dealers/-1",
                 "/product?dealer=a&code=b", "/static/../app.py"):  # fmt: skip
        answer = olga.get(path)
        assert answer.status_code == 404, path
    assert "<h1>Error 404</h1>" in olga.get("/log/7").text
    assert visitor.get("/static/none").status_code == 404
    assert olga.client.post(f"{ADMIN}/log").status_code == 405
