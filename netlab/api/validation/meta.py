"""Rules of metadata, shared by all kinds. Source followed: apimachinery `pkg/api/validation/objectmeta.go`."""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.api.validation.field import FieldError


def validate_generic(obj: Obj) -> list[FieldError]:
    """Metadata of an object of a kind without rules of its own."""
    return []


def validate_generic_update(new: Obj, old: Obj) -> list[FieldError]:
    """Metadata of an update of a kind without rules of its own."""
    return []
