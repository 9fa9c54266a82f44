"""CoreDNS' metrics, under its names. A counter is a number in a dictionary; text is made when somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator

DURATIONS = tuple(0.00025 * 2**power for power in range(16))
PROGRAMMING = tuple(0.001 * 2**power for power in range(20))
SIZES = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16e3, 32e3, 48e3, 64e3)
_TYPES = "A AAAA AXFR CNAME DNSKEY DS HINFO IXFR MX NS NSEC NSEC3 PTR RRSIG SOA SRV TXT ANY"
KNOWN_TYPES = frozenset(_TYPES.split())

COUNTERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "coredns_dns_requests_total": (
        "counter",
        "Counter of DNS requests made per zone, protocol and family.",
        ("server", "zone", "view", "proto", "family", "type"),
    ),
    "coredns_dns_do_requests_total": (
        "counter",
        "Counter of DNS requests with DO bit set per zone.",
        ("server", "zone", "view"),
    ),
    "coredns_dns_responses_total": (
        "counter",
        "Counter of response status codes.",
        ("server", "zone", "view", "rcode", "plugin"),
    ),
    "coredns_dns_request_duration_seconds": (
        "histogram",
        "Histogram of the time (in seconds) each request took per zone.",
        ("server", "zone", "view"),
    ),
    "coredns_dns_request_size_bytes": (
        "histogram",
        "Size of the EDNS0 UDP buffer in bytes (64K for TCP) per zone and protocol.",
        ("server", "zone", "view", "proto"),
    ),
    "coredns_dns_response_size_bytes": (
        "histogram",
        "Size of the returned response in bytes.",
        ("server", "zone", "view", "proto"),
    ),
    "coredns_cache_hits_total": ("counter", "The count of cache hits.", ("server", "type", "zones", "view")),
    "coredns_cache_misses_total": (
        "counter",
        "The count of cache misses. Deprecated, derive misses from cache hits/requests counters.",
        ("server", "zones", "view"),
    ),
    "coredns_cache_requests_total": ("counter", "The count of cache requests.", ("server", "zones", "view")),
    "coredns_cache_entries": ("gauge", "The number of elements in the cache.", ("server", "type", "zones", "view")),
    "coredns_cache_evictions_total": (
        "counter",
        "The count of cache evictions.",
        ("server", "type", "zones", "view"),
    ),
    "coredns_cache_served_stale_total": (
        "counter",
        "The number of requests served from stale cache entries.",
        ("server", "zones", "view"),
    ),
    "coredns_proxy_request_duration_seconds": (
        "histogram",
        "Histogram of the time each request took.",
        ("proxy_name", "to", "rcode"),
    ),
    "coredns_proxy_healthcheck_failures_total": (
        "counter",
        "Counter of the number of failed healthchecks.",
        ("proxy_name", "to"),
    ),
    "coredns_forward_healthcheck_broken_total": (
        "counter",
        "Counter of the number of complete failures of the healthchecks.",
        (),
    ),
    "coredns_forward_max_concurrent_rejects_total": (
        "counter",
        "Counter of the number of queries rejected because the concurrent queries were at maximum.",
        (),
    ),
    "coredns_kubernetes_dns_programming_duration_seconds": (
        "histogram",
        "Histogram of the time (in seconds) it took to program a dns instance.",
        ("service_kind",),
    ),
    "coredns_hosts_entries": ("gauge", "The combined number of entries in hosts and Corefile.", ()),
    "coredns_hosts_reload_timestamp_seconds": ("gauge", "The timestamp of the last reload of hosts file.", ()),
    "coredns_health_request_duration_seconds": (
        "histogram",
        "Histogram of the time (in seconds) each request took.",
        (),
    ),
    "coredns_health_request_failures_total": ("counter", "The number of times the health check failed.", ()),
    "coredns_reload_failed_total": ("counter", "Counter of the number of failed reload attempts.", ()),
    "coredns_reload_version_info": (
        "gauge",
        "A metric with a constant '1' value labeled by hash, and value which type of hash generated.",
        ("hash", "value"),
    ),
    "coredns_plugin_enabled": (
        "gauge",
        "A metric that indicates whether a plugin is enabled on per server and zone basis.",
        ("server", "zone", "view", "name"),
    ),
    "coredns_panics_total": ("counter", "A metrics that counts the number of panics.", ()),
    "coredns_build_info": (
        "gauge",
        "A metric with a constant '1' value labeled by version, revision, and goversion from which CoreDNS was built.",
        ("version", "revision", "goversion"),
    ),
}
"""Name → (type, help, labels)."""

_BOUNDS = {"coredns_kubernetes_dns_programming_duration_seconds": PROGRAMMING}

Labels = tuple[str, ...]


class Histogram:
    """Counts by upper bound; `buckets` has one more for what is above all."""

    __slots__ = ("bounds", "buckets", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.buckets[bisect_left(self.bounds, value)] += times
        self.total += value * times


class Metrics:
    """All counters of one server, by name and label values."""

    def __init__(self) -> None:
        self.values: dict[str, dict[Labels, float]] = defaultdict(lambda: defaultdict(float))
        self._histograms: dict[str, dict[Labels, Histogram]] = defaultdict(dict)

    def add(self, name: str, labels: Labels = (), by: float = 1) -> None:
        self.values[name][labels] += by

    def set(self, name: str, labels: Labels, value: float) -> None:
        self.values[name][labels] = value

    def forget(self, name: str) -> None:
        """Take all series of that name away, as for a gauge that is written anew."""
        self.values[name].clear()

    def histogram(self, name: str, labels: Labels = ()) -> Histogram:
        found = self._histograms[name].get(labels)
        if found is None:
            bounds = _BOUNDS.get(name, SIZES if name.endswith("_bytes") else DURATIONS)
            found = self._histograms[name][labels] = Histogram(bounds)
        return found

    def text(self) -> str:
        """The exposition, format 0.0.4."""
        return "".join(line + "\n" for name in COUNTERS for line in self._lines(name))

    def _lines(self, name: str) -> Iterator[str]:
        kind, help_text, labels = COUNTERS[name]
        if kind == "histogram":
            series = self._histograms[name]
        elif not labels and not self.values[name] and kind == "counter":
            self.values[name][()] = 0
        if not (self._histograms[name] if kind == "histogram" else self.values[name]):
            return
        yield f"# HELP {name} {help_text}"
        yield f"# TYPE {name} {kind}"
        if kind != "histogram":
            for values, number in sorted(self.values[name].items()):
                yield f"{name}{_braces(zip(labels, values, strict=True))} {_number(number)}"
            return
        for values, one in sorted(series.items()):
            pairs, count = list(zip(labels, values, strict=True)), 0
            for bound, in_bucket in zip((*one.bounds, None), one.buckets, strict=True):
                count += in_bucket
                text = "+Inf" if bound is None else _number(bound)
                yield f"{name}_bucket{_braces([*pairs, ('le', text)])} {count}"
            yield f"{name}_sum{_braces(pairs)} {_number(one.total)}"
            yield f"{name}_count{_braces(pairs)} {count}"


def _braces(pairs: Iterable[tuple[str, str]]) -> str:
    inside = ",".join(f'{name}="{_quoted(value)}"' for name, value in pairs)
    return f"{{{inside}}}" if inside else ""


def _quoted(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
