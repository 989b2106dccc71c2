"""The command line as an operator runs it: a child process in an environment of its own.

Starting commands, and looking at what they left, is here. What is expected of them stands in the
tests; the platform and the databases they meet, in ``conftest``.
"""

import base64
import fcntl
import json
import os
import pty
import subprocess
import sys
import termios
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import psycopg
from psycopg import sql

from haier_pipeline_tests.spellings import spellings

COMMAND = [sys.executable, "-m", "haier_pipeline.cli"]
# Makes standard input the controlling terminal, so that Ctrl-C reaches the whole group.
ON_TERMINAL = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)

CATALOG = {
    "brand": "dealer, name",
    "product": "dealer, product_code",
    "product_stock": "dealer, product_code, county_code, sec_code",
}
# Numbers and times, in which two equal catalogs may differ.
VOLATILE = (
    *("id", "brand_id", "created_at", "updated_at", "last_sync_at", "synced_at"),
    "change_xid",
)


@dataclass(frozen=True)
class Ended:
    """How a command ended; ``seconds`` is what it took."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Any:
        """Standard output, which has to be one JSON object on one line and nothing else."""
        [line] = self.out.splitlines()
        value = json.loads(line)
        assert isinstance(value, dict)
        return value

    @property
    def output(self) -> str:
        """Both streams."""
        return self.out + self.err

    def assert_no_traceback(self) -> None:
        assert "Traceback" not in self.output
        assert 'File "' not in self.output


@dataclass(frozen=True)
class Haier:
    """The command ``haier`` with these variables and, beside them, only PATH and an empty HOME."""

    variables: Mapping[str, str]

    @property
    def database_url(self) -> str:
        return self.variables["HAIER_DATABASE_URL"]

    def with_variables(self, **variables: str) -> "Haier":
        return replace(self, variables={**self.variables, **variables})

    def run(self, *arguments: str, stdin: str = "", seconds: float = 60) -> Ended:
        began = time.monotonic()
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=dict(self.variables),
            cwd=self.variables["HOME"],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=seconds,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr, time.monotonic() - began)

    @contextmanager
    def started(self, *arguments: str) -> Iterator["Running"]:
        """A command at work; ended at the end of the block where a failed test left it so."""
        child = subprocess.Popen(
            [*COMMAND, *arguments],
            env=dict(self.variables),
            cwd=self.variables["HOME"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        with child:
            try:
                yield Running(child)
            finally:
                _end(child)

    @contextmanager
    def on_terminal(self, *arguments: str) -> Iterator["Terminal"]:
        """A command on a terminal of 120 columns; its standard output is a pipe beside it."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, bytes([40, 0, 120, 0, 0, 0, 0, 0]))
        child = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL, *COMMAND, *arguments],
            env={**self.variables, "TERM": "xterm-256color"},
            cwd=self.variables["HOME"],
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
            encoding="utf-8",
        )
        os.close(slave)
        with child:
            terminal = Terminal(child, master)
            try:
                yield terminal
            finally:
                _end(child)
                terminal.close()


def _end(child: "subprocess.Popen[str]") -> None:
    """Ask first: what is killed cannot end the processes it has started itself."""
    if child.poll() is None:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(30)
        child.kill()


def together(tasks: Sequence[Callable[[], Ended]]) -> list[Ended]:
    """Run commands two at a time: most of a command's time is its own start."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda task: task(), tasks))


class Running:
    """A command that has not ended yet."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._child = child

    @property
    def pid(self) -> int:
        return self._child.pid

    def line(self) -> str:
        """The next line of its standard output."""
        assert self._child.stdout is not None
        return self._child.stdout.readline()

    def wait_until(self, reached: Callable[[], bool], seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while not reached():
            assert self._child.poll() is None, self.ended().output
            assert time.monotonic() < end
            time.sleep(0.02)

    def send(self, number: int) -> None:
        self._child.send_signal(number)

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()

    def ended(self, seconds: float = 60) -> Ended:
        """Wait for its end; the seconds are counted from here."""
        began = time.monotonic()
        out, err = self._child.communicate(timeout=seconds)
        return Ended(self._child.returncode, out, err, time.monotonic() - began)


class Terminal(Running):
    """A command whose standard input and error are a terminal."""

    def __init__(self, child: "subprocess.Popen[str]", master: int) -> None:
        super().__init__(child)
        self._master = master
        self._seen = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def shown(self) -> str:
        """All that was written to the terminal so far, control characters included."""
        return self._seen.decode("utf-8", "replace")

    def press_ctrl_c(self) -> None:
        os.write(self._master, b"\x03")

    def close(self) -> None:
        self._reader.join()
        os.close(self._master)

    def _read(self) -> None:
        # Linux says EIO where the last process has left the terminal.
        with suppress(OSError):
            while piece := os.read(self._master, 4096):
                self._seen += piece


def rows(url: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What a query finds in the database that ``HAIER_DATABASE_URL`` would name."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode(), values).fetchall()


def execute(url: str, statement: str, *values: object) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode(), values)


def catalog(url: str, *, leaving_out: Sequence[str] = VOLATILE) -> dict[str, list[Any]]:
    """Every row of the catalog's tables; with ``leaving_out=()`` to the last column."""
    return {
        table: [
            row
            for (row,) in rows(
                url, f"SELECT to_jsonb(t) - %s::text[] FROM {table} t ORDER BY {order}",  # noqa: S608
                list(leaving_out),
            )
        ]
        for table, order in CATALOG.items()
    }  # fmt: skip


def log(url: str) -> list[tuple[Any, ...]]:
    """The sync log from its beginning: asset, status, message."""
    return rows(url, "SELECT asset_key, status, message FROM haier_sync_log ORDER BY id")


def database_as_text(url: str) -> str:
    """Every value of every table, in Dagster's schema too, what is compressed there unpacked."""
    values: list[str] = []
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables"
            " WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        assert {schema for schema, _ in tables} == {"public", "dagster"}
        for schema, table in tables:
            query = sql.SQL("SELECT * FROM {}.{}").format(*map(sql.Identifier, (schema, table)))
            for row in connection.execute(query):
                values += [_text(value) for value in row]
    return "\n".join(values)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        with suppress(zlib.error):
            value = zlib.decompress(value)
        return bytes(value).decode("utf-8", "replace")
    return json.dumps(value, ensure_ascii=False, default=str)


def folder_as_text(folder: Path) -> str:
    """Every file under the folder, names included."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return "\n".join(f"{path}\n{path.read_bytes().decode('utf-8', 'replace')}" for path in files)


def forms(secret: str) -> set[str]:
    """How a secret may look where it leaked: plain, in JSON, in a URL, in base64 at any offset."""
    encoded = secret.encode()
    found = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    found |= {quote(secret, safe=""), quote(secret), quote_plus(secret), repr(encoded)[2:-1]}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            # The characters at both ends depend on the neighbours.
            text = encode(b"\0" * offset + encoded).decode()
            found.add(text[-(-offset * 8 // 6) :].rstrip("=")[:-1])
    # What a server may make of it besides; hidden characters show nothing, and are no spelling.
    return found | {one for one in spellings(secret, "canary-client") if one.isprintable()}
