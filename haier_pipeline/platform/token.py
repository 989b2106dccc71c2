"""The token: how an answer is read, how long it holds, in which form it is sent, who shares it.

A client's processes share one token through a `TokenStore`. What is fetched and sent belongs to
`client`; where the shared token is stored belongs elsewhere. Nothing here is ever logged.
"""

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Protocol

import requests
from requests.auth import AuthBase

from haier_pipeline.errors import PlatformClosed, PlatformError
from haier_pipeline.platform.pacing import Interruption

DEFAULT_LIFE_SECONDS: Final = 3600.0
#: A longer life is not made use of: a new token a day costs nothing.
MOST_LIFE_SECONDS: Final = 86_400.0
_RENEW_BEFORE_END_SECONDS: Final = 600.0
# What may stand in a header: one printable word. Anything else could smuggle in another header.
_WORD: Final = re.compile(r"(?:bearer\s+)?([\x21-\x7e]+)", re.IGNORECASE)

_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")
_FORM: Final = re.compile(rf"({_TYPE.pattern} )?")

#: The two forms of the header, the vendor's own first (contract, "Token").
BARE: Final = ""
BEARER: Final = "Bearer "

_LOOK_SECONDS: Final = 0.1
#: How long calls wait for the one that finds out whether, and how, a new token is accepted.
_PROBE_SECONDS: Final = 2.0


@dataclass(frozen=True, repr=False)
class Token:
    """What a token answer says: the token, how many seconds it holds from when it was asked for,
    and its ``type``, the word that the order side wants in front of it."""

    secret: str
    life_seconds: float
    type: str = "Bearer"


def parse_token(answer: object) -> Token | None:
    """Read a token answer; None where it holds no usable token (fault matrix, row 3).

    The token stands under ``token`` or ``access_token``, at the top level or inside ``data``. A
    life that is no positive number counts as one hour.
    """
    places = [answer, answer.get("data") if isinstance(answer, Mapping) else None]
    for place in places:
        if not isinstance(place, Mapping):
            continue
        for name in ("token", "access_token"):
            value = place.get(name)
            word = _WORD.fullmatch(value.strip()) if isinstance(value, str) else None
            if word is not None:
                return Token(
                    word[1], _life(place.get("expires_in")), _type(place.get("token_type"))
                )
    return None


def _type(value: object) -> str:
    word = value.strip() if isinstance(value, str) else ""
    return word if _TYPE.fullmatch(word) else "Bearer"


def _life(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or value <= 0:
        return DEFAULT_LIFE_SECONDS
    return float(min(value, Decimal(MOST_LIFE_SECONDS)))


class Credential(AuthBase):
    """A token in one of its forms, as it is put into requests.

    ``made_at``: `time.monotonic` seconds of when it was asked for, 0 where another process did.
    ``is_proven``: the platform has accepted it in this form, or another process says so.
    ``is_known``: the platform has answered something else than 401 to it, if only "later".
    """

    def __init__(self, secret: str, form: str, *, made_at: float, is_proven: bool) -> None:
        self.secret = secret
        self.form = form
        self.made_at = made_at
        self.is_proven = is_proven
        self.is_known = is_proven
        self.is_other_form = False

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self.form + self.secret
        return request

    def __repr__(self) -> str:
        return "Credential()"

    def in_other_form(self) -> "Credential":
        form = BARE if self.form == BEARER else BEARER
        other = Credential(self.secret, form, made_at=self.made_at, is_proven=False)
        other.is_other_form = True
        return other


class TokenStore(Protocol):
    """Where the processes of a client share its token, as an opaque ``note``.

    A ``version`` counts the tokens. One process at a time renews: whoever `take` chose for it has
    the others wait until `confirm` or `release`, or for some seconds where it died.
    """

    def take(self, known: int) -> tuple[int, str | None, float, bool]:
        """Return ``(version, note, seconds until it is to be renewed, whether to renew now)``.

        Where a note newer than the version ``known`` holds, it is returned and nothing is to be
        renewed. Else the caller is to renew, and the note is the last one there was; or another
        process is at it, and the caller is to ask again soon: then the note is None.
        """
        ...

    def put(self, note: str, seconds: float, *, known: int) -> int:
        """Store a new token, not yet tried out, to be renewed in ``seconds``; return its version.

        Nobody is given it before it is confirmed, or some seconds have passed.
        """
        ...

    def confirm(self, note: str, version: int) -> None:
        """Store the note of the same token once it has worked, for everybody to take."""
        ...

    def release(self) -> None:
        """Let another process renew."""
        ...


class OwnTokens:
    """A store for a client that shares its token with nobody."""

    def take(self, known: int) -> tuple[int, str | None, float, bool]:
        """See `TokenStore.take`: always to be renewed by the caller."""
        return known, None, 0.0, True

    def put(self, note: str, seconds: float, *, known: int) -> int:  # noqa: ARG002 - not shared
        """See `TokenStore.put`."""
        return known + 1

    def confirm(self, note: str, version: int) -> None:
        """See `TokenStore.confirm`."""

    def release(self) -> None:
        """See `TokenStore.release`."""


class TokenKeeper:
    """Keeps the token for all threads of a client, and renews it.

    ``fetch`` asks the platform for a new token, first at the address given to it, and returns the
    address that worked with it. The token is renewed ten minutes before its end, a short-lived one
    at half its life; its age is measured by the monotonic clock, from before it was asked for
    (row 41). ``show`` is told every token that is used, so that it can be masked.

    Which form the platform takes is found out by one call while the others wait, and kept. Where
    it ``sends_token_type``, there is one form alone: the type that came with the token, a blank,
    and the token (order side).
    """

    def __init__(
        self,
        fetch: Callable[[str | None], tuple[Token, str]],
        store: TokenStore,
        stop: Interruption,
        show: Callable[[str], None],
        *,
        sends_token_type: bool = False,
    ) -> None:
        self._sends_token_type = sends_token_type
        self._fetch = fetch
        self._store = store
        self._stop = stop
        self._show = show
        self._lock = threading.Lock()
        self._probe = threading.Lock()
        self._credential: Credential | None = None
        self._renew_at = 0.0
        self._version = 0
        self._form = BARE
        self._address: str | None = None
        self._failed_at = -math.inf
        self._failure: PlatformError | None = None

    def current(self, began: float | None = None) -> Credential:
        """Return a token that holds, fetching one if need be.

        ``began`` is when the caller began (`time.monotonic` seconds), now where it is left out.
        Raises `PlatformClosed`, also where another thread has found out since then that there is
        none.
        """
        credential = self._credential
        if credential is not None and time.monotonic() < self._renew_at:
            return credential
        began = time.monotonic() if began is None else began
        with self._lock:
            self._raise_failure(began)
            credential = self._credential
            if credential is None or time.monotonic() >= self._renew_at:
                # What follows an accepted token in time needs no trying out.
                is_proven = credential is not None and credential.is_proven
                credential = self._taken() or self._renewed(is_proven=is_proven)
            return credential

    @contextmanager
    def lend(self, began: float) -> Iterator[Credential]:
        """A token for one attempt; one attempt at a time where nobody knows that it is accepted."""
        while True:
            credential = self.current(began)
            if credential.is_proven:
                yield credential
                return
            is_alone = self._probe.acquire(timeout=_PROBE_SECONDS)
            try:
                # One that hangs holds the others up no longer.
                if not is_alone or (credential is self._credential and not credential.is_proven):
                    yield credential
                    return
            finally:
                if is_alone:
                    self._probe.release()

    def answered(self, credential: Credential, *, is_accepted: bool) -> None:
        """The platform answered something else than 401.

        Where that shows that it accepts the token, its form is kept, for all processes.
        """
        credential.is_known = True
        if credential.is_proven or not is_accepted:
            return
        with self._lock:
            credential.is_proven = True
            if credential is self._credential:
                self._form = credential.form
                self._store.confirm(self._note(credential), self._version)

    def refused(self, credential: Credential, error: PlatformError, *, began: float) -> None:
        """The platform answered 401 to a call that ``began`` then (`time.monotonic` seconds).

        Makes another token or form the current one; whoever comes second finds it made (rows 1
        and 4). A token that was answered before has been revoked, and is replaced. A new one is
        tried in the other form; where that is refused too, and the token is older than the call,
        it is replaced as well.

        Raises ``error`` where neither form of a fresh token is accepted, also in the calls of other
        threads that began before that: thirty more attempts with a wrong secret might get the
        account locked.
        """
        with self._lock:
            self._raise_failure(began)
            if credential is not self._credential or self._taken() is not None:
                return
            is_last_form = credential.is_other_form or self._sends_token_type
            is_old = is_last_form and credential.made_at < began
            if credential.is_known or is_old:
                self._renewed(is_proven=False)
            elif not is_last_form:
                self._credential = credential.in_other_form()
            else:
                self._credential = None
                self._store.release()
                self._fail(error)
                raise error

    def _raise_failure(self, began: float) -> None:
        error = self._failure
        if error is not None and self._failed_at >= began:
            raise PlatformClosed(
                str(error), endpoint=error.endpoint, status=error.status, attempts=error.attempts
            )

    def _fail(self, error: PlatformError) -> None:
        self._failure = error
        self._failed_at = time.monotonic()

    def _taken(self) -> Credential | None:
        """The token that another process has made; None where this one is to see to it."""
        while True:
            version, note, seconds, is_ours = self._store.take(self._version)
            kept = _read_note(note)
            if is_ours:
                self._form = kept.get("form", self._form)
                self._address = kept.get("address", self._address)
                return None
            if kept:
                self._address = kept["address"]
                credential = Credential(
                    kept["token"], kept["form"], made_at=0.0, is_proven=kept["proven"]
                )
                return self._use(credential, version, seconds)
            if note is not None:
                # Written by another version of this program: as good as none.
                self._version = version
                continue
            self._stop.sleep(_LOOK_SECONDS)

    def _renewed(self, *, is_proven: bool) -> Credential:
        began = time.monotonic()
        try:
            token, self._address = self._fetch(self._address)
        except BaseException as error:
            if isinstance(error, PlatformClosed):
                self._fail(error)
            self._store.release()
            raise
        life = token.life_seconds
        seconds = began + life - min(_RENEW_BEFORE_END_SECONDS, life / 2) - time.monotonic()
        form = f"{token.type} " if self._sends_token_type else self._form
        credential = Credential(token.secret, form, made_at=began, is_proven=is_proven)
        note = self._note(credential)
        version = self._store.put(note, seconds, known=self._version)
        if is_proven:
            self._store.confirm(note, version)
        return self._use(credential, version, seconds)

    def _use(self, credential: Credential, version: int, seconds: float) -> Credential:
        self._show(credential.secret)
        self._version = version
        self._renew_at = time.monotonic() + seconds
        self._form = credential.form
        self._credential = credential
        return credential

    def _note(self, credential: Credential) -> str:
        return json.dumps(
            {
                "token": credential.secret,
                "form": credential.form,
                "address": self._address,
                "proven": credential.is_proven,
            }
        )


def _read_note(note: str | None) -> dict[str, Any]:
    """A note of this version, or of one that wrote something else, which counts as none."""
    try:
        kept = json.loads(note) if note else {}
    except ValueError:
        return {}
    good = (
        isinstance(kept, dict)
        and isinstance(kept.get("token"), str)
        and isinstance(kept.get("form"), str)
        and _FORM.fullmatch(kept["form"]) is not None
        and isinstance(kept.get("address"), str)
        and isinstance(kept.get("proven"), bool)
    )
    return kept if good else {}
