"""Stand-in for what the real API server's admission and allocators did in the recorded answers."""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.api.validation.field import FieldError


def mutate(obj: Obj) -> None:
    """Admission before validation."""


def allocate(obj: Obj) -> list[FieldError]:
    """Allocators after validation."""
    return []


def normal(obj: Obj) -> Obj:
    """Without what admission and allocators added."""
    return obj
