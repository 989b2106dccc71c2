"""Steps of a sync that begin before somebody asks for them.

Dagster takes seconds to be imported, and the platform's answers are what a sync waits for. So the
fetching steps begin at once, in a thread; whoever is to make an asset later takes the outcome of
the step that already works. What the steps do, and their log, is in ``fetch`` and ``run``.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING

from haier_pipeline.domain.request import SyncRequest
from haier_pipeline.errors import Cancelled

if TYPE_CHECKING:
    from haier_pipeline.sync.run import Outcome, SyncRun

Step = Callable[[], "Outcome"]


class Ahead:
    """Steps by asset, made one after the other in a thread of their own.

    Where the first one does not succeed none of the others is begun: it is what they build upon.
    Nor is one begun after a step was cancelled.
    """

    def __init__(self, steps: Mapping[str, Step]) -> None:
        self._steps = steps
        self._outcomes: dict[str, Future[Outcome]] = {asset: Future() for asset in steps}
        self._thread = threading.Thread(target=self._work, name="haier ahead", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_at_work(self) -> bool:
        return self._thread.is_alive()

    def join(self, seconds: float) -> None:
        """Wait so long, at most, for the end of the thread."""
        self._thread.join(seconds)

    def take(self, asset: str) -> "Outcome | None":
        """The asset's outcome, waited for; ``None`` where whoever asks has to make it.

        That is where its step was not begun, or was taken already, and the step itself.

        Raises what the step raised.
        """
        if threading.current_thread() is self._thread or asset not in self._outcomes:
            return None
        outcome = self._outcomes.pop(asset)
        try:
            return outcome.result()
        except CancelledError:
            return None

    def _work(self) -> None:
        # Those that are taken leave the mapping.
        outcomes = dict(self._outcomes)
        goes_on = True
        for number, (asset, step) in enumerate(self._steps.items()):
            if not goes_on:
                outcomes[asset].cancel()
                continue
            try:
                outcome = step()
            except BaseException as error:  # noqa: BLE001 - raised where the outcome is taken
                outcomes[asset].set_exception(error)
                goes_on = number > 0 and not isinstance(error, Cancelled)
            else:
                outcomes[asset].set_result(outcome)
                goes_on = number > 0 or not (outcome.failed or outcome.stops)


def fetch_ahead(run: "SyncRun", request: SyncRequest) -> None:
    """Begin to fetch what the request asks for; the run's steps take it from there."""
    from haier_pipeline.sync import fetch

    config = request.asset_config
    steps: dict[str, Step] = {
        "product_listings": lambda: fetch.fetch_listing(run, **config["product_listings"]),
        "price_quotes": lambda: fetch.fetch_prices(run),
        "stock_levels": lambda: fetch.fetch_stock(run, **config["stock_levels"]),
    }
    run.begin_ahead({asset: step for asset, step in steps.items() if asset in request.assets})
