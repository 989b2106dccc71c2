"""This installation put together: its database, its dealers, its sandbox, from its settings.

Every entry point opens one and closes it. What is done with it belongs to ``sync``; how the
embedded server works, to ``server``.
"""

import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path

from sqlalchemy import Engine

from haier_pipeline.catalog.database import open_engine, upgrade
from haier_pipeline.domain.partition import Partition
from haier_pipeline.errors import CatalogError, InvalidInput
from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.server.files import open_private, private_folder, private_home
from haier_pipeline.server.postgres import EmbeddedPostgres
from haier_pipeline.settings import Settings
from haier_pipeline.sync.dealer_editor import DealerEditor
from haier_pipeline.sync.dealers import Dealers
from haier_pipeline.sync.order_book import Orders
from haier_pipeline.sync.run import Progress, SyncRun

SANDBOX_PRODUCTS = 300
#: Where the built-in sandbox tells of orders: REST on its usual port.
SANDBOX_CALLBACK_URL = "http://127.0.0.1:8300/api/haier/callback/sandbox/"


class Installation:
    """Opens what is asked of it, once, and closes it all together.

    ``sandbox_products`` is the size of the sandbox's catalog, where one has to be started;
    ``patience`` how many seconds a database that is away is waited for, where somebody else waits
    for the answer and 30 are too long.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        sandbox_products: int = SANDBOX_PRODUCTS,
        patience: float | None = None,
    ) -> None:
        self.settings = settings
        self._patience = patience
        self._sandbox_products = sandbox_products
        self._open = ExitStack()

    def __enter__(self) -> "Installation":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._open.close()

    @cached_property
    def embedded(self) -> EmbeddedPostgres | None:
        """The embedded PostgreSQL, started; ``None`` where the settings name a database.

        Raises:
            DatabaseUnavailable: it cannot be started.
        """
        if self.settings.database_url is not None:
            return None
        return self._open.enter_context(EmbeddedPostgres(self.settings.home))

    def database_url(self, driver: str = "psycopg") -> str:
        """The database's URL for SQLAlchemy with ``driver``; it may hold a password."""
        from haier_pipeline.catalog.database import parse_url

        if self.embedded is not None:
            return self.embedded.url(driver)
        url = parse_url(self.settings.database_url or "")
        return url.set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)

    @cached_property
    def engine(self) -> Engine:
        """The catalog's database, its tables up to date.

        Raises:
            CatalogError: it cannot be used, or may not be upgraded by a start.
        """
        engine = self._open_engine()
        upgrade(engine, may_migrate=self.settings.auto_upgrade)
        return engine

    def upgrade(self) -> None:
        """Bring the tables up to date, whatever a start may do."""
        upgrade(self._open_engine())

    def _open_engine(self) -> Engine:
        engine = open_engine(
            self.database_url(), lock_seconds=self.settings.lock_seconds, patience=self._patience
        )
        self._open.callback(engine.dispose)
        return engine

    @cached_property
    def dealers(self) -> Dealers:
        dealers = Dealers(
            self.engine,
            environment=self.settings.dealer,
            allowed_hosts=self.settings.allowed_hosts,
            secret_keys=self._secret_keys,
            sandbox=self._sandbox,
        )
        # Without a right key nothing can be bound, and whoever needs a secret is told so.
        with suppress(InvalidInput):
            DealerEditor(self.engine, dealers).bind_old_secrets()
        return dealers

    @cached_property
    def dealer_editor(self) -> DealerEditor:
        return DealerEditor(self.engine, self.dealers)

    @cached_property
    def orders(self) -> Orders:
        """The retail orders; whoever uses them without a key is told so."""
        return Orders(self.engine, self.dealers, self._secret_keys)

    def open_run(
        self,
        partition: Partition,
        *,
        run_id: str,
        root_run_id: str | None = None,
        progress: Progress | None = None,
    ) -> SyncRun:
        """A sync over one partition; the caller closes it."""
        return SyncRun(
            self.engine,
            self.dealers,
            partition,
            run_id=run_id,
            root_run_id=root_run_id,
            progress=progress,
            shrink_days=self.settings.shrink_days,
        )

    @property
    def has_key(self) -> bool:
        """Whether secrets can be stored."""
        return bool(self._secret_keys)

    @property
    def _secret_keys(self) -> tuple[str, ...]:
        if self.settings.secret_keys or self.settings.database_url is not None:
            return self.settings.secret_keys
        return (own_key(self.settings.home / "secret.key"),)

    def _sandbox(self) -> Mapping[str, str]:
        url = self._running_sandbox.url
        return {
            **CREDENTIALS,
            "base_url": url,
            "token_url": f"{url}/oauth2/auth",
            "ylh_base_url": url,
        }

    @cached_property
    def _running_sandbox(self) -> SandboxProcess:
        orders: Path | None = None
        # Each command and each run has a sandbox of its own, and an order outlives them all. Where
        # nothing can be kept, the catalog can be tried out all the same.
        with suppress(CatalogError):
            orders = private_folder(private_home(self.settings.home) / "sandbox") / "orders.db"
        return self._open.enter_context(
            SandboxProcess(
                products=self._sandbox_products, orders=orders, callback_url=SANDBOX_CALLBACK_URL
            )
        )


def own_key(path: Path) -> str:
    """The key in the file, made at first use; only its owner may read it."""
    from cryptography.fernet import Fernet

    private_home(path.parent)
    made = path.with_suffix(f".{os.getpid()}")
    if not path.exists():
        with os.fdopen(open_private(made), "wb") as file:
            file.write(Fernet.generate_key())
        try:
            # Of two processes that meet here, the first to link wins and both read its key.
            os.link(made, path)
        except FileExistsError:
            pass
        finally:
            made.unlink()
    elif path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return path.read_text("ascii").strip()
