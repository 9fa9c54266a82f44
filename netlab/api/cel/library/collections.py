"""Lists, sets and regular expressions. Sources followed: apiserver `pkg/cel/library/lists.go`, `regex.go`; cel-go
`ext/sets.go`."""

from __future__ import annotations

from itertools import islice, pairwise
from typing import Any

from netlab.api.cel.errors import CelError
from netlab.api.cel.library import costs
from netlab.api.cel.library.standard import pattern
from netlab.api.cel.types import Overload, overload
from netlab.api.cel.values import Duration, contains, equal, type_name, whole_int

_ORDERED = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")


def _sorted(items: list[Any]) -> bool:
    return all(_least([b, a], "isSorted") is a or equal(a, b) for a, b in pairwise(items))


def _least(items: list[Any], function: str = "min") -> Any:
    if not items:
        raise CelError(f"{function} called on empty list")
    try:
        return min(items)
    except TypeError:
        raise CelError(f"no such overload: {function}({type_name(items)})") from None


def _most(items: list[Any]) -> Any:
    if not items:
        raise CelError("max called on empty list")
    try:
        return max(items)
    except TypeError:
        raise CelError(f"no such overload: max({type_name(items)})") from None


def _sum(items: list[Any]) -> Any:
    if items and isinstance(items[0], Duration):
        return Duration(sum(one.ns for one in items))
    try:
        found = sum(items)
    except TypeError:
        raise CelError(f"no such overload: sum({type_name(items)})") from None
    return whole_int(found) if isinstance(found, int) else found


def _zero(zero: Any) -> Any:
    """The sum of an empty list has the type of its items."""
    return lambda items: _sum(items) if items else zero


def _index_of(items: list[Any], wanted: Any) -> int:
    return next((index for index, one in enumerate(items) if equal(one, wanted)), -1)


def _last_index_of(items: list[Any], wanted: Any) -> int:
    return next((index for index in range(len(items) - 1, -1, -1) if equal(items[index], wanted)), -1)


def _contains(a: list[Any], b: list[Any]) -> bool:
    return all(contains(a, one) for one in b)


def _find(text: str, expression: str) -> str:
    return pattern(expression).find(text) or ""


def _find_all(text: str, expression: str, limit: int = -1) -> list[str]:
    found = pattern(expression).find_all(text)
    return list(found if limit < 0 else islice(found, limit))


def overloads() -> list[Overload]:
    found: list[Overload] = []
    for kind in _ORDERED:
        found.append(overload(f"list({kind}).isSorted() -> bool", _sorted, costs.items))
        found.append(overload(f"list({kind}).min() -> {kind}", _least, costs.items))
        found.append(overload(f"list({kind}).max() -> {kind}", _most, costs.items))
    for kind, zero in (("int", 0), ("uint", 0), ("double", 0.0), ("duration", Duration(0))):
        found.append(overload(f"list({kind}).sum() -> {kind}", _zero(zero), costs.items))
    return [
        *found,
        overload("list(A).indexOf(A) -> int", _index_of, costs.items),
        overload("list(A).lastIndexOf(A) -> int", _last_index_of, costs.items),
        overload("string.find(string) -> string", _find, costs.regex),
        overload("string.findAll(string) -> list(string)", _find_all, costs.regex),
        overload("string.findAll(string, int) -> list(string)", _find_all, costs.regex),
        overload("!sets.contains(list(A), list(A)) -> bool", _contains, costs.pairs),
        overload(
            "!sets.equivalent(list(A), list(A)) -> bool", lambda a, b: _contains(a, b) and _contains(b, a), costs.pairs
        ),
        overload(
            "!sets.intersects(list(A), list(A)) -> bool", lambda a, b: any(contains(b, one) for one in a), costs.pairs
        ),
    ]
