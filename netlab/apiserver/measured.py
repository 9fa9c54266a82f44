"""What the API server counts of itself, under upstream's names: stable metrics first.

Sources followed: apiserver pkg/endpoints/metrics, pkg/admission/metrics, pkg/storage/etcd3/metrics,
pkg/util/flowcontrol/metrics, component-base/metrics (health checks). A request costs two look-ups here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from netlab.api.measuring import Counter, Gauge, Histogram, Measure, Reading, Series, exposition
from netlab.api.warnings import DEPRECATED
from netlab.apiserver.wire.message import Request, Response
from netlab.apiserver.wire.path import RequestInfo

if TYPE_CHECKING:
    from netlab.apiserver.api import Api

_DURATION = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60
)  # fmt: skip
_SIZES = tuple(10.0**power for power in range(3, 10))
_ADMISSION = (0.005, 0.025, 0.1, 0.5, 1, 2.5)
_POLICY = (0.0000005, 0.001, 0.01, 0.1, 1)
_VERBS = {"create": "POST", "update": "PUT", "deletecollection": "DELETE"}
_CONNECT = frozenset({"exec", "attach", "portforward", "proxy"})
_APPLY = ("application/apply-patch+yaml", "application/apply-patch+cbor")
_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE", "APPLY"})
_WHAT = ("component", "group", "resource", "scope", "subresource", "verb", "version")
_DRY = (*_WHAT[:1], "dry_run", *_WHAT[1:])
COMPONENT = "apiserver"


class Kind(NamedTuple):
    """The series of one kind of request: by code, how long, how large. `labels` are those of `_WHAT`."""

    labels: tuple[str, ...]
    dry: str
    changing: bool
    codes: dict[int, int]
    duration: Series
    size: Series


def scope_of(info: RequestInfo) -> str:
    """PURE. As upstream's CleanScope: one object, a namespace, the cluster; "" for a plain path."""
    if not info.resource:
        return ""
    if info.name or info.verb == "create":
        return "resource"
    return "namespace" if info.namespace else "cluster"


def verb_of(request: Request) -> str:
    """PURE. The verb as upstream's metrics have it."""
    info = request.info
    if info.subresource in _CONNECT:
        return "CONNECT"
    if info.verb == "patch":
        kind = request.headers.get("content-type", "").partition(";")[0]
        return "APPLY" if kind in _APPLY else "PATCH"
    return _VERBS.get(info.verb) or info.verb.upper()


class Measured:
    """Of one server."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[object, ...], Kind] = {}
        self.duration = Histogram(
            "apiserver_request_duration_seconds",
            "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, "
            "subresource, scope and component.",
            _DURATION,
            _DRY,
        )
        self.sizes = Histogram(
            "apiserver_response_sizes",
            "[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, scope "
            "and component.",
            _SIZES,
            _WHAT,
        )
        self.lasting = Gauge(
            "apiserver_longrunning_requests",
            "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, "
            "resource, scope and component. Not all requests are tracked this way.",
            _WHAT,
        )
        about = "broken out for each operation and API resource and type (validate or admit)."
        self.admission = Histogram(
            "apiserver_admission_controller_admission_duration_seconds",
            f"[STABLE] Admission controller latency histogram in seconds, identified by name and {about}",
            _ADMISSION,
            ("name", "operation", "rejected", "type"),
        )
        self.admission_step = Histogram(
            "apiserver_admission_step_admission_duration_seconds",
            "[STABLE] Admission sub-step latency histogram in seconds, broken out for each operation and API resource "
            "and step type (validate or admit).",
            _ADMISSION,
            ("operation", "rejected", "type"),
        )
        self.webhooks = Histogram(
            "apiserver_admission_webhook_admission_duration_seconds",
            f"[STABLE] Admission webhook latency histogram in seconds, identified by name and {about}",
            (*_ADMISSION, 10, 25),
            ("name", "operation", "rejected", "type"),
        )
        policy = ("enforcement_action", "error_type", "policy", "policy_binding")
        self.policy_checks = Counter(
            "apiserver_validating_admission_policy_check",
            "[BETA] Validation admission policy check total, labeled by policy and further identified by binding and "
            "enforcement action taken.",
            policy,
        )
        self.policy_duration = Histogram(
            "apiserver_validating_admission_policy_check_duration_seconds",
            "[BETA] Validation admission latency for individual validation expressions in seconds, labeled by policy "
            "and further including binding and enforcement action taken.",
            _POLICY,
            policy,
        )
        self.deprecated = Gauge(
            "apiserver_requested_deprecated_apis",
            "[STABLE] Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, "
            "subresource, and removed_release.",
            ("group", "removed_release", "resource", "subresource", "version"),
        )
        self.health = Gauge(
            "kubernetes_healthcheck",
            "[STABLE] This metric records the result of a single healthcheck.",
            ("name", "type"),
        )
        self.health_asked = Counter(
            "kubernetes_healthchecks",
            "[STABLE] This metric records the results of all healthcheck.",
            ("name", "status", "type"),
        )
        kind = ("operation", "type")
        self.store_duration = Histogram(
            "etcd_request_duration_seconds",
            "[ALPHA] Etcd request latency in seconds for each operation and object type.",
            _DURATION,
            kind,
        )
        self.store_total = Counter(
            "etcd_requests", "[ALPHA] Etcd request counts for each operation and object type.", kind
        )
        self.store_errors = Counter(
            "etcd_request_errors", "[ALPHA] Etcd failed request counts for each operation and object type.", kind
        )
        self._stored: dict[tuple[str, str], Series] = {}
        self._now = {True: 0, False: 0}
        self._peak = {True: 0, False: 0}
        self._before = {True: 0, False: 0}
        self._turn = 0.0

    def stored(self, operation: str, collection: str, began: float, *, failed: bool = False) -> None:
        """The store has answered; `began` by time.perf_counter(). What is read comes from memory and is not counted."""
        key = (operation, collection)
        series = self._stored.get(key)
        if series is None:
            series = self._stored[key] = self.store_duration.of(*key)
        series.observe(time.perf_counter() - began)
        self.store_total.add(*key)
        if failed:
            self.store_errors.add(*key)

    def kind(self, request: Request) -> Kind:
        """The series of a request's kind."""
        info = request.info
        dry = request.query.get("dryRun", "") if request.raw_query else ""
        scope = scope_of(info)
        patch = request.headers.get("content-type") if info.verb == "patch" else None
        key = (info.verb, info.group, info.version, info.resource, info.subresource, scope, dry, patch)
        found = self._kinds.get(key)
        if found is None:
            verb = verb_of(request)
            labels = (COMPONENT, info.group, info.resource, scope, info.subresource, verb, info.version)
            duration = self.duration.of(COMPONENT, dry, *labels[1:])
            known = {id(one.duration): one for one in self._kinds.values()}.get(id(duration))
            found = known or Kind(labels, dry, verb in _CHANGING, {}, duration, self.sizes.of(*labels))
            if (info.group, info.version, info.resource) in DEPRECATED:
                self.deprecated.set(1.0, info.group, "", info.resource, info.subresource, info.version)
            self._kinds[key] = found
        return found

    def begun(self, kind: Kind, now: float) -> None:
        """A request that ends soon has come."""
        changing = kind.changing
        if now >= self._turn:
            self._before, self._peak, self._turn = self._peak, dict(self._now), now + 1
        self._now[changing] = count = self._now[changing] + 1
        if count > self._peak[changing]:
            self._peak[changing] = count

    def ended(self, kind: Kind, found: Response, seconds: float) -> None:
        """It has its answer."""
        self._now[kind.changing] -= 1
        kind.codes[found.code] = kind.codes.get(found.code, 0) + 1
        kind.duration.observe(seconds)
        if kind.labels[5] in ("GET", "LIST"):
            kind.size.observe(len(found.body) + sum(map(len, found.more)))

    def lasts(self, kind: Kind) -> None:
        """It lasts: a watch, or a connection that is handed on."""
        self._now[kind.changing] -= 1
        kind.codes[200] = kind.codes.get(200, 0) + 1

    def total(self) -> int:
        """All answers so far."""
        return sum(sum(codes.values()) for codes in {id(one.codes): one.codes for one in self._kinds.values()}.values())

    def requests(self) -> Iterator[tuple[tuple[str, ...], float]]:
        """Of apiserver_request_total."""
        for kind in {id(one): one for one in self._kinds.values()}.values():
            for code, count in kind.codes.items():
                yield (str(code), COMPONENT, kind.dry, *kind.labels[1:]), float(count)

    def inflight(self) -> Reading:
        """The most at once within the last second, by kind."""
        recent = time.perf_counter() < self._turn
        peak = {one: max(self._peak[one], self._before[one]) if recent else self._now[one] for one in (True, False)}
        return [(("mutating",), float(peak[True])), (("readOnly",), float(peak[False]))]

    def text(self, api: Api) -> bytes:
        """/metrics."""
        requests = Counter(
            "apiserver_request",
            "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, "
            "scope, component, and HTTP response code.",
            ("code", *_DRY),
            self.requests,
        )
        inflight = Gauge(
            "apiserver_current_inflight_requests",
            "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in "
            "last second.",
            ("request_kind",),
            self.inflight,
        )
        own = [one for one in vars(self).values() if isinstance(one, Counter | Gauge | Histogram)]
        return exposition([requests, inflight, *own, *_storage(api), *_flow(api), *_cel()])


def _storage(api: Api) -> list[Measure]:
    def objects() -> Reading:
        homes = {api.stored(resource).collection for resource in api.registry if resource.stored}
        return [((home,), float(api.store.count(home))) for home in homes]

    def size() -> Reading:
        path = api.config.store_path
        return [(("etcd-0",), float(path.stat().st_size))] if path.exists() else []

    return [
        Gauge(
            "apiserver_storage_objects",
            "[STABLE] Number of stored objects at the time of last check split by kind. In case of a fetching error, "
            "the value will be -1.",
            ("resource",),
            objects,
        ),
        Gauge(
            "apiserver_storage_size_bytes",
            "[STABLE] Size of the storage database file physically allocated in bytes.",
            ("storage_cluster_id",),
            size,
        ),
    ]


def _flow(api: Api) -> list[Measure]:
    levels, flows = api.flow.levels, api.flow.flows
    both = ("flow_schema", "priority_level")
    executing = Gauge(
        "apiserver_flowcontrol_current_executing_requests",
        "[BETA] Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API "
        "Priority and Fairness subsystem",
        both,
        lambda: [(key, float(one.executing)) for key, one in flows.items()],
    )
    seats = Gauge(
        "apiserver_flowcontrol_current_executing_seats",
        "[BETA] Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any "
        "stage otherwise) requests in the API Priority and Fairness subsystem",
        both,
        lambda: [(key, float(one.executing)) for key, one in flows.items()],
    )
    queued = Gauge(
        "apiserver_flowcontrol_current_inqueue_requests",
        "[BETA] Number of requests currently pending in queues of the API Priority and Fairness subsystem",
        both,
        lambda: [(key, float(one.waiting)) for key, one in flows.items()],
    )
    dispatched = Counter(
        "apiserver_flowcontrol_dispatched_requests",
        "[BETA] Number of requests executed by API Priority and Fairness subsystem",
        both,
        lambda: [(key, float(one.dispatched)) for key, one in flows.items()],
    )
    nominal = Gauge(
        "apiserver_flowcontrol_nominal_limit_seats",
        "[BETA] Nominal number of execution seats configured for each priority level",
        ("priority_level",),
        lambda: [((name,), float(one.limits.seats if one.limits else 0)) for name, one in levels.items()],
    )
    rejected = Counter(
        "apiserver_flowcontrol_rejected_requests",
        "[BETA] Number of requests rejected by API Priority and Fairness subsystem",
        (*both, "reason"),
        lambda: [((*key, why), float(n)) for key, one in flows.items() for why, n in one.rejected.items()],
    )
    return [executing, seats, queued, dispatched, nominal, rejected, api.flow.waited]


def _cel() -> list[Measure]:
    from netlab.api.cel.environment import COMPILED, EVALUATED, SECONDS

    rows = (
        ("apiserver_cel_compilation_duration_seconds", "[BETA] CEL compilation time in seconds.", COMPILED),
        ("apiserver_cel_evaluation_duration_seconds", "[BETA] CEL evaluation time in seconds.", EVALUATED),
    )
    found: list[Measure] = []
    for name, text, series in rows:
        one = Histogram(name, text, SECONDS)
        one.series = {(): series}
        found.append(one)
    return found
