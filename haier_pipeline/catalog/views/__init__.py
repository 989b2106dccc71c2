"""What others are shown of the database: a module for each kind of reader, each named by what it
gives.

``json_pages`` for other systems, ``table_rows`` and ``sync_history`` for the admin pages,
``figures`` for metrics, ``latest`` for incidents and freshness, ``readiness`` for the health route,
``database_findings`` for ``haier doctor``. Nothing here writes. What a sync reads in order to work
is beside what it writes, in ``catalog`` itself.
"""
