"""The admin pages to look at: overview, log, catalog, rejected records, in both languages."""

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, insert, text, update

from haier_pipeline.catalog import browse, overview
from haier_pipeline.catalog.log import STATUS_LABELS, TYPE_LABELS
from haier_pipeline.catalog.tables import (
    brand,
    catalog_change,
    haier_sync_log,
    product,
    product_stock,
    raw_partition,
    rejected_record,
)
from haier_pipeline.domain.partition import SHANGHAI, today
from haier_pipeline.domain.product import CHANGE_KINDS
from haier_pipeline.installation import Installation
from haier_pipeline.web import admin
from haier_pipeline.web.admin import rendering
from haier_pipeline.web.admin.charts import HEIGHT, Column, Part, draw
from haier_pipeline.web.admin.words import CHANGE_LABELS, CHINESE
from haier_pipeline_tests.web.admin_visitor import Visitor
from haier_pipeline_tests.web.callers import OPERATOR_TOKEN

PACKAGE = Path(admin.__file__).parent
NOW = datetime.now(UTC)
EVIL = "<script>alert('canary')</script>\"'&"
PAGES = ("/", "/dealers", "/dealers/new", "/log", "/products", "/stock", "/changes", "/rejected")


@pytest.fixture
def olga(app: FastAPI) -> Visitor:
    """Somebody who is logged in."""
    return Visitor(app).log_in(OPERATOR_TOKEN)


@pytest.fixture
def engine(installation: Installation) -> Engine:
    """The database of the pages."""
    return installation.engine


def add_entry(engine: Engine, **changes: Any) -> int:
    """A row of the log that ended well a minute ago, unless ``changes`` says otherwise."""
    values = {
        "sync_type": "stock",
        "asset_key": "stock_levels",
        "dealer": "shop",
        "sync_date": today(),
        "run_id": "run-1",
        "root_run_id": "run-1",
        "status": "success",
        "message": "all well",
        "total_count": 3,
        "success_count": 3,
        "created_at": NOW - timedelta(seconds=90),
        "started_at": NOW - timedelta(seconds=90),
        "completed_at": NOW - timedelta(seconds=60),
        **changes,
    }
    with engine.begin() as connection:
        statement = insert(haier_sync_log).values(values).returning(haier_sync_log.c.id)
        return int(connection.execute(statement).scalar_one())


def add_catalog(engine: Engine, dealer: str, count: int, name: str = "EC6001") -> list[str]:
    """Products with two warehouses and a change each."""
    codes = [f"GA{number:03}" for number in range(count)]
    with engine.begin() as connection:
        connection.execute(
            insert(raw_partition).values(
                dealer=dealer, sync_date=today(), asset_key="product_listings", root_run_id="r"
            )
        )
        of = connection.execute(
            insert(brand).values(dealer=dealer, name=name).returning(brand.c.id)
        ).scalar_one()
        rows = [{"dealer": dealer, "product_code": code} for code in codes]
        facts = {"sync_date": today()}
        connection.execute(
            insert(product),
            [
                {**row, **facts, "name": name, "product_model": name, "product_group": name,
                 "brand_id": of, "is_sales": "1", "no_sales_reason": name, "price": "1234.5",
                 "product_image_url": f"javascript:{name}", "product_page_urls": [name]}
                for row in rows
            ],
        )  # fmt: skip
        connection.execute(
            insert(product_stock),
            [
                {**row, **facts, "county_code": "110101", "sec_code": sec, "stock": 7,
                 "warehouse_grade": name}
                for row in rows for sec in ("W1", "W2")
            ],
        )  # fmt: skip
        connection.execute(
            insert(catalog_change),
            [
                {**row, "sync_date": today() - timedelta(days=number % 3), "kind": "price_up",
                 "old_value": name, "new_value": name}
                for number, row in enumerate(rows)
            ],
        )  # fmt: skip
    return codes


def row_ids(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'href="/admin/log/(\d+)"', page)]


def walk(visitor: Visitor, path: str) -> Iterator[str]:
    """The pages from this one on, by the links to the next."""
    for _ in range(10):
        page = visitor.page(path)
        yield page
        following = re.search(r'next" href="/admin([^"]+)"', page)
        if following is None:
            return
        path = following[1].replace("&amp;", "&")
    raise AssertionError("the pages do not end")


# ------------------------------------------------------------------------------------------- log


def test_the_log_is_filtered_by_type_status_dealer_and_day_and_searched(
    olga: Visitor, engine: Engine
) -> None:
    midnight = datetime.combine(today(), datetime.min.time(), SHANGHAI)
    old = {"created_at": midnight - timedelta(seconds=1), "started_at": None}
    ids = {
        "price": add_entry(engine, sync_type="prices"),
        "failed": add_entry(engine, status="failed", message="100% of Stock_levels gone"),
        "other": add_entry(engine, dealer="other", run_id="run-2"),
        "old": add_entry(engine, **old),
    }

    def found(**filters: str) -> set[str]:
        shown = row_ids(olga.page("/log", **filters))
        return {name for name, number in ids.items() if number in shown}

    assert found() == set(ids)
    assert found(sync_type="prices") == {"price"}
    assert found(status="failed") == {"failed"}
    assert found(dealer="other") == {"other"}
    assert found(run_id="run-2") == {"other"}
    assert found(day=f"{today() - timedelta(days=1)}") == {"old"}
    assert found(day=f"{today()}") == set(ids) - {"old"}
    assert found(search="STOCK_levels") == {"failed"}
    assert found(search="0%") == {"failed"}
    assert found(search="%") == {"failed"}
    assert found(search="stock-levels") == set()
    assert found(search="well", sync_type="prices", status="success", dealer="shop") == {"price"}


def test_a_filter_that_cannot_be_is_refused(olga: Visitor) -> None:
    """Rows 50 and 53."""
    for query in (
        {"status": "' OR 1=1 --"},
        {"sync_type": "everything"},
        {"day": "yesterday"},
        {"day": "9999-12-31"},
        {"before": "-1"},
        {"before": "9" * 19},
        {"search": "\x00"},
        {"search": "x" * 201},
    ):
        answer = olga.get("/log", **query)
        assert answer.status_code == 422, query
        assert "<h1>Error 422</h1>" in answer.text


def test_sql_in_a_filter_finds_nothing(olga: Visitor, engine: Engine) -> None:
    """Row 50."""
    add_entry(engine)
    add_catalog(engine, "shop", 1)
    attack = "' OR '1'='1"

    for path, names in (
        ("/log", ("dealer", "run_id", "search")),
        ("/products", ("dealer", "search", "brand", "group", "after")),
        ("/stock", ("dealer", "code", "county")),
        ("/changes", ("dealer", "code")),
        ("/rejected", ("dealer", "asset")),
    ):
        for name in names:
            page = olga.page(path, **{name: attack})
            assert "Nothing here." in page or name == "after", (path, name)
            assert attack not in page


def test_the_pages_of_the_log_follow_each_other(olga: Visitor, engine: Engine) -> None:
    ids = [add_entry(engine) for _ in range(110)]

    pages = [row_ids(page) for page in walk(olga, "/log?dealer=shop")]

    assert [len(page) for page in pages] == [50, 50, 10]
    assert list(chain.from_iterable(pages)) == sorted(ids, reverse=True)


def test_a_row_shows_its_checks_what_it_reported_and_how_long_it_took(
    olga: Visitor, engine: Engine
) -> None:
    number = add_entry(
        engine,
        checks=[
            {"name": "prices_plausible", "passed": False, "severity": "ERROR",
             "description": "one price doubled",
             "metadata": {"offending": 1, "offenders": [{"code": "GA1", "price": 5999.5}]}},
            {"name": "codes_valid", "passed": True, "severity": "WARN", "description": "",
             "metadata": {}},
        ],
        metadata={"calls": 566, "failures": {"HTTP 500": 2}, "failed_units": []},
    )  # fmt: skip

    page = olga.page(f"/log/{number}")
    listed = olga.page("/log")

    for said in ("all well", "30.0 s", "prices_plausible", "one price doubled", "GA1", "5999.5",
                 "566", "&#34;HTTP 500&#34;: 2", "3 / 3"):  # fmt: skip
        assert said in page, said
    assert page.count("✗ failed") == 1
    assert page.count("✓ passed") == 1
    assert "✗ 1 / 2" in listed
    assert "30.0 s" in listed


def test_a_run_is_watched_while_it_works_and_no_longer(olga: Visitor, engine: Engine) -> None:
    refresh = '<meta http-equiv="refresh"'
    add_entry(engine)
    assert refresh not in olga.page("/log?run_id=run-1")

    just_now = add_entry(engine, completed_at=datetime.now(UTC))
    assert refresh in olga.page("/log?run_id=run-1")
    assert refresh not in olga.page(f"/log/{just_now}")
    assert refresh not in olga.page("/log")

    working = add_entry(engine, run_id="run-2", status="processing", completed_at=None)
    assert refresh in olga.page("/log?run_id=run-2")
    assert refresh in olga.page(f"/log/{working}")


# --------------------------------------------------------------------------------------- catalog


def test_what_the_platform_names_is_escaped_on_every_page(
    olga: Visitor, engine: Engine, app: FastAPI
) -> None:
    """Row 54."""
    dealer = EVIL[:40]
    add_catalog(engine, dealer, 1, EVIL)
    number = add_entry(
        engine,
        dealer=dealer,
        status="failed",
        message=EVIL,
        run_id=EVIL[:40],
        checks=[{"name": EVIL, "passed": False, "severity": "ERROR", "description": EVIL,
                 "metadata": {EVIL: EVIL, "offenders": [{EVIL: EVIL}], "nested": {EVIL: [EVIL]}}}],
        metadata={EVIL: [EVIL]},
    )  # fmt: skip
    with engine.begin() as connection:
        connection.execute(
            insert(rejected_record).values(
                dealer=dealer, sync_date=today(), asset_key=EVIL, run_id=EVIL[:40], reason=EVIL,
                payload={EVIL: EVIL},
            )
        )  # fmt: skip
        connection.execute(
            text("INSERT INTO haier_config (name, config) VALUES (:name, :config)"),
            {"name": dealer, "config": '{"base_url": "<script>", "customer_code": "<script>"}'},
        )

    code = {"dealer": dealer, "code": "GA000"}
    answers = [olga.get(path) for path in (*PAGES, f"/log/{number}", "/dealers/1")]
    answers += [olga.get(path, dealer=dealer) for path in ("/products", "/stock", "/changes")]
    answers += [olga.get("/product", **code), olga.get("/log", search=EVIL, run_id=EVIL)]
    answers += [olga.get("/none" + EVIL), olga.get("/log", status=EVIL)]
    answers += [olga.get("/login", next=EVIL), Visitor(app).get("/login", lang=EVIL, next=EVIL)]

    shown = 0
    for answer in answers:
        assert "<script" not in answer.text, answer.url
        assert 'href="javascript' not in answer.text, answer.url
        shown += "&lt;script&gt;" in answer.text
    assert shown >= 11


def test_the_lists_of_the_catalog_hold_every_row_once(olga: Visitor, engine: Engine) -> None:
    codes = add_catalog(engine, "shop", 60)
    seen = re.compile(r"dealer=shop&amp;code=(GA\d+)")

    def listed(path: str) -> list[str]:
        return [code for page in walk(olga, path) for code in seen.findall(page)]

    products, stock, changes = listed("/products"), listed("/stock?dealer=shop"), listed("/changes")

    assert products == codes
    assert stock == sorted(codes * 2)
    assert sorted(changes) == codes
    assert changes != codes, "the newest day comes first"


def test_the_catalog_is_filtered(olga: Visitor, engine: Engine) -> None:
    add_catalog(engine, "shop", 3)
    with engine.begin() as connection:
        connection.execute(
            update(product)
            .where(product.c.product_code == "GA001")
            .values(name="冰箱 100%", is_sales="0", stock=5)
        )

    def codes(path: str, **filters: str) -> list[str]:
        return sorted(set(re.findall(r"code=(GA\d+)", olga.page(path, **filters))))

    assert codes("/products", search="冰箱") == ["GA001"]
    assert codes("/products", search="100%") == ["GA001"]
    assert codes("/products", search="ga00") == ["GA000", "GA001", "GA002"]
    assert codes("/products", procurable="no") == ["GA001"]
    assert codes("/products", in_stock="yes") == ["GA001"]
    assert codes("/products", brand="EC6001", procurable="yes") == ["GA000", "GA002"]
    assert codes("/products", group="none") == []
    assert codes("/stock", code="GA002") == ["GA002"]
    assert codes("/stock", county="310101") == []
    assert codes("/changes", kind="price_up", day=f"{today()}") == ["GA000"]
    assert codes("/changes", kind="vanished") == []
    assert "1,234.50" in olga.page("/product", dealer="shop", code="GA002")


def test_a_rejected_record_is_shown_with_its_reason_and_payload(
    olga: Visitor, engine: Engine
) -> None:
    with engine.begin() as connection:
        for day in (today(), today() - timedelta(days=1)):
            connection.execute(
                insert(rejected_record).values(
                    dealer="shop", sync_date=day, asset_key="price_quotes", run_id="run-1",
                    reason=f"supplyPrice is NaN on {day}", payload={"productCode": "GA7"},
                )
            )  # fmt: skip

    page = olga.page("/rejected", day=f"{today()}", dealer="shop", asset="price_quotes")

    assert page.count("supplyPrice is NaN") == 1
    assert "&#34;productCode&#34;: &#34;GA7&#34;" in page
    assert "Nothing here." in olga.page("/rejected", asset="stock_levels")


def test_a_page_that_does_not_follow_another_is_refused(olga: Visitor, engine: Engine) -> None:
    for after in ("x", "[1,2,3]", '["a","b"]', '["\\u0000","b","c"]', '{"a":1}'):
        assert olga.get("/stock", after=after).status_code == 422, after


# -------------------------------------------------------------------------------------- overview


def test_the_overview_shows_each_dealers_last_sync_its_rates_and_what_is_stale(
    olga: Visitor, engine: Engine, dealer: Any
) -> None:
    fetched = {"sync_type": "prices", "asset_key": "price_quotes"}
    loaded = {"sync_type": "products", "asset_key": "products"}
    old = {"created_at": NOW - timedelta(days=3), "started_at": NOW - timedelta(days=3),
           "completed_at": NOW - timedelta(days=3)}  # fmt: skip
    for kind in (fetched, loaded):
        add_entry(engine, **kind, **old)
    add_entry(engine, run_id="run-2", status="failed", message="HTTP 403: check client_id")

    page = olga.page("/")

    (row,) = re.findall(r'<tr class="stale">.*?</tr>', page, re.DOTALL)
    assert '<a href="/admin/dealers/1">shop</a>' in row
    assert "products and prices are of" in row
    assert 'class="status failed">failed<' in row
    assert re.search(r">\d+ min ago<", row)
    assert "30.0 s" in row
    assert "50 %" in row
    assert "HTTP 403: check client_id" in page.partition("Needs attention")[2]


def test_a_dealer_that_is_up_to_date_is_not_red(olga: Visitor, engine: Engine, dealer: Any) -> None:
    for kind, asset in (("prices", "price_quotes"), ("products", "products"),
                        ("stock", "stock_levels"), ("stock", "product_stock")):  # fmt: skip
        add_entry(engine, sync_type=kind, asset_key=asset)

    page = olga.page("/")

    assert 'class="stale"' not in page
    assert "Needs attention" not in page
    assert 'class="status success">success<' in page
    assert "100 %" in page


def test_the_charts_count_syncs_durations_and_calls_by_day(olga: Visitor, engine: Engine) -> None:
    add_entry(engine, metadata={"calls": 500, "refused_calls": 20})
    add_entry(engine, asset_key="products", metadata={})
    add_entry(engine, run_id="run-2", dealer="other", status="partial", metadata={"calls": 100},
              started_at=NOW - timedelta(seconds=70))  # fmt: skip
    add_entry(engine, run_id=None, sync_type="manual", asset_key=None)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO haier_config (name, config) VALUES ('other', '{}')"))
    day = (NOW - timedelta(seconds=60)).astimezone(SHANGHAI).date()

    both, one = olga.page("/"), olga.page("/", dealer="other")

    assert f"{day}: 1 succeeded, 1 partial, 0 failed" in both
    assert f"{day}: 20.0 s on average, the longest 30.0 s" in both
    assert f"{day}: 601 calls, 20 of them refused" in both
    assert f"{day}: 0 succeeded, 1 partial, 0 failed" in one
    assert f"{day}: 100 calls, 0 of them refused" in one
    assert both.count("<svg") == 3


def test_a_sync_is_as_bad_as_its_worst_step(engine: Engine) -> None:
    for run, statuses in {
        "a": ("success", "success"),
        "b": ("success", "partial"),
        "c": ("partial", "failed"),
        "d": ("failed", "processing"),
    }.items():
        for status in statuses:
            open_ = status == "processing"
            add_entry(engine, dealer=run, run_id=run, status=status,
                      completed_at=None if open_ else NOW)  # fmt: skip

    last = overview.last_syncs(engine, ["a", "b", "c", "d", "nobody"])
    days = {day.dealer: day for day in overview.days(engine, NOW.astimezone(SHANGHAI).date(), 3)}

    assert {name: sync.status for name, sync in last.items()} == {
        "a": "success", "b": "partial", "c": "failed", "d": "processing",
    }  # fmt: skip
    assert last["d"].ended_at is None
    assert [(days[name].success, days[name].partial, days[name].failed) for name in "abc"] == [
        *((1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]


def test_a_column_is_as_high_as_its_value() -> None:
    chart = draw([Column("1", [Part("a", 30), Part("b", 10)], ""), Column("2", [], "")])

    assert chart is not None
    assert [line.value for line in chart.lines] == [0, 20, 40]
    lower, upper = chart.columns[0].rects
    assert lower.height == pytest.approx(3 * upper.height)
    assert lower.y + lower.height == chart.bottom
    assert upper.y + upper.height == pytest.approx(lower.y)
    assert upper.y == chart.top
    assert 0 <= upper.y < HEIGHT
    assert chart.columns[1].rects == []
    assert draw([Column("1", [Part("a", 0)], "")]) is None
    assert draw([]) is None


@pytest.mark.parametrize("highest", [0.013, 1, 7, 10, 11, 99.9, 15_200])
def test_the_grid_ends_above_the_highest_column(highest: float) -> None:
    chart = draw([Column("", [Part("a", highest)], "")])

    assert chart is not None
    assert highest <= chart.lines[-1].value <= 2 * highest * 1.001
    assert chart.columns[0].rects[0].y >= chart.top


# ------------------------------------------------------------------------------------- languages


def words_in_use() -> set[str]:
    """Every text that a template or a module hands over for translation."""
    used: set[str] = set()
    for path in (PACKAGE / "templates").glob("*.html"):
        for double, single in re.findall(
            r"""_\((?:"([^"]*)"|'([^']*)')""", path.read_text("utf-8")
        ):
            used.add(double or single)
        used |= set(re.findall(r'_\("[^"]*" if [^)]*? else "([^"]*)"', path.read_text("utf-8")))
    for path in PACKAGE.glob("*.py"):
        if path.name == "words.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                used |= {node.value} & set(CHINESE)
            # What is handed over to be translated must be known, too.
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Notice", "words"):
                texts = [each for each in node.args if isinstance(each, ast.Constant)]
                used |= {each.value for each in texts if isinstance(each.value, str)}
    return used


def test_every_word_has_its_chinese_and_none_is_left_over() -> None:
    assert words_in_use() == set(CHINESE)
    assert set(CHANGE_LABELS) == set(CHANGE_KINDS)
    for english, chinese in CHINESE.items():
        placeholders = re.compile(r"{\w+}")
        assert sorted(placeholders.findall(english)) == sorted(placeholders.findall(chinese))


def test_every_page_speaks_both_languages_and_remembers_the_choice(
    olga: Visitor, engine: Engine, dealer: Any
) -> None:
    number = add_entry(engine)
    add_catalog(engine, "shop", 1)
    pages = (*PAGES, "/dealers/1", f"/log/{number}", "/product?dealer=shop&code=GA000")
    english = [olga.page(path) for path in pages]
    assert 'lang="zh-CN"' in olga.page("/?lang=zh")
    chinese = [olga.page(path) for path in pages]

    for path, one, other in zip(pages, english, chinese, strict=True):
        assert '<html lang="en">' in one, path
        assert '<html lang="zh-CN">' in other, path
        assert "总览" in other, path
        assert "总览" not in one, path
    log = chinese[PAGES.index("/log")]
    for labels in (TYPE_LABELS, STATUS_LABELS):
        for _, label in labels.values():
            assert f">{label}<" in log
    assert '<html lang="en">' in olga.page("/?lang=en")
    assert '<html lang="en">' in olga.page("/")


def test_a_browser_that_prefers_chinese_gets_it(app: FastAPI) -> None:
    visitor = Visitor(app, headers={"Accept-Language": "zh-CN,zh;q=0.9"})

    assert "令牌" in visitor.page("/login")
    assert "Token" in visitor.page("/login?lang=en")


def test_stock_that_was_never_named_is_still_shown(engine: Engine) -> None:
    """A row without its product, which only a hand at the database can make."""
    add_catalog(engine, "shop", 1)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM product"))

    assert [row.name for row in browse.stock(engine, "shop", limit=10)] == [None, None]


# ------------------------------------------------------------------------------- what is strange


@pytest.mark.parametrize(
    "moment",
    ["9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59+00", "294276-01-01", "infinity",
     "-infinity", "4713-01-01 BC", "0001-01-01T00:00:00+00"],
)  # fmt: skip
def test_a_date_beyond_the_calendar_takes_nothing_from_the_rows_beside_it(
    olga: Visitor, engine: Engine, moment: str
) -> None:
    codes = add_catalog(engine, "shop", 3)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE product_stock SET expected_delivery_at = :moment, synced_at = :moment,"
                " delivery_hours = 9999 WHERE product_code = :code AND sec_code = 'W1'"
            ),
            {"moment": moment, "code": codes[0]},
        )
        connection.execute(
            text("UPDATE product SET last_sync_at = :moment WHERE product_code = :code"),
            {"moment": moment, "code": codes[0]},
        )

    stock = olga.page("/stock", dealer="shop")

    assert all(stock.count(code) >= 2 for code in codes)
    assert olga.get("/product", dealer="shop", code=codes[0]).status_code == 200
    assert all(code in olga.page("/products", dealer="shop") for code in codes)
    assert olga.get("/").status_code == 200


def test_a_number_that_is_none_is_shown_as_it_is() -> None:
    filters = rendering._TEMPLATES.filters

    for name in ("amount", "percent", "count_"):
        for value in ("NaN", "Infinity", "1E+999999", "no number"):
            assert filters[name](value) == value
    assert filters["amount"]("1234.5") == "1,234.50"
    assert filters["percent"]("0.03") == "3.00 %"
    assert filters["moment"]("12026-01-01T00:00:00+00:00") == "12026-01-01T00:00:00+00:00"
    words = rendering.Words("zh")
    assert (words.type("new"), words.status("new"), words.kind("new")) == ("new", "new", "new")
    assert (words.duration(float("nan")), words.short(float("inf"))) == ("–", "–")
    assert rendering._pretty({"a": Decimal("1E+400"), "b": Decimal("1.50")}).count("1E+400") == 1


def test_control_characters_are_shown_and_not_obeyed(olga: Visitor, engine: Engine) -> None:
    """What the platform sent may turn a line round or end it."""
    strange = "a\u202eb\u2066c\x9b31m\x1b]0;x\x07d\u2028e"
    add_catalog(engine, "shop", 1, name=strange)
    number = add_entry(engine, message=strange)

    for page in (
        olga.page("/products", dealer="shop"),
        olga.page("/product", dealer="shop", code="GA000"),
        olga.page("/changes", dealer="shop"),
        olga.page("/log"),
        olga.page(f"/log/{number}"),
    ):
        assert "a[U+202E]b[U+2066]c[U+009B]31m[U+001B]]0;x[U+0007]d[U+2028]e" in page
        assert not [sign for sign in strange if not sign.isprintable() and sign in page]
