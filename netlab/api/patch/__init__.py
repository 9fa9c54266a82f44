"""Patches: strategic merge, JSON merge (RFC 7386) and JSON patch (RFC 6902), as pure functions from object to object.

May not touch the network or the store; never changes its inputs. Server-side apply is not a patch in this sense.
"""

from __future__ import annotations

from typing import Any

import orjson

from netlab.api.errors import StatusError, bad_request, unsupported_media_type
from netlab.api.resources import Resource
from netlab.api.types import Obj

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


def accepted_types(resource: Resource) -> tuple[str, ...]:
    """The patch content types that a resource takes; custom resources have no strategic merge patch."""
    if resource.custom:
        return (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
    return (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, APPLY_PATCH)


def parse(content_type: str, body: bytes) -> Any:
    """The patch document; StatusError 400 where it is no JSON or of the wrong shape."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"error decoding patch: {error}") from None
    if content_type == JSON_PATCH:
        if not isinstance(document, list):
            raise bad_request(
                f"error decoding patch: json: cannot unmarshal {_kind(document)} into Go value of type jsonpatch.Patch"
            )
    elif not isinstance(document, dict):
        target = "map[string]interface {}"
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {_kind(document)} into Go value of type {target}"
        )
    return document


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    if isinstance(value, bool):
        return "bool"
    return "string" if isinstance(value, str) else "number"


def apply(content_type: str, patch: Any, current: Obj, resource: Resource) -> Obj:
    """`current` with a parsed `patch` applied, a new object. Raises StatusError: 400, 415, 422.

    After a merge patch of either kind, both objects hold what the patch did not reach.
    """
    content_type = content_type.split(";")[0].strip()
    if content_type == MERGE_PATCH:
        from netlab.api.patch import merge

        merged = merge.apply(current, patch)
        return merged if isinstance(merged, dict) else {}
    if content_type == JSON_PATCH:
        from netlab.api.patch import jsonpatch

        return jsonpatch.apply(current, patch)
    if content_type == STRATEGIC_MERGE_PATCH and not resource.custom:
        from netlab.api import schema
        from netlab.api.patch import strategic

        kind_schema = schema.for_kind(resource.api_version, current.get("kind") or resource.kind)
        if kind_schema is None:
            raise unsupported_media_type((JSON_PATCH, MERGE_PATCH))
        return strategic.apply(kind_schema, current, patch)
    raise unsupported_media_type(accepted_types(resource))


__all__ = [
    "APPLY_PATCH",
    "JSON_PATCH",
    "MERGE_PATCH",
    "STRATEGIC_MERGE_PATCH",
    "StatusError",
    "accepted_types",
    "apply",
    "parse",
]
