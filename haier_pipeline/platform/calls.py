"""One call to a platform, whole: its turn, its token, its attempts, and what an error says.

What the clients of the gateway and of the order side share. Bytes and deadlines belong to
`transport`, what an answer says of the call to `envelope`, the token to `token`, the pace to
`pacing`; which interfaces there are, and what their fields mean, to the clients.
"""

import random
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from haier_pipeline.errors import (
    CallFailed,
    CallRefused,
    Cancelled,
    PlatformClosed,
    PlatformError,
    TransientFailure,
)
from haier_pipeline.platform.envelope import Step, Verdict, classify
from haier_pipeline.platform.masking import Masker, masker
from haier_pipeline.platform.pacing import Interruption, Ledger, Pace
from haier_pipeline.platform.token import Credential, OwnTokens, Token, TokenKeeper, TokenStore
from haier_pipeline.platform.transport import (
    Auth,
    BrokenError,
    Exchange,
    ExchangeError,
    Reply,
    TooLargeError,
    UntrustedError,
    encode,
)

#: One call and at most three repetitions (contract, "Rules for every call").
MOST_ATTEMPTS: Final = 4
#: How often one call goes on with another token after a 401: with several programs that end each
#: other's tokens it must not go on for ever.
MOST_RENEWALS: Final = 6
#: A longer ``Retry-After`` is not waited for (fault matrix, row 5).
MOST_RETRY_AFTER_SECONDS: Final = 60.0
BACKOFF_SECONDS: Final = 0.5
MOST_BACKOFF_SECONDS: Final = 8.0
#: Bounds of decoded answers (row 10). A full listing of 200,000 products takes about 100 MB.
TOKEN_BYTES: Final = 64 * 1024
ANSWER_BYTES: Final = 4 * 1024**2

_MESSAGE_LENGTH: Final = 200

#: What one attempt means; told whether any byte of the request had left.
Judge = Callable[[Reply | ExchangeError, bool], Verdict]


class Stats:
    """What a client has sent so far. Safe for threads.

    ``calls`` by interface, every attempt counted, the token's included; ``retries`` are attempts
    after the first, ``refused`` answers with HTTP 429. ``first_call`` and ``last_call`` are
    `time.monotonic` seconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        self.retries = 0
        self.refused = 0
        self.first_call: float | None = None
        self.last_call: float | None = None

    @property
    def total(self) -> int:
        with self._lock:
            return self.calls.total()

    @property
    def token_calls(self) -> int:
        with self._lock:
            return self.calls["token"]

    @property
    def calls_per_second(self) -> float:
        """The rate from the first call to the last; 0 before the second call."""
        with self._lock:
            if self.first_call is None or self.last_call is None:
                return 0.0
            seconds = self.last_call - self.first_call
            return (self.calls.total() - 1) / seconds if seconds > 0 else 0.0

    def count_call(self, endpoint: str) -> None:
        with self._lock:
            self.last_call = time.monotonic()
            if self.first_call is None:
                self.first_call = self.last_call
            self.calls[endpoint] += 1

    def count_retry(self) -> None:
        with self._lock:
            self.retries += 1

    def count_refused(self) -> None:
        with self._lock:
            self.refused += 1


class PlatformClient(ABC):
    """What a client of one dealer is made of. Safe for threads; a context manager.

    ``rate_limit`` and ``ledger`` make the pace, ``tokens`` shares the token, ``sends_token_type``
    is `TokenKeeper`'s. ``secrets`` are masked in all that is said, ``ids`` are the names that
    servers join to one. ``stop`` ends every wait and every call in flight with `Cancelled`, as
    `close` does. ``attempt_seconds`` and ``token_seconds`` bound one attempt from connecting to the
    last byte.
    """

    #: How errors call the token's interface.
    token_endpoint: ClassVar[str]
    #: What they say is to be checked: by status, and where no token is given.
    checks: ClassVar[Mapping[int, str]]
    credentials_check: ClassVar[str]
    #: The keys of the addresses of interfaces and tokens.
    address_keys: ClassVar[tuple[str, str]]

    def __init__(
        self,
        *,
        rate_limit: int,
        secrets: Iterable[str],
        ids: tuple[str, ...],
        ledger: Ledger | None,
        tokens: TokenStore | None,
        sends_token_type: bool,
        stop: threading.Event | None,
        workers: int,
        attempt_seconds: float,
        token_seconds: float,
    ) -> None:
        self.stats = Stats()
        self._closed = threading.Event()
        self._stop = Interruption(stop if stop is not None else threading.Event(), self._closed)
        self._pace = Pace(rate_limit, ledger, self._stop)
        self._exchange = Exchange(connections=workers, stop=self._stop)
        self._attempt_seconds = attempt_seconds
        self._token_seconds = token_seconds
        self._tokens = TokenKeeper(
            self._fetch_token,
            tokens if tokens is not None else OwnTokens(),
            self._stop,
            self._mask_token,
            sends_token_type=sends_token_type,
        )
        self._secrets = sorted(secrets, key=len, reverse=True)
        self._ids = ids
        self._shown_tokens: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the calls in flight within a quarter of a second and close the connections."""
        self._closed.set()
        self._exchange.close()

    def check_token(self) -> None:
        """Make sure that there is a token for this dealer. Raises `PlatformClosed`."""
        self._tokens.current()

    @abstractmethod
    def _fetch_token(self, address: str | None) -> tuple[Token, str]:
        """Ask for a new token, and return it with the address that gave it.

        ``address`` has worked before, if it is not None.
        """

    def _asked_token(
        self,
        url: str,
        body: Mapping[str, Any] | bytes,
        parse: Callable[[object], Token | None],
        *,
        auth: Auth | None = None,
        most_attempts: int = MOST_ATTEMPTS,
    ) -> Token:
        """Ask an address for a token. Raises `PlatformClosed`: without one no call can work."""
        endpoint = self.token_endpoint
        try:
            answer = self._ask(
                endpoint,
                url,
                body,
                seconds=self._token_seconds,
                most_bytes=TOKEN_BYTES,
                most_attempts=most_attempts,
                auth=auth,
            )
        except CallFailed as error:
            raise PlatformClosed(
                str(error),
                endpoint=endpoint,
                status=error.status,
                attempts=error.attempts,
                retry_after=error.retry_after,
            ) from None
        token = parse(answer)
        if token is None:
            check = f"check {self.address_keys[1]}, {self.credentials_check.removeprefix('check ')}"
            problem = f"the answer holds no token; {check}"
            raise PlatformClosed(sentence(endpoint, (), problem), endpoint=endpoint, status=200)
        return token

    def _mask_token(self, secret: str) -> None:
        self._shown_tokens = (*self._shown_tokens[-1:], secret)

    def _ask(
        self,
        endpoint: str,
        url: str,
        body: Mapping[str, Any] | Sequence[Any] | bytes,
        *,
        seconds: float,
        most_bytes: int,
        about: Sequence[str] = (),
        most_attempts: int = MOST_ATTEMPTS,
        auth: Auth | None = None,
        judge: Judge = lambda outcome, _: classify(outcome),
    ) -> Any:
        """Return the data of a good answer, repeating the call where that may help.

        Every attempt waits for its turn in the pace. What a 401 costs, another token or form, does
        not count as one of the four attempts (fault matrix, rows 1, 2, 5, 6, 7 and 9). ``auth``
        completes a call for a token; all others bear one. ``judge`` is told of every attempt, of
        one that a stop ended too.
        """
        content = body if isinstance(body, bytes) else encode(body)
        made = repetitions = renewals = 0
        began = time.monotonic()
        while True:
            # Before the turn, since a token takes a turn of its own.
            with self._credential(endpoint, began) as credential:
                self._pace.wait()
                self.stats.count_call(endpoint)
                made += 1
                outcome = self._attempt(
                    url, content, seconds, most_bytes, credential or auth, judge
                )
                verdict = judge(outcome, self._exchange.has_sent)
                if isinstance(outcome, TooLargeError):
                    problem = str(outcome)
                    raise CallRefused(
                        sentence(endpoint, about, problem),
                        endpoint=endpoint,
                        attempts=made,
                        reason=problem,
                    )
                if isinstance(outcome, UntrustedError):
                    problem = f"{outcome}; check the address and the proxy"
                    raise PlatformClosed(
                        sentence(endpoint, about, problem), endpoint=endpoint, attempts=made
                    )
                # Before the next one is let in: it is to go out with what this one has found out.
                if credential is not None and verdict.is_answer:
                    self._tokens.answered(credential, is_accepted=verdict.accepts_the_token)
                if credential is not None and verdict.step is Step.RENEW:
                    renewals += 1
                    refusal = self._refusal(endpoint, about, verdict, made)
                    self._tokens.refused(credential, refusal, began=began)
            if verdict.step is Step.DONE:
                return verdict.data
            if verdict.step is Step.RENEW and 0 < renewals <= MOST_RENEWALS:
                pass
            elif verdict.step is Step.REPEAT:
                if verdict.status == 429:
                    self.stats.count_refused()
                repetitions += 1
                self._wait_to_repeat(endpoint, about, verdict, made, repetitions, most_attempts)
            else:
                raise self._refusal(endpoint, about, verdict, made)
            self.stats.count_retry()

    def _credential(self, endpoint: str, began: float) -> AbstractContextManager[Credential | None]:
        is_for_token = endpoint == self.token_endpoint
        return nullcontext() if is_for_token else self._tokens.lend(began)

    def _attempt(
        self,
        url: str,
        content: bytes,
        seconds: float,
        most_bytes: int,
        auth: Auth | None,
        judge: Judge,
    ) -> Reply | ExchangeError:
        try:
            return self._exchange.post(
                url, content, seconds=seconds, most_bytes=most_bytes, auth=auth
            )
        except ExchangeError as error:
            return error
        except Cancelled:
            judge(BrokenError("the call was cancelled"), self._exchange.has_sent)
            raise

    def _wait_to_repeat(
        self,
        endpoint: str,
        about: Sequence[str],
        verdict: Verdict,
        made: int,
        repetitions: int,
        most_attempts: int,
    ) -> None:
        """Wait until the call may be sent again; raise where it is not to be."""
        wait = verdict.retry_after
        problem = self._problem(verdict)
        if wait is not None and wait > MOST_RETRY_AFTER_SECONDS:
            problem += (
                f"; it asks to wait {wait:.0f} s, and no more than"
                f" {MOST_RETRY_AFTER_SECONDS:.0f} s are waited for; try again later"
            )
            raise PlatformClosed(
                sentence(endpoint, about, problem),
                endpoint=endpoint,
                status=verdict.status,
                attempts=made,
                retry_after=wait,
            )
        if repetitions >= most_attempts:
            advice = self.checks.get(verdict.status or 0, "try again later")
            if verdict.status is None or verdict.status < 300:
                # Nobody answered, or not the platform.
                address = self.address_keys[endpoint == self.token_endpoint]
                advice = f"check {address}, the network and the proxy"
            problem += f", after {made} attempts; {advice}"
            # In an envelope of HTTP 200 or 400 it may be a refusal that only bears this code.
            is_refusal = (verdict.http_status or 500) < 429
            raise TransientFailure(
                sentence(endpoint, about, problem),
                endpoint=endpoint,
                status=verdict.status,
                attempts=made,
                retry_after=wait,
                reason=self._masked(verdict.reason) if is_refusal else "",
            )
        if wait is not None:
            # The platform asks the dealer, not this thread, to wait.
            self._pace.pause(wait)
        # Not in place of it: a word that it need not wait shortens no wait (row 5).
        self._stop.sleep(_backoff(repetitions))

    def _refusal(
        self, endpoint: str, about: Sequence[str], verdict: Verdict, made: int
    ) -> PlatformError:
        """The error for what no repetition heals (row 2)."""
        status = verdict.status or 0
        is_for_token = endpoint == self.token_endpoint
        check = self.checks.get(status, "check what was asked for")
        if 300 <= status < 400:
            check = f"a redirect is not followed; check {' and '.join(self.address_keys)}"
        elif is_for_token:
            check = f"check {self.address_keys[1]}" if status == 404 else self.credentials_check
        counted = f", after {made} attempts" if made > 1 else ""
        # With HTTP 200 the platform has understood the call, and says itself what is wrong.
        advice = "" if status < 300 and not is_for_token else f"; {check}"
        problem = self._problem(verdict)
        is_closed = 300 <= status < 400 or status in (401, 403, 404)
        kind = PlatformClosed if is_closed else CallRefused
        return kind(
            sentence(endpoint, about, f"{problem}{counted}{advice}"),
            endpoint=endpoint,
            status=status,
            attempts=made,
            reason=problem,
        )

    def _problem(self, verdict: Verdict) -> str:
        """What is wrong, with the platform's own reason where it gives one."""
        if not verdict.reason:
            return verdict.problem
        said = self._masked(verdict.reason)
        if verdict.problem == "the platform says no":
            return f"the platform says {said}"
        return f"{verdict.problem} ({said})"

    def _masker(self) -> Masker:
        secrets = (*self._secrets, *self._shown_tokens)
        return masker(secrets, self._ids)

    def _masked(self, text: str) -> str:
        """The platform's words for people: short, on one line, without secrets (row 8)."""
        text = " ".join(self._masker().text(text).split())
        if len(text) > _MESSAGE_LENGTH:
            text = text[:_MESSAGE_LENGTH] + "…"
        return f"“{text}”"


def _backoff(repetition: int) -> float:
    """Seconds before the given repetition (1, 2, 3): doubling, with jitter, capped."""
    seconds: float = min(BACKOFF_SECONDS * 2 ** (repetition - 1), MOST_BACKOFF_SECONDS)
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 - spreads threads, guards nothing


def sentence(endpoint: str, about: Sequence[str], problem: str) -> str:
    asked = ""
    if about:
        more = f" and {len(about) - 3} more" if len(about) > 3 else ""
        asked = f" for {', '.join(about[:3])}{more}"
    return f"The {endpoint} call{asked} failed: {problem}."
