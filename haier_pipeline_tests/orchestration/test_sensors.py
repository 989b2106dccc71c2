"""New dealers, incidents and stale data: each decision alone, then its sensor on real tables."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from haier_pipeline import rules
from haier_pipeline.catalog.log import Attempt, Check, Result, begin, finish
from haier_pipeline.catalog.watch import LastEnd
from haier_pipeline.domain.assets import sync_type
from haier_pipeline.domain.partition import today
from haier_pipeline.orchestration.sensors import first_syncs, is_due, next_notice
from haier_pipeline.orchestration.shared import Shared
from haier_pipeline.sync import notices
from haier_pipeline.sync.notices import Incident

# Dagster deprecates the tags that it gives a run of two dimensions itself.
pytestmark = pytest.mark.filterwarnings("ignore:Non-compliant tag keys:DeprecationWarning")

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 11, 22, 12, tzinfo=SHANGHAI)
NIGHT = datetime(2026, 11, 22, 5, tzinfo=SHANGHAI)
HOUR = timedelta(hours=1)


class Robot:
    """A receiver such as WeCom's: keeps what it is sent and answers what the test tells it to."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self.status, self.answer = 200, b'{"errcode": 0, "errmsg": "ok"}'
        self.headers: dict[str, str] = {}
        robot = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                robot.received.append(json.loads(body))
                self.send_response(robot.status)
                headers = {"Content-Length": str(len(robot.answer)), **robot.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(robot.answer)

            def log_message(self, *_: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/robot/send?access_token=canary"

    @property
    def texts(self) -> list[str]:
        return [message["text"]["content"] for message in self.received]


@pytest.fixture
def robot() -> Iterator[Robot]:
    robot = Robot()
    thread = threading.Thread(target=robot.server.serve_forever, args=(0.02,))
    thread.start()
    yield robot
    robot.server.shutdown()
    thread.join()
    robot.server.server_close()


@pytest.fixture
def variables(variables: dict[str, str], robot: Robot) -> dict[str, str]:
    return {**variables, "HAIER_WEBHOOK_URL": robot.url}


@pytest.fixture
def ended(engine: Engine) -> Callable[..., None]:
    """Writes the end of an attempt to the log."""

    def write(asset: str, status: str, message: str = "", run: str = "r", *checks: Check) -> None:
        attempt = Attempt(sync_type(asset), asset, "haier", today(), run, run)
        with engine.begin() as connection:
            finish(connection, begin(engine, attempt), Result(status, message, checks=checks))

    return write


# ------------------------------------------------------------------------------------- dealers


@pytest.mark.parametrize(
    ("active", "before", "synced", "new"),
    [
        (["a", "b"], None, ["b"], ["a"]),
        (["a", "b"], ["b"], ["a", "b"], ["a"]),
        (["b"], ["a", "b"], ["b"], []),
        (["a"], ["a"], [], []),
    ],
    ids=["never synced", "enabled again", "disabled", "asked for already"],
)
def test_who_gets_a_sync_at_once(
    active: list[str], before: list[str] | None, synced: list[str], new: list[str]
) -> None:
    assert first_syncs(active, before, synced) == new


def test_a_dealer_gets_its_partition_and_its_first_sync_once(tick: Callable[..., Any]) -> None:
    first = tick("dealers")
    (request,) = first.run_requests
    assert request.partition_key == f"{today()}|haier"
    assert request.job_name in (None, "sync")
    (added,) = first.dynamic_partitions_requests
    assert list(added.partition_keys) == ["haier"]
    again = tick("dealers", first.cursor)
    assert again.run_requests == []


def test_a_dealer_of_the_table_is_met_when_it_is_enabled(
    tick: Callable[..., Any], shared: Shared, dealer_variables: dict[str, str]
) -> None:
    dealers = shared.installation.dealers
    cursor = tick("dealers").cursor
    made = dealers.create("anhui", dealer_variables, active=False)
    disabled = tick("dealers", cursor)
    assert disabled.run_requests == []
    dealers.enable(made.id)
    enabled = tick("dealers", disabled.cursor)
    assert [request.partition_key for request in enabled.run_requests] == [f"{today()}|anhui"]
    dealers.disable(made.id)
    left = tick("dealers", enabled.cursor)
    assert left.run_requests == []
    dealers.enable(made.id)
    back = tick("dealers", left.cursor)
    assert [request.partition_key for request in back.run_requests] == [f"{today()}|anhui"]
    assert back.run_requests[0].run_key != enabled.run_requests[0].run_key


# ----------------------------------------------------------------------------------- incidents


def end(status: str, *failed_checks: str, dealer: str = "haier") -> LastEnd:
    checks = [
        {"name": name, "passed": False, "severity": "ERROR", "description": "wrong"}
        for name in failed_checks
    ]
    return LastEnd(dealer, "products", today(), status, "no luck", checks)


def test_a_failure_a_failed_check_and_a_stale_dealer_are_incidents() -> None:
    assert [*notices.incidents([end("failed")], {"haier": []})] == ["haier|products"]
    checked = notices.incidents([end("success", "rows_match")], {"haier": []})
    assert [*checked] == ["haier|products|checks"]
    assert [*notices.incidents([end("success")], {"haier": ["stock is old"]})] == ["haier|fresh"]
    assert notices.incidents([end("success")], {"haier": []}) == {}


def test_a_check_that_only_warns_and_a_dealer_who_is_disabled_are_none() -> None:
    warned = end("success")
    warned.checks.append({"name": "x", "passed": False, "severity": "WARN", "description": ""})
    assert notices.incidents([warned], {"haier": []}) == {}
    assert notices.incidents([end("failed")], {"other": []}) == {}


def test_an_incident_lasts_while_nothing_is_heard_of_its_asset() -> None:
    before = [Incident("haier|prices", "haier", "", ""), Incident("gone|prices", "gone", "", "")]
    assert notices.watched(before, [], ["haier"]) == before[:1]
    assert notices.watched(before[:1], [end("success")], ["haier"]) == before[:1]
    assert notices.watched([Incident("haier|products", "haier", "", "")], [end("success")],
                           ["haier"]) == []  # fmt: skip


def test_each_incident_is_told_once_and_once_that_it_is_over() -> None:
    incident = Incident("haier|products", "haier", "products", "no luck")
    begun = next_notice({}, {incident.key: incident})
    assert begun is not None
    assert "异常" in begun.text
    assert "no luck" in begun.text
    assert next_notice(begun.after, {incident.key: incident}) is None
    over = next_notice(begun.after, {})
    assert over is not None
    assert "已恢复" in over.text
    assert over.after == {}


def test_the_robot_is_told_of_a_failure_and_of_its_end(
    tick: Callable[..., Any], ended: Callable[..., None], robot: Robot
) -> None:
    ended("products", "failed", "the platform said no")
    first = tick("notices")
    assert robot.received[0]["msgtype"] == "text"
    assert len(robot.texts) == 1
    assert "the platform said no" in robot.texts[0]
    second = tick("notices", first.cursor)
    assert len(robot.texts) == 1
    ended("products", "success", run="again")
    third = tick("notices", second.cursor)
    assert len(robot.texts) == 2
    assert "recovered" in robot.texts[1]
    assert json.loads(third.cursor) == []


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        *((503, b""), (200, b'{"errcode": 93000}'), (302, b"")),
        *((200, b""), (200, b"<html>ok</html>"), (200, b'{"ok": true}'), (200, b"[0]")),
        *((200, b'{"errcode": false}'), (200, b'{"errcode": null}'), (200, b"{" * 20_000)),
    ],
)
def test_a_notice_that_does_not_arrive_is_sent_again(
    tick: Callable[..., Any], ended: Callable[..., None], robot: Robot, status: int, answer: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    ended("products", "failed", "no luck")
    robot.status, good, robot.answer = status, robot.answer, answer
    first = tick("notices")
    assert json.loads(first.cursor) == []
    robot.status, robot.answer = 200, good
    second = tick("notices", first.cursor)
    assert len(json.loads(second.cursor)) == 1
    assert len(robot.texts) == 2
    assert "canary" not in caplog.text + str(first) + str(second)


def test_a_robot_that_is_away_says_so_without_its_address() -> None:
    with socket.socket() as taken:
        # Held and not listened to: nobody else can come to answer there.
        taken.bind(("127.0.0.1", 0))
        reason = notices.deliver(f"http://127.0.0.1:{taken.getsockname()[1]}/?key=canary", "text")
    assert reason is not None
    assert reason.startswith("the robot cannot be reached: the connection ")


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({"Content-Encoding": "gzip"}, b"\x1f\x8b\x08 no gzip at all"),
        ({"Content-Encoding": "gzip"}, gzip.compress(b'{"errcode": 0}', mtime=0)[:-4]),
        ({"Content-Length": "900"}, b'{"errcode": 0}'),
        ({"Content-Length": "9, 14"}, b'{"errcode": 0}'),
        ({}, b"\xff\xfe\x00"),
        ({}, b'{"errcode": 0, "more": "' + b"x" * 20_000 + b'"}'),
    ],
)
def test_an_answer_that_is_cut_off_or_garbled_is_one_sentence(
    robot: Robot, headers: dict[str, str], answer: bytes
) -> None:
    robot.headers, robot.answer = headers, answer
    reason = notices.deliver(robot.url, "text")
    assert reason is not None
    assert "canary" not in reason
    assert len(robot.texts) == 1


def test_a_robot_that_trickles_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "TIMEOUT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                for byte in b"HTTP/1.1 200 OK\r\n" * 20:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.05)

        thread = threading.Thread(target=trickle)
        thread.start()
        began = time.monotonic()
        reason = notices.deliver(f"http://127.0.0.1:{listener.getsockname()[1]}/", "text")
        took = time.monotonic() - began
        thread.join()
    assert reason == "the robot cannot be reached: no complete answer within 0.5 s"
    assert took < 3


def test_an_answer_in_any_coding_that_says_zero_is_a_delivery(robot: Robot) -> None:
    robot.headers, robot.answer = {"Content-Encoding": "gzip"}, gzip.compress(robot.answer)
    assert notices.deliver(robot.url, "text") is None


@pytest.mark.parametrize(
    "text", ["海" * 3000, "a" + "海" * 3000, "😀" * 900, "x" * 5000, "海\ud800"]
)
def test_a_text_is_cut_by_bytes_at_a_whole_character(robot: Robot, text: str) -> None:
    """WeCom takes 2048 bytes; half a character would make it refuse the whole."""
    assert notices.deliver(robot.url, text) is None
    (sent,) = robot.texts
    assert len(sent.encode()) <= 2048
    assert text.startswith(sent.removesuffix("…"))
    assert len(sent.encode()) > 2040 or len(text) < 10


def test_a_robot_that_never_understands_is_asked_ever_more_rarely() -> None:
    patience = notices.Patience()
    asked = []
    for minute in range(24 * 60):
        if not patience.wait(60.0 * minute):
            asked.append(minute)
            patience.note(failed=True, now=60.0 * minute)
    assert asked[:5] == [0, 1, 3, 7, 15]
    assert len(asked) < 32
    patience.note(failed=False, now=0)
    assert patience.wait(0) == 0


def test_nobody_is_told_where_no_robot_is_named(
    shared: Shared, instance: dg.DagsterInstance, settings: Any
) -> None:
    from dataclasses import replace

    from haier_pipeline.definitions import build_definitions

    silent = build_definitions(settings=replace(settings, webhook_url=None)).get_repository_def()
    context = dg.build_sensor_context(instance=instance, repository_def=silent)
    result = silent.get_sensor_def("notices").evaluate_tick(context)
    assert result.skip_message is not None
    assert "HAIER_WEBHOOK_URL is not set" in result.skip_message


# ----------------------------------------------------------------------------------- freshness


@pytest.mark.parametrize(
    ("now", "synced", "stocked", "seen", "complaints"),
    [
        (NOON, 6 * HOUR, HOUR, 99 * HOUR, 0),
        (NOON, 27 * HOUR, HOUR, 99 * HOUR, 1),
        (NOON, 6 * HOUR, 3 * HOUR, 99 * HOUR, 1),
        (NIGHT, 6 * HOUR, 7 * HOUR, 99 * HOUR, 0),
        (NOON, None, None, 99 * HOUR, 2),
        (NOON, None, None, HOUR, 0),
        (NOON, None, None, None, 0),
    ],
    ids=["fresh", "old", "old stock", "night", "never", "has just begun", "never begun"],
)
def test_what_is_stale(
    now: datetime, synced: timedelta | None, stocked: timedelta | None, seen: timedelta | None,
    complaints: int,
) -> None:  # fmt: skip
    ages = [None if age is None else now - age for age in (synced, stocked, seen)]
    assert len(rules.stale(now, *ages)) == complaints


def test_freshness_is_evaluated_when_it_changes_and_every_hour() -> None:
    last = ({"haier": ["old"]}, NOON)
    assert is_due(None, {}, NOON)
    assert not is_due(last, {"haier": ["old"]}, NOON + HOUR / 2)
    assert is_due(last, {"haier": []}, NOON + HOUR / 2)
    assert is_due(last, {"haier": ["old"]}, NOON + HOUR)


def test_the_check_fresh_is_evaluated_again_and_again(
    tick: Callable[..., Any], instance: dg.DagsterInstance, engine: Engine,
    ended: Callable[..., None],
) -> None:  # fmt: skip
    """Dagster takes an evaluation without a run only once for a partition; this has none."""
    for asset in ("price_quotes", "stock_levels", "products", "product_stock"):
        ended(asset, "success")
    first = tick("freshness")
    (event,) = first.asset_events
    assert event.passed
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE haier_sync_log SET created_at = created_at - interval '30 hours',"
                " completed_at = completed_at - interval '30 hours'"
            )
        )
    second = tick("freshness", first.cursor)
    (stale,) = second.asset_events
    assert not stale.passed
    assert "products and prices are of" in stale.description
    for evaluation in (event, stale, stale):
        instance.report_runless_asset_event(evaluation)
    assert tick("freshness", second.cursor).asset_events == []


def test_a_derived_day_does_not_make_the_catalog_fresh(
    engine: Engine, ended: Callable[..., None], shared: Shared
) -> None:
    """What was computed again from stored answers is as old as the answers."""
    from haier_pipeline.catalog.watch import last_loads

    ended("products", "success")
    assert last_loads(engine)["haier"].synced_at is None
    ended("price_quotes", "partial")
    assert last_loads(engine)["haier"].synced_at is not None
    assert last_loads(engine)["haier"].stocked_at is None


@pytest.mark.parametrize("name", ["dealers", "notices", "freshness", "sync_log"])
def test_a_look_at_nothing_new_takes_less_than_a_tenth_of_a_second(
    tick: Callable[..., Any], name: str
) -> None:
    """In processor time, which a busy machine does not change; the benchmark takes the clock."""
    cursor = tick(name).cursor
    took = []
    for _ in range(5):
        began = time.process_time()
        cursor = tick(name, cursor).cursor
        took.append(time.process_time() - began)
    assert min(took) < 0.1, took
