"""One dealer's configuration: its keys, its defaults, and what makes it valid.

The keys are those of the wire contract ("The dealer's configuration"); each stands in one place,
as a field of `DealerConfig`. Reading them from variables or from PostgreSQL, and encrypting them at
rest, belongs elsewhere.
"""

import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
)

from haier_pipeline.domain.product import is_county_code
from haier_pipeline.errors import InvalidConfig

#: Haier's own environments: test, staging, production (contract, "Environments").
HAIER_ENVIRONMENTS: Final = (
    "openplat-test.haier.net",
    "openplat-bj-aliyun-stage.haier.net",
    "openplat-bj-aliyun.haier.net",
)
#: These, and the host of the vendor's general example.
HAIER_HOSTS: Final = frozenset({*HAIER_ENVIRONMENTS, "openplat.haier.net"})

#: The order side's hosts, each with the environment it belongs to and the suffix of its services
#: (contract, "Orders").
ORDER_HOSTS: Final[Mapping[str, str]] = {
    "dev.ylhtest.com": "-dev",
    "pre.yilihuo.com": "-pre",
    "www.yilihuo.com": "",
}
_ENVIRONMENT_OF_ORDERS: Final = dict(zip(HAIER_ENVIRONMENTS, ORDER_HOSTS, strict=True))

TOKEN_PATH: Final = "/oauth2/auth"  # noqa: S105 - a path
#: The path that some gateways serve in its place.
OTHER_TOKEN_PATH: Final = "/oauth2/token"  # noqa: S105 - a path

MAX_NAME_LENGTH: Final = 50
MAX_CODE_LENGTH: Final = 50
MAX_RATE_LIMIT: Final = 10_000
MAX_CONFIRM_HOURS: Final = 8_760
# Long texts would not fit into the key under which the processes of a client meet.
_MAX_TEXT_LENGTH: Final = 500

#: Also the commas of Chinese keyboards: full-width, enumeration, small and half-width.
_COMMAS = re.compile("[,\uff0c\u3001\ufe50\uff64]")
_RATE = re.compile(r"[0-9]{1,5}")
# Nothing that two URL parsers could read differently: no "@", no backslash, no space, no "?"/"#".
_URL = re.compile(r"https?://[A-Za-z0-9.\-:\[\]]+(/[A-Za-z0-9._~/-]*)?", re.IGNORECASE)


# ------------------------------------------------------------------------------ reading one key


def _name(value: object) -> str:
    if not is_dealer_name(value):
        raise ValueError(
            f"must be 1 to {MAX_NAME_LENGTH} characters without comma, '|' or control character"
        )
    return str(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > _MAX_TEXT_LENGTH:
        raise ValueError(f"must be text of at most {_MAX_TEXT_LENGTH} printable characters")
    return value.strip()


def _secret(value: object) -> SecretStr:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    # A secret read from a file likes to bring its line end along; the platform would only say 403.
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("must be text without control characters (a line end, for example)")
    return SecretStr(value)


def _code(value: object) -> str:
    """A code is the platform's to judge; here only what cannot be one is refused.

    A number in JSON means its digits.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**MAX_CODE_LENGTH:
        value = str(value)
    code = value.strip() if isinstance(value, str) else ""
    if not 0 < len(code) <= MAX_CODE_LENGTH or not code.isprintable() or " " in code:
        raise ValueError(f"must be 1 to {MAX_CODE_LENGTH} printable characters without blanks")
    return code


def split_counties(value: object) -> list[object]:
    """The entries of ``county_codes`` as they were written, in text or as a list; unchecked."""
    if isinstance(value, str):
        return [entry.strip() for entry in _COMMAS.split(value)]
    if isinstance(value, list | tuple):
        entries: list[object] = []
        for entry in value:
            entries += split_counties(entry) if isinstance(entry, str) else [entry]
        return entries
    return []


def _county_codes(value: object) -> tuple[str, ...]:
    codes = [entry if isinstance(entry, str) else "" for entry in split_counties(value)]
    is_distinct = len(set(codes)) == len(codes)
    if not codes or not is_distinct or not all(map(is_county_code, codes)):
        raise ValueError("must be one or more distinct six-digit codes")
    return tuple(codes)


def _whole_number(most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, str) and _RATE.fullmatch(value.strip()):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise ValueError(f"must be a whole number from 1 to {most}")
        return value

    return read


def _url(value: object, info: ValidationInfo) -> str:
    return _address(value, info, HAIER_HOSTS)


def _order_url(value: object, info: ValidationInfo) -> str:
    return _address(value, info, ORDER_HOSTS)


def _address(value: object, info: ValidationInfo, own_hosts: Collection[str]) -> str:
    rule = "must be an https address without user, query or fragment"
    text = value.strip().rstrip("/") if isinstance(value, str) else ""
    if not _URL.fullmatch(text) or len(text) > _MAX_TEXT_LENGTH:
        raise ValueError(rule)
    # Both raise ValueError themselves: an unclosed bracket, a port beyond 65535.
    try:
        parts = urlsplit(text)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise ValueError(rule) from None
    host = parts.hostname or ""
    allowed_hosts: Collection[str] = (info.context or {}).get("allowed_hosts", ())
    allowed = any(_allows(entry, host, port) for entry in allowed_hosts)
    if not allowed and not (host in own_hosts and port == 443):
        if parts.scheme != "https":
            raise ValueError(rule + ", or a loopback address allowed in HAIER_ALLOWED_HOSTS")
        raise ValueError("names a host that is neither Haier's nor allowed in HAIER_ALLOWED_HOSTS")
    if parts.scheme != "https" and not (allowed and is_loopback(host)):
        raise ValueError(rule + "; plain http is for an allowed loopback address only")
    return text


_Text = Annotated[str, BeforeValidator(_text)]
_Secret = Annotated[SecretStr, BeforeValidator(_secret)]
_Code = Annotated[str, BeforeValidator(_code)]
_Url = Annotated[str, BeforeValidator(_url)]
_OrderUrl = Annotated[str, BeforeValidator(_order_url)]
_Rate = Annotated[int, BeforeValidator(_whole_number(MAX_RATE_LIMIT))]
_Hours = Annotated[int, BeforeValidator(_whole_number(MAX_CONFIRM_HOURS))]


class DealerConfig(BaseModel):
    """One dealer: its account at the platform, ready to be used.

    Made by `parse`, so that every instance is valid. Its ``repr`` shows no secret.
    ``county_codes`` are the customer's counties, ``rate_limit`` the calls a second that the client
    may send. The keys of the order side are blank where they were not given: `require_orders` says
    whether they can be used. ``order_confirm_hours``: how long a confirmation may take.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Annotated[str, BeforeValidator(_name)]
    client_id: _Text
    client_secret: _Secret
    token_url: _Url
    base_url: _Url = f"https://{HAIER_ENVIRONMENTS[0]}"
    customer_code: _Code
    send_to_code: _Code
    supplier_code: _Code = "1001"
    password: _Secret
    seller_password: _Secret
    county_codes: Annotated[tuple[str, ...], BeforeValidator(_county_codes)] = ("110101",)
    customer_password: _Secret
    rate_limit: _Rate = 100
    ylh_base_url: _OrderUrl = ""
    ylh_client_id: _Text = ""
    ylh_client_secret: _Secret = SecretStr("")
    ylh_username: _Text = ""
    ylh_password: _Secret = SecretStr("")
    ylh_source_system: _Text = ""
    ylh_shop_name: _Text = ""
    ylh_callback_app_key: _Text = ""
    ylh_callback_secret: _Secret = SecretStr("")
    ylh_callback_secret_previous: _Secret = SecretStr("")
    ylh_seller_code: _Code = ""
    ylh_rate_limit: _Rate = 100
    order_confirm_hours: _Hours = 24

    _order_problems: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def parse(
        cls,
        name: str,
        values: Mapping[str, object],
        *,
        allowed_hosts: Collection[str] = (),
        spares_orders: bool = False,
    ) -> "DealerConfig":
        """Check ``values`` and return the configuration of the dealer ``name``.

        ``allowed_hosts`` names hosts allowed beside Haier's own, as ``host`` (any port) or
        ``host:port``. Plain HTTP is allowed only where such a host is a loopback address. With
        ``spares_orders`` a key of the order side that is at fault counts as left out, until
        `require_orders` is asked: it stops no sync of the catalog.

        Raises `InvalidConfig` with one sentence that names every field at fault, unknown ones
        included, and never a value (fault matrix, rows 46 and 51).
        """
        given = {str(key): value for key, value in values.items() if not is_blank(value)}
        filled = {**given, **followed(given)}
        if "password" in given:
            filled.setdefault("customer_password", given["password"])
        # A name among the values would be a key that nobody knows.
        unknown = sorted(key for key in values if key not in FIELDS)
        problems = {str(key)[:MAX_NAME_LENGTH]: "is not a known field" for key in unknown}
        known = {key: value for key, value in filled.items() if key in FIELDS}
        spared: dict[str, str] = {}
        while True:
            config, faults = cls._checked(name, known, allowed_hosts)
            # A value that only follows another is at fault where the other is.
            faults = {
                key: fault for key, fault in faults.items() if key in given or key not in _FOLLOWS
            }
            of_orders = {key: fault for key, fault in faults.items() if key in ORDER_FIELDS}
            if not (spares_orders and of_orders):
                break
            # Without them others may be found at fault: a mixture shows in what is valid.
            spared |= of_orders
            known = {key: value for key, value in known.items() if key not in of_orders}
        problems |= faults
        if problems or config is None:
            sentence = "; ".join(f"{key} {problem}" for key, problem in problems.items())
            raise InvalidConfig(
                f"The configuration of the dealer is not valid: {sentence}.", tuple(problems)
            )
        config._order_problems = spared  # noqa: SLF001 - its own class made it
        return config

    @classmethod
    def _checked(
        cls, name: str, values: Mapping[str, object], allowed_hosts: Collection[str]
    ) -> "tuple[DealerConfig | None, dict[str, str]]":
        """The configuration, and what is wrong with which key; None where the model refuses it."""
        try:
            config = cls.model_validate(
                {**values, "name": name}, context={"allowed_hosts": allowed_hosts}
            )
        except ValidationError as error:
            return None, _problems(error)
        if _is_mixed(config):
            return config, {
                "base_url": "and token_url lead to two different environments of Haier's",
                "token_url": "can be left out: it follows base_url",
            }
        if _mixes_orders(config):
            return config, {
                "ylh_base_url": "and base_url lead to two different environments; leave"
                " ylh_base_url out where base_url is Haier's: it follows it"
            }
        return config, {}

    @property
    def has_orders(self) -> bool:
        """Whether anything of the order side is configured, if only a part or wrongly."""
        given = {key for key in ORDER_REQUIRED if not _is_unset(getattr(self, key))}
        return bool(given - _FOLLOWS) or bool(self._order_problems)

    def require_orders(self) -> None:
        """Raise `InvalidConfig` unless everything that the order side needs is there.

        The sentence names every key that is missing or at fault, and never a value.
        """
        problems = dict(self._order_problems)
        for key in ORDER_REQUIRED:
            if _is_unset(getattr(self, key)):
                problems.setdefault(key, "is missing")
        if problems:
            sentence = "; ".join(f"{key} {problem}" for key, problem in problems.items())
            raise InvalidConfig(
                f"The order settings of the dealer {self.name} are not complete: {sentence}.",
                tuple(problems),
            )

    @property
    def callback_secrets(self) -> tuple[str, ...]:
        """The secrets that callbacks may be signed with, the present one first; none is blank."""
        both = (self.ylh_callback_secret, self.ylh_callback_secret_previous)
        return tuple(secret.get_secret_value() for secret in both if not _is_unset(secret))

    @property
    def origin(self) -> str:
        """Where the platform counts this client's calls: scheme, host and port of the base URL."""
        return origin(self.base_url)

    @property
    def order_origin(self) -> str:
        """As `origin`, of the order side."""
        return origin(self.ylh_base_url)


# The keys that follow another where they are left out.
_FOLLOWS: Final = frozenset(
    {"token_url", "base_url", "customer_password", "ylh_base_url", "ylh_seller_code"}
)

_MODEL_FIELDS: Final = {
    key: field for key, field in DealerConfig.model_fields.items() if key != "name"
}

#: Every key of a configuration, in the contract's order.
FIELDS: Final[tuple[str, ...]] = tuple(_MODEL_FIELDS)

#: The keys whose values are never shown, logged or stored in the clear.
SECRET_FIELDS: Final[frozenset[str]] = frozenset(
    key for key, field in _MODEL_FIELDS.items() if field.annotation is SecretStr
)

#: The keys whose values are whole numbers from 1, and the largest there may be.
NUMBER_FIELDS: Final[Mapping[str, int]] = {
    key: MAX_CONFIRM_HOURS if key == "order_confirm_hours" else MAX_RATE_LIMIT
    for key, field in _MODEL_FIELDS.items()
    if field.annotation is int
}

#: The keys of the order side, all optional; and those without which it cannot be used.
ORDER_FIELDS: Final[tuple[str, ...]] = tuple(
    key for key in FIELDS if key.startswith(("ylh_", "order_"))
)
ORDER_REQUIRED: Final[tuple[str, ...]] = tuple(
    key
    for key in ORDER_FIELDS
    if key not in NUMBER_FIELDS and key not in ("ylh_callback_secret_previous", "ylh_seller_code")
)


def _is_unset(value: object) -> bool:
    return not (value.get_secret_value() if isinstance(value, SecretStr) else value)


#: What a key is worth where it is left out, null or blank. ``token_url`` follows ``base_url`` (see
#: `followed`), ``customer_password`` is that of ``password``; the order side's keys have none.
DEFAULTS: Final[Mapping[str, object]] = {
    key: field.default
    for key, field in _MODEL_FIELDS.items()
    if not field.is_required() and not _is_unset(field.default)
}
REQUIRED: Final[frozenset[str]] = (
    frozenset(key for key, field in _MODEL_FIELDS.items() if field.is_required()) - _FOLLOWS
)


def is_blank(value: object) -> bool:
    """Tell whether a value counts as left out."""
    return value is None or (isinstance(value, str) and not value.strip())


def addresses(values: Mapping[str, object]) -> tuple[object, object]:
    """Base and token URL of a configuration; where one is left out it follows the other.

    They belong together: the client's secret must not go to another environment than its calls
    (contract, "Environments"). What is not an address is returned as it is, to be refused by name.
    """
    base_url, token_url = values.get("base_url"), values.get("token_url")
    if is_blank(base_url):
        base_url = DEFAULTS["base_url"] if is_blank(token_url) else _origin_as_written(token_url)
    if is_blank(token_url):
        token_url = f"{_origin_as_written(base_url)}{TOKEN_PATH}"
    return base_url, token_url


def followed(values: Mapping[str, object]) -> dict[str, object]:
    """The keys that follow others, secrets left aside, with what they are worth here.

    Beside the two of `addresses`: ``ylh_base_url`` is that of the environment of ``base_url``, and
    blank where that is none of Haier's; ``ylh_seller_code`` is the ``customer_code``.
    """
    base_url, token_url = addresses(values)
    found: dict[str, object] = {"base_url": base_url, "token_url": token_url}
    order_host = _ENVIRONMENT_OF_ORDERS.get(_environment(base_url) or "")
    for key, other in (
        ("ylh_base_url", order_host and f"https://{order_host}"),
        ("ylh_seller_code", values.get("customer_code")),
    ):
        value = other if is_blank(values.get(key)) else values[key]
        if not is_blank(value):
            found[key] = value
    return found


def _environment(url: object) -> str | None:
    """The environment of Haier's that an address belongs to, by its host at the gateway."""
    parts = _split(url)
    host = (parts.hostname or "") if parts is not None else ""
    if host in HAIER_ENVIRONMENTS:
        return host
    # The only address that the vendor prints below its fourth host is one for tests.
    is_test = parts is not None and host in HAIER_HOSTS and "gateway-test" in parts.path
    return HAIER_ENVIRONMENTS[0] if is_test else None


def _split(url: object) -> SplitResult | None:
    try:
        return urlsplit(str(url).strip())
    except ValueError:
        return None


def _origin_as_written(url: object) -> object:
    found = re.match(r"\s*([A-Za-z]+://[^/\s]+)", url) if isinstance(url, str) else None
    return found[1] if found else url


def origin(url: object) -> str:
    """Scheme, host and port of an address, spelled in one way; what is no address, as it is."""
    text = str(url).strip()
    try:
        parts = urlsplit(text)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return text
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}" if host else text


def _is_mixed(config: DealerConfig) -> bool:
    hosts = {urlsplit(url).hostname for url in (config.base_url, config.token_url)}
    return len(hosts & HAIER_HOSTS) > 1


def _mixes_orders(config: DealerConfig) -> bool:
    """Whether orders would go to another environment than the catalog comes from.

    A trial must never send a real delivery: beside a platform on this machine, too, no host of
    Haier's takes orders. A gateway of the operator's own belongs to no environment.
    """
    orders = urlsplit(config.ylh_base_url).hostname or ""
    if orders not in ORDER_HOSTS:
        return False
    environment = _environment(config.base_url)
    if environment is None:
        return is_loopback(urlsplit(config.base_url).hostname or "")
    return _ENVIRONMENT_OF_ORDERS[environment] != orders


def _problems(error: ValidationError) -> dict[str, str]:
    problems: dict[str, str] = {}
    for entry in error.errors(include_url=False, include_input=False):
        key = str(entry["loc"][0]) if entry["loc"] else "name"
        context: Mapping[str, Any] = entry.get("ctx", {})
        missing = entry["type"] == "missing"
        problems[key] = "is missing" if missing else str(context.get("error", entry["msg"]))
    return problems


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
