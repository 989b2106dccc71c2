"""The database's URL taken apart: what of it may be shown, and how a child process gets the rest.

Every print of a URL goes through here. Reading one, and connecting, is ``database``'s.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import URL

from haier_pipeline.errors import InvalidInput

# Whatever else a URL carries may be a secret, of today's libpq or of a later one.
_PUBLIC = frozenset({
    "application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname",
    "gssencmode", "host", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle",
    "keepalives_interval", "load_balance_hosts", "port", "require_auth", "sslcert",
    "ssl_max_protocol_version", "ssl_min_protocol_version", "sslcertmode", "sslcompression",
    "sslcrl", "sslcrldir", "sslkey", "sslmode", "sslnegotiation", "sslrootcert", "sslsni",
    "target_session_attrs", "tcp_user_timeout", "user",
})  # fmt: skip
_MASK = "***"
_SERVICE = "haier"


def shown(url: URL) -> str:
    """The URL without any secret, whichever part of it holds one."""
    query = {
        key: value if key.lower() in _PUBLIC else _MASK for key, value in dict(url.query).items()
    }
    safe = url.set(drivername="postgresql", query=query)
    return safe.render_as_string(hide_password=True).replace("%2A%2A%2A", _MASK)


@contextmanager
def for_child(url: URL) -> Iterator[Mapping[str, str]]:
    """Variables from which psql, pg_dump and the like take the whole URL, without an argument.

    What every user of the machine may read are arguments; a service file and the environment are
    their owner's. The file is gone after the block.

    Raises:
        InvalidInput: a value cannot stand in a service file.
    """
    query = {key: ",".join(_texts(value)) for key, value in dict(url.query).items()}
    parts = {
        "host": url.host,
        "port": None if url.port is None else str(url.port),
        "user": url.username,
        "dbname": url.database,
        **query,
    }
    secret = parts.pop("password", None) if url.password is None else str(url.password)
    parts.pop("password", None)
    lines = [f"[{_SERVICE}]"]
    for key, value in parts.items():
        if value is None:
            continue
        if any(ord(letter) < 32 for letter in key + value):
            raise InvalidInput(f"HAIER_DATABASE_URL: {key} holds a control character; leave it out")
        lines.append(f"{key}={value}")
    with tempfile.TemporaryDirectory(prefix="haier-") as folder:
        path = Path(folder) / "service.conf"
        path.write_text("\n".join(lines) + "\n", "utf-8")
        path.chmod(0o600)
        variables = {"PGSERVICEFILE": str(path), "PGSERVICE": _SERVICE}
        yield variables if secret is None else variables | {"PGPASSWORD": secret}


def _texts(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value
