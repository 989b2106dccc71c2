"""Every error that this project raises on purpose, grouped by what the caller should do.

::

    HaierError                    one sentence for a person; never holds a secret
    ├── InvalidInput              the request is wrong: change it and ask again
    │   ├── InvalidConfig         a dealer's configuration is wrong or unreadable
    │   ├── NotFound              there is nothing of that name or number
    │   ├── PositionGone          a reader's position leads nowhere: it reads everything anew
    │   ├── Conflict              what is there already does not allow it
    │   └── InvalidSignature      a callback whose sender did not prove who it is
    ├── PlatformError             a call to Haier's platform did not work
    │   ├── CallFailed            this call only: count its unit as failed and go on
    │   │   ├── CallRefused       the platform understood and said no: do not repeat it
    │   │   ├── DeadlinePassed    nobody waits for the answer any longer
    │   │   └── TransientFailure  network, overload, garbled answer: the client has repeated it
    │   └── PlatformClosed        no further call can work: stop, and read the message
    ├── CatalogError              PostgreSQL did not take or give what it should
    │   └── DatabaseUnavailable   it cannot be reached or started
    └── SyncStopped               the sync ended on purpose, the catalog is as it was
        ├── AlreadyRunning        another run works on the same partition
        ├── NothingStored         a past day of which no answers are kept
        ├── SafetyStop            what was read looks wrong; an operator must decide
        ├── DealerDisabled        the dealer was disabled while the sync worked
        └── Cancelled             somebody pressed Ctrl-C, or the run was terminated

A library's error belongs here only once it has been translated; the functions that translate
return the error, so that the call site reads ``raise … from error``.
"""

from typing import Final

#: What the log and the terminal say of a sync that was broken off.
CANCELLED: Final = "cancelled; the catalog is as it was"


class HaierError(Exception):
    """The root. ``str(error)`` is one sentence that may be shown to anybody."""


class InvalidInput(HaierError):
    """What was asked for is wrong; the message names the field and what to do."""


class InvalidConfig(InvalidInput):
    """A dealer's configuration is incomplete, malformed or cannot be decrypted.

    ``fields`` names the keys at fault. Their values are never kept (fault matrix, row 46).
    """

    def __init__(self, message: str, fields: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.fields = fields


class NotFound(InvalidInput):
    """There is nothing of the name or number that was asked for."""


class PositionGone(InvalidInput):
    """A position too old, or of another database: its reader reads the list anew."""


class Conflict(InvalidInput):
    """It would clash with what is there: a name that is taken, a key that was used, a dealer that
    cannot be edited."""


class InvalidSignature(InvalidInput):
    """A callback without a right signature: nothing of it is believed or kept."""


class PlatformError(HaierError):
    """A call to the platform failed.

    ``endpoint`` is the interface's short name (``token``, ``listing``, ``prices``, ``stock``,
    ``balance``, ``logistics``), ``status`` the HTTP status where there was one, ``attempts`` how
    often the call was made, ``retry_after`` the seconds that the platform asked to wait, if it did.
    ``reason`` is what a refusal says without what was asked for, so that two can be compared; empty
    where it is none.
    """

    def __init__(
        self,
        message: str,
        *,
        endpoint: str,
        status: int | None = None,
        attempts: int = 1,
        retry_after: float | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.endpoint = endpoint
        self.status = status
        self.attempts = attempts
        self.retry_after = retry_after
        self.reason = reason


class CallFailed(PlatformError):
    """One call failed; calls for other products may still work."""


class CallRefused(CallFailed):
    """The platform said no (HTTP 400, ``success: false``, an answer beyond every bound)."""


class DeadlinePassed(CallFailed):
    """The caller's own deadline is over; the platform may still be working on the answer."""


class TransientFailure(CallFailed):
    """A failure that a repetition may heal: network, 429, 5xx, an answer that is not JSON."""


class PlatformClosed(PlatformError):
    """Nothing will work until somebody acts: 401 twice, 403, 404, TLS, redirect, an outage."""


class CatalogError(HaierError):
    """The database refused: a full disk, a violated constraint, a missing table."""


class DatabaseUnavailable(CatalogError):
    """The database cannot be reached, or the embedded one cannot be started."""


class SyncStopped(HaierError):
    """A sync ended before its work was done, and left the catalog as it was."""


class AlreadyRunning(SyncStopped):
    """Another run holds the partition (fault matrix, row 36)."""


class NothingStored(SyncStopped):
    """A past day without stored answers; the platform knows only today (row 43)."""


class SafetyStop(SyncStopped):
    """A blocking check failed: an empty or shrunken listing, a load that does not add up."""


class DealerDisabled(SyncStopped):
    """The dealer was disabled in mid-run (row 47)."""


class Cancelled(SyncStopped):
    """Ctrl-C, SIGTERM, or termination from Dagster's interface (row 34)."""
