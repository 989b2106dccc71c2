"""The token that all processes of a client share, encrypted, one row for each client and secret.

Only stored here: what a token is and when a new one is needed belongs to the
platform's client. The key is made from the client's own secret, so that no key of this
installation's is needed, and who has another secret is given nothing.
"""

import base64
import uuid

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Connection, Engine, text

from haier_pipeline.catalog.database import transaction

# How long the others wait for a process that renews, and for one that tries a new token out,
# before they take it for dead.
_RENEW_SECONDS = 20.0
_TRY_SECONDS = 10.0

_KEY = "client_id = :client_id AND origin = :origin AND secret_hash = :secret_hash"
_ADD = text(
    "INSERT INTO client_token (client_id, origin, secret_hash)"
    " VALUES (:client_id, :origin, :secret_hash) ON CONFLICT DO NOTHING"
)
_LOCK = text(
    "SELECT version, note, extract(epoch FROM renew_at - clock_timestamp())::double precision,"
    " holder IS NOT NULL AND holder <> :holder AND held_until > clock_timestamp()"
    f" FROM client_token WHERE {_KEY} FOR UPDATE"
)
_HOLD = text(
    "UPDATE client_token SET holder = :holder,"
    f" held_until = clock_timestamp() + make_interval(secs => :seconds) WHERE {_KEY}"
)
_PUT = text(
    "UPDATE client_token SET version = greatest(version, :known) + 1, note = :note,"
    " renew_at = clock_timestamp() + make_interval(secs => :seconds), holder = :holder,"
    " held_until = clock_timestamp() + make_interval(secs => :held), updated_at = now()"
    f" WHERE {_KEY} RETURNING version"
)
_CONFIRM = text(
    "UPDATE client_token SET note = :note, holder = NULL, updated_at = now()"
    f" WHERE {_KEY} AND version = :version"
)
_RELEASE = text(f"UPDATE client_token SET holder = NULL WHERE {_KEY} AND holder = :holder")


class SharedTokens:
    """The shared token of one client in PostgreSQL. It satisfies the client's ``TokenStore``.

    Every method is one short transaction, and waits for a database that is away.
    """

    def __init__(self, engine: Engine, client_id: str, origin: str, secret: str) -> None:
        self._engine = engine
        derived = HKDF(
            algorithm=SHA256(),
            length=64,
            salt=None,
            info=f"haier-pipeline token\n{client_id}\n{origin}".encode(),
        ).derive(secret.encode())
        self._cipher = Fernet(base64.urlsafe_b64encode(derived[:32]))
        self._row = {
            "client_id": client_id,
            "origin": origin,
            "secret_hash": derived[32:].hex(),
            "holder": uuid.uuid4(),
        }

    def take(self, known: int) -> tuple[int, str | None, float, bool]:
        """Return the token of a newer version than ``known``, or whether to make one."""

        def work(connection: Connection) -> tuple[int, str | None, float, bool]:
            found = connection.execute(_LOCK, self._row).one_or_none()
            if found is None:
                connection.execute(_ADD, self._row)
                found = connection.execute(_LOCK, self._row).one()
            version, stored, seconds, is_held = found
            note = self._decrypt(stored)
            if is_held:
                return version, None, 0.0, False
            if version > known and note is not None and seconds > 0:
                return version, note, seconds, False
            connection.execute(_HOLD, self._row | {"seconds": _RENEW_SECONDS})
            return version, note, 0.0, True

        return transaction(self._engine, work)

    def put(self, note: str, seconds: float, *, known: int) -> int:
        """Store a new token that nobody has tried out yet; return its version."""
        values = {"note": self._encrypt(note), "seconds": seconds, "known": known}
        row = self._row | values | {"held": _TRY_SECONDS}

        def work(connection: Connection) -> int:
            connection.execute(_ADD, self._row)
            version: int = connection.execute(_PUT, row).scalar_one()
            return version

        return transaction(self._engine, work)

    def confirm(self, note: str, version: int) -> None:
        """Store the note of a token that has worked, unless there is a newer one."""
        row = self._row | {"note": self._encrypt(note), "version": version}
        transaction(self._engine, lambda connection: connection.execute(_CONFIRM, row))

    def release(self) -> None:
        """Let another process renew."""
        transaction(self._engine, lambda connection: connection.execute(_RELEASE, self._row))

    def _encrypt(self, note: str) -> str:
        return self._cipher.encrypt(note.encode()).decode()

    def _decrypt(self, stored: str | None) -> str | None:
        try:
            return None if stored is None else self._cipher.decrypt(stored.encode()).decode()
        except InvalidToken:
            # Somebody has changed the row by hand: a new token is made.
            return None
