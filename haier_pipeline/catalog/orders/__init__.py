"""Retail orders in PostgreSQL: stored, found, moved on by facts, and their personal data removed.

What the facts come to is decided in `haier_pipeline.domain.order_state`, when something is sent or
asked for in ``sync``. No HTTP.
"""
