"""PURE. Whether an object may be stored: upstream's `ValidateX`, `ValidateXUpdate`, `ValidateXStatusUpdate` per kind.

Objects come in decoded (`netlab.api.decoding`), defaulted and prepared (`netlab.api.strategy`); nothing here changes
them. The answer is a list of findings in upstream's order; empty means valid. Kinds without rules of their own get the
rules of metadata. Modules of kinds are imported on first use: importing this package costs nothing.
"""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.api.validation.dispatch import rules_of
from netlab.api.validation.field import FieldError

__all__ = ["FieldError", "validate_create", "validate_status_update", "validate_subresource_update", "validate_update"]


def validate_create(obj: Obj) -> list[FieldError]:
    """Findings against creating `obj` (apiVersion and kind set, defaults applied)."""
    return rules_of(obj).create(obj)


def validate_update(new: Obj, old: Obj) -> list[FieldError]:
    """Findings against replacing the stored `old` by `new` (PUT or PATCH of the main resource)."""
    return rules_of(new).update(new, old)


def validate_status_update(new: Obj, old: Obj) -> list[FieldError]:
    """Findings against replacing `old` by `new` through the `status` subresource."""
    return rules_of(new).status_update(new, old)


def validate_subresource_update(subresource: str, new: Obj, old: Obj) -> list[FieldError]:
    """Findings against an update through another subresource that carries the whole object (`ephemeralcontainers`)."""
    return rules_of(new).subresource_update(subresource, new, old)
