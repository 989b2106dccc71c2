"""The fetching steps: ask the platform for a partition and store its answers as they arrive.

What an answer means to the catalog is decided in ``derive``. A unit is what one answer is about: a
product of the listing, a product's price, a product's stock in one county.
"""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from haier_pipeline import rules
from haier_pipeline.catalog import raw
from haier_pipeline.catalog.log import Check
from haier_pipeline.catalog.raw import RawRecord, RejectedRecord
from haier_pipeline.domain.product import require_county_codes
from haier_pipeline.errors import CallFailed, NothingStored
from haier_pipeline.platform.answers import (
    Answer,
    ProductListing,
    Rejected,
    parse_listing,
    parse_stock,
)
from haier_pipeline.platform.client import HaierClient, batches
from haier_pipeline.platform.fanout import fan_out
from haier_pipeline.sync.checks import (
    listing_checks,
    listing_not_judged,
    quantities_valid,
    quotes_answered,
    stock_answered,
)
from haier_pipeline.sync.run import Outcome, SyncRun, outcome

U = TypeVar("U")

WORKERS = 32
# What a killed sync may have to ask again: the answers of half a second.
FLUSH_SECONDS = 0.5
PREVIEW_ROWS = 10
UNREADABLE_COLUMNS = ("product_code", "county_code", "sec_code", "reason")
NAMED_CODES = 5


def fetch_listing(
    run: SyncRun, product_codes: Sequence[str] = (), *, accept_shrink: bool = False
) -> Outcome:
    """Fetch the listing of what the dealer may buy, or of chosen products only.

    An empty listing, one more than half shorter than the dealer's longest good one of the last
    days, or one of which too much cannot be read is not kept: the outcome is ``failed`` with the
    check that says so. ``accept_shrink`` lets the latter two pass.
    """
    asset = "product_listings"
    chosen = [code for batch in batches(product_codes) for code in batch]

    def work() -> Outcome:
        run.progress.begin(asset, 1)
        run.require_today()
        run.require_enabled()
        stored = raw.find(run.engine, run.partition, asset)
        if stored and stored.completed_at and stored.root_run_id == run.root_run_id:
            kept = list(raw.read(run.engine, run.partition, asset, run.root_run_id))
            if kept:
                count = len(parse_listing([record.payload for record in kept]).records)
                message = f"{count} products, already fetched by the attempt before"
                metadata: dict[str, Any] = {"records": count, "calls": 0, "reused": count}
                why = "the attempt before judged it"
                checks = listing_not_judged(why, [])
                return outcome(
                    success=count,
                    failed=0,
                    message=message,
                    metadata=metadata,
                    checks=checks,
                )
        before = raw.longest_listing(run.engine, run.partition, run.shrink_days)
        meter = Meter(run.client())
        answer = run.client().list_products(chosen)
        return _keep_listing(run, answer, chosen, before, meter, accept_shrink)

    return run.step(asset, work)


def _keep_listing(
    run: SyncRun,
    answer: Answer[Any],
    chosen: Sequence[str],
    before: int | None,
    meter: "Meter",
    accept_shrink: bool,
) -> Outcome:
    count = len(answer.records)
    readable = {record.value.product_code for record in answer.records}
    # Neither present nor gone: kept beside the others, so that their products stay as they are.
    unread = {r.code: r.payload for r in answer.rejected if r.code and r.code not in readable}
    nameless = sum(not rejected.code for rejected in answer.rejected)
    accepted = False
    unknown = sorted(set(chosen) - readable - unread.keys())
    if chosen:
        # A few products that somebody chose say nothing about the listing as a whole.
        why = f"{count} chosen products were listed, not everything"
        checks = listing_not_judged(why, _faults(answer))
    else:
        checks = listing_checks(
            count,
            before,
            days=run.shrink_days,
            unreadable=len(answer.rejected),
            accept_shrink=accept_shrink,
            faults=_faults(answer),
        )
        accepted = accept_shrink and rules.listing_shrank(before, count)
    blocked = any(check.blocking and not check.passed for check in checks)
    rejected = rejected_records(answer.rejected)
    if not blocked:
        raw.open_fetch(run.engine, run.partition, "product_listings", run.root_run_id)
        raw.save_listing(
            run.engine,
            run.partition,
            run.root_run_id,
            [RawRecord(record.value.product_code, record.payload) for record in answer.records],
            rejected,
            run_id=run.run_id,
            complete=not chosen,
            unread=[RawRecord(code, payload) for code, payload in unread.items()],
            nameless=nameless,
            accepted=accepted,
        )
    else:
        raw.save_rejected(
            run.engine, run.partition, "product_listings", rejected, run_id=run.run_id
        )
    procurable = _procurable(answer)
    # Chosen products add to what an attempt before may have listed; a complete listing is all.
    run.procurable = None if chosen or blocked else procurable
    failed = len(answer.rejected) + len(unknown)
    parts = [f"{count} products, {len(procurable)} procurable"]
    if blocked:
        parts = [check.description for check in checks if check.blocking and not check.passed]
    if unknown:
        parts.append(f"the platform does not know {_named(unknown)}")
    parts += flaws(answer.rejected, answer.duplicates)
    if nameless and not chosen and not blocked:
        parts.append(
            f"{nameless} of them have no readable code and may be any product: none is switched off"
        )
    shown = ("product_code", "product_model", "product_group", "brand")
    preview = [
        {name: getattr(record.value, name) for name in shown}
        | {"is_sales": "1" if record.value.is_sales else "0"}
        for record in answer.records[:PREVIEW_ROWS]
    ]
    return outcome(
        success=count,
        failed=failed,
        message="; ".join(parts),
        metadata={
            "records": count,
            "procurable": len(procurable),
            "rejected_records": len(answer.rejected),
            "records_without_code": nameless,
            "repeated_codes": list(answer.duplicates[:PREVIEW_ROWS]),
            "ignored_records": answer.ignored,
            "removed_characters": answer.removed_characters,
        }
        | meter.metadata(),
        checks=checks,
        preview=preview,
        flawed=bool(answer.duplicates),
    )


def _faults(answer: Answer[Any]) -> list[dict[str, Any]]:
    """The records of a listing that cannot be read, or came twice with other values."""
    rows = [(rejected.code, rejected.reason) for rejected in answer.rejected]
    rows += [(code, "repeated with other values") for code in answer.duplicates]
    return [{"product_code": code, "reason": reason} for code, reason in rows]


def procurable_codes(run: SyncRun) -> list[str]:
    """The products this run prices and asks for stock: the procurable ones it listed itself.

    A run that listed nothing takes the whole partition.

    Raises:
        NothingStored: the partition has no listing.
    """
    if run.procurable is not None:
        return run.procurable
    asset = "product_listings"
    records = list(raw.read(run.engine, run.partition, asset, run.root_run_id))
    records = records or list(raw.read(run.engine, run.partition, asset))
    if not records:
        raise NothingStored(
            f"{run.partition.key}: no listing is stored; materialize product_listings first"
        )
    run.procurable = _procurable(parse_listing([record.payload for record in records]))
    return run.procurable


def _procurable(answer: Answer[ProductListing]) -> list[str]:
    return sorted(record.value.product_code for record in answer.records if record.value.is_sales)


def fetch_prices(run: SyncRun) -> Outcome:
    """Fetch the prices of the procurable products, 20 a call."""
    asset = "price_quotes"

    def work() -> Outcome:
        run.require_today()
        codes = procurable_codes(run)
        tally = Tally(run, asset, codes, lambda code: (code,))

        def call(batch: tuple[str, ...]) -> Answer[Any]:
            return run.client().quote_prices(batch)

        for batch, answer in tally.ask(batches(tally.open), call):
            if isinstance(answer, CallFailed):
                tally.fail(batch, str(answer))
                continue
            records = [RawRecord(r.value.product_code, r.payload) for r in answer.records]
            tally.keep(records, answer, sample=[
                (r.value.product_code, r.value.supply_price, r.value.invoice_price,
                 r.value.market_price, r.value.reason)
                for r in answer.records
            ])  # fmt: skip
            answered = {record.product_code for record in records}
            rejected = {r.code for r in answer.rejected}
            tally.succeed(code for code in batch if code in answered)
            missing = [code for code in batch if code not in answered]
            tally.fail((c for c in missing if c not in rejected), "the answer leaves them out")
            tally.fail((c for c in missing if c in rejected), "their records cannot be read")
        columns = ["product_code", "supply_price", "invoice_price", "market_price", "reason"]
        checks = [quotes_answered(len(codes), tally.failed)]
        return tally.outcome("products priced", columns, checks)

    return run.step(asset, work)


def fetch_stock(run: SyncRun, county_codes: Sequence[str] = ()) -> Outcome:
    """Fetch the stock of the procurable products, one call for each product and county.

    ``county_codes`` replaces the counties of the configuration.

    Raises:
        InvalidInput: a county code is not six digits.
    """
    asset = "stock_levels"
    require_county_codes(county_codes)

    def work() -> Outcome:
        run.require_today()
        counties = list(dict.fromkeys(county_codes)) or list(run.config().county_codes)
        # Product by product, so that `fan_out`'s stop after 50 failures in a row is not reached by
        # one bad county.
        pairs = [(code, county) for code in procurable_codes(run) for county in counties]
        tally = Tally(run, asset, pairs, lambda pair: pair, again=_unread(run))
        unreadable: list[dict[str, Any]] = []

        def call(pair: tuple[str, str]) -> Answer[Any]:
            return run.client().get_stock(*pair)

        for pair, answer in tally.ask(tally.open, call):
            if isinstance(answer, CallFailed):
                tally.fail([pair], str(answer))
                continue
            payload = [r.payload for r in answer.records] + [r.payload for r in answer.rejected]
            tally.keep([RawRecord(pair[0], payload, pair[1])], answer, sample=[
                (*pair, r.value.sec_code, r.value.stock, r.value.warehouse_grade)
                for r in answer.records
            ])  # fmt: skip
            if answer.rejected:
                tally.fail([pair], "a warehouse's record cannot be read")
                unreadable += [
                    dict(zip(UNREADABLE_COLUMNS, (*pair, r.code, r.reason), strict=True))
                    for r in answer.rejected
                ]
            else:
                tally.succeed([pair])
        columns = ["product_code", "county_code", "sec_code", "stock", "warehouse_grade"]
        checks = [stock_answered(len(pairs), tally.failed), quantities_valid(unreadable)]
        return tally.outcome("stock answers", columns, checks)

    return run.step(asset, work)


def _unread(run: SyncRun) -> set[tuple[str, ...]]:
    """The products and counties whose answer under this root run could not be read whole."""
    kept = raw.read(run.engine, run.partition, "stock_levels", run.root_run_id)
    return {
        (record.product_code, record.county_code or "")
        for record in kept
        if parse_stock(record.payload).rejected
    }


class Meter:
    """What a step spent at the platform: the difference between two readings of the client."""

    def __init__(self, client: HaierClient) -> None:
        self._stats = client.stats
        self._began = time.monotonic()
        self._before = (
            self._stats.total,
            self._stats.retries,
            self._stats.refused,
            self._stats.token_calls,
        )

    def metadata(self) -> dict[str, Any]:
        seconds = time.monotonic() - self._began
        calls = self._stats.total - self._before[0]
        return {
            "calls": calls,
            "calls_per_second": round(calls / seconds, 2) if seconds > 0 else 0.0,
            "seconds": round(seconds, 3),
            "retries": self._stats.retries - self._before[1],
            "refused_calls": self._stats.refused - self._before[2],
            "token_calls": self._stats.token_calls - self._before[3],
        }


@dataclass
class _Failures:
    units: list[Any] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)


class Tally:
    """Counts the units of one fetch and keeps its answers, every half second and at the end.

    ``open`` are the units that were not answered under this root run before, and those whose
    answers are to be asked for ``again``.
    """

    def __init__(
        self,
        run: SyncRun,
        asset: str,
        units: Sequence[U],
        key: Callable[[U], tuple[str, ...]],
        again: Collection[tuple[str, ...]] = (),
    ) -> None:
        run.require_enabled()
        raw.open_fetch(run.engine, run.partition, asset, run.root_run_id)
        known = raw.fetched(run.engine, run.partition, asset, run.root_run_id).difference(again)
        self.open: list[Any] = [unit for unit in units if key(unit) not in known]
        self._run = run
        self._asset = asset
        self._total = len(units)
        self._disabled = False
        self._reused = len(units) - len(self.open)
        self._succeeded = 0
        self._failures = _Failures()
        self._meter = Meter(run.client())
        self._records: list[RawRecord] = []
        self._rejected: list[RejectedRecord] = []
        self._flushed_at = time.monotonic()
        self._sample: list[Sequence[Any]] = []
        self._counts = {"rejected_records": 0, "ignored_records": 0, "removed_characters": 0}
        self._repeated: list[str] = []
        run.progress.begin(asset, len(units))
        run.progress.advance(asset, self._reused)

    def ask(
        self, units: Iterable[U], call: Callable[[U], Answer[Any]]
    ) -> Iterable[tuple[U, Answer[Any] | CallFailed]]:
        """Call for every unit, 32 at a time or as many more as the pace leaves room for, and flush
        between two answers when it is time."""
        client = self._run.client()
        calls = fan_out(
            units,
            call,
            workers=WORKERS,
            stop=self._run.stop,
            wants_more=lambda: not client.is_paced,
        )
        try:
            for unit, answer in calls:
                yield unit, answer
                if time.monotonic() - self._flushed_at > FLUSH_SECONDS:
                    self._flush()
                    if not self._run.is_enabled():
                        self._disabled = True
                        return
        finally:
            calls.close()
            # What was answered before an error is worth keeping: a resumed sync goes on after it.
            self._flush()
        raw.close_fetch(self._run.engine, self._run.partition, self._asset)

    def keep(
        self, records: Sequence[RawRecord], answer: Answer[Any], sample: Sequence[Sequence[Any]]
    ) -> None:
        self._records += records
        self._rejected += rejected_records(answer.rejected)
        self._counts["rejected_records"] += len(answer.rejected)
        self._counts["ignored_records"] += answer.ignored
        self._counts["removed_characters"] += answer.removed_characters
        self._repeated += answer.duplicates
        if len(self._sample) < PREVIEW_ROWS:
            self._sample += sample[: PREVIEW_ROWS - len(self._sample)]

    def succeed(self, units: Iterable[Any]) -> None:
        count = len(list(units))
        self._succeeded += count
        self._run.progress.advance(self._asset, count)

    def fail(self, units: Iterable[Any], reason: str) -> None:
        failed = list(units)
        if failed:
            self._failures.units += failed
            self._failures.reasons[reason] = self._failures.reasons.get(reason, 0) + len(failed)
            self._run.progress.advance(self._asset, len(failed))

    @property
    def failed(self) -> list[Any]:
        """The units without a usable answer, in the order in which they failed."""
        return self._failures.units

    def outcome(self, noun: str, columns: Sequence[str], checks: Sequence[Check]) -> Outcome:
        """``noun`` names the units, ``columns`` those of the sample that was kept."""
        success = self._succeeded + self._reused
        failed = self.failed
        not_asked = self._total - success - len(failed) if self._disabled else 0
        total = success + len(failed) + not_asked
        parts = [f"{success} of {total} {noun}"]
        if self._disabled:
            parts.append(f"stopped: the dealer was disabled, {not_asked} were not asked for")
        if self._reused:
            parts.append(f"{self._reused} of them already by the attempt before")
        if failed:
            # Only the most frequent reason; the log's metadata has the others.
            reason = max(self._failures.reasons, key=self._failures.reasons.__getitem__)
            parts.append(f"failed: {_named(failed)}; {reason}")
        if self._repeated:
            parts.append(
                f"repeated with other values, the last one counts: {_named(self._repeated)}"
            )
        ended = outcome(
            success=success,
            failed=len(failed) + not_asked,
            message="; ".join(parts),
            metadata={
                "records": success,
                "reused": self._reused,
                "failed_units": [_name(unit) for unit in failed[:20]],
                "failures": dict(list(self._failures.reasons.items())[:20]),
                "repeated_codes": self._repeated[:20],
                **self._counts,
            }
            | self._meter.metadata(),
            checks=checks,
            preview=[dict(zip(columns, row, strict=True)) for row in self._sample],
            flawed=bool(self._repeated),
        )
        if not self._disabled:
            return ended
        return replace(ended, result=replace(ended.result, status="partial"), stops=True)

    def _flush(self) -> None:
        self._flushed_at = time.monotonic()
        if self._records or self._rejected:
            raw.save(
                self._run.engine,
                self._run.partition,
                self._asset,
                self._run.root_run_id,
                self._records,
                self._rejected,
                run_id=self._run.run_id,
            )
            self._records, self._rejected = [], []


def rejected_records(rejected: Iterable[Rejected]) -> list[RejectedRecord]:
    """What the client could not read, as the catalog keeps it."""
    return [RejectedRecord(record.reason, record.payload) for record in rejected]


def flaws(rejected: Sequence[Rejected], repeated: Sequence[str]) -> list[str]:
    """The parts of a message about records that cannot be read or came twice."""
    parts = []
    if rejected:
        parts.append(
            f"{len(rejected)} records cannot be read, the first because {rejected[0].reason}"
        )
    if repeated:
        parts.append(f"repeated, the last one counts: {_named(repeated)}")
    return parts


def _name(unit: Any) -> str:
    return unit if isinstance(unit, str) else " in ".join(unit)


def _named(units: Sequence[Any]) -> str:
    named = ", ".join(_name(unit) for unit in units[:NAMED_CODES])
    more = len(units) - NAMED_CODES
    return f"{named} and {more} more" if more > 0 else named
