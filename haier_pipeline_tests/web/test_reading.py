"""What is read from the tables: catalog, log, health, figures."""

import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, insert, text, update
from starlette.testclient import TestClient

from haier_pipeline.catalog.tables import brand, haier_sync_log, product, rejected_record
from haier_pipeline.domain.partition import today
from haier_pipeline.installation import Installation
from haier_pipeline.web.models import CatalogPage, CatalogProduct, ChangesPage, StockPage
from haier_pipeline_tests.web.callers import API

CATALOG = f"{API}/catalog/products/"


@pytest.fixture
def engine(installation: Installation) -> Engine:
    return installation.engine


@pytest.fixture
def catalog(engine: Engine) -> None:
    """Twelve products of the only dealer, the sandbox; every third out of stock, and one odd."""
    with engine.begin() as connection:
        haier = connection.scalar(
            insert(brand).values(dealer="sandbox", name="海尔").returning(brand.c.id)
        )
        connection.execute(
            insert(product),
            [
                {
                    "dealer": "sandbox",
                    "product_code": f"P{number:02}",
                    "name": f"Product {number}",
                    "product_group": "冰箱" if number < 6 else "空调",
                    "brand_id": haier if number % 2 else None,
                    "price": Decimal("2999.00") + number,
                    "is_sales": "1" if number < 9 else "0",
                    "stock": number % 3,
                    "sync_date": today(),
                    "updated_at": datetime(2026, 11, 1 + number, tzinfo=UTC),
                }
                for number in range(12)
            ],
        )
        connection.execute(
            insert(product).values(
                dealer="other",
                product_code="P00",
                name="<script>alert(1)</script>",
                is_sales="1",
                sync_date=today(),
            )
        )


def codes(client: TestClient, query: str) -> list[str]:
    answer = client.get(f"{CATALOG}?{query}")
    assert answer.status_code == 200, answer.text
    return [row["product_code"] for row in answer.json()["data"]]


def test_products_come_in_pages_and_each_once(reader: TestClient, catalog: None) -> None:
    seen: list[str] = []
    query = "limit=5"
    for _ in range(3):
        page = reader.get(f"{CATALOG}?{query}").json()
        seen += [row["product_code"] for row in page["data"]]
        query = f"limit=5&after={page['next']}"

    assert seen == [f"P{number:02}" for number in range(12)]
    assert page["next"] is None


def test_a_page_is_what_the_description_promises(reader: TestClient, catalog: None) -> None:
    answer = reader.get(f"{CATALOG}?limit=2")

    page = CatalogPage.model_validate_json(answer.content)
    second = page.data[1]
    assert isinstance(second, CatalogProduct)
    assert second.brand == "海尔"
    assert second.price == "3000.00"
    assert page.model_dump().keys() == answer.json().keys()
    assert set(answer.json()["data"][0]) == set(type(page.data[0]).model_fields)


def test_filters_take_what_they_say(reader: TestClient, catalog: None) -> None:
    assert codes(reader, "code=P03,P01,P99") == ["P01", "P03"]
    assert codes(reader, "brand=海尔&group=空调") == ["P07", "P09", "P11"]
    assert codes(reader, "procurable=false") == ["P09", "P10", "P11"]
    assert codes(reader, "in_stock=false&procurable=true") == ["P00", "P03", "P06"]
    assert codes(reader, "changed_since=2026-11-11T00:00:00Z") == ["P10", "P11"]
    assert codes(reader, "changed_since=2026-11-12T08:00:00%2B08:00") == ["P11"]
    assert codes(reader, "changed_since=0001-01-01T00:00:00%2B14:00&limit=1") == ["P00"]
    assert codes(reader, "changed_since=9999-12-31T23:59:59-14:00") == []


def test_sql_in_a_filter_is_a_value_like_any_other(
    reader: TestClient, catalog: None, engine: Engine
) -> None:
    """Row 50."""
    attack = "' OR 1=1; DROP TABLE product; --"
    for name in ("code", "brand", "group"):
        assert codes(reader, f"{name}={attack}") == []
    assert codes(reader, f"after={attack}&limit=1") == ["P00"]
    for query in (f"dealer={attack}", f"procurable={attack}", f"changed_since={attack}"):
        assert reader.get(f"{CATALOG}?{query}").status_code == 422
    for query in (f"status={attack}", f"sync_type={attack}", "status=unknown"):
        assert reader.get(f"{API}/logs/?{query}").status_code == 422
    assert reader.get(f"{API}/logs/?dealer={attack}").json()["data"] == []
    assert len(codes(reader, "")) == 12


@pytest.mark.parametrize("path", ["catalog/products/", "logs/", "config/"])
def test_a_limit_beyond_reason_is_refused(reader: TestClient, path: str) -> None:
    """Row 53."""
    for limit in ("1000000000", "201", "0", "-1", "text", "1.5", ""):
        answer = reader.get(f"{API}/{path}?limit={limit}")
        assert answer.status_code == 422, limit
        assert answer.json()["errors"][0]["field"] == "limit"
    assert reader.get(f"{API}/{path}?limit=200").status_code == 200


def test_an_unchanged_page_is_304_and_a_shops_own_price_counts_as_a_change(
    reader: TestClient, catalog: None, engine: Engine
) -> None:
    first = reader.get(CATALOG)
    tag = {"If-None-Match": first.headers["ETag"]}

    assert reader.get(CATALOG, headers=tag).status_code == 304
    assert reader.get(CATALOG, headers=tag).content == b""
    assert reader.get(f"{CATALOG}?limit=3", headers=tag).status_code == 200
    with engine.begin() as connection:
        connection.execute(update(product).values(price=1).where(product.c.product_code == "P03"))
    changed = reader.get(CATALOG, headers=tag)
    assert changed.status_code == 200
    assert changed.headers["ETag"] != first.headers["ETag"]


def test_markup_in_a_name_stays_json_that_no_browser_shows(
    reader: TestClient, catalog: None, engine: Engine
) -> None:
    """Row 54, as far as REST goes."""
    with engine.begin() as connection:
        connection.execute(update(product).values(name="<script>alert(1)</script>"))
    answer = reader.get(CATALOG)

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "script-src" not in answer.headers["Content-Security-Policy"]


def entry(number: int, **values: Any) -> dict[str, Any]:
    return {
        "sync_type": ("products", "prices", "stock")[number % 3],
        "status": "success",
        "message": f"row {number}",
        "dealer": f"dealer {number % 2}",
        "metadata": {"calls": 3, "refused_calls": 1, "token_calls": 2},
        "started_at": datetime.now(UTC) - timedelta(seconds=2),
        "completed_at": datetime.now(UTC),
        **values,
    }


def test_the_log_is_filtered_and_comes_in_pages(reader: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(insert(haier_sync_log), [entry(number) for number in range(12)])
        connection.execute(
            insert(haier_sync_log).values(entry(12, status="failed", run_id="run-7"))
        )
    seen: list[int] = []
    query = "limit=5"
    while query:
        page = reader.get(f"{API}/logs/?{query}").json()
        seen += [row["id"] for row in page["data"]]
        query = page["next"] and f"limit=5&before={page['next']}"

    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) == 13
    (failed,) = reader.get(f"{API}/logs/?status=failed").json()["data"]
    assert (failed["status_label"], failed["duration"]) == ("失败", pytest.approx(2, abs=0.1))
    assert len(reader.get(f"{API}/logs/?dealer=dealer 1").json()["data"]) == 6
    assert len(reader.get(f"{API}/logs/?sync_type=prices").json()["data"]) == 4
    assert len(reader.get(f"{API}/logs/?run_id=run-7").json()["data"]) == 1


def test_a_page_of_a_long_log_is_quick_whatever_the_filter(
    reader: TestClient, engine: Engine
) -> None:
    """Row 56, with 200,000 rows here; the benchmark has the million."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO haier_sync_log (sync_type, status, dealer, completed_at)"
                " SELECT 'stock', 'success', 'common', now() FROM generate_series(1, 200000)"
            )
        )
        connection.execute(insert(haier_sync_log).values(entry(1, dealer="rare", status="failed")))
        connection.execute(text("UPDATE haier_sync_log SET id = 0 WHERE dealer = 'rare'"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE haier_sync_log"))
    queries = (
        *("", "limit=200", "before=1000", "dealer=rare", "dealer=nobody", "status=failed"),
        *("sync_type=prices", "status=success&dealer=common", "dealer=common&status=failed"),
    )
    reader.get(f"{API}/logs/")
    for query in queries:
        spent = []
        for _ in range(3):
            began = time.monotonic()
            assert reader.get(f"{API}/logs/?{query}").status_code == 200
            spent.append(time.monotonic() - began)
        assert min(spent) < 0.1, query


def test_the_figures_count_every_ended_row_once(reader: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(insert(haier_sync_log), [entry(number) for number in range(4)])
        connection.execute(
            insert(rejected_record).values(
                dealer="dealer 0", sync_date=today(), asset_key="a", run_id="r", reason="bad"
            )
        )
        connection.execute(
            text(
                "INSERT INTO raw_partition (dealer, sync_date, asset_key, root_run_id, loaded_at)"
                " VALUES ('dealer 0', now(), 'product_listings', 'r', now() - interval '1 hour')"
            )
        )
    first = reader.get("/metrics")
    again = reader.get("/metrics")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM haier_sync_log WHERE dealer = 'dealer 1'"))
        connection.execute(insert(haier_sync_log).values(entry(0, status="failed")))
    after = reader.get("/metrics").text

    assert first.headers["Content-Type"].startswith("text/plain")
    counted = [answer.text.partition("haier_catalog_age")[0] for answer in (first, again)]
    assert counted[0] == counted[1]
    for line in (
        'haier_syncs_total{dealer="dealer 0",status="success",type="products"} 1.0',
        'haier_syncs_total{dealer="dealer 0",status="failed",type="products"} 1.0',
        'haier_syncs_total{dealer="dealer 1",status="success",type="prices"} 1.0',
        'haier_calls_total{dealer="dealer 0"} 9.0',
        'haier_refused_calls_total{dealer="dealer 0"} 3.0',
        'haier_token_renewals_total{dealer="dealer 0"} 6.0',
        'haier_rejected_records{dealer="dealer 0"} 1.0',
        'haier_catalog_age_seconds{dealer="dealer 0"} 36',
    ):
        assert line in after, line


def test_readiness_says_what_is_missing(
    installation: Installation, stranger: TestClient, engine: Engine
) -> None:
    assert stranger.get("/readyz").json()["status"] == "ready"
    with engine.begin() as connection:
        connection.execute(text("UPDATE haier_schema_version SET version_num = '0001'"))

    answer = stranger.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["migrations"].startswith("at 0001")


def test_a_lost_database_is_503_and_the_process_stays_alive(
    stranger: TestClient, new_installation: Any
) -> None:
    from haier_pipeline_tests.web.callers import READER_TOKEN, app_on, caller

    lost = new_installation(database_url="postgresql://nobody:canary@127.0.0.1:1/none")
    client = caller(app_on(lost, []), READER_TOKEN)

    answer = client.get(f"{API}/logs/")
    ready = client.get("/readyz")

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert ready.status_code == 503
    assert client.get("/healthz").status_code == 200
    assert "canary" not in answer.text + ready.text


def test_what_nobody_knows_is_a_problem_too(reader: TestClient) -> None:
    missing = reader.get(f"{API}/none/")
    wrong = reader.put(f"{API}/logs/")

    assert missing.status_code == 404
    assert json.loads(missing.content)["title"] == "Not Found"
    assert wrong.status_code == 403
    assert reader.get(f"{API}/logs").status_code == 200


def test_a_reader_follows_products_by_positions(
    reader: TestClient, catalog: None, engine: Engine
) -> None:
    first = reader.get(f"{CATALOG}?limit=5").json()
    assert first["next"] == "P04"
    position = first["position"]
    assert reader.get(CATALOG, params={"after_position": position}).json()["data"] == []
    with engine.begin() as connection:
        connection.execute(text("UPDATE product SET price = 5 WHERE product_code < 'P03'"))
        connection.execute(text("DELETE FROM product WHERE product_code = 'P11'"))

    told = []
    while True:
        query: dict[str, Any] = {"after_position": position, "limit": 2}
        page = reader.get(CATALOG, params=query).json()
        CatalogPage.model_validate(page)
        if not page["data"]:
            break
        told += page["data"]
        position = page["position"]

    assert [(row["product_code"], row["removed"]) for row in told] == [
        ("P00", False),
        ("P01", False),
        ("P02", False),
        ("P11", True),
    ]


def test_stock_and_changes_are_read_and_followed(
    reader: TestClient, catalog: None, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO product_stock (dealer, product_code, county_code, sec_code, stock,"
                " delivery_hours, sync_date) SELECT 'sandbox', 'P01', '110101', 'W' || n, n, 1.5,"
                " '2026-11-22' FROM generate_series(0, 2) n"
            )
        )
        connection.execute(
            text(
                "INSERT INTO catalog_change (dealer, sync_date, product_code, kind)"
                " VALUES ('sandbox', '2026-11-22', 'P01', 'back'),"
                " ('sandbox', '2026-11-22', 'P01', 'sold_out')"
            )
        )
    for path, shape, query in (
        ("stock", StockPage, "in_stock=true&county_code=110101"),
        ("changes", ChangesPage, "sync_date=2026-11-22&code=P01"),
    ):
        first = reader.get(f"{API}/catalog/{path}/?{query}&limit=1").json()
        second = reader.get(
            f"{API}/catalog/{path}/?{query}&limit=1", params={"after": first["next"]}
        ).json()
        assert shape.model_validate(first).model_dump().keys() == first.keys()
        assert first["data"] != second["data"]
        assert len(second["data"]) == 1
        position = {"after_position": first["position"]}
        assert reader.get(f"{API}/catalog/{path}/", params=position).json()["data"] == []
        wrong = reader.get(f"{API}/catalog/products/", params=position)
        assert wrong.status_code == 422
        assert reader.get(f"{API}/catalog/{path}/?after=x").status_code == 422


def test_a_position_that_leads_nowhere_is_410_and_nonsense_422(
    reader: TestClient, catalog: None, engine: Engine
) -> None:
    position = reader.get(CATALOG).json()["position"]
    with engine.begin() as connection:
        connection.execute(text("UPDATE haier_database SET id = gen_random_uuid()"))

    answer = reader.get(CATALOG, params={"after_position": position})

    assert answer.status_code == 410
    assert "read the whole list anew" in answer.json()["detail"]
    for query in ("after_position=x", f"after_position={position}&after=P01"):
        assert reader.get(f"{CATALOG}?{query}").status_code == 422


def test_figures_and_the_overview_say_what_followers_wait_for(
    reader: TestClient, catalog: None, engine: Engine
) -> None:
    assert "haier_feed_lag_seconds 0.0\n" in reader.get("/metrics").text
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL application_name = 'the shop'"))
        connection.execute(text("UPDATE product SET price = 5"))
        figures = reader.get("/metrics").text
    assert 'application="the shop"' in figures
    assert "haier_feed_lag_seconds 0.0\n" not in figures
