"""What a proxy measures of itself, under upstream's names (`pkg/proxy/metrics`), for port 10249.

Numbers are kept in a few lists; prometheus_client is asked only when somebody scrapes.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from netlab.dataplane.services import Family, ServiceState

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

METRICS_PORT = 10249
SYNC_BUCKETS = tuple(0.001 * 2**power for power in range(15))
PROGRAMMING_BUCKETS = (
    0.25, 0.5, *map(float, range(1, 60)), *map(float, range(60, 120, 5)), *map(float, range(120, 301, 30))
)  # fmt: skip


@dataclass(slots=True)
class Histogram:
    """Counts by bucket, in ascending order; the last is for what is above all."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)
        self.counts[bisect.bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus has them."""
        names = [*(f"{bound:g}" for bound in self.bounds), "+Inf"]
        counts = self.counts or [0] * len(names)
        return list(zip(names, map(float, itertools.accumulate(counts)), strict=True))


@dataclass(slots=True)
class ProxyMetrics:
    """One family's numbers."""

    family: Family = "IPv4"
    sync: Histogram = field(default_factory=lambda: Histogram(SYNC_BUCKETS))
    full_sync: Histogram = field(default_factory=lambda: Histogram(SYNC_BUCKETS))
    partial_sync: Histogram = field(default_factory=lambda: Histogram(SYNC_BUCKETS))
    programming: Histogram = field(default_factory=lambda: Histogram(PROGRAMMING_BUCKETS))
    conntrack: Histogram = field(default_factory=lambda: Histogram(SYNC_BUCKETS))
    conntrack_deleted: int = 0
    last_sync: float = 0.0
    last_queued: float = 0.0
    service_changes: int = 0
    service_pending: int = 0
    endpoint_changes: int = 0
    endpoint_pending: int = 0
    failures: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    """Failed syncs: full ones, and partial ones."""
    triggers: dict[str, list[float]] = field(default_factory=dict)
    """When what changed a Service's endpoints happened, by EndpointSlice, until a sync takes it."""
    _taken: list[float] = field(default_factory=list)
    _taken_pending: tuple[int, int] = (0, 0)

    def begin(self) -> None:
        """A sync begins with what is known now; what comes while it runs is the next one's. After one that failed, the
        next takes the same once more."""
        self._taken += itertools.chain.from_iterable(self.triggers.values())
        self.triggers.clear()
        self._taken_pending = self.service_pending, self.endpoint_pending

    def synced(self, full: bool, seconds: float, now: float) -> None:
        """Everything that the sync began with is in the kernel."""
        self.sync.observe(seconds)
        (self.full_sync if full else self.partial_sync).observe(seconds)
        self.last_sync = now
        self.service_pending -= self._taken_pending[0]
        self.endpoint_pending -= self._taken_pending[1]
        self._taken_pending = 0, 0
        for when in self._taken:
            self.programming.observe(max(0.0, now - when))
        self._taken.clear()


def no_local(states: Iterable[ServiceState]) -> dict[str, int]:
    """How many Services a policy Local leaves without an endpoint here, by traffic policy."""
    internal, external = set(), set()
    for state in states:
        port, choice = state.port, state.choice
        if choice.has_any and not choice.local:
            if port.internal_local:
                internal.add(port.name.service)
            if port.external_local and port.externally_accessible:
                external.add(port.name.service)
    return {"internal": len(internal), "external": len(external)}


_HISTOGRAMS = (
    ("sync_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds", "sync"),
    ("sync_full_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds for full resyncs", "full_sync"),
    (
        "sync_partial_proxy_rules_duration_seconds",
        "SyncProxyRules latency in seconds for partial resyncs",
        "partial_sync",
    ),
    ("network_programming_duration_seconds", "In Cluster Network Programming Latency in seconds", "programming"),
    ("conntrack_reconciler_sync_duration_seconds", "ReconcileConntrackFlowsLatency latency in seconds", "conntrack"),
)  # fmt: skip
_GAUGES = (
    ("sync_proxy_rules_last_timestamp_seconds", "The last time proxy rules were successfully synced", "last_sync"),
    ("sync_proxy_rules_last_queued_timestamp_seconds", "The last time a sync of proxy rules was queued", "last_queued"),
    ("sync_proxy_rules_service_changes_pending", "Pending proxy rules Service changes", "service_pending"),
    ("sync_proxy_rules_endpoint_changes_pending", "Pending proxy rules Endpoint changes", "endpoint_pending"),
)
_COUNTERS = (
    ("sync_proxy_rules_service_changes", "Cumulative proxy rules Service changes", "service_changes"),
    ("sync_proxy_rules_endpoint_changes", "Cumulative proxy rules Endpoint changes", "endpoint_changes"),
    (
        "conntrack_reconciler_deleted_entries",
        "Cumulative conntrack flows deleted by conntrack reconciler",
        "conntrack_deleted",
    ),
)
_FAILURES = {
    "nftables": ("sync_proxy_rules_nftables_sync_failures", "Cumulative proxy nftables sync failures"),
    "iptables": ("sync_proxy_rules_iptables_restore_failures", "Cumulative proxy iptables restore failures"),
    "ipvs": ("sync_proxy_rules_iptables_restore_failures", "Cumulative proxy iptables restore failures"),
}
_PARTIAL = (
    "sync_proxy_rules_iptables_partial_restore_failures",
    "Cumulative proxy iptables partial restore failures",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One family's numbers with the Services that they are about; `health` counts answers by (path, code)."""

    metrics: ProxyMetrics
    states: Sequence[ServiceState]
    rules: dict[str, int]


def exposition(measured: Sequence[Measured], mode: str, health: dict[tuple[str, int], int]) -> str:
    """The text of /metrics."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Everything(Collector):
        def collect(self) -> Iterator[Metric]:
            yield from _families(measured, mode)
            yield from _health(health)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Everything())
    return generate_latest(registry).decode()


def _families(measured: Sequence[Measured], mode: str) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    for name, text, attribute in _HISTOGRAMS:
        histogram = HistogramMetricFamily(f"kubeproxy_{name}", text, labels=["ip_family"])
        for one in measured:
            found: Histogram = getattr(one.metrics, attribute)
            histogram.add_metric([one.metrics.family], found.buckets(), found.total)
        yield histogram
    for name, text, attribute in _GAUGES:
        gauge = GaugeMetricFamily(f"kubeproxy_{name}", text, labels=["ip_family"])
        for one in measured:
            gauge.add_metric([one.metrics.family], float(getattr(one.metrics, attribute)))
        yield gauge
    for name, text, attribute in _COUNTERS:
        counter = CounterMetricFamily(f"kubeproxy_{name}", text, labels=["ip_family"])
        for one in measured:
            counter.add_metric([one.metrics.family], float(getattr(one.metrics, attribute)))
        yield counter
    yield from _rules(measured)
    yield from _failed(measured, mode)


def _rules(measured: Sequence[Measured]) -> Iterator[Metric]:
    from prometheus_client.metrics_core import GaugeMetricFamily

    text = "Number of services without a local endpoint by traffic policy"
    lacking = GaugeMetricFamily(
        "kubeproxy_sync_proxy_rules_no_local_endpoints_total", text, labels=["traffic_policy", "ip_family"]
    )
    rules = GaugeMetricFamily(
        "kubeproxy_sync_proxy_rules_iptables_total",
        "Total number of iptables rules owned by kube-proxy",
        labels=["table", "ip_family"],
    )
    for one in measured:
        for policy, count in no_local(one.states).items():
            lacking.add_metric([policy, one.metrics.family], float(count))
        for table, count in one.rules.items():
            rules.add_metric([table, one.metrics.family], float(count))
    yield lacking
    if any(one.rules for one in measured):
        yield rules


def _failed(measured: Sequence[Measured], mode: str) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily

    for full, (name, text) in ((True, _FAILURES[mode]), (False, _PARTIAL)):
        if not full and mode != "iptables":
            continue
        counter = CounterMetricFamily(f"kubeproxy_{name}", text, labels=["ip_family"])
        for one in measured:
            failures = one.metrics.failures
            count = failures[full] if mode == "iptables" else sum(failures.values())
            counter.add_metric([one.metrics.family], float(count))
        yield counter


def _health(answers: dict[tuple[str, int], int]) -> Iterator[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily

    for path in ("healthz", "livez"):
        text = f"Cumulative proxy {path} HTTP status"
        counter = CounterMetricFamily(f"kubeproxy_proxy_{path}", text, labels=["code"])
        for code in (200, 503):
            counter.add_metric([str(code)], float(answers.get((f"/{path}", code), 0)))
        yield counter
