"""Which requests the guard before Dagster's webserver lets through, header by header."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from haier_pipeline.server.dagster_guard import DagsterGuard

OWN = {"host": "127.0.0.1:3000"}
JSON = {"content-type": "application/json"}


def asked(method: str, path: str, *headers: tuple[str, str], kind: str = "http") -> int:
    """The status of the answer; of a websocket 101 or 403."""
    sent: list[MutableMapping[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        opening = "websocket.accept" if scope["type"] == "websocket" else "http.response.start"
        await send({"type": opening, "status": 200})

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request"}

    scope = {
        "type": kind,
        "method": method,
        "path": path,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }
    asyncio.run(DagsterGuard(app)(scope, receive, send))
    if kind == "websocket":
        return 101 if sent[0]["type"] == "websocket.accept" else 403
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "host", ["127.0.0.1:3000", "localhost:3000", "LOCALHOST", "[::1]:3000", "127.0.0.1"]
)
def test_this_machine_is_called_by_its_own_names(host: str) -> None:
    assert asked("GET", "/", ("host", host)) == 200


@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example:3000"],
        ["127.0.0.1.evil.example"],
        ["localhost.evil.example:3000"],
        ["127.0.0.1@evil.example"],
        ["0.0.0.0:3000"],
        ["127.0.0.1:3000", "evil.example"],
        [""],
        [],
    ],
)
def test_another_name_that_leads_here_is_refused(hosts: list[str]) -> None:
    headers = [("host", host) for host in hosts]
    for method, path in (("GET", "/"), ("POST", "/graphql"), ("GET", "/server_info")):
        assert asked(method, path, *headers, *JSON.items()) == 403
    assert asked("GET", "/graphql", *headers, kind="websocket") == 403


@pytest.mark.parametrize(
    "header",
    [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "anything"),
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:3001"),
        ("origin", "http://localhost:3000"),
        ("origin", "http://127.0.0.1:3000.evil.example"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/graphql", "/runs", "/report_asset_check/x"])
def test_a_page_of_another_origin_is_refused(header: tuple[str, str], path: str) -> None:
    own = [*OWN.items(), *JSON.items(), ("accept", "text/html"), header]

    assert asked("GET", path, *own) == 403
    assert asked("POST", path, *own) == 403
    assert asked("GET", path, *own, kind="websocket") == 403


def test_dagsters_own_pages_and_programs_of_the_user_pass() -> None:
    for headers in (
        [],
        [("sec-fetch-site", "none")],
        [("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:3000")],
    ):
        own = [*OWN.items(), *headers]
        assert asked("GET", "/runs", *own) == 200
        assert asked("POST", "/graphql", *own, *JSON.items()) == 200
        assert asked("GET", "/graphql", *own, kind="websocket") == 101


@pytest.mark.parametrize("path", ["/graphql", "/graphql/"])
def test_graphql_by_get_is_a_page_and_nothing_else(path: str) -> None:
    own = list(OWN.items())

    assert asked("GET", path, *own, ("accept", "text/html,*/*")) == 200
    assert asked("GET", path, *own) == 403
    assert asked("HEAD", path, *own) == 403
    assert asked("GET", path, *own, ("accept", "image/avif,*/*")) == 403
    # The webserver looks at the first of them.
    two = [("accept", "*/*"), ("accept", "text/html")]
    assert asked("GET", path, *own, *two) == 403


@pytest.mark.parametrize(
    "sent", [[], ["text/plain"], ["application/x-www-form-urlencoded"], ["text/plain; x=json"]]
)
def test_graphql_by_post_is_what_no_form_can_send(sent: list[str]) -> None:
    types = [("content-type", text) for text in sent]

    assert asked("POST", "/graphql", *OWN.items(), *types) == 403
