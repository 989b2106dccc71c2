"""The client of Haier's dealer open platform: one method for each interface, typed answers back.

Here stand the interfaces' paths and request fields. How a call is made and repeated belongs to
`calls`, the meaning of fields to `answers`. No SQL, no Dagster, no environment.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from haier_pipeline.errors import CallRefused, InvalidInput, PlatformClosed
from haier_pipeline.platform import answers
from haier_pipeline.platform.answers import Answer
from haier_pipeline.platform.calls import (
    ANSWER_BYTES,
    MOST_ATTEMPTS,
    PlatformClient,
    sentence,
)
from haier_pipeline.platform.config import (
    OTHER_TOKEN_PATH,
    SECRET_FIELDS,
    TOKEN_PATH,
    DealerConfig,
)
from haier_pipeline.platform.pacing import Ledger
from haier_pipeline.platform.token import Token, TokenStore, parse_token

T = TypeVar("T", bound=BaseModel)

#: Codes that one listing or price call may ask for (contract, "Prices").
MOST_CODES: Final = 20
#: Bound of a decoded listing (row 10): 200,000 products take about 100 MB.
FULL_LISTING_BYTES: Final = 256 * 1024**2

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


def batches(codes: Iterable[str], most: int = MOST_CODES) -> Iterator[tuple[str, ...]]:
    """Split codes into batches of at most so many distinct ones, in their order, trimmed (row 13).

    Raises `InvalidInput` for a blank code.
    """
    distinct: dict[str, None] = {}
    for code in codes:
        if not code.strip():
            raise InvalidInput("A code is blank.")
        distinct[code.strip()] = None
    ordered = tuple(distinct)
    for start in range(0, len(ordered), most):
        yield ordered[start : start + most]


class HaierClient(PlatformClient):
    """Calls the platform as one dealer. Safe for threads; a context manager.

    ``ledger`` shares the pace and ``tokens`` the token with whoever else calls as this client
    (``client_id`` at its origin); without them it keeps its own. ``stop`` ends every wait and every
    call in flight with `Cancelled`, as `close` does. ``workers`` is how many threads will call at a
    time. ``attempt_seconds`` and ``token_seconds`` bound one attempt from connecting to the last
    byte, ``answer_bytes`` a decoded answer other than the token and the full listing.

    Every method raises `CallRefused` or `TransientFailure` where only this call failed, and
    `PlatformClosed` where none can work. Their messages hold no secret.
    """

    token_endpoint = "token"  # noqa: S105 - an interface's name
    checks = _CHECK
    credentials_check = "check client_id and client_secret"
    address_keys = ("base_url", "token_url")

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
        self._answer_bytes = answer_bytes
        super().__init__(
            rate_limit=dealer.rate_limit,
            secrets=(getattr(dealer, key).get_secret_value() for key in SECRET_FIELDS),
            ids=(dealer.client_id, dealer.customer_code),
            ledger=ledger,
            tokens=tokens,
            sends_token_type=False,
            stop=stop,
            workers=workers,
            attempt_seconds=attempt_seconds,
            token_seconds=token_seconds,
        )

    def __repr__(self) -> str:
        return f"HaierClient({self.dealer.name!r})"

    # ------------------------------------------------------------------------------ interfaces

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
            raise CallRefused(
                sentence(endpoint, about, problem), endpoint=endpoint, status=200, reason=problem
            ) from None

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
        return self._asked_token(url, body, parse_token, most_attempts=most_attempts)


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
