"""Alembic's folder: one module for each step that the tables have taken."""
