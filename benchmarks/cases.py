"""The work that is measured, and the figure asked of it.

Each case brings its own sandbox and its own home, and yields its rows of the table. How a command
is run and measured is in ``commands``. Where a case runs several times, the worst run counts.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.commands import (
    SYNC,
    Command,
    Run,
    burning,
    database,
    environment,
    new_home,
    query,
    sync,
)
from haier_pipeline.sandbox.process import SandboxProcess

PLATFORM_LATENCY_MS = (50, 200)
ALLOWANCE = 100
# The most that a configuration may ask for: no limit that a run here could meet.
UNLIMITED = 10_000
REPETITIONS = 3
#: The version of dlt that the figures were taken with.
PEER = "1.31.0"


@dataclass(frozen=True)
class Row:
    """A row of the table; ``phases`` say where the seconds of the command went."""

    work: str
    asked: str
    measured: str
    is_met: bool
    phases: Mapping[str, float] | None = None


def pace(products: int = 2_000) -> Iterator[Row]:
    """One county at the platform's latency and allowance."""
    runs: list[Run] = []
    with SandboxProcess(
        products=products, latency_ms=PLATFORM_LATENCY_MS, rate=ALLOWANCE
    ) as sandbox:
        for _ in range(REPETITIONS):
            with new_home() as home:
                runs.append(sync(home, sandbox))
    work = f"{products:,} products, 50-200 ms, {ALLOWANCE} calls/s"
    used = [run.rate / ALLOWANCE for run in runs]
    yield Row(
        f"{work}: allowance used",
        "at least 98.5 %",
        f"{min(used):.1%} (runs: {', '.join(f'{share:.1%}' for share in used)})",
        min(used) >= 0.985,
    )
    yield from _within_the_allowance(work, runs)
    slowest = max(runs, key=_beyond_the_calls)
    yield Row(
        f"{work}: command beyond its calls",
        "at most 6 s",
        f"{_beyond_the_calls(slowest):.1f} s ({slowest.seconds:.1f} s, "
        f"{slowest.calls} calls in {slowest.call_seconds:.1f} s)",
        _beyond_the_calls(slowest) <= 6,
        slowest.phases,
    )


def busy(products: int = 2_000) -> Iterator[Row]:
    """The same beside processes that use every core: no call too many, however late all is."""
    cores = os.cpu_count() or 1
    runs: list[Run] = []
    with SandboxProcess(
        products=products, latency_ms=PLATFORM_LATENCY_MS, rate=ALLOWANCE
    ) as sandbox:
        for _ in range(REPETITIONS):
            with new_home() as home, burning(cores):
                runs.append(sync(home, sandbox))
    work = f"{products:,} products, 50-200 ms, beside {cores} processes that use every core"
    yield from _within_the_allowance(work, runs)


def _within_the_allowance(work: str, runs: Sequence[Run]) -> Iterator[Row]:
    refused = sum(run.report["refused"] for run in runs)
    yield Row(f"{work}: calls refused", "none", str(refused), refused == 0)
    busiest = max(run.report["max_calls_in_a_second"] for run in runs)
    share = min(run.rate / ALLOWANCE for run in runs)
    yield Row(
        f"{work}: most calls in a second",
        f"{ALLOWANCE}",
        f"{busiest}, at least {share:.1%} of the allowance used",
        busiest <= ALLOWANCE,
    )


def fast(products: int = 2_000) -> Iterator[Row]:
    """A larger allowance, so that the program itself is the limit."""
    with (
        SandboxProcess(products=products, latency_ms=(50, 50), rate=0) as sandbox,
        new_home() as home,
    ):
        run = sync(home, sandbox, rate_limit=UNLIMITED)
        variables = environment(home, sandbox, UNLIMITED)
        with Command(("-m", "benchmarks.stock_calls"), variables) as command:
            command.wait()
            command.output.seek(0)
            each = float(json.load(command.output)["milliseconds_a_call"])
    work = f"{products:,} products, 50 ms, HAIER_RATE_LIMIT={UNLIMITED}"
    yield Row(
        work,
        "at least 600 calls/s",
        f"{run.rate:.0f} calls/s ({run.calls} calls in {run.call_seconds:.1f} s, "
        f"command {run.seconds:.1f} s)",
        run.rate >= 600,
        run.phases,
    )
    yield Row(f"{work}: processor of a stock call", "at most 0.7 ms", f"{each:.2f} ms", each <= 0.7)


def peer(products: int = 2_000) -> Iterator[Row]:
    """A pipeline in ``dlt`` beside the command, into fresh tables and into those it filled."""
    with (
        tempfile.TemporaryDirectory(prefix="haier-peer-") as folder,
        SandboxProcess(products=products, latency_ms=(50, 50), rate=0) as sandbox,
        new_home() as home,
        new_home() as other_home,
    ):
        python = str(Path(folder) / "bin" / "python")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        wanted = [python, "-m", "pip", "install", "--quiet", f"dlt[postgres]=={PEER}", "requests"]
        subprocess.run(wanted, check=True)
        script = str(Path(__file__).with_name("peer.py"))
        for tables in ("fresh tables", "known tables"):
            sandbox.reset()
            with database(other_home) as url:
                variables = environment(other_home, sandbox) | {"HAIER_DATABASE_URL": url}
                with Command((script,), variables, python) as command:
                    seconds, cpu_seconds, _ = command.wait()
            report = sandbox.report()
            rate = report["total"] / report["seconds"]
            run = sync(home, sandbox, rate_limit=UNLIMITED)
            yield Row(
                f"{products:,} products, 50 ms, {tables}: dlt | haier sync",
                "side by side",
                f"{seconds:.1f} s, {rate:.0f} calls/s, processor {cpu_seconds:.1f} s | "
                f"{run.seconds:.1f} s, {run.rate:.0f} calls/s, processor {run.cpu_seconds:.1f} s",
                run.rate >= rate,
                run.phases,
            )


def loop(products: int = 2_000) -> Iterator[Row]:
    """The sequential loop beside the command."""
    with (
        SandboxProcess(
            products=products, latency_ms=PLATFORM_LATENCY_MS, rate=ALLOWANCE
        ) as sandbox,
        new_home() as home,
    ):
        run = sync(home, sandbox)
        sandbox.reset()
        script = str(Path(__file__).with_name("sequential.py"))
        with database(home) as url:
            variables = environment(home, sandbox) | {"HAIER_DATABASE_URL": url}
            with Command((script,), variables) as command:
                seconds, _, _ = command.wait()
        calls = sandbox.report()["total"]
    yield Row(
        f"{products:,} products, 50-200 ms: sequential loop | haier sync",
        "side by side",
        f"{seconds:.1f} s, {calls} calls | {run.seconds:.1f} s, {run.calls} calls "
        f"({seconds / run.seconds:.0f} times as fast)",
        seconds > run.seconds,
    )


def small(products: int = 50) -> Iterator[Row]:
    """What the program itself takes: nearly nothing to ask, everything there already."""
    with SandboxProcess(products=products) as sandbox, new_home() as home:
        sync(home, sandbox)
        again = [sync(home, sandbox) for _ in range(REPETITIONS)]
    slowest = max(again, key=lambda run: run.seconds)
    yield Row(
        f"{products} products, no latency, second run",
        "at most 6 s",
        f"{slowest.seconds:.1f} s (runs: {', '.join(f'{run.seconds:.1f}' for run in again)}; "
        f"processor {slowest.cpu_seconds:.1f} s)",
        slowest.seconds <= 6,
        slowest.phases,
    )


def large(products: int = 20_000) -> Iterator[Row]:
    """A large catalog without any limit, and the same data once more."""
    with SandboxProcess(products=products, rate=0) as sandbox, new_home() as home:
        first = sync(home, sandbox, rate_limit=UNLIMITED)
        before = _Tables.of(home)
        again = sync(home, sandbox, rate_limit=UNLIMITED)
        after = _Tables.of(home)
    work = f"{products:,} products, no latency, no limit"
    peak = max(first.peak_mb, again.peak_mb)
    yield Row(
        f"{work}: peak memory",
        "at most 400 MB",
        f"{peak:.0f} MB (first {first.peak_mb:.0f}, again {again.peak_mb:.0f})",
        peak <= 400,
    )
    speeds = {"new": _rows_loaded(first) / first.load_seconds}
    speeds["again"] = _rows_loaded(again) / again.load_seconds
    steps = [_rows_loaded(run) / run.phases["load"] for run in (first, again)]
    yield Row(
        f"{work}: load",
        "at least 30,000 rows/s",
        ", ".join(f"{speed:,.0f} rows/s {name}" for name, speed in speeds.items())
        + f" (whole step: {steps[0]:,.0f}, {steps[1]:,.0f})",
        min(speeds.values()) >= 30_000,
        first.phases,
    )
    rewritten = after.content != before.content or after.ins_del != before.ins_del
    updated, hot = after.updated - before.updated, after.hot - before.hot
    yield Row(
        f"{work}: the same data again",
        "no row rewritten but for its time of sync",
        f"{'rows differ' if rewritten else 'no row differs'}; {updated:,} times of sync, "
        f"{hot / max(updated, 1):.1%} of them without touching an index, "
        f"tables {(after.size - before.size) / 2**20:+.1f} MB of {after.size / 2**20:.1f} MB",
        not rewritten,
        again.phases,
    )


@dataclass(frozen=True)
class _Tables:
    """The state of ``product`` and ``product_stock``; ``content`` leaves the times of sync out."""

    content: str
    ins_del: int
    updated: int
    hot: int
    size: int

    @classmethod
    def of(cls, home: Path) -> "_Tables":
        content = query(
            home,
            "SELECT (SELECT md5(string_agg((to_jsonb(p) - 'last_sync_at')::text, '' ORDER BY id))"
            " FROM product p) || (SELECT md5(string_agg((to_jsonb(s) - 'synced_at')::text, ''"
            " ORDER BY dealer, product_code, county_code, sec_code)) FROM product_stock s) AS all",
        )
        figures = query(
            home,
            "SELECT sum(n_tup_ins + n_tup_del)::int AS ins_del, sum(n_tup_upd)::int AS updated,"
            " sum(n_tup_hot_upd)::int AS hot, sum(pg_total_relation_size(relid))::bigint AS size"
            " FROM pg_stat_user_tables WHERE relname IN ('product', 'product_stock')"
            " AND schemaname = 'public'",
        )
        return cls(content[0]["all"], **figures[0])


def resume(products: int = 1_000) -> Iterator[Row]:
    """Killed in the middle of the stock calls, then resumed."""
    with (
        SandboxProcess(
            products=products, latency_ms=PLATFORM_LATENCY_MS, rate=ALLOWANCE
        ) as sandbox,
        new_home() as home,
    ):
        with Command(SYNC, environment(home, sandbox)) as command:
            while sandbox.report()["calls"]["stock"] < products // 2:
                if not command.is_running:
                    command.wait()
                time.sleep(0.05)
            command.kill()
        killed_after = sandbox.report()["total"]
        run = sync(home, sandbox, "--resume", reset=False)
    repeated = run.report["repeated"]
    yield Row(
        f"{products:,} products: killed after {killed_after} calls, then --resume",
        f"at most {3 * ALLOWANCE} calls repeated (3 s)",
        f"{repeated} repeated, {run.calls} calls in all",
        repeated <= 3 * ALLOWANCE,
    )


def two(products: int = 1_000) -> Iterator[Row]:
    """Two processes of one dealer at once, both as fast as they may."""
    with (
        SandboxProcess(
            products=products, latency_ms=PLATFORM_LATENCY_MS, rate=ALLOWANCE
        ) as sandbox,
        new_home() as home,
    ):
        other = ("-m", "benchmarks.second_process")
        with Command(other, environment(home, sandbox)) as second:
            while sandbox.report()["calls"]["stock"] < ALLOWANCE:
                if not second.is_running:
                    second.wait()
                time.sleep(0.05)
            run = sync(home, sandbox, reset=False)
    busiest, refused = run.report["max_calls_in_a_second"], run.report["refused"]
    yield Row(
        f"{products:,} products: two processes of one dealer at once",
        f"most calls in a second {ALLOWANCE}, none refused",
        f"{busiest}, {refused} refused, {run.rate / ALLOWANCE:.1%} of the allowance used",
        busiest <= ALLOWANCE and refused == 0,
    )


CASES: Mapping[str, Callable[[], Iterator[Row]]] = {
    case.__name__: case for case in (pace, busy, fast, peer, loop, small, large, resume, two)
}


def _beyond_the_calls(run: Run) -> float:
    return run.seconds - run.call_seconds


def _rows_loaded(run: Run) -> int:
    return sum(run.metadata[asset]["records"] for asset in ("products", "product_stock"))
