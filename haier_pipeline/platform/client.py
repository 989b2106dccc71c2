"""The client of Haier's dealer open platform: one method for each interface, typed answers back.

Here stand the interfaces' paths and request fields, what each HTTP status means, and when a call is
repeated. Bytes and deadlines belong to `transport`, the token to `token`, the pace to `pacing`, the
meaning of fields to `answers`. No SQL, no Dagster, no environment.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from haier_pipeline.platform.config import SECRET_FIELDS, DealerConfig
from haier_pipeline.platform.masking import Masker, masker
from haier_pipeline.platform.pacing import Interruption, Ledger, Pace
from haier_pipeline.platform.token import Token, TokenKeeper, parse_token
from haier_pipeline.platform.transport import (
    BrokenError,
    Exchange,
    Reply,
    TooLargeError,
    UntrustedError,
    decode,
    encode,
)

T = TypeVar("T", bound=BaseModel)

#: Codes that one listing or price call may ask for (contract, "Prices").
MOST_CODES: Final = 20
#: One call and at most three repetitions (contract, "Rules for every call").
MOST_ATTEMPTS: Final = 4
#: A longer ``Retry-After`` is not waited for (fault matrix, row 5).
MOST_RETRY_AFTER_SECONDS: Final = 60.0
BACKOFF_SECONDS: Final = 0.5
MOST_BACKOFF_SECONDS: Final = 8.0
#: Bounds of decoded answers (row 10). A full listing of 200,000 products takes about 100 MB.
TOKEN_BYTES: Final = 64 * 1024
ANSWER_BYTES: Final = 4 * 1024**2
FULL_LISTING_BYTES: Final = 256 * 1024**2

_REPEATABLE: Final = frozenset({429, 500, 502, 503, 504})
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

    ``ledger`` shares the pace with other processes of the dealer; without it the client keeps its
    own. ``stop`` ends every wait and every call in flight with `Cancelled`, as `close` does.
    ``workers`` is how many threads will call at a time. ``attempt_seconds`` and ``token_seconds``
    bound one attempt from connecting to the last byte, ``answer_bytes`` a decoded answer other than
    the token and the full listing.

    Every method raises `CallRefused` or `TransientFailure` where only this call failed, and
    `PlatformClosed` where none can work. Their messages hold no secret.
    """

    def __init__(
        self,
        dealer: DealerConfig,
        *,
        ledger: Ledger | None = None,
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
        self._token_url = dealer.token_url
        self._tokens = TokenKeeper(self._fetch_token)
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
        """Make sure that the platform gives this dealer a token. Raises `PlatformClosed`."""
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
        member_id: str | None = None,
    ) -> Answer[answers.LogisticsRecord]:
        """Return the logistics of one order."""
        body = {
            "orderCode": order_code,
            "sellerCode": self.dealer.customer_code,
            "sellerPassword": self.dealer.seller_password.get_secret_value(),
        }
        if delivery_record_code is not None:
            body["deliveryRecordCode"] = delivery_record_code
        if member_id is not None:
            body["memberId"] = member_id
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
        if isinstance(answer, dict) and "success" in answer:
            if not _is_success(answer):
                problem = f"the platform says {self._said(answer)}"
                raise CallRefused(
                    _sentence(endpoint, about, problem), endpoint=endpoint, status=200
                )
            answer = answer.get("data")
        try:
            return parse(self._masker().payload(answer))
        except CallRefused as error:
            sentence = _sentence(endpoint, about, str(error).rstrip("."))
            raise CallRefused(sentence, endpoint=endpoint, status=200) from None

    def _fetch_token(self) -> Token:
        """Ask for a new token, where need be under the other path that some gateways serve."""
        try:
            answer = self._ask_for_token(self._token_url)
        except PlatformClosed as error:
            other = self._token_url.removesuffix("/oauth2/auth") + "/oauth2/token"
            if error.status != 404 or not self._token_url.endswith("/oauth2/auth"):
                raise
            answer = self._ask_for_token(other)
            self._token_url = other
        if isinstance(answer, dict) and "success" in answer and not _is_success(answer):
            problem = f"the platform says {self._said(answer)}; check client_id and client_secret"
            raise PlatformClosed(_sentence("token", (), problem), endpoint="token", status=200)
        token = parse_token(answer)
        if token is None:
            problem = "the answer holds no token; check token_url, client_id and client_secret"
            raise PlatformClosed(_sentence("token", (), problem), endpoint="token", status=200)
        self._shown_tokens = (*self._shown_tokens[-1:], token.secret)
        return token

    def _ask_for_token(self, url: str) -> Any:
        body = {
            "client_id": self.dealer.client_id,
            "client_secret": self.dealer.client_secret.get_secret_value(),
            "grant_type": "client_credentials",
        }
        try:
            return self._ask(
                "token", url, body, seconds=self._token_seconds, most_bytes=TOKEN_BYTES
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

    def _ask(
        self,
        endpoint: str,
        url: str,
        body: Mapping[str, Any],
        *,
        seconds: float,
        most_bytes: int,
        about: Sequence[str] = (),
    ) -> Any:
        """Return the decoded JSON of an answer with HTTP 2xx, repeating the call where it may help.

        Every attempt waits for its turn in the pace. A 401 is repeated once with a new token, and
        that does not count as one of the four attempts (fault matrix, rows 1, 2, 5, 6, 7 and 9).
        """
        content = encode(body)
        made = repetitions = 0
        is_renewed = False
        while True:
            # Before the turn, since a token takes a turn of its own.
            token = None if endpoint == "token" else self._tokens.current()
            self._pace.wait()
            self.stats.count_call(endpoint)
            made += 1
            reply: Reply | None = None
            try:
                reply = self._exchange.post(
                    url, content, seconds=seconds, most_bytes=most_bytes, auth=token
                )
                if 200 <= reply.status < 300:
                    return decode(reply.body)
                problem = f"HTTP {reply.status}{self._said_in(reply)}"
            except BrokenError as error:
                problem = str(error)
            except TooLargeError as error:
                sentence = _sentence(endpoint, about, str(error))
                raise CallRefused(sentence, endpoint=endpoint, attempts=made) from None
            except UntrustedError as error:
                sentence = _sentence(endpoint, about, f"{error}; check the address and the proxy")
                raise PlatformClosed(sentence, endpoint=endpoint, attempts=made) from None

            status = None if reply is None else reply.status
            if status == 401 and token is not None and not is_renewed:
                is_renewed = True
                self.stats.count_retry()
                self._tokens.replace(token)
                continue
            if status is not None and 300 <= status < 500 and status != 429:
                raise _refusal(endpoint, about, status, problem, made)
            if status == 429:
                self.stats.count_refused()
            wait = None if reply is None else reply.retry_after
            if wait is not None and wait > MOST_RETRY_AFTER_SECONDS:
                problem += (
                    f"; it asks to wait {wait:.0f} s, and no more than"
                    f" {MOST_RETRY_AFTER_SECONDS:.0f} s are waited for; try again later"
                )
                raise PlatformClosed(
                    _sentence(endpoint, about, problem),
                    endpoint=endpoint,
                    status=status,
                    attempts=made,
                    retry_after=wait,
                )
            repetitions += 1
            if repetitions == MOST_ATTEMPTS:
                advice = _CHECK.get(status or 0, "try again later")
                if status is None or status < 300:
                    # Nobody answered, or not the platform.
                    address = "token_url" if endpoint == "token" else "base_url"
                    advice = f"check {address}, the network and the proxy"
                problem += f", after {made} attempts; {advice}"
                raise TransientFailure(
                    _sentence(endpoint, about, problem),
                    endpoint=endpoint,
                    status=status,
                    attempts=made,
                    retry_after=wait,
                )
            self.stats.count_retry()
            if wait is None:
                self._stop.sleep(_backoff(repetitions))
            else:
                # The platform asks the dealer, not this thread, to wait.
                self._pace.pause(wait)

    def _said_in(self, reply: Reply) -> str:
        """What the platform's envelope says of an error, as `` (…)``; empty where there is none."""
        try:
            answer = decode(reply.body)
        except BrokenError:
            return ""
        if isinstance(answer, dict) and isinstance(answer.get("message"), str):
            return f" ({self._said(answer)})"
        return ""

    def _masker(self) -> Masker:
        secrets = (*self._secrets, *self._shown_tokens)
        return masker(secrets, (self.dealer.client_id, self.dealer.customer_code))

    def _said(self, envelope: Mapping[str, Any]) -> str:
        """The envelope's message for people: short, on one line, without secrets (row 8)."""
        message = envelope.get("message")
        text = str(message if message is not None else envelope.get("code") or "nothing more")
        text = " ".join(self._masker().text(text).split())
        if len(text) > _MESSAGE_LENGTH:
            text = text[:_MESSAGE_LENGTH] + "…"
        return f"“{text}”"


def _is_success(envelope: Mapping[str, Any]) -> bool:
    return str(envelope["success"]).strip().lower() in ("true", "1")


def _backoff(repetition: int) -> float:
    """Seconds before the given repetition (1, 2, 3): doubling, with jitter, capped."""
    seconds: float = min(BACKOFF_SECONDS * 2 ** (repetition - 1), MOST_BACKOFF_SECONDS)
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 - spreads threads, guards nothing


def _refusal(
    endpoint: str, about: Sequence[str], status: int, problem: str, made: int
) -> PlatformError:
    """The error for a status that no repetition heals (row 2)."""
    if status < 400:
        check = "a redirect is not followed; check base_url and token_url"
    elif endpoint == "token":
        check = "check token_url" if status == 404 else "check client_id and client_secret"
    else:
        check = _CHECK.get(status, "check what was asked for")
    counted = f", after {made} attempts" if made > 1 else ""
    sentence = _sentence(endpoint, about, f"{problem}{counted}; {check}")
    kind = PlatformClosed if status < 400 or status in (401, 403, 404) else CallRefused
    return kind(sentence, endpoint=endpoint, status=status, attempts=made)


def _sentence(endpoint: str, about: Sequence[str], problem: str) -> str:
    asked = ""
    if about:
        more = f" and {len(about) - 3} more" if len(about) > 3 else ""
        asked = f" for {', '.join(about[:3])}{more}"
    return f"The {endpoint} call{asked} failed: {problem}."
