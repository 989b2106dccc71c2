"""Who is logged in: sessions, their end, and the dependencies that let a request pass.

A session is kept in this process and the cookie holds nothing but its random number: logging out
ends it for everybody who has the cookie, and so does a restart, with which a changed
``HAIER_API_TOKENS`` comes into force.
"""

import hmac
import math
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import Depends, Request
from starlette.datastructures import FormData
from starlette.responses import Response

from haier_pipeline.web.auth import Caller
from haier_pipeline.web.problems import WebError
from haier_pipeline.web.services import Services

LIFE_SECONDS: Final = 8 * 3600.0
MOST_SESSIONS: Final = 1_000
CSRF_FIELD: Final = "csrf"
_LOGIN_COOKIE: Final = "haier_admin_login"


@dataclass(frozen=True)
class Notice:
    """What came of an action, for the next page: a headline in English, to be translated, and what
    was said about it."""

    good: bool
    headline: str
    detail: str = ""


@dataclass
class Session:
    """Somebody who is logged in; ``ends`` in monotonic seconds."""

    caller: Caller
    ends: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    notices: list[Notice] = field(default_factory=list)

    def take_notices(self) -> list[Notice]:
        taken, self.notices = self.notices, []
        return taken


class Sessions:
    """The sessions of this process. ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        # Ports of one host share cookies; two installations must not log each other out.
        self.cookie: Final = f"haier_admin_{secrets.token_hex(4)}"
        self._clock = clock
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Session] = OrderedDict()

    def open(self, caller: Caller) -> str:
        """Begin a session and return the number that goes into the cookie."""
        number = secrets.token_urlsafe(32)
        with self._lock:
            self._open[number] = Session(caller, self._clock() + LIFE_SECONDS)
            while len(self._open) > MOST_SESSIONS:
                self._open.popitem(last=False)
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


async def _checked_form(request: Request, session: SessionHere) -> FormData:
    """The form of a request that comes from one of our own pages in this session."""
    form = await request.form(max_files=0, max_fields=50)
    _compare(form.get(CSRF_FIELD), session.csrf)
    return form


async def _operators_form(
    session: SessionHere, form: Annotated[FormData, Depends(_checked_form)]
) -> FormData:
    if not session.caller.is_operator:
        raise WebError(403, f"the role {session.caller.role} may only look; this wants an operator")
    return form


CheckedForm = Annotated[FormData, Depends(_checked_form)]
OperatorsForm = Annotated[FormData, Depends(_operators_form)]


def _compare(sent: object, expected: str) -> None:
    if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), expected.encode()):
        raise WebError(403, "the form has expired; go back, load the page again and send it again")


# ------------------------------------------------------------------------------------ logging in


def login_secret(request: Request) -> str:
    """What ties a login form to this browser, so that no other site can log it in; the one that
    the browser has already, so that several open forms all work."""
    return request.cookies.get(_LOGIN_COOKIE) or secrets.token_urlsafe(32)


def keep_login_secret(request: Request, response: Response, secret: str) -> None:
    """Hand the secret of the form to the browser."""
    _set_cookie(request, response, _LOGIN_COOKIE, secret)


async def _login_form(request: Request) -> FormData:
    form = await request.form(max_files=0, max_fields=50)
    expected = request.cookies.get(_LOGIN_COOKIE, "")
    _compare(form.get(CSRF_FIELD), expected or secrets.token_urlsafe())
    return form


LoginForm = Annotated[FormData, Depends(_login_form)]


def log_in(request: Request, token: str) -> str | None:
    """The number of a new session; ``None`` where the token is not known.

    Raises:
        WebError: the address has sent too many wrong tokens.
    """
    services: Services = request.app.state.services
    address = request.client.host if request.client else "unknown"
    left = services.failures.seconds_left(address)
    if left:
        raise WebError(
            429,
            "too many wrong tokens from this address",
            headers={"Retry-After": str(math.ceil(left))},
        )
    caller = services.tokens.find(token.strip())
    if caller is None:
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
