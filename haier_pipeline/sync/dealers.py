"""Who syncs: dealers from the environment, from ``haier_config``, or the sandbox.

Finding them and reading their configurations belongs here, changing them in ``dealer_editor``,
trying out a connection in ``trial``. What a configuration must hold is the client's matter, how it
is stored the catalog's. A dealer is asked for by its name; only the routes that have an id in their
path ask by it.
"""

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Engine

from haier_pipeline.catalog import configs
from haier_pipeline.catalog.pace import SharedLedger
from haier_pipeline.catalog.tokens import SharedTokens
from haier_pipeline.errors import InvalidInput, NotFound
from haier_pipeline.platform.client import HaierClient
from haier_pipeline.platform.config import (
    DEFAULTS,
    FIELDS,
    MAX_NAME_LENGTH,
    NUMBER_FIELDS,
    SECRET_FIELDS,
    DealerConfig,
    addresses,
    followed,
    is_blank,
    origin,
    split_counties,
)
from haier_pipeline.platform.orders import OrdersClient

ENVIRONMENT_DEALER = "haier"
SANDBOX_DEALER = "sandbox"
#: Stands for the dealer of the environment where a stored one has its id; those begin at 1.
ENVIRONMENT_ID = 0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dealer:
    """A dealer as it may be shown: no secret, only which ones are set.

    ``config`` holds every key that is no secret, with its default where it has none of its own.
    ``is_shadowed``: a stored dealer that the variables of the environment win over.
    ``unknown_keys``: what else its row holds, by name; other programs may share it.
    """

    id: int
    name: str
    source: Literal["stored", "environment"]
    is_active: bool
    config: Mapping[str, Any]
    secrets: Mapping[str, bool]
    is_shadowed: bool = False
    unknown_keys: tuple[str, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Dealers:
    """The dealers of this installation.

    ``environment`` holds the configuration keys that came from variables; where it has a
    ``client_id`` it makes up the dealer ``haier`` and wins over a stored row of that name.
    ``sandbox`` starts the built-in platform where that is needed and returns the configuration
    keys that lead to it.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        environment: Mapping[str, str],
        allowed_hosts: Collection[str],
        secret_keys: Collection[str],
        sandbox: Callable[[], Mapping[str, str]],
    ) -> None:
        self._engine = engine
        self._environment = environment
        self._allowed_hosts = allowed_hosts
        self.secrets = configs.Secrets(secret_keys, SECRET_FIELDS)
        self._sandbox = sandbox
        self._lock = threading.Lock()
        self._warned: dict[str, tuple[str, ...]] = {}

    def is_readable(self, name: str) -> bool:
        """Whether a stored dealer's secrets can be read with the keys there are."""
        try:
            configs.read(self._engine, name, self.secrets)
        except InvalidInput:
            return False
        return True

    def active(self) -> list[str]:
        """The names of all active dealers in order; ``["sandbox"]`` where nothing is configured."""
        names = set(configs.active_names(self._engine))
        if "client_id" in self._environment:
            names.add(ENVIRONMENT_DEALER)
        return sorted(names) or [SANDBOX_DEALER]

    def choose(self, name: str | None) -> list[str]:
        """One dealer by name, or all active ones.

        Raises:
            InvalidInput: no active dealer has that name.
        """
        active = self.active()
        if name is None:
            return active
        if name not in active:
            raise InvalidInput(
                f"there is no active dealer named {name!r}; active: {', '.join(active)}"
            )
        return [name]

    def config(self, name: str) -> DealerConfig:
        """The checked configuration of a dealer; what is wrong with its order settings stops only
        who asks for them.

        Raises:
            InvalidConfig: a key is missing, malformed or cannot be decrypted.
            InvalidInput: there is no such dealer.
        """
        if name == ENVIRONMENT_DEALER and "client_id" in self._environment:
            return self.check_stored(name, self._environment)
        stored = configs.read(self._engine, name, self.secrets)
        if stored is not None:
            self._warn_of_unknown_keys(name, stored)
            return self.check_stored(name, stored)
        if name == SANDBOX_DEALER:
            # Pace, counties and patience can be tried out on the sandbox too.
            chosen = {
                key: value
                for key, value in self._environment.items()
                if key == "county_codes" or key in NUMBER_FIELDS
            }
            return DealerConfig.parse(
                name, {**self._sandbox(), **chosen}, allowed_hosts=("127.0.0.1",)
            )
        raise InvalidInput(f"there is no dealer named {name!r}")

    def client(self, config: DealerConfig, **options: Any) -> HaierClient:
        """A client of the platform for a dealer, to be closed; ``options`` are `HaierClient`'s.

        Its pace and its token are shared with all processes and all dealers of the same
        ``client_id`` at the same origin. The smallest ``rate_limit`` of the active ones holds.
        """
        rate = min([config.rate_limit, *self._rates_of_sharers(config)])
        return HaierClient(
            config.model_copy(update={"rate_limit": rate}),
            ledger=SharedLedger(self._engine, config.client_id, config.origin),
            tokens=SharedTokens(
                self._engine,
                config.client_id,
                config.origin,
                config.client_secret.get_secret_value(),
            ),
            **options,
        )

    def orders_client(self, config: DealerConfig, **options: Any) -> OrdersClient:
        """A client of the order side for a dealer, to be closed; ``options`` are `OrdersClient`'s.

        Pace and token are shared as in `client`; a token is of a user, so two users of one client
        have one each.

        Raises:
            InvalidConfig: the order settings are not complete.
        """
        secret = f"{config.ylh_client_secret.get_secret_value()}\0"
        return OrdersClient(
            config,
            ledger=SharedLedger(self._engine, config.ylh_client_id, config.order_origin),
            tokens=SharedTokens(
                self._engine,
                f"{config.ylh_client_id} {config.ylh_username}",
                config.order_origin,
                secret + config.ylh_password.get_secret_value(),
            ),
            **options,
        )

    def sharing_source(self, config: DealerConfig) -> list[str]:
        """The dealers, disabled ones too, that push under the same ``ylh_source_system``."""
        names = configs.of_source(self._engine, config.ylh_source_system)
        own = self._environment.get("ylh_source_system")
        if own == config.ylh_source_system and "client_id" in self._environment:
            names.append(ENVIRONMENT_DEALER)
        return names

    def _rates_of_sharers(self, config: DealerConfig) -> list[int]:
        found = configs.active_of_client(self._engine, config.client_id)
        if "client_id" in self._environment:
            found[ENVIRONMENT_DEALER] = self._environment
        rates = [
            _public(values)["rate_limit"]
            for values in found.values()
            if values.get("client_id") == config.client_id
            and origin(addresses(values)[0]) == config.origin
        ]
        return [rate for rate in rates if rate]

    def check(self, name: str, values: Mapping[str, object]) -> DealerConfig:
        """Check a configuration without storing it.

        Raises:
            InvalidConfig: names every key that is missing or malformed, never its value.
        """
        return DealerConfig.parse(name, values, allowed_hosts=self._allowed_hosts)

    def check_stored(self, name: str, values: Mapping[str, object]) -> DealerConfig:
        """As `check`, of a stored row, in which keys that are not known are left aside."""
        known = {key: value for key, value in values.items() if key in FIELDS}
        return DealerConfig.parse(
            name, known, allowed_hosts=self._allowed_hosts, spares_orders=True
        )

    def _warn_of_unknown_keys(self, name: str, stored: Mapping[str, object]) -> None:
        unknown = _unknown_keys(stored)
        with self._lock:
            is_news = bool(unknown) and self._warned.get(name) != unknown
            self._warned[name] = unknown
        if is_news:
            logger.warning(
                "the stored configuration of %s holds keys that are not known here and are left "
                "as they are: %s",
                name,
                ", ".join(unknown),
            )

    def all(self, *, after: int | None = None, limit: int = 200) -> list[Dealer]:
        """The dealers by id, the one of the environment first; ``after`` is the last id seen."""
        found = [] if after is not None else self._of_environment()
        stored = configs.rows(self._engine, after=after or 0, limit=limit - len(found))
        return found + [self.shown(row) for row in stored]

    def get(self, number: int) -> Dealer:
        """One dealer by id.

        Raises:
            NotFound: there is none.
        """
        if number == ENVIRONMENT_ID:
            for dealer in self._of_environment():
                return dealer
            raise NotFound("no dealer comes from the variables of the environment")
        return self.shown(configs.get(self._engine, number))

    def find(self, name: str) -> Dealer:
        """One dealer by name.

        Raises:
            NotFound: there is none.
        """
        for dealer in self._of_environment():
            if dealer.name == name:
                return dealer
        row = configs.find(self._engine, name)
        if row is None:
            raise NotFound(f"there is no dealer named {name!r}")
        return self.shown(row)

    def value(self, name: str, key: str) -> object:
        """One value of a dealer's configuration, else the contract's default, else ``None``.

        Raises:
            NotFound: there is no such dealer.
            InvalidInput: the key is unknown, or a secret.
        """
        if key not in FIELDS:
            raise InvalidInput(f"{key!r} is no key of a configuration: {', '.join(FIELDS)}")
        if key in SECRET_FIELDS:
            raise InvalidInput(f"{key} is a secret; secrets are never shown")
        return self.find(name).config.get(key)

    def stays_active(self, name: str) -> bool:
        """Whether a sync of the dealer that is at work may go on.

        Only a stored dealer can be disabled; one that was deleted counts as disabled.
        """
        if name == SANDBOX_DEALER or self._is_of_environment(name):
            return True
        return bool(configs.is_active(self._engine, name))

    def _is_of_environment(self, name: str) -> bool:
        return name == ENVIRONMENT_DEALER and "client_id" in self._environment

    def _of_environment(self) -> list[Dealer]:
        if "client_id" not in self._environment:
            return []
        return [
            Dealer(
                id=ENVIRONMENT_ID,
                name=ENVIRONMENT_DEALER,
                source="environment",
                is_active=True,
                config=_public(self._environment),
                secrets=_which_secrets(self._environment),
            )
        ]

    def shown(self, row: configs.StoredDealer) -> Dealer:
        """A stored dealer as it may be shown."""
        return Dealer(
            id=row.id,
            name=row.name,
            source="stored",
            is_active=row.is_active,
            config=_public(row.config),
            secrets=_which_secrets(row.config),
            is_shadowed=self._is_of_environment(row.name),
            unknown_keys=_unknown_keys(row.config),
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


def _unknown_keys(stored: object) -> tuple[str, ...]:
    """Names of keys that are not the contract's, as they may be shown."""
    return tuple(
        "".join(character if character.isprintable() else "?" for character in key)[
            :MAX_NAME_LENGTH
        ]
        for key in sorted(foreign_keys(stored))
    )


def foreign_keys(stored: object) -> dict[str, Any]:
    """What other programs keep in a row, by keys that are not the contract's; never changed."""
    values = stored if isinstance(stored, Mapping) else {}
    return {key: value for key, value in values.items() if key not in FIELDS}


def _public(stored: object) -> dict[str, Any]:
    """The keys that are no secret. Unknown keys are only named elsewhere: nobody knows what they
    hold."""
    values = stored if isinstance(stored, Mapping) else {}
    others = followed(values)
    shown: dict[str, Any] = {}
    for key in FIELDS:
        if key in SECRET_FIELDS:
            continue
        value = others.get(key, values.get(key))
        value = DEFAULTS.get(key) if is_blank(value) else value
        if key == "county_codes":
            shown[key] = [str(code) for code in split_counties(value)]
        elif key in NUMBER_FIELDS:
            # A row may have been written by hand; what is no number shows as none.
            shown[key] = int(str(value)) if str(value).isdecimal() else None
        else:
            shown[key] = None if value is None else str(value)
    return shown


def _which_secrets(stored: object) -> dict[str, bool]:
    values = stored if isinstance(stored, Mapping) else {}
    return {key: not is_blank(values.get(key)) for key in FIELDS if key in SECRET_FIELDS}
