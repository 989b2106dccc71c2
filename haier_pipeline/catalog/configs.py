"""Stored dealer configurations: ``haier_config``, its secrets encrypted at rest.

Names, rows and ciphertext only; what a configuration must hold is checked by the client.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import Connection, Engine, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from haier_pipeline.catalog.database import transaction, translated
from haier_pipeline.catalog.tables import haier_config
from haier_pipeline.errors import Conflict, InvalidConfig, InvalidInput, NotFound

# What an encrypted value looks like in the JSON, so that plain text is never mistaken for one.
_MARK = "encrypted:"
# Behind it, where the ciphertext says whose and what it is; without it, it is of an older version.
_BOUND = "bound:"


class Secrets:
    """Encrypts and decrypts the ``fields`` of a configuration that nobody may read at rest.

    ``keys`` are Fernet keys, newest first: the first encrypts, all decrypt. Without a key secrets
    can neither be stored nor read; there is no plain-text mode (fault matrix, row 48).

    A ciphertext holds the dealer's name and the field with the secret, all authenticated: copied
    into another dealer's row, or another field, it is refused.
    """

    def __init__(self, keys: Collection[str], fields: Collection[str]) -> None:
        self._keys = keys
        self._fields = fields

    def encrypt(self, dealer: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration as it is stored: every secret encrypted, all else readable."""
        cipher = self._cipher()
        return {
            key: _MARK
            + _BOUND
            + cipher.encrypt(_context(dealer, key) + str(value).encode()).decode()
            if key in self._fields and value is not None
            else value
            for key, value in config.items()
        }

    def decrypt(self, dealer: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration as the client needs it.

        Raises:
            InvalidConfig: a secret is not encrypted, with a key unknown here, or for another dealer
                or field; names the field.
        """
        cipher = self._cipher()
        if not isinstance(config, Mapping):
            raise InvalidConfig("config is not a JSON object; store it again", ("config",))
        plain = dict(config)
        for field in sorted(self._fields & config.keys()):
            value = plain[field]
            if value is None:
                continue
            try:
                # What bears no mark was never encrypted here: no token, whatever the key.
                _, _, token = str(value).partition(_MARK)
                secret = cipher.decrypt(token.removeprefix(_BOUND))
                if token.startswith(_BOUND):
                    context = _context(dealer, field)
                    if not secret.startswith(context):
                        raise InvalidConfig(
                            f"{field} was stored for another dealer or key and is not used; "
                            "store it again",
                            (field,),
                        )
                    secret = secret[len(context) :]
                plain[field] = secret.decode()
            # What is no base64 at all is a ValueError.
            except (InvalidToken, ValueError):
                raise InvalidConfig(
                    f"{field} cannot be decrypted with the keys in HAIER_SECRET_KEY; "
                    "add the key it was stored with, or store it again",
                    (field,),
                ) from None
        return plain

    def is_bound(self, config: object) -> bool:
        """Whether no secret of a stored configuration is of a version that bound it to nothing."""
        values = config if isinstance(config, Mapping) else {}
        return not any(
            str(values.get(field) or "").startswith(_MARK)
            and not str(values[field]).startswith(_MARK + _BOUND)
            for field in self._fields
        )

    def _cipher(self) -> MultiFernet:
        if not self._keys:
            raise InvalidInput(
                "HAIER_SECRET_KEY is not set, so dealers' secrets can neither be stored nor read; "
                "make a key with: python -c 'from cryptography.fernet import Fernet; "
                "print(Fernet.generate_key().decode())'"
            )
        try:
            return MultiFernet([Fernet(key) for key in self._keys])
        except ValueError:
            raise InvalidInput(
                "HAIER_SECRET_KEY holds something that is no key "
                "(32 bytes in URL-safe base64; several are separated by commas)"
            ) from None


def _context(dealer: str, field: str) -> bytes:
    # Neither a name nor a field holds a control character, so two contexts never look alike.
    return f"{dealer}\0{field}\0".encode()


@dataclass(frozen=True)
class StoredDealer:
    """A row of ``haier_config``; ``config`` as it stands there, its secrets encrypted."""

    id: int
    name: str
    config: Any
    is_active: bool
    created_at: datetime
    updated_at: datetime


_COLUMNS = [haier_config.c[name] for name in StoredDealer.__dataclass_fields__]


def active_names(engine: Engine) -> list[str]:
    """The dealers whose row is active."""
    statement = select(haier_config.c.name).where(haier_config.c.is_active)
    return transaction(engine, lambda connection: list(connection.scalars(statement)))


def active_of_client(engine: Engine, client_id: str) -> dict[str, Mapping[str, Any]]:
    """The configurations, as they are stored, of all active dealers of that client, by name."""
    config = haier_config.c.config
    statement = select(haier_config.c.name, config).where(
        haier_config.c.is_active, config["client_id"].astext == client_id
    )
    with translated(engine), engine.connect() as connection:
        return {row.name: row.config for row in connection.execute(statement)}


def of_source(engine: Engine, source_system: str) -> list[str]:
    """The dealers, disabled ones too, that push orders under that source system."""
    statement = select(haier_config.c.name).where(
        haier_config.c.config["ylh_source_system"].astext == source_system
    )
    with translated(engine), engine.connect() as connection:
        return list(connection.scalars(statement))


def is_active(engine: Engine, name: str) -> bool | None:
    """Whether the dealer's row is active; ``None`` where there is no row of that name."""
    statement = select(haier_config.c.is_active).where(haier_config.c.name == name)
    return transaction(engine, lambda connection: connection.scalar(statement))


def read(engine: Engine, name: str, secrets: Secrets) -> dict[str, Any] | None:
    """The decrypted keys of a dealer's row; ``None`` where there is no row of that name."""
    row = find(engine, name)
    return None if row is None else secrets.decrypt(name, row.config)


def encrypt_anew(engine: Engine, secrets: Secrets, *, all_rows: bool = False) -> int:
    """Encrypt the secrets of stored dealers under the newest key; returns of how many.

    Without ``all_rows`` only those that an older version stored, bound to no dealer. A row whose
    secrets cannot be read stays as it is: whoever uses it gets an error.
    """

    def work(connection: Connection) -> int:
        changed = 0
        for row in connection.execute(select(*_COLUMNS).with_for_update()).mappings().all():
            if not isinstance(row["config"], Mapping):
                continue
            if not all_rows and secrets.is_bound(row["config"]):
                continue
            try:
                config = secrets.encrypt(row["name"], secrets.decrypt(row["name"], row["config"]))
            except InvalidConfig:
                continue
            statement = update(haier_config).where(haier_config.c.id == row["id"])
            connection.execute(statement.values(config=config))
            changed += 1
        return changed

    with translated(engine), engine.connect() as connection:
        stored = connection.scalars(select(haier_config.c.config)).all()
    if not all_rows and all(secrets.is_bound(config) for config in stored):
        return 0
    return transaction(engine, work)


def find(engine: Engine, name: str) -> StoredDealer | None:
    """The row of that name, or ``None``."""
    statement = select(*_COLUMNS).where(haier_config.c.name == name)
    row = transaction(
        engine, lambda connection: connection.execute(statement).mappings().one_or_none()
    )
    return None if row is None else StoredDealer(**row)


def get(engine: Engine, number: int) -> StoredDealer:
    """The row with that id.

    Raises:
        NotFound: there is none.
    """
    with translated(engine), engine.connect() as connection:
        return _get(connection, number)


def rows(engine: Engine, *, after: int = 0, limit: int) -> list[StoredDealer]:
    """The rows in the order of their ids, from the one behind ``after``."""
    statement = (
        select(*_COLUMNS).where(haier_config.c.id > after).order_by(haier_config.c.id).limit(limit)
    )
    with translated(engine), engine.connect() as connection:
        return [StoredDealer(**row) for row in connection.execute(statement).mappings()]


def add(engine: Engine, name: str, config: Mapping[str, Any], *, active: bool) -> StoredDealer:
    """Store a new dealer; its secrets must be encrypted already.

    Raises:
        Conflict: the name is taken.
    """
    statement = (
        insert(haier_config)
        .values(name=name, config=dict(config), is_active=active)
        .on_conflict_do_nothing(index_elements=["name"])
        .returning(*_COLUMNS)
    )

    def work(connection: Connection) -> StoredDealer:
        row = connection.execute(statement).mappings().one_or_none()
        if row is None:
            raise Conflict(f"there is a dealer named {name!r} already")
        return StoredDealer(**row)

    return transaction(engine, work)


def change(
    engine: Engine,
    number: int,
    *,
    config: Callable[[StoredDealer], Mapping[str, Any]] | None = None,
    active: bool | None = None,
) -> StoredDealer:
    """Change a row under its lock, so that of two changes at once none is lost.

    ``config`` makes the new configuration, its secrets encrypted, from the row as it is.

    Raises:
        NotFound: there is no such row.
    """

    def work(connection: Connection) -> StoredDealer:
        row = _get(connection, number, lock=True)
        values: dict[str, Any] = {"updated_at": func.now()}
        if config is not None:
            values["config"] = dict(config(row))
        if active is not None:
            values["is_active"] = active
        statement = (
            update(haier_config)
            .where(haier_config.c.id == number)
            .values(values)
            .returning(*_COLUMNS)
        )
        return StoredDealer(**connection.execute(statement).mappings().one())

    return transaction(engine, work)


def remove(engine: Engine, number: int) -> None:
    """Delete a dealer's configuration; its catalog, raw answers and log stay.

    Raises:
        NotFound: there is no such row.
    """
    statement = delete(haier_config).where(haier_config.c.id == number)
    if not transaction(engine, lambda connection: connection.execute(statement).rowcount):
        raise _not_found(number)


def _get(connection: Connection, number: int, *, lock: bool = False) -> StoredDealer:
    statement = select(*_COLUMNS).where(haier_config.c.id == number)
    if lock:
        statement = statement.with_for_update()
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        raise _not_found(number)
    return StoredDealer(**row)


def _not_found(number: int) -> NotFound:
    return NotFound(f"there is no dealer with the id {number}")
