"""The sync log, page by page."""

from typing import Annotated

from fastapi import APIRouter, Query

from haier_pipeline.catalog import log
from haier_pipeline.catalog.log import STATUS_LABELS, TYPE_LABELS, Entry
from haier_pipeline.web.models import MOST_ROWS, PRINTABLE, LogEntry, Page, Status, SyncType
from haier_pipeline.web.parameters import DealerName
from haier_pipeline.web.problems import documented
from haier_pipeline.web.services import ServicesHere

router = APIRouter(prefix="/logs", tags=["sync log"])

_MOST_ID = 2**63 - 1


@router.get("/", summary="The sync log, newest first", responses=documented())
def logs(
    services: ServicesHere,
    sync_type: SyncType | None = None,
    status: Status | None = None,
    dealer: DealerName = None,
    run_id: Annotated[str | None, Query(max_length=64, pattern=PRINTABLE)] = None,
    before: Annotated[int | None, Query(ge=1, le=_MOST_ID, description="`next` of a page")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
) -> Page[LogEntry]:
    """One row for each attempt to materialize one asset of one dealer's day, and for each live
    query. Here `dealer` is a filter: left out, every dealer's rows are shown."""
    entries = log.entries(
        services.engine,
        sync_type=sync_type,
        status=status,
        dealer=dealer,
        run_id=run_id,
        before=before,
        limit=limit,
    )
    return Page(
        data=[_shown(entry) for entry in entries],
        next=entries[-1].id if len(entries) == limit else None,
    )


def _shown(entry: Entry) -> LogEntry:
    return LogEntry(
        **{name: getattr(entry, name) for name in Entry.__dataclass_fields__},
        duration=entry.duration,
        sync_type_label=TYPE_LABELS[entry.sync_type][1],
        status_label=STATUS_LABELS[entry.status][1],
    )
