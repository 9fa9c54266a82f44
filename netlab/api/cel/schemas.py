"""From an OpenAPI schema to CEL: its type, and its values.

Sources followed: apiserver `pkg/cel/common/schemas.go` (types and sizes), `values.go`, `pkg/cel/escaping.go`,
`pkg/cel/limits.go`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from netlab.api.cel.errors import CelError
from netlab.api.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    Field,
    Type,
    list_of,
    map_of,
)
from netlab.api.cel.values import MapList, SetList, parse_duration, parse_timestamp
from netlab.api.types import Obj

MAX_REQUEST = 3 * 1024 * 1024
"""Bytes of the largest request: nothing in an object is larger."""
INT_OR_STRING, EMBEDDED = "x-kubernetes-int-or-string", "x-kubernetes-embedded-resource"
_WORDS = "true false null in as break const continue else for function if import let loop package namespace return"
_RESERVED = frozenset([*_WORDS.split(), "var", "void", "while"])
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__", "$": "__dollar__"}
_DATES = {"duration": (DURATION, 3, 32), "date": (TIMESTAMP, 12, 12), "date-time": (TIMESTAMP, 21, 32)}
"""Type, smallest and largest size in JSON of texts with a format."""
_TEXT: Obj = {"type": "string"}
_META: Obj = {"type": "object", "properties": {"name": _TEXT, "generateName": _TEXT}}


@dataclass(frozen=True, slots=True)
class Declared:
    """A type and the fewest bytes that a value of it takes in JSON."""

    type: Type
    smallest: int


def escape(name: str) -> str | None:
    """A property's name as CEL can write it; None where it cannot."""
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_.\-/$]*", name) or "$" in name:
        return None
    if name in _RESERVED:
        return f"__{name}__"
    return re.sub(r"__|[.\-/]", lambda match: _ESCAPES[match[0]], name)


def with_meta(schema: Obj) -> Obj:
    """The schema of a whole object: apiVersion, kind and the object's name can always be read."""
    return {
        **schema,
        "type": "object",
        "properties": {**(schema.get("properties") or {}), "apiVersion": _TEXT, "kind": _TEXT, "metadata": _META},
    }


def declare(schema: Obj, name: str, *, root: bool = False) -> Declared | None:
    """None where CEL does not see values of the schema. `name` is that of the type, `root` says it is an object's."""
    if schema.get(INT_OR_STRING):
        return Declared(replace(DYN, size=_text_size(schema)), 1)
    if root:
        schema = with_meta(schema)
    kind = schema.get("type")
    if kind == "array":
        return _list(schema, name)
    if kind == "object":
        return _object(schema, name)
    if kind == "string":
        return _string(schema)
    scalars = {"boolean": Declared(BOOL, 4), "number": Declared(DOUBLE, 1), "integer": Declared(INT, 1)}
    return scalars.get(str(kind))


def _child(schema: Obj, name: str) -> Declared | None:
    return declare(schema, name, root=bool(schema.get(EMBEDDED)))


def _text_size(schema: Obj) -> int:
    if "maxLength" in schema:
        # characters to bytes
        return max(0, int(schema["maxLength"])) * 4
    if schema.get("enum") and not schema.get(INT_OR_STRING):
        return max((len(one) for one in schema["enum"] if isinstance(one, str)), default=0)
    return MAX_REQUEST - 2


def _string(schema: Obj) -> Declared:
    form = schema.get("format", "")
    if form in _DATES:
        kind, smallest, largest = _DATES[form]
        return Declared(replace(kind, size=largest), smallest)
    if form == "byte":
        return Declared(replace(BYTES, size=int(schema.get("maxLength", MAX_REQUEST - 2))), 2)
    return Declared(replace(STRING, size=_text_size(schema)), 2)


def _list(schema: Obj, name: str) -> Declared | None:
    items = schema.get("items")
    item = _child(items, f"{name}.@idx") if isinstance(items, dict) else None
    if item is None:
        return None
    most = schema.get("maxItems", (MAX_REQUEST - 2) // (item.smallest + 1))
    return Declared(list_of(item.type, max(0, int(most))), 2)


def _object(schema: Obj, name: str) -> Declared | None:
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        value = _child(additional, f"{name}.@elem")
        if value is None:
            return None
        most = schema.get("maxProperties", (MAX_REQUEST - 2) // (value.smallest + 6))
        return Declared(map_of(STRING, value.type, max(0, int(most))), 2)
    fields: dict[str, Field] = {}
    smallest, required = 2, schema.get("required") or ()
    for key, inner in (schema.get("properties") or {}).items():
        found, written = _child(inner, f"{name}.{key}"), escape(key)
        if found is None:
            continue
        if written is not None:
            fields[written] = Field(found.type, key)
        if key in required and "default" not in inner:
            smallest += len(key) + found.smallest + 4
    return Declared(Type(name, fields=fields), smallest)


# -- values ------------------------------------------------------------------------------------------------------------

Convert = Callable[[Any], Any]


def converter(schema: Obj) -> Convert | None:
    """What makes CEL's values of JSON values of the schema; None where they are the same."""
    if schema.get(INT_OR_STRING):
        return None
    kind = schema.get("type")
    if kind == "number":
        return lambda value: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if kind == "string":
        return _FORMATS.get(schema.get("format", ""))
    if kind == "array" and isinstance(schema.get("items"), dict):
        return _list_converter(schema)
    if kind == "object" or schema.get("properties"):
        return _object_converter(schema)
    return None


def _text(parse: Callable[[str], Any]) -> Convert:
    def convert(value: Any) -> Any:
        try:
            return parse(value) if isinstance(value, str) else value
        except (CelError, ValueError, binascii.Error):
            return value

    return convert


_FORMATS: dict[str, Convert] = {
    "duration": _text(parse_duration),
    "date-time": _text(parse_timestamp),
    "date": _text(lambda text: parse_timestamp(f"{text}T00:00:00Z")),
    "byte": _text(lambda text: base64.b64decode(text, validate=True)),
}


def _list_converter(schema: Obj) -> Convert | None:
    each, kind = converter(schema["items"]), schema.get("x-kubernetes-list-type")
    keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    if each is None and kind not in ("set", "map"):
        return None

    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        items = [each(one) for one in value] if each is not None else value
        return SetList(items) if kind == "set" else MapList(items, keys) if kind == "map" else items

    return convert


def _object_converter(schema: Obj) -> Convert | None:
    found = {key: one for key, inner in (schema.get("properties") or {}).items() if (one := converter(inner))}
    additional = schema.get("additionalProperties")
    rest = converter(additional) if isinstance(additional, dict) else None
    if rest is not None:
        each = rest
        return lambda value: {key: each(one) for key, one in value.items()} if isinstance(value, dict) else value
    if not found:
        return None

    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: found[key](one) if key in found else one for key, one in value.items()}

    return convert
