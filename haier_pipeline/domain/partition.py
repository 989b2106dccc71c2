"""One dealer's day: what is fetched, derived, loaded and locked as a unit."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

TIME_ZONE: Final = "Asia/Shanghai"
SHANGHAI: Final = ZoneInfo(TIME_ZONE)

#: What is fetched beside the catalog and locked by itself. The assets of all other types belong
#: together: of them one run works in a partition at a time.
SEPARATE_SYNC_TYPES: Final = ("balance", "logistics")
#: What belongs to a dealer and to no day: retail orders are pushed by one run at a time, at
#: midnight too, and never wait for a sync.
DAYLESS_SYNC_TYPE: Final = "order"


def today() -> date:
    """The current sync date: the calendar day in Shanghai."""
    return datetime.now(SHANGHAI).date()


@dataclass(frozen=True)
class Partition:
    """One dealer's day."""

    dealer: str
    sync_date: date

    @classmethod
    def from_key(cls, key: str) -> "Partition":
        """Read what `key` wrote.

        Raises:
            ValueError: it does not begin with a date.
        """
        sync_date, _, dealer = key.partition("|")
        return cls(dealer, date.fromisoformat(sync_date))

    @property
    def key(self) -> str:
        """As Dagster writes it: ``2026-11-22|haier``."""
        return f"{self.sync_date:%Y-%m-%d}|{self.dealer}"

    def lock_key(self, sync_type: str) -> str:
        """The name of the lock that a run holds while it works on assets of this type."""
        if sync_type == DAYLESS_SYNC_TYPE:
            return f"haier push {self.dealer}"
        separate = f" {sync_type}" if sync_type in SEPARATE_SYNC_TYPES else ""
        return f"haier partition {self.key}{separate}"
