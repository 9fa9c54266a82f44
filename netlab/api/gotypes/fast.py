"""The quick way to decode: one compiled function per Go type, in place, for bodies without anything unusual.

A decoder takes a JSON value and gives it back as upstream would write it again: nulls and empty optional fields gone,
fields that Go always writes there, quantities and times canonical. At the first thing out of the ordinary (unknown
field, wrong type, null in a list) it raises `Unusual`: `exact` then walks the document and says what is wrong. What was
changed in place until then never changes that answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from netlab.api.gotypes import Field, fields_of, is_struct, scalars, underlying
from netlab.api.types import Obj


class Unusual(Exception):  # noqa: N818 - not an error, a change of path
    """Something that only the exact walk can judge."""


class Emptied(dict[str, Any]):
    """An object some of whose optional maps or lists were there but empty: they are gone, `emptied` names them.

    Upstream's messages tell a nil map from an empty one; nothing else needs this.
    """

    __slots__ = ("emptied",)

    def __init__(self, value: Obj, emptied: frozenset[str]) -> None:
        super().__init__(value)
        self.emptied = emptied


def was_empty(value: Obj, key: str) -> bool:
    """Whether the request had `key` as an empty map or list."""
    return isinstance(value, Emptied) and key in value.emptied


Decoder = Callable[[Any], Any]
_Entry = tuple[type, Decoder | None, int]
"""(JSON type, decoder or None, what becomes of an empty value). `object` accepts any JSON type."""
_DROP, _KEEP, _NULL = 0, 1, 2

_MAP = re.compile(r"map\[([^\]]+)\](.+)")
_INTEGERS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1), "int": (-(2**63), 2**63 - 1)}
_INTEGERS |= {"uint8": (0, 255), "uint16": (0, 65535), "uint32": (0, 2**32 - 1), "uint64": (0, 2**64 - 1)}
_INTEGERS |= {"int16": (-(2**15), 2**15 - 1), "int8": (-128, 127)}


def _scalar(convert: Callable[[object], str], *accepted: type) -> Decoder:
    def decode(value: Any) -> Any:
        if type(value) not in accepted:
            raise Unusual
        try:
            return convert(value)
        except ValueError:
            raise Unusual from None

    return decode


def _int_or_string(value: Any) -> Any:
    if type(value) is str or (type(value) is int and -(2**31) <= value < 2**31):
        return value
    raise Unusual


def _float(value: Any) -> Any:
    if type(value) in (int, float):
        return value
    raise Unusual


def _any(value: Any) -> Any:
    return value


def _schema_or_bool(value: Any) -> Any:
    return value if type(value) is bool else _object("apiextensions/v1.JSONSchemaProps", value)


def _schema_or_array(value: Any) -> Any:
    if type(value) is list:
        return [_object("apiextensions/v1.JSONSchemaProps", one) for one in value]
    return _object("apiextensions/v1.JSONSchemaProps", value)


def _schema_or_strings(value: Any) -> Any:
    if type(value) is list:
        return decoder("[]string")(value)
    return _object("apiextensions/v1.JSONSchemaProps", value)


def _object(name: str, value: Any) -> Any:
    if type(value) is not dict:
        raise Unusual
    return decoder(name)(value)


SPECIAL: dict[str, Decoder] = {
    "resource.Quantity": _scalar(scalars.quantity_text, str, int, float),
    "intstr.IntOrString": _int_or_string,
    "meta/v1.Time": _scalar(scalars.time, str),
    "meta/v1.MicroTime": _scalar(scalars.micro_time, str),
    "meta/v1.Duration": _scalar(scalars.duration, str),
    "[]uint8": _scalar(scalars.byte_string, str),
    "float64": _float,
    "runtime.RawExtension": _any,
    "meta/v1.FieldsV1": _any,
    "apiextensions/v1.JSON": _any,
    "apiextensions/v1.JSONSchemaPropsOrBool": _schema_or_bool,
    "apiextensions/v1.JSONSchemaPropsOrArray": _schema_or_array,
    "apiextensions/v1.JSONSchemaPropsOrStringArray": _schema_or_strings,
}
ZERO_OF_SPECIAL: dict[str, Any] = {"resource.Quantity": "0", "intstr.IntOrString": 0}


@cache
def decoder(type_name: str) -> Decoder:
    """The decoder of a Go type as `table.json` writes it; the value's JSON type must have been checked."""
    type_name = underlying(type_name.lstrip("*"))
    if type_name in SPECIAL:
        return SPECIAL[type_name]
    if is_struct(type_name):
        return _struct(type_name)
    if type_name.startswith("[]"):
        return _list(type_name[2:])
    match = _MAP.fullmatch(type_name)
    if match:
        return _mapping(match.group(2))
    if type_name in _INTEGERS:
        return _integer(*_INTEGERS[type_name])
    return _any


def json_type(type_name: str) -> type:
    """The Python type of the JSON value that a Go type is read from; `object` where there are several."""
    type_name = underlying(type_name.lstrip("*"))
    if type_name in SPECIAL or type_name == "interface":
        return object
    if type_name == "string":
        return str
    if type_name == "bool":
        return bool
    if type_name.startswith("[]"):
        return list
    return dict if is_struct(type_name) or type_name.startswith("map[") else int


def _integer(low: int, high: int) -> Decoder:
    def decode(value: int) -> int:
        if low <= value <= high:
            return value
        raise Unusual

    return decode


def _list(element: str) -> Decoder:
    expected, decode = json_type(element), decoder(element)
    if decode is _any and expected is not object:

        def check(value: list[Any]) -> list[Any]:
            for one in value:
                if type(one) is not expected:
                    raise Unusual
            return value

        return check

    def each(value: list[Any]) -> list[Any]:
        for index, one in enumerate(value):
            if type(one) is not expected and (expected is not object or (one is None and decode is not _any)):
                raise Unusual
            changed = decode(one)
            if changed is not one:
                value[index] = changed
        return value

    return each


def _mapping(element: str) -> Decoder:
    expected, decode = json_type(element), decoder(element)
    if decode is _any and expected is not object:

        def check(value: Obj) -> Obj:
            for one in value.values():
                if type(one) is not expected:
                    raise Unusual
            return value

        return check

    def each(value: Obj) -> Obj:
        for key, one in value.items():
            if type(one) is not expected and (expected is not object or (one is None and decode is not _any)):
                raise Unusual
            changed = decode(one)
            if changed is not one:
                value[key] = changed
        return value

    return each


def zero(type_name: str) -> Callable[[], Any]:
    """A maker of what Go writes for the zero value of a type."""
    if type_name.startswith("*"):
        return lambda: None
    type_name = underlying(type_name)
    if type_name in SPECIAL:
        value = ZERO_OF_SPECIAL.get(type_name)
        return lambda: value
    if is_struct(type_name):
        return lambda: decoder(type_name)({})
    plain: Any = {"string": "", "bool": False}.get(type_name, None if type_name[0] in "[m" else 0)
    return lambda: plain


def written_when_zero(field: Field) -> bool:
    """Whether Go writes the field even when it was not set: no omitempty, or a struct by value."""
    if not field.omit_empty:
        return True
    if field.type.startswith("*"):
        return False
    name = underlying(field.type)
    return is_struct(name) or (name in SPECIAL and name not in ("[]uint8", "float64"))


def _entry(field: Field) -> _Entry:
    expected, decode = json_type(field.type), decoder(field.type)
    keep = _KEEP if field.type.startswith("*") or written_when_zero(field) else _DROP
    if keep and expected is list and not field.owner.startswith("apiextensions/"):
        keep = _NULL  # stored as protobuf, where an empty list is none (custom resource definitions are stored as JSON)
    return expected, None if decode is _any else decode, keep


def _struct(name: str) -> Decoder:
    fields = fields_of(name)
    entries: dict[str, _Entry] = {}
    always = tuple((field.name, zero(field.type)) for field in fields if written_when_zero(field))

    def decode(value: Obj) -> Obj:
        if not entries:  # on first use, because types refer to themselves
            entries.update({field.name: _entry(field) for field in fields})
        dead: list[str] | None = None
        for key, one in value.items():
            try:
                expected, inner, keep = entries[key]
            except KeyError:
                raise Unusual from None
            if type(one) is not expected:
                if one is None:
                    dead = [key] if dead is None else [*dead, key]
                    continue
                if expected is not object:
                    raise Unusual
            if inner is not None:
                changed = inner(one)
                if changed is not one:
                    value[key] = changed
                    if changed:
                        continue
            if not one and keep != _KEEP:
                dead = [key] if dead is None else [*dead, key]
        empty: list[str] | None = None
        if dead is not None:
            for key in dead:
                one = value.pop(key)
                if one == {} or one == []:
                    empty = [key] if empty is None else [*empty, key]
        for key, make in always:
            if key not in value:
                value[key] = make()
        return value if empty is None else Emptied(value, frozenset(empty))

    return decode
