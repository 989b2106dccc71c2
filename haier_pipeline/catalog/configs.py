"""Stored dealer configurations: ``haier_config``, its secrets encrypted at rest.

Names, rows and ciphertext only; what a configuration must hold is checked by the client.
"""

from collections.abc import Collection, Mapping
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import Engine, select

from haier_pipeline.catalog.database import translated
from haier_pipeline.catalog.tables import haier_config
from haier_pipeline.errors import InvalidConfig, InvalidInput

# What an encrypted value looks like in the JSON, so that plain text is never mistaken for one.
_MARK = "encrypted:"


class Secrets:
    """Encrypts and decrypts the ``fields`` of a configuration that nobody may read at rest.

    ``keys`` are Fernet keys, newest first: the first encrypts, all decrypt. Without a key secrets
    can neither be stored nor read; there is no plain-text mode (fault matrix, row 48).
    """

    def __init__(self, keys: Collection[str], fields: Collection[str]) -> None:
        self._keys = keys
        self._fields = fields

    def encrypt(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration as it is stored: every secret encrypted, all else readable."""
        cipher = self._cipher()
        return {
            key: _MARK + cipher.encrypt(str(value).encode()).decode()
            if key in self._fields and value is not None
            else value
            for key, value in config.items()
        }

    def decrypt(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration as the client needs it.

        Raises:
            InvalidConfig: a secret is not encrypted, or with a key unknown here; names the field.
        """
        cipher = self._cipher()
        plain = dict(config)
        for field in sorted(self._fields & config.keys()):
            value = plain[field]
            if value is None:
                continue
            try:
                # What bears no mark was never encrypted here: no token, whatever the key.
                _, _, token = str(value).partition(_MARK)
                plain[field] = cipher.decrypt(token).decode()
            except InvalidToken:
                raise InvalidConfig(
                    f"{field} cannot be decrypted with the keys in HAIER_SECRET_KEY; "
                    "add the key it was stored with, or store it again",
                    (field,),
                ) from None
        return plain

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


def active_names(engine: Engine) -> list[str]:
    """The dealers whose row is active."""
    statement = select(haier_config.c.name).where(haier_config.c.is_active)
    with translated(engine), engine.connect() as connection:
        return list(connection.scalars(statement))


def read(engine: Engine, name: str, secrets: Secrets) -> dict[str, Any] | None:
    """The decrypted keys of a dealer's row; ``None`` where there is no row of that name."""
    statement = select(haier_config.c.config).where(haier_config.c.name == name)
    with translated(engine), engine.connect() as connection:
        config = connection.scalar(statement)
    return None if config is None else secrets.decrypt(config)
