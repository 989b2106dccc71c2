"""Every parameter of every route and page, field of a form and body, with what nobody expects.

The places are taken from the app itself, so a new route is tried without a word here. What is tried
at each place is a small fixed choice of the values below; ``HAIER_FUZZ`` is the seed of another.
"""

import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from haier_pipeline.web import admin
from haier_pipeline.web.admin import app as admin_app
from haier_pipeline.web.admin import dealers, pages
from haier_pipeline.web.guard import MOST_BODY_BYTES, REST
from haier_pipeline_tests.web.admin_visitor import ADMIN, Visitor
from haier_pipeline_tests.web.callers import API, OPERATOR_TOKEN, caller

SEED = os.environ.get("HAIER_FUZZ", "1")
VALUES_OF_A_PLACE = 5
CANARY = "canary-7f3a"
# A page has tabs and line ends of its own.
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

VALUES = (
    *("", " ", "0", "-1", "1e400", "nan", "9" * 400, "٣", "0x10", "null", "true"),
    *("\0", "\x1b]0;x\x07", "\x9b31m", "\u202eevil", "\u2066", "\u2028", "a\r\nSet-Cookie: x=1"),
    *("%", "%s", "{0}", "{{7*7}}", "\\", "'", "' OR 1=1 --", '"><script>', "../../etc/passwd"),
    *("//[x", "//evil.example", "/\\evil.example", "https://evil.example", "javascript:x", "[x"),
    *(
        '["\\ud800", "a", "b"]',
        '["a", "b", "\\udfff"]',
        "[" * 20_000,
        "[[[]]]",
        '{"a": 1}',
        "[1,2,3]",
    ),
    *("2026-02-30", "9999-12-31", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    *("infinity", "海尔", "\U0001f9ca" * 50, "a" * 5_000, "A," * 200, ",", CANARY),
)
# As they may stand in an address without being text at all.
RAW = ("%ff", "%ed%a0%80", "%c0%80", "%00", "%0d%0aX-A:%20b", "%", "%2", "%u0041", "%e2%80%ae")

BODIES = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'"x"',
    b"{}",
    b"[" * 100_000,
    b'{"config": ' * 20_000,
    b'{"name": "\\ud800", "dealer": "\\ud800", "config": {"client_id": "\\udfff"}}',
    b'{"name": "a\\u202eb", "dealer": "a\\u009bb", "config": {}}',
    b'{"\\ud800": 1}',
    b'{"canary-7f3a \\u001b": 1}',
    b'{"name": NaN, "is_active": Infinity, "dealer": 1e999}',
    b'{"name": ' + b"9" * 5_000 + b"}",
    '{"name": "海尔"}'.encode("utf-16"),
    '{"name": "海尔"}'.encode("gbk"),
    b'\xef\xbb\xbf{"name": "a"}',
    b"\xff\xfe",
)


def chosen(place: str, values: tuple[Any, ...]) -> list[Any]:
    # Not a secret: the same choice each time.
    return random.Random(f"{SEED} {place}").sample(values, VALUES_OF_A_PLACE)


def operations(app: FastAPI) -> Iterator[tuple[str, str, list[str]]]:
    """Every method and path of REST with the names of its query parameters."""
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            names = [
                each["name"] for each in operation.get("parameters", []) if each["in"] == "query"
            ]
            yield method.upper(), path, names


def of_pages() -> Iterator[tuple[str, str]]:
    """Every method and path of the pages."""
    for router in (admin_app._open_router, dealers.router, pages.router):
        for route in router.routes:
            assert isinstance(route, APIRoute)
            for method in route.methods or ():
                yield method, route.path


def page_parameters() -> set[str]:
    """What the pages ask for, as their sources say it."""
    sources = "".join(
        source.read_text("utf-8") for source in Path(admin.__file__).parent.glob("*.py")
    )
    asked = re.findall(r'(?:asked|Asked\(request\))\.\w+\(\s*"(\w+)"', sources)
    return {*asked, *re.findall(r'query_params\.get\("(\w+)"', sources)}


@pytest.fixture
def operator(app: FastAPI) -> Iterator[TestClient]:
    """An operator who sees a 500 as one, and waits for nobody's platform."""
    with caller(app, OPERATOR_TOKEN, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def admin_visitor(app: FastAPI) -> Visitor:
    return Visitor(app, raise_server_exceptions=False).log_in(OPERATOR_TOKEN)


def is_an_answer(answer: Any, *, may_fail: bool = False) -> bool:
    """Whether somebody expected it; the platform and a dealer's stored configuration may fail."""
    return answer.status_code < 500 or (may_fail and answer.status_code in (502, 503, 504))


def test_every_query_parameter_of_rest(app: FastAPI, operator: TestClient, dealer: Any) -> None:
    places = 0
    for method, path, names in operations(app):
        target = path.replace("{id}", str(dealer["id"]))
        for name in names:
            places += 1
            given = [f"{name}={quote(value)}" for value in chosen(path + name, VALUES)]
            given += [f"{name}={value}" for value in chosen(path + name, RAW)]
            for query in given:
                answer = operator.request(method, f"{target}?{query[:30_000]}")
                assert is_an_answer(answer, may_fail=True), (method, target, query, answer.text)
    assert places > 25


def test_every_path_parameter(app: FastAPI, operator: TestClient, admin_visitor: Visitor) -> None:
    templates = [(operator, method, path) for method, path, _ in operations(app)]
    templates += [(admin_visitor.client, method, ADMIN + path) for method, path in of_pages()]
    tried = 0
    for client, method, template in templates:
        if "{" not in template:
            continue
        for value in (*map(quote, chosen(template, VALUES)), *chosen(template, RAW)):
            tried += 1
            target = re.sub(r"\{\w+\}", value[:5_000].replace("\\", "/"), template)
            answer = client.request(method, target)
            assert is_an_answer(answer), (method, target, answer.text[:200])
    assert tried > 100


def test_every_parameter_of_every_page(app: FastAPI, admin_visitor: Visitor) -> None:
    names = page_parameters()
    assert names >= {"dealer", "after", "day", "lang", "next", "run_id"}
    for method, path in of_pages():
        if method != "GET" or "{" in path:
            continue
        for name in names:
            given = [f"{name}={quote(value)}" for value in chosen(path + name, VALUES)]
            given += [f"{name}={value}" for value in chosen(path + name, RAW)[:2]]
            for query in given:
                answer = admin_visitor.client.get(f"{ADMIN}{path}?{query[:30_000]}")
                assert is_an_answer(answer), (path, query, answer.status_code)
                assert not CONTROLS.search(answer.text), (path, query)


def test_every_field_of_every_form(app: FastAPI, admin_visitor: Visitor, dealer: Any) -> None:
    sent = admin_visitor.page(f"/dealers/{dealer['id']}")
    names = {*re.findall(r'name="(\w+)"', sent), "key", "dealer", "token"} - {"csrf"}
    csrf = admin_visitor.csrf
    for method, path in of_pages():
        if method != "POST" or path == "/logout":
            continue
        target = f"{ADMIN}{path}".replace("{number}", str(dealer["id"]))
        for name in names:
            for value in chosen(path + name, VALUES)[:2]:
                fields = urlencode({"csrf": csrf, name: value})
                answer = admin_visitor.client.post(
                    target,
                    content=fields,
                    headers={"Content-Type": "application/x-www-form-urlencoded"},
                )
                assert is_an_answer(answer), (path, name, value)
        for value in RAW:
            answer = admin_visitor.client.post(
                target,
                content=f"csrf={csrf}&name={value}&{value}",
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            )
            assert is_an_answer(answer), (path, value)


def test_every_body(app: FastAPI, operator: TestClient, dealer: Any) -> None:
    headers = {"Content-Type": "application/json"}
    for method, path, _ in operations(app):
        if method in ("GET", "DELETE"):
            continue
        target = path.replace("{id}", str(dealer["id"]))
        for body in BODIES:
            assert len(body) < MOST_BODY_BYTES
            answer = operator.request(method, target, content=body, headers=headers)
            assert is_an_answer(answer, may_fail=True), (method, target, body[:50])
            assert CANARY not in answer.text


@pytest.mark.parametrize(
    "next_", ["//[x", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nX: y"]
)
def test_the_login_leads_to_no_other_site(app: FastAPI, next_: str) -> None:
    visitor = Visitor(app, raise_server_exceptions=False)
    page = f"/login?{urlencode({'next': next_})}"
    fields = {"csrf": re.findall(r'name="csrf" value="([^"]+)"', visitor.page(page))[0]}

    answer = visitor.client.post(ADMIN + page, data={**fields, "token": OPERATOR_TOKEN})

    assert (answer.status_code, answer.headers["Location"]) == (303, f"{ADMIN}/")


def test_no_redirect_leads_where_the_host_header_says(
    admin_visitor: Visitor, operator: TestClient
) -> None:
    for client in (admin_visitor.client, operator):
        for path in ("/", ADMIN, f"{ADMIN}/dealers/", f"{API}/logs", "/docs", "/healthz/"):
            answer = client.get(path, headers={"Host": "evil.example"}, follow_redirects=False)
            assert "evil.example" not in answer.headers.get("Location", "")
    assert operator.get(f"{API}/logs").status_code == 200
    assert admin_visitor.client.get(f"{ADMIN}/dealers/").status_code == 200


def test_a_websocket_is_closed_before_it_opens(app: FastAPI) -> None:
    for path in (f"{ADMIN}/", f"{API}/logs/", "/", "/docs"):
        with pytest.raises(WebSocketDisconnect), caller(app).websocket_connect(path):
            pass


def test_an_unknown_parameter_is_refused_everywhere(
    app: FastAPI, operator: TestClient, dealer: Any, launched: list[Any]
) -> None:
    for method, path, _ in operations(app):
        if not path.startswith(REST) and path != "/metrics":
            continue
        target = path.replace("{id}", str(dealer["id"]))
        answer = operator.request(method, f"{target}?limti=1", json={} if method != "GET" else None)
        assert answer.status_code == 422, (method, path)
        assert {"field": "limti", "problem": "is no parameter of this route"} in answer.json()[
            "errors"
        ], (method, path)
    assert launched == []
    twice = operator.get(f"{API}/logs/?limit=1&limit=2")
    assert (twice.status_code, twice.json()["errors"][0]["field"]) == (422, "limit")


def test_a_422_repeats_no_value_that_was_sent(
    app: FastAPI, operator: TestClient, dealer: Any
) -> None:
    seen = 0
    for method, path, names in operations(app):
        target = path.replace("{id}", str(dealer["id"]))
        for name in (*names, f"{CANARY} in a name"):
            for value in (CANARY, f"{CANARY}\x1b", f"2026-{CANARY}"):
                answer = operator.request(method, f"{target}?{urlencode({name: value})}")
                if answer.status_code == 422:
                    seen += 1
                    assert CANARY not in answer.text, (method, path, name)
    for body in (
        {"name": [CANARY], "config": CANARY, "is_active": CANARY},
        {"name": f"{CANARY}|", "config": {"client_id": CANARY, "base_url": f"ftp://{CANARY}"}},
        {"dealer": CANARY},
        {"prices": CANARY, "product_codes": [f"{CANARY}\x9b"], "county_codes": [CANARY]},
        {f"{CANARY} {CANARY}": CANARY},
    ):
        for path in ("config/", "sync/"):
            answer = operator.post(f"{API}/{path}", content=json.dumps(body).encode(),
                                   headers={"Content-Type": "application/json"})  # fmt: skip
            assert answer.status_code == 422, (path, body)
            assert CANARY not in answer.text, (path, body)
    assert seen > 50


ENCODINGS = ("punycode", "idna", "undefined", "utf-7", "unicode_escape", "utf-16", "gbk", "latin-1")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_nobody_chooses_the_decoder(app: FastAPI, operator: TestClient, encoding: str) -> None:
    stranger = caller(app, raise_server_exceptions=False)
    parts = b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\n' + b"a" * 200_000
    for content_type, body in (
        (f"multipart/form-data; boundary=x; charset={encoding}", parts + b"\r\n--x--\r\n"),
        (f"application/x-www-form-urlencoded; charset={encoding}", b"token=a"),
        (f"text/plain; charset={encoding}", b"token=a"),
        (f'application/x-www-form-urlencoded; charset="{encoding}"', b"token=a"),
    ):
        answer = stranger.post(
            f"{ADMIN}/login", content=body, headers={"Content-Type": content_type}
        )
        assert answer.status_code == 415, content_type
    for content_type in (f"application/json; charset={encoding}", "text/json", "application/xml"):
        answer = operator.post(
            f"{API}/sync/", content=b"{}", headers={"Content-Type": content_type}
        )
        assert answer.status_code == 415, content_type
    # What our own pages and everybody's clients send.
    for content_type in (
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
    ):
        answer = operator.post(
            f"{API}/config/", content=b"{}", headers={"Content-Type": content_type}
        )
        assert answer.status_code == 422, content_type


def test_a_form_is_bounded_before_it_is_read(app: FastAPI) -> None:
    stranger = caller(app, raise_server_exceptions=False)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for body, status in (
        (b"a" * 70_000, 413),
        (b"&".join(b"a=b" for _ in range(60)), 400),
        (b"token=%ff", 400),
        (b"token=\xff", 400),
        (b"token=a", 403),
    ):
        answer = stranger.post(f"{ADMIN}/login", content=body, headers=headers)
        assert answer.status_code == status, body[:20]
