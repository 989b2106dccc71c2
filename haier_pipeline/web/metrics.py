"""Figures for Prometheus, read from the tables at each scrape.

Their names, labels and meanings are here; how rows of the log add up is in ``counters``.
"""

from collections.abc import Iterable, Iterator

from fastapi import APIRouter
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.responses import PlainTextResponse, Response

from haier_pipeline.catalog import feed
from haier_pipeline.catalog.views import figures
from haier_pipeline.web.counters import SyncCounters
from haier_pipeline.web.problems import documented
from haier_pipeline.web.services import Services, ServicesHere

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=PlainTextResponse,
    responses=documented(),
)
def metrics(services: ServicesHere) -> Response:
    """Syncs, durations, calls, the age of the catalog and of what followers wait
    for, rejected records, wrong tokens."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(services))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Figures(Collector):
    """What one scrape shows."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterable[Metric]:
        engine = self._services.engine
        counters = self._services.counters
        counters.read(engine)
        yield from _of_syncs(counters)
        yield from _of_catalogs(figures.catalogs(engine))
        yield from _of_feed(feed.holders(engine))
        wrong = CounterMetricFamily("haier_wrong_tokens", "Requests with an unknown token.")
        wrong.add_metric([], self._services.failures.total)
        yield wrong


def _of_syncs(counters: SyncCounters) -> Iterator[Metric]:
    syncs = CounterMetricFamily(
        "haier_syncs",
        "Attempts to materialize an asset, and live queries, that have ended.",
        labels=["dealer", "type", "status"],
    )
    for labels, count in sorted(counters.syncs.items()):
        syncs.add_metric(labels, count)
    yield syncs
    seconds = SummaryMetricFamily(
        "haier_sync_seconds", "How long they took.", labels=["dealer", "type"]
    )
    for place, count in sorted(counters.ended.items()):
        seconds.add_metric(place, count_value=count, sum_value=counters.seconds[place])
    yield seconds
    for name, text, counted in (
        ("haier_calls", "Calls to the platform, every attempt.", counters.calls),
        ("haier_refused_calls", "Calls refused with HTTP 429.", counters.refused),
        ("haier_token_renewals", "Tokens asked for by syncs.", counters.tokens),
    ):
        family = CounterMetricFamily(name, text, labels=["dealer"])
        for dealer, count in sorted(counted.items()):
            family.add_metric([dealer], count)
        yield family


def _of_feed(holders: list[feed.Holder]) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "haier_feed_lag_seconds",
        "Age of the oldest open transaction whose changes no follower has been sent yet.",
        value=max((holder.seconds for holder in holders), default=0.0),
    )
    held = GaugeMetricFamily(
        "haier_feed_held_seconds",
        "Who has such a transaction open, and for how long.",
        labels=["pid", "application", "user"],
    )
    for holder in holders:
        held.add_metric([str(holder.pid or ""), holder.application, holder.user], holder.seconds)
    yield held


def _of_catalogs(catalogs: Iterable[figures.Catalog]) -> Iterator[Metric]:
    age = GaugeMetricFamily(
        "haier_catalog_age_seconds", "Since the last load of the catalog.", labels=["dealer"]
    )
    rejected = GaugeMetricFamily(
        "haier_rejected_records", "Records kept that could not be read.", labels=["dealer"]
    )
    for catalog in catalogs:
        if catalog.age is not None:
            age.add_metric([catalog.dealer], catalog.age)
        rejected.add_metric([catalog.dealer], catalog.rejected_records)
    yield age
    yield rejected
