"""The commands for the database: ``haier db``."""

import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import typer

from haier_pipeline.cli.command import opened
from haier_pipeline.cli.output import print_line
from haier_pipeline.errors import InvalidInput

if TYPE_CHECKING:
    from haier_pipeline.installation import Installation

database = typer.Typer(help="The database.", no_args_is_help=True)


@database.command()
def upgrade() -> None:
    """Bring the tables to the newest version."""
    with opened() as installation:
        installation.upgrade()
    print_line("The tables are up to date.")


@database.command()
def rekey() -> None:
    """Encrypt all stored secrets anew under the newest key of HAIER_SECRET_KEY."""
    with opened() as installation:
        count = installation.dealers.encrypt_anew()
    print_line(f"Encrypted anew: {count} dealers. The older keys are not needed for them any more.")


@database.command()
def url() -> None:
    """Print the database's address, without its password."""
    with opened() as installation:
        print_line(shown_url(installation))


def shown_url(installation: "Installation") -> str:
    """The database's address without its password."""
    from haier_pipeline.catalog.address import shown
    from haier_pipeline.catalog.database import parse_url

    return shown(parse_url(installation.database_url()))


@database.command()
def shell() -> None:
    """Open psql on the database."""
    from haier_pipeline.catalog.address import for_child
    from haier_pipeline.catalog.database import parse_url

    with opened() as installation:
        _ = installation.engine
        own = installation.embedded
        program = shutil.which("psql") if own is None else str(own.psql)
        if program is None:
            raise InvalidInput("psql is not installed; install PostgreSQL's client")
        with for_child(parse_url(installation.database_url())) as variables:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            ended = subprocess.run([program], env=os.environ | variables, check=False)
        sys.exit(ended.returncode if ended.returncode >= 0 else 128 - ended.returncode)
