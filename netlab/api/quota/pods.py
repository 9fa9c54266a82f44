"""PURE. Pods: requests and limits, and the scopes that only pods have (pkg/quota/v1/evaluator/core/pods.go)."""

from collections.abc import Collection, Iterable, Iterator

from netlab.api import meta, pod_resources
from netlab.api.quantity import form_of, parse, render
from netlab.api.quota.lists import Amounts
from netlab.api.quota.scopes import Scope
from netlab.api.strategy.qos import qos_class
from netlab.api.types import Obj

_COMPUTE = ("cpu", "memory", "ephemeral-storage")
NAMES = frozenset(
    ["count/pods", "pods", *_COMPUTE] + [f"{kind}.{name}" for kind in ("requests", "limits") for name in _COMPUTE]
)
_MUST_SET = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
"""What every container has to name where a quota limits it; upstream regrets it and adds no more."""
_HUGE = "hugepages-"


def _extended(name: str) -> bool:
    """A resource of some device plug-in: example.com/gpu."""
    return "/" in name and not name.partition("/")[0].endswith("kubernetes.io") and not name.startswith("requests.")


def measured(names: Iterable[str]) -> list[str]:
    """Those names that pods use."""
    return [name for name in names if name in NAMES or _prefixed(name)]


def _prefixed(name: str) -> bool:
    if name.startswith((_HUGE, f"requests.{_HUGE}")):
        return True
    return name.startswith("requests.") and _extended(name.removeprefix("requests."))


def usage(pod: Obj, now: float) -> Amounts:
    """What a pod uses; one that has ended is only counted as an object."""
    found = {"count/pods": "1"}
    if not _lives(pod, now):
        return found
    requests = _written(pod, pod_resources.requests(pod), "requests")
    limits = _written(pod, pod_resources.limits(pod), "limits")
    return {**found, **_compute(requests, limits)}


def _compute(requests: Amounts, limits: Amounts) -> Amounts:
    found = {"pods": "1"}
    for name in _COMPUTE:
        if name in requests:
            found[name] = found[f"requests.{name}"] = requests[name]
        if name in limits:
            found[f"limits.{name}"] = limits[name]
    for name, amount in requests.items():
        if name.startswith(_HUGE):
            found[name] = amount
        if name.startswith(_HUGE) or _extended(name):
            found[f"requests.{name}"] = amount
    return found


def _lives(pod: Obj, now: float) -> bool:
    if meta.get(pod, "status", "phase") in ("Failed", "Succeeded"):
        return False
    metadata = pod.get("metadata") or {}
    ends, grace = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
    return not ends or grace is None or now <= meta.parse_time(ends) + grace


def _written(pod: Obj, amounts: pod_resources.Amounts, field: str) -> Amounts:
    """Numbers as text, in the form of the first container that names them."""
    forms: dict[str, str] = {}
    for resources in _resources(pod.get("spec") or {}):
        for name, amount in (resources.get(field) or {}).items():
            if parse(amount):
                forms.setdefault(name, form_of(amount))
    return {name: render(amount, forms.get(name, "decimal")) for name, amount in amounts.items()}


def _resources(spec: Obj) -> Iterator[Obj]:
    for kind in ("containers", "initContainers"):
        for container in spec.get(kind) or ():
            yield container.get("resources") or {}
    yield spec.get("resources") or {}
    yield {"requests": spec.get("overhead") or {}, "limits": spec.get("overhead") or {}}


def missing(names: Collection[str], pod: Obj) -> str:
    """What containers must specify and do not; "" when nothing."""
    wanted = _MUST_SET.intersection(names)
    lacking: dict[str, set[str]] = {}
    spec = pod.get("spec") or {}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources") or {}
        has = _compute(resources.get("requests") or {}, resources.get("limits") or {})
        for name in wanted.difference(has):
            lacking.setdefault(name, set()).add(container.get("name", ""))
    if not lacking:
        return ""
    return "must specify " + "; ".join(f"{name} for: {','.join(sorted(lacking[name]))}" for name in sorted(lacking))


def in_scope(scope: Scope, pod: Obj) -> bool:
    """Whether a pod is what a scope says."""
    spec = pod.get("spec") or {}
    if scope.name in ("Terminating", "NotTerminating"):
        deadline = spec.get("activeDeadlineSeconds")
        return (deadline is not None and deadline >= 0) == (scope.name == "Terminating")
    if scope.name in ("BestEffort", "NotBestEffort"):
        quality = meta.get(pod, "status", "qosClass") or qos_class(spec)
        return bool((quality == "BestEffort") == (scope.name == "BestEffort"))
    if scope.name == "PriorityClass":
        return _priority(scope, spec.get("priorityClassName") or "")
    if scope.name == "CrossNamespacePodAffinity":
        return any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in _terms(spec))
    return False


def _priority(scope: Scope, name: str) -> bool:
    if scope.operator == "Exists":
        return bool(name)
    if scope.operator == "DoesNotExist":
        return not name
    if scope.operator == "In":
        return name in scope.values
    # as label selectors: what has none is not in the values either
    return not name or name not in scope.values


def _terms(spec: Obj) -> Iterator[Obj]:
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        yield from rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        for weighted in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            yield weighted.get("podAffinityTerm") or {}
