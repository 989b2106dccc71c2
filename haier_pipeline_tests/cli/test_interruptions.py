"""Syncs that are interrupted, killed or met by another: nothing half done, and a way to go on."""

import signal
import time
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest

from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline_tests.cli.commands import Haier, catalog, execute, log, rows

CANCELLED = "cancelled; the catalog is as it was"


@pytest.fixture
def news(platform: SandboxProcess) -> SandboxProcess:
    """The platform on another day, with more products: a sync that got through would show."""
    platform.set(date="2026-06-01", products=150)
    return platform


def asked_for_stock(platform: SandboxProcess, calls: int) -> Callable[[], bool]:
    def reached() -> bool:
        return bool(platform.report()["calls"]["stock"] >= calls)

    return reached


def test_sigterm_in_the_middle_of_the_stock_calls_ends_the_sync_at_once_and_in_order(
    haier: Haier, news: SandboxProcess
) -> None:
    """Fault matrix, row 34; a second signal changes nothing."""
    before = catalog(haier.database_url, leaving_out=())
    slow = haier.with_variables(HAIER_RATE_LIMIT="50")
    with slow.started("sync", "--json") as sync:
        sync.wait_until(asked_for_stock(news, 40))
        sync.send(signal.SIGTERM)
        time.sleep(0.05)
        sync.send(signal.SIGTERM)
        ended = sync.ended()
    assert ended.seconds < 5
    assert ended.code == 143, ended.output
    assert ended.json["status"] == "failed"
    assert CANCELLED in ended.err, ended.output
    ended.assert_no_traceback()
    assert log(haier.database_url)[-1] == ("stock_levels", "failed", CANCELLED)
    assert catalog(haier.database_url, leaving_out=()) == before
    unfinished = rows(
        haier.database_url, "SELECT * FROM haier_sync_log WHERE status IN ('pending', 'processing')"
    )
    assert unfinished == []


def test_sigterm_is_heard_while_the_database_keeps_the_sync_waiting(
    haier: Haier, news: SandboxProcess
) -> None:
    """What the driver says of a statement that was broken off must not take the signal's place."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    waiting += " AND datname = current_database()"
    with psycopg.connect(haier.database_url) as blocker:
        blocker.execute("LOCK TABLE raw_payload IN ACCESS EXCLUSIVE MODE")
        with haier.started("sync") as sync:
            sync.wait_until(lambda: rows(haier.database_url, waiting) == [(1,)])
            sync.send(signal.SIGTERM)
            ended = sync.ended()
    assert ended.seconds < 5
    assert ended.code == 143, ended.output
    assert CANCELLED in ended.err
    ended.assert_no_traceback()
    assert log(haier.database_url)[-1] == ("price_quotes", "failed", CANCELLED)
    assert news.report()["calls"]["stock"] == 0


def test_a_killed_sync_goes_on_with_resume_and_gives_the_tables_of_an_undisturbed_one(
    new_haier: Callable[[], Haier], news: SandboxProcess
) -> None:
    """Fault matrix, rows 32 and 35, and B."""
    killed = new_haier()
    before = catalog(killed.database_url, leaving_out=())
    with killed.with_variables(HAIER_RATE_LIMIT="100").started("sync") as sync:
        sync.wait_until(asked_for_stock(news, 180))
        sync.kill()
    assert log(killed.database_url)[-1][:2] == ("stock_levels", "processing")
    assert catalog(killed.database_url, leaving_out=()) == before
    told = news.report()
    pairs = told["pairs"]

    resumed = killed.run("sync", "--resume", "--json")
    assert resumed.code == 0, resumed.output
    after = news.report()
    # A second's worth of calls; the fault matrix allows "the last few seconds".
    assert after["repeated"] <= 100
    assert after["pairs"] > pairs
    calls, calls_before = after["calls"], told["calls"]
    assert (calls["listing"], calls["prices"]) == (calls_before["listing"], calls_before["prices"])
    attempts = rows(
        killed.database_url,
        "SELECT root_run_id, attempt, status FROM haier_sync_log"
        " WHERE asset_key = 'stock_levels' ORDER BY id DESC LIMIT 2",
    )
    root = attempts[1][0]
    assert attempts == [(root, 2, "success"), (root, 1, "failed")]
    assert {entry["status"] for entry in resumed.json["runs"][0]["logs"]} == {"success"}

    undisturbed = new_haier()
    plain = undisturbed.run("sync", "--resume")
    assert plain.code == 0, plain.output
    assert "Nothing to resume" in plain.err
    assert catalog(undisturbed.database_url) == catalog(killed.database_url)
    assert catalog(undisturbed.database_url) != before


def test_a_plain_sync_after_a_kill_works_and_beside_a_running_one_is_refused(
    haier: Haier, news: SandboxProcess
) -> None:
    """Fault matrix, rows 35 and 36."""
    slow = haier.with_variables(HAIER_RATE_LIMIT="60")
    with slow.started("sync") as sync:
        sync.wait_until(asked_for_stock(news, 20))
        sync.kill()
    news.reset()
    with slow.started("sync", "--json") as first:
        first.wait_until(asked_for_stock(news, 20))
        # However slow this machine is, the first one is still at it when the second one comes.
        first.send(signal.SIGSTOP)
        second = slow.run("sync", "--no-stock", "--json")
        first.send(signal.SIGCONT)
        ended = first.ended()
    assert second.code == 1, second.output
    [refused] = second.json["runs"][0]["logs"]
    assert refused["status"] == "failed"
    assert "already running" in refused["message"]
    second.assert_no_traceback()
    assert ended.code == 0, ended.output
    assert news.report()["calls"]["listing"] == 1, "the refused one called nobody"
    open_rows = "SELECT count(*) FROM haier_sync_log WHERE status IN ('pending', 'processing')"
    assert rows(haier.database_url, open_rows) == [(0,)]


def test_past_days_are_derived_from_what_is_stored_and_a_day_without_is_refused_alone(
    haier: Haier, platform: SandboxProcess
) -> None:
    """Fault matrix, rows 43 and 44."""
    for table in ("raw_partition", "raw_answer"):
        execute(haier.database_url, f"UPDATE {table} SET sync_date = sync_date - 1")  # noqa: S608
    before = catalog(haier.database_url, leaving_out=())
    [(last,)] = rows(haier.database_url, "SELECT DISTINCT sync_date FROM raw_partition")
    ended = haier.run(
        "backfill", "--from", f"{last - timedelta(days=1)}", "--to", f"{last}", "--json"
    )
    assert ended.code == 1, ended.output
    without, stored = ended.json["runs"]
    assert without["status"] == "failed"
    assert "nothing is stored for this day" in without["logs"][0]["message"]
    assert (stored["sync_date"], stored["status"]) == (f"{last}", "success")
    assert platform.report()["total"] == 0
    assert catalog(haier.database_url, leaving_out=()) == before, "today's rows are newer"
