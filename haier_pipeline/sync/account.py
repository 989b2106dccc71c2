"""The dealer's account: payer balances, and the logistics of tracked orders.

Both are fetched on their own, independent of the catalog.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Engine

from haier_pipeline import rules
from haier_pipeline.catalog import account, raw
from haier_pipeline.catalog.account import LogisticsEntry, TrackedOrder
from haier_pipeline.catalog.raw import RejectedRecord
from haier_pipeline.domain.order import is_tracking_due
from haier_pipeline.errors import CallFailed, CallRefused
from haier_pipeline.platform.answers import (
    Answer,
    DeliveryStatus,
    LogisticsRecord,
    without_people,
    without_telephones,
)
from haier_pipeline.platform.fanout import fan_out
from haier_pipeline.rules import ParcelStatus
from haier_pipeline.sync.fetch import PREVIEW_ROWS, WORKERS, Meter, flaws, rejected_records
from haier_pipeline.sync.run import Outcome, SyncRun, outcome


def fetch_balances(run: SyncRun) -> Outcome:
    """Fetch the balance of each of the dealer's payer accounts, in CNY."""
    asset = "account_balances"

    def work() -> Outcome:
        run.require_today()
        meter = Meter(run.client())
        answer = run.client().get_balances()
        balances = [
            {
                "payer_account_code": record.value.payer_account_code,
                "payer_account_name": record.value.payer_account_name,
                "sale_group_code": record.value.sale_group_code or "",
                "sale_group_name": record.value.sale_group_name,
                "balance": record.value.payer_account_balance,
                "payload": record.payload,
            }
            for record in answer.records
        ]
        account.save_balances(run.engine, run.partition, balances)
        raw.save_rejected(
            run.engine, run.partition, asset, rejected_records(answer.rejected), run_id=run.run_id
        )
        total = sum((balance["balance"] for balance in balances), start=0)
        parts = [f"{len(balances)} payer accounts, {total} CNY in all"]
        shown = ["payer_account_code", "payer_account_name", "sale_group_name", "balance"]
        return outcome(
            success=len(balances),
            failed=len(answer.rejected),
            message="; ".join(parts + flaws(answer.rejected, answer.duplicates)),
            metadata={"records": len(balances), "rejected_records": len(answer.rejected)}
            | meter.metadata(),
            preview=[
                {name: balance[name] for name in shown} for balance in balances[:PREVIEW_ROWS]
            ],
            flawed=bool(answer.duplicates),
        )

    run.progress.begin(asset, 1)
    return run.step(asset, work)


def fetch_logistics(run: SyncRun, *, only_due: bool = False) -> Outcome:
    """Fetch where the dealer's tracked orders are; one that was delivered is tracked no longer.

    All that are under way are asked for, or ``only_due`` those whose turn it is by their age.
    """
    asset = "order_logistics"

    def work() -> Outcome:
        run.require_today()
        forget_people(run.engine)
        now = datetime.now(UTC)
        under_way = account.open_orders(run.engine, run.partition.dealer)
        orders = [
            order
            for order in under_way
            if not only_due or is_tracking_due(order.created_at, order.checked_at, now)
        ]
        if not orders:
            message = "no order is tracked: there is none in tracked_order that is under way"
            if under_way:
                message = f"none of the {len(under_way)} orders under way is to be asked for yet"
            return outcome(success=0, failed=0, message=message, metadata={"records": 0})
        meter = Meter(run.client())

        def call(order: TrackedOrder) -> Answer[LogisticsRecord]:
            return run.client().get_logistics(
                order.order_code,
                delivery_record_code=order.delivery_record_code,
                member_id=order.member_id,
            )

        failures: dict[str, str] = {}
        unread: list[str] = []
        delivered = 0
        entries = 0
        for order, answer in fan_out(orders, call, workers=WORKERS, stop=run.stop):
            run.progress.advance(asset, 1)
            if isinstance(answer, CallFailed):
                failures[order.order_code] = str(answer)
                if isinstance(answer, CallRefused):
                    account.note_asked(run.engine, run.partition.dealer, order.order_code)
                continue
            # What cannot be read may be a delivery that is still under way.
            arrived = not answer.rejected and rules.is_delivered(deliveries(answer), now)
            delivered += arrived
            entries += len(answer.records)
            if answer.rejected:
                unread.append(order.order_code)
            account.save_logistics(
                run.engine,
                run.partition,
                order.order_code,
                [
                    LogisticsEntry(
                        record.value.source,
                        record.value.position,
                        without_people(record.payload) if arrived else record.payload,
                    )
                    for record in answer.records
                ],
                delivered=arrived,
            )
            raw.save_rejected(
                run.engine,
                run.partition,
                asset,
                [
                    RejectedRecord(record.reason, without_people(record.payload))
                    for record in answer.rejected
                ],
                run_id=run.run_id,
            )
        forget_people(run.engine)
        answered = len(orders) - len(failures)
        message = f"{answered} of {len(orders)} orders, {delivered} of them delivered"
        if len(orders) < len(under_way):
            message += f"; {len(under_way) - len(orders)} more are not to be asked for yet"
        if unread:
            message += f"; entries of {', '.join(unread[:5])} cannot be read"
        if failures:
            code, reason = next(iter(failures.items()))
            message += f"; failed: {code}: {without_telephones(reason)}"
        return outcome(
            success=answered,
            failed=len(failures),
            message=message,
            metadata={
                "records": entries,
                "orders": len(orders),
                "delivered": delivered,
                "failed_units": list(failures)[:20],
            }
            | meter.metadata(),
            flawed=bool(unread),
        )

    run.progress.begin(asset, 1)
    return run.step(asset, work)


def forget_people(engine: Engine) -> int:
    """Take the personal data of drivers and contacts out of stored logistics, where its time is
    over; returns how many entries were gone through."""
    return account.forget_people(engine, without_people)


def deliveries(answer: Answer[LogisticsRecord]) -> list[rules.Delivery]:
    """The order's deliveries: what each list of the platform holds about each of them."""
    return list(deliveries_by_record(answer).values())


def deliveries_by_record(answer: Answer[LogisticsRecord]) -> Mapping[str, rules.Delivery]:
    """The order's deliveries by their delivery record."""
    found: dict[str, dict[str, list[list[ParcelStatus]]]] = {}
    for record in answer.records:
        entry = record.value
        # An entry that names no delivery stands for one of its own.
        name = entry.delivery_record_code or f"{entry.source}/{entry.position}"
        parcels = found.setdefault(name, {}).setdefault(entry.source, [])
        parcels += [[_status(status) for status in parcel] for parcel in entry.parcels]
        if entry.said is not None:
            # Entries with a status of their own are the steps of one parcel.
            own = next((parcel for parcel in parcels if parcel), None)
            if own is None:
                parcels.append(own := [])
            own.append(_status(entry.said))
    return found


def _status(status: DeliveryStatus) -> ParcelStatus:
    return ParcelStatus(status.codes, status.words, rules.delivery_time(status.at))
