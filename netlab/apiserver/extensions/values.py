"""PURE. What a structural schema makes of an object: unknown fields go, defaults come. All in place.

Source followed: apiextensions-apiserver `pkg/apiserver/schema/pruning`, `…/defaulting`.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

from netlab.api import errors
from netlab.api.decoding import UnfitError
from netlab.api.gotypes import fields_of
from netlab.api.types import Obj
from netlab.apiserver.extensions.kinds import CustomResource
from netlab.apiserver.extensions.webhook_conversion import known

_META = ("apiVersion", "kind", "metadata")
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_EMBEDDED = "x-kubernetes-embedded-resource"


def complete(obj: Obj, resource: CustomResource) -> list[str]:
    """Prune, then default; returns the paths of what was pruned, sorted."""
    pruned: list[str] = []
    _prune(obj, resource.schema, "", pruned, root=True)
    _drop_nulls(obj, resource.schema)
    fill(obj, resource.schema)
    return sorted(pruned)


def admit(obj: Obj, resource: CustomResource, strictness: str) -> list[str]:
    """`complete` for an object that a client sent; returns warnings, raises StatusError 400 where strict."""
    unknown = [f"unknown field {errors.quote(path)}" for path in complete(obj, resource)]
    if unknown and strictness == "Strict":
        why = f"strict decoding error: {', '.join(unknown)}"
        raise UnfitError(resource.kind, resource.version, resource.kind, why)
    return unknown if strictness == "Warn" else []


def converted(obj: Obj, target: CustomResource) -> Obj:
    """An object in another version: by the kind's webhook, or (strategy None) by another apiVersion alone.

    Either way only what the other version knows is left. Raises NotConvertedError where the webhook was not asked yet.
    """
    found = deepcopy(obj) if target.conversion is None else known(obj, target)
    found["apiVersion"] = target.api_version
    _prune(found, target.schema, "", [], root=True)
    return found


def _prune(value: Any, schema: Obj, path: str, pruned: list[str], *, root: bool = False) -> None:
    if isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for index, one in enumerate(value):
                _prune(one, items, f"{path}[{index}]", pruned)
        elif not schema.get(_PRESERVE):
            for index, one in enumerate(value):
                _prune(one, {}, f"{path}[{index}]", pruned)
        return
    if not isinstance(value, dict):
        return
    properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
    free, is_object = schema.get(_PRESERVE), root or schema.get(_EMBEDDED)
    for key in list(value):
        here = f"{path}.{key}" if path else key
        if is_object and key in _META:
            if key == "metadata" and not root:
                _prune_metadata(value[key], here, pruned)
            continue
        if key in properties:
            _prune(value[key], properties[key], here, pruned)
        elif isinstance(additional, dict):
            _prune(value[key], additional, here, pruned)
        elif not additional and not free:
            del value[key]
            pruned.append(here)


def _prune_metadata(value: Any, path: str, pruned: list[str]) -> None:
    """An embedded object's metadata is ObjectMeta, whatever the schema says of it (`objectmeta.Coerce`)."""
    if isinstance(value, dict):
        for key in value.keys() - _metadata_fields():
            del value[key]
            pruned.append(f"{path}.{key}")


@cache
def _metadata_fields() -> frozenset[str]:
    return frozenset(field.name for field in fields_of("meta/v1.ObjectMeta"))


def _drop_nulls(value: Any, schema: Obj) -> None:
    """Nulls where none may stand and nothing else is meant."""
    if isinstance(value, list):
        if isinstance(items := schema.get("items"), dict):
            for one in value:
                _drop_nulls(one, items)
        return
    if not isinstance(value, dict):
        return
    for key in list(value):
        inner = _field(schema, key)
        if inner is None:
            continue
        if value[key] is None and not inner.get("nullable") and "default" not in inner:
            if key in (schema.get("properties") or {}):
                del value[key]
        else:
            _drop_nulls(value[key], inner)


def fill(value: Any, schema: Obj) -> None:
    """Defaults where a field is missing, or null where it may not be."""
    if isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for index, one in enumerate(value):
                if one is None and not items.get("nullable") and "default" in items:
                    value[index] = deepcopy(items["default"])
                fill(value[index], items)
        return
    if not isinstance(value, dict):
        return
    for key, inner in (schema.get("properties") or {}).items():
        if "default" in inner and (key not in value or (value[key] is None and not inner.get("nullable"))):
            value[key] = deepcopy(inner["default"])
    for key, one in value.items():
        field = _field(schema, key)
        if field is None:
            continue
        if one is None and "default" in field and not field.get("nullable"):
            value[key] = deepcopy(field["default"])
        fill(value[key], field)


def _field(schema: Obj, key: str) -> Obj | None:
    found = (schema.get("properties") or {}).get(key)
    if found is None and isinstance(additional := schema.get("additionalProperties"), dict):
        found = additional
    return found
