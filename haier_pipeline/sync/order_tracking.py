"""Where orders are: tracking numbers a hundred orders a call, arrivals, and pictures.

Tracking names the parcels and does not say how they fare; that an order has arrived says the
catalog side's logistics call. Both are asked only of what is on its way.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from haier_pipeline import rules
from haier_pipeline.catalog.orders import parcels
from haier_pipeline.catalog.orders.parcels import Followed, FoundParcel, FoundPicture
from haier_pipeline.domain.order import is_tracking_due
from haier_pipeline.errors import CallFailed
from haier_pipeline.platform.answers import without_telephones
from haier_pipeline.platform.fanout import fan_out
from haier_pipeline.platform.orders import MOST_TRACKED, TrackedDelivery
from haier_pipeline.sync.account import deliveries_by_record
from haier_pipeline.sync.order_book import Orders
from haier_pipeline.sync.run import Outcome, Rows, SyncRun, outcome

PARCELS: Final = "order_parcels"
PICTURES: Final = "order_pictures"
WORKERS: Final = 16


def track(orders: Orders, run: SyncRun, *, only_due: bool = False) -> Mapping[str, Outcome]:
    """Ask for parcels and arrivals, then for pictures, of everything that is open.

    ``only_due``: of those whose turn it is by their age, as a schedule asks.
    """
    fetched = fetch_parcels(orders, run, only_due=only_due)
    return {PARCELS: fetched, PICTURES: fetch_pictures(orders, run)}


def is_due(orders: Orders, dealer: str) -> bool:
    """Whether any of the dealer's orders is to be asked for by now."""
    now = datetime.now(UTC)
    return any(
        is_tracking_due(order.since, order.tracked_at, now)
        for order in parcels.followed(orders.store, dealer)
    )


def fetch_parcels(orders: Orders, run: SyncRun, *, only_due: bool = False) -> Outcome:
    """Ask for the parcels of the dealer's open orders, and whether those on their way arrived.

    Raises:
        InvalidConfig: the order settings are not complete.
    """
    dealer = run.partition.dealer
    orders.config(dealer)

    def work(rows: Rows) -> Mapping[str, Outcome]:  # noqa: ARG001 - finished by the caller
        now = datetime.now(UTC)
        under_way = parcels.followed(orders.store, dealer)
        due = [
            order
            for order in under_way
            if not only_due or is_tracking_due(order.since, order.tracked_at, now)
        ]
        if not due:
            message = "no order is on its way"
            if under_way:
                message = f"none of the {len(under_way)} open orders is to be asked for yet"
            return {PARCELS: outcome(success=0, failed=0, message=message, metadata={"orders": 0})}
        failures: dict[str, str] = {}
        found = _fetch_tracking(orders, run, due, failures)
        arrived = _fetch_arrivals(orders, run, due, failures, now)
        answered = len(due) - len(failures)
        message = f"{answered} of {len(due)} orders, {found} new parcels, {arrived} orders arrived"
        if failures:
            so_id, reason = next(iter(failures.items()))
            message += f"; failed: {so_id}: {reason}"
        return {
            PARCELS: outcome(
                success=answered,
                failed=len(failures),
                message=message,
                metadata={
                    "orders": len(due),
                    "new_parcels": found,
                    "arrived": arrived,
                    "failed_units": list(failures)[:20],
                },
            )
        }

    run.progress.begin(PARCELS, 1)
    return run.attempt([PARCELS], work)[PARCELS]


def _fetch_tracking(
    orders: Orders, run: SyncRun, due: Sequence[Followed], failures: dict[str, str]
) -> int:
    """Ask for the parcels of all, a hundred a call; returns how many are new."""
    dealer = run.partition.dealer
    batches = [due[start : start + MOST_TRACKED] for start in range(0, len(due), MOST_TRACKED)]
    found = 0
    with orders.client(dealer, stop=run.stop, workers=WORKERS) as client:

        def call(batch: Sequence[Followed]) -> Sequence[TrackedDelivery]:
            return client.tracking([order.haier_order_no for order in batch])

        for batch, answer in fan_out(batches, call, workers=WORKERS, stop=run.stop):
            run.progress.advance(PARCELS, 1)
            if isinstance(answer, CallFailed):
                said = without_telephones(str(answer))
                failures.update({order.so_id: said for order in batch})
                continue
            by_number: dict[str, list[FoundParcel]] = {}
            for delivery in answer:
                by_number.setdefault(delivery.order_code, []).extend(_parcels_of(delivery))
            found += parcels.save_parcels(
                orders.store,
                dealer,
                [order.order_id for order in batch],
                {order.order_id: by_number.get(order.haier_order_no, []) for order in batch},
            )
    return found


def _parcels_of(delivery: TrackedDelivery) -> list[FoundParcel]:
    record = delivery.delivery_record_code
    # A record without a parcel is kept too: the order has not arrived before it has.
    return [
        FoundParcel(
            record,
            parcel.tracking_no or "",
            parcel.carrier_code,
            parcel.carrier_name,
            parcel.serial_numbers,
        )
        for parcel in delivery.parcels
    ] or [FoundParcel(record, "")]


def _fetch_arrivals(
    orders: Orders,
    run: SyncRun,
    due: Sequence[Followed],
    failures: dict[str, str],
    now: datetime,
) -> int:
    """Ask the catalog's side what has arrived; returns how many orders have as a whole."""
    by_id = {order.order_id: order for order in due}
    records = parcels.open_records(orders.store, list(by_id))
    under_way = [by_id[number] for number in sorted(records)]
    if not under_way:
        return 0
    arrived = 0

    def call(order: Followed) -> Any:
        return run.client().get_logistics(order.haier_order_no)

    for order, answer in fan_out(under_way, call, workers=WORKERS, stop=run.stop):
        if isinstance(answer, CallFailed):
            failures[order.so_id] = without_telephones(str(answer))
            continue
        # What cannot be read may be a delivery that is still under way.
        if answer.rejected:
            continue
        said = deliveries_by_record(answer)
        there = _arrived(records[order.order_id], said, now)
        if there:
            parcels.save_arrivals(orders.store, run.partition.dealer, order.order_id, there)
            arrived += there == records[order.order_id]
    return arrived


def _arrived(
    records: Collection[str], said: Mapping[str, rules.Delivery], now: datetime
) -> set[str]:
    """Which of the records have arrived by what the platform said of each."""
    if not any(record in said for record in records):
        # It names them otherwise: then only all of them together can be judged.
        return set(records) if rules.is_delivered(list(said.values()), now) else set()
    return {
        record for record in records if record in said and rules.is_delivered([said[record]], now)
    }


def fetch_pictures(orders: Orders, run: SyncRun) -> Outcome:
    """Ask for the pictures of the orders that have arrived, once they have some.

    Raises:
        InvalidConfig: the order settings are not complete.
    """
    dealer = run.partition.dealer
    orders.config(dealer)

    def work(rows: Rows) -> Mapping[str, Outcome]:  # noqa: ARG001 - finished by the caller
        due = [order for order in parcels.followed(orders.store, dealer) if order.wants_pictures]
        failures: dict[str, str] = {}
        found = 0
        with orders.client(dealer, stop=run.stop, workers=WORKERS) as client:

            def call(order: Followed) -> list[FoundPicture]:
                return [
                    FoundPicture(
                        picture.delivery_record_code,
                        picture.serial_number,
                        picture.scene,
                        picture.description,
                        picture.url,
                    )
                    for picture in client.pictures(order.haier_order_no)
                ]

            for order, answer in fan_out(due, call, workers=WORKERS, stop=run.stop):
                run.progress.advance(PICTURES, 1)
                if isinstance(answer, CallFailed):
                    failures[order.so_id] = without_telephones(str(answer))
                    continue
                found += parcels.save_pictures(orders.store, dealer, order.order_id, answer)
        message = f"{found} new pictures of {len(due)} orders that have arrived"
        if failures:
            so_id, reason = next(iter(failures.items()))
            message += f"; failed: {so_id}: {reason}"
        return {
            PICTURES: outcome(
                success=len(due) - len(failures),
                failed=len(failures),
                message=message,
                metadata={"orders": len(due), "new_pictures": found},
            )
        }

    run.progress.begin(PICTURES, 1)
    return run.attempt([PICTURES], work)[PICTURES]
