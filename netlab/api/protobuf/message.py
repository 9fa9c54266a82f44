"""Messages of API types, by the table of Go types: field number → JSON name and type.

Go writes every field that is no pointer, zero or not; in JSON such a zero is left out where the type says omitempty.
An embedded struct (a Volume's source, a Handler) is a nested message whose fields belong to the outer object.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import orjson

from netlab.api import gotypes, meta
from netlab.api.protobuf.wire import MalformedError, fields, signed, varint
from netlab.api.types import Obj

_MAX_DEPTH = 64
_MAP = re.compile(r"map\[([^\]]+)\](.+)")
_TYPE_META = "meta/v1.TypeMeta"
Value = int | bytes


class _Slot(NamedTuple):
    """What a field number means. `name` "" marks an embedded struct of type `type`."""

    name: str
    type: str
    shape: str  # one, list, map, embedded
    drop_zero: bool


@cache
def _slots(name: str) -> dict[int, _Slot]:
    found: dict[int, _Slot] = {}
    for field in gotypes.fields_of(name):
        if field.owner == _TYPE_META or not field.number:
            continue
        if field.inline:
            found[field.inline] = _Slot("", field.owner, "embedded", False)
        elif field.owner == name:
            found[field.number] = _slot(field)
    return found


def _slot(field: gotypes.Field) -> _Slot:
    pointer = field.type.startswith("*")
    bare = field.type.lstrip("*")
    resolved = gotypes.underlying(bare)
    drop = field.omit_empty and not pointer
    if resolved == "[]uint8":
        return _Slot(field.name, bare, "one", drop)
    if bare.startswith("[]"):
        return _Slot(field.name, bare[2:], "list", drop)
    match = _MAP.fullmatch(resolved)
    if match:
        return _Slot(field.name, resolved, "map", drop)
    return _Slot(field.name, bare, "one", drop)


def decode_message(name: str, data: bytes, depth: int = 0) -> Obj:
    """The JSON object of a message of the Go type `name` (`core/v1.Pod`). Raises MalformedError."""
    if depth > _MAX_DEPTH:
        raise MalformedError("nested too deeply")
    slots = _slots(name)
    found: Obj = {}
    for number, value in fields(data):
        slot = slots.get(number)
        if slot is None:
            continue  # a field that this version does not know
        if slot.shape == "embedded":
            found.update(decode_message(slot.type, _bytes(value), depth + 1))
        elif slot.shape == "list":
            found.setdefault(slot.name, []).extend(_items(slot.type, value, depth))
        elif slot.shape == "map":
            key, inner = _entry(slot.type, _bytes(value), depth)
            found.setdefault(slot.name, {})[key] = inner
        else:
            decoded = decode_value(slot.type, value, depth)
            if decoded is None or (slot.drop_zero and decoded in ("", 0, False) and not isinstance(decoded, dict)):
                found.pop(slot.name, None)
            else:
                found[slot.name] = decoded
    return found


def _items(type_name: str, value: Value, depth: int) -> list[Any]:
    if isinstance(value, bytes) and _is_number(type_name):  # packed
        packed, position = [], 0
        while position < len(value):
            number, position = varint(value, position)
            packed.append(signed(number))
        return packed
    return [decode_value(type_name, value, depth)]


def _is_number(type_name: str) -> bool:
    return gotypes.underlying(type_name).startswith(("int", "uint"))


def _entry(map_type: str, data: bytes, depth: int) -> tuple[str, Any]:
    match = _MAP.fullmatch(map_type)
    if match is None:
        raise MalformedError(f"{map_type} is no map")
    key, value = "", _zero(match[2])
    for number, one in fields(data):
        if number == 1:
            key = _bytes(one).decode()
        elif number == 2:
            value = decode_value(match[2], one, depth)
    return key, value


def _zero(type_name: str) -> Any:
    resolved = gotypes.underlying(type_name.lstrip("*"))
    if resolved == "resource.Quantity":
        return "0"
    if resolved in ("string", "[]uint8"):
        return ""
    return {} if gotypes.is_struct(resolved) else [] if resolved.startswith("[]") else 0


def _bytes(value: Value) -> bytes:
    if isinstance(value, bytes):
        return value
    raise MalformedError("a number stands where text or a message belongs")


def _integer(value: Value) -> int:
    if isinstance(value, bytes):
        raise MalformedError("text or a message stands where a number belongs")
    return signed(value)


def decode_value(type_name: str, value: Value, depth: int = 0) -> Any:
    """The JSON value of one field of a Go type; None where Go would write null."""
    special = _SPECIAL.get(type_name.lstrip("*"))
    if special is not None:
        return special(value)
    bare = type_name.lstrip("*")
    resolved = gotypes.underlying(bare)
    if resolved == "string":
        return _bytes(value).decode()
    if resolved == "bool":
        return bool(_integer(value))
    if resolved == "[]uint8":
        return base64.b64encode(_bytes(value)).decode()
    if resolved.startswith("float"):
        raw = _bytes(value)
        return struct.unpack("<d" if len(raw) == 8 else "<f", raw)[0]
    if _is_number(resolved):
        return _integer(value)
    if gotypes.is_struct(resolved):
        return decode_message(resolved, _bytes(value), depth + 1)
    if resolved.startswith("[]"):  # a named list is a message with one field, items = 1
        return [one for _, item in fields(_bytes(value)) for one in _items(resolved[2:], item, depth)]
    raise MalformedError(f"no wire form is known for {type_name}")


def _timestamp(value: Value) -> tuple[int, int] | None:
    seconds = nanos = 0
    raw = _bytes(value)
    for number, one in fields(raw):
        if number == 1:
            seconds = _integer(one)
        elif number == 2:
            nanos = _integer(one)
    return (seconds, nanos) if raw else None


def _time(value: Value) -> str | None:
    found = _timestamp(value)
    return meta.rfc3339(found[0]) if found else None


def _micro_time(value: Value) -> str | None:
    found = _timestamp(value)
    if found is None:
        return None
    return f"{meta.rfc3339(found[0])[:-1]}.{found[1] // 1000:06d}Z"


def _duration(value: Value) -> str:
    nanos = next((_integer(one) for number, one in fields(_bytes(value)) if number == 1), 0)
    return f"{nanos}ns"


def _quantity(value: Value) -> str:
    return next((_bytes(one).decode() for number, one in fields(_bytes(value)) if number == 1), "0") or "0"


def _int_or_string(value: Value) -> int | str:
    kind, number_value, text = 0, 0, ""
    for number, one in fields(_bytes(value)):
        if number == 1:
            kind = _integer(one)
        elif number == 2:
            number_value = _integer(one)
        elif number == 3:
            text = _bytes(one).decode()
    return text if kind == 1 else number_value


def _raw_json(value: Value) -> Any:
    raw = next((_bytes(one) for number, one in fields(_bytes(value)) if number == 1), b"")
    return orjson.loads(raw) if raw else None


_JSON_SCHEMA = "apiextensions/v1.JSONSchemaProps"


def _schema_or(other: int, read: Callable[[list[Value]], Any]) -> Callable[[Value], Any]:
    """The unions of CustomResourceDefinitions: a schema, or what the field `other` says in its stead."""

    def decode(value: Value) -> Any:
        found = list(fields(_bytes(value)))
        schema = next((one for number, one in found if number == 3 - other), None)
        if schema is not None:
            return decode_message(_JSON_SCHEMA, _bytes(schema))
        return read([one for number, one in found if number == other])

    return decode


_SPECIAL: dict[str, Callable[[Value], Any]] = {
    "apiextensions/v1.JSON": _raw_json,
    "apiextensions/v1.JSONSchemaPropsOrArray": _schema_or(
        2, lambda values: [decode_message(_JSON_SCHEMA, _bytes(one)) for one in values]
    ),
    "apiextensions/v1.JSONSchemaPropsOrBool": _schema_or(1, lambda values: any(_integer(one) for one in values)),
    "apiextensions/v1.JSONSchemaPropsOrStringArray": _schema_or(
        2, lambda values: [_bytes(one).decode() for one in values]
    ),
    "meta/v1.Time": _time,
    "meta/v1.MicroTime": _micro_time,
    "meta/v1.Duration": _duration,
    "meta/v1.FieldsV1": _raw_json,
    "resource.Quantity": _quantity,
    "intstr.IntOrString": _int_or_string,
    "runtime.RawExtension": _raw_json,
}
