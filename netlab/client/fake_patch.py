"""The patches that the fake API understands: merge (RFC 7386), JSON patch, strategic by the usual merge keys."""

from __future__ import annotations

import copy
from typing import Any

from netlab.api.types import Obj

MERGE_KEYS = {
    "conditions": "type",
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "ownerReferences": "uid",
    "addresses": "type",
    "podIPs": "ip",
    "hostIPs": "ip",
    "taints": "key",
    "ports": "containerPort",
    "images": "names",
}
SETS = {"finalizers", "podCIDRs"}


def merge(current: Any, patch: Any) -> Any:
    """JSON merge patch."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(current) if isinstance(current, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def strategic(current: Any, patch: Any, key: str = "") -> Any:
    """Strategic merge, as far as the controllers use it."""
    if isinstance(patch, list):
        return _merge_list(current if isinstance(current, list) else [], patch, key)
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    result = dict(current) if isinstance(current, dict) else {}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            result[field] = [item for item in result.get(field, ()) if item not in value]
        elif name.startswith("$setElementOrder/"):
            continue
        elif value is None:
            result.pop(name, None)
        else:
            result[name] = strategic(result.get(name), value, name)
    return result


def _merge_list(current: list[Any], patch: list[Any], key: str) -> list[Any]:
    if key in SETS:
        return [*current, *(item for item in patch if item not in current)]
    merge_key = MERGE_KEYS.get(key)
    if merge_key is None or not all(isinstance(item, dict) for item in patch):
        return copy.deepcopy(patch)
    if any(item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if "$patch" not in item]
    result = list(current)
    for item in patch:
        at = next((n for n, old in enumerate(result) if old.get(merge_key) == item.get(merge_key)), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            result.append(copy.deepcopy(item))
        else:
            result[at] = strategic(result[at], item)
    return result


def json_patch(current: Obj, operations: list[Obj]) -> Obj:
    """RFC 6902."""
    import jsonpatch

    result: Obj = jsonpatch.apply_patch(current, operations)
    return result


def apply(content_type: str, current: Obj, patch: Any) -> Obj:
    """The object as it is after a patch of this content type."""
    if content_type.startswith("application/json-patch"):
        return json_patch(current, patch)
    if content_type.startswith("application/merge-patch"):
        merged: Obj = merge(current, patch)
        return merged
    result: Obj = strategic(copy.deepcopy(current), patch)
    return result
