"""Sets the project up and starts it, with nothing but Python and pip.

::

    python3 bootstrap.py haier sync           # any `haier` command
    python3 bootstrap.py test [pytest args]   # the whole gate: ruff, mypy, layers, tests

The first start installs uv into `.tools/` and the locked dependencies into `.venv/`; later ones
find a stamp and go straight on. Exit codes are those of what was started. Standard output belongs
to the command: all messages of this file go to standard error. Standard library only; what the
commands do belongs elsewhere.
"""

import sys

# Before anything that an older Python could stumble over.
if sys.version_info < (3, 11):  # noqa: UP036 - this file meets whatever Python there is
    sys.exit(
        "Python 3.11 or newer is needed; this is %d.%d (%s)."  # noqa: UP031 - as above
        % (sys.version_info[0], sys.version_info[1], sys.executable)
    )

import hashlib
import os
from pathlib import Path
from typing import NoReturn

UV_VERSION = "0.13.9"
ROOT = Path(__file__).resolve().parent
TOOLS = ROOT / ".tools"
ENVIRONMENT = ROOT / ".venv"
BIN = "Scripts" if os.name == "nt" else "bin"
SUFFIX = ".exe" if os.name == "nt" else ""
PYTHON = ENVIRONMENT / BIN / f"python{SUFFIX}"
STAMP = ENVIRONMENT / "bootstrap-stamp"
# What some tests need, the program that each is recognised by first.
DEBIAN_PACKAGES = {"chromium": ("chromium", "fonts-noto-cjk"), "nginx": ("nginx",)}

GATE = (
    ("ruff check", ("-m", "ruff", "check")),
    ("ruff format", ("-m", "ruff", "format", "--check")),
    ("mypy", ("-m", "mypy")),
    # It has no `python -m`; its script would not survive a moved checkout.
    ("layers", ("-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-logo")),
)


def main(arguments: list[str]) -> int:
    command, rest = (arguments or [""])[0], arguments[1:]
    if command == "haier":
        set_up(develop=False)
        replace_by([str(ENVIRONMENT / BIN / f"haier{SUFFIX}"), *rest])
    if command == "test":
        set_up(develop=True)
        install_programs()
        return run_gate(rest)
    say("Usage: python3 bootstrap.py haier COMMAND ...  or  python3 bootstrap.py test [PYTEST ...]")
    return 2


def set_up(*, develop: bool) -> None:
    """Bring `.venv/` to what `uv.lock` says; ``develop`` adds the tools of the gate."""
    digest = hashlib.sha256(f"{ROOT}\0{UV_VERSION}".encode())
    for name in ("uv.lock", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    wanted = digest.hexdigest()
    try:
        found, _, groups = STAMP.read_text("utf-8").partition(" ")
    except OSError:
        found, groups = "", ""
    # The Python that `.venv/` was made with stays until it is gone: a shell and a timer often find
    # different ones, and must not take turns in rebuilding it.
    is_whole = PYTHON.exists()
    if is_whole and found == wanted and (groups == "dev" or not develop):
        return

    import subprocess

    # `pip --target` says "bin" on Windows too.
    uv = TOOLS / f"uv-{UV_VERSION}" / "bin" / f"uv{SUFFIX}"
    if not uv.exists():
        install_uv(uv.parent.parent)
    say("Installing the dependencies into .venv/ ...")
    STAMP.unlink(missing_ok=True)
    command = [str(uv), "sync", "--inexact", "--compile-bytecode", "--quiet"]
    # In a virtual environment of somebody's, the Python it was made from.
    new = getattr(sys, "_base_executable", None) or sys.executable
    command += ["--python", str(PYTHON) if is_whole else new, "--no-python-downloads"]
    # A stale lock is for the gate to notice; frozen, it also serves whose uv has an index set.
    command += ["--locked"] if develop else ["--frozen", "--no-dev"]
    if subprocess.call(command, cwd=ROOT, env=uv_environment(), stdout=sys.stderr) != 0:
        sys.exit("The dependencies could not be installed; uv's own words stand above.")
    # The project's own modules: uv compiles what it installs, and these stay where they are.
    sources = str(ROOT / "haier_pipeline")
    subprocess.call([str(PYTHON), "-m", "compileall", "-q", sources], stdout=sys.stderr)
    STAMP.write_text(f"{wanted} {'dev' if develop else ''}", "utf-8")


def install_uv(folder: Path) -> None:
    """Install the pinned uv with pip, into a folder of its own that appears only when whole."""
    import importlib.util
    import shutil
    import subprocess

    if importlib.util.find_spec("pip") is None:
        sys.exit(
            f"{sys.executable} has no pip. Install it (on Debian: apt-get install python3-pip; "
            "elsewhere: python3 -m ensurepip) and start again."
        )
    say(f"Installing uv {UV_VERSION} into .tools/ ...")
    part = folder.with_name(f"{folder.name}.part-{os.getpid()}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-user", "--target"]
    command += [
        str(part),
        "--root-user-action=ignore",
        "--no-deps",
        "--only-binary=:all:",
        f"uv=={UV_VERSION}",
    ]
    try:
        if subprocess.call(command, stdout=sys.stderr) != 0:
            sys.exit(f"pip could not install uv {UV_VERSION}; its own words stand above.")
        try:
            part.rename(folder)
        except OSError:
            # Of two first starts at once the other was faster.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def uv_environment() -> dict[str, str]:
    """The environment for uv, which does not read pip's settings."""
    environment = os.environ | {"UV_PROJECT_ENVIRONMENT": str(ENVIRONMENT)}
    environment.pop("VIRTUAL_ENV", None)
    for of_pip, of_uv in (
        ("PIP_CERT", "SSL_CERT_FILE"),
        ("PIP_DEFAULT_TIMEOUT", "UV_HTTP_TIMEOUT"),
    ):
        if of_pip in environment:
            environment.setdefault(of_uv, environment[of_pip])
    home = Path(environment.get("HOME") or "/nowhere")
    if os.name != "nt" and not (home.is_dir() and os.access(home, os.W_OK)):
        environment.setdefault("UV_CACHE_DIR", str(TOOLS / "cache"))
    return environment


def install_programs() -> None:
    """On a Debian where we may, install what some tests need; elsewhere they skip."""
    import shutil
    import subprocess

    # A user's path often lacks /usr/sbin.
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
    missing = [name for name in DEBIAN_PACKAGES if shutil.which(name, path=path) is None]
    if not missing:
        return
    apt = shutil.which("apt-get")
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if apt is None or not is_root:
        say(f"Not installed: {', '.join(missing)}. The tests that need it will be skipped.")
        return
    packages = [package for name in missing for package in DEBIAN_PACKAGES[name]]
    say(f"Installing {', '.join(packages)} for the tests ...")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = [apt, "install", "-y", "-qq", "--no-install-recommends", *packages]
    for command in ([apt, "update", "-qq"], install):
        if subprocess.call(command, env=environment, stdout=sys.stderr) != 0:
            say("apt-get could not install them: the tests that need them will be skipped.")
            return
    if "nginx" in missing and shutil.which("systemctl"):
        # Debian starts what it installs; the tests start their own.
        subprocess.call(["systemctl", "disable", "--now", "--quiet", "nginx"], stdout=sys.stderr)


#: pytest's exit code where no test was chosen.
NO_TESTS = 5


def run_gate(arguments: list[str]) -> int:
    """Run every part, also after one has failed; pytest comes last and gets the arguments."""
    import subprocess

    failed = []
    tests = (
        # Most tests wait more than they work, for kills, daemons, browsers: three wait together.
        ("pytest, three files at a time", ("-n", "3", "--dist", "loadfile", "-m", "not alone")),
        # Alone on the machine: these measure time to the millisecond.
        ("pytest, one at a time", ("-m", "alone")),
    )
    pytests = [(name, ("-m", "pytest", *chosen, *arguments)) for name, chosen in tests]
    for name, command in (*GATE, *pytests):
        say(f"== {name}")
        code = subprocess.call([str(PYTHON), *command], cwd=ROOT)
        # The arguments may choose tests of which none is to run alone, or all are.
        nothing_chosen = name.startswith("pytest") and arguments and code == NO_TESTS
        if code != 0 and not nothing_chosen:
            failed.append(name)
    if failed:
        say(f"The gate is closed: {', '.join(failed)} failed.")
    return 1 if failed else 0


def replace_by(command: list[str]) -> NoReturn:
    """Let the command take this process's place, so that signals and exit codes are its own."""
    if os.name == "nt":
        import subprocess

        # Windows would start a second process and not wait for it.
        sys.exit(subprocess.call(command))
    os.execv(command[0], command)  # noqa: S606 - our own program takes our place


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
