"""What the pipeline takes in time, calls and memory: ``python -m benchmarks`` prints a table.

Figures only, measured on the real command against the sandbox; nothing here is a test, and nothing
of the pipeline depends on it. What each row means stands in docs/benchmarks.md.
"""
