"""PURE. Custom kinds in the published schemas, in the form of the built-in definitions (`netlab.api.schema`).

Source followed: apiextensions-apiserver `pkg/controller/openapi/builder/builder.go`.
"""

from __future__ import annotations

from typing import Any

from netlab.api.openapi.definitions import package
from netlab.api.resources import Registry
from netlab.api.types import Obj
from netlab.apiserver.extensions.kinds import CustomResource

_META = "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1."
_TYPE: Obj = {
    "apiVersion": {
        "type": "string",
        "description": "APIVersion defines the versioned schema of this representation of an object.",
    },
    "kind": {"type": "string", "description": "Kind is what this object represents."},
}
_OBJECT_META: Obj = {"$ref": f"{_META}ObjectMeta", "description": "Standard object's metadata."}
_LIST_META: Obj = {"$ref": f"{_META}ListMeta", "description": "Standard list metadata."}


def definitions(registry: Registry) -> dict[str, Obj]:
    """Definitions of the custom kinds of a registry and of their lists, by name."""
    found: dict[str, Obj] = {}
    for resource in registry:
        if isinstance(resource, CustomResource):
            prefix = package(resource.group, resource.version)
            found[prefix + resource.kind] = kind_definition(resource)
            found[prefix + resource.list_kind] = _list(resource, prefix + resource.kind)
    return found


def _gvk(resource: CustomResource, kind: str) -> list[Obj]:
    return [{"group": resource.group, "version": resource.version, "kind": kind}]


def kind_definition(resource: CustomResource) -> Obj:
    """The definition of one kind."""
    schema: Obj = _with_embedded(resource.schema)
    properties = {**(schema.get("properties") or {}), **_TYPE, "metadata": _OBJECT_META}
    return {
        **schema,
        "type": "object",
        "properties": dict(sorted(properties.items())),
        "x-kubernetes-group-version-kind": _gvk(resource, resource.kind),
    }


def _list(resource: CustomResource, item: str) -> Obj:
    items = {"type": "array", "items": {"$ref": f"#/$defs/{item}"}, "description": f"List of {resource.plural}."}
    return {
        "type": "object",
        "description": f"{resource.list_kind} is a list of {resource.kind}",
        "required": ["items"],
        "properties": {**_TYPE, "items": items, "metadata": _LIST_META},
        "x-kubernetes-group-version-kind": _gvk(resource, resource.list_kind),
    }


def _with_embedded(node: Any) -> Any:
    """A copy in which embedded objects have the fields that every object has."""
    if isinstance(node, list):
        return [_with_embedded(one) for one in node]
    if not isinstance(node, dict):
        return node
    found = {key: one if key in ("default", "enum", "example") else _with_embedded(one) for key, one in node.items()}
    if found.get("x-kubernetes-embedded-resource") is True:
        found["properties"] = {**(found.get("properties") or {}), **_TYPE, "metadata": _OBJECT_META}
    return found
