"""The commands for syncs and their log: ``sync``, ``backfill``, ``logs``."""

import gc
import importlib
import json
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from haier_pipeline.cli.command import (
    AsJson,
    Dealer,
    Exit,
    exit_cancelled,
    json_errors,
    opened,
    signals,
)
from haier_pipeline.cli.output import draws, note, print_error, print_json, print_table
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.domain.product import is_county_code
from haier_pipeline.domain.request import SyncRequest
from haier_pipeline.errors import CANCELLED, HaierError, InvalidInput
from haier_pipeline.settings import read_settings

if TYPE_CHECKING:
    from haier_pipeline.catalog.log import Entry
    from haier_pipeline.installation import Installation
    from haier_pipeline.server.postgres import EmbeddedPostgres
    from haier_pipeline.sync.run import SyncRun

#: Runs the job over a sync; returns why it failed, if it did.
_Dagster = Callable[["SyncRun", str | None, SyncRequest | None], str | None]

EXIT_OF_STATUS = {"success": Exit.SUCCESS, "partial": Exit.PARTIAL, "failed": Exit.FAILED}


@contextmanager
def _starting_server() -> Iterator[None]:
    """Start the embedded server while what comes next is imported, which takes as long."""
    # All that is imported now stays to the end: nothing of it is worth looking through.
    gc.disable()
    settings = read_settings(os.environ)
    with ExitStack() as stack:
        if settings.database_url is None:
            from haier_pipeline.server.postgres import EmbeddedPostgres

            server = EmbeddedPostgres(settings.home)
            starting = threading.Thread(target=_start_quietly, args=(server,))
            starting.start()
            stack.callback(server.stop)
            stack.callback(starting.join)
        yield


def _start_quietly(server: "EmbeddedPostgres") -> None:
    # Whoever needs the server joins it right after this, and then says what is wrong with it.
    with suppress(HaierError):
        server.start()


def sync(
    dealer: Dealer = None,
    product_code: Annotated[
        list[str] | None, typer.Option(help="Only this product (repeatable).")
    ] = None,
    county_code: Annotated[
        list[str] | None, typer.Option(help="Stock in this county only (repeatable).")
    ] = None,
    no_prices: Annotated[bool, typer.Option("--no-prices", help="Leave prices alone.")] = False,
    no_stock: Annotated[bool, typer.Option("--no-stock", help="Leave stock alone.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a sync of today was killed or failed.")
    ] = False,
    accept_shrink: Annotated[
        bool, typer.Option("--accept-shrink", help="Let a much shorter listing pass this once.")
    ] = False,
    as_json: AsJson = False,
    request: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Sync today: listing, prices, stock, catalog, for every active dealer."""
    if request:
        wanted = SyncRequest.from_json(sys.stdin.read())
    else:
        for county in county_code or []:
            if not is_county_code(county):
                raise InvalidInput(f"--county-code {county!r} is not six digits, such as 110101")
        if any(not code.strip() for code in product_code or []):
            raise InvalidInput("--product-code is blank")
        wanted = SyncRequest(
            dealer or "",
            tuple(product_code or ()),
            tuple(county_code or ()),
            prices=not no_prices,
            stock=not no_stock,
            accept_shrink=accept_shrink,
        )
    with json_errors(as_json), _starting_server(), opened() as installation:
        from haier_pipeline.sync.run import resumable

        chosen = installation.dealers.choose(wanted.dealer or None)
        partitions = [Partition(name, today()) for name in chosen]
        if partitions[0].dealer == "sandbox" and not as_json:
            note(
                "No dealer is configured: this sync talks to the built-in sandbox. "
                "Set HAIER_CLIENT_ID and its companions for the real platform."
            )
        roots = {
            partition: resumable(installation.engine, partition) if resume else None
            for partition in partitions
        }
        if resume and not any(roots.values()) and not as_json:
            note("Nothing to resume: the last sync of today is complete. Starting anew.")
        _run(installation, "sync", partitions, as_json, roots, request=wanted)


def backfill(
    first: Annotated[str, typer.Option("--from", help="First day, such as 2026-11-01.")],
    last: Annotated[str, typer.Option("--to", help="Last day.")],
    dealer: Dealer = None,
    as_json: AsJson = False,
) -> None:
    """Derive prices and catalog of past days again, from what is stored, without a call."""

    begin, end = _day("--from", first), _day("--to", last)
    if begin > end:
        raise InvalidInput(f"--from {begin} is after --to {end}")
    if end > today():
        raise InvalidInput(f"--to {end} has not come yet; today is {today()} in Shanghai")
    days = [begin + timedelta(days=n) for n in range((end - begin).days + 1)]
    with json_errors(as_json), _starting_server():
        importlib.import_module("haier_pipeline.definitions")
        with opened() as installation:
            names = installation.dealers.choose(dealer)
            partitions = [Partition(name, day) for day in days for name in names]
            _run(installation, "derive", partitions, as_json)


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{option} {text!r} is not a day such as 2026-11-01") from None


def _run(
    installation: "Installation",
    job_name: str,
    partitions: Sequence[Partition],
    as_json: bool,
    roots: Mapping[Partition, str | None] | None = None,
    request: SyncRequest | None = None,
) -> NoReturn:
    """Run the job over the partitions one by one, print what came of it, and exit accordingly.

    A request for one partition is begun at once, and goes on when Dagster is there.
    """
    from haier_pipeline.catalog import log

    runs: list[dict[str, Any]] = []
    is_cancelled = False
    with ExitStack() as stack:
        dagster: _Dagster | None = None
        for partition in partitions:
            # A request that was accepted has its run's id, and its row in the log, already.
            run_id = (request.run_id if request else "") or str(uuid.uuid4())
            root = (roots or {}).get(partition)
            failure: str | None = None
            with _progress(as_json, partition.key) as progress:
                run = installation.open_run(
                    partition, run_id=run_id, root_run_id=root, progress=progress
                )
                try:
                    if request is not None and len(partitions) == 1:
                        _begin(installation, run, request)
                    if dagster is None:
                        dagster = stack.enter_context(_dagster(installation, job_name))
                    failure = dagster(run, root, request)
                except KeyboardInterrupt:
                    run.cancel()
                finally:
                    if run.works_ahead and signals.first() is not None:
                        # It came between two steps, where Dagster took it.
                        run.cancel()
                    run.close()
            is_cancelled = run.cancelled
            entries = log.entries(installation.engine, run_id=run_id, limit=100)[::-1]
            statuses = [entry.status for entry in entries]
            if (failure is not None or is_cancelled) and "failed" not in statuses:
                # No step says why: it is Dagster that stopped, or was stopped.
                statuses.append("failed")
                if failure is not None:
                    print_error(failure)
            runs.append({
                "dealer": partition.dealer,
                "sync_date": f"{partition.sync_date:%Y-%m-%d}",
                "run_id": run_id,
                "status": _worst(statuses),
                "logs": [_log(entry) for entry in entries],
            })  # fmt: skip
            if not as_json:
                _print_run(partition.key, entries)
            if is_cancelled:
                # What is left to do is to say so, however often we are told.
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, signal.SIG_IGN)
                note(CANCELLED)
                break
    status = _worst([run["status"] for run in runs])
    if as_json:
        print_json(json.dumps({"status": status, "runs": runs}, ensure_ascii=False))
    if is_cancelled:
        exit_cancelled()
    sys.exit(EXIT_OF_STATUS[status])


def _begin(installation: "Installation", run: "SyncRun", request: SyncRequest) -> None:
    """Call the platform, while Dagster is imported for what follows."""
    from haier_pipeline.orchestration.home import instance_folder
    from haier_pipeline.sync.ahead import fetch_ahead

    # Whatever would keep Dagster from working is said before the first call.
    instance_folder(installation.settings.home)
    # An import lets nobody else go on for so long, at most (seconds); the calls are to keep pace.
    sys.setswitchinterval(0.001)
    fetch_ahead(run, request)


@contextmanager
def _dagster(installation: "Installation", job_name: str) -> Iterator["_Dagster"]:
    """What runs the job over a sync; the definitions are built once for all of them."""
    from haier_pipeline.definitions import build_definitions
    from haier_pipeline.orchestration.execute import execute, open_instance
    from haier_pipeline.orchestration.resources import HaierApi

    api = HaierApi(installation)
    job = build_definitions({"haier": api}).resolve_job_def(job_name)
    with open_instance(installation.settings.home) as instance:
        gc.enable()

        def run(sync: "SyncRun", root: str | None, request: SyncRequest | None) -> str | None:
            api.adopt(sync)
            return execute(
                job,
                instance,
                sync.partition,
                run_id=sync.run_id,
                root_run_id=root,
                request=request,
            )

        yield run


def _worst(statuses: Sequence[str]) -> str:
    order = ["failed", "processing", "pending", "partial", "success"]
    worst = min(statuses, key=order.index, default="failed")
    return worst if worst in EXIT_OF_STATUS else "failed"


def _log(entry: "Entry") -> dict[str, Any]:
    names = (
        "sync_type",
        "asset_key",
        "status",
        "total_count",
        "success_count",
        "failed_count",
        "message",
        "duration",
    )
    return {name: getattr(entry, name) for name in names}


def _print_run(title: str, entries: Sequence["Entry"]) -> None:
    rows = [
        (
            entry.asset_key or "",
            (entry.status, _style(entry)),
            str(entry.total_count),
            str(entry.failed_count),
            "" if entry.duration is None else f"{entry.duration:.2f}",
            entry.message,
        )
        for entry in entries
    ]
    print_table(("asset", "status", "total", "failed", "seconds", "message"), rows, title)


def _style(entry: "Entry") -> str:
    return {"success": "green", "partial": "yellow", "failed": "red"}.get(entry.status, "cyan")


@contextmanager
def _progress(quiet: bool, title: str) -> Iterator[Any]:
    """Bars on a terminal, a line for each finished asset elsewhere, nothing with ``--json``."""
    from haier_pipeline.sync.run import NoProgress

    if quiet:
        yield NoProgress()
    elif draws():
        from rich.progress import (  # fmt: skip
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        from haier_pipeline.cli.console import errors

        columns = (
            TextColumn("{task.description:<16}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=errors, transient=True) as bars:
            yield _Bars(bars)
    else:
        yield _Lines(title)


class _Bars:
    """A bar for each asset."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def begin(self, asset: str, total: int) -> None:
        self._tasks[asset] = self._bars.add_task(asset, total=total)

    def advance(self, asset: str, done: int) -> None:
        self._bars.advance(self._tasks[asset], done)

    def end(self, asset: str, outcome: Any) -> None:
        if asset in self._tasks:
            total = max(outcome.result.total, 1)
            self._bars.update(self._tasks[asset], total=total, completed=total)


class _Lines:
    """A line for each asset that has ended."""

    def __init__(self, title: str) -> None:
        self._title = title

    def begin(self, asset: str, total: int) -> None: ...
    def advance(self, asset: str, done: int) -> None: ...

    def end(self, asset: str, outcome: Any) -> None:
        result = outcome.result
        note(f"{self._title} {asset}: {result.status}, {result.message}")


def logs(
    sync_type: Annotated[str | None, typer.Option("--type", help="Only this type.")] = None,
    status: Annotated[str | None, typer.Option(help="Only this status.")] = None,
    dealer: Annotated[str | None, typer.Option(help="Only this dealer.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the sync log, newest first."""
    from haier_pipeline.catalog import log
    from haier_pipeline.catalog.database import dump_json

    for option, value, known in (
        ("--type", sync_type, log.TYPE_LABELS),
        ("--status", status, log.STATUS_LABELS),
    ):
        if value is not None and value not in known:
            raise InvalidInput(f"{option} {value!r} is none of: {', '.join(known)}")
    with opened() as installation:
        entries = log.entries(
            installation.engine, sync_type=sync_type, status=status, dealer=dealer, limit=limit
        )
    if as_json:
        logs = [
            _log(entry)
            | {
                "id": entry.id,
                "dealer": entry.dealer,
                "sync_date": entry.sync_date and entry.sync_date.isoformat(),
                "run_id": entry.run_id,
                "attempt": entry.attempt,
                "started_at": entry.started_at and entry.started_at.isoformat(),
                "completed_at": entry.completed_at and entry.completed_at.isoformat(),
                "metadata": entry.metadata,
                "checks": entry.checks,
            }
            for entry in entries
        ]
        print_json(dump_json({"logs": logs}))
        return
    columns = ("id", "dealer", "date", "type", "asset", "status", "total", "failed", "message")
    rows = [
        (
            str(entry.id),
            entry.dealer,
            str(entry.sync_date or ""),
            " ".join(log.TYPE_LABELS[entry.sync_type]),
            entry.asset_key or "",
            (" ".join(log.STATUS_LABELS[entry.status]), _style(entry)),
            str(entry.total_count),
            str(entry.failed_count),
            entry.message,
        )
        for entry in entries
    ]
    print_table(columns, rows)
