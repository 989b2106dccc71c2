"""Everything that executes SQL: tables, raw records, load, log, configurations, locks.

What others read without a sync of their own is in ``views``. No HTTP, no Dagster, and no decision
about what the platform's records mean.
"""
