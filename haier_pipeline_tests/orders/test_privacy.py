"""Personal data: encrypted where it lies, masked to readers, in no sink, gone in time (row 63)."""

import logging
import subprocess
import uuid
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text

from haier_pipeline.catalog import log
from haier_pipeline.catalog.orders import privacy
from haier_pipeline.catalog.orders.cipher import OrderCipher
from haier_pipeline.catalog.orders.store import Selection
from haier_pipeline.domain.order import masked
from haier_pipeline.errors import CallRefused, Conflict, InvalidInput
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.server.postgres import EmbeddedPostgres
from haier_pipeline.sync.dealers import ENVIRONMENT_DEALER as DEALER
from haier_pipeline.sync.dealers import Dealers
from haier_pipeline.sync.order_book import Orders, remove_personal_data
from haier_pipeline.sync.run import Outcome
from haier_pipeline_tests.orders.conftest import CANARY, KEY, an_order
from haier_pipeline_tests.orders.test_changes import CANCEL, CONFIRM, told

Add = Callable[..., None]
Push = Callable[..., Outcome | None]
WHY = "no longer wanted"


def everything(engine: Engine) -> str:
    """All that any table of ours holds, as text."""
    with engine.connect() as connection:
        tables = connection.scalars(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ).all()
        rows = [connection.scalars(text(f"SELECT t::text FROM {table} t")).all()  # noqa: S608
                for table in tables]  # fmt: skip
    return "\n".join(str(row) for table in rows for row in table)


def test_nobody_is_named_in_any_table_log_message_error_or_repr(
    orders: Orders,
    engine: Engine,
    add: Add,
    push_all: Push,
    order_sandbox: SandboxProcess,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    words = "收货人{consignee_name} {consignee_mobile} {detail_address} {remark} 不予受理".format(
        **CANARY
    )
    add("A1", "A2", "A3")
    order_sandbox.fault(kind="refuse", interface="push", message=words, times=1)
    order_sandbox.fault(kind="reset", interface="push", when="before", times=1)
    ended = push_all()
    said.append(repr(ended))
    told(orders, CONFIRM, "A2", State=1, ExtOrderNo="SO.2", FailMsg=words)
    told(orders, CANCEL, "A3", State=0, FailMsg=words)
    order_sandbox.fault(kind="refuse", interface="cancel", message=words, times=1)
    with pytest.raises(CallRefused) as refused:
        orders.cancel(DEALER, "A2", f"{CANARY['consignee_name']}不要了", by="anna")
    said += [str(refused.value), repr(refused.value.__cause__)]
    orders.resolve(DEALER, "A2", "confirmed", CANARY["consignee_mobile"], by="anna")
    for wrong in (
        an_order("A1", consignee_name=CANARY["consignee_name"] * 99),
        an_order("A9", consignee_mobile=CANARY["consignee_mobile"] + "\0"),
        an_order("A1", consignee_name="another"),
        an_order("A9", detail_address=[CANARY["detail_address"]]),
        {**an_order("A9"), "total_amount": CANARY["remark"]},
    ):
        said.append(str(orders.add(DEALER, [wrong])))
    [order, *_] = orders.listed(Selection(DEALER))
    said += [str(order), str(orders.show(DEALER, "A1")), str(orders.show(DEALER, "A2"))]
    said += [str(row) for row in log.entries(engine)]
    said += [record.getMessage() for record in caplog.records]
    # A reader learns how a name begins and where a number begins and ends; nothing more.
    text_of_all = "\n".join([*said, everything(engine)])
    for name, value in CANARY.items():
        assert value not in text_of_all, name
    assert "139****4321" in text_of_all
    whole = orders.show(DEALER, "A1", viewer="anna")
    assert {name: whole[name] for name in CANARY} == CANARY


def test_the_servers_files_hold_nobodys_name(
    orders: Orders, server: EmbeddedPostgres, add: Add, push_all: Push
) -> None:
    # Of this test alone: others write to the same server, plainly into the inbox too.
    canary = {name: f"{value}-{uuid.uuid4().hex}" for name, value in CANARY.items()}
    canary["consignee_mobile"] = f"{uuid.uuid4().int}"[:20]
    add("A1", **canary)
    push_all()
    with psycopg.connect(server.libpq_url, autocommit=True) as connection:
        folder = connection.execute("SHOW data_directory").fetchone()
        connection.execute("CHECKPOINT")
    assert folder is not None
    for value in canary.values():
        found = subprocess.run(
            ["grep", "-rlF", value, str(folder[0])], capture_output=True, check=False
        )
        assert found.stdout == b""


def test_who_looks_at_a_whole_order_is_written_down_and_nothing_of_it(
    orders: Orders, add: Add
) -> None:
    add("A1")
    assert orders.show(DEALER, "A1")["consignee_mobile"] == "139****4321"
    assert orders.show(DEALER, "A1", viewer="token desk")["consignee_name"] == "金丝雀赵"
    listed = orders.listed(Selection(DEALER), viewer="root")
    assert listed[0]["detail_address"] == CANARY["detail_address"]
    notes = [one for one in orders.show(DEALER, "A1")["events"] if one["kind"] == "note"]
    assert [one["detail"] for one in notes] == [
        "looked at whole by token desk",
        "looked at whole by root",
    ]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("consignee_mobile", "13812341234", "138****1234"),
        ("consignee_mobile", "025-8888", "****88"),
        ("consignee_mobile", "12345", "****"),
        ("consignee_name", "赵金", "赵**"),
        ("consignee_name", "赵", "****"),
        ("detail_address", "1", "****"),
        ("remark", None, None),
    ],
)
def test_readers_see_masks(name: str, value: str | None, shown: str | None) -> None:
    assert masked(name, value) == shown


def test_a_ciphertext_is_worth_nothing_in_another_place_or_under_another_key() -> None:
    cipher = OrderCipher([KEY])
    sealed = cipher.encrypt(DEALER, "A1", "consignee_name", "金丝雀赵")
    assert sealed is not None
    assert cipher.decrypt(DEALER, "A1", "consignee_name", sealed) == "金丝雀赵"
    assert cipher.encrypt(DEALER, "A1", "consignee_name", "金丝雀赵") != sealed
    other = OrderCipher([Fernet.generate_key().decode()])
    places: list[Callable[[], object]] = [
        lambda: cipher.decrypt(DEALER, "A2", "consignee_name", sealed),
        lambda: cipher.decrypt("other", "A1", "consignee_name", sealed),
        lambda: cipher.decrypt(DEALER, "A1", "remark", sealed),
        lambda: other.decrypt(DEALER, "A1", "consignee_name", sealed),
        lambda: cipher.decrypt(DEALER, "A1", "consignee_name", "金丝雀赵"),
        lambda: cipher.decrypt(DEALER, "A1", "consignee_name", sealed[:-2] + "AA"),
        lambda: cipher.decrypt(DEALER, "A1", "consignee_name", "v1:"),
    ]
    for closed in places:
        with pytest.raises(InvalidInput, match="cannot be decrypted"):
            closed()
    for wrong in ("", "no key", "AAAA"):
        with pytest.raises(InvalidInput, match="HAIER_SECRET_KEY"):
            OrderCipher([wrong] if wrong else [])


def test_a_new_key_takes_over_and_orders_are_found_by_their_mobile_all_the_while(
    engine: Engine, dealers: Dealers, orders: Orders, add: Add
) -> None:
    add("A1")
    newer = Fernet.generate_key().decode()

    def found(keys: tuple[str, ...]) -> list[str]:
        wanted = Selection(DEALER, mobile=CANARY["consignee_mobile"])
        return [row["so_id"] for row in Orders(engine, dealers, keys).listed(wanted)]

    both = Orders(engine, dealers, (newer, KEY))
    assert found((newer, KEY)) == ["A1"]
    assert both.encrypt_anew() == (1, 0)
    assert found((newer,)) == ["A1"]
    assert Orders(engine, dealers, (newer,)).add(DEALER, [an_order("A1")]).known == ("A1",)
    assert found((KEY,)) == []
    with pytest.raises(InvalidInput, match="cannot be decrypted"):
        orders.show(DEALER, "A1")
    assert orders.encrypt_anew() == (0, 1)


def test_one_order_that_cannot_be_decrypted_keeps_no_other_from_being_sent(
    orders: Orders, engine: Engine, add: Add, push_all: Push, states: Callable[[], dict[str, str]]
) -> None:
    add("A1", "A2")
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE retail_order SET consignee_name = 'v1:AAAA' WHERE so_id = 'A1'")
        )
    ended = push_all()
    assert ended is not None
    assert (ended.result.status, ended.result.success, ended.result.failed) == ("partial", 1, 1)
    assert "consignee_name of the order A1 cannot be decrypted" in ended.result.message
    assert states() == {"A1": "new", "A2": "pushed"}


def grow_old(engine: Engine, **by: timedelta) -> None:
    with engine.begin() as connection:
        for column, time in by.items():
            table = "order_event" if column == "happened" else "retail_order"
            name = "created_at" if column == "happened" else column
            connection.execute(
                text(f"UPDATE {table} SET {name} = {name} - CAST(:time AS interval)"),  # noqa: S608
                {"time": time},
            )


def test_personal_data_goes_when_its_time_has_come_and_the_rest_stays(
    orders: Orders, engine: Engine, add: Add, push_all: Push
) -> None:
    add("ended", "waiting", "kept")
    push_all()
    words = "库存不足"
    told(orders, CONFIRM, "ended", State=0, FailMsg=words)
    add("stuck")
    old = timedelta(days=181)
    grow_old(engine, created_at=old, happened=old)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE retail_order SET ended_at = ended_at - interval '181 days'"
                 " WHERE so_id = 'ended'")
        )  # fmt: skip
        connection.execute(
            text("UPDATE retail_order SET distribution_at = now() - interval '9 days'"
                 " WHERE so_id = 'kept'")
        )  # fmt: skip
    # To look at it does not keep it longer.
    orders.show(DEALER, "waiting", viewer="anna")
    removed = remove_personal_data(orders.engine, 180)
    assert removed.orders == 2
    for so_id in ("ended", "waiting"):
        shown = orders.show(DEALER, so_id, viewer="anna")
        assert {name: shown[name] for name in CANARY} == dict.fromkeys(CANARY)
        assert shown["people_removed_at"] is not None
    for so_id in ("stuck", "kept"):
        assert orders.show(DEALER, so_id, viewer="anna")["consignee_name"] == "金丝雀赵"
    assert [one[1] for one in privacy.stuck(engine, timedelta(days=1))] == ["stuck"]
    ended = orders.show(DEALER, "ended")
    assert ended["state"] == "refused"
    [event] = [one for one in ended["events"] if one["method"]]
    assert (event["detail"], event["payload"]) == (None, None)
    assert event["platform_order_no"] == "ended"
    # The same number is always a conflict now, and its old callback is still no new one.
    [problem] = orders.add(DEALER, [an_order("ended")]).refused
    assert problem.is_conflict
    told(orders, CONFIRM, "ended", State=0, FailMsg=words)
    assert orders.show(DEALER, "ended")["events"] == ended["events"]


def test_an_ended_order_is_forgotten_at_once_and_later_callbacks_leave_no_words(
    orders: Orders, add: Add, push_all: Push
) -> None:
    add("A1")
    push_all()
    with pytest.raises(Conflict, match="not ended"):
        orders.forget(DEALER, "A1")
    told(orders, CANCEL, "A1", State=1, FailMsg="客户取消")
    shown = orders.forget(DEALER, "A1")
    assert shown == orders.forget(DEALER, "A1")
    assert shown["consignee_mobile"] is None
    told(orders, CONFIRM, "A1", 2, State=1, FailMsg="迟到", ExtOrderNo="SO.1")
    later = orders.show(DEALER, "A1")
    assert later["state"] == "cancelled"
    assert {event["detail"] for event in later["events"] if event["method"]} == {None}
    with pytest.raises(Conflict, match="removed"):
        orders.resolve(DEALER, "A1", "confirmed", WHY, by="anna")


def test_words_of_nobodys_callback_go_in_time_too(orders: Orders, engine: Engine) -> None:
    told(orders, CONFIRM, "A9", State=0, FailMsg="库存不足")
    grow_old(engine, happened=timedelta(days=181))
    assert remove_personal_data(orders.engine, 180).callbacks == 1
    [event] = orders.unmatched(DEALER)
    assert event["detail"] is None
