"""Metrics of a run that is under way, for a scraper: a collector of prometheus_client over a published copy.

The engine's thread folds and publishes; the scraper's thread reads what was published last. Nothing is shared but one
reference, so a slow scraper never holds the engine up, and all sums of one scrape agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector as PrometheusCollector

from orchestrator.chaos.history import read
from orchestrator.engine.trace import TraceLine
from orchestrator.metrics.catalogue import BY_NAME
from orchestrator.metrics.collect import Collector
from orchestrator.metrics.export import bounds
from orchestrator.metrics.fleet_facts import FleetFacts
from orchestrator.metrics.metric import HELD_PER_UNIT, Kind, Metric
from orchestrator.metrics.process import Process, tell
from orchestrator.metrics.tally import Distribution, Key, Value


class LiveMetrics(PrometheusCollector):
    """A trace sink that a scraper can read: give it to the run's trace, and publish at boundaries.

    `registry` holds it alone; nothing is registered globally, so many runs fit into one process.
    """

    def __init__(self, facts: FleetFacts) -> None:
        self._collector = Collector(facts)
        self._shown: Mapping[Key, Value] = {}
        self.publish(0)
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def write(self, lines: Sequence[TraceLine]) -> None:
        """Take settled lines of the trace (`orchestrator.engine.trace.TraceSink`)."""
        for line in read([line.line for line in lines]):
            self._collector.fold(line)

    def publish(self, now_ns: int, delivered: int = 0, process: Process | None = None) -> None:
        """Show the state at `now_ns` (virtual ns) from now on; to be called by the engine's thread, between beats."""
        self._collector.advance(now_ns)
        self._collector.tally.set("messages_delivered_total", delivered)
        if process is not None:
            tell(self._collector.tally, process)
        self._collector.tally.touched.clear()
        self._shown = self._collector.tally.values.copy()

    @property
    def shown(self) -> Mapping[Key, Value]:
        """What was published last."""
        return self._shown

    def collect(self) -> Iterable[Family]:
        """Families of the published state, for prometheus_client."""
        families: dict[str, list[Key]] = {}
        shown = self._shown
        for key in shown:
            families.setdefault(key.name, []).append(key)
        for name in sorted(families):
            yield _family(BY_NAME[name], sorted(families[name]), shown)


def _family(metric: Metric, keys: Iterable[Key], values: Mapping[Key, Value]) -> Family:
    names = [label.name for label in metric.labels]
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.family, metric.help, labels=names, unit=metric.unit)
        for key, distribution in _distributions(keys, values):
            buckets = list(zip((*bounds(metric), "+Inf"), map(float, accumulate(distribution.buckets)), strict=True))
            histogram.add_metric(key.labels, buckets, distribution.total / HELD_PER_UNIT[metric.unit])
        return histogram
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.family, metric.help, labels=names, unit=metric.unit)
    for key in keys:
        value = values[key]
        if not isinstance(value, Distribution):
            family.add_metric(key.labels, value / HELD_PER_UNIT[metric.unit])
    return family


def _distributions(keys: Iterable[Key], values: Mapping[Key, Value]) -> Iterator[tuple[Key, Distribution]]:
    for key in keys:
        value = values[key]
        if isinstance(value, Distribution):
            yield key, value
