"""Payer balances and the logistics of tracked orders, from the sandbox into their tables."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from sqlalchemy import Engine, text

from haier_pipeline import rules
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync import account, fetch
from haier_pipeline.sync.run import Outcome, SyncRun, today

OpenSync = Callable[..., SyncRun]


def done(step: Callable[[SyncRun], Outcome], run: SyncRun) -> Outcome:
    """One step in a run of its own, which gives its partition free."""
    outcome = step(run)
    run.close()
    return outcome


def query(engine: Engine, statement: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def track(engine: Engine, *codes: str) -> None:
    with engine.begin() as connection:
        for code in codes:
            connection.execute(
                text("INSERT INTO tracked_order (dealer, order_code) VALUES ('haier', :code)"),
                {"code": code},
            )


def test_balances_are_stored_exactly_and_replaced_by_the_next_fetch(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine
) -> None:
    answer = [
        {"payerAccountCode": "A", "saleGroupCode": "G", "payerAccountBalance": "1,234.56"},
        {"payerAccountCode": "B", "payerAccountBalance": -7},
    ]
    sandbox.fault(interface="balance", kind="answer", answer=answer, times=1)
    outcome = done(account.fetch_balances, open_sync())
    assert (outcome.result.status, outcome.result.total) == ("success", 2)
    assert query(engine, "SELECT payer_account_code, balance FROM account_balance ORDER BY 1") == [
        ("A", Decimal("1234.56")),
        ("B", Decimal(-7)),
    ]
    done(account.fetch_balances, open_sync())
    assert ("A",) not in query(engine, "SELECT payer_account_code FROM account_balance")


def test_an_unreadable_balance_is_set_aside_and_its_neighbour_kept(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine
) -> None:
    answer = [
        {"payerAccountCode": "A", "payerAccountBalance": "many"},
        {"payerAccountCode": "B", "payerAccountBalance": 1},
    ]
    sandbox.fault(interface="balance", kind="answer", answer=answer, times=1)
    outcome = done(account.fetch_balances, open_sync())
    assert (outcome.result.status, outcome.result.success, outcome.result.failed) == (
        "partial",
        1,
        1,
    )
    assert query(engine, "SELECT asset_key FROM rejected_record") == [("account_balances",)]


def test_a_refused_balance_leaves_the_last_one_and_a_failed_row(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine
) -> None:
    done(account.fetch_balances, open_sync())
    before = query(engine, "SELECT * FROM account_balance ORDER BY 1, 2, 3, 4")
    sandbox.fault(interface="balance", kind="refuse", message="余额系统维护中")
    outcome = done(account.fetch_balances, open_sync())
    assert outcome.failed
    assert "余额系统维护中" in outcome.result.message
    assert query(engine, "SELECT * FROM account_balance ORDER BY 1, 2, 3, 4") == before


def test_an_order_is_asked_for_until_it_is_delivered(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine
) -> None:
    track(engine, "SO.20260101.000003", f"SO.{today():%Y%m%d}.000004")
    first = done(account.fetch_logistics, open_sync())
    assert (first.result.success, first.result.metadata["delivered"]) == (2, 1)
    assert query(engine, "SELECT order_code FROM tracked_order WHERE delivered_at IS NOT NULL") == [
        ("SO.20260101.000003",)
    ]
    sandbox.reset()
    second = done(account.fetch_logistics, open_sync())
    assert second.result.total == 1
    assert sandbox.report()["calls"]["logistics"] == 1


def test_one_order_that_fails_does_not_keep_the_others(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine
) -> None:
    track(engine, "SO.20260101.000003", "SO.20260101.000005")
    sandbox.fault(interface="logistics", kind="refuse", message="unknown order", times=1)
    outcome = done(account.fetch_logistics, open_sync())
    assert (outcome.result.status, outcome.result.success, outcome.result.failed) == (
        "partial",
        1,
        1,
    )
    assert "unknown order" in outcome.result.message


def test_without_tracked_orders_nothing_is_asked(
    open_sync: OpenSync, sandbox: SandboxProcess
) -> None:
    outcome = done(account.fetch_logistics, open_sync())
    assert outcome.result.status == "success"
    assert sandbox.report()["total"] == 0


def test_balances_can_be_fetched_while_a_sync_of_the_same_day_works(open_sync: OpenSync) -> None:
    working = open_sync()
    fetch.fetch_listing(working)
    assert done(account.fetch_balances, open_sync()).result.status == "success"
    second = fetch.fetch_listing(open_sync())
    assert second.failed
    assert "already running" in second.result.message


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"status": "已签收"}, True),
        ({"traces": [{"text": "快件已送达，签收人：本人"}]}, True),
        ({"status": "妥投"}, True),
        ({"status": "待签收"}, False),
        ({"status": "用户拒签收"}, False),
        ({"status": "运输中", "signed": None, "count": 3}, False),
        ([], False),
    ],
)
def test_an_order_has_arrived_when_a_carrier_says_so(payload: object, expected: bool) -> None:
    assert rules.says_delivered(payload) is expected
