"""The client of Haier's dealer open platform: one method for each interface, typed answers back.

Here stand the interfaces' paths and request fields, and how often a call is repeated. Bytes and
deadlines belong to `transport`, what an answer says of the call to `envelope`, the token to
`token`, the pace to `pacing`, the meaning of fields to `answers`. No SQL, no Dagster, no
environment.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from pydantic import BaseModel

from haier_pipeline.errors import (
    CallFailed,
    CallRefused,
    InvalidInput,
    PlatformClosed,
    PlatformError,
    TransientFailure,
)
from haier_pipeline.platform import answers
from haier_pipeline.platform.answers import Answer
from haier_pipeline.platform.config import (
    OTHER_TOKEN_PATH,
    SECRET_FIELDS,
    TOKEN_PATH,
    DealerConfig,
)
from haier_pipeline.platform.envelope import Step, Verdict, classify
from haier_pipeline.platform.masking import Masker, masker
from haier_pipeline.platform.pacing import Interruption, Ledger, Pace
from haier_pipeline.platform.token import (
    Credential,
    OwnTokens,
    Token,
    TokenKeeper,
    TokenStore,
    parse_token,
)
from haier_pipeline.platform.transport import (
    BrokenError,
    Exchange,
    TooLargeError,
    UntrustedError,
    encode,
)

T = TypeVar("T", bound=BaseModel)

#: Codes that one listing or price call may ask for (contract, "Prices").
MOST_CODES: Final = 20
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
FULL_LISTING_BYTES: Final = 256 * 1024**2

_MESSAGE_LENGTH: Final = 200

_PATHS: Final[Mapping[str, str]] = {
    "listing": "/yilihuo/jsh-service-goods-mall-search/api/product-info"
    "/procurable-products-out/check-procurable-products",
    "prices": "/yilihuo/jsh-service-goods-price/api/goods-price"
    "/price-daily-sales/price-query/pt-out-list-price",
    "stock": "/yilihuo/jsh-service-stock-mall/api/page/stock/get-available-stock-open",
    "balance": "/yilihuo/jsh-service-finance-mall/api/page/account"
    "/account-balance-manager/get-payer-account-balance-by-customer-code",
    "logistics": "/yilihuo/ylh-cloud-service-stock/api/page/stock/logistics/sass"
    "/get-thirdparty-logistics-info-by-order-code-auth",
}

_CHECK: Final[Mapping[int, str]] = {
    400: "check the configured codes and the request's values",
    401: "check client_id, client_secret and the rights of the account",
    403: "check the passwords, the account's rights and Haier's IP allow-list",
    404: "check base_url: there is no such interface",
    429: "another program may be calling with the same client_id",
}


def batches(codes: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Split codes into batches of at most 20 distinct ones, in their order, trimmed (row 13).

    Raises `InvalidInput` for a blank code.
    """
    distinct: dict[str, None] = {}
    for code in codes:
        if not code.strip():
            raise InvalidInput("A product code is blank.")
        distinct[code.strip()] = None
    ordered = tuple(distinct)
    for start in range(0, len(ordered), MOST_CODES):
        yield ordered[start : start + MOST_CODES]


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


class HaierClient:
    """Calls the platform as one dealer. Safe for threads; a context manager.

    ``ledger`` shares the pace and ``tokens`` the token with whoever else calls as this client
    (``client_id`` at its origin); without them it keeps its own. ``stop`` ends every wait and every
    call in flight with `Cancelled`, as `close` does. ``workers`` is how many threads will call at a
    time. ``attempt_seconds`` and ``token_seconds`` bound one attempt from connecting to the last
    byte, ``answer_bytes`` a decoded answer other than the token and the full listing.

    Every method raises `CallRefused` or `TransientFailure` where only this call failed, and
    `PlatformClosed` where none can work. Their messages hold no secret.
    """

    def __init__(
        self,
        dealer: DealerConfig,
        *,
        ledger: Ledger | None = None,
        tokens: TokenStore | None = None,
        stop: threading.Event | None = None,
        workers: int = 32,
        attempt_seconds: float = 30.0,
        token_seconds: float = 10.0,
        answer_bytes: int = ANSWER_BYTES,
    ) -> None:
        self.dealer = dealer
        self.stats = Stats()
        self._closed = threading.Event()
        self._stop = Interruption(stop if stop is not None else threading.Event(), self._closed)
        self._pace = Pace(dealer.rate_limit, ledger, self._stop)
        self._exchange = Exchange(connections=workers, stop=self._stop)
        self._attempt_seconds = attempt_seconds
        self._token_seconds = token_seconds
        self._answer_bytes = answer_bytes
        self._tokens = TokenKeeper(
            self._fetch_token,
            tokens if tokens is not None else OwnTokens(),
            self._stop,
            self._mask_token,
        )
        self._secrets = sorted(
            (getattr(dealer, key).get_secret_value() for key in SECRET_FIELDS),
            key=len,
            reverse=True,
        )
        self._shown_tokens: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"HaierClient({self.dealer.name!r})"

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

    # ------------------------------------------------------------------------------ interfaces

    def check_token(self) -> None:
        """Make sure that there is a token for this dealer. Raises `PlatformClosed`."""
        self._tokens.current()

    def list_products(self, product_codes: Iterable[str] = ()) -> Answer[answers.ProductListing]:
        """Return the listing of the given codes, or of every procurable product if there are none.

        More than 20 codes take several calls.
        """
        body = {
            "customerCode": self.dealer.customer_code,
            "sendToCode": self.dealer.send_to_code,
            "supplierCode": self.dealer.supplier_code,
            "searchType": "PTJSH",
            "passWord": self.dealer.password.get_secret_value(),
        }
        chunks = list(batches(product_codes))
        if not chunks:
            return self._call("listing", body, answers.parse_listing, most_bytes=FULL_LISTING_BYTES)
        answer: Answer[answers.ProductListing] = Answer()
        for codes in chunks:
            answer += self._call(
                "listing",
                body | {"productCodes": list(codes)},
                lambda data, codes=codes: answers.parse_listing(data, codes),  # type: ignore[misc]
                about=codes,
            )
        return answer

    def quote_prices(self, product_codes: Iterable[str]) -> Answer[answers.PriceQuote]:
        """Return the prices of at most 20 distinct codes; of none, an empty answer and no call.

        Codes that the platform leaves out are not in the answer. Raises `InvalidInput` for more
        than 20; `batches` splits them.
        """
        chunks = list(batches(product_codes))
        if not chunks:
            return Answer()
        if len(chunks) > 1:
            raise InvalidInput(f"One price call asks for at most {MOST_CODES} codes.")
        codes = chunks[0]
        body = {
            "customerCode": self.dealer.customer_code,
            "sendToCode": self.dealer.send_to_code,
            "productCodes": list(codes),
            "priceType": "PT",
            "passWord": self.dealer.password.get_secret_value(),
        }
        return self._call(
            "prices", body, lambda data: answers.parse_prices(data, codes), about=codes
        )

    def get_stock(self, product_code: str, county_code: str) -> Answer[answers.Warehouse]:
        """Return the warehouses that have the product for the county; no record means none."""
        body = {
            "salesCode": self.dealer.customer_code,
            "senderCode": self.dealer.send_to_code,
            "productCode": product_code,
            "countyCode": county_code,
            "source": "JSH-B",
            "sellerPassword": self.dealer.seller_password.get_secret_value(),
        }
        about = (f"{product_code} in {county_code}",)
        return self._call("stock", body, answers.parse_stock, about=about)

    def get_balances(self) -> Answer[answers.PayerBalance]:
        """Return the dealer's payer accounts and their balances."""
        body = {
            "customerCode": self.dealer.customer_code,
            "customerPassword": self.dealer.customer_password.get_secret_value(),
        }
        return self._call("balance", body, answers.parse_balances)

    def get_logistics(
        self,
        order_code: str,
        *,
        delivery_record_code: str | None = None,
        member_id: str | int | None = None,
    ) -> Answer[answers.LogisticsRecord]:
        """Return the logistics of one order.

        ``member_id`` is the retail customer's number, which the platform takes as an integer only.
        Raises `CallRefused` before any call where it is none.
        """
        body: dict[str, Any] = {
            "orderCode": order_code,
            "sellerCode": self.dealer.customer_code,
            "sellerPassword": self.dealer.seller_password.get_secret_value(),
        }
        if delivery_record_code is not None:
            body["deliveryRecordCode"] = delivery_record_code
        if member_id is not None:
            body["memberId"] = _member_number(member_id, order_code)
        return self._call("logistics", body, answers.parse_logistics, about=(order_code,))

    # --------------------------------------------------------------------------- one call, whole

    def _call(
        self,
        endpoint: str,
        body: Mapping[str, Any],
        parse: Callable[[Any], Answer[T]],
        *,
        about: Sequence[str] = (),
        most_bytes: int | None = None,
    ) -> Answer[T]:
        """Ask an interface and read its answer; ``about`` says in messages what was asked for."""
        answer = self._ask(
            endpoint,
            self.dealer.base_url + _PATHS[endpoint],
            body,
            about=about,
            seconds=self._attempt_seconds,
            most_bytes=self._answer_bytes if most_bytes is None else most_bytes,
        )
        try:
            return parse(self._masker().payload(answer))
        except CallRefused as error:
            problem = str(error).rstrip(".")
            sentence = _sentence(endpoint, about, problem)
            raise CallRefused(sentence, endpoint=endpoint, status=200, reason=problem) from None

    def _fetch_token(self, address: str | None) -> tuple[Token, str]:
        """Ask for a new token, and return it with the address that gave it.

        The first address asked is ``address``, which has worked before, else the configured one.
        Where it answers anything but a token, the other path that gateways serve is tried once;
        the error that is raised is the first one (contract, "Environments").
        """
        configured = self.dealer.token_url
        is_known = address in (configured, _other_token_url(configured))
        first = address if address is not None and is_known else configured
        try:
            return self._token_from(first, MOST_ATTEMPTS), first
        except PlatformClosed as error:
            other = _other_token_url(first)
            # Nobody answered, or one that cannot be trusted: the path is not to blame.
            if error.status is None or other is None:
                raise
            try:
                return self._token_from(other, 1), other
            except PlatformClosed:
                raise error from None

    def _token_from(self, url: str, most_attempts: int) -> Token:
        body = {
            "client_id": self.dealer.client_id,
            "client_secret": self.dealer.client_secret.get_secret_value(),
            "grant_type": "client_credentials",
        }
        try:
            answer = self._ask(
                "token",
                url,
                body,
                seconds=self._token_seconds,
                most_bytes=TOKEN_BYTES,
                most_attempts=most_attempts,
            )
        except CallFailed as error:
            # Without a token no call can work.
            raise PlatformClosed(
                str(error),
                endpoint="token",
                status=error.status,
                attempts=error.attempts,
                retry_after=error.retry_after,
            ) from None
        token = parse_token(answer)
        if token is None:
            problem = "the answer holds no token; check token_url, client_id and client_secret"
            raise PlatformClosed(_sentence("token", (), problem), endpoint="token", status=200)
        return token

    def _mask_token(self, secret: str) -> None:
        self._shown_tokens = (*self._shown_tokens[-1:], secret)

    def _ask(
        self,
        endpoint: str,
        url: str,
        body: Mapping[str, Any],
        *,
        seconds: float,
        most_bytes: int,
        about: Sequence[str] = (),
        most_attempts: int = MOST_ATTEMPTS,
    ) -> Any:
        """Return the data of a good answer, repeating the call where that may help.

        Every attempt waits for its turn in the pace. What a 401 costs, another token or form, does
        not count as one of the four attempts (fault matrix, rows 1, 2, 5, 6, 7 and 9).
        """
        content = encode(body)
        made = repetitions = renewals = 0
        began = time.monotonic()
        while True:
            # Before the turn, since a token takes a turn of its own.
            with self._credential(endpoint, began) as credential:
                self._pace.wait()
                self.stats.count_call(endpoint)
                made += 1
                try:
                    verdict = self._attempt(url, content, seconds, most_bytes, credential)
                except TooLargeError as error:
                    problem = str(error)
                    sentence = _sentence(endpoint, about, problem)
                    raise CallRefused(
                        sentence, endpoint=endpoint, attempts=made, reason=problem
                    ) from None
                except UntrustedError as error:
                    problem = f"{error}; check the address and the proxy"
                    sentence = _sentence(endpoint, about, problem)
                    raise PlatformClosed(sentence, endpoint=endpoint, attempts=made) from None
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
        return nullcontext() if endpoint == "token" else self._tokens.lend(began)

    def _attempt(
        self,
        url: str,
        content: bytes,
        seconds: float,
        most_bytes: int,
        credential: Credential | None,
    ) -> Verdict:
        try:
            return classify(
                self._exchange.post(
                    url, content, seconds=seconds, most_bytes=most_bytes, auth=credential
                )
            )
        except BrokenError as error:
            return classify(error)

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
                _sentence(endpoint, about, problem),
                endpoint=endpoint,
                status=verdict.status,
                attempts=made,
                retry_after=wait,
            )
        if repetitions >= most_attempts:
            advice = _CHECK.get(verdict.status or 0, "try again later")
            if verdict.status is None or verdict.status < 300:
                # Nobody answered, or not the platform.
                address = "token_url" if endpoint == "token" else "base_url"
                advice = f"check {address}, the network and the proxy"
            problem += f", after {made} attempts; {advice}"
            # In an envelope of HTTP 200 or 400 it may be a refusal that only bears this code.
            is_refusal = (verdict.http_status or 500) < 429
            raise TransientFailure(
                _sentence(endpoint, about, problem),
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
        check = _CHECK.get(status, "check what was asked for")
        if 300 <= status < 400:
            check = "a redirect is not followed; check base_url and token_url"
        elif endpoint == "token":
            check = "check token_url" if status == 404 else "check client_id and client_secret"
        counted = f", after {made} attempts" if made > 1 else ""
        # With HTTP 200 the platform has understood the call, and says itself what is wrong.
        advice = "" if status < 300 and endpoint != "token" else f"; {check}"
        problem = self._problem(verdict)
        is_closed = 300 <= status < 400 or status in (401, 403, 404)
        kind = PlatformClosed if is_closed else CallRefused
        return kind(
            _sentence(endpoint, about, f"{problem}{counted}{advice}"),
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
        return masker(secrets, (self.dealer.client_id, self.dealer.customer_code))

    def _masked(self, text: str) -> str:
        """The platform's words for people: short, on one line, without secrets (row 8)."""
        text = " ".join(self._masker().text(text).split())
        if len(text) > _MESSAGE_LENGTH:
            text = text[:_MESSAGE_LENGTH] + "…"
        return f"“{text}”"


def _other_token_url(url: str) -> str | None:
    """The same address with the other path for tokens; None where it has neither path."""
    for path, other in ((TOKEN_PATH, OTHER_TOKEN_PATH), (OTHER_TOKEN_PATH, TOKEN_PATH)):
        if url.endswith(path):
            return url.removesuffix(path) + other
    return None


def _member_number(member_id: str | int, order_code: str) -> int:
    text = str(member_id).strip()
    if not text.isascii() or not text.isdigit():
        raise CallRefused(
            f"The logistics call for {order_code} was not made: member_id must be a whole number;"
            " correct it in tracked_order or leave it empty.",
            endpoint="logistics",
            attempts=0,
        )
    return int(text)


def _backoff(repetition: int) -> float:
    """Seconds before the given repetition (1, 2, 3): doubling, with jitter, capped."""
    seconds: float = min(BACKOFF_SECONDS * 2 ** (repetition - 1), MOST_BACKOFF_SECONDS)
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 - spreads threads, guards nothing


def _sentence(endpoint: str, about: Sequence[str], problem: str) -> str:
    asked = ""
    if about:
        more = f" and {len(about) - 3} more" if len(about) > 3 else ""
        asked = f" for {', '.join(about[:3])}{more}"
    return f"The {endpoint} call{asked} failed: {problem}."
