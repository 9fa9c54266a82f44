"""Definitions as OpenAPI v2 and v3 want them, only those that the served kinds reach.

The source says `"type": ["string", "null"]` and puts an enum on apiVersion and kind; upstream's documents do neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from netlab.api import schema
from netlab.api.resources import Resource
from netlab.api.types import Obj

_SOURCE = "#/$defs/"
_V2 = "#/definitions/"
_V3 = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_ALWAYS = tuple(_META + kind for kind in ("DeleteOptions", "Patch", "Status", "WatchEvent"))

_V2_SPECIAL: dict[str, Obj] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": "string", "format": "int-or-string"},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": "string"},
}
_V3_SPECIAL: dict[str, Obj] = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {
        "format": "int-or-string",
        "oneOf": [{"type": "integer"}, {"type": "string"}],
    },
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
}


def package(group: str, version: str) -> str:
    """The prefix of a custom group's definitions: `example.com`, `v1` → `com.example.v1.`."""
    return ".".join([*reversed(group.split(".")), version, ""])


def roots(resources: Iterable[Resource]) -> list[str]:
    """Names of the definitions of these kinds, their lists and what their subresources carry."""
    found: dict[str, None] = {}
    for resource in resources:
        kinds = [(resource.api_version, resource.kind), (resource.api_version, resource.list_kind)]
        kinds += [(f"{s.group}/{s.version}" if s.group else s.version, s.kind) for s in resource.subresources]
        for api_version, kind in kinds:
            name = definition_name(resource, api_version, kind)
            if name:
                found[name] = None
    found.update(dict.fromkeys(_ALWAYS))
    return list(found)


def definition_name(resource: Resource, api_version: str, kind: str) -> str | None:
    """The name of a kind's definition; custom kinds are named after their group."""
    if resource.custom and api_version == resource.api_version:
        return package(resource.group, resource.version) + kind
    return schema.definition_name(api_version, kind)


def _reached(names: Iterable[str], extra: Mapping[str, Obj]) -> dict[str, Obj]:
    known = schema.definitions()
    found: dict[str, Obj] = {}
    todo = list(names)
    while todo:
        name = todo.pop()
        if name in found:
            continue
        definition = extra.get(name) or known.get(name)
        if definition is None:
            continue
        found[name] = definition
        _references(definition, todo)
    return dict(sorted(found.items()))


def _references(node: Any, found: list[str]) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                found.append(value.rpartition("/")[2])
            elif isinstance(value, dict | list):
                _references(value, found)
    elif isinstance(node, list):
        for value in node:
            _references(value, found)


_GVK = "x-kubernetes-group-version-kind"


def v2_definitions(names: Sequence[str], extra: Mapping[str, Obj]) -> dict[str, Obj]:
    """`definitions` of a v2 document."""
    reached = _reached(names, extra)
    plain = {name: _plain(one) if name in extra else one for name, one in reached.items()}
    return {name: _V2_SPECIAL.get(name) or _definition(one, _V2) for name, one in plain.items()}


def _plain(node: Any) -> Any:
    """A custom kind's schema without what v2 cannot say, or old clients take amiss (apiextensions `openapi/v2`)."""
    if not isinstance(node, dict):
        return node
    free = node.get("x-kubernetes-preserve-unknown-fields") is True
    if free and _GVK in node:
        return {"type": "object", _GVK: node[_GVK]}
    found = {key: one for key, one in node.items() if key not in ("anyOf", "oneOf", "allOf", "not", "nullable")}
    if node.get("nullable"):
        found.pop("type", None)
    if free or node.get("nullable"):
        found.pop("items", None)
        found.pop("properties", None)
    if found.get("type") == "array" and "items" not in found:
        del found["type"]
    properties = found.get("properties")
    if properties:
        found["properties"] = {name: _plain(one) for name, one in properties.items()}
        nullable = {name for name, one in properties.items() if one.get("nullable")}
        found["required"] = [name for name in found.get("required") or () if name not in nullable]
        if not found["required"]:
            del found["required"]
    for key in ("items", "additionalProperties"):
        if key in found:
            found[key] = _plain(found[key])
    return found


def v3_schemas(names: Sequence[str], extra: Mapping[str, Obj]) -> dict[str, Obj]:
    """`components.schemas` of a v3 document."""
    reached = _reached(names, extra)
    return {name: _V3_SPECIAL.get(name) or _definition(one, _V3) for name, one in reached.items()}


def _definition(definition: Obj, prefix: str) -> Obj:
    converted = _convert(definition, prefix)
    if _GVK in definition:
        for field in ("apiVersion", "kind"):
            (converted.get("properties") or {}).get(field, {}).pop("enum", None)
    return converted


def _convert(node: Obj, prefix: str) -> Obj:
    """One schema node: types without null, references with the document's prefix."""
    if "$ref" in node:
        return _reference(node, prefix)
    found: Obj = {}
    for key, value in node.items():
        match key:
            case "properties":
                found[key] = {name: _convert(one, prefix) for name, one in value.items()}
            case "items" | "additionalProperties" if isinstance(value, dict):
                found[key] = _convert(value, prefix)
            case "allOf" | "anyOf" | "oneOf":
                if prefix == _V3 or key == "allOf":
                    found[key] = [_convert(one, prefix) for one in value]
            case "type":
                found[key] = next((t for t in value if t != "null"), "object") if isinstance(value, list) else value
            case _:
                found[key] = value
    return found


def _reference(node: Obj, prefix: str) -> Obj:
    target = prefix + node["$ref"].rpartition("/")[2]
    beside = {key: value for key, value in node.items() if key != "$ref"}
    if prefix == _V2:
        return {"$ref": target, **beside}
    # Siblings of $ref mean nothing in OpenAPI 3.0: upstream wraps it.
    return {"allOf": [{"$ref": target}], "default": {}, **beside} if beside else {"$ref": target}
