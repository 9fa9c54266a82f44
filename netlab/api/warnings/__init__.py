"""What the API server tells a client beside the answer, in `Warning` headers: deprecated fields, values that are taken
but do not do what they seem to. PURE.

Source followed: upstream's `WarningsOnCreate` and `WarningsOnUpdate` of `pkg/registry/*/*/strategy.go`, 1.33.
"""

from __future__ import annotations

from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.api.warnings import kinds, workloads

DEPRECATED = {
    ("", "v1", "endpoints"): "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    ("", "v1", "componentstatuses"): "v1 ComponentStatus is deprecated in v1.19+",
}
"""What is said of served APIs that were given up, by group, version and resource (`APILifecycleDeprecated`)."""


def of_api(resource: Resource) -> str:
    """What every request for a deprecated kind is told; "" for the others."""
    return resource.deprecated or DEPRECATED.get((resource.group, resource.version, resource.plural), "")


def on_create(obj: Obj) -> list[str]:
    """Of a new object that is valid."""
    if obj["kind"] in workloads.CREATED:
        return workloads.CREATED[obj["kind"]](obj)
    return kinds.WRITTEN[obj["kind"]](obj, None) if obj["kind"] in kinds.WRITTEN else []


def on_change(new: Obj, old: Obj) -> list[str]:
    """Of a valid change of an object (not of its status, or another subresource)."""
    if new["kind"] in workloads.CHANGED:
        return workloads.CHANGED[new["kind"]](new, old)
    return kinds.WRITTEN[new["kind"]](new, old) if new["kind"] in kinds.WRITTEN else []
