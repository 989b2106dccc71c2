"""The pages to look at: overview, sync log, products, stock, changes, rejected records.

Every role may see them, and nothing here changes anything.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from haier_pipeline.catalog import browse, feed, figures, log, overview, pages, watch
from haier_pipeline.catalog.database import load_json
from haier_pipeline.catalog.log import STATUS_LABELS, TYPE_LABELS, Entry
from haier_pipeline.catalog.overview import DayOfSyncs, LastSync
from haier_pipeline.catalog.pages import ProductFilter
from haier_pipeline.catalog.tables import RAW_TABLES
from haier_pipeline.catalog.watch import LastLoads
from haier_pipeline.domain.partition import today
from haier_pipeline.domain.product import CHANGE_KINDS
from haier_pipeline.errors import NotFound
from haier_pipeline.sync import notices
from haier_pipeline.sync.dealers import Dealer
from haier_pipeline.web.admin import charts
from haier_pipeline.web.admin.asked import PAGE_ROWS, Asked
from haier_pipeline.web.admin.charts import Chart, Column, Part
from haier_pipeline.web.admin.rendering import Words, language_of, render
from haier_pipeline.web.admin.sessions import SessionHere
from haier_pipeline.web.services import Services, ServicesHere

router = APIRouter()

#: The days that the charts show, and those that the rates are of.
CHART_DAYS: Final = 14
RATE_DAYS: Final = 7
#: The longest that a sync takes from one step to the next.
STEP_GAP_SECONDS: Final = 15


# -------------------------------------------------------------------------------------- overview


@dataclass(frozen=True)
class DealerLine:
    """A dealer on the overview; ``stale`` says what of its catalog is too old."""

    name: str
    number: int | None
    is_active: bool
    last: LastSync | None
    loads: LastLoads | None
    stale: Sequence[str]
    syncs: int
    success_rate: float | None
    error_rate: float | None
    rejected_records: int


@router.get("/")
def show_overview(request: Request, services: ServicesHere, session: SessionHere) -> HTMLResponse:
    """How every dealer stands, what needs attention, and the last two weeks."""
    now = datetime.now(UTC)
    engine = services.engine
    active = services.dealers.active()
    dealers = {dealer.name: dealer for dealer in services.dealers.all() if not dealer.is_shadowed}
    names = sorted({*dealers, *active}, key=lambda name: (name not in active, name))
    days = overview.days(engine, today(), CHART_DAYS)
    loads = watch.last_loads(engine)
    stale = notices.complaints(now, loads, active)
    incidents = notices.incidents(watch.last_ends(engine), stale)
    lines = _lines(
        names,
        active=active,
        dealers=dealers,
        last=overview.last_syncs(engine, names),
        loads=loads,
        stale=stale,
        rejected={each.dealer: each.rejected_records for each in figures.catalogs(engine)},
        days=[day for day in days if day.day > today() - timedelta(days=RATE_DAYS)],
    )
    words = Words(language_of(request))
    shown = Asked(request).one_of("dealer", names)
    return render(
        request,
        "overview.html",
        session=session,
        lines=lines,
        names=names,
        shown=shown,
        incidents=list(incidents.values()),
        holders=feed.holders(engine),
        rate_days=RATE_DAYS,
        charts=_charts(words, [day for day in days if shown is None or day.dealer == shown]),
    )


def _lines(
    names: Sequence[str],
    *,
    active: Sequence[str],
    dealers: Mapping[str, Dealer],
    last: Mapping[str, LastSync],
    loads: Mapping[str, LastLoads],
    stale: Mapping[str, Sequence[str]],
    rejected: Mapping[str, int],
    days: Sequence[DayOfSyncs],
) -> list[DealerLine]:
    lines = []
    for name in names:
        own = [day for day in days if day.dealer == name]
        syncs = sum(day.syncs for day in own)
        lines.append(
            DealerLine(
                name=name,
                number=dealers[name].id if name in dealers else None,
                is_active=name in active,
                last=last.get(name),
                loads=loads.get(name),
                stale=stale.get(name, ()),
                syncs=syncs,
                success_rate=sum(day.success for day in own) / syncs if syncs else None,
                error_rate=sum(day.failed for day in own) / syncs if syncs else None,
                rejected_records=rejected.get(name, 0),
            )
        )
    return lines


def _charts(words: Words, days: Sequence[DayOfSyncs]) -> dict[str, Chart | None]:
    by_day: defaultdict[date, list[DayOfSyncs]] = defaultdict(list)
    for each in days:
        by_day[each.day].append(each)
    wanted = [today() - timedelta(days=back) for back in reversed(range(CHART_DAYS))]
    return {
        name: charts.draw([column(words, day, by_day[day]) for day in wanted])
        for name, column in (
            ("syncs", _syncs_column),
            ("durations", _durations_column),
            ("calls", _calls_column),
        )
    }


def _syncs_column(words: Words, day: date, own: Sequence[DayOfSyncs]) -> Column:
    counts = {
        name: sum(getattr(each, name) for each in own) for name in ("success", "partial", "failed")
    }
    title = words("{day}: {success} succeeded, {partial} partial, {failed} failed",
                  day=day, **counts)  # fmt: skip
    return Column(_label(day), [Part(name, count) for name, count in counts.items()], title)


def _durations_column(words: Words, day: date, own: Sequence[DayOfSyncs]) -> Column:
    count = sum(each.syncs for each in own)
    average = sum(each.seconds for each in own) / count if count else 0.0
    longest = max((each.longest for each in own), default=0.0)
    title = words(
        "{day}: {average} on average, the longest {longest}",
        day=day,
        average=words.duration(average),
        longest=words.duration(longest),
    )
    return Column(
        _label(day), [Part("average", average), Part("longest", longest - average)], title
    )


def _calls_column(words: Words, day: date, own: Sequence[DayOfSyncs]) -> Column:
    calls = sum(each.calls for each in own)
    refused = sum(each.refused_calls for each in own)
    title = words("{day}: {calls} calls, {refused} of them refused",
                  day=day, calls=f"{calls:,}", refused=f"{refused:,}")  # fmt: skip
    return Column(
        _label(day), [Part("calls", max(calls - refused, 0)), Part("refused", refused)], title
    )


def _label(day: date) -> str:
    return f"{day.month}/{day.day}"


# -------------------------------------------------------------------------------------- sync log


@router.get("/log")
def show_log(request: Request, services: ServicesHere, session: SessionHere) -> HTMLResponse:
    """The log, newest first, with its filters."""
    asked = Asked(request)
    entries = log.entries(
        services.engine,
        sync_type=asked.one_of("sync_type", tuple(TYPE_LABELS)),
        status=asked.one_of("status", tuple(STATUS_LABELS)),
        dealer=asked.text("dealer"),
        day=asked.day("day"),
        search=asked.text("search"),
        run_id=asked.text("run_id"),
        before=asked.number("before"),
        limit=PAGE_ROWS,
    )
    return render(
        request,
        "log.html",
        session=session,
        entries=entries,
        types=tuple(TYPE_LABELS),
        statuses=tuple(STATUS_LABELS),
        dealers=_all_dealers(services),
        next=entries[-1].id if len(entries) == PAGE_ROWS else None,
        # One run is watched while it works; a filter form must not vanish while it is filled in.
        refresh=bool(asked.text("run_id")) and _is_working(entries),
    )


def _is_working(entries: Sequence[Entry]) -> bool:
    """Whether more may come: something is open, or has ended just now and the next step begins."""
    recently = datetime.now(UTC) - timedelta(seconds=STEP_GAP_SECONDS)
    return any(entry.completed_at is None or entry.completed_at > recently for entry in entries)


@router.get("/log/{number}")
def show_entry(
    request: Request, services: ServicesHere, session: SessionHere, number: int
) -> HTMLResponse:
    """One row with its checks and everything it reported."""
    if not 0 < number < 2**63:
        raise NotFound(f"the sync log has no row {number}")
    entry = log.entry(services.engine, number)
    refresh = entry.status in ("pending", "processing")
    return render(request, "entry.html", session=session, entry=entry, refresh=refresh)


# --------------------------------------------------------------------------------------- catalog


@router.get("/products")
def show_products(request: Request, services: ServicesHere, session: SessionHere) -> HTMLResponse:
    """The products of one dealer."""
    asked = Asked(request)
    dealers, dealer = _dealer_of_catalog(services, asked)
    wanted = ProductFilter(
        brand=asked.text("brand"),
        group=asked.text("group"),
        procurable=asked.flag("procurable"),
        in_stock=asked.flag("in_stock"),
        search=asked.text("search"),
    )
    after = asked.text("after")
    page = pages.read(
        services.engine,
        pages.PRODUCTS,
        dealer,
        wanted,
        after=None if after is None else (after,),
        limit=PAGE_ROWS,
    )
    return render(
        request,
        "products.html",
        session=session,
        products=load_json(page.rows),
        dealers=dealers,
        dealer=dealer,
        brands=browse.brands(services.engine, dealer),
        groups=browse.groups(services.engine, dealer),
        next=page.last and page.last[0],
    )


@router.get("/product")
def show_product(request: Request, services: ServicesHere, session: SessionHere) -> HTMLResponse:
    """One product: its facts, prices, warehouses, and what moved."""
    asked = Asked(request)
    dealer, code = asked.text("dealer") or "", asked.text("code") or ""
    engine = services.engine
    page = pages.read(engine, pages.PRODUCTS, dealer, ProductFilter(codes=[code]), limit=1)
    found = load_json(page.rows)
    if not isinstance(found, list) or not found:
        raise NotFound("there is no such product")
    return render(
        request,
        "product.html",
        session=session,
        dealer=dealer,
        product=found[0],
        stock=browse.stock(engine, dealer, product_code=code, limit=PAGE_ROWS),
        changes=browse.changes(engine, dealer, product_code=code, limit=PAGE_ROWS),
    )


@router.get("/stock")
def show_stock(request: Request, services: ServicesHere, session: SessionHere) -> HTMLResponse:
    """What stands in which warehouse."""
    asked = Asked(request)
    dealers, dealer = _dealer_of_catalog(services, asked)
    after = asked.key("after", 3)
    rows = browse.stock(
        services.engine,
        dealer,
        product_code=asked.text("code"),
        county_code=asked.text("county"),
        after=None if after is None else (after[0], after[1], after[2]),
        limit=PAGE_ROWS,
    )
    end = [rows[-1].product_code, rows[-1].county_code, rows[-1].sec_code] if rows else []
    return render(
        request,
        "stock.html",
        session=session,
        rows=rows,
        dealers=dealers,
        dealer=dealer,
        next=_next(rows, end),
    )


@router.get("/changes")
def show_changes(request: Request, services: ServicesHere, session: SessionHere) -> HTMLResponse:
    """What moved, the newest day first."""
    asked = Asked(request)
    dealers, dealer = _dealer_of_catalog(services, asked)
    after = asked.key("after", 2)
    last_day = asked.day("after_day")
    rows = browse.changes(
        services.engine,
        dealer,
        day=asked.day("day"),
        kind=asked.one_of("kind", CHANGE_KINDS),
        product_code=asked.text("code"),
        after=None if after is None or last_day is None else (last_day, after[0], after[1]),
        limit=PAGE_ROWS,
    )
    end = [rows[-1].product_code, rows[-1].kind] if rows else []
    return render(
        request,
        "changes.html",
        session=session,
        rows=rows,
        dealers=dealers,
        dealer=dealer,
        kinds=CHANGE_KINDS,
        next=_next(rows, end),
    )


@router.get("/rejected")
def show_rejected(request: Request, services: ServicesHere, session: SessionHere) -> HTMLResponse:
    """Records that could not be read, with what the platform sent."""
    asked = Asked(request)
    rows = browse.rejected(
        services.engine,
        dealer=asked.text("dealer"),
        asset_key=asked.text("asset"),
        day=asked.day("day"),
        before=asked.number("before"),
        limit=PAGE_ROWS,
    )
    return render(
        request,
        "rejected.html",
        session=session,
        rows=rows,
        dealers=_all_dealers(services),
        assets=(*RAW_TABLES, "account_balances", "order_logistics"),
        next=rows[-1].id if len(rows) == PAGE_ROWS else None,
    )


def _next(rows: Sequence[object], end: Sequence[str]) -> str | None:
    return json.dumps(end, ensure_ascii=False) if len(rows) == PAGE_ROWS else None


def _all_dealers(services: Services) -> list[str]:
    """Whoever may have rows: dealers that are configured, and those that once were."""
    stored = {dealer.name for dealer in services.dealers.all()}
    return sorted(stored | {*services.dealers.active(), *browse.dealers(services.engine)})


def _dealer_of_catalog(services: Services, asked: Asked) -> tuple[list[str], str]:
    """The dealers to choose from, and the one whose catalog is shown."""
    dealers = _all_dealers(services)
    chosen = asked.text("dealer")
    if chosen is None:
        with_catalog = browse.dealers(services.engine)
        chosen = (with_catalog or dealers)[0]
    return dealers, chosen
