"""The edges of an installation as a command meets them: folders, ports, URLs, variables, key."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine

from haier_pipeline.cli_config import _read_secrets
from haier_pipeline.domain.request import SyncRequest
from haier_pipeline.errors import InvalidInput
from haier_pipeline.orchestration.launch import ProcessLauncher
from haier_pipeline.platform.config import SECRET_FIELDS
from haier_pipeline.sandbox import CREDENTIALS
from haier_pipeline.sandbox.process import SandboxProcess
from haier_pipeline_tests.cli.commands import Haier, execute, rows
from haier_pipeline_tests.cli.conftest import DATABASE_PASSWORD
from haier_pipeline_tests.ports import free_ports


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sandbox", "--port", "99999"], "--port"),
        (["sandbox", "--faults", "{bad"], "--faults is not JSON"),
        (["sandbox", "--faults", "no-such-file"], "neither JSON nor a file"),
        (["dev", "--port", "4000", "--api-port", "4000"], "give each its own"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_unusable_value_is_refused_in_a_sentence(
    bare: Haier, arguments: list[str], sentence: str
) -> None:
    ended = bare.run(*arguments)
    assert ended.code == 2, ended.output
    assert sentence in ended.err
    ended.assert_no_traceback()


@pytest.mark.parametrize("name", ["dev", "api", "sandbox"])
def test_a_taken_port_is_refused_before_anything_is_started(bare: Haier, name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = bare.run(name, "--port", str(port))
    assert ended.code == 2, ended.output
    assert f"port {port} is taken by " in ended.err
    assert f"(process {os.getpid()})" in ended.err
    ended.assert_no_traceback()


def test_a_time_that_is_no_cron_expression_is_refused_by_dev_itself(haier: Haier) -> None:
    port, api_port = free_ports(2)
    ports = ["--port", str(port), "--api-port", str(api_port)]
    ended = haier.with_variables(HAIER_STOCK_CRON="every hour").run("dev", *ports)
    assert ended.code == 2, ended.output
    assert "HAIER_STOCK_CRON is not a cron expression" in ended.err
    ended.assert_no_traceback()


def test_an_instance_that_is_not_ours_is_refused_and_left_alone(
    haier: Haier, tmp_path: Path
) -> None:
    foreign = "storage:\n  sqlite:\n    base_dir: /tmp\n"
    (tmp_path / "dagster.yaml").write_text(foreign)
    for folder, sentence in (
        (str(tmp_path), "is another project's"),
        ("relative", "is relative; write the whole path"),
        (str(tmp_path / "nothing"), "holds no dagster.yaml"),
    ):
        ended = haier.with_variables(DAGSTER_HOME=folder).run("sync", "--json")
        assert ended.code == 2, ended.output
        assert sentence in ended.err
        assert ended.json["status"] == "failed"
        ended.assert_no_traceback()
    assert (tmp_path / "dagster.yaml").read_text() == foreign


def test_a_password_is_no_argument_of_a_child_and_stands_in_no_print(
    haier: Haier, tmp_path: Path
) -> None:
    """Wherever in the URL it stands."""
    psql = tmp_path / "psql"
    psql.write_text('#!/bin/sh\necho "arguments: $*"\ncat "$PGSERVICEFILE"\nprintenv PGPASSWORD\n')
    psql.chmod(0o755)
    url = haier.database_url.replace(f":{haier.database_url.split(':')[2].split('@')[0]}@", "@")
    assert "clerk@" in url
    secret = haier.database_url.split(":")[2].split("@")[0]
    elsewhere = haier.with_variables(
        HAIER_DATABASE_URL=f"{url}&password={secret}", PATH=f"{tmp_path}:/usr/bin:/bin"
    )
    shell = elsewhere.run("db", "shell")
    assert shell.code == 0, shell.output
    lines = shell.out.splitlines()
    assert lines[0] == "arguments: "
    assert "[haier]" in lines
    assert lines[-1] == DATABASE_PASSWORD
    assert not any(DATABASE_PASSWORD in line for line in lines[:-1])
    shown = elsewhere.run("db", "url")
    assert "password=***" in shown.out
    assert DATABASE_PASSWORD not in shown.output
    assert secret not in shown.output


def test_no_module_is_taken_from_the_folder_a_command_is_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    for name in ("json.py", "haier_pipeline.py", "typer.py"):
        (tmp_path / name).write_text("raise SystemExit('the folder ran')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HAIER_DATABASE_URL", "no url")
    home = tmp_path / "home"
    ProcessLauncher(home / "syncs", lambda: engine)(SyncRequest("haier", run_id="ordered"))
    log = home / "syncs" / "ordered.log"
    end = time.monotonic() + 60
    while "HAIER_DATABASE_URL is not a URL" not in log.read_text():
        assert "the folder ran" not in log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700
    script = Path(sys.executable).with_name("haier")
    if script.exists():
        done = subprocess.run(
            [script, "sandbox", "--faults", '[{"kind": "earthquake"}]'],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert "kind: one of" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "client_secret=s3cret\npassword=p w\n",
        "\ufeffclient_secret=s3cret\r\npassword=p w\r\n",
        "# mine\nexport HAIER_CLIENT_SECRET='s3cret'\n\nexport HAIER_PASSWORD=\"p w\"\n",
        '  client_secret = "s3cret"  \n\tpassword = p w',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_file_of_secrets_is_read_as_people_write_it(
    tmp_path: Path, text: str, encoding: str
) -> None:
    path = tmp_path / "secrets"
    path.write_bytes(text.removeprefix("\ufeff" * (encoding == "utf-16")).encode(encoding))
    assert _read_secrets(path) == {"client_secret": "s3cret", "password": "p w"}


def test_of_a_file_of_secrets_only_a_pair_of_quotes_is_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text("client_secret='a=\"#b\"'\npassword=\"half\nseller_password=it's\\n")
    assert _read_secrets(path) == {
        "client_secret": 'a="#b"',
        "password": '"half',
        "seller_password": "it's\\n",
    }
    path.write_text("password=1\npassword=c4nary\n")
    with pytest.raises(InvalidInput, match="stands there twice") as caught:
        _read_secrets(path)
    assert "c4nary" not in str(caught.value)
    path.write_bytes(b"password=\xff\xfe\xfd")
    with pytest.raises(InvalidInput, match="not a text in UTF-8"):
        _read_secrets(path)


def test_rekey_encrypts_what_is_stored_under_the_newest_key(
    new_haier: Callable[[], Haier], platform: SandboxProcess
) -> None:
    """What an older version stored, bound to no dealer, too."""
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    config = {**CREDENTIALS, "base_url": platform.url, "token_url": f"{platform.url}/oauth2/auth"}
    stored = {
        key: f"encrypted:{Fernet(old).encrypt(value.encode()).decode()}"
        if key in SECRET_FIELDS
        else value
        for key, value in config.items()
    }
    haier = new_haier()
    execute(
        haier.database_url,
        "INSERT INTO haier_config (name, config) VALUES ('anhui', %s)",
        json.dumps(stored),
    )
    ended = haier.with_variables(HAIER_SECRET_KEY=f"{new},{old}").run("db", "rekey")
    assert ended.code == 0, ended.output
    only_new = haier.with_variables(HAIER_SECRET_KEY=new)
    tried = only_new.run("config", "test", "anhui")
    assert tried.code == 0, tried.output
    [(text,)] = rows(haier.database_url, "SELECT config::text FROM haier_config")
    assert text.count("encrypted:bound:") == len(SECRET_FIELDS & config.keys())


def test_the_doctor_says_what_to_mend(haier: Haier, tmp_path: Path) -> None:
    well = haier.run("doctor", "--json")
    found = {finding["topic"] for finding in well.json["findings"] if finding["state"] == "ok"}
    assert found >= {"versions", "home", "disk", "database", "dealers", "clock"}
    # The server of the tests writes nothing down in time, and that is what it is told for.
    [bad] = [one["message"] for one in well.json["findings"] if one["state"] == "bad"]
    assert bad.startswith("fsync is off")
    assert well.code == 1
    shown = haier.run("doctor")
    assert "bad 异常  database 数据库: fsync is off" in shown.out
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    (home / "secret.key").write_text("x")
    ill = haier.with_variables(
        HAIER_HOME=str(home),
        HAIER_SYNC_CRON="now",
        HTTPS_PROXY="socks5://me:canary@proxy:99",
        REQUESTS_CA_BUNDLE="/nowhere.pem",
    ).run("doctor", "--json")
    assert ill.code == 1, ill.output
    assert ill.json["status"] == "bad"
    bad = {one["topic"] for one in ill.json["findings"] if one["state"] == "bad"}
    assert {"home", "variables", "proxy"} <= bad
    assert "canary" not in ill.output
    ill.assert_no_traceback()
    for line in ill.json["findings"]:
        assert "\n" not in line["message"]


def test_what_a_command_leaves_in_its_home_is_its_owners_alone(
    haier: Haier, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        ended = haier.with_variables(HAIER_HOME=str(tmp_path / "new")).run("sync", "--no-stock")
    finally:
        os.umask(before)
    assert ended.code == 0, ended.output
    for path in (tmp_path / "new", *(tmp_path / "new" / "dagster").rglob("dagster.yaml")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE((tmp_path / "new" / "dagster").stat().st_mode) == 0o700
