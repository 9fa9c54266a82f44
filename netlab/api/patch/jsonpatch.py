"""JSON patch, RFC 6902, answered as upstream answers: 400 for a patch that is none, 422 for one that does not fit."""

from __future__ import annotations

from typing import Any

from netlab.api.errors import bad_request, status
from netlab.api.types import Obj, clone

MAX_OPERATIONS = 10_000
"""Upstream's bound on the operations of one patch."""

_OPERATIONS = frozenset({"add", "remove", "replace", "move", "copy", "test"})
_REJECTED = "the server rejected our request due to an error in our request"


def apply(current: Obj, operations: list[Any]) -> Obj:
    """`current` after all operations, a new object. Raises StatusError 400, 413 or 422."""
    import jsonpatch
    import jsonpointer

    if len(operations) > MAX_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        raise status(413, "RequestEntityTooLarge", message)
    for operation in operations:
        if not isinstance(operation, dict):
            raise bad_request("error decoding patch: json: cannot unmarshal into Go value of type jsonpatch.Operation")
        if operation.get("op") not in _OPERATIONS:
            raise _rejected()
    try:
        patched = jsonpatch.apply_patch(clone(current), clone(operations), in_place=True)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, KeyError, TypeError, ValueError) as error:
        raise _rejected() from error
    if not isinstance(patched, dict):
        raise _rejected()
    return patched


def _rejected() -> Exception:
    return status(422, "Invalid", _REJECTED, {})
