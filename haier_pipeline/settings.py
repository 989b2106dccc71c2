"""The environment, read by one function. Only entry points call it, never an import.

Each variable is explained in docs/configuration.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_data_path

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
}


@dataclass(frozen=True)
class Settings:
    """What the environment says.

    ``database_url``: a PostgreSQL of the operator's; ``None`` for the embedded one, which lives in
    ``home`` with Dagster's files and the key. ``secret_keys``: newest first. ``dealer``: the
    configuration keys that came from variables.
    """

    home: Path
    database_url: str | None = field(default=None, repr=False)
    secret_keys: tuple[str, ...] = field(default=(), repr=False)
    allowed_hosts: tuple[str, ...] = ()
    dealer: Mapping[str, str] = field(default_factory=dict, repr=False)


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read the variables; a blank one counts as unset."""
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
    )


def _list(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
