"""The use cases: client, catalog and rules joined, with the log around.

Runs and is tested without Dagster. ``dealers`` knows who syncs, ``dealer_editor`` changes it,
``trial`` tries a connection out; ``run`` is one sync over one partition, ``fetch`` and ``account``
ask the platform, ``derive`` computes and loads; ``requests`` accepts syncs, ``incidents`` says what
is wrong at present. Orchestration, the command line and REST are shells around these.
"""
