"""Retail orders: pushed, told of by Haier, tracked; measured in this process.

How often a push can be killed is no figure but a test (``haier_pipeline_tests/orders``).
"""

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock
from urllib.parse import urlencode

from cryptography.fernet import Fernet
from sqlalchemy import text

from benchmarks.cases import UNLIMITED, Row
from benchmarks.commands import environment, new_home
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.installation import Installation
from haier_pipeline.platform.callbacks import signature
from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.server.postgres import EmbeddedPostgres
from haier_pipeline.settings import read_settings
from haier_pipeline.sync.order_callbacks import CallbackDesk
from haier_pipeline.sync.order_push import push
from haier_pipeline.sync.order_tracking import fetch_parcels
from haier_pipeline.sync.run import SyncRun

DEALER = "haier"
LATENCY_MS = 50
# The allowance of the contract is a hundred, which would be all that could be seen.
PUSHES_A_SECOND = 200
CALLBACKS_A_SECOND = 330
CALLERS = 8
CONFIRM = "hmm.scm_heorder.confirm"


@dataclass(frozen=True)
class Shop:
    """An installation whose dealer has order settings, and the sandbox that takes its orders."""

    installation: Installation
    sandbox: SandboxProcess

    def run(self) -> SyncRun:
        return self.installation.open_run(Partition(DEALER, today()), run_id=str(uuid.uuid4()))


@contextmanager
def shop() -> Iterator[Shop]:
    """A sandbox in which orders move when told, and a database of its own beside it."""
    with (
        SandboxProcess(products=50, rate=0) as sandbox,
        new_home() as home,
        EmbeddedPostgres(home) as server,
    ):
        sandbox.set(order_step=None, orders_refused=0, orders_out_of_stock=0)
        order_side = {
            f"HAIER_{key.upper()}": value
            for key, value in CREDENTIALS.items()
            if key.startswith("ylh_")
        } | {
            "HAIER_YLH_BASE_URL": sandbox.url,
            "HAIER_YLH_RATE_LIMIT": str(PUSHES_A_SECOND),
            "HAIER_DATABASE_URL": server.url(),
            "HAIER_SECRET_KEY": Fernet.generate_key().decode(),
        }
        variables = environment(home, sandbox, UNLIMITED) | order_side
        with (
            mock.patch.dict(os.environ, variables, clear=True),
            Installation(read_settings(os.environ)) as installation,
        ):
            yield Shop(installation, sandbox)


def orders(count: int = 500, callbacks: int = 3_000, tracked: int = 10_000) -> Iterator[Row]:
    """Push ``count`` orders, take ``callbacks``, ask for the parcels of ``tracked``."""
    with shop() as there:
        yield from _pushed(there, count)
        yield from _called_back(there, callbacks)
        yield from _tracked(there, tracked)


def _pushed(there: Shop, count: int) -> Iterator[Row]:
    item = {"product_code": "P1", "quantity": 1, "retail_price": 1999, "actual_price": 1999}
    form = {
        "consignee_name": "赵金",
        "consignee_mobile": "13812341234",
        "province": "江苏省",
        "city": "南京市",
        "area": "鼓楼区",
        "detail_address": "中山路1号",
        "total_amount": 1999,
        "items": [item],
    }
    added = there.installation.orders.add(
        DEALER, [{**form, "so_id": f"S{number}"} for number in range(count)]
    )
    if len(added.stored) != count:
        raise SystemExit(f"the orders were refused: {added.refused}")
    there.sandbox.set(latency_ms=[LATENCY_MS, LATENCY_MS])
    run = there.run()
    began = time.monotonic()
    ended = push(there.installation.orders, run, by_hand=True)
    seconds = time.monotonic() - began
    run.close()
    there.sandbox.set(latency_ms=[0, 0])
    taken = [order["so_id"] for order in there.sandbox.orders()]
    rate = count / seconds
    work = f"{count} orders pushed, {LATENCY_MS} ms, {PUSHES_A_SECOND} calls/s allowed"
    yield Row(work, "at least 100 a second", f"{rate:.0f} a second", rate >= 100)
    is_once = len(taken) == len(set(taken)) == count and ended is not None
    yield Row(f"{work}: at Haier", f"{count}, none twice", f"{len(taken)}", is_once)


def _called_back(there: Shop, count: int) -> Iterator[Row]:
    _multiply(there, count, "C", "pushed")
    bodies = [_body(f"C{number}", f"SO.C{number}") for number in range(1, count + 1)]
    desk = CallbackDesk(there.installation.orders)
    began = time.monotonic()

    def call(place: int) -> float:
        time.sleep(max(0.0, began + place / CALLBACKS_A_SECOND - time.monotonic()))
        at = time.perf_counter()
        answer = desk.receive(DEALER, bodies[place], "application/x-www-form-urlencoded")
        if not answer.body["success"]:
            raise SystemExit(f"a callback was answered with {answer.body}")
        return time.perf_counter() - at

    with ThreadPoolExecutor(CALLERS) as callers:
        times = sorted(callers.map(call, range(count)))
    rate = count / (time.monotonic() - began)
    desk.close()
    slow = times[int(len(times) * 0.99)] * 1000
    work = f"{count:,} callbacks stored"
    yield Row(work, "at least 300 a second", f"{rate:.0f} a second", rate >= 300)
    yield Row(f"{work}: p99", "under 50 ms", f"{slow:.0f} ms", slow < 50)


def _body(so_id: str, number: str) -> bytes:
    form = {
        "AppKey": CREDENTIALS["ylh_callback_app_key"],
        "TimeStamp": "20260115120000",
        "Method": CONFIRM,
        "Data": json.dumps({"PlatformOrderNo": so_id, "ExtOrderNo": number, "State": 1}),
    }
    form["Sign"] = signature(form, CREDENTIALS["ylh_callback_secret"])
    return urlencode(form).encode()


def _tracked(there: Shop, count: int) -> Iterator[Row]:
    # What was confirmed before is no longer open.
    with there.installation.engine.begin() as connection:
        connection.execute(text("UPDATE retail_order SET haier_order_no = NULL"))
    _multiply(there, count, "T", "confirmed")
    run = there.run()
    began = time.monotonic()
    ended = fetch_parcels(there.installation.orders, run)
    seconds = time.monotonic() - began
    run.close()
    calls = there.sandbox.report()["calls"].get("tracking", 0)
    yield Row(
        f"{count:,} open orders tracked",
        f"{count // 100} calls",
        f"{calls} calls, {seconds:.1f} s",
        calls == count // 100 and ended.result.status == "success",
    )


def _multiply(there: Shop, count: int, prefix: str, state: str) -> None:
    """Orders like the first one, without their person."""
    statement = text(
        "INSERT INTO retail_order (dealer, so_id, online_no, state, haier_order_no, province, city,"
        " area, total_amount, ordered_at) SELECT dealer, CAST(:prefix AS text) || n,"
        " CAST(:prefix AS text) || n, CAST(:state AS text),"
        " CASE WHEN CAST(:state AS text) = 'confirmed'"
        " THEN 'SO.' || CAST(:prefix AS text) || n END, province, city, area,"
        " total_amount, ordered_at FROM retail_order, generate_series(1, :count) n"
        " WHERE so_id = 'S0'"
    )
    with there.installation.engine.begin() as connection:
        connection.execute(statement, {"prefix": prefix, "state": state, "count": count})


ORDERS: Mapping[str, Callable[[], Iterator[Row]]] = {"orders": orders}
