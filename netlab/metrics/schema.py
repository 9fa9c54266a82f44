"""PURE. The schemas of metrics.k8s.io/v1beta1, as OpenAPI v2 and v3 (k8s.io/metrics/pkg/apis/metrics/v1beta1)."""

from __future__ import annotations

from typing import Any

from netlab.api.types import Obj
from netlab.metrics.objects import GROUP, KINDS, VERSION

_PACKAGE = "io.k8s.metrics.pkg.apis.metrics.v1beta1"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"


def _definitions(reference: str) -> dict[str, Obj]:
    """By name; `reference` is what a $ref begins with."""

    def ref(name: str) -> Obj:
        return {"$ref": f"{reference}{name}"}

    def described(text: str, schema: Obj) -> Obj:
        return (
            {"allOf": [schema], "description": text} if "components" in reference else {**schema, "description": text}
        )

    usage = {
        "description": "The memory usage is the memory working set.",
        "type": "object",
        "additionalProperties": ref(_QUANTITY),
    }
    window = {
        "timestamp": described(
            "The following fields define time interval from which metrics were collected from the interval "
            "[Timestamp-Window, Timestamp].",
            ref(f"{_META}.Time"),
        ),
        "window": ref(f"{_META}.Duration"),
    }
    container: Obj = {
        "description": "ContainerMetrics sets resource usage metrics of a container.",
        "type": "object",
        "required": ["name", "usage"],
        "properties": {
            "name": {
                "description": "Container name corresponding to the one from pod.spec.containers.",
                "type": "string",
            },
            "usage": usage,
        },
    }
    containers = {
        "description": "Metrics for all containers are collected within the same time window.",
        "type": "array",
        "items": ref(f"{_PACKAGE}.ContainerMetrics"),
    }
    found = {
        f"{_PACKAGE}.ContainerMetrics": container,
        f"{_PACKAGE}.NodeMetrics": _kind(
            "NodeMetrics", "a node", {**window, "usage": usage}, ["timestamp", "window", "usage"], ref
        ),
        f"{_PACKAGE}.PodMetrics": _kind(
            "PodMetrics", "a pod", {**window, "containers": containers}, ["timestamp", "window", "containers"], ref
        ),
        _QUANTITY: {"type": "string", "description": "Quantity is a fixed-point representation of a number."},
        f"{_META}.Time": {
            "type": "string",
            "format": "date-time",
            "description": "Time is a wrapper around time.Time.",
        },
        f"{_META}.Duration": {"type": "string", "description": "Duration is a wrapper around time.Duration."},
        f"{_META}.ObjectMeta": {"type": "object", "description": "ObjectMeta is metadata of an object."},
        f"{_META}.ListMeta": {"type": "object", "description": "ListMeta describes metadata of a list."},
    }
    for kind, _ in KINDS.values():
        found[f"{_PACKAGE}.{kind}List"] = _list(kind, ref)
    return found


_HEAD: Obj = {
    "apiVersion": {
        "description": "APIVersion defines the versioned schema of this representation of an object.",
        "type": "string",
    },
    "kind": {
        "description": "Kind is a string value representing the REST resource this object represents.",
        "type": "string",
    },
}


def _kind(kind: str, whose: str, properties: Obj, required: list[str], ref: Any) -> Obj:
    return {
        "description": f"{kind} sets resource usage metrics of {whose}.",
        "type": "object",
        "required": required,
        "properties": {**_HEAD, "metadata": ref(f"{_META}.ObjectMeta"), **properties},
        "x-kubernetes-group-version-kind": [{"group": GROUP, "kind": kind, "version": VERSION}],
    }


def _list(kind: str, ref: Any) -> Obj:
    items = {"description": f"List of {kind}.", "type": "array", "items": ref(f"{_PACKAGE}.{kind}")}
    return {
        "description": f"{kind}List is a list of {kind}.",
        "type": "object",
        "required": ["items"],
        "properties": {**_HEAD, "metadata": ref(f"{_META}.ListMeta"), "items": items},
        "x-kubernetes-group-version-kind": [{"group": GROUP, "kind": f"{kind}List", "version": VERSION}],
    }


def _paths(answer: Any) -> Obj:
    """Every path that is served; `answer` makes the responses for a kind."""
    base = f"/apis/{GROUP}/{VERSION}"
    found: Obj = {}
    for plural, (kind, namespaced) in KINDS.items():
        places = [f"{base}/namespaces/{{namespace}}/{plural}" if namespaced else f"{base}/{plural}"]
        rows = [(places[0], "list", f"{kind}List"), (f"{places[0]}/{{name}}", "get", kind)]
        if namespaced:
            rows.append((f"{base}/{plural}", "list", f"{kind}List"))
        for path, action, shown in rows:
            operation = {
                "description": f"{action} objects of kind {kind}",
                "tags": ["metrics_v1beta1"],
                "operationId": f"{action}MetricsV1beta1{kind}{path.count('{')}",
                "responses": answer(shown),
                "x-kubernetes-action": action,
                "x-kubernetes-group-version-kind": {"group": GROUP, "kind": kind, "version": VERSION},
            }
            found[path] = {"get": operation}
    return found


def v3() -> Obj:
    """`/openapi/v3/apis/metrics.k8s.io/v1beta1`."""

    def answer(kind: str) -> Obj:
        schema = {"$ref": f"#/components/schemas/{_PACKAGE}.{kind}"}
        return {"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}}

    schemas = _definitions("#/components/schemas/")
    info = {"title": "metrics-server", "version": VERSION}
    paths = {path: {**item, "parameters": _parameters(path, v3=True)} for path, item in _paths(answer).items()}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def v2() -> Obj:
    """`/openapi/v2`."""

    def answer(kind: str) -> Obj:
        return {"200": {"description": "OK", "schema": {"$ref": f"#/definitions/{_PACKAGE}.{kind}"}}}

    info = {"title": "metrics-server", "version": VERSION}
    paths = {path: {**item, "parameters": _parameters(path, v3=False)} for path, item in _paths(answer).items()}
    return {"swagger": "2.0", "info": info, "paths": paths, "definitions": _definitions("#/definitions/")}


def _parameters(path: str, *, v3: bool) -> list[Obj]:
    texts = {"namespace": "object name and auth scope, such as for teams and projects", "name": "name of the object"}
    typed: Obj = {"schema": {"type": "string"}} if v3 else {"type": "string"}
    return [
        {"name": name, "in": "path", "required": True, "description": text, **typed}
        for name, text in texts.items()
        if f"{{{name}}}" in path
    ]
