"""PURE. What a pod asks for as a whole. Source followed: k8s.io/component-helpers resource (PodRequests, PodLimits)."""

from collections.abc import Callable
from fractions import Fraction

from netlab.api.quantity import parse
from netlab.api.types import Obj

Amounts = dict[str, Fraction]


def amounts(quantities: Obj | None) -> Amounts:
    """A resource list as numbers."""
    return {name: parse(value) for name, value in (quantities or {}).items()}


def requests(pod: Obj) -> Amounts:
    """Requests of containers and sidecars together, or of an init container beside the sidecars before it."""
    return _whole(pod, lambda container: amounts((container.get("resources") or {}).get("requests")), "requests")


def limits(pod: Obj) -> Amounts:
    """As `requests`, of limits."""
    return _whole(pod, lambda container: amounts((container.get("resources") or {}).get("limits")), "limits")


def _whole(pod: Obj, of: Callable[[Obj], Amounts], field: str) -> Amounts:
    spec = pod.get("spec") or {}
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, of(container))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = of(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            _add(own, sidecars)
        _most(peak, own)
    _add(total, sidecars)
    _most(total, peak)
    total |= amounts((spec.get("resources") or {}).get(field))
    overhead = amounts(spec.get("overhead"))
    _add(total, overhead if field == "requests" else {name: n for name, n in overhead.items() if total.get(name)})
    return total


def _add(total: Amounts, more: Amounts) -> None:
    for name, number in more.items():
        total[name] = total.get(name, Fraction(0)) + number


def _most(total: Amounts, other: Amounts) -> None:
    for name, number in other.items():
        total[name] = max(total.get(name, number), number)
