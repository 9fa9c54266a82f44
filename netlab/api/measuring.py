"""PURE. What components count of themselves: counters, gauges and histograms with labels, under upstream's names.

Numbers are kept in plain lists; prometheus_client is asked only when somebody scrapes. A series appears with its first
value. Help texts begin with the stability that upstream gives a metric, as its own do.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

Labels = tuple[str, ...]
Reading = Iterable[tuple[Labels, float]]
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Series:
    """One series of a histogram: counts by bucket in ascending order, the last for what is above all, and their sum."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect.bisect_left(self._bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus has them."""
        names = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        return list(zip(names, map(float, itertools.accumulate(self.counts)), strict=True))


class Histogram:
    def __init__(self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> None:
        self.name, self.text, self.bounds, self.labels = name, text, tuple(bounds), tuple(labels)
        self.series: dict[Labels, Series] = {}

    def of(self, *labels: str) -> Series:
        """The series of these values of the labels."""
        found = self.series.get(labels)
        if found is None:
            found = self.series[labels] = Series(self.bounds)
        return found

    def observe(self, value: float, *labels: str) -> None:
        self.of(*labels).observe(value)

    def family(self) -> Metric:
        from prometheus_client.metrics_core import HistogramMetricFamily

        found = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        for labels, one in sorted(self.series.items()):
            found.add_metric(labels, one.buckets(), one.total)
        return found


class Counter:
    """`read`, where given, tells the values at a scrape; otherwise they are what was added."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), read: Callable[[], Reading] | None = None):
        self.name, self.text, self.labels, self._read = name, text, tuple(labels), read
        self.values: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, *labels: str, by: float = 1.0) -> None:
        self.values[labels] = self.values.get(labels, 0.0) + by

    def family(self) -> Metric:
        from prometheus_client.metrics_core import CounterMetricFamily

        found = CounterMetricFamily(self.name, self.text, labels=self.labels)
        for labels, value in sorted(self._read() if self._read else self.values.items()):
            found.add_metric(labels, value)
        return found


class Gauge:
    """As Counter; `set` replaces a value."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), read: Callable[[], Reading] | None = None):
        self.name, self.text, self.labels, self._read = name, text, tuple(labels), read
        self.values: dict[Labels, float] = {}

    def set(self, value: float, *labels: str) -> None:
        self.values[labels] = value

    def add(self, *labels: str, by: float = 1.0) -> None:
        self.values[labels] = self.values.get(labels, 0.0) + by

    def family(self) -> Metric:
        from prometheus_client.metrics_core import GaugeMetricFamily

        found = GaugeMetricFamily(self.name, self.text, labels=self.labels)
        for labels, value in sorted(self._read() if self._read else self.values.items()):
            found.add_metric(labels, value)
        return found


Measure = Counter | Gauge | Histogram


def exposition(measures: Iterable[Measure]) -> bytes:
    """The text of /metrics: these, by name, and what the process says of itself."""
    from prometheus_client import PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Everything(Collector):
        def collect(self) -> Iterator[Metric]:
            for one in sorted(measures, key=lambda one: one.name):
                yield one.family()

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Everything())
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR):
        registry.register(collector)
    return generate_latest(registry)
