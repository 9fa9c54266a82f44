"""The exact way to decode: a walk in document order that finds what Go's decoder would have found, in its words.

Source followed: `sigs.k8s.io/json` (a fork of Go's encoding/json): the first type mismatch is kept and the walk goes
on; an error of a type that decodes itself (Quantity, Time, …) ends it at once and wins; unknown and duplicate fields
are collected with their paths. Names are case-sensitive.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from netlab.api.gotypes import Field, fields_of, is_struct, scalars, underlying
from netlab.api.gotypes.jsontext import Number, Pairs, go_kind, text_of
from netlab.api.quantity import BAD_FORM

MAX_STRICT_ERRORS = 100

_MAP = re.compile(r"map\[([^\]]+)\](.+)")
_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1), "int": (-(2**63), 2**63 - 1)}
_RANGES |= {"uint8": (0, 255), "uint16": (0, 65535), "uint32": (0, 2**32 - 1), "uint64": (0, 2**64 - 1)}
_RANGES |= {"int16": (-(2**15), 2**15 - 1), "int8": (-128, 127)}
_SCHEMA = "apiextensions/v1.JSONSchemaProps"
RAW = frozenset({"runtime.RawExtension", "meta/v1.FieldsV1", "apiextensions/v1.JSON", "interface"})


class DecodeError(ValueError):
    """The document does not fit the type; str() is upstream's message."""


class _FatalError(Exception):
    """An error of a type that decodes itself: ends the walk."""


class Walk:
    """One document. `strict` holds the unknown and duplicate fields that `run` met."""

    def __init__(self) -> None:
        self.mismatch: str | None = None
        self._first: tuple[str, str] = ("", "")
        self.strict: list[str] = []
        self._struct = ""
        self._names: list[str] = []
        self._path: list[str] = []

    def run(self, type_name: str, document: Any) -> Any:
        """Decode; raises DecodeError with the message that upstream would give."""
        try:
            result = self._value(type_name, document)
        except _FatalError as error:
            raise DecodeError(str(error)) from None
        if self.mismatch is not None:
            raise DecodeError(self.mismatch)
        return result

    # -- errors ------------------------------------------------------------------------------------------------------

    def _mismatch(self, what: str, type_name: str) -> str:
        shown = re.sub(r"[a-z]+/(v\w+\.)", r"\1", type_name)
        if self._struct or self._names:
            struct = self._struct.rpartition(".")[2]
            return (
                f"json: cannot unmarshal {what} into Go struct field {struct}.{'.'.join(self._names)} of type {shown}"
            )
        return f"json: cannot unmarshal {what} into Go value of type {shown}"

    def _save(self, what: str, type_name: str) -> None:
        if self.mismatch is None:
            self.mismatch = self._mismatch(what, type_name)
            self._first = (what, type_name)

    def _strict(self, problem: str, name: str) -> None:
        path = "".join(self._path)
        if len(self.strict) < MAX_STRICT_ERRORS:
            self.strict.append(f'{problem} field "{path}.{name}"' if path else f'{problem} field "{name}"')

    # -- values ------------------------------------------------------------------------------------------------------

    def _value(self, type_name: str, node: Any) -> Any:
        """The value as plain JSON; None where nothing of it can be used."""
        type_name = type_name.lstrip("*")
        name = underlying(type_name)
        special = SPECIAL.get(name)
        if special is not None:
            return special(self, name, node)
        if name in RAW:
            return plain(node)
        if node is None:
            return None
        if is_struct(name):
            return self._struct_value(type_name, name, node)
        if name.startswith("[]"):
            return self._list_value(type_name, name[2:], node)
        match = _MAP.fullmatch(name)
        if match:
            return self._map_value(type_name, match.group(2), node)
        return self._scalar_value(type_name, name, node)

    def _scalar_value(self, type_name: str, name: str, node: Any) -> Any:
        if name == "string" and isinstance(node, str) and not isinstance(node, Number):
            return node
        if name == "bool" and isinstance(node, bool):
            return node
        if name == "float64" and isinstance(node, Number):
            return node.value()
        if name in _RANGES and isinstance(node, Number):
            low, high = _RANGES[name]
            if re.fullmatch(r"-?\d+", node) and low <= int(node) <= high:
                return int(node)
            self._save(f"number {node}", type_name)
            return None
        self._save(go_kind(node), type_name)
        return None

    def _list_value(self, type_name: str, element: str, node: Any) -> Any:
        if not isinstance(node, list) or isinstance(node, Pairs):
            self._save(go_kind(node), type_name)
            return None
        found = []
        for index, one in enumerate(node):
            self._path.append(f"[{index}]")
            found.append(_or_empty(element, self._value(element, one)))
            self._path.pop()
        return found

    def _map_value(self, type_name: str, element: str, node: Any) -> Any:
        if not isinstance(node, Pairs):
            self._save(go_kind(node), type_name)
            return None
        found: dict[str, Any] = {}
        for key, one in node:
            if key in found:
                self._strict("duplicate", key)
            self._path.append(f".{key}" if self._path else key)
            found[key] = _or_empty(element, self._value(element, one))
            self._path.pop()
        return found

    def _struct_value(self, type_name: str, name: str, node: Any) -> Any:
        if not isinstance(node, Pairs):
            self._save(go_kind(node), type_name)
            return None
        fields = {field.name: field for field in fields_of(name)}
        outer, depth = self._struct, len(self._names)
        found: dict[str, Any] = {}
        seen: set[str] = set()
        for key, one in node:
            field = fields.get(key)
            if field is None:
                self._strict("unknown", key)
                continue
            if key in seen:
                self._strict("duplicate", key)
            seen.add(key)
            self._struct = name
            self._names.append(key)
            self._path.append(f".{key}" if self._path else key)
            self._field(found, field, one)
            self._path.pop()
            del self._names[depth:]
            self._struct = outer
        return found

    def _field(self, found: dict[str, Any], field: Field, node: Any) -> None:
        value = self._value(field.type, node)
        if value is not None:
            found[field.name] = value
        elif node is None:
            found.pop(field.name, None)


def _or_empty(type_name: str, value: Any) -> Any:
    """Go's zero value where a list or map holds a null."""
    if value is not None or type_name.startswith("*"):
        return value
    name = underlying(type_name)
    if name in _ZERO:
        return _ZERO[name]
    if name in RAW or name in ("meta/v1.Time", "meta/v1.MicroTime"):
        return None
    if is_struct(name) or name.startswith("map["):
        return {}
    return [] if name.startswith("[]") else 0


_ZERO: dict[str, Any] = {"string": "", "bool": False, "[]uint8": "", "resource.Quantity": "0"}


def plain(node: Any) -> Any:
    """A parsed document as dicts, lists, numbers."""
    if isinstance(node, Pairs):
        return {key: plain(one) for key, one in node}
    if isinstance(node, list):
        return [plain(one) for one in node]
    return node.value() if isinstance(node, Number) else node


# -- types that decode themselves -------------------------------------------------------------------------------------


def _quantity(walk: Walk, name: str, node: Any) -> Any:
    if node is None:
        return None
    text = node if isinstance(node, str) else text_of(node)
    if not isinstance(node, str):
        raise _FatalError(BAD_FORM)
    try:
        return scalars.quantity_text(text)
    except ValueError as error:
        raise _FatalError(str(error)) from None


def _int_or_string(walk: Walk, name: str, node: Any) -> Any:
    if node is None or (isinstance(node, str) and not isinstance(node, Number)):
        return node
    if isinstance(node, Number):
        if re.fullmatch(r"-?\d+", node) and -(2**31) <= int(node) < 2**31:
            return int(node)
        raise _FatalError(walk._mismatch(f"number {node}", "int32"))
    raise _FatalError(walk._mismatch(go_kind(node), "int32"))


def _text_form(convert: Callable[[object], str]) -> Callable[[Walk, str, Any], Any]:
    def decode(walk: Walk, name: str, node: Any) -> Any:
        if node is None:
            return None
        if not isinstance(node, str) or isinstance(node, Number):
            raise _FatalError(walk._mismatch(go_kind(node), "string"))
        try:
            return convert(node)
        except ValueError as error:
            raise _FatalError(str(error)) from None

    return decode


def _bytes(walk: Walk, name: str, node: Any) -> Any:
    if node is None:
        return None
    if not isinstance(node, str) or isinstance(node, Number):
        walk._save(go_kind(node), name)
        return None
    try:
        return scalars.byte_string(node)
    except ValueError as error:
        walk.mismatch = walk.mismatch or str(error)
        return None


def _schema_or(other: str) -> Callable[[Walk, str, Any], Any]:
    """JSONSchemaPropsOrBool and its like: decoded apart, without strictness, from their raw text."""

    def decode(walk: Walk, name: str, node: Any) -> Any:
        if node is None:
            return None
        inner = Walk()
        if isinstance(node, Pairs):
            value = inner._value(_SCHEMA, node)
        elif other == "bool":
            value = inner._value("bool", node)
        else:
            value = inner._value(other, node)
        if inner.mismatch is not None:  # what was wrong inside, where the outer document had arrived
            raise _FatalError(walk._mismatch(*inner._first))
        return value

    return decode


SPECIAL: dict[str, Callable[[Walk, str, Any], Any]] = {
    "resource.Quantity": _quantity,
    "intstr.IntOrString": _int_or_string,
    "meta/v1.Time": _text_form(scalars.time),
    "meta/v1.MicroTime": _text_form(scalars.micro_time),
    "meta/v1.Duration": _text_form(scalars.duration),
    "[]uint8": _bytes,
    "apiextensions/v1.JSONSchemaPropsOrBool": _schema_or("bool"),
    "apiextensions/v1.JSONSchemaPropsOrArray": _schema_or(f"[]{_SCHEMA}"),
    "apiextensions/v1.JSONSchemaPropsOrStringArray": _schema_or("[]string"),
}
