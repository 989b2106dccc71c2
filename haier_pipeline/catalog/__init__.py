"""Everything that touches PostgreSQL: tables, raw records, load, log. No HTTP, no Dagster."""
