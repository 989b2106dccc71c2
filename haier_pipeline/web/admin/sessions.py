"""Sessions: how they begin and end, and the dependencies that require one.

A session is kept in this process and the cookie holds nothing but its random number: logging out
ends it for everybody who has the cookie, and so does a restart, with which a changed
``HAIER_API_TOKENS`` comes into force.
"""

import hmac
import math
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final
from urllib.parse import parse_qsl

import anyio.to_thread
from fastapi import Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from haier_pipeline.web.auth import Caller
from haier_pipeline.web.guard import is_media_type
from haier_pipeline.web.problems import WebError
from haier_pipeline.web.services import Services

LIFE_SECONDS: Final = 8 * 3600.0
#: Sessions of one caller. Each has a bound of its own: a reader's logins end no operator's session.
MOST_SESSIONS: Final = 50
MOST_FORM_BYTES: Final = 64 * 1024
MOST_FIELDS: Final = 50
_MOST_MESSAGES: Final = 20
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_LOGIN_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}")
CSRF_FIELD: Final = "csrf"
_LOGIN_COOKIE: Final = "haier_admin_login"


@dataclass(frozen=True)
class FlashMessage:
    """The result of an action, shown once on the next page: a headline in English, to be
    translated, and the details."""

    good: bool
    headline: str
    detail: str = ""


@dataclass
class Session:
    """Somebody who is logged in; ``ends`` in monotonic seconds."""

    caller: Caller
    ends: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    messages: list[FlashMessage] = field(default_factory=list)

    def add_message(self, message: FlashMessage) -> None:
        """Keep a message for the next page."""
        self.messages = [*self.messages, message][-_MOST_MESSAGES:]

    def take_messages(self) -> list[FlashMessage]:
        taken, self.messages = self.messages, []
        return taken


class Sessions:
    """The sessions of this process. ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        # Ports of one host share cookies; two installations must not log each other out.
        self.cookie: Final = f"haier_admin_{secrets.token_hex(4)}"
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}

    def open(self, caller: Caller) -> str:
        """Begin a session and return the number that goes into the cookie."""
        number = secrets.token_urlsafe(32)
        with self._lock:
            now = self._clock()
            self._open = {
                number: session for number, session in self._open.items() if session.ends > now
            }
            # The oldest first, as they were opened.
            own = [number for number, session in self._open.items() if session.caller == caller]
            for oldest in own[: max(0, len(own) - MOST_SESSIONS + 1)]:
                del self._open[oldest]
            self._open[number] = Session(caller, now + LIFE_SECONDS)
        return number

    def find(self, number: str) -> Session | None:
        """The session with that number, if it has not ended."""
        with self._lock:
            session = self._open.get(number)
            if session is not None and session.ends <= self._clock():
                del self._open[number]
                return None
            return session

    def close(self, number: str) -> None:
        with self._lock:
            self._open.pop(number, None)


class LoginWanted(Exception):
    """Nobody is logged in; the answer is the login page."""


def session_of(request: Request) -> Session:
    """Whose request it is.

    Raises:
        LoginWanted: nobody's, or the session has ended.
    """
    sessions: Sessions = request.app.state.sessions
    session = sessions.find(request.cookies.get(sessions.cookie, ""))
    if session is None:
        raise LoginWanted
    return session


SessionHere = Annotated[Session, Depends(session_of)]


Form = Mapping[str, str]


async def _read_form(request: Request) -> Form:
    """The fields of a form: one type, one encoding, both checked before anything is read.

    A form of several values for one field is none of ours; the last one counts.

    Raises:
        WebError: it is of another type or encoding, too large, or cannot be read.
    """
    # The guard has let only a plain number pass.
    length = int(request.headers.get("content-length", "0"))
    if length == 0:
        return {}
    if not is_media_type(request.headers.getlist("content-type"), _FORM_TYPE):
        raise WebError(415, f"a form is sent as {_FORM_TYPE} in UTF-8")
    if length > MOST_FORM_BYTES:
        raise WebError(413, f"a form has at most {MOST_FORM_BYTES // 1024} KB")
    try:
        body = await request.body()
    except ClientDisconnect:
        raise WebError(400, "the form was cut off") from None
    return await anyio.to_thread.run_sync(_parse_form, body)


def _parse_form(body: bytes) -> Form:
    try:
        fields = parse_qsl(
            body.decode("utf-8"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError:
        raise WebError(
            400, f"the form cannot be read: at most {MOST_FIELDS} fields, in UTF-8"
        ) from None
    return dict(fields)


async def _checked_form(request: Request, session: SessionHere) -> Form:
    """The form of a request that comes from one of our own pages in this session."""
    form = await _read_form(request)
    _compare(form.get(CSRF_FIELD), session.csrf)
    return form


async def _operators_form(
    session: SessionHere, form: Annotated[Form, Depends(_checked_form)]
) -> Form:
    if not session.caller.is_operator:
        raise WebError(403, f"the role {session.caller.role} may only look; this wants an operator")
    return form


CheckedForm = Annotated[Form, Depends(_checked_form)]
OperatorsForm = Annotated[Form, Depends(_operators_form)]


def _compare(sent: str | None, expected: str) -> None:
    if sent is None or not hmac.compare_digest(sent.encode(), expected.encode()):
        raise WebError(403, "the form has expired; go back, load the page again and send it again")


# ------------------------------------------------------------------------------------ logging in


def login_secret(request: Request) -> str:
    """What ties a login form to this browser, so that no other site can log it in; the one that
    the browser has already, so that several open forms all work."""
    kept = request.cookies.get(_LOGIN_COOKIE, "")
    return kept if _LOGIN_SECRET.fullmatch(kept) else secrets.token_urlsafe(32)


def keep_login_secret(request: Request, response: Response, secret: str) -> None:
    """Hand the secret of the form to the browser."""
    _set_cookie(request, response, _LOGIN_COOKIE, secret)


async def _login_form(request: Request) -> Form:
    form = await _read_form(request)
    expected = request.cookies.get(_LOGIN_COOKIE, "")
    _compare(form.get(CSRF_FIELD), expected or secrets.token_urlsafe())
    return form


LoginForm = Annotated[Form, Depends(_login_form)]


def log_in(request: Request, token: str) -> str | None:
    """The number of a new session; ``None`` where the token is not known.

    Raises:
        WebError: the token is not known, and the address has sent too many such ones.
    """
    services: Services = request.app.state.services
    caller = services.tokens.find(token.strip())
    if caller is None:
        address = request.client.host if request.client else "unknown"
        left = services.failures.seconds_left(address)
        if left:
            raise WebError(
                429,
                "too many wrong tokens from this address",
                headers={"Retry-After": str(math.ceil(left))},
            )
        services.failures.count(address)
        return None
    sessions: Sessions = request.app.state.sessions
    return sessions.open(caller)


def remember(request: Request, response: Response, number: str) -> None:
    """Hand the session's number to the browser."""
    sessions: Sessions = request.app.state.sessions
    _set_cookie(request, response, sessions.cookie, number)
    response.delete_cookie(_LOGIN_COOKIE, path=request.scope["root_path"])


def log_out(request: Request, response: Response) -> None:
    """End the session of the request."""
    sessions: Sessions = request.app.state.sessions
    sessions.close(request.cookies.get(sessions.cookie, ""))
    response.delete_cookie(sessions.cookie, path=request.scope["root_path"])


def _set_cookie(request: Request, response: Response, name: str, value: str) -> None:
    response.set_cookie(
        name,
        value,
        max_age=int(LIFE_SECONDS),
        path=request.scope["root_path"],
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
