"""Starts the sandbox as a child process and talks to its controls.

For whoever needs a platform beside the pipeline: tests, demonstrations, the default dealer. The
child ends with the block, and with its parent should that be killed.
"""

import datetime as dt
import http.client
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import haier_pipeline
from haier_pipeline.errors import HaierError, InvalidInput


class SandboxProcess:
    """``with SandboxProcess(products=50) as sandbox:`` serves at ``sandbox.url``.

    ``latency_ms`` bounds the time of an answer, ``rate`` the calls a second of one client (0: no
    limit), ``date`` pins the catalog's day (None: today in Shanghai), ``faults`` are rules as in
    ``faults``; any further setting of ``server.Settings`` can be changed with ``set``. ``port`` 0
    takes a free one. ``orders`` is the file in which the order side keeps its orders, in memory
    where it is left out; ``callback_url`` is where the dealer is called back.
    """

    def __init__(
        self,
        *,
        products: int = 50,
        latency_ms: tuple[float, float] = (0, 0),
        rate: int = 100,
        date: dt.date | str | None = None,
        faults: Sequence[Mapping[str, Any]] = (),
        seed: int = 1,
        counties: Sequence[str] = (),
        port: int = 0,
        orders: Path | None = None,
        callback_url: str | None = None,
    ) -> None:
        options = {
            "--port": port,
            "--products": products,
            "--latency-ms": f"{latency_ms[0]}-{latency_ms[1]}",
            "--rate": rate,
            "--seed": seed,
            "--faults": json.dumps(list(faults)),
        }
        if date is not None:
            options["--date"] = str(date)
        if counties:
            options["--counties"] = ",".join(counties)
        if orders is not None:
            options["--orders"] = orders
        if callback_url is not None:
            options["--settings"] = json.dumps({"callback_url": callback_url})
        self._command = [sys.executable, "-m", "haier_pipeline.sandbox", "--with-parent"]
        for name, value in options.items():
            self._command += [name, str(value)]
        self._child: subprocess.Popen[bytes] | None = None
        self._url = ""

    @property
    def url(self) -> str:
        return self._url

    @property
    def pid(self) -> int:
        if self._child is None:
            raise HaierError("the sandbox is not running")
        return self._child.pid

    def start(self) -> Self:
        """Returns once the sandbox serves; ``HaierError`` where it could not start."""
        self._child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # From here the package is found, whether installed or not.
            cwd=Path(haier_pipeline.__file__).parents[1],
        )
        assert self._child.stdout is not None  # noqa: S101 - tells mypy of the pipe above
        line = self._child.stdout.readline()
        if not line:
            self.stop()
            raise HaierError("the sandbox did not start; its own words are on standard error")
        self._url = json.loads(line)["url"]
        return self

    def stop(self) -> None:
        """Ends the child; harmless where it has ended already."""
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def report(self) -> dict[str, Any]:
        """What it saw; see ``report.Report.figures``."""
        figures: dict[str, Any] = self._control("GET", "report")
        return figures

    def fault(self, **rule: Any) -> None:
        """Adds one rule; ``InvalidInput`` names a wrong key."""
        self._control("POST", "faults", [rule])

    def faults(self) -> list[dict[str, Any]]:
        """The rules in force, with how often each was met (``seen``) and struck (``fired``)."""
        rules: list[dict[str, Any]] = self._control("GET", "faults")
        return rules

    def clear_faults(self) -> None:
        self._control("DELETE", "faults")

    def set(self, **settings: Any) -> dict[str, Any]:
        """Changes settings; returns all of them."""
        now: dict[str, Any] = self._control("POST", "settings", settings)
        return now

    def reset(self, *, faults: bool = False, tokens: bool = False, orders: bool = False) -> None:
        """Forgets the report; the faults, the tokens and the orders too where asked."""
        self._control("POST", "reset", {"faults": faults, "tokens": tokens, "orders": orders})

    def orders(self) -> list[dict[str, Any]]:
        """The orders that it has taken, as they stand."""
        orders: list[dict[str, Any]] = self._control("GET", "orders")
        return orders

    def tell(self, so_id: str, do: str, **more: Any) -> dict[str, Any]:
        """Has an order do something at once; see ``orders.Desk.tell``."""
        order: dict[str, Any] = self._control("POST", "orders", {"so_id": so_id, "do": do, **more})
        return order

    def callbacks(self) -> list[dict[str, Any]]:
        """The callbacks that there were, sent or kept."""
        callbacks: list[dict[str, Any]] = self._control("GET", "callbacks")
        return callbacks

    def _control(self, method: str, topic: str, value: object = None) -> Any:
        connection = http.client.HTTPConnection(urlsplit(self._url).netloc, timeout=30)
        try:
            body = None if value is None else json.dumps(value, default=str)
            connection.request(method, f"/_sandbox/{topic}", body)
            answer = connection.getresponse()
            content = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise InvalidInput(content["message"])
        return content
