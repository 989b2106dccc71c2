"""The command line: parse, call, print.

What a command does belongs to the modules it calls. They are imported inside the commands, so that
``haier --help`` and a usage error answer at once.
"""

import atexit
import gc
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import traceback
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import date, timedelta
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.markup import escape
from rich.table import Table

from haier_pipeline import cli_config
from haier_pipeline.cli_config import CANCELLED, opened
from haier_pipeline.domain.partition import Partition, today
from haier_pipeline.errors import Cancelled, HaierError, InvalidConfig, InvalidInput
from haier_pipeline.settings import Settings, read_settings
from haier_pipeline.terminal import Console, print_json, print_line, steady

if TYPE_CHECKING:
    from haier_pipeline.catalog.log import Entry
    from haier_pipeline.domain.request import SyncRequest
    from haier_pipeline.installation import Installation
    from haier_pipeline.server.postgres import EmbeddedPostgres


class Exit(IntEnum):
    """What a command's exit code means."""

    SUCCESS = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3


EXIT_OF_STATUS = {"success": Exit.SUCCESS, "partial": Exit.PARTIAL, "failed": Exit.FAILED}
STATUS_STYLES = {"success": "green", "partial": "yellow", "failed": "red"}

app = typer.Typer(
    name="haier",
    help="Keeps a Haier dealer's catalog in PostgreSQL: products, prices and stock.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
database = typer.Typer(help="The database.", no_args_is_help=True)
app.add_typer(database, name="db")

errors = Console(stderr=True, highlight=False, soft_wrap=True)

Dealer = Annotated[str | None, typer.Option(help="Only this dealer; without it every active one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def main() -> None:
    """Run the command line; an error of ours becomes one sentence and an exit code."""
    # A terminated sync ends like an interrupted one: rolled back, its log rows closed.
    signal.signal(signal.SIGTERM, lambda *_: _interrupt())
    # A shell starts what it runs in the background with SIGINT ignored, and so would our children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _signals.listen()
    steady()
    # At its end the interpreter would look through all that was imported once more, for 0.6 s.
    atexit.register(gc.freeze)
    try:
        app()
    except HaierError as error:
        _fail(error)
    except SystemExit as end:
        # A command that was broken off says by which signal; one that got through says how.
        if end.code == Exit.FAILED and (number := _signals.first()) is not None:
            sys.exit(128 + number)
        raise
    except KeyboardInterrupt:
        _exit_cancelled()
    except Exception as error:  # noqa: BLE001 - a defect of ours; its traceback helps no dealer
        _fail_unexpectedly(error)


class _Signals:
    """Which of SIGINT and SIGTERM came first.

    Handlers cannot tell: while a run works, Dagster has its own and makes no difference.
    """

    def __init__(self) -> None:
        self._pipe = -1
        self._first: int | None = None

    def listen(self) -> None:
        self._pipe, end = os.pipe()
        os.set_blocking(self._pipe, False)
        os.set_blocking(end, False)
        signal.set_wakeup_fd(end, warn_on_full_buffer=False)

    def first(self) -> int | None:
        with suppress(BlockingIOError):
            for number in os.read(self._pipe, 4096):
                if self._first is None and number in (signal.SIGINT, signal.SIGTERM):
                    self._first = number
        return self._first


_signals = _Signals()


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


def _exit_cancelled() -> NoReturn:
    sys.exit(128 + (_signals.first() or signal.SIGINT))


def _fail_unexpectedly(error: Exception) -> NoReturn:
    """Say where a defect showed itself. Not the error's own words: they might hold a secret."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    errors.print(
        f"[red]error:[/red] unexpected {type(error).__name__} in"
        f" {escape(Path(place.filename).name)}:{place.lineno}; the catalog is as it was."
        " Please report this line"
    )
    sys.exit(Exit.FAILED)


def _fail(error: HaierError) -> NoReturn:
    errors.print(f"[red]error:[/red] {escape(str(error))}")
    if isinstance(error, Cancelled):
        _exit_cancelled()
    usage = isinstance(error, InvalidInput) and not isinstance(error, InvalidConfig)
    sys.exit(Exit.USAGE if usage else Exit.FAILED)


@contextmanager
def _head_start() -> Iterator[None]:
    """Start the embedded server while Dagster and pandas are imported, which takes as long."""
    settings = read_settings(os.environ)
    with ExitStack() as stack:
        if settings.database_url is None:
            from haier_pipeline.server.postgres import EmbeddedPostgres

            server = EmbeddedPostgres(settings.home)
            starting = threading.Thread(target=_start_quietly, args=(server,))
            starting.start()
            stack.callback(server.stop)
            stack.callback(starting.join)
        importlib.import_module("haier_pipeline.definitions")
        yield


def _start_quietly(server: "EmbeddedPostgres") -> None:
    # Whoever needs the server joins it right after this, and then says what is wrong with it.
    with suppress(HaierError):
        server.start()


@app.command()
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
    from haier_pipeline.domain.partition import Partition, today
    from haier_pipeline.domain.product import is_county_code
    from haier_pipeline.domain.request import SyncRequest

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
    with _json_errors(as_json), _head_start(), opened() as installation:
        from haier_pipeline.sync.run import resumable

        chosen = installation.dealers.choose(wanted.dealer or None)
        partitions = [Partition(name, today()) for name in chosen]
        if partitions[0].dealer == "sandbox" and not as_json:
            errors.print(
                "No dealer is configured: this sync talks to the built-in sandbox. "
                "Set HAIER_CLIENT_ID and its companions for the real platform."
            )
        roots = {
            partition: resumable(installation.engine, partition) if resume else None
            for partition in partitions
        }
        if resume and not any(roots.values()) and not as_json:
            errors.print("Nothing to resume: the last sync of today is complete. Starting anew.")
        _run(installation, "sync", partitions, as_json, roots, request=wanted)


@app.command()
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
    with _json_errors(as_json), _head_start(), opened() as installation:
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
    partitions: Sequence[Any],
    as_json: bool,
    roots: Mapping[Any, str | None] | None = None,
    request: "SyncRequest | None" = None,
) -> NoReturn:
    """Run the job over the partitions one by one, print what came of it, and exit accordingly."""
    from haier_pipeline.catalog import log
    from haier_pipeline.definitions import build_definitions
    from haier_pipeline.orchestration.execute import execute, open_instance
    from haier_pipeline.orchestration.resources import HaierApi

    runs: list[dict[str, Any]] = []
    with open_instance(installation.settings.home) as instance:
        for partition in partitions:
            # A request that was accepted has its run's id, and its row in the log, already.
            run_id = (request.run_id if request else "") or str(uuid.uuid4())
            with _progress(as_json, partition.key) as progress:
                api = HaierApi(installation, progress)
                job = build_definitions({"haier": api}).resolve_job_def(job_name)
                try:
                    failure = execute(
                        job,
                        instance,
                        partition,
                        run_id=run_id,
                        root_run_id=(roots or {}).get(partition),
                        request=request,
                    )
                finally:
                    api.close()
            entries = log.entries(installation.engine, run_id=run_id, limit=100)[::-1]
            statuses = [entry.status for entry in entries]
            if failure is not None and "failed" not in statuses:
                # No step says why: it is Dagster that stopped.
                statuses.append("failed")
                errors.print(f"[red]error:[/red] {escape(failure)}")
            runs.append({
                "dealer": partition.dealer,
                "sync_date": f"{partition.sync_date:%Y-%m-%d}",
                "run_id": run_id,
                "status": _worst(statuses),
                "logs": [_log(entry) for entry in entries],
            })  # fmt: skip
            if not as_json:
                _print_run(partition.key, entries)
            if api.cancelled:
                # What is left to do is to say so, however often we are told.
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, signal.SIG_IGN)
                errors.print(CANCELLED)
                break
    status = _worst([run["status"] for run in runs])
    if as_json:
        print_json(json.dumps({"status": status, "runs": runs}, ensure_ascii=False))
    if api.cancelled:
        _exit_cancelled()
    sys.exit(EXIT_OF_STATUS[status])


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
    table = _table("asset", "status", "total", "failed", "seconds", "message", title=title)
    for entry in entries:
        style = STATUS_STYLES.get(entry.status, "")
        table.add_row(
            entry.asset_key or "",
            f"[{style}]{entry.status}[/{style}]" if style else entry.status,
            str(entry.total_count),
            str(entry.failed_count),
            "" if entry.duration is None else f"{entry.duration:.2f}",
            escape(entry.message),
        )
    _out().print(table)


@contextmanager
def _json_errors(as_json: bool) -> Iterator[None]:
    """With ``--json``, an error that ends the command is the one object on standard output."""
    try:
        try:
            yield
        except KeyboardInterrupt:
            raise Cancelled(CANCELLED) from None
    except Exception as error:
        if as_json:
            ours = isinstance(error, HaierError)
            message = str(error) if ours else f"unexpected {type(error).__name__}"
            failed = {"status": "failed", "runs": [], "message": message}
            print_json(json.dumps(failed, ensure_ascii=False))
        raise


@contextmanager
def _progress(quiet: bool, title: str) -> Iterator[Any]:
    """Bars on a terminal, a line for each finished asset elsewhere, nothing with ``--json``."""
    from haier_pipeline.sync.run import NoProgress

    if quiet:
        yield NoProgress()
    elif errors.is_terminal:
        from rich.progress import (  # fmt: skip
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

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
        errors.print(escape(f"{self._title} {asset}: {result.status}, {result.message}"))


@app.command()
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
        rows = [
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
        print_json(dump_json({"logs": rows}))
        return
    table = _table("id", "dealer", "date", "type", "asset", "status", "total", "failed", "message")
    for entry in entries:
        style = STATUS_STYLES.get(entry.status, "cyan")
        table.add_row(
            str(entry.id),
            escape(entry.dealer),
            str(entry.sync_date or ""),
            " ".join(log.TYPE_LABELS[entry.sync_type]),
            entry.asset_key or "",
            f"[{style}]{' '.join(log.STATUS_LABELS[entry.status])}[/{style}]",
            str(entry.total_count),
            str(entry.failed_count),
            escape(entry.message),
        )
    _out().print(table)


def _table(*columns: str, title: str | None = None) -> Table:
    """A table in which only the messages, in the last column, are folded."""
    table = Table(title=title, title_justify="left")
    for column in columns[:-1]:
        right = column in ("total", "failed", "seconds")
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    return table


def _out() -> Console:
    """Standard output; where it is no terminal, wide enough that lines need no folding."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


@app.command()
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
        errors.print(f"Dealers:      {escape(', '.join(names))}")
        errors.print(f"Database:     {escape(_shown_url(installation))}")
        errors.print(f"Dagster:      http://127.0.0.1:{port}")
        errors.print(f"Admin pages:  http://127.0.0.1:{api_port}/admin/")
        errors.print(f"REST:         http://127.0.0.1:{api_port}/docs")
        if not installation.settings.api_tokens:
            from haier_pipeline.web.auth import new_token

            secret, environment["HAIER_API_TOKENS"] = new_token("dev", "operator")
            errors.print(f"Token:        {secret}  (until Ctrl-C; log in with it)")
        dagster = [*SAFE_PYTHON, "-m", "haier_pipeline.orchestration.dev"]
        dagster += ["--log-level", "warning"]
        dagster += ["-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
        api = [*SAFE_PYTHON, "-m", "haier_pipeline.cli", "api", "--port", str(api_port)]
        sys.exit(run_together([dagster, api], folder=home, environment=environment))


def _prepare_instance(settings: Settings, dealers: Sequence[str]) -> Path:
    from haier_pipeline.orchestration.execute import dagster_home, open_instance
    from haier_pipeline.orchestration.partitions import dealers as dimension

    home = dagster_home(settings.home)
    with open_instance(settings.home) as instance:
        instance.add_dynamic_partitions(str(dimension.name), list(dealers))
    return home


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look at this installation and say what to mend; exit 1 where something is bad."""
    from haier_pipeline.doctor import STATES, TOPICS, examine

    try:
        findings = list(examine(read_settings(os.environ), os.environ))
    except KeyboardInterrupt:
        raise Cancelled("cancelled") from None
    worst = max((list(STATES).index(one.state) for one in findings), default=0)
    if as_json:
        status = list(STATES)[worst]
        lines = [
            {"topic": one.topic, "state": one.state, "message": one.message} for one in findings
        ]
        print_json(json.dumps({"status": status, "findings": lines}, ensure_ascii=False))
    else:
        styles = {"ok": "green", "warn": "yellow", "bad": "red"}
        out = Console(highlight=False, soft_wrap=True)
        for one in findings:
            state = f"[{styles[one.state]}]{one.state} {STATES[one.state]}[/]"
            topic = f"{one.topic} {TOPICS[one.topic]}"
            out.print(f"{state}  {topic}: {escape(one.message)}")
    sys.exit(Exit.FAILED if findings and list(STATES)[worst] == "bad" else Exit.SUCCESS)


@app.command()
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


@database.command()
def upgrade() -> None:
    """Bring the tables to the newest version."""
    with opened() as installation:
        installation.upgrade()
    Console().print("The tables are up to date.")


@database.command()
def rekey() -> None:
    """Encrypt all stored secrets anew under the newest key of HAIER_SECRET_KEY."""
    with opened() as installation:
        count = installation.dealers.encrypt_anew()
    print_line(f"Encrypted anew: {count} dealers. The older keys are not needed for them any more.")


@database.command()
def url() -> None:
    """Print the database's address, without its password."""
    with opened() as installation:
        print_line(_shown_url(installation))


def _shown_url(installation: "Installation") -> str:
    from haier_pipeline.catalog.address import shown
    from haier_pipeline.catalog.database import parse_url

    return shown(parse_url(installation.database_url()))


@database.command()
def shell() -> None:
    """Open psql on the database."""
    from haier_pipeline.catalog.address import for_child
    from haier_pipeline.catalog.database import parse_url

    with opened() as installation:
        _ = installation.engine
        own = installation.embedded
        program = shutil.which("psql") if own is None else str(own.psql)
        if program is None:
            raise InvalidInput("psql is not installed; install PostgreSQL's client")
        with for_child(parse_url(installation.database_url())) as variables:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            ended = subprocess.run([program], env=os.environ | variables, check=False)
        sys.exit(ended.returncode if ended.returncode >= 0 else 128 - ended.returncode)


# At the end, since the help lists commands in the order in which they were added.
app.command()(cli_config.api)
app.add_typer(cli_config.config, name="config")
app.add_typer(cli_config.token, name="token")


if __name__ == "__main__":
    main()
