"""What every request passes before a route sees it: token, role, size, security headers.

Closed by default: only the two health routes are open, and what stands under ``OWN_LOGIN`` guards
itself. Reading wants any role, everything else the operator's. Here rather than in a dependency of
the routes, since a framework reads and judges bodies before it asks dependencies.
"""

import base64
import binascii
import math
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from haier_pipeline.web.auth import Caller, FailureLimit, Tokens
from haier_pipeline.web.problems import problem

OPEN: Final = frozenset({"/healthz", "/readyz"})
#: The admin pages: their session and CSRF protection are their own.
OWN_LOGIN: Final = "/admin"
#: A browser can only be asked for a name and a password: the token is the password.
DOCS: Final = "/docs"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
MOST_BODY_BYTES: Final = 256 * 1024

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class Guard:
    """The middleware. The caller is left in ``request.state.caller``."""

    def __init__(self, app: ASGIApp, *, tokens: Tokens, failures: FailureLimit) -> None:
        self._app = app
        self._tokens = tokens
        self._failures = failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # No route is a websocket; the lifespan is nobody's request.
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refusal(scope)
        await (answer or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        path = scope["path"]
        if "Transfer-Encoding" in headers:
            return problem(411, "a body tells its length (Content-Length)")
        if _length(headers) > MOST_BODY_BYTES:
            return problem(413, f"a body has at most {MOST_BODY_BYTES // 1024} KB")
        if path in OPEN or path == OWN_LOGIN or path.startswith(OWN_LOGIN + "/"):
            return None
        is_docs = path == DOCS or path.startswith(DOCS + "/") or path == "/openapi.json"
        address = (scope.get("client") or ("unknown", 0))[0]
        left = self._failures.seconds_left(address)
        if left:
            return problem(
                429,
                "too many wrong tokens from this address",
                headers={"Retry-After": str(math.ceil(left))},
            )
        sent = _token(headers.get("Authorization", ""), basic=is_docs)
        caller = self._tokens.find(sent) if sent else None
        if caller is None:
            if sent:
                self._failures.count(address)
            challenge = 'Bearer realm="haier"' + ', Basic realm="haier", charset="UTF-8"' * is_docs
            wrong = "the token is not known" if sent else "a bearer token is wanted"
            return problem(401, wrong, headers={"WWW-Authenticate": challenge})
        if scope["method"] not in SAFE_METHODS and not caller.is_operator:
            return problem(403, f"the role {caller.role} may only read; this wants an operator")
        scope.setdefault("state", {})["caller"] = caller
        return None


def caller_of(scope: Scope) -> Caller:
    """Who asks; the guard has let them through."""
    caller: Caller = scope["state"]["caller"]
    return caller


def _token(authorization: str, *, basic: bool) -> str:
    scheme, _, value = authorization.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value
    if basic and scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _length(headers: Headers) -> int:
    text = headers.get("Content-Length", "0")
    return int(text) if text.isascii() and text.isdigit() else MOST_BODY_BYTES + 1
