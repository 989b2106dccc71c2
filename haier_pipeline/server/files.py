"""Folders and files that are their owner's alone: made so, mended, refused, written whole.

Whatever lies in ``HAIER_HOME`` is made through here. What is in the files belongs to who writes
them.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from haier_pipeline.errors import CatalogError

#: What lies in a home of ours; a folder with something else in it is not taken for one.
HOME_ENTRIES = ("postgres", "dagster", "syncs", "sandbox", "secret.key")


def private_home(home: Path) -> Path:
    """Make ``HAIER_HOME``, or see to it that nobody but its owner reads it.

    A home that others may read is closed, where it holds nothing but ours. Root neither works in
    the folder of another user, who could lay a link there for root to follow, nor does anybody in
    a folder that is not theirs.

    Raises:
        CatalogError: it belongs to somebody else, or is no folder for one program alone.
    """
    try:
        _make(home)
        found = home.stat()
        if found.st_uid != _uid():
            raise CatalogError(_foreign(home, found.st_uid))
        if _uid() == 0:
            _refuse_foreign_parents(home)
        if found.st_mode & 0o077 and not _is_open_for_the_server(found):
            _refuse_shared(home, found)
            home.chmod(0o700)
    except OSError as error:
        raise _unusable(error.filename or home, error) from error
    return home


def private_folder(folder: Path, *, passing_group: int | None = None) -> Path:
    """Make a folder inside of the home, or close it: 0700, whatever the umask.

    ``passing_group``: a group that may pass through (0710).

    Raises:
        CatalogError: it cannot be made, is a link, or belongs to somebody else.
    """
    try:
        _make(folder)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise CatalogError(f"{folder} is not a folder: remove it, and it is made anew")
        if found.st_uid != _uid():
            raise CatalogError(_foreign(folder, found.st_uid))
        if passing_group is not None and passing_group != found.st_gid:
            os.chown(folder, -1, passing_group)
        wanted = 0o700 if passing_group is None else 0o710
        if stat.S_IMODE(found.st_mode) != wanted:
            folder.chmod(wanted)
    except OSError as error:
        raise _unusable(error.filename or folder, error) from error
    return folder


def open_private(path: Path) -> int:
    """A file descriptor to write a new or emptied file of 0600, whatever the umask."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def write_whole(path: Path, data: bytes) -> None:
    """Give the file this content, 0600; a reader meets the old or the new, never a part.

    What is in it already is left alone, so that two versions of a process may look at it.
    """
    with suppress(OSError):
        if path.read_bytes() == data and not path.is_symlink():
            return
    descriptor, half = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(half).replace(path)
    except BaseException:
        Path(half).unlink(missing_ok=True)
        raise


def owner_name(uid: int) -> str:
    """The name of a user, or its number where the machine knows none."""
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return str(uid)


def _uid() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0


def _make(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def _is_open_for_the_server(found: os.stat_result) -> bool:
    """Whether it is as the embedded server's start leaves root's home (`postgres`)."""
    return _uid() == 0 and found.st_gid != 0 and stat.S_IMODE(found.st_mode) == 0o710


def _refuse_shared(home: Path, found: os.stat_result) -> None:
    foreign = sorted(
        entry.name
        for entry in home.iterdir()
        if entry.name not in HOME_ENTRIES and not entry.name.startswith(".")
    )
    ours = any((home / name).exists() for name in HOME_ENTRIES)
    if found.st_mode & stat.S_ISVTX or home == Path.home() or (foreign and not ours):
        raise CatalogError(
            f"HAIER_HOME {home} can be read by others and is not this program's alone: "
            "name a folder of its own"
        )


def _refuse_foreign_parents(home: Path) -> None:
    """Who owns a parent folder can put another one in the home's place."""
    for parent in [*home.absolute().parents, *home.resolve().parents]:
        found = parent.stat()
        is_open = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
        if found.st_uid != 0 or is_open:
            who = "everybody" if is_open else owner_name(found.st_uid)
            raise CatalogError(
                f"HAIER_HOME {home} lies in {parent}, which {who} may change, and root would "
                "follow what is put there: name a folder that only root may change"
            )


def _foreign(folder: Path, uid: int) -> str:
    name = owner_name(uid)
    return (
        f"{folder} belongs to the user {name}: run as that user (such as: sudo -u {name} haier …), "
        "or set HAIER_HOME to a folder of yours"
    )


def _unusable(folder: object, error: OSError) -> CatalogError:
    return CatalogError(f"{folder} cannot be used: {error.strerror or error}; check HAIER_HOME")
