"""One dealer's configuration: its keys, its defaults, and what makes it valid.

The keys are those of the wire contract ("The dealer's configuration"). Reading them from variables
or from PostgreSQL, and encrypting them at rest, belongs elsewhere.
"""

import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

from pydantic import SecretStr

from haier_pipeline.errors import InvalidConfig

#: Haier's own environments: test, staging, production (contract, "Environments").
HAIER_HOSTS: Final = frozenset(
    {
        "openplat-test.haier.net",
        "openplat-bj-aliyun-stage.haier.net",
        "openplat-bj-aliyun.haier.net",
    }
)

#: Every key of a configuration, in the contract's order.
FIELDS: Final[tuple[str, ...]] = (
    "client_id",
    "client_secret",
    "token_url",
    "base_url",
    "customer_code",
    "send_to_code",
    "supplier_code",
    "password",
    "seller_password",
    "county_codes",
    "customer_password",
    "rate_limit",
)

#: The keys whose values are never shown, logged or stored in the clear.
SECRET_FIELDS: Final[frozenset[str]] = frozenset(
    {"client_secret", "password", "seller_password", "customer_password"}
)

#: What a key is worth where it is left out, null or blank. A key that is neither here nor
#: ``customer_password`` (which defaults to ``password``) is required.
DEFAULTS: Final[Mapping[str, object]] = {
    "token_url": "https://openplat-test.haier.net/oauth2/auth",
    "base_url": "https://openplat-test.haier.net",
    "supplier_code": "1001",
    "county_codes": ("110101",),
    "rate_limit": 100,
}

MAX_NAME_LENGTH: Final = 50
MAX_RATE_LIMIT: Final = 10_000

_CUSTOMER_CODE = re.compile(r"[0-9A-Za-z]{8}([0-9A-Za-z]{2})?")
_CODE = re.compile(r"[0-9A-Za-z._-]{1,50}")
_COUNTY_CODE = re.compile(r"[0-9]{6}")
_RATE = re.compile(r"[0-9]{1,5}")
# Nothing that two URL parsers could read differently: no "@", no backslash, no space, no "?"/"#".
_URL = re.compile(r"https?://[A-Za-z0-9.\-:\[\]]+(/[A-Za-z0-9._~/-]*)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class DealerConfig:
    """One dealer: its account at the platform, ready to be used.

    Made by `parse`, so that every instance is valid. Its ``repr`` shows no secret.
    ``county_codes`` are the customer's counties, ``rate_limit`` the dealer's calls a second.
    """

    name: str
    client_id: str
    client_secret: SecretStr
    token_url: str
    base_url: str
    customer_code: str
    send_to_code: str
    supplier_code: str
    password: SecretStr
    seller_password: SecretStr
    county_codes: tuple[str, ...]
    customer_password: SecretStr
    rate_limit: int

    @classmethod
    def parse(
        cls, name: str, values: Mapping[str, object], *, allowed_hosts: Collection[str] = ()
    ) -> "DealerConfig":
        """Check ``values`` and return the configuration of the dealer ``name``.

        ``allowed_hosts`` names hosts allowed beside Haier's own, as ``host`` (any port) or
        ``host:port``. Plain HTTP is allowed only where such a host is a loopback address.

        Raises `InvalidConfig` with one sentence that names every field at fault, unknown ones
        included, and never a value (fault matrix, rows 46 and 51).
        """
        problems: dict[str, str] = {}

        def take(key: str, read: Callable[[object], object]) -> object:
            value = values.get(key)
            if value is None or (isinstance(value, str) and not value.strip()):
                value = DEFAULTS.get(key)
            if value is None:
                problems[key] = "is missing"
                return None
            try:
                return read(value)
            except ValueError as error:
                problems[key] = str(error)
                return None

        def read_url(value: object) -> str:
            return _url(value, allowed_hosts)

        def secret(key: str) -> SecretStr:
            return cast("SecretStr", take(key, _secret))

        def text(key: str, read: Callable[[object], str]) -> str:
            return cast("str", take(key, read))

        if not is_dealer_name(name):
            problems["name"] = (
                f"must be 1 to {MAX_NAME_LENGTH} characters without comma, '|' or control character"
            )
        for key in values:
            if key not in FIELDS:
                problems[str(key)[:MAX_NAME_LENGTH]] = "is not a known field"
        password = secret("password")
        own_customer_password = values.get("customer_password") not in (None, "")
        config = cls(
            name=name,
            client_id=text("client_id", _plain_text),
            client_secret=secret("client_secret"),
            token_url=text("token_url", read_url),
            base_url=text("base_url", read_url),
            customer_code=text("customer_code", _matching(_CUSTOMER_CODE, _EIGHT)),
            send_to_code=text("send_to_code", _matching(_CODE, _CODE_RULE)),
            supplier_code=text("supplier_code", _matching(_CODE, _CODE_RULE)),
            password=password,
            seller_password=secret("seller_password"),
            county_codes=cast("tuple[str, ...]", take("county_codes", _county_codes)),
            customer_password=secret("customer_password") if own_customer_password else password,
            rate_limit=cast("int", take("rate_limit", _rate_limit)),
        )
        if problems:
            sentence = "; ".join(f"{key} {problem}" for key, problem in problems.items())
            raise InvalidConfig(
                f"The configuration of the dealer is not valid: {sentence}.", tuple(problems)
            )
        return config


def is_dealer_name(name: object) -> bool:
    """Tell whether ``name`` can be a dealer's: it becomes part of the partition ``date|dealer``,
    and Dagster separates partition keys by commas."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= MAX_NAME_LENGTH
        and name.strip() == name
        and name.isprintable()
        and not set(name) & {",", "|"}
    )


_EIGHT = "must be eight letters or digits"
_CODE_RULE = "must be 1 to 50 letters, digits, dots or dashes"


def _plain_text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("must be text without control characters")
    return value.strip()


def _secret(value: object) -> SecretStr:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    # A secret read from a file likes to bring its line end along; the platform would only say 403.
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("must be text without control characters (a line end, for example)")
    return SecretStr(value)


def _matching(pattern: re.Pattern[str], rule: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value.strip()):
            raise ValueError(rule)
        return value.strip()

    return read


def _county_codes(value: object) -> tuple[str, ...]:
    rule = "must be one or more distinct six-digit codes"
    entries = value.split(",") if isinstance(value, str) else value
    if not isinstance(entries, list | tuple):
        entries = ()
    codes = [entry.strip() if isinstance(entry, str) else "" for entry in entries]
    if not codes or len(set(codes)) < len(codes):
        raise ValueError(rule)
    if not all(_COUNTY_CODE.fullmatch(code) for code in codes):
        raise ValueError(rule)
    return tuple(codes)


def _rate_limit(value: object) -> int:
    if isinstance(value, str) and _RATE.fullmatch(value.strip()):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_RATE_LIMIT:
        raise ValueError(f"must be a whole number from 1 to {MAX_RATE_LIMIT}")
    return value


def _url(value: object, allowed_hosts: Collection[str]) -> str:
    rule = "must be an https address without user, query or fragment"
    if not isinstance(value, str) or not _URL.fullmatch(value.strip()):
        raise ValueError(rule)
    text = value.strip().rstrip("/")
    # Both raise ValueError themselves: an unclosed bracket, a port beyond 65535.
    try:
        parts = urlsplit(text)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise ValueError(rule) from None
    host = parts.hostname or ""
    allowed = any(_allows(entry, host, port) for entry in allowed_hosts)
    if not allowed and not (host in HAIER_HOSTS and port == 443):
        if parts.scheme != "https":
            raise ValueError(rule + ", or a loopback address allowed in HAIER_ALLOWED_HOSTS")
        raise ValueError("names a host that is neither Haier's nor allowed in HAIER_ALLOWED_HOSTS")
    if parts.scheme != "https" and not (allowed and is_loopback(host)):
        raise ValueError(rule + "; plain http is for an allowed loopback address only")
    return text


def _allows(entry: str, host: str, port: int) -> bool:
    text = entry.strip().lower()
    if text.startswith("["):
        allowed_host, _, allowed_port = text[1:].partition("]")
        allowed_port = allowed_port.removeprefix(":")
    elif text.count(":") == 1:
        allowed_host, _, allowed_port = text.partition(":")
    else:
        allowed_host, allowed_port = text, ""
    return bool(allowed_host) and host == allowed_host and allowed_port in ("", str(port))


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` is this machine: 127.0.0.0/8, ::1 or localhost."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
