"""What the sandbox saw: counts of calls, the busiest second, repetitions.

Counting only; what is allowed and what is answered is decided elsewhere.
"""

import hashlib
import threading
from collections import Counter, deque
from typing import Any

#: Those of the gateway and those of the order side, the one that gives tokens first.
CATALOG_INTERFACES = ("token", "listing", "prices", "stock", "balance", "logistics")
ORDER_INTERFACES = ("order_token", "push", "cancel", "reschedule", "pictures", "tracking")
INTERFACES = CATALOG_INTERFACES + ORDER_INTERFACES
TOKEN_INTERFACES = ("token", "order_token")


class Window:
    """How many moments (monotonic seconds, rising) lie in the second that ends at the newest."""

    def __init__(self) -> None:
        self._moments: deque[float] = deque()

    def size_at(self, now: float) -> int:
        while self._moments and self._moments[0] <= now - 1.0:
            self._moments.popleft()
        return len(self._moments)

    def add(self, now: float) -> int:
        size = self.size_at(now) + 1
        self._moments.append(now)
        return size


class Report:
    """Thread-safe. Moments must be taken under ``lock`` so that they rise."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.clear()

    def clear(self) -> None:
        with self.lock:
            self._calls: Counter[str] = Counter()
            self._refused = 0
            self._repeated = 0
            self._wrong_form = 0
            self._busiest = 0
            self._arrivals: dict[str, Window] = {}
            self._answered: set[bytes] = set()
            self._tokens: Counter[str] = Counter()
            self._pairs: set[tuple[str, str]] = set()
            self._priced: set[str] = set()
            self._first: float | None = None
            self._last = 0.0

    def arrived(self, interface: str, client: str, body: bytes, now: float) -> None:
        """A call has been read; it counts whatever becomes of it."""
        with self.lock:
            self._calls[interface] += 1
            self._first = now if self._first is None else self._first
            self._last = now
            size = self._arrivals.setdefault(client, Window()).add(now)
            self._busiest = max(self._busiest, size)
            is_for_token = interface in TOKEN_INTERFACES
            if not is_for_token and _key(interface, client, body) in self._answered:
                self._repeated += 1

    def asked(self, interface: str, codes: tuple[str, ...], county: str | None) -> None:
        with self.lock:
            if interface == "prices":
                self._priced.update(codes)
            elif interface == "stock" and county is not None:
                self._pairs.update((code, county) for code in codes)

    def refused(self) -> int:
        """One more call refused by the rate rule; how many that makes."""
        with self.lock:
            self._refused += 1
            return self._refused

    def wrong_form(self) -> None:
        """A living token came in a form of the header that is not accepted."""
        with self.lock:
            self._wrong_form += 1

    def answered(self, interface: str, client: str, body: bytes) -> None:
        """The call got its 200 and its data, undisturbed."""
        with self.lock:
            self._answered.add(_key(interface, client, body))

    def token_issued(self, client: str) -> None:
        with self.lock:
            self._tokens[client] += 1

    def figures(self) -> dict[str, Any]:
        """The report as it is sent.

        ``calls`` by interface and ``total``: calls read, refused ones included; the order side's
        interfaces stand there once they were called.
        ``max_calls_in_a_second``: the most arrivals of one client in any sliding second.
        ``refused``: 429 by the rate rule, not by a fault. ``wrong_form``: 401 since a living token
        came in the other form of the header. ``repeated``: calls like one of the same
        client that had been answered, token calls left aside. ``seconds``: from the first call to
        the last. ``token_renewals``: tokens beyond the first of each client. ``pairs``: distinct
        (product, county) asked for stock. ``codes_priced``: distinct codes asked for a price.
        """
        with self.lock:
            return {
                "calls": {
                    interface: self._calls[interface]
                    for interface in INTERFACES
                    if interface in CATALOG_INTERFACES or self._calls[interface]
                },
                "total": sum(self._calls.values()),
                "max_calls_in_a_second": self._busiest,
                "refused": self._refused,
                "wrong_form": self._wrong_form,
                "repeated": self._repeated,
                "seconds": 0.0 if self._first is None else round(self._last - self._first, 6),
                "token_renewals": sum(count - 1 for count in self._tokens.values()),
                "pairs": len(self._pairs),
                "codes_priced": len(self._priced),
            }


def _key(interface: str, client: str, body: bytes) -> bytes:
    head = f"{interface}\x1f{client}\x1f".encode()
    return hashlib.blake2b(head + body, digest_size=16).digest()
