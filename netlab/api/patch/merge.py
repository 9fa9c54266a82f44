"""JSON merge patch, RFC 7386."""

from __future__ import annotations

from typing import Any

from netlab.api.types import clone


def apply(current: Any, patch: Any) -> Any:
    """`current` merged with `patch`: null removes a key, objects merge, everything else replaces.

    What the patch does not reach is not copied: both objects hold it.
    """
    if not isinstance(patch, dict):
        return clone(patch)
    result = dict(current) if isinstance(current, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply(result.get(key), value)
    return result


def diff(old: Any, new: Any) -> Any:
    """The smallest merge patch that turns `old` into `new` (lists are replaced whole)."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return clone(new)
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = clone(value)
        elif old[key] != value:
            patch[key] = diff(old[key], value)
    return patch
