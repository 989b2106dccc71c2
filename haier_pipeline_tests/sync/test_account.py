"""Payer balances and the logistics of tracked orders, from the sandbox into their tables."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, text

from haier_pipeline.domain.partition import today
from haier_pipeline.platform.answers import LOGISTICS_LISTS
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sync import account, fetch
from haier_pipeline.sync.run import Outcome, SyncRun

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


CENTRAL, OWN, COURIER = LOGISTICS_LISTS
ORDER = "SO.20260101.000003"
PHONE, PLATE, DRIVER = "13812345678", "鲁B12345", "王师傅大海"


def central(code: str, *steps: tuple[str | None, str | None, str | None]) -> dict[str, Any]:
    """A delivery record of the central warehouse: its steps as code, words and time."""
    names = ("stateCode", "stateDescription", "stateTime")
    return {
        "deliveryRecordCode": f"{ORDER}.{code}",
        "getStoreOutboundLogisticsInfoResultDto": [
            {
                "deliveryContact": DRIVER,
                "deliveryPhone": PHONE,
                "vehicleInformation": PLATE,
                "expNo": "8812345678901",
                "deliveryLogisticsDtos": [dict(zip(names, step, strict=True)) for step in steps],
            }
        ],
    }


def own(code: str, *steps: tuple[str | None, str | None, str | None]) -> dict[str, Any]:
    names = ("statusCode", "stateDescription", "stateTime")
    return {
        "deliveryRecordCode": f"{ORDER}.{code}",
        "logisticsInfo": [dict(zip(names, step, strict=True)) for step in steps],
    }


def courier(code: str, *parcels: list[tuple[str | None, str | None]]) -> dict[str, Any]:
    names = ("context", "stateTime")
    return {
        "deliveryRecordCode": f"{ORDER}.{code}",
        "logisticsNoList": [
            {"logisticsNo": "YT1", "logisticsInfo": [dict(zip(names, s, strict=True)) for s in one]}
            for one in parcels
        ],
    }


ARRIVED = ("DELIVERED", "已签收", "2026-11-03 10:00:00")


@pytest.mark.parametrize(
    ("answer", "delivered"),
    [
        pytest.param({CENTRAL: [central("F1", ARRIVED)]}, True, id="by its code"),
        pytest.param(
            {CENTRAL: [central("F1", ("DELIVERED", None, None))]}, True, id="by its code alone"
        ),
        pytest.param(
            {COURIER: [courier("F1", [("您的快件已签收，签收人：本人", "2026-11-03")])]},
            True,
            id="by a courier's words",
        ),
        pytest.param(
            {CENTRAL: [central("F1", ARRIVED), central("F2", ("LF", "已出库", "2026-11-02"))]},
            False,
            id="one of two deliveries is under way",
        ),
        pytest.param(
            {CENTRAL: [central("F1", ARRIVED)], OWN: [own("F2", ("LF", "已出库", "2026-11-02"))]},
            False,
            id="the second delivery stands in another list",
        ),
        pytest.param(
            {CENTRAL: [central("F1", ARRIVED)], OWN: [own("F2", ARRIVED)]}, True, id="both"
        ),
        pytest.param({OWN: [own("F1", ("LF", "已签收", "2026-11-03"))]}, False, id="left only"),
        pytest.param(
            {
                CENTRAL: [central("F1", ("LF", "已出库", "2026-11-01"))],
                COURIER: [courier("F1", [("已签收", "2026-11-03"), ("运输中", "2026-11-02")])],
            },
            True,
            id="the courier knows more of the same delivery",
        ),
        pytest.param(
            {
                CENTRAL: [central("F1", ARRIVED)],
                OWN: [own("F1", ("LF", "已出库", "1794000000000"))],
            },
            False,
            id="it left again later",
        ),
        pytest.param(
            {COURIER: [courier("F1", [("已签收", "2026-11-03")], [("运输中", "2026-11-04")])]},
            False,
            id="one of two parcels is under way",
        ),
        pytest.param(
            {COURIER: [courier("F1", [("已签收", "2026-11-03")], [])]},
            False,
            id="nothing is known of the second parcel",
        ),
        pytest.param(
            {CENTRAL: [central("F1", ARRIVED, ("RT", "客户拒收，已退回", "2026-11-04"))]},
            False,
            id="it was returned later",
        ),
        pytest.param(
            {CENTRAL: [central("F1", ("LF", "已出库", "2026-11-04"), ARRIVED)]},
            False,
            id="the newest status counts, wherever it stands",
        ),
        pytest.param(
            {CENTRAL: [central("F1", ("DELIVERED", "客户拒收", "2026-11-04"))]},
            False,
            id="the words contradict the code",
        ),
        pytest.param(
            {CENTRAL: [central("F1", ("DELIVERED", "已签收", "2099-01-01"))]},
            False,
            id="it has not happened yet",
        ),
        pytest.param({CENTRAL: [central("F1", ARRIVED), "?"]}, False, id="one cannot be read"),
        pytest.param({CENTRAL: [], OWN: None}, False, id="nothing is said"),
        pytest.param({CENTRAL: central("F1", ARRIVED)}, True, id="one object in place of a list"),
    ],
)
def test_an_order_has_arrived_when_every_delivery_of_it_has(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine, answer: Any, delivered: bool
) -> None:
    track(engine, ORDER)
    envelope = {"success": True, "data": answer}
    sandbox.fault(interface="logistics", kind="answer", answer=envelope, times=1)
    done(account.fetch_logistics, open_sync())
    (row,) = query(engine, "SELECT checked_at IS NULL, delivered_at IS NOT NULL FROM tracked_order")
    assert row == (False, delivered)


def stored(engine: Engine) -> str:
    rows = query(engine, "SELECT payload FROM order_logistics ORDER BY id")
    return json.dumps(rows, ensure_ascii=False)


def test_personal_data_goes_when_the_order_has_arrived_from_earlier_days_too(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine
) -> None:
    track(engine, ORDER)
    under_way = {CENTRAL: [central("F1", ("LF", f"司机{DRIVER}已出发，电话{PHONE}", "2026-11-01"))]}
    sandbox.fault(interface="logistics", kind="answer", answer=under_way, times=1)
    first = done(account.fetch_logistics, open_sync())
    # As long as it is under way, somebody may have to call the driver.
    assert all(of_person in stored(engine) for of_person in (PHONE, PLATE, DRIVER))
    with engine.begin() as connection:
        connection.execute(text("UPDATE order_logistics SET sync_date = sync_date - 1"))
    step = ("DELIVERED", f"已签收，派件员{DRIVER} 138-1234-5678", "2026-11-03")
    answer = {CENTRAL: [central("F1", step), central("F1", ARRIVED)]}
    sandbox.fault(interface="logistics", kind="answer", answer=answer, times=1)
    second = done(account.fetch_logistics, open_sync())
    assert second.result.metadata["delivered"] == 1
    kept = stored(engine)
    assert len(query(engine, "SELECT id FROM order_logistics")) == 3
    assert not any(of_person in kept for of_person in (PHONE, PLATE, DRIVER, "138-1234"))
    # What is no personal data stays.
    assert all(word in kept for word in ("已签收", "DELIVERED", "8812345678901", f"{ORDER}.F1"))
    told = str(first) + str(second) + str(query(engine, "SELECT message, metadata FROM "
                                                "haier_sync_log"))  # fmt: skip
    assert not any(of_person in told for of_person in (PHONE, PLATE, DRIVER))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE order_logistics SET fetched_at = fetched_at - interval '91 days'",
        "UPDATE tracked_order SET created_at = created_at - interval '91 days'",
        "DELETE FROM tracked_order",
    ],
)
def test_personal_data_goes_after_ninety_days_or_when_nobody_tracks_the_order(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine, change: str
) -> None:
    track(engine, ORDER)
    answer = {CENTRAL: [central("F1", ("LF", "已出库", "2026-11-01"))]}
    sandbox.fault(interface="logistics", kind="answer", answer=answer, times=1)
    done(account.fetch_logistics, open_sync())
    assert account.forget_people(engine) == 0
    with engine.begin() as connection:
        connection.execute(text(change))
    assert (account.forget_people(engine), account.forget_people(engine)) == (1, 0)
    assert not any(of_person in stored(engine) for of_person in (PHONE, PLATE, DRIVER))
    assert "已出库" in stored(engine)


def test_an_entry_that_cannot_be_read_and_a_refusal_tell_nobodys_number(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine
) -> None:
    track(engine, ORDER)
    answer = {CENTRAL: [f"{DRIVER} {PHONE} {PLATE}"]}
    sandbox.fault(interface="logistics", kind="answer", answer=answer, times=1)
    outcome = done(account.fetch_logistics, open_sync())
    assert outcome.result.status == "partial"
    sandbox.fault(interface="logistics", kind="refuse", message=f"请联系 {PHONE} {PLATE}", times=1)
    refused = done(account.fetch_logistics, open_sync())
    assert "请联系" in refused.result.message
    told = str(outcome) + str(refused)
    told += str(query(engine, "SELECT payload, reason FROM rejected_record"))
    assert not any(of_person in told for of_person in (PHONE, PLATE, DRIVER))


def test_the_schedule_asks_more_rarely_the_older_an_order_is_and_a_person_for_all(
    open_sync: OpenSync, sandbox: SandboxProcess, engine: Engine
) -> None:
    track(engine, "SO.OPEN.1", "SO.OPEN.2")
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE tracked_order SET checked_at = now() - interval '2 hours',"
                " created_at = now() - CASE order_code WHEN 'SO.OPEN.2' THEN interval '5 days'"
                " ELSE interval '1 day' END"
            )
        )

    def scheduled(run: SyncRun) -> Outcome:
        return account.fetch_logistics(run, only_due=True)

    first = done(scheduled, open_sync())
    assert (first.result.total, "1 more" in first.result.message) == (1, True)
    second = done(scheduled, open_sync())
    assert (second.result.total, second.result.status) == (0, "success")
    assert done(account.fetch_logistics, open_sync()).result.total == 2
