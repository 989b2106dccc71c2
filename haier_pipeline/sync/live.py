"""Live queries: what the platform says now, for a caller who waits.

Nothing is stored but a ``manual`` row of the log. What an answer looks like on the wire of REST is
decided there.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as WaitTimeoutError
from typing import Any, Final, TypeVar

from pydantic import BaseModel
from sqlalchemy import Engine

from haier_pipeline.catalog import log
from haier_pipeline.catalog.log import ManualQuery
from haier_pipeline.domain.partition import today
from haier_pipeline.errors import Cancelled, DeadlinePassed, HaierError
from haier_pipeline.platform.answers import (
    Answer,
    LogisticsRecord,
    PayerBalance,
    PriceQuote,
    ProductListing,
    Warehouse,
)
from haier_pipeline.platform.client import HaierClient, batches
from haier_pipeline.platform.config import DealerConfig
from haier_pipeline.sync.dealers import Dealers

T = TypeVar("T", bound=BaseModel)

#: Calls of one dealer that are under way at a time. Each dealer has threads of its own: one whose
#: platform hangs takes none from the others.
WORKERS: Final = 32
#: An answer that takes longer is of no use to somebody who waits.
ATTEMPT_SECONDS: Final = 10.0


class _Patience(threading.Event):
    """A client's ``stop`` that comes for each thread when its caller's time is over.

    The client looks at it wherever it waits, so a call of somebody who is gone ends within a
    quarter of a second, and its thread is free for the next one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._of_thread = threading.local()

    def begin(self, until: float) -> None:
        """From here on the calling thread has time until then, in monotonic seconds."""
        self._of_thread.until = until

    def is_set(self) -> bool:
        return time.monotonic() >= self._until

    def wait(self, timeout: float | None = None) -> bool:
        left = max(0.0, self._until - time.monotonic())
        time.sleep(left if timeout is None else min(timeout, left))
        return self.is_set()

    @property
    def _until(self) -> float:
        until: float = getattr(self._of_thread, "until", math.inf)
        return until


class LiveQueries:
    """Asks the platform for whoever waits. Safe for threads; close it.

    A dealer's client, with its token and its connections, lives as long as its configuration stays
    as it is; its pace is shared with the dealer's syncs. Every query leaves one ``manual`` row.

    Every method waits at most ``seconds``.

    Raises:
        InvalidConfig: the dealer's configuration cannot be used.
        DeadlinePassed: there was no answer in time.
        PlatformError: the platform refused, or could not be reached.
    """

    def __init__(self, engine: Engine, dealers: Dealers) -> None:
        self._engine = engine
        self._dealers = dealers
        self._lock = threading.Lock()
        self._clients: dict[str, tuple[DealerConfig, HaierClient]] = {}
        self._workers: dict[str, ThreadPoolExecutor] = {}
        self._patience = _Patience()

    def close(self) -> None:
        """End the calls in flight."""
        with self._lock:
            for _, client in self._clients.values():
                client.close()
            self._clients.clear()
            pools, self._workers = list(self._workers.values()), {}
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)

    def products(
        self, dealer: str, codes: Sequence[str], *, seconds: float, caller: str
    ) -> Answer[ProductListing]:
        """What may be bought of these products."""
        return self._ask(
            dealer,
            "listing",
            ", ".join(codes),
            lambda client: client.list_products(codes),
            seconds,
            caller,
        )

    def prices(
        self, dealer: str, codes: Sequence[str], *, seconds: float, caller: str
    ) -> Answer[PriceQuote]:
        """The prices of these products."""

        def ask(client: HaierClient) -> Answer[PriceQuote]:
            answer: Answer[PriceQuote] = Answer()
            for batch in batches(codes):
                answer += client.quote_prices(batch)
            return answer

        return self._ask(dealer, "prices", ", ".join(codes), ask, seconds, caller)

    def stock(
        self, dealer: str, code: str, county: str, *, seconds: float, caller: str
    ) -> Answer[Warehouse]:
        """The warehouses that have a product for a county."""
        return self._ask(
            dealer,
            "stock",
            f"{code} in {county}",
            lambda client: client.get_stock(code, county),
            seconds,
            caller,
        )

    def balances(self, dealer: str, *, seconds: float, caller: str) -> Answer[PayerBalance]:
        """The dealer's payer accounts."""
        return self._ask(
            dealer, "balance", "", lambda client: client.get_balances(), seconds, caller
        )

    def logistics(
        self, dealer: str, order: str, *, seconds: float, caller: str
    ) -> Answer[LogisticsRecord]:
        """Where an order is."""
        return self._ask(
            dealer, "logistics", order, lambda client: client.get_logistics(order), seconds, caller
        )

    def _ask(
        self,
        dealer: str,
        endpoint: str,
        asked: str,
        call: Callable[[HaierClient], Answer[T]],
        seconds: float,
        caller: str,
    ) -> Answer[T]:
        began = time.monotonic()
        query = ManualQuery(dealer=dealer, sync_date=today(), endpoint=endpoint, caller=caller)
        about = f"{endpoint}{' of ' if asked else ''}{asked}"
        until = began + seconds

        def work(client: HaierClient) -> Answer[T]:
            self._patience.begin(until)
            return call(client)

        try:
            client, workers = self._client(dealer)
            future: Future[Answer[T]] = workers.submit(work, client)
            try:
                answer = future.result(max(0.0, until - time.monotonic()))
            except (WaitTimeoutError, Cancelled):
                # One that has not begun never will; one that has is out of patience as well.
                future.cancel()
                raise DeadlinePassed(
                    f"The {endpoint} call had no answer within the caller's {seconds:.1f} s.",
                    endpoint=endpoint,
                ) from None
        except HaierError as error:
            self._note(query, began, f"{about}: {error}", failed=1)
            raise
        self._note(
            query,
            began,
            f"{about}: {len(answer.records)} records",
            success=len(answer.records),
            failed=len(answer.rejected),
        )
        return answer

    def _client(self, dealer: str) -> tuple[HaierClient, ThreadPoolExecutor]:
        config = self._dealers.config(dealer)
        with self._lock:
            known = self._clients.get(dealer)
            if known is None or known[0] != config:
                # The one it replaces is left to the calls that are under way on it.
                client = self._dealers.client(
                    config,
                    stop=self._patience,
                    workers=WORKERS,
                    attempt_seconds=ATTEMPT_SECONDS,
                )
                self._clients[dealer] = known = (config, client)
            workers = self._workers.get(dealer)
            if workers is None:
                workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="live")
                self._workers[dealer] = workers
            return known[1], workers

    def _note(
        self, query: ManualQuery, began: float, message: str, *, success: int = 0, failed: int = 0
    ) -> None:
        seconds = time.monotonic() - began
        log.record_query(self._engine, query, seconds, message, success=success, failed=failed)


def missing_codes(codes: Sequence[str], answer: Answer[Any]) -> list[str]:
    """The codes asked for which the platform said nothing about (row 15)."""
    answered = {record.value.product_code for record in answer.records}
    answered |= {rejected.code for rejected in answer.rejected}
    return [code for batch in batches(codes) for code in batch if code not in answered]
