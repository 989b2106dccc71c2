"""REST: routes, roles, problem answers, metrics. Shells only, around the use cases of ``sync``.

Only here is the web framework imported. ``app.build_app`` puts it together; nothing here reads the
environment or imports Dagster.
"""
