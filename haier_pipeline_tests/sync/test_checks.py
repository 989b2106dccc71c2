"""Every asset check fails on bad data and passes on good; its result stands in the sync log."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from haier_pipeline import rules
from haier_pipeline.catalog import log
from haier_pipeline.catalog.load import LoadReport
from haier_pipeline.domain import assets, product
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.errors import InvalidInput
from haier_pipeline.installation import Installation
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.settings import read_settings
from haier_pipeline.sync import checks, derive, fetch
from haier_pipeline.sync.run import Outcome, SyncRun

OpenSync = Callable[..., SyncRun]


def of(outcome: Outcome) -> dict[str, bool]:
    return {check.name: check.passed for check in outcome.result.checks}


def logged(engine: Engine, run: SyncRun, asset: str) -> dict[str, dict[str, Any]]:
    entry = next(e for e in log.entries(engine, run_id=run.run_id) if e.asset_key == asset)
    return {check["name"]: check for check in entry.checks}


def test_all_checks_pass_on_the_sandbox_as_it_is(open_sync: OpenSync) -> None:
    run = open_sync()
    outcomes = [
        fetch.fetch_listing(run),
        fetch.fetch_prices(run),
        fetch.fetch_stock(run),
        derive.price_products(run),
        *derive.load_catalog(run).values(),
    ]
    results = [of(outcome) for outcome in outcomes]
    assert sorted(name for result in results for name in result) == sorted(
        [
            assets.NOT_EMPTY.name,
            assets.NOT_SHRUNK.name,
            assets.RECORDS_READABLE.name,
            assets.CODES_VALID.name,
            assets.QUOTES_ANSWERED.name,
            assets.STOCK_ANSWERED.name,
            assets.QUANTITIES_VALID.name,
            assets.INVOICE_ADDS_UP.name,
            assets.PRICES_PLAUSIBLE.name,
            assets.QUOTES_UNDERSTOOD.name,
            assets.PRODUCTS_MATCH.name,
            assets.PRODUCTS_MATCH.name,
            assets.STOCK_ADDS_UP.name,
        ]
    )
    assert all(passed for result in results for passed in result.values())


def test_an_empty_listing_is_not_kept(open_sync: OpenSync, sandbox: SandboxProcess) -> None:
    sandbox.fault(interface="listing", kind="shrink", keep=0)
    outcome = fetch.fetch_listing(open_sync())
    assert outcome.failed
    assert outcome.blocked
    assert of(outcome)[assets.NOT_EMPTY.name] is False


@pytest.mark.parametrize(("keep", "passes"), [(0.4, False), (0.5, True), (1, True)])
def test_a_listing_may_lose_half_but_not_more(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine, keep: float, passes: bool
) -> None:
    fetch.fetch_listing(first := open_sync())
    first.close()
    sandbox.fault(interface="listing", kind="shrink", keep=keep)
    run = open_sync()
    outcome = fetch.fetch_listing(run)
    assert of(outcome)[assets.NOT_SHRUNK.name] is passes
    assert logged(engine, run, "product_listings")[assets.NOT_SHRUNK.name]["passed"] is passes
    run.close()
    accepted = fetch.fetch_listing(open_sync(), accept_shrink=True)
    assert of(accepted)[assets.NOT_SHRUNK.name]
    assert not accepted.failed


def test_the_days_that_a_listing_is_measured_by_come_from_a_variable(
    database_url: str, tmp_path: Path
) -> None:
    """Fault matrix, row 30."""
    variables = {"HAIER_HOME": str(tmp_path), "HAIER_DATABASE_URL": database_url}
    for given, days in (({}, 7), ({"HAIER_SHRINK_DAYS": "3"}, 3)):
        with Installation(read_settings(variables | given)) as installation:
            run = installation.open_run(Partition("haier", today()), run_id="r")
            assert run.shrink_days == days
            run.close()
    with pytest.raises(InvalidInput, match="HAIER_SHRINK_DAYS is not a number of days"):
        read_settings(variables | {"HAIER_SHRINK_DAYS": "0"})


@pytest.mark.parametrize("fields", [{"productCode": None}, {"isSales": "maybe"}])
def test_a_record_that_cannot_be_told_apart_is_shown_and_does_not_stop_the_sync(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine, fields: dict[str, Any]
) -> None:
    sandbox.fault(interface="listing", kind="malform", fields=fields)
    run = open_sync()
    outcome = fetch.fetch_listing(run)
    assert (outcome.result.status, outcome.blocked) == ("partial", False)
    check = logged(engine, run, "product_listings")[assets.CODES_VALID.name]
    assert (check["passed"], check["severity"]) == (False, "WARN")
    assert check["metadata"]["offending"] == 1
    assert len(check["metadata"]["offenders"]) == 1


@pytest.mark.parametrize(("missing", "passes"), [(1, True), (2, False)])
def test_more_than_five_percent_of_prices_missing_is_an_error(
    open_sync: OpenSync, sandbox: SandboxProcess, missing: int, passes: bool
) -> None:
    fetch.fetch_listing(run := open_sync())
    codes = fetch.procurable_codes(run)
    assert 1 / len(codes) <= 0.05 < 2 / len(codes)
    sandbox.fault(interface="prices", kind="omit", codes=codes[:missing])
    outcome = fetch.fetch_prices(run)
    assert outcome.result.failed == missing
    check = outcome.result.checks[0]
    assert (check.passed, check.severity, check.blocking) == (passes, "ERROR", False)
    assert [offender["product_code"] for offender in check.offenders] == codes[:missing]


def test_stock_that_was_not_answered_is_named_and_many_gaps_are_an_error(
    open_sync: OpenSync, sandbox: SandboxProcess
) -> None:
    fetch.fetch_listing(run := open_sync())
    sandbox.fault(interface="stock", kind="refuse", county_code="310101", message="closed")
    outcome = fetch.fetch_stock(run)
    check = outcome.result.checks[0]
    assert (check.name, check.passed, check.severity) == (
        assets.STOCK_ANSWERED.name,
        False,
        "ERROR",
    )
    assert {offender["county_code"] for offender in check.offenders} == {"310101"}
    assert check.metadata["offending"] == outcome.result.failed
    assert len(check.offenders) == checks.SHOWN_OFFENDERS


def test_a_single_gap_in_the_stock_only_warns(open_sync: OpenSync, sandbox: SandboxProcess) -> None:
    fetch.fetch_listing(run := open_sync())
    sandbox.fault(interface="stock", kind="refuse", message="closed", times=1)
    check = fetch.fetch_stock(run).result.checks[0]
    assert (check.passed, check.severity, check.metadata["offending"]) == (False, "WARN", 1)


@pytest.mark.parametrize("quantity", ["-3", "12.5", "有货"])
def test_a_quantity_that_is_none_fails_its_check(
    open_sync: OpenSync, sandbox: SandboxProcess, quantity: str
) -> None:
    fetch.fetch_listing(run := open_sync())
    answer = [{"secCode": "W1", "stock": quantity}]
    sandbox.fault(interface="stock", kind="answer", answer=answer, times=1)
    outcome = fetch.fetch_stock(run)
    assert of(outcome)[assets.QUANTITIES_VALID.name] is False
    assert outcome.result.checks[1].offenders[0]["sec_code"] == "W1"


PRICE_COLUMNS = ["product_code", *product.PRICE_COLUMNS]


def priced(*rows: tuple[Any, ...]) -> Any:
    return rules.frame(rows, PRICE_COLUMNS)


@pytest.mark.parametrize(
    ("invoice", "passes"), [("89.50", True), ("89.51", False), ("89.49", False), (None, False)]
)
def test_the_invoice_price_follows_the_platforms_rule_to_the_cent(
    invoice: str | None, passes: bool
) -> None:
    amount = None if invoice is None else Decimal(invoice)
    row = ("A", Decimal(100), amount, None, Decimal("0.1"), Decimal("0.5"), "0")
    assert rules.invoice_mismatches(priced(row)).empty is passes


@pytest.mark.parametrize(
    ("before", "now", "passes"),
    [("100", "50", True), ("100", "49.99", False), ("100", "200", True), ("100", "200.01", False)],
)
def test_a_price_may_halve_or_double_but_not_more(before: str, now: str, passes: bool) -> None:
    earlier = priced(("A", Decimal(before), None, None, None, None, None))
    later = priced(("A", Decimal(now), None, None, None, None, None))
    assert rules.implausible_prices(earlier, later).empty is passes


def test_a_negative_amount_is_implausible_even_on_the_first_day() -> None:
    found = rules.implausible_prices(
        priced(), priced(("A", Decimal(-1), None, None, None, None, None))
    )
    assert list(found["field"]) == ["supply_price"]


def test_a_jump_of_a_price_is_shown_with_both_values_and_does_not_stop_the_sync() -> None:
    check = checks.price_checks(
        priced(("A", Decimal(10), None, None, None, None, None)),
        priced(("A", Decimal(99), None, None, None, None, None)),
    )[1]
    assert (check.passed, check.blocking) == (False, False)
    assert check.offenders == [
        {"product_code": "A", "field": "supply_price", "before": "99", "now": "10"}
    ]


def report(**figures: Any) -> LoadReport:
    names = LoadReport.__dataclass_fields__
    return LoadReport(**dict.fromkeys(names, 0) | {"stock_sums_wrong": ()} | figures)


@pytest.mark.parametrize(
    ("asset", "figures"),
    [
        ("products", {"products": 2, "products_found": 1}),
        ("product_stock", {"stock_rows": 2, "stock_found": 1}),
        ("product_stock", {"stock_sums_wrong": ("A",)}),
    ],
)
def test_tables_that_do_not_hold_what_was_computed_stop_the_sync(
    asset: str, figures: dict[str, Any]
) -> None:
    assert all(
        check.passed for checked in checks.load_checks(report()).values() for check in checked
    )
    failed = [check for check in checks.load_checks(report(**figures))[asset] if not check.passed]
    assert failed
    assert all(check.blocking for check in failed)


def test_a_load_that_does_not_add_up_is_taken_back_with_its_checks_in_the_log(
    open_sync: OpenSync, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trigger that bends a quantity stands for whatever might bend one."""
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION bend() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.stock := NEW.stock + 1; RETURN NEW; END $$"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER bend BEFORE INSERT OR UPDATE ON product"
            " FOR EACH ROW WHEN (NEW.stock > 0) EXECUTE FUNCTION bend()"
        )
    run = open_sync()
    for step in (fetch.fetch_listing, fetch.fetch_prices, fetch.fetch_stock, derive.price_products):
        step(run)
    outcomes = derive.load_catalog(run)
    assert all(outcome.failed for outcome in outcomes.values())
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM product").scalar() == 0
    assert logged(engine, run, "product_stock")[assets.STOCK_ADDS_UP.name]["passed"] is False
