"""The use cases: client, catalog and rules joined, with the log around.

Runs and is tested without Dagster. ``dealers`` knows who syncs, ``run`` is one sync over one
partition, ``fetch`` asks the platform, ``derive`` computes and loads. Orchestration, the command
line and REST are shells around these.
"""
