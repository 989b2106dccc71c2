"""The partition of every asset: ``date|dealer``."""

import dagster as dg

from haier_pipeline.domain.partition import TIME_ZONE

FIRST_DATE = "2026-01-01"

# The offset makes the running day a partition; without it a day appears when it is over.
dates = dg.DailyPartitionsDefinition(FIRST_DATE, timezone=TIME_ZONE, end_offset=1)
dealers = dg.DynamicPartitionsDefinition(name="dealer")
date_and_dealer = dg.MultiPartitionsDefinition({"date": dates, "dealer": dealers})
