"""Dagster's side: partitions, the resource, assets, checks, jobs, and Dagster's own storage.

Shells only. What an asset does is in ``sync``; nothing here knows HTTP or SQL.
"""
