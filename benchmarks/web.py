"""REST under load: the case ``web``, or ``python -m benchmarks.web`` alone.

The server is the real command, ``haier api``, over an embedded PostgreSQL; the clients are another
process. Nothing is cached between two requests.
"""

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.cases import Row
from haier_pipeline.installation import Installation
from haier_pipeline.platform.client import HaierClient
from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.settings import read_settings
from haier_pipeline.web.auth import new_token

PRODUCTS = 100_000
LOG_ROWS = 1_000_000
CLIENTS = 16
SECONDS = 10.0
LIVE_QUERIES = 200
LATENCY_MS = 20


@dataclass(frozen=True)
class Load:
    """What came of a load: requests a second, and how long they took in milliseconds."""

    rate: float
    median: float
    p99: float


def web(
    products: int = PRODUCTS, log_rows: int = LOG_ROWS, seconds: float = SECONDS
) -> Iterator[Row]:
    """The three figures asked of REST."""
    with (
        SandboxProcess(products=300, latency_ms=(LATENCY_MS, LATENCY_MS)) as sandbox,
        _api(sandbox, products, log_rows) as (port, token, environment),
    ):
        codes = [f"P{number:06}" for number in range(products)]
        catalog = _under_load(
            port,
            token,
            [f"/api/haier/catalog/products/?after={code}" for code in _some(codes, 2_000)],
            CLIENTS,
            seconds,
        )
        ids = range(200, log_rows)
        log = _under_load(
            port,
            token,
            ["/api/haier/logs/", "/api/haier/logs/?limit=200"]
            + [f"/api/haier/logs/?before={number}" for number in _some(ids, 50)]
            + [f"/api/haier/logs/?dealer=dealer{n}&limit=50" for n in range(5)]
            + [f"/api/haier/logs/?status={status}" for status in ("failed", "partial")]
            + ["/api/haier/logs/?sync_type=balance", "/api/haier/logs/?dealer=rare"],
            1,
            seconds,
        )
        direct, live = _live(port, token, environment)
    yield Row(
        f"GET catalog/products/ over {products:,} products, {CLIENTS} clients, 50 rows a page",
        "at least 500/s, p99 under 100 ms",
        f"{catalog.rate:.0f}/s, median {catalog.median:.0f} ms, p99 {catalog.p99:.0f} ms",
        catalog.rate >= 500 and catalog.p99 < 100,
    )
    yield Row(
        f"GET logs/ over {log_rows:,} rows",
        "p99 under 100 ms",
        f"median {log.median:.0f} ms, p99 {log.p99:.0f} ms",
        log.p99 < 100,
    )
    yield Row(
        "live stock query, over the platform's own answer",
        "at most 10 ms",
        f"{live - direct:.1f} ms ({live:.1f} against {direct:.1f} ms, medians)",
        live - direct <= 10,
    )


@contextmanager
def _api(
    sandbox: SandboxProcess, products: int, log_rows: int
) -> Iterator[tuple[int, str, dict[str, str]]]:
    """``haier api`` over filled tables: its port, a token, its environment."""
    token, entry = new_token("benchmark", "operator")
    home = Path(tempfile.mkdtemp(prefix="haier-bench-", dir="/tmp"))
    home.chmod(0o755)
    port = _free_port()
    environment = {
        "HAIER_HOME": str(home),
        "HAIER_API_TOKENS": entry,
        "HAIER_ALLOWED_HOSTS": "127.0.0.1",
        "HAIER_CLIENT_ID": CREDENTIALS["client_id"],
        "HAIER_CLIENT_SECRET": CREDENTIALS["client_secret"],
        "HAIER_PASSWORD": CREDENTIALS["password"],
        "HAIER_SELLER_PASSWORD": CREDENTIALS["seller_password"],
        "HAIER_CUSTOMER_CODE": CREDENTIALS["customer_code"],
        "HAIER_SEND_TO_CODE": CREDENTIALS["send_to_code"],
        "HAIER_BASE_URL": sandbox.url,
        "HAIER_TOKEN_URL": f"{sandbox.url}/oauth2/auth",
    }
    try:
        with Installation(read_settings(environment)) as installation:
            _ = installation.engine
            _fill(installation.database_url().replace("+psycopg", ""), products, log_rows)
            command = [sys.executable, "-m", "haier_pipeline.cli", "api", "--port", str(port)]
            clean = {k: v for k, v in os.environ.items() if not k.startswith("HAIER_")}
            with subprocess.Popen(command, env=clean | environment) as process:
                try:
                    _wait(port)
                    yield port, token, environment
                finally:
                    process.send_signal(signal.SIGINT)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _fill(url: str, products: int, log_rows: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO brand (dealer, name) VALUES ('haier', '海尔')")
        connection.execute(
            """
            INSERT INTO product (dealer, product_code, name, product_model, product_group, brand_id,
                price, supply_price, invoice_price, market_price, stock_rebate, rebate_money,
                product_image_url, product_page_urls, is_sales, stock, warehouse_code,
                warehouse_grade, sync_date)
            SELECT 'haier', 'P' || lpad(n::text, 6, '0'), 'EC6001-HT3', 'EC6001-HT3', '电热水器',
                (SELECT min(id) FROM brand), 2999.00, 2499.50, 2400.25, 2999.00, 0.03, 24.75,
                'https://cdn.example/' || n || '/main.jpg',
                jsonb_build_array('https://cdn.example/' || n || '/detail-1.jpg'),
                (n %% 10 > 0)::int::text, n %% 50, 'W210', '0', current_date
            FROM generate_series(0, %s - 1) n
            """,
            [products],
        )
        connection.execute(
            """
            INSERT INTO haier_sync_log (sync_type, status, message, total_count, success_count,
                dealer, sync_date, run_id, asset_key, started_at, completed_at, metadata, checks)
            SELECT (ARRAY['products', 'prices', 'stock'])[n %% 3 + 1],
                CASE WHEN n %% 1000 = 0 THEN 'failed' ELSE 'success' END,
                'row ' || n, 100, 100, CASE WHEN n = 1 THEN 'rare' ELSE 'dealer' || n %% 5 END,
                current_date, 'run-' || n / 7, 'product_listings', now(), now(),
                '{"calls": 100, "records": 100}', '[{"name": "not_empty", "passed": true}]'
            FROM generate_series(1, %s) n
            """,
            [log_rows],
        )
        connection.execute("VACUUM ANALYZE")


def _under_load(port: int, token: str, paths: Sequence[str], clients: int, seconds: float) -> Load:
    """Ask for the paths in turn for so many seconds, from another process."""
    order = {"port": port, "token": token, "paths": paths, "clients": clients, "seconds": seconds}
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.web", "--client"],
        input=json.dumps(order).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    spent = sorted(json.loads(ended.stdout))
    return Load(
        rate=len(spent) / seconds,
        median=statistics.median(spent) * 1_000,
        p99=spent[int(len(spent) * 0.99)] * 1_000,
    )


async def _client(order: dict[str, Any]) -> list[float]:
    spent: list[float] = []
    numbers = iter(range(10**9))
    paths: list[str] = order["paths"]
    until = time.monotonic() + order["seconds"]

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", order["port"])
        while time.monotonic() < until:
            path = paths[next(numbers) % len(paths)]
            head = (
                f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {order['token']}\r\n\r\n"
            )
            began = time.monotonic()
            writer.write(head.encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(answer.decode())
            length = answer.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
            await reader.readexactly(int(length))
            spent.append(time.monotonic() - began)
        writer.close()

    await asyncio.gather(*(one() for _ in range(order["clients"])))
    return spent


def _live(port: int, token: str, environment: dict[str, str]) -> tuple[float, float]:
    """Medians in milliseconds of the platform's own answer and of a live query, taken in turn."""
    with Installation(read_settings(environment)) as installation:
        config = installation.dealers.config("haier")
    direct: list[float] = []
    live: list[float] = []
    http = HTTPConnection("127.0.0.1", port)
    headers = {"Authorization": f"Bearer {token}"}
    with HaierClient(config) as client:
        codes = [record.value.product_code for record in client.list_products().records][:20]
        # The first round only makes tokens and connections.
        for number in range(LIVE_QUERIES + 1):
            code = codes[number % len(codes)]
            began = time.monotonic()
            client.get_stock(code, "110101")
            direct.append(time.monotonic() - began)
            began = time.monotonic()
            http.request(
                "GET", f"/api/haier/stock/?product_code={code}&county_code=110101", None, headers
            )
            answer = http.getresponse()
            answer.read()
            live.append(time.monotonic() - began)
            if answer.status != 200:
                raise RuntimeError(f"HTTP {answer.status}")
    http.close()
    return statistics.median(direct[1:]) * 1_000, statistics.median(live[1:]) * 1_000


def _some(values: Sequence[Any], count: int) -> list[Any]:
    return random.Random(1).sample(values, min(count, len(values)))


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("haier api did not start")


if __name__ == "__main__":
    if "--client" in sys.argv:
        print(json.dumps(asyncio.run(_client(json.load(sys.stdin)))))
    else:
        for row in web():
            print(f"{row.work}: {row.measured} ({row.asked})")
