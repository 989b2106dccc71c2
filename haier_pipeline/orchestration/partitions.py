"""The partition of every asset: ``date|dealer``."""

from datetime import date
from zoneinfo import ZoneInfo

import dagster as dg

from haier_pipeline.catalog.raw import Partition

FIRST_DATE = "2026-01-01"
TIME_ZONE = "Asia/Shanghai"
SHANGHAI = ZoneInfo(TIME_ZONE)

# The offset makes the running day a partition; without it a day appears when it is over.
dates = dg.DailyPartitionsDefinition(FIRST_DATE, timezone=TIME_ZONE, end_offset=1)
dealers = dg.DynamicPartitionsDefinition(name="dealer")
date_and_dealer = dg.MultiPartitionsDefinition({"date": dates, "dealer": dealers})


def read_key(key: str) -> Partition:
    """``2026-11-22|haier`` as a partition."""
    sync_date, _, dealer = key.partition("|")
    return Partition(dealer, date.fromisoformat(sync_date))
