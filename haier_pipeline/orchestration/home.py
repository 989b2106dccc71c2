"""Dagster's folder: where it is, what of this version stands in it, and whose it is.

Without Dagster itself, whose import takes seconds: a sync looks here before its first call.
"""

import os
from pathlib import Path
from typing import Final

import haier_pipeline
from haier_pipeline.errors import CatalogError, InvalidInput
from haier_pipeline.server.files import private_folder, private_home, write_whole

# What Dagster reads: the instance, and where the definitions are.
INSTANCE_FILES = ("dagster.yaml", "workspace.yaml")
#: The class that our ``dagster.yaml`` names, in ``storage``.
STORAGE: Final = "CatalogStorage"


def instance_folder(home: Path) -> str:
    """Dagster's folder: ``DAGSTER_HOME``; where it is not set, the one in ``home``, and it is now.

    Raises:
        InvalidInput: ``DAGSTER_HOME`` is no folder, or another project's instance.
        CatalogError: the folder in ``home`` cannot be used.
    """
    if not os.environ.get("DAGSTER_HOME"):
        os.environ["DAGSTER_HOME"] = str(dagster_home(home))
    folder = os.environ["DAGSTER_HOME"]
    require_ours(Path(folder))
    return folder


def dagster_home(home: Path) -> Path:
    """Dagster's folder in ``home``, with the instance files of this version in it.

    Raises:
        CatalogError: the folder cannot be written or is not ours.
    """
    folder = private_folder(private_home(home) / "dagster")
    try:
        if (folder / "dagster.yaml").is_file() and (folder / "dagster.yaml").stat().st_size:
            require_ours(folder, "HAIER_HOME")
        # In a checkout the files stand at the top, in an installed package beside the code.
        package = Path(haier_pipeline.__file__).parent
        for name in INSTANCE_FILES:
            source = next(p for p in (package.parent, package) if (p / name).is_file())
            # Dagster may be reading it this moment, and takes an empty one for "SQLite".
            write_whole(folder / name, (source / name).read_bytes())
    except OSError as error:
        raise CatalogError(
            f"{folder} cannot be written: {error.strerror}; check HAIER_HOME"
        ) from error
    return folder


def require_ours(folder: Path, variable: str = "DAGSTER_HOME") -> None:
    """Refuse the instance of another project, in whose tables our runs would end up.

    Raises:
        InvalidInput: it is none of ours; the message names the folder.
    """
    if not folder.is_absolute():
        raise InvalidInput(f"{variable}: {folder} is relative; write the whole path")
    try:
        text = (folder / "dagster.yaml").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise InvalidInput(
            f"{variable}: {folder} holds no dagster.yaml that can be read; unset it, or copy this "
            "project's dagster.yaml and workspace.yaml there"
        ) from None
    if STORAGE not in text:
        raise InvalidInput(
            f"{variable}: {folder} is another project's: its dagster.yaml does not name "
            f"{STORAGE} as storage; unset it, or name a folder of this project's"
        )
