"""The sandbox as a process: it starts at once, serves fast, and never outlives its parent."""

import contextlib
import datetime as dt
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

import haier_pipeline
from haier_pipeline.errors import HaierError, InvalidInput
from haier_pipeline.sandbox.__main__ import _arguments
from haier_pipeline.sandbox.catalog import SandboxCatalog
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline.sandbox.server import RunningSandbox

if TYPE_CHECKING:
    from haier_pipeline_tests.sandbox.conftest import Dealer

ROOT = Path(haier_pipeline.__file__).parents[1]


def is_serving(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=2).close()
    except ConnectionError:
        return False
    return True


def ends_within(url: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_serving(url):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_process_serves_its_settings_and_ends_with_the_block() -> None:
    rule = {"kind": "html", "interface": "logistics"}
    with SandboxProcess(products=7, date=dt.date(2026, 1, 2), seed=5, faults=[rule]) as sandbox:
        url = sandbox.url
        os.kill(sandbox.pid, 0)
        settings = sandbox.set(rate=50)
        assert (settings["products"], settings["seed"], settings["rate"]) == (7, 5, 50)
        assert settings["date"] == "2026-01-02"
        sandbox.fault(kind="empty", interface="balance", times=1)
        assert [rule["kind"] for rule in sandbox.faults()] == ["html", "empty"]
        with pytest.raises(InvalidInput, match="colour"):
            sandbox.fault(kind="empty", colour=1)
        sandbox.clear_faults()
        assert sandbox.faults() == []
        sandbox.reset(faults=True, tokens=True)
        assert sandbox.report()["total"] == 0
    assert not is_serving(url)
    with pytest.raises(HaierError):
        _ = sandbox.pid


def test_a_process_that_cannot_start_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HaierError, match="did not start"):
        SandboxProcess(products=-1).start()
    assert "products" in capfd.readouterr().err


def test_the_sandbox_does_not_outlive_a_killed_parent() -> None:
    program = (
        "import time\n"
        "from haier_pipeline.sandbox.process import SandboxProcess\n"
        "with SandboxProcess() as sandbox:\n"
        "    print(sandbox.url, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        url = parent.stdout.readline().strip()
        assert is_serving(url)
        parent.kill()
        parent.wait()
    assert ends_within(url, 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_alone_it_prints_one_line_and_serves_until_a_signal(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "haier_pipeline.sandbox", "--products", "3"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdout is not None
        line = json.loads(child.stdout.readline())
        assert list(line) == ["url"]
        assert is_serving(line["url"])
        child.send_signal(number)
        assert child.wait(timeout=5) == 0
        assert child.stdout.read() == ""


def test_a_hanging_answer_does_not_hold_up_the_end(new_dealer: "type[Dealer]") -> None:
    with SandboxProcess() as sandbox:
        sandbox.fault(kind="hang", seconds=60)
        with new_dealer(sandbox.url).open("token"):
            started = time.monotonic()
            sandbox.stop()
        assert time.monotonic() - started < 3


def test_arguments_become_settings_and_faults(tmp_path: Path) -> None:
    rules = tmp_path / "faults.json"
    rules.write_text('[{"kind": "empty"}, {"kind": "drip", "interval": 2}]', "utf-8")
    given = f"--latency-ms 5-7 --rate 0 --counties 110101,310101 --faults {rules}".split()
    _, settings, faults = _arguments([*given, "--date", "2026-11-22"])
    assert settings.latency_ms == (5.0, 7.0)
    assert settings.counties == ("110101", "310101")
    assert settings.date == dt.date(2026, 11, 22)
    assert [rule.kind for rule in faults] == ["empty", "drip"]
    assert [rule.kind for rule in _arguments(["--faults", '{"kind": "html"}'])[2]] == ["html"]
    forms = _arguments(["--rate", "7", "--settings", '{"rate": 8, "token_form": "bearer"}'])[1]
    assert (forms.rate, forms.token_form) == (8, "bearer")
    for wrong in (
        ["--settings", "[]"],
        ["--settings", '{"x": 1}'],
        ["--rate", "-1"],
        ["--faults", '{"kind": "x"}'],
        ["--faults", "/no/file"],
    ):
        with pytest.raises(SystemExit), contextlib.redirect_stderr(None):
            _arguments(wrong)


def test_a_large_listing_costs_only_its_bytes_the_second_time(
    running: RunningSandbox, dealer: "Dealer"
) -> None:
    running.sandbox.use(running.sandbox.settings.changed({"products": 20_000}))
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        answer = dealer.call("listing")
        seconds.append(time.monotonic() - started)
        assert len(answer.json) == 20_000
    assert min(seconds[1:]) < seconds[0] / 2


@pytest.mark.alone
def test_one_process_serves_hundreds_of_calls_a_second(new_dealer: "type[Dealer]") -> None:
    """Loosely bounded, since other work may share the machine: thousands are usual."""
    with SandboxProcess(products=200, rate=0) as sandbox:
        dealer = new_dealer(sandbox.url).login()
        codes = SandboxCatalog(1, 200).codes()

        def ask(share: list[str]) -> None:
            with dealer.open("stock", productCode=share[0]) as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for code in share[1:]:
                    assert sock.recv(65_536).startswith(b"HTTP/1.1 200")
                    sock.sendall(dealer.request("stock", productCode=code))
                assert sock.recv(65_536).startswith(b"HTTP/1.1 200")

        threads = [threading.Thread(target=ask, args=(codes[place::8] * 5,)) for place in range(8)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - started
        report = sandbox.report()
    assert report["calls"]["stock"] == 1000
    assert report["pairs"] == 200
    assert report["repeated"] >= 800 - 8
    assert 1000 / seconds > 300


def test_latency_is_spent_beside_other_calls_and_not_before_them(
    running: RunningSandbox, dealer: "Dealer"
) -> None:
    running.sandbox.use(running.sandbox.settings.changed({"latency_ms": [150, 200]}))
    threads = [threading.Thread(target=dealer.call, args=("balance",)) for _ in range(10)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.15 <= time.monotonic() - started < 1.2
