"""Files and ports of an installation: whole, their owner's alone, tried before they are used."""

import os
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from haier_pipeline.errors import CatalogError, InvalidInput
from haier_pipeline.server.files import open_private, private_folder, private_home, write_whole
from haier_pipeline.server.ports import open_to_others, require_free
from haier_pipeline.server.processes import STOP_SECONDS


def test_a_reader_meets_the_old_or_the_new_file_and_never_a_part(tmp_path: Path) -> None:
    path = tmp_path / "dagster.yaml"
    contents = [bytes([65 + n]) * 200_000 for n in range(2)]
    write_whole(path, contents[0])
    done = threading.Event()

    def rewrite() -> None:
        for n in range(200):
            write_whole(path, contents[n % 2])
        done.set()

    thread = threading.Thread(target=rewrite)
    thread.start()
    while not done.is_set():
        assert path.read_bytes() in contents
    thread.join()
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_right_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"same")
    before = path.stat()
    write_whole(path, b"same")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert stat.S_IMODE(before.st_mode) == 0o600


def test_modes_hold_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = private_folder(tmp_path / "home" / "syncs")
        os.close(open_private(folder / "log"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "log").stat().st_mode) == 0o600


def test_a_link_in_place_of_a_folder_or_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "syncs").symlink_to("elsewhere")
    (tmp_path / "log").symlink_to("target")
    with pytest.raises(CatalogError, match="is not a folder"):
        private_folder(tmp_path / "syncs")
    with pytest.raises(OSError, match="symbolic links"):
        open_private(tmp_path / "log")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("shared", ["/tmp", "/var", "/etc"])
def test_a_folder_of_the_system_is_never_closed(shared: str) -> None:
    before = Path(shared).stat().st_mode
    with pytest.raises(CatalogError):
        private_home(Path(shared))
    assert Path(shared).stat().st_mode == before


def test_a_taken_port_is_refused_with_its_holder_and_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InvalidInput) as caught:
            require_free(port, option="--api-port")
        assert str(port) in str(caught.value)
        assert f"(process {os.getpid()})" in str(caught.value)
        assert "--api-port" in str(caught.value)
        assert not open_to_others(port)
    require_free(port)
    require_free(0)


@pytest.mark.parametrize("host", ["no such host", "999.1.1.1", "x" * 300])
def test_an_address_that_is_none_is_refused_in_a_sentence(host: str) -> None:
    with pytest.raises(InvalidInput, match="check --host"):
        require_free(0, host)


def test_a_port_that_other_machines_reach_is_seen() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))  # noqa: S104 - that is what is to be seen
        taken.listen()
        assert open_to_others(taken.getsockname()[1])


# Whoever runs the tests in the background has SIGINT ignored, and children inherit that.
PARENT = """
import signal
import sys
from pathlib import Path
from haier_pipeline.server.processes import run_together
signal.signal(signal.SIGINT, signal.default_int_handler)
code = "import os, time; os.fork(); print(os.getpid(), flush=True); time.sleep(60)"
child = [sys.executable, "-c", code]
run_together([child, child], folder=Path(sys.argv[1]), environment={})
"""


def test_the_children_end_with_their_parent_even_where_it_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(parent.stdout.readline()) for _ in range(4)]
        parent.kill()
        # A signal may come before Python can take it: those are killed after the wait.
        end = time.monotonic() + STOP_SECONDS + 20
        while alive := [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists()
                        and Path(f"/proc/{pid}/cmdline").read_bytes()]:  # fmt: skip
            assert time.monotonic() < end, alive
            time.sleep(0.05)
