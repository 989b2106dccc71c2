"""Orders from the shop to the sandbox: a dealer with order settings, and what it has stored."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text

from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.sandbox.catalog import SandboxCatalog
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sandbox.settings import Settings
from haier_pipeline.sync.dealer_editor import DealerEditor
from haier_pipeline.sync.dealers import ENVIRONMENT_DEALER, Dealers
from haier_pipeline.sync.order_book import Orders
from haier_pipeline.sync.order_push import push
from haier_pipeline.sync.run import Outcome, SyncRun

KEY = Fernet.generate_key().decode()
#: What must be found nowhere: as no other text that the tests write holds them.
CANARY = {
    "consignee_name": "金丝雀赵",
    "consignee_mobile": "13987654321",
    "detail_address": "金丝雀巷八十八号九单元",
    "remark": "请打电话给金丝雀再送货",
}

Order = dict[str, Any]


def product_code() -> str:
    """A product that the sandbox sells."""
    catalog = SandboxCatalog(seed=Settings().seed, products=30)
    return next(str(record["productCode"]) for record in catalog.listing(today(), None)
                if record["isSales"])  # fmt: skip


def an_order(so_id: str, **changes: Any) -> Order:
    """An order in its form, of two pieces for 3,998.00 CNY."""
    return {
        "so_id": so_id,
        "province": "江苏省",
        "city": "南京市",
        "area": "鼓楼区",
        "total_amount": Decimal("3998.00"),
        "items": [
            {
                "product_code": "BD0000001",
                "quantity": 2,
                "retail_price": Decimal("2099.00"),
                "discount_amount": Decimal("100.00"),
                "actual_price": Decimal("1999.00"),
            }
        ],
        **CANARY,
        **changes,
    }


@pytest.fixture
def order_sandbox(sandbox: SandboxProcess) -> SandboxProcess:
    """A sandbox without orders, in which they move when told."""
    sandbox.reset(orders=True)
    sandbox.set(order_step=None, orders_refused=0, orders_out_of_stock=0, callback_url=None)
    return sandbox


@pytest.fixture
def order_variables(
    order_sandbox: SandboxProcess, dealer_variables: Mapping[str, str]
) -> dict[str, str]:
    return {**dealer_variables, "ylh_base_url": order_sandbox.url, "ylh_rate_limit": "1000"}


def no_sandbox() -> dict[str, str]:
    raise AssertionError("the dealer is configured, nobody may start a sandbox")


@pytest.fixture
def dealers(engine: Engine, order_variables: dict[str, str]) -> Dealers:
    return Dealers(
        engine,
        environment=order_variables,
        allowed_hosts=("127.0.0.1",),
        secret_keys=(KEY,),
        sandbox=no_sandbox,
    )


@pytest.fixture
def editor(engine: Engine, dealers: Dealers) -> DealerEditor:
    return DealerEditor(engine, dealers)


@pytest.fixture
def orders(engine: Engine, dealers: Dealers) -> Orders:
    return Orders(engine, dealers, (KEY,))


@pytest.fixture
def open_run(engine: Engine, dealers: Dealers) -> Iterator[Callable[..., SyncRun]]:
    """Opens runs of today for the dealer of the environment; the test's end closes them."""
    numbers = count(1)
    with ExitStack() as stack:

        def open_it(dealer: str = ENVIRONMENT_DEALER) -> SyncRun:
            run = SyncRun(
                engine, dealers, Partition(dealer, today()), run_id=f"push-{next(numbers)}"
            )
            stack.callback(run.close)
            return run

        yield open_it


@pytest.fixture
def push_all(orders: Orders, open_run: Callable[..., SyncRun]) -> Callable[..., Outcome | None]:
    """Pushes by hand, once, in a run of its own."""

    def work(*so_ids: str, by_hand: bool = True) -> Outcome | None:
        run = open_run()
        try:
            return push(orders, run, so_ids, by_hand=by_hand)
        finally:
            run.close()

    return work


@pytest.fixture
def add(orders: Orders) -> Callable[..., None]:
    """Stores orders of these numbers."""

    def work(*so_ids: str, **changes: Any) -> None:
        added = orders.add(ENVIRONMENT_DEALER, [an_order(so_id, **changes) for so_id in so_ids])
        assert not added.refused, added.refused

    return work


@pytest.fixture
def states(engine: Engine) -> Callable[[], dict[str, str]]:
    """The state of every order, by its number."""

    def work() -> dict[str, str]:
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT so_id, state FROM retail_order ORDER BY id"))
            return {row.so_id: row.state for row in rows}

    return work
