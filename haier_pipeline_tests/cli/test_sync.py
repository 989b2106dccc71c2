"""``haier sync`` where the platform behaves, or misbehaves over single products."""

import json
from collections.abc import Callable
from datetime import timedelta

from cryptography.fernet import Fernet

from haier_pipeline.catalog.configs import Secrets
from haier_pipeline.domain.partition import today
from haier_pipeline.platform.config import SECRET_FIELDS
from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline_tests.cli.commands import (
    Ended,
    Haier,
    catalog,
    execute,
    log,
    rows,
    together,
)
from haier_pipeline_tests.cli.conftest import FirstSync

ASSETS = [
    "product_listings",
    "price_quotes",
    "stock_levels",
    "priced_products",
    "brands",
    "products",
    "product_stock",
    "catalog_changes",
]


def statuses(ended: Ended) -> dict[str, str]:
    """The status of each asset of the only run."""
    [run] = ended.json["runs"]
    return {entry["asset_key"]: entry["status"] for entry in run["logs"]}


def test_the_first_sync_into_an_empty_database_loads_everything_the_platform_lists(
    first_sync: FirstSync,
) -> None:
    ended = first_sync.ended
    assert ended.code == 0, ended.output
    assert ended.err == ""
    assert set(statuses(ended)) == set(ASSETS)
    assert set(statuses(ended).values()) == {"success"}
    [(products, in_stock)] = rows(
        first_sync.haier.database_url, "SELECT count(*), count(stock) FROM product"
    )
    assert products == 30
    assert in_stock > 20


def test_json_prints_one_object_of_the_documented_shape(first_sync: FirstSync) -> None:
    answer = first_sync.ended.json
    assert set(answer) == {"status", "runs"}
    [run] = answer["runs"]
    assert set(run) == {"dealer", "sync_date", "run_id", "status", "logs"}
    assert (answer["status"], run["dealer"], run["status"]) == ("success", "haier", "success")
    assert run["sync_date"] in (f"{today()}", f"{today() - timedelta(days=1)}")
    for entry in run["logs"]:
        assert set(entry) == {
            "sync_type",
            "asset_key",
            "status",
            "total_count",
            "success_count",
            "failed_count",
            "message",
            "duration",
        }
        assert entry["total_count"] == entry["success_count"] + entry["failed_count"]
        assert entry["duration"] >= 0
    assert run["logs"][0]["sync_type"] == "products"


def test_a_second_sync_without_news_changes_nothing_but_times(haier: Haier) -> None:
    before = catalog(haier.database_url)
    # Times change, ids do not.
    kept = ("updated_at", "last_sync_at", "synced_at")
    numbered = catalog(haier.database_url, leaving_out=kept)
    with haier.on_terminal("sync", "--json") as command:
        ended = command.ended()
    assert ended.code == 0
    assert ended.json["status"] == "success"
    assert command.shown == "", "with --json nothing is drawn on a terminal either"
    assert catalog(haier.database_url) == before
    assert catalog(haier.database_url, leaving_out=kept) == numbered


def test_what_is_not_asked_for_stays_as_it_is(
    new_haier: Callable[[], Haier], platform: SandboxProcess
) -> None:
    without_prices, without_stock, everything = new_haier(), new_haier(), new_haier()
    before = catalog(everything.database_url)
    platform.set(date=f"{today() - timedelta(days=40)}")
    ended = together(
        [
            lambda: without_prices.run("sync", "--no-prices", "--json"),
            lambda: without_stock.run("sync", "--no-stock", "--json"),
            lambda: everything.run("sync", "--county-code", "310101", "--json"),
        ]
    )
    assert [each.code for each in ended] == [0, 0, 0], [each.output for each in ended]
    assert set(statuses(ended[0])) == set(ASSETS) - {"price_quotes"}
    assert set(statuses(ended[1])) == set(ASSETS) - {"stock_levels"}

    def prices(of: dict[str, list[dict[str, object]]]) -> list[object]:
        return [row["supply_price"] for row in of["product"]]

    def stock(of: dict[str, list[dict[str, object]]], county: str) -> list[object]:
        return [
            # Which of a location's rows counts depends on the other counties too.
            {key: value for key, value in row.items() if key not in ("sync_date", "is_counted")}
            for row in of["product_stock"]
            if row["county_code"] == county
        ]

    after = [catalog(haier.database_url) for haier in (without_prices, without_stock, everything)]
    assert prices(after[0]) == prices(before)
    assert prices(after[1]) == prices(after[2]) != prices(before)
    for county in ("110101", "310101"):
        assert stock(after[1], county) == stock(before, county)
        assert stock(after[0], county) != stock(before, county)
    assert stock(after[2], "110101") == stock(before, "110101")
    assert stock(after[2], "310101") == stock(after[0], "310101")


def test_a_product_the_platform_does_not_know_fails_and_beside_a_known_one_is_partial(
    new_haier: Callable[[], Haier],
) -> None:
    alone, beside = new_haier(), new_haier()
    before = catalog(alone.database_url)
    code = str(before["product"][0]["product_code"])
    unknown, partial = together(
        [
            lambda: alone.run("sync", "--product-code", "NOPE"),
            lambda: beside.run("sync", "--product-code", "NOPE", "--product-code", code, "--json"),
        ]
    )
    assert unknown.code == 1
    assert "the platform does not know NOPE" in unknown.err
    unknown.assert_no_traceback()
    assert partial.code == 3, partial.output
    assert partial.json["status"] == "partial"
    assert catalog(alone.database_url) == catalog(beside.database_url) == before


def test_a_product_without_an_answer_makes_the_sync_partial_and_keeps_its_old_stock(
    haier: Haier, platform: SandboxProcess
) -> None:
    """Fault matrix, row 25."""
    before = catalog(haier.database_url)
    code = str(before["product_stock"][0]["product_code"])
    platform.fault(interface="stock", kind="status", status=400, product_code=code)
    ended = haier.run("sync")
    assert ended.code == 3, ended.output
    assert f"{code} in 110101" in ended.out
    assert "stock_levels: partial" in ended.err
    ended.assert_no_traceback()
    assert catalog(haier.database_url) == before


def test_every_active_dealer_is_synced_and_a_broken_one_does_not_stop_the_others(
    haier: Haier, platform: SandboxProcess
) -> None:
    key = Fernet.generate_key().decode()
    address = {"base_url": platform.url, "token_url": f"{platform.url}/oauth2/auth"}
    good = {**CREDENTIALS, **address, "client_id": "sandbox-2", "rate_limit": "1000"}
    secrets = Secrets((key,), SECRET_FIELDS)
    for name, config, is_active in (
        ("分销商", good, True),
        ("halfway", {**good, "customer_code": ""}, True),
        ("retired", good, False),
    ):
        execute(
            haier.database_url,
            "INSERT INTO haier_config (name, config, is_active) VALUES (%s, %s, %s)",
            name,
            json.dumps(secrets.encrypt(name, config)),
            is_active,
        )
    everyone = haier.with_variables(HAIER_SECRET_KEY=key)
    ended = everyone.run("sync", "--json")
    assert {run["dealer"]: run["status"] for run in ended.json["runs"]} == {
        "haier": "success",
        "halfway": "failed",
        "分销商": "success",
    }
    assert ended.code == 1
    [entry] = ended.json["runs"][1]["logs"]
    assert "customer_code is missing" in entry["message"]
    ended.assert_no_traceback()
    found = dict(rows(haier.database_url, "SELECT dealer, count(*) FROM product GROUP BY dealer"))
    assert found == {"haier": 30, "分销商": 30}


def test_a_stored_dealer_whose_secrets_cannot_be_read_fails_before_any_call(
    new_haier: Callable[[], Haier], platform: SandboxProcess
) -> None:
    """Fault matrix, rows 46 and 48."""
    stored = Secrets((Fernet.generate_key().decode(),), SECRET_FIELDS).encrypt(
        "stored", dict(CREDENTIALS)
    )
    without = new_haier()
    with_another = new_haier().with_variables(HAIER_SECRET_KEY=Fernet.generate_key().decode())
    for haier in (without, with_another):
        execute(
            haier.database_url,
            "INSERT INTO haier_config (name, config) VALUES ('stored', %s)",
            json.dumps(stored),
        )
    ended = together(
        [
            lambda: without.run("sync", "--dealer", "stored"),
            lambda: with_another.run("sync", "--dealer", "stored"),
        ]
    )
    for haier, end in zip((without, with_another), ended, strict=True):
        assert end.code == 1
        assert "HAIER_SECRET_KEY" in end.err
        end.assert_no_traceback()
        assert log(haier.database_url)[-1][:2] == ("product_listings", "failed")
    assert "cannot be decrypted" in ended[1].err
    assert platform.report()["total"] == 0
