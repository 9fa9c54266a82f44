"""The quality-of-service class of a pod. Source followed: `pkg/apis/core/helper/qos/qos.go`."""

from __future__ import annotations

from netlab.api import quantity
from netlab.api.types import Obj

_COMPUTE = ("cpu", "memory")


def qos_class(spec: Obj) -> str:
    """BestEffort, Burstable or Guaranteed, by what containers and init containers ask for."""
    requests: dict[str, int] = {}
    limits: dict[str, int] = {}
    guaranteed = True
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        if not container.get("resources"):
            guaranteed = False
            continue
        resources = container.get("resources") or {}
        _add(requests, resources.get("requests"))
        found = _add(limits, resources.get("limits"))
        guaranteed = guaranteed and found == set(_COMPUTE)
    if not requests and not limits:
        return "BestEffort"
    if guaranteed and len(requests) == len(limits) and all(limits.get(name) == requests[name] for name in requests):
        return "Guaranteed"
    return "Burstable"


def _add(total: dict[str, int], given: Obj | None) -> set[str]:
    found: set[str] = set()
    for name in _COMPUTE:
        if not given or name not in given:
            continue
        value = quantity.nanos(given[name])
        if value > 0:
            found.add(name)
            total[name] = total.get(name, 0) + value
    return found
