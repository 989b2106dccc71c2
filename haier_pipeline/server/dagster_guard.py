"""What every request to Dagster's webserver passes: does it come from Dagster's own pages?

Dagster asks nobody who he is and runs GraphQL mutations of a GET too, so any page that is open in
the user's browser could act in the user's name. A browser tells where a request comes from; that is
judged here. Who the user is, and what the webserver answers, is not.

Plain ASGI, without any framework.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: By these names the webserver of this machine is called. A page of another name that leads here
#: (DNS rebinding) would be of the same origin as it.
_HOST: Final = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
_GRAPHQL: Final = "/graphql"
#: What a foreign page cannot send without being asked first whether it may.
_GRAPHQL_BODIES: Final = ("application/json", "application/graphql")


class DagsterGuard:
    """The middleware: 403 with a sentence, or an unopened websocket."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        complaint = None if scope["type"] == "lifespan" else _complaint(scope)
        if complaint is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            # Before it was accepted: the server answers 403.
            await send({"type": "websocket.close", "code": 1008})
        else:
            body = f"Refused: {complaint}.\n".encode()
            headers = [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"%d" % len(body)),
                (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
            ]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})


def _complaint(scope: Scope) -> str | None:
    """What is wrong with a request, in words; ``None`` where nothing is."""
    hosts = _sent(scope, b"host")
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        return "open this address as http://127.0.0.1 or http://localhost with the port"
    origins = _sent(scope, b"origin")
    own = {f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")}
    if not all(origin.lower() in own for origin in origins):
        return "it comes from a page of another origin"
    # Also where a link was clicked: what it leads to cannot be told from what it does.
    if not set(_sent(scope, b"sec-fetch-site")) <= {"same-origin", "none"}:
        return "it comes from a page of another origin; type the address or use a bookmark"
    if scope["type"] == "http" and scope["path"].rstrip("/").endswith(_GRAPHQL):
        return _complaint_of_graphql(scope)
    return None


def _complaint_of_graphql(scope: Scope) -> str | None:
    if scope["method"] == "POST":
        types = [text.partition(";")[0].strip().lower() for text in _sent(scope, b"content-type")]
        if len(types) != 1 or types[0] not in _GRAPHQL_BODIES:
            return "GraphQL by POST is sent as application/json"
        return None
    # As the webserver judges it: it looks at the first of several headers.
    accepted = _sent(scope, b"accept")
    if len(accepted) != 1 or "text/html" not in accepted[0]:
        return "GraphQL is asked by POST; by GET there is only the page to try it on"
    return None


def _sent(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key == name]
