"""Stored dealers created, changed, enabled, disabled and deleted.

Who syncs, and with which configuration, is asked in ``dealers``; how a configuration is stored is
the catalog's matter.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Engine

from haier_pipeline.catalog import configs
from haier_pipeline.catalog.orders.store import has_open_orders
from haier_pipeline.errors import Conflict, InvalidConfig
from haier_pipeline.platform.config import (
    FIELDS,
    ORDER_FIELDS,
    SECRET_FIELDS,
    DealerConfig,
    followed,
    is_blank,
    origin,
)
from haier_pipeline.sync.dealers import SANDBOX_DEALER, Dealer, Dealers, foreign_keys

_ORDER_HOSTS_SECRETS = ("ylh_client_secret", "ylh_password")
_PLATFORMS_SECRETS = tuple(
    key for key in FIELDS if key in SECRET_FIELDS and key not in ORDER_FIELDS
)


class DealerEditor:
    """Changes the stored dealers among ``dealers``.

    Whoever changes one hands over the `Dealer` that was found by its name or id: a stored dealer
    and the one of the environment may have the same name.
    """

    def __init__(self, engine: Engine, dealers: Dealers) -> None:
        self._engine = engine
        self._dealers = dealers
        self._secrets = dealers.secrets

    def create(self, name: str, values: Mapping[str, object], *, active: bool = True) -> Dealer:
        """Store a new dealer.

        Raises:
            InvalidConfig: names every key at fault.
            InvalidInput: there is no key to encrypt the secrets with (row 48).
            Conflict: the name is taken.
        """
        if name == SANDBOX_DEALER:
            raise Conflict(f"the name {SANDBOX_DEALER!r} is the built-in sandbox's")
        config = self._secrets.encrypt(name, _canonical(self._dealers.check(name, values), values))
        return self._dealers.shown(configs.add(self._engine, name, config, active=active))

    def replace(
        self, dealer: Dealer, values: Mapping[str, object], *, active: bool | None = None
    ) -> Dealer:
        """Replace the whole configuration, secrets included. Errors as in `create`.

        Keys of the row that are not known here belong to others, and stay.
        """
        _refuse_environment(dealer)

        def config(row: configs.StoredDealer) -> Mapping[str, Any]:
            checked = self._dealers.check(row.name, values)
            return foreign_keys(row.config) | self._secrets.encrypt(
                row.name, _canonical(checked, values)
            )

        return self._dealers.shown(
            configs.change(self._engine, dealer.id, config=config, active=active)
        )

    def update(
        self, dealer: Dealer, changes: Mapping[str, object], *, active: bool | None = None
    ) -> Dealer:
        """Change some keys and leave the others; ``None`` takes a key back to its default.

        A new host gets no secret that was meant for the old one: it wants them all again (row 51).

        Raises:
            InvalidConfig: names every key at fault, or the secrets that must be given again.
            Conflict: the dealer comes from the environment.
            NotFound: there is no such dealer.
        """
        _refuse_environment(dealer)

        def config(row: configs.StoredDealer) -> Mapping[str, Any]:
            foreign = foreign_keys(row.config)
            stored = self._secrets.decrypt(row.name, row.config)
            before = {key: value for key, value in stored.items() if key in FIELDS}
            after = {**before, **changes}
            _want_secrets_again(before, after, changes)
            return foreign | self._secrets.encrypt(
                row.name, _canonical(self._dealers.check(row.name, after), after)
            )

        return self._dealers.shown(
            configs.change(
                self._engine, dealer.id, config=config if changes else None, active=active
            )
        )

    def enable(self, dealer: Dealer) -> Dealer:
        """Let the dealer sync; its configuration must be valid. Errors as in `update`."""
        _refuse_environment(dealer)

        def check(row: configs.StoredDealer) -> Mapping[str, Any]:
            self._dealers.check_stored(row.name, self._secrets.decrypt(row.name, row.config))
            stored: Mapping[str, Any] = row.config
            return stored

        return self._dealers.shown(
            configs.change(self._engine, dealer.id, config=check, active=True)
        )

    def disable(self, dealer: Dealer) -> Dealer:
        """Let the dealer sync no more; a sync that is at work stops at its next batch (row 47)."""
        _refuse_environment(dealer)
        return self._dealers.shown(configs.change(self._engine, dealer.id, active=False))

    def delete(self, dealer: Dealer) -> None:
        """Forget the dealer's configuration; its catalog, answers and log stay.

        Raises:
            Conflict: the dealer comes from the environment, or has orders that are not ended.
            NotFound: there is no such dealer.
        """
        _refuse_environment(dealer)
        if has_open_orders(self._engine, dealer.name):
            raise Conflict(
                f"the dealer {dealer.name} has orders that are not ended; Haier's answers to them "
                "need it: disable it instead"
            )
        configs.remove(self._engine, dealer.id)

    def encrypt_anew(self) -> int:
        """Encrypt every stored secret under the newest key; returns how many dealers had any.

        Raises:
            InvalidInput: there is no key.
        """
        return configs.encrypt_anew(self._engine, self._secrets, all_rows=True)

    def bind_old_secrets(self) -> None:
        """Let what an older version stored be readable for its own dealer and key only."""
        configs.encrypt_anew(self._engine, self._secrets)


def _refuse_environment(dealer: Dealer) -> None:
    if dealer.source == "environment":
        raise Conflict("this dealer comes from the variables of the environment; change it there")


def _want_secrets_again(
    before: Mapping[str, object],
    after: Mapping[str, object],
    changes: Mapping[str, object],
) -> None:
    old, new = followed(before), followed(after)
    moved: list[str] = []
    missing: list[str] = []
    for key in ("base_url", "token_url", "ylh_base_url"):
        # Each host is sent secrets of its own; what callbacks are signed with goes to nobody.
        secrets = _ORDER_HOSTS_SECRETS if key == "ylh_base_url" else _PLATFORMS_SECRETS
        again = [name for name in secrets if before.get(name) and name not in changes]
        # Where there was no host yet, as there may be for orders, they were meant for this one.
        has_moved = key in old and origin(old[key]) != origin(new.get(key, ""))
        if has_moved and again:
            moved.append(key)
            missing += [name for name in again if name not in missing]
    if missing:
        raise InvalidConfig(
            f"{' and '.join(moved)} names another host; give its secrets again: "
            + ", ".join(missing),
            tuple(missing),
        )


def _canonical(config: DealerConfig, given: Mapping[str, object]) -> dict[str, Any]:
    """The keys that were given, in the form in which they are stored; defaults stay defaults."""
    stored: dict[str, Any] = {}
    for key in FIELDS:
        if is_blank(given.get(key)):
            continue
        checked = getattr(config, key)
        if isinstance(checked, SecretStr):
            checked = checked.get_secret_value()
        stored[key] = list(checked) if isinstance(checked, tuple) else checked
    return stored
