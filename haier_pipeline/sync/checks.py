"""The asset checks: what is looked at after each step, in words and with the records at fault.

Which numbers are wrong is decided by ``rules``.
Which checks there are is declared in ``domain.assets``.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pandas as pd

from haier_pipeline import rules
from haier_pipeline.catalog.load import LoadReport
from haier_pipeline.catalog.log import Check
from haier_pipeline.domain.assets import (
    CODES_VALID,
    INVOICE_ADDS_UP,
    NOT_EMPTY,
    NOT_SHRUNK,
    PRICES_PLAUSIBLE,
    PRODUCTS_MATCH,
    QUANTITIES_VALID,
    QUOTES_ANSWERED,
    QUOTES_UNDERSTOOD,
    RECORDS_READABLE,
    STOCK_ADDS_UP,
    STOCK_ANSWERED,
    STOCK_MATCHES,
    CheckRule,
)

SHOWN_OFFENDERS = 20
ANSWERED_SHARE = 0.95


def listing_checks(
    count: int,
    before: int | None,
    *,
    days: int,
    unreadable: int,
    accept_shrink: bool,
    faults: pd.DataFrame,
) -> list[Check]:
    """The listing holds products, not far fewer than before, readable, each with its own code.

    ``count`` are the readable records, ``before`` those of the longest good listing of the last
    ``days``. What an operator accepts passes, but for an empty listing.
    """
    shrank = rules.listing_shrank(before, count)
    told = f"{count} products, the longest good listing of the last {days} days had "
    told += str(before) if before else "none before it"
    if unreadable:
        told += f"; {unreadable} records that cannot be read count as missing"
    unread = rules.too_many_unreadable(unreadable, count)
    empty = "the listing came back empty; nothing was kept"
    if unreadable:
        empty = f"as good as empty: none of {unreadable} records can be read; nothing was kept"
    told_unread = f"{unreadable} of {unreadable + count} records cannot be read"
    return [
        _check(
            NOT_EMPTY,
            passed=count > 0,
            description=f"{count} products" if count else empty,
            metadata={"records": count},
        ),
        _check(
            NOT_SHRUNK,
            passed=not shrank or accept_shrink,
            description=told + _accepting(accept_shrink, wanted=shrank),
            metadata={
                "records": count,
                "longest_good": before or 0,
                "days": days,
                "accepted": accept_shrink,
            },
        ),
        _check(
            RECORDS_READABLE,
            passed=not unread or accept_shrink,
            description=told_unread + _accepting(accept_shrink, wanted=unread),
            metadata={"records": count, "unreadable": unreadable, "accepted": accept_shrink},
        ),
        codes_valid(faults),
    ]


def _accepting(accept_shrink: bool, *, wanted: bool) -> str:
    if not wanted:
        return ""
    if accept_shrink:
        return "; accepted by the operator"
    return (
        "; nothing was kept; if this is right, let one run pass with --accept-shrink,"
        " in the launchpad accept_shrink"
    )


def listing_not_judged(why: str, faults: pd.DataFrame) -> list[Check]:
    """The checks of a listing that says nothing about the whole: chosen products, a resumed run."""
    passed = [
        _check(rule, passed=True, description=f"not judged: {why}")
        for rule in (NOT_EMPTY, NOT_SHRUNK, RECORDS_READABLE)
    ]
    return [*passed, codes_valid(faults)]


def codes_valid(faults: pd.DataFrame) -> Check:
    """Every record of the listing has a code, and no code comes twice with other values."""
    return _judged(
        CODES_VALID,
        faults,
        right="every record has a code of its own",
        wrong="{count} records cannot be told apart or cannot be read",
    )


def quotes_answered(asked: int, failed: Sequence[str]) -> Check:
    """At least 95 % of the procurable products were answered."""
    share = 1 - len(failed) / asked if asked else 1.0
    return _check(
        QUOTES_ANSWERED,
        passed=share >= ANSWERED_SHARE,
        description=f"{asked - len(failed)} of {asked} procurable products answered",
        metadata={"asked": asked, "offending": len(failed), "share": round(share, 4)},
        offenders=[{"product_code": code} for code in failed[:SHOWN_OFFENDERS]],
    )


def stock_answered(asked: int, failed: Sequence[tuple[str, str]]) -> Check:
    """Every product was answered in every county; a few gaps warn, many are an error."""
    share = 1 - len(failed) / asked if asked else 1.0
    return _check(
        STOCK_ANSWERED,
        passed=not failed,
        severity="WARN" if share >= ANSWERED_SHARE else None,
        description=f"{asked - len(failed)} of {asked} products and counties answered",
        metadata={"asked": asked, "offending": len(failed), "share": round(share, 4)},
        offenders=[
            {"product_code": code, "county_code": county}
            for code, county in failed[:SHOWN_OFFENDERS]
        ],
    )


def quantities_valid(faults: pd.DataFrame) -> Check:
    """Every quantity is a whole number, none of them negative."""
    return _judged(
        QUANTITIES_VALID,
        faults,
        right="every quantity is a whole number, none is negative",
        wrong="{count} warehouse records cannot be read; their stock stays as it was",
    )


def quotes_understood(flaws: pd.DataFrame) -> Check:
    """Every quote could be used as it came; ``flaws`` are what ``rules.quote_flaws`` found."""
    return _judged(
        QUOTES_UNDERSTOOD,
        flaws,
        right="every rebate is of a known kind, every discount a fraction, no price is zero",
        wrong="{count} values in quotes are not understood or not maintained",
    )


def price_checks(priced: pd.DataFrame, before: pd.DataFrame) -> list[Check]:
    """The platform's own arithmetic holds, and no price jumped since the day before."""
    return [
        _judged(
            INVOICE_ADDS_UP,
            rules.invoice_mismatches(priced),
            right="invoice price = supply price × (1 − discount) − rebate, to the cent",
            wrong="{count} invoice prices are missing or differ from"
            " supply price × (1 − discount) − rebate",
        ),
        _judged(
            PRICES_PLAUSIBLE,
            rules.implausible_prices(before, priced),
            right="no amount is negative, no price halved or doubled since the last sync",
            wrong="{count} amounts are negative or more than half off or double",
        ),
    ]


def load_checks(report: LoadReport) -> dict[str, list[Check]]:
    """The tables hold what was computed; by asset. All of them stop the sync."""
    sums = rules.frame([(code,) for code in report.stock_sums_wrong], ["product_code"])
    return {
        "brands": [],
        "products": [
            _rows_match(PRODUCTS_MATCH, report.products_found, report.products, "products")
        ],
        "product_stock": [
            _rows_match(STOCK_MATCHES, report.stock_found, report.stock_rows, "warehouse rows"),
            _judged(
                STOCK_ADDS_UP,
                sums,
                right="every product's stock is the sum of its warehouses that count",
                wrong="{count} products differ from the sum of their warehouses that count",
            ),
        ],
    }


def _rows_match(rule: CheckRule, found: int, computed: int, noun: str) -> Check:
    return _check(
        rule,
        passed=found == computed,
        description=f"{found} of {computed} computed {noun} are in the table",
        metadata={"computed": computed, "found": found},
    )


def _judged(rule: CheckRule, offenders: pd.DataFrame, *, right: str, wrong: str) -> Check:
    count = len(offenders)
    return _check(
        rule,
        passed=count == 0,
        description=right if count == 0 else wrong.format(count=count),
        metadata={"offending": count},
        offenders=[
            {str(column): _shown(value) for column, value in row.items()}
            for row in offenders.head(SHOWN_OFFENDERS).to_dict("records")
        ],
    )


def _check(
    rule: CheckRule,
    *,
    passed: bool,
    description: str,
    metadata: Mapping[str, Any] | None = None,
    offenders: Sequence[Mapping[str, Any]] = (),
    severity: str | None = None,
) -> Check:
    return Check(
        rule.name,
        passed=passed,
        description=description,
        severity=severity or rule.severity,
        blocking=rule.blocking,
        metadata=metadata or {},
        offenders=offenders,
    )


def _shown(value: Any) -> str | None:
    if value is None:
        return None
    return format(value, "f") if isinstance(value, Decimal) else str(value)
