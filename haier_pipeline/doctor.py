"""A look at an installation: what an operator has to mend, one line each.

Questions only, asked one by one: what cannot be asked becomes a line too. It changes nothing but
what every start does: it starts the embedded database and brings the tables up to date. What the
database says is asked in ``catalog.views.database_findings``.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from haier_pipeline.catalog.views import database_findings
from haier_pipeline.errors import HaierError
from haier_pipeline.installation import Installation
from haier_pipeline.server.files import owner_name
from haier_pipeline.server.ports import open_to_others
from haier_pipeline.settings import Settings
from haier_pipeline.sync.dealers import SANDBOX_DEALER

Said = tuple[str, str]

STATES: Mapping[str, str] = {"ok": "正常", "warn": "注意", "bad": "异常"}
TOPICS: Mapping[str, str] = {
    "versions": "版本",
    "home": "目录",
    "disk": "磁盘",
    "variables": "变量",
    "proxy": "代理",
    "ports": "端口",
    "database": "数据库",
    "key": "密钥",
    "dealers": "经销商",
    "clock": "时钟",
}
#: Ports that belong on a loopback address: Dagster's interface, REST, the sandbox.
PORTS = (3000, 8300, 8400)
LITTLE_ROOM, NO_ROOM = 5 * 1024**3, 1024**3
PATIENCE = 5.0
MOST_SKEW = 60.0


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at (a key of ``TOPICS``), how it is, and what to do about it."""

    topic: str
    state: str
    message: str


def examine(settings: Settings, variables: Mapping[str, str]) -> Iterator[Finding]:
    """Look at everything, the quick things first."""
    yield from _asked("versions", _versions)
    yield from _asked("home", lambda: _home(settings.home))
    yield from _asked("disk", lambda: _disk(settings.home))
    yield from _asked("variables", lambda: _variables(settings, variables))
    yield from _asked("proxy", lambda: _proxy(variables))
    yield from _asked("ports", _ports)
    with Installation(settings) as installation:
        database = list(
            _asked(
                "database", lambda: iter(database_findings.look(installation.engine, time.time()))
            )
        )
        yield from database
        # Where it answers at all, its version comes first.
        if database[0].state != "ok":
            return
        yield from _asked("key", lambda: _key(installation))
        yield from _asked("dealers", lambda: _dealers(installation))
        yield from _asked("clock", lambda: _clocks(installation))


def _asked(topic: str, look: Callable[[], Iterator[Said]]) -> Iterator[Finding]:
    try:
        for state, said in look():
            yield Finding(topic, state, said)
    except HaierError as error:
        yield Finding(topic, "bad", str(error))
    except OSError as error:
        yield Finding(topic, "warn", f"this cannot be looked at: {error.strerror or error}")
    except Exception as error:  # noqa: BLE001 - the other lines are still of use
        yield Finding(topic, "warn", f"this cannot be looked at: unexpected {type(error).__name__}")


def _versions() -> Iterator[Said]:
    names = ("haier-pipeline", "dagster", "dagster-webserver", "dagster-postgres")
    found = {name: importlib.metadata.version(name) for name in names}
    python = ".".join(map(str, sys.version_info[:3]))
    yield (
        "ok",
        ", ".join(f"{name} {version}" for name, version in found.items()) + (f", Python {python}"),
    )
    if found["dagster"] != found["dagster-webserver"]:
        yield "bad", "dagster and dagster-webserver differ: install the locked versions"


def _home(home: Path) -> Iterator[Said]:
    if not home.exists():
        yield "ok", f"{home} is made at the first start"
        return
    found = home.stat()
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        yield "bad", f"{home} belongs to {owner_name(found.st_uid)}: run as that user"
        return
    open_ones = [
        str(path)
        for path in (home, *(home / name for name in ("dagster", "syncs", "secret.key")))
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o007
    ]
    if open_ones:
        yield "bad", f"others may read {', '.join(open_ones)}: chmod -R o-rwx {home}"
    else:
        yield "ok", f"{home} is its owner's alone"


def _disk(home: Path) -> Iterator[Said]:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    said = f"{free / 1024**3:.1f} GB free for {home}"
    if free < NO_ROOM:
        yield "bad", f"{said}: free some before the next sync"
    elif free < LITTLE_ROOM:
        yield "warn", f"{said}: free some, or lower the retention"
    else:
        yield "ok", said


def _variables(settings: Settings, variables: Mapping[str, str]) -> Iterator[Said]:
    from haier_pipeline.definitions import build_definitions
    from haier_pipeline.web.auth import Tokens

    # Both raise a sentence that names the variable.
    build_definitions(settings=settings)
    if len(Tokens(settings.api_tokens)) == 0:
        yield "warn", "HAIER_API_TOKENS is not set: REST and the admin pages let nobody in"
    if "*" in settings.cors_origins:
        yield "bad", "HAIER_CORS_ORIGINS is *: every web page may call REST; name the origins"
    if settings.webhook_url and urlsplit(settings.webhook_url).scheme != "https":
        yield "warn", "HAIER_WEBHOOK_URL is not https: its key can be read on the way"
    folder = variables.get("DAGSTER_HOME", "")
    if folder and not Path(folder).is_absolute():
        yield "bad", "DAGSTER_HOME is relative: write the whole path"
    known = sorted(name for name in variables if name.startswith("HAIER_"))
    yield "ok", f"set: {', '.join(known)}" if known else "none is set: the defaults hold"


def _proxy(variables: Mapping[str, str]) -> Iterator[Said]:
    seen = False
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        value = variables.get(name, "")
        if not value:
            continue
        seen = True
        try:
            parts = urlsplit(value if "://" in value else f"http://{value}")
            where = f"{parts.hostname}:{parts.port or ''}".rstrip(":")
        except ValueError:
            yield "bad", f"{name} is no address with a port such as http://proxy:3128"
            continue
        if parts.scheme.startswith("socks") and importlib.util.find_spec("socks") is None:
            yield "bad", f"{name} is a SOCKS proxy, for which PySocks is not installed"
        else:
            yield "ok", f"{name} leads through {where}"
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        value = variables.get(name, "")
        if value and not Path(value).exists():
            yield "bad", f"{name} names {value}, which is not there"
    if not seen:
        yield "ok", "none is set"


def _ports() -> Iterator[Said]:
    exposed = [port for port in PORTS if open_to_others(port)]
    for port in exposed:
        yield (
            "warn",
            f"port {port} is open to other machines: let it listen on 127.0.0.1, behind a proxy",
        )
    if not exposed:
        yield "ok", f"none of {', '.join(map(str, PORTS))} is open to other machines"


def _key(installation: Installation) -> Iterator[Said]:
    stored = [dealer for dealer in installation.dealers.all(limit=10_000) if dealer.id > 0]
    unread = [dealer.name for dealer in stored if not installation.dealers.is_readable(dealer.name)]
    if unread:
        yield (
            "bad",
            (
                f"the secrets of {', '.join(unread)} cannot be read with the keys"
                " in HAIER_SECRET_KEY: add the key they were stored with, or store them again"
            ),
        )
    elif stored:
        yield "ok", f"the secrets of {len(stored)} stored dealers can be read"
    elif installation.has_key:
        yield "ok", "there is a key; no dealer is stored yet"
    else:
        yield "warn", "HAIER_SECRET_KEY is not set: no dealer can be stored"


def _dealers(installation: Installation) -> Iterator[Said]:
    active = installation.dealers.active()
    if active == [SANDBOX_DEALER]:
        yield "warn", "no dealer is configured: syncs talk to the built-in sandbox"
        return
    for name in active:
        try:
            installation.dealers.config(name)
        except HaierError as error:
            yield "bad", f"{name}: {error}"
    yield "ok", f"{len(active)} active: {', '.join(active[:20])}"


def _clocks(installation: Installation) -> Iterator[Said]:
    """By the header Date of each platform; no secret and no token is sent."""
    import requests

    origins: dict[str, None] = {}
    for name in installation.dealers.active():
        if name != SANDBOX_DEALER:
            try:
                origins[str(installation.dealers.config(name).base_url)] = None
            except HaierError:
                continue
    for origin in origins:
        host = urlsplit(origin).hostname
        try:
            began = time.time()
            answer = requests.head(origin, timeout=PATIENCE, allow_redirects=False)
            ours = (began + time.time()) / 2
            theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        except requests.RequestException as error:
            yield (
                "bad",
                f"{host} cannot be reached: {type(error).__name__}; look at network and proxy",
            )
        except (KeyError, ValueError, TypeError):
            yield "warn", f"{host} does not say what time it is"
        else:
            skew = ours - theirs
            if abs(skew) > MOST_SKEW:
                yield "bad", f"our clock is {skew:+.0f} s off that of {host}: follow a time server"
            else:
                yield "ok", f"our clock agrees with that of {host}"
    if not origins:
        yield "ok", "there is no platform to compare with"
