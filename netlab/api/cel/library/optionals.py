"""Values that may be missing. Source followed: cel-go `cel/library.go` (OptionalTypes)."""

from __future__ import annotations

from typing import Any

from netlab.api.cel.errors import CelError
from netlab.api.cel.library.standard import at, value_of
from netlab.api.cel.types import Overload, overload
from netlab.api.cel.values import NONE, Optional


def _value(one: Optional) -> Any:
    if not one.present:
        raise CelError("optional.none() dereference")
    return one.value


def _non_zero(value: Any) -> Optional:
    zero = value is None or (isinstance(value, bool | int | float | str | bytes | list | dict) and not value)
    return NONE if zero else Optional(value, True)


def maybe(where: Any, index: Any) -> Optional:
    """The value at an index or key of a list, a map, or what may be one; none where there is none."""
    if isinstance(where, Optional):
        if not where.present:
            return NONE
        where = where.value
    try:
        return Optional(at(where, index) if isinstance(where, list) else value_of(where, index), True)
    except CelError:
        return NONE


def overloads() -> list[Overload]:
    return [
        overload("!optional.of(A) -> optional(A)", lambda a: Optional(a, True)),
        overload("!optional.ofNonZeroValue(A) -> optional(A)", _non_zero),
        overload("!optional.none() -> optional(A)", lambda: NONE),
        overload("optional(A).hasValue() -> bool", lambda a: a.present),
        overload("optional(A).value() -> A", _value),
        overload("optional(A).or(optional(A)) -> optional(A)", lambda a, b: a if a.present else b),
        overload("optional(A).orValue(A) -> A", lambda a, b: a.value if a.present else b),
        overload("_[_](optional(list(A)), int) -> optional(A)", maybe),
        overload("_[_](optional(map(A, B)), A) -> optional(B)", maybe),
        overload("_[?_](list(A), int) -> optional(A)", maybe),
        overload("_[?_](map(A, B), A) -> optional(B)", maybe),
        overload("_[?_](optional(list(A)), int) -> optional(A)", maybe),
        overload("_[?_](optional(map(A, B)), A) -> optional(B)", maybe),
    ]
