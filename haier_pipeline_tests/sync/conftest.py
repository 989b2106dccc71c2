"""What the tests of syncs share: a dealer whose syncs go step by step, as a run of Dagster does."""

import base64
import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from sqlalchemy import Engine, inspect, text

from haier_pipeline.catalog import log
from haier_pipeline.catalog.database import open_engine
from haier_pipeline.catalog.tables import FINAL_STATUSES
from haier_pipeline.domain.partition import today
from haier_pipeline.platform import calls
from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.catalog import SandboxCatalog
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync import derive, fetch
from haier_pipeline.sync.run import Outcome, SyncRun

# Enough for an answer of each mood, few enough to be quick.
PRODUCTS = 12
COUNTIES = ("110101", "310101")
# A password that looks different in a URL, in JSON and in base64.
CANARY = "c4nary +/&=%秘密"
SECRETS = (
    CANARY,
    *(CREDENTIALS[key] for key in ("client_secret", "password", "seller_password")),
    # How every token of the sandbox begins.
    "sandbox-token-",
)

_OF_PRODUCT = """
SELECT p.product_code, p.name, p.product_model, p.product_group, b.name AS brand,
    p.supply_price, p.invoice_price, p.market_price, p.stock_rebate, p.rebate_money,
    p.product_image_url, p.product_page_urls, p.is_sales, p.no_sales_reason, p.stock,
    p.warehouse_code, p.warehouse_grade, p.source, p.is_active, p.sync_date
FROM product p LEFT JOIN brand b ON b.id = p.brand_id ORDER BY p.dealer, p.product_code
"""
_OF_STOCK = """
SELECT product_code, county_code, sec_code, stock, warehouse_grade, cut_time, expected_delivery_at,
    delivery_hours, is_transfer, sync_date
FROM product_stock ORDER BY dealer, product_code, county_code, sec_code
"""

Rows = list[dict[str, Any]]


class Shop:
    """One dealer with its database: syncs it, and shows what a sync left.

    Steps run as the job runs them: what needs a failed step is not begun.
    """

    def __init__(self, engine: Engine, open_sync: Callable[..., SyncRun]) -> None:
        self.engine = engine
        self.open_sync = open_sync
        self.runs: list[SyncRun] = []

    def sync(
        self,
        *,
        product_codes: Sequence[str] = (),
        counties: Sequence[str] = (),
        prices: bool = True,
        stock: bool = True,
        accept_shrink: bool = False,
        **run: Any,
    ) -> dict[str, Outcome]:
        opened = self.open_sync(**run)
        self.runs.append(opened)
        done: dict[str, Outcome] = {}
        try:
            listing = fetch.fetch_listing(opened, product_codes, accept_shrink=accept_shrink)
            done["product_listings"] = listing
            if listing.failed:
                return done
            if prices:
                done["price_quotes"] = fetch.fetch_prices(opened)
            if stock:
                done["stock_levels"] = fetch.fetch_stock(opened, counties)
            if not prices or not done["price_quotes"].failed:
                done["priced_products"] = derive.price_products(opened)
            if not any(outcome.failed for outcome in done.values()):
                done |= derive.load_catalog(opened)
        finally:
            opened.close()
        return done

    def rows(self, query: str, **values: Any) -> Rows:
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(query), values).mappings()]

    def run(self, statement: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)

    def catalog(self) -> tuple[Rows, Rows]:
        """What a shop reads, without its own prices and without numbers and times of syncs."""
        return self.rows(_OF_PRODUCT), self.rows(_OF_STOCK)

    def prices(self) -> dict[str, Decimal | None]:
        """The shop's own prices."""
        found = self.rows("SELECT product_code, price FROM product ORDER BY 1")
        return {row["product_code"]: row["price"] for row in found}

    def product(self, code: str) -> dict[str, Any]:
        (row,) = (row for row in self.catalog()[0] if row["product_code"] == code)
        return row

    @staticmethod
    def counted(warehouses: Mapping[tuple[str, str], int]) -> int:
        """The sum over storage locations, each once with its largest quantity."""
        largest: dict[str, int] = {}
        for (_, location), pieces in warehouses.items():
            largest[location] = max(pieces, largest.get(location, 0))
        return sum(largest.values())

    def stock(self, code: str) -> dict[tuple[str, str], int]:
        return {
            (row["county_code"], row["sec_code"]): row["stock"]
            for row in self.catalog()[1]
            if row["product_code"] == code
        }

    def log(self) -> list[log.Entry]:
        """The whole log, oldest first."""
        return log.entries(self.engine, limit=1_000)[::-1]

    def check_log(self) -> None:
        """Fault matrix, invariant C: one final row for each attempt at an asset."""
        entries = self.log()
        attempts = [(entry.run_id, entry.asset_key) for entry in entries]
        assert len(set(attempts)) == len(attempts), attempts
        for entry in entries:
            assert entry.status in FINAL_STATUSES, entry
            assert entry.total_count == entry.success_count + entry.failed_count
            assert entry.message

    def check_secrets(self, *elsewhere: str) -> None:
        """Fault matrix, invariant D: no secret in any table, nor in the texts given."""
        texts = list(elsewhere)
        with self.engine.connect() as connection:
            for table in inspect(connection).get_table_names():
                rows = connection.scalars(text(f"SELECT t::text FROM {table} t"))  # noqa: S608
                texts += [f"{table}: {row}" for row in rows]
        for found in texts:
            for form in FORMS:
                assert form not in found, found[:500]


def forms(secret: str) -> Iterator[str]:
    """How a secret may look: as it is, in a URL, escaped in JSON, in base64 wherever it stands."""
    yield secret
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield secret.encode("unicode_escape").decode()
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + secret.encode()).decode()
        # Its first and last characters depend on what stands beside it.
        inner = encoded[4 if before else 0 : -4]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")


FORMS = sorted({form for secret in SECRETS for form in forms(secret)})


@pytest.fixture
def shop(
    engine: Engine,
    sandbox: SandboxProcess,
    open_sync: Callable[..., SyncRun],
    dealer_variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Shop]:
    """A dealer without rows yet. Whatever the test did, log and secrets must be in order."""
    caplog.set_level("DEBUG")
    # How long the client waits between attempts has tests of its own.
    monkeypatch.setattr(calls, "BACKOFF_SECONDS", 0.005)
    dealer_variables["customer_password"] = CANARY
    sandbox.set(products=PRODUCTS)
    shop = Shop(engine, open_sync)
    yield shop
    shop.check_log()
    shop.check_secrets(caplog.text, *(repr(run.config) for run in shop.runs))


@pytest.fixture
def platform() -> SandboxCatalog:
    """What the sandbox answers, computed beside it."""
    return SandboxCatalog(1, PRODUCTS)


@pytest.fixture
def codes(platform: SandboxCatalog) -> list[str]:
    """The products that may be bought, in order; each is in stock somewhere and has a price."""
    return sorted(
        code
        for code in platform.procurable_codes()
        if all(platform.stock(code, county, today()) for county in COUNTIES)
        and (platform.price(code, today()) or {}).get("supplyPrice") is not None
    )


@pytest.fixture
def undisturbed(
    shop: Shop, new_database: Callable[..., str], dealer_variables: dict[str, str]
) -> Callable[..., tuple[Rows, Rows]]:
    """The catalog of a sync that never failed, in a database of its own (invariant B)."""

    def sync(**options: Any) -> tuple[Rows, Rows]:
        engine = open_engine(new_database())
        try:
            run = shop.open_sync(**{"run_id": "undisturbed", **options})
            run.engine = engine
            other = Shop(engine, lambda: run)
            ended = other.sync()
            assert {outcome.result.status for outcome in ended.values()} == {"success"}
            return other.catalog()
        finally:
            engine.dispose()

    return sync


@pytest.fixture
def good(shop: Shop, sandbox: SandboxProcess) -> tuple[Rows, Rows]:
    """A catalog that stands before the fault: that of a day whose prices and stock were others."""
    sandbox.set(date=str(today() - dt.timedelta(days=3)))
    statuses(shop.sync(run_id="good"), everything="success")
    sandbox.set(date=None)
    sandbox.reset()
    return shop.catalog()


def statuses(
    ended: Mapping[str, Outcome], everything: str | None = None, **expected: str
) -> dict[str, str]:
    found = {asset: outcome.result.status for asset, outcome in ended.items()}
    if everything is not None:
        assert set(found.values()) == {everything}, found
    assert expected.items() <= found.items(), found
    return found


@pytest.fixture
def expect() -> Callable[..., dict[str, str]]:
    """Compares how the assets ended: ``everything="success"``, or one keyword for each."""
    return statuses
