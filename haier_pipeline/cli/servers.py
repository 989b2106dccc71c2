"""The commands that run until Ctrl-C: the whole thing, the stand-in platform, REST."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from haier_pipeline.cli.command import opened
from haier_pipeline.cli.database import shown_url
from haier_pipeline.cli.output import note
from haier_pipeline.errors import InvalidInput

if TYPE_CHECKING:
    from haier_pipeline.settings import Settings


def dev(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Dagster.")] = 3000,
    api_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of REST and the admin pages.")
    ] = 8300,
) -> None:
    """Run the whole thing on this machine until Ctrl-C: database, Dagster, REST, admin pages."""
    from haier_pipeline.server.ports import require_free
    from haier_pipeline.server.processes import SAFE_PYTHON, run_together

    if port == api_port:
        raise InvalidInput(f"--port and --api-port are both {port}; give each its own")
    require_free(port)
    require_free(api_port, option="--api-port")
    with opened() as installation:
        from haier_pipeline.definitions import build_definitions

        # A time that is no cron expression is told here, not by three children.
        build_definitions(settings=installation.settings)
        names = installation.dealers.active()
        home = _prepare_instance(installation.settings, names)
        environment = os.environ | {
            # Absolute: the children work in another folder.
            "HAIER_HOME": str(installation.settings.home),
            "DAGSTER_HOME": str(home),
            # `dagster dev` calls itself superseded by a tool that wants a checkout.
            "PYTHONWARNINGS": "ignore:Function `dev_command` is superseded",
        }
        note(f"Dealers:      {', '.join(names)}")
        note(f"Database:     {shown_url(installation)}")
        note(f"Dagster:      http://127.0.0.1:{port}")
        note(f"Admin pages:  http://127.0.0.1:{api_port}/admin/")
        note(f"REST:         http://127.0.0.1:{api_port}/docs")
        if not installation.settings.api_tokens:
            from haier_pipeline.web.auth import new_token

            secret, environment["HAIER_API_TOKENS"] = new_token("dev", "operator")
            note(f"Token:        {secret}  (until Ctrl-C; log in with it)")
        dagster = [*SAFE_PYTHON, "-m", "haier_pipeline.orchestration.dev"]
        dagster += ["--log-level", "warning"]
        dagster += ["-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
        api = [*SAFE_PYTHON, "-m", "haier_pipeline.cli", "api", "--port", str(api_port)]
        sys.exit(run_together([dagster, api], folder=home, environment=environment))


def _prepare_instance(settings: "Settings", dealers: Sequence[str]) -> Path:
    from haier_pipeline.orchestration.execute import open_instance
    from haier_pipeline.orchestration.home import dagster_home
    from haier_pipeline.orchestration.partitions import dealers as dimension

    home = dagster_home(settings.home)
    with open_instance(settings.home) as instance:
        instance.add_dynamic_partitions(str(dimension.name), list(dealers))
    return home


def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8400,
    products: Annotated[int, typer.Option(min=0, help="Size of the catalog.")] = 300,
    latency_ms: Annotated[str, typer.Option(help="Of an answer: 50, or 50-200.")] = "0",
    rate: Annotated[int, typer.Option(min=0, help="Calls a second allowed; 0: no limit.")] = 100,
    faults: Annotated[str | None, typer.Option(help="Faults, as JSON or a file with it.")] = None,
    settings: Annotated[
        str | None, typer.Option(help="Forms of the contract, as JSON or a file with it.")
    ] = None,
) -> None:
    """Run the stand-in platform alone, until Ctrl-C."""
    from haier_pipeline.server.ports import require_free
    from haier_pipeline.server.processes import SAFE_PYTHON

    if faults is not None:
        _check_json("--faults", faults)
    if settings is not None:
        _check_json("--settings", settings)
    require_free(port)
    options = ["--port", port, "--products", products, "--latency-ms", latency_ms, "--rate", rate]
    if faults is not None:
        options += ["--faults", faults]
    if settings is not None:
        options += ["--settings", settings]
    command = [*SAFE_PYTHON, "-m", "haier_pipeline.sandbox", *map(str, options)]
    os.execv(sys.executable, command)  # noqa: S606 - our own program takes our place


def _check_json(option: str, text: str) -> None:
    """Raises ``InvalidInput`` where neither the text nor the file that it names is JSON."""
    try:
        is_json = text.lstrip().startswith(("[", "{"))
        json.loads(text if is_json else Path(text).read_text("utf-8-sig"))
    except OSError as error:
        raise InvalidInput(
            f"{option} {text!r} is neither JSON nor a file that can be read: {error.strerror}"
        ) from None
    except ValueError as error:
        raise InvalidInput(f"{option} is not JSON: {error}") from None


def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8300,
) -> None:
    """Run REST and the admin pages alone, until Ctrl-C."""
    from haier_pipeline.orchestration.launch import ProcessLauncher, dagster_problem
    from haier_pipeline.server.ports import require_free
    from haier_pipeline.web import serving
    from haier_pipeline.web.app import build_app

    require_free(port, host)
    # Whoever asks waits for the answer: a database that is away is said soon.
    with opened(patience=2.0) as installation:
        if not installation.settings.api_tokens:
            note(
                "HAIER_API_TOKENS is not set, so nobody is let in; make a token with: "
                "haier token create --name me --role operator"
            )
        # Migrations and the first connection before the first request, not in it.
        _ = installation.engine
        app = build_app(
            installation,
            launch=ProcessLauncher(
                installation.settings.home / "syncs", lambda: installation.engine
            ),
            dagster_problem=lambda: dagster_problem(installation.engine),
        )
        serving.run(
            app, host=host, port=port, trusted_proxies=installation.settings.trusted_proxies
        )
