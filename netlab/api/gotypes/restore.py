"""What is wrong with the result of a strategic merge patch, in the words of the converter that restores it.

A create or update is decoded from JSON; the result of a strategic merge patch is restored from maps by reflection,
which stops at the first value, in the order of Go's fields, that does not fit, and has words of its own for it.
Source followed: apimachinery `pkg/runtime/converter.go` (`fromUnstructured`).
"""

from __future__ import annotations

import re
from typing import Any

from netlab.api.gotypes import exact, fields_of, is_struct, jsontext, underlying

_MAP = re.compile(r"map\[([^\]]+)\](.+)")
_INTEGERS = frozenset({"int", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})
_FLOATS = frozenset({"float32", "float64"})


def problem(type_name: str, value: Any) -> str:
    """PURE. The converter's error for `value` (plain JSON) as a `type_name`; "" where it would find none."""
    type_name = type_name.lstrip("*")
    name = underlying(type_name)
    if value is None or name in exact.RAW:
        return ""
    if name in exact.SPECIAL and not (name == "[]uint8" and not isinstance(value, str)):
        return _special(name, value)
    if is_struct(name):
        return _struct(name, value)
    if name.startswith("[]"):
        return _slice(name[2:], value)
    match = _MAP.fullmatch(name)
    if match:
        return _map(match.group(2), value)
    return _scalar(type_name, name, value)


def _kind(value: Any) -> str:
    """Go's reflect kind of a decoded JSON value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, dict):
        return "map"
    if isinstance(value, list):
        return "slice"
    return "string" if isinstance(value, str) else "int64" if isinstance(value, int) else "float64"


def _special(name: str, value: Any) -> str:
    """Types that decode themselves get the value alone, as JSON."""
    try:
        exact.Walk().run(name, jsontext.lift(value))
    except exact.DecodeError as error:
        return f"error decoding from json: {error}" if name == "[]uint8" else str(error)
    return ""


def _struct(name: str, value: Any) -> str:
    if not isinstance(value, dict):
        return f"cannot restore struct from: {_kind(value)}"
    return next((found for field in fields_of(name) if (found := problem(field.type, value.get(field.name)))), "")


def _slice(element: str, value: Any) -> str:
    if not isinstance(value, list):
        return f"cannot restore slice from {_kind(value)}"
    return next((found for one in value if (found := problem(element, one))), "")


def _map(element: str, value: Any) -> str:
    if not isinstance(value, dict):
        return f"cannot restore map from {_kind(value)}"
    return next((found for one in value.values() if (found := problem(element, one))), "")


def _scalar(type_name: str, name: str, value: Any) -> str:
    """Go converts numbers to each other and to strings, in type; the converter lets only like to like."""
    kind = _kind(value)
    numeric = name in _INTEGERS or name in _FLOATS
    if kind == name or (kind == "int64" and numeric) or (kind == "float64" and name in _FLOATS):
        return ""
    if kind == "float64" and name in _INTEGERS:
        return "" if value == int(value) else f"cannot convert float64 to {_shown(type_name)}"
    if kind == "int64" and name == "string":
        return f"cannot convert int64 to {_shown(type_name)}"
    return f"unrecognized type: {name}"


def _shown(type_name: str) -> str:
    """`core/v1.Protocol` as Go prints it: `v1.Protocol`."""
    return type_name.rpartition("/")[2]
