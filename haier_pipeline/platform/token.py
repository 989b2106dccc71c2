"""The bearer token: how an answer is read, how long it holds, and that many threads share one.

It does not talk HTTP: `client` fetches the answer when told to. Nothing here is ever logged.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import requests
from requests.auth import AuthBase

from haier_pipeline.errors import PlatformClosed

DEFAULT_LIFE_SECONDS: Final = 3600.0
_RENEW_BEFORE_END_SECONDS: Final = 600.0
# What may stand in a header: one printable word. Anything else could smuggle in another header.
_WORD: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, repr=False, eq=False)
class Token(AuthBase):
    """Puts its ``header`` into requests; holds for ``life_seconds`` from when it was asked for."""

    header: str
    life_seconds: float

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self.header
        return request

    @property
    def secret(self) -> str:
        return self.header


def parse_token(answer: object) -> Token | None:
    """Read a token answer; None where it holds no usable token (fault matrix, row 3).

    The token stands under ``access_token`` or ``token``, at the top level or inside ``data``. A
    life that is no positive number counts as one hour.
    """
    places = [answer, answer.get("data") if isinstance(answer, Mapping) else None]
    for place in places:
        if not isinstance(place, Mapping):
            continue
        for name in ("access_token", "token"):
            value = place.get(name)
            if isinstance(value, str) and _WORD.fullmatch(value.strip()):
                return Token(value.strip(), _life(place.get("expires_in")))
    return None


def _life(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or value <= 0:
        return DEFAULT_LIFE_SECONDS
    return float(value)


class TokenKeeper:
    """Keeps the token of one dealer for all threads of a client, and renews it.

    ``fetch`` asks the platform for a new token. The token is renewed ten minutes before its end, a
    short-lived one at half its life; its age is measured by the monotonic clock, from before it was
    asked for (row 41).
    """

    def __init__(self, fetch: Callable[[], Token]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._renew_at = 0.0
        self._failures = 0
        self._failure: PlatformClosed | None = None

    def current(self) -> Token:
        """Return a token that holds, fetching one if need be. Raises `PlatformClosed`."""
        token = self._token
        if token is not None and time.monotonic() < self._renew_at:
            return token
        return self._renewed(lambda: self._token is None or time.monotonic() >= self._renew_at)

    def replace(self, failed: Token) -> Token:
        """Return another token than ``failed``, which the platform did not accept.

        Whoever comes second finds the new one (rows 1 and 4). Raises `PlatformClosed`.
        """
        return self._renewed(lambda: self._token is None or self._token is failed)

    def _renewed(self, is_needed: Callable[[], bool]) -> Token:
        failures_seen = self._failures
        with self._lock:
            if self._failure is not None and self._failures != failures_seen:
                # Another thread has just failed for all who waited: thirty more attempts with the
                # same wrong secret might get the account locked.
                error = self._failure
                raise PlatformClosed(
                    str(error), endpoint="token", status=error.status, attempts=error.attempts
                )
            if is_needed() or self._token is None:
                began = time.monotonic()
                try:
                    self._token = self._fetch()
                except PlatformClosed as error:
                    self._failure = error
                    self._failures += 1
                    raise
                life = self._token.life_seconds
                early = min(_RENEW_BEFORE_END_SECONDS, life / 2)
                self._renew_at = began + life - early
            return self._token
