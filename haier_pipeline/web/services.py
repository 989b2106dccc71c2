"""What the routes stand on, put together once for an app and handed to each request."""

import math
import threading
import time
from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Final

from anyio import CapacityLimiter
from fastapi import Depends, Request
from sqlalchemy import Engine

from haier_pipeline.domain.request import SyncRequest
from haier_pipeline.errors import InvalidInput
from haier_pipeline.installation import Installation
from haier_pipeline.sync.dealers import Dealers
from haier_pipeline.sync.live import LiveQueries
from haier_pipeline.web.auth import FailureLimit, Tokens
from haier_pipeline.web.counters import SyncCounters

#: Callers of one dealer's live queries that wait at a time.
MOST_WAITING: Final = 64
MOST_READING: Final = 4


#: Starts a sync and returns at once; what becomes of it stands in the sync log. Raises
#: `HaierError` where it cannot be started.
Launch = Callable[[SyncRequest], None]


class Services:
    """The installation's use cases as the routes and pages need them. Opens nothing before use."""

    def __init__(
        self,
        installation: Installation,
        *,
        tokens: Tokens,
        launch: Launch,
        dagster_problem: Callable[[], str | None],
    ) -> None:
        self.installation = installation
        self.tokens = tokens
        self.failures = FailureLimit()
        self.counters = SyncCounters()
        self.launch = launch
        self.dagster_problem = dagster_problem
        self._opening = threading.RLock()
        self._active: tuple[float, list[str]] = (-math.inf, [])
        self._live_limiters: dict[str, CapacityLimiter] = {}

    @property
    def engine(self) -> Engine:
        # Several threads ask first at the same moment; one of them opens.
        with self._opening:
            return self.installation.engine

    @property
    def dealers(self) -> Dealers:
        with self._opening:
            return self.installation.dealers

    @cached_property
    def live(self) -> LiveQueries:
        with self._opening:
            return LiveQueries(self.engine, self.dealers)

    def live_limiter(self, dealer: str) -> CapacityLimiter:
        """Callers of one dealer's live queries that wait at a time. They have threads of their own:
        however slow this dealer's platform is, the catalog and the other dealers answer."""
        return self._live_limiters.setdefault(dealer, CapacityLimiter(MOST_WAITING))

    @cached_property
    def catalog_limiter(self) -> CapacityLimiter:
        """Readers of the catalog at a time. More of them would only wait for each other."""
        return CapacityLimiter(MOST_READING)

    def catalog_of(self, name: str | None) -> str:
        """As `choose_dealer`, by what was active within the last second: hundreds of readers a
        second need not all ask."""
        now = time.monotonic()
        read_at, names = self._active
        if now - read_at > 1:
            names = self.dealers.active()
            self._active = (now, names)
        if name in names:
            return str(name)
        return names[0] if name is None and len(names) == 1 else self.choose_dealer(name)

    def choose_dealer(self, name: str | None) -> str:
        """The active dealer of that name; without a name the only active one.

        Raises:
            InvalidInput: there is no such dealer, or none was named and several are active.
        """
        names = self.dealers.active()
        if name in names:
            return str(name)
        if name is not None:
            # Without the name that was sent: no answer repeats a value.
            raise InvalidInput(
                f"there is no active dealer named like that; active: {', '.join(names)}"
            )
        if len(names) > 1:
            raise InvalidInput(
                f"several dealers are active, name one as dealer: {', '.join(names)}"
            )
        return names[0]

    def close(self) -> None:
        """End what runs for the routes; the installation is its opener's to close."""
        if "live" in self.__dict__:
            self.live.close()


# Not a plain function: those are run in a thread, which costs more than all it does.
async def _of_app(request: Request) -> Services:
    return services_of(request)


def services_of(request: Request) -> Services:
    """What the app of this request stands on."""
    services: Services = request.app.state.services
    return services


ServicesHere = Annotated[Services, Depends(_of_app)]
