"""A dealer's Haier catalog in PostgreSQL, kept by Dagster. Nothing happens on import."""
