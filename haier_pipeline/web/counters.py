"""Totals over the sync log, kept up to date by reading only what has ended since the last time.

Nothing is counted in this process: a sync runs in another one, and its log rows hold what it
did. The totals start with everything the log still holds and survive its retention.
"""

import threading
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from haier_pipeline.catalog.views import figures

#: Rows become visible out of order, so those of the last minutes are read again.
_OVERLAP: Final = timedelta(minutes=2)


class SyncCounters:
    """Totals over the log that survive its retention: each ended row is counted once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: datetime | None = None
        self._recent: dict[int, datetime] = {}
        self.syncs: Counter[tuple[str, str, str]] = Counter()
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        self.ended: Counter[tuple[str, str]] = Counter()
        self.calls: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()

    def read(self, engine: Engine) -> None:
        """Count what has ended since the last time."""
        with self._lock:
            since = self._newest and self._newest - _OVERLAP
            for row in figures.ended_since(engine, since):
                if row.id in self._recent:
                    continue
                self._recent[row.id] = row.completed_at
                self._newest = max(self._newest or row.completed_at, row.completed_at)
                self.syncs[row.dealer, row.sync_type, row.status] += 1
                self.seconds[row.dealer, row.sync_type] += row.seconds
                self.ended[row.dealer, row.sync_type] += 1
                self.calls[row.dealer] += row.calls
                self.refused[row.dealer] += row.refused_calls
                self.tokens[row.dealer] += row.token_calls
            if self._newest is not None:
                oldest = self._newest - 2 * _OVERLAP
                self._recent = {id_: at for id_, at in self._recent.items() if at >= oldest}
