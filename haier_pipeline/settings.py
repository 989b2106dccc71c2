"""The environment, read by one function. Only entry points call it, never an import.

Each variable is explained in docs/configuration.md.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_data_path

from haier_pipeline.errors import InvalidInput

DEALER_VARIABLES: Mapping[str, str] = {
    "HAIER_CLIENT_ID": "client_id",
    "HAIER_CLIENT_SECRET": "client_secret",
    "HAIER_TOKEN_URL": "token_url",
    "HAIER_BASE_URL": "base_url",
    "HAIER_CUSTOMER_CODE": "customer_code",
    "HAIER_SEND_TO_CODE": "send_to_code",
    "HAIER_SUPPLIER_CODE": "supplier_code",
    "HAIER_PASSWORD": "password",
    "HAIER_SELLER_PASSWORD": "seller_password",
    "HAIER_COUNTY_CODES": "county_codes",
    "HAIER_CUSTOMER_PASSWORD": "customer_password",
    "HAIER_RATE_LIMIT": "rate_limit",
    "HAIER_YLH_BASE_URL": "ylh_base_url",
    "HAIER_YLH_CLIENT_ID": "ylh_client_id",
    "HAIER_YLH_CLIENT_SECRET": "ylh_client_secret",
    "HAIER_YLH_USERNAME": "ylh_username",
    "HAIER_YLH_PASSWORD": "ylh_password",
    "HAIER_YLH_SOURCE_SYSTEM": "ylh_source_system",
    "HAIER_YLH_SHOP_NAME": "ylh_shop_name",
    "HAIER_YLH_CALLBACK_APP_KEY": "ylh_callback_app_key",
    "HAIER_YLH_CALLBACK_SECRET": "ylh_callback_secret",
    "HAIER_YLH_CALLBACK_SECRET_PREVIOUS": "ylh_callback_secret_previous",
    "HAIER_YLH_SELLER_CODE": "ylh_seller_code",
    "HAIER_YLH_RATE_LIMIT": "ylh_rate_limit",
    "HAIER_ORDER_CONFIRM_HOURS": "order_confirm_hours",
}


@dataclass(frozen=True)
class Timetable:
    """When schedules run: cron expressions in the time of Shanghai."""

    sync: str = "0 6 * * *"
    stock: str = "0 7-22 * * *"
    balances: str = "30 6 * * *"
    logistics: str = "*/30 * * * *"
    retention: str = "30 3 * * *"


TIMETABLE_VARIABLES: Mapping[str, str] = {
    "HAIER_SYNC_CRON": "sync",
    "HAIER_STOCK_CRON": "stock",
    "HAIER_BALANCE_CRON": "balances",
    "HAIER_LOGISTICS_CRON": "logistics",
    "HAIER_RETENTION_CRON": "retention",
}


@dataclass(frozen=True)
class Retention:
    """How many days are kept: of the sync log, of raw answers, of Dagster's runs and events, and of
    the personal data of orders that are over."""

    log_days: int = 180
    raw_days: int = 400
    event_days: int = 90
    order_privacy_days: int = 180


RETENTION_VARIABLES: Mapping[str, str] = {
    "HAIER_LOG_RETENTION_DAYS": "log_days",
    "HAIER_RAW_RETENTION_DAYS": "raw_days",
    "HAIER_EVENT_RETENTION_DAYS": "event_days",
    "HAIER_ORDER_PRIVACY_DAYS": "order_privacy_days",
}


@dataclass(frozen=True)
class Settings:
    """What the environment says.

    ``database_url``: a PostgreSQL of the operator's; ``None`` for the embedded one, which lives in
    ``home`` with Dagster's files and the key. ``secret_keys``: newest first. ``dealer``: the
    configuration keys that came from variables. ``api_tokens``: entries ``name:role:hash`` of REST
    and the admin pages. ``cors_origins``: web origins whose pages may call REST.
    ``trusted_proxies``: addresses and networks whose ``X-Forwarded-For`` and ``X-Forwarded-Proto``
    are believed. ``webhook_url``: the robot that is told of failures; its key is part of the
    address. ``shrink_days``: a listing is measured by the longest good one of so many days.
    ``auto_upgrade``: whether a start brings the tables up to date. ``lock_seconds``: how long the
    database's locks are waited for.
    """

    home: Path
    database_url: str | None = field(default=None, repr=False)
    secret_keys: tuple[str, ...] = field(default=(), repr=False)
    allowed_hosts: tuple[str, ...] = ()
    dealer: Mapping[str, str] = field(default_factory=dict, repr=False)
    api_tokens: tuple[str, ...] = field(default=(), repr=False)
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    timetable: Timetable = Timetable()
    retention: Retention = Retention()
    webhook_url: str | None = field(default=None, repr=False)
    shrink_days: int = 7
    auto_upgrade: bool = True
    lock_seconds: int = 300


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the variables; a blank one counts as unset.

    Raises:
        InvalidInput: a number of days or seconds is none, a proxy's address is none, or a switch is
            neither 0 nor 1.
    """
    values = {name: text.strip() for name, text in environ.items() if text.strip()}
    home = values.get("HAIER_HOME")
    return Settings(
        home=Path(home).expanduser().absolute() if home else user_data_path("haier-pipeline"),
        database_url=values.get("HAIER_DATABASE_URL"),
        secret_keys=_list(values.get("HAIER_SECRET_KEY")),
        allowed_hosts=_list(values.get("HAIER_ALLOWED_HOSTS")),
        dealer={
            key: values[variable]
            for variable, key in DEALER_VARIABLES.items()
            if variable in values
        },
        # Separated by white space too, so that a file with an entry a line can be the value.
        api_tokens=_list(",".join(values.get("HAIER_API_TOKENS", "").split())),
        cors_origins=_list(values.get("HAIER_CORS_ORIGINS")),
        trusted_proxies=_networks("HAIER_TRUSTED_PROXIES", values),
        timetable=Timetable(
            **{key: values[name] for name, key in TIMETABLE_VARIABLES.items() if name in values}
        ),
        retention=Retention(
            **{
                key: _days(name, values[name])
                for name, key in RETENTION_VARIABLES.items()
                if name in values
            }
        ),
        webhook_url=values.get("HAIER_WEBHOOK_URL"),
        shrink_days=_days("HAIER_SHRINK_DAYS", values.get("HAIER_SHRINK_DAYS", "7")),
        auto_upgrade=_switch("HAIER_AUTO_UPGRADE", values.get("HAIER_AUTO_UPGRADE", "1")),
        lock_seconds=_seconds("HAIER_LOCK_SECONDS", values.get("HAIER_LOCK_SECONDS", "300")),
    )


def _days(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 36_500):
        raise InvalidInput(f"{name} is not a number of days such as 90")
    return int(text)


def _networks(name: str, values: Mapping[str, str]) -> tuple[str, ...]:
    networks = _list(values.get(name))
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise InvalidInput(
                f"{name} is not a list of addresses or networks such as 127.0.0.1,10.0.0.0/24"
            ) from None
    return networks


def _seconds(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 86_400):
        raise InvalidInput(f"{name} is not a number of seconds from 1 to 86400, such as 300")
    return int(text)


def _switch(name: str, text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise InvalidInput(f"{name} is neither 0 nor 1")


def _list(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
