"""Dagster's processes for ``haier dev``: those of ``dagster dev``, the webserver behind our guard.

``python -m haier_pipeline.orchestration.dev`` takes the arguments of ``dagster dev``. Neither that
command nor the webserver has a place for a middleware, so the two names that matter are replaced;
where a version of Dagster lacks them, nothing starts. What the guard judges does not belong here.
"""

import sys
from collections.abc import Sequence
from typing import Any, Final

WEBSERVER: Final = "webserver"
_OF_DAGSTER: Final = ["-m", "dagster_webserver"]
# Without the current folder, whose files are not ours.
_OURS: Final = ["-P", "-m", "haier_pipeline.orchestration.dev", WEBSERVER]


def run_dev(arguments: Sequence[str]) -> None:
    """Run webserver, daemon and code server until Ctrl-C."""
    from dagster._cli import dev as module

    # Any: the name belongs to another module of Dagster's.
    dev: Any = module
    start = dev.open_ipc_subprocess

    def start_ours(parts: Sequence[str], **options: Any) -> Any:
        program, *rest = parts
        if rest[:2] == _OF_DAGSTER:
            rest = [*_OURS, *rest[2:]]
        return start([program, *rest], **options)

    dev.open_ipc_subprocess = start_ours
    dev.dev_command(args=list(arguments), prog_name="haier dev")


def run_webserver(arguments: Sequence[str]) -> None:
    """Run Dagster's webserver behind the guard."""
    from dagster_webserver import cli as module

    from haier_pipeline.server.dagster_guard import DagsterGuard

    cli: Any = module
    build = cli.create_app_from_workspace_process_context

    def build_guarded(*args: Any, **options: Any) -> Any:
        app = build(*args, **options)
        app.add_middleware(DagsterGuard)
        return app

    cli.create_app_from_workspace_process_context = build_guarded
    cli.cli(args=list(arguments), auto_envvar_prefix="DAGSTER_WEBSERVER")


if __name__ == "__main__":
    if sys.argv[1:2] == [WEBSERVER]:
        run_webserver(sys.argv[2:])
    else:
        run_dev(sys.argv[1:])
