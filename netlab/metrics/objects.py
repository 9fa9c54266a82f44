"""PURE. metrics.k8s.io/v1beta1 as it is served: objects, lists, tables, discovery (metrics-server pkg/api)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from netlab.api import meta, quantity
from netlab.api.types import Obj
from netlab.metrics.scrape import Usage

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
API_VERSION = f"{GROUP}/{VERSION}"
KINDS = {"nodes": ("NodeMetrics", False), "pods": ("PodMetrics", True)}
"""Resource → (kind, whether it is namespaced)."""


def node_metrics(node: Obj, usage: Usage) -> Obj:
    """NodeMetrics."""
    return {**_named(node, "NodeMetrics", usage), "usage": _usage(usage)}


def pod_metrics(pod: Obj, containers: Mapping[str, Usage]) -> Obj:
    """PodMetrics; its time is that of the oldest reading."""
    oldest = min(containers.values(), key=lambda usage: usage.stamp)
    listed = [{"name": name, "usage": _usage(usage)} for name, usage in sorted(containers.items())]
    return {**_named(pod, "PodMetrics", oldest), "containers": listed}


def _named(about: Obj, kind: str, usage: Usage) -> Obj:
    metadata: Obj = {"name": meta.name(about), "creationTimestamp": meta.rfc3339(usage.stamp)}
    if meta.namespace(about):
        metadata["namespace"] = meta.namespace(about)
    if meta.labels(about):
        metadata["labels"] = dict(meta.labels(about))
    return {
        "kind": kind,
        "apiVersion": API_VERSION,
        "metadata": metadata,
        "timestamp": meta.rfc3339(usage.stamp),
        "window": duration(usage.window),
    }


def _usage(usage: Usage) -> Obj:
    return {
        "cpu": f"{usage.nano_cores}n" if usage.nano_cores else "0",
        "memory": quantity.render(usage.memory, "binary"),
    }


def duration(seconds: float) -> str:
    """Go's text of a duration, to the millisecond."""
    minutes, rest = divmod(round(seconds, 3), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{int(minutes)}m{text}" if minutes else text


def listed(kind: str, items: Sequence[Obj]) -> Obj:
    """The List object; its items go without kind and apiVersion."""
    plain = [{key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for item in items]
    return {"kind": f"{kind}List", "apiVersion": API_VERSION, "metadata": {}, "items": plain}


def table(items: Sequence[Obj], include: str) -> Obj:
    """meta.k8s.io/v1 Table with one column for each resource that the first object uses."""
    names = sorted(_total(items[0])) if items else []
    columns = [
        {"name": "Name", "type": "string", "format": "name", "description": "Name of the resource", "priority": 0}
    ]
    quantities = [(name, "quantity") for name in names] + ([("Window", "duration")] if items else [])
    columns += [
        {"name": name, "type": "string", "format": form, "description": "", "priority": 0} for name, form in quantities
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": columns,
        "rows": [_row(item, names, include) for item in items],
    }


def _row(item: Obj, names: Sequence[str], include: str) -> Obj:
    used = _total(item)
    cells = [meta.name(item), *(used.get(name, "0") for name in names), item["window"]]
    shown = None
    if include != "None":
        shown = item
    if include == "Metadata":
        head = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
        shown = {**head, "metadata": item["metadata"]}
    return {"cells": cells, "object": shown}


def _total(item: Obj) -> dict[str, str]:
    """What an object uses in all."""
    usages = [item["usage"]] if "usage" in item else [one["usage"] for one in item["containers"]]
    sums: dict[str, Fraction] = {}
    for usage in usages:
        for name, value in usage.items():
            sums[name] = sums.get(name, Fraction(0)) + quantity.parse(value)
    return {name: quantity.render(value, "binary" if name == "memory" else "decimal") for name, value in sums.items()}


def resource_list() -> Obj:
    """`/apis/metrics.k8s.io/v1beta1`."""
    resources = [
        {"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]}
        for name, (kind, namespaced) in KINDS.items()
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": API_VERSION, "resources": resources}


def group() -> Obj:
    """The group, as `/apis` lists it."""
    version = {"groupVersion": API_VERSION, "version": VERSION}
    return {"name": GROUP, "versions": [version], "preferredVersion": version}


def aggregated(version: str) -> Obj:
    """`/apis` as aggregated discovery, v2 or v2beta1."""
    resources = [
        {
            "resource": name,
            "responseKind": {"group": GROUP, "version": VERSION, "kind": kind},
            "scope": "Namespaced" if namespaced else "Cluster",
            "singularResource": "",
            "verbs": ["get", "list"],
        }
        for name, (kind, namespaced) in KINDS.items()
    ]
    served = {"version": VERSION, "resources": resources, "freshness": "Current"}
    item = {"metadata": {"name": GROUP, "creationTimestamp": None}, "versions": [served]}
    head = {"kind": "APIGroupDiscoveryList", "apiVersion": f"apidiscovery.k8s.io/{version}", "metadata": {}}
    return {**head, "items": [item]}
