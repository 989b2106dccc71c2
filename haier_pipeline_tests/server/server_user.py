"""A process that uses the embedded PostgreSQL until its standard input ends.

Run as ``server_user.py HOME [USER]``: prints ``up`` once the database answers, or ``down`` and the
error's sentence. With USER it first becomes that user, as root alone can.
"""

import os
import pwd
import signal
import sys
from pathlib import Path

from haier_pipeline.errors import DatabaseUnavailable
from haier_pipeline.server.postgres import EmbeddedPostgres

# Whoever runs the tests in the background has SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
if len(sys.argv) > 2:
    entry = pwd.getpwnam(sys.argv[2])
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
try:
    with EmbeddedPostgres(Path(sys.argv[1])):
        sys.stdout.write("up\n")
        sys.stdout.flush()
        sys.stdin.read()
except DatabaseUnavailable as error:
    sys.stdout.write(f"down {error}\n")
    sys.exit(1)
