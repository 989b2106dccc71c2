"""What every request passes before a route sees it: token, role, size, security headers.

Closed by default: only the two health routes and the way to the pages are open, and what stands
under ``OWN_LOGIN`` guards itself. Reading wants any role, everything else the operator's. Here
rather than in a dependency of the routes, since a framework reads and judges bodies before it asks
dependencies.
"""

import base64
import binascii
import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from haier_pipeline.web.auth import Caller, FailureLimit, Tokens
from haier_pipeline.web.problems import problem

#: Where REST's routes are.
REST: Final = "/api/haier"
OPEN: Final = frozenset({"/", "/healthz", "/readyz"})
#: The admin pages: their session and CSRF protection are their own.
OWN_LOGIN: Final = "/admin"
#: A browser can only be asked for a name and a password: the token is the password.
DOCS: Final = "/docs"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
MOST_BODY_BYTES: Final = 256 * 1024
#: Of all headers and the address together. A hundred codes in Chinese letters fit in.
MOST_HEADER_BYTES: Final = 32 * 1024
JSON: Final = "application/json"

_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_MEDIA_TYPE: Final = re.compile(
    r"([A-Za-z]+/[A-Za-z.+-]+)(?:\s*;\s*charset\s*=\s*\"?utf-?8\"?)?\s*", re.IGNORECASE
)
_COOKIE: Final = re.compile(rb"haier_admin[a-z0-9_]{0,30}=[A-Za-z0-9_-]{0,100}")

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
    """The middleware. The caller is left in ``request.state.caller``.

    Everything behind it may take for granted: one readable ``Host``; headers and address within
    `MOST_HEADER_BYTES`; no cookies but the pages' own; a body of known length, at most
    `MOST_BODY_BYTES`, and on REST's routes one of valid UTF-8 that says to be JSON.
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens, failures: FailureLimit) -> None:
        self._app = app
        self._tokens = tokens
        self._failures = failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            # No route is a websocket. Closed before it was accepted, it is answered with 403.
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        scope["path"] = _with_or_without_slash(scope["path"])
        answer = self._refusal(scope)
        if answer is None and _has_own_login(scope["path"]):
            scope["headers"] = _own_cookies(scope["headers"])
        elif answer is None:
            scope["headers"] = [each for each in scope["headers"] if each[0] != b"cookie"]
            body = await _read(receive, _length(Headers(scope=scope)))
            answer = body.problem
            receive = body.replay
        await (answer or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        size = len(scope["query_string"]) + len(scope.get("raw_path") or b"")
        # A colon, a space and a line end each.
        size += sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if size > MOST_HEADER_BYTES:
            return problem(
                431, f"headers and address have at most {MOST_HEADER_BYTES // 1024} KB together"
            )
        headers = Headers(scope=scope)
        hosts = headers.getlist("Host")
        if len(hosts) > 1 or not all(map(_HOST.fullmatch, hosts)):
            return problem(400, "the Host header is no name or address")
        if headers.get("Upgrade", "").lower() == "websocket":
            return problem(400, "there is no websocket here")
        path = scope["path"]
        if "Transfer-Encoding" in headers:
            return problem(411, "a body tells its length (Content-Length)")
        if _length(headers) > MOST_BODY_BYTES:
            return problem(413, f"a body has at most {MOST_BODY_BYTES // 1024} KB")
        if path in OPEN or _has_own_login(path):
            return None
        is_docs = path == DOCS or path.startswith(DOCS + "/") or path == "/openapi.json"
        sent = _token(headers.get("Authorization", ""), basic=is_docs)
        # Before the limit: a right token is let in, whatever else comes from its address.
        caller = self._tokens.find(sent) if sent else None
        if caller is None:
            return self._unknown(scope, bool(sent), is_docs=is_docs)
        if scope["method"] not in SAFE_METHODS and not caller.is_operator:
            return problem(403, f"the role {caller.role} may only read; this wants an operator")
        if _length(headers) and not is_media_type(headers.getlist("Content-Type"), JSON):
            return problem(415, f"a body is sent as {JSON}, in UTF-8")
        scope.setdefault("state", {})["caller"] = caller
        return None

    def _unknown(self, scope: Scope, has_sent: bool, *, is_docs: bool) -> ASGIApp:
        """The answer to a token that nobody has, or to none."""
        if has_sent:
            address = (scope.get("client") or ("unknown", 0))[0]
            left = self._failures.seconds_left(address)
            if left:
                return problem(
                    429,
                    "too many wrong tokens from this address",
                    headers={"Retry-After": str(math.ceil(left))},
                )
            self._failures.count(address)
        answer = problem(401, "the token is not known" if has_sent else "a bearer token is wanted")
        # A line for each way: browsers read only the first of a line with several.
        if is_docs:
            answer.headers.append("WWW-Authenticate", 'Basic realm="haier", charset="UTF-8"')
        answer.headers.append("WWW-Authenticate", 'Bearer realm="haier"')
        return answer


def is_media_type(sent: Sequence[str], wanted: str) -> bool:
    """Whether a body says once that it is of this type, and in UTF-8 if it names an encoding."""
    match = _MEDIA_TYPE.fullmatch(sent[0]) if len(sent) == 1 else None
    return match is not None and match[1].lower() == wanted


class _Body:
    """A body that was read: what is wrong with it, and a ``receive`` that gives it once more."""

    def __init__(self, content: bytes, receive: Receive, problem: ASGIApp | None = None) -> None:
        self.problem = problem
        self._messages: list[Message] = [
            {"type": "http.request", "body": content, "more_body": False}
        ]
        self._receive = receive

    async def replay(self) -> Message:
        return self._messages.pop() if self._messages else await self._receive()


async def _read(receive: Receive, length: int) -> _Body:
    """Read a body of at most this length; JSON would be guessed to be UTF-16 or UTF-32 too."""
    content = b""
    while length:
        message = await receive()
        if message["type"] != "http.request":
            return _Body(b"", receive, problem(400, "the body was cut off"))
        content += message.get("body", b"")
        if len(content) > length:
            return _Body(b"", receive, problem(400, "the body is longer than it says"))
        if not message.get("more_body", False):
            break
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return _Body(b"", receive, problem(415, f"a body is sent as {JSON}, in UTF-8"))
    return _Body(content, receive)


def _with_or_without_slash(path: str) -> str:
    """REST's routes end with a slash and the pages' with none; either may be sent either way."""
    if path.startswith(REST + "/") and not path.endswith("/"):
        return path + "/"
    if path == OWN_LOGIN:
        return path + "/"
    if path.startswith(OWN_LOGIN + "/") and path != OWN_LOGIN + "/":
        return path.removesuffix("/")
    return path


def _has_own_login(path: str) -> bool:
    return path.startswith(OWN_LOGIN + "/")


def _own_cookies(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers with the pages' own cookies only: other programs on this host set cookies too,
    and the framework takes seconds to read some that are large."""
    kept, cookies = [], []
    for name, value in headers:
        if name == b"cookie":
            cookies += [each for each in value.split(b";") if _COOKIE.fullmatch(each.strip())]
        else:
            kept.append((name, value))
    return [*kept, (b"cookie", b";".join(cookies))] if cookies else kept


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
