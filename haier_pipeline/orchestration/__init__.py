"""Dagster's side: a module for each of its concepts, and what runs and ticks need of one another.

Partitions, resources, assets, checks, jobs, schedules, sensors and Dagster's storage are shells:
what an asset does is in ``sync``, and there is no HTTP here, nor SQL but for the schema that
Dagster's own tables stand in. Plain code beside them starts runs (``execute``, ``launch``), brings
the sync log into agreement with Dagster's events (``reconcile``, ``events``) and removes old runs
(``retention``). They are put together in ``definitions``.
"""
