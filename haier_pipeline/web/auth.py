"""Who may ask: API tokens, their roles, and the limit on wrong ones.

Tokens are 256 random bits, so a plain SHA-256 is all that has to be kept of one: there is no
dictionary to try. What a role may do on which route is decided in ``guard``.
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from haier_pipeline.errors import InvalidInput

Role = Literal["reader", "operator"]
ROLES: Final[tuple[Role, ...]] = ("reader", "operator")

#: Wrong tokens that one address may send within a window, and the window in seconds.
MOST_FAILURES: Final = 20
WINDOW_SECONDS: Final = 60.0
_MOST_ADDRESSES: Final = 10_000

_ENTRY = re.compile(r"([A-Za-z0-9._-]{1,50}):([a-z]+):([0-9a-f]{64})")


@dataclass(frozen=True)
class Caller:
    """Somebody whose token is known."""

    name: str
    role: Role

    @property
    def is_operator(self) -> bool:
        return self.role == "operator"


@dataclass(frozen=True)
class _Entry:
    caller: Caller
    digest: str = field(repr=False)


class Tokens:
    """The tokens of ``HAIER_API_TOKENS``: entries ``name:role:hash``.

    Raises:
        InvalidInput: an entry is malformed, named by its place since it might hold a token.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries: list[_Entry] = []
        for place, entry in enumerate(entries, start=1):
            match = _ENTRY.fullmatch(entry)
            role = next((r for r in ROLES if match and r == match[2]), None)
            if match is None or role is None:
                raise InvalidInput(
                    f"entry {place} of HAIER_API_TOKENS is not name:role:hash with the role "
                    "reader or operator; make one with: haier token create"
                )
            self._entries.append(_Entry(Caller(match[1], role), match[3]))

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, token: str) -> Caller | None:
        """Whose token it is. Every entry is compared, each in constant time (row 49)."""
        digest = _digest(token)
        found: Caller | None = None
        for entry in self._entries:
            if hmac.compare_digest(entry.digest, digest):
                found = entry.caller
        return found


def new_token(name: str, role: str) -> tuple[str, str]:
    """A new token, which is shown once, and its entry for ``HAIER_API_TOKENS``.

    Raises:
        InvalidInput: the name or the role cannot be used.
    """
    token = f"haier_{secrets.token_urlsafe(32)}"
    entry = f"{name}:{role}:{_digest(token)}"
    if role not in ROLES:
        raise InvalidInput(f"role {role!r} is none of: {', '.join(ROLES)}")
    if not _ENTRY.fullmatch(entry):
        raise InvalidInput("a token's name is 1 to 50 letters, digits, dots, dashes or underscores")
    return token, entry


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def network_of(address: str) -> str:
    """What counts as one sender: an IPv4 address, or the /64 that an IPv6 subscriber is given."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found), 64), strict=False))
    return str(found)


class FailureLimit:
    """Counts wrong tokens by address (`network_of`), and refuses further ones of an address that
    has sent too many.

    A right token is always let in, so that an attacker shuts nobody else out of a shared
    address. ``clock`` gives monotonic seconds. Kept in memory: a restart resets the counts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self.total = 0

    def seconds_left(self, address: str) -> float:
        """How long the address is still shut out; 0 where it is not."""
        with self._lock:
            began, count = self._failures.get(network_of(address), (0.0, 0))
            left = began + WINDOW_SECONDS - self._clock()
            return left if count >= MOST_FAILURES and left > 0 else 0.0

    def count(self, address: str) -> None:
        """Note a wrong token from the address."""
        now, address = self._clock(), network_of(address)
        with self._lock:
            self.total += 1
            began, count = self._failures.pop(address, (now, 0))
            if began + WINDOW_SECONDS <= now:
                began, count = now, 0
            self._failures[address] = (began, count + 1)
            while len(self._failures) > _MOST_ADDRESSES:
                self._failures.popitem(last=False)
