"""The dealer's account: payer balances, and the logistics of tracked orders.

Both are fetched on their own, beside the catalog and never in its way.
"""

from collections.abc import Mapping
from typing import Any

from haier_pipeline import rules
from haier_pipeline.catalog import account, raw
from haier_pipeline.catalog.account import LogisticsEntry, TrackedOrder
from haier_pipeline.errors import CallFailed
from haier_pipeline.platform.answers import Answer
from haier_pipeline.platform.fanout import fan_out
from haier_pipeline.sync.fetch import PREVIEW_ROWS, WORKERS, Meter, flaws, rejected_records
from haier_pipeline.sync.run import Outcome, Rows, SyncRun, outcome


def fetch_balances(run: SyncRun) -> Outcome:
    """Fetch the balance of each of the dealer's payer accounts, in CNY."""
    asset = "account_balances"

    def work(rows: Rows) -> Mapping[str, Outcome]:  # noqa: ARG001 - finished by the caller
        run.require_today()
        meter = Meter(run.client)
        answer = run.client.get_balances()
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
        return {
            asset: outcome(
                success=len(balances),
                failed=len(answer.rejected),
                message="; ".join(parts + flaws(answer.rejected, answer.duplicates)),
                metadata={"records": len(balances), "rejected_records": len(answer.rejected)}
                | meter.metadata(),
                preview=rules.frame(
                    [[balance[name] for name in shown] for balance in balances[:PREVIEW_ROWS]],
                    shown,
                ),
                flawed=bool(answer.duplicates),
            )
        }

    run.progress.begin(asset, 1)
    return run.attempt([asset], work)[asset]


def fetch_logistics(run: SyncRun) -> Outcome:
    """Fetch where the dealer's tracked orders are; one that was delivered is tracked no longer."""
    asset = "order_logistics"

    def work(rows: Rows) -> Mapping[str, Outcome]:  # noqa: ARG001 - finished by the caller
        run.require_today()
        orders = account.open_orders(run.engine, run.partition.dealer)
        if not orders:
            message = "no order is tracked: there is none in tracked_order that is under way"
            return {asset: outcome(success=0, failed=0, message=message, metadata={"records": 0})}
        meter = Meter(run.client)

        def call(order: TrackedOrder) -> Answer[Any]:
            return run.client.get_logistics(
                order.order_code,
                delivery_record_code=order.delivery_record_code,
                member_id=order.member_id,
            )

        failures: dict[str, str] = {}
        delivered = 0
        entries = 0
        for order, answer in fan_out(orders, call, workers=WORKERS, stop=run.stop):
            run.progress.advance(asset, 1)
            if isinstance(answer, CallFailed):
                failures[order.order_code] = str(answer)
                continue
            arrived = any(rules.says_delivered(record.payload) for record in answer.records)
            delivered += arrived
            entries += len(answer.records)
            account.save_logistics(
                run.engine,
                run.partition,
                order.order_code,
                [
                    LogisticsEntry(record.value.source, record.value.position, record.payload)
                    for record in answer.records
                ],
                delivered=arrived,
            )
            raw.save_rejected(
                run.engine,
                run.partition,
                asset,
                rejected_records(answer.rejected),
                run_id=run.run_id,
            )
        answered = len(orders) - len(failures)
        message = f"{answered} of {len(orders)} orders, {delivered} of them delivered"
        if failures:
            code, reason = next(iter(failures.items()))
            message += f"; failed: {code}: {reason}"
        return {
            asset: outcome(
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
            )
        }

    run.progress.begin(asset, 1)
    return run.attempt([asset], work)[asset]
