"""PURE. Whether a value is what its schema says, in upstream's words.

Source followed: kube-openapi `pkg/validation/validate` and `pkg/validation/errors`, apiextensions-apiserver
`pkg/apiserver/validation/validation.go`. What did not change in an update is not judged again (KEP-4008, ratcheting).
"""

from __future__ import annotations

from typing import Any

import orjson

from netlab.api.types import Obj
from netlab.api.validation.field import (
    INVALID,
    TYPE_INVALID,
    FieldError,
    duplicate,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from netlab.api.validation.gofmt import GoSyntax, quote
from netlab.apiserver.extensions import formats

_NEW: Any = object()
"""There is no older value to compare with."""
_INT_OR_STRING = "x-kubernetes-int-or-string"


def check(value: Any, schema: Obj, old: Any = _NEW) -> list[FieldError]:
    """Findings against a whole object."""
    return _check(value, schema, "", old)


def kind_of(value: Any) -> str:
    """The JSON type's name; whole numbers are integers."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _check(value: Any, schema: Obj, path: str, old: Any = _NEW) -> list[FieldError]:
    if old is not _NEW and same(old, value):
        return []
    if value is None:
        return [] if schema.get("nullable") or not _types(schema) else [_wrong_type(path, _types(schema), "null")]
    types, kind = _types(schema), kind_of(value)
    if types and kind not in types and not (kind == "integer" and "number" in types):
        return [_wrong_type(path, types, kind)]
    found = _alternatives(value, schema, path)
    if isinstance(value, str):
        found += _text(value, schema, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found += _number(value, schema, path)
    elif isinstance(value, list):
        found += _list(value, schema, path, old)
    if "enum" in schema and not any(same(value, one) for one in schema["enum"]):
        found.append(not_supported(_field(path), value, [_enum_text(one) for one in schema["enum"]]))
    if isinstance(value, dict):
        found += _object(value, schema, path, old)
    return found


def same(a: Any, b: Any) -> bool:
    """Equal as JSON: true is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b) if not isinstance(a, dict | list) else _canonical(a) == _canonical(b)


def _canonical(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _types(schema: Obj) -> tuple[str, ...]:
    if schema.get(_INT_OR_STRING):
        return ("integer", "string")
    kind = schema.get("type")
    return (kind,) if kind else ()


def _field(path: str) -> str:
    return path or "<nil>"


def _wrong_type(path: str, types: tuple[str, ...], shown: str) -> FieldError:
    detail = f"{path} in body must be of type {','.join(types)}: {quote(shown)}"
    return FieldError(TYPE_INVALID, _field(path), shown, detail)


def _enum_text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def shown(value: Any) -> Any:
    """A value as Go's %#v shows it, where it is no scalar."""
    return GoSyntax(_go(value)) if isinstance(value, dict | list) else value


def _go(value: Any) -> str:
    if isinstance(value, dict):
        return "map[string]interface {}{" + ", ".join(f"{quote(k)}:{_go(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(map(_go, value)) + "}"
    if value is None:
        return "interface {}(nil)"
    if isinstance(value, bool):
        return "true" if value else "false"
    return quote(value) if isinstance(value, str) else str(value)


# -- scalars -----------------------------------------------------------------------------------------------------------


def _unmatched(value: str, pattern: str) -> str:
    """The pattern as a refusal shows it, with what is wrong with it itself; "" where the value matches."""
    from netlab.api.goregexp import RegexpError, regexp

    try:
        return "" if regexp(pattern).matches(value) else pattern
    except RegexpError as error:
        return f"{pattern}, but pattern is invalid: {error}"


def _text(value: str, schema: Obj, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    field = _field(path)
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        found.append(too_long(field, schema["maxLength"]))
    if len(value) < schema.get("minLength", 0):
        found.append(invalid(field, value, f"{path} in body should be at least {schema['minLength']} chars long"))
    unmatched = _unmatched(value, schema["pattern"]) if schema.get("pattern") else ""
    if unmatched:
        found.append(invalid(field, value, f"{path} in body should match '{unmatched}'"))
    known = formats.TEXT.get(schema.get("format", ""))
    if known is not None and not known(value):
        detail = f"{path} in body must be of type {schema['format']}: {quote(value)}"
        found.append(FieldError(TYPE_INVALID, field, value, detail))
    return found


def _number(value: float, schema: Obj, path: str) -> list[FieldError]:
    found: list[FieldError] = []

    def wrong(words: str, limit: float) -> None:
        found.append(invalid(_field(path), value, f"{path} in body should be {words} {limit:g}"))

    if "multipleOf" in schema and value % schema["multipleOf"]:
        wrong("a multiple of", schema["multipleOf"])
    if "maximum" in schema:
        limit, open_end = schema["maximum"], schema.get("exclusiveMaximum")
        if value > limit or (open_end and value == limit):
            wrong("less than" if open_end else "less than or equal to", limit)
    if "minimum" in schema:
        limit, open_end = schema["minimum"], schema.get("exclusiveMinimum")
        if value < limit or (open_end and value == limit):
            wrong("greater than" if open_end else "greater than or equal to", limit)
    low, high = formats.NUMBERS.get(schema.get("format", ""), (value, value))
    if not low <= value <= high:
        detail = f"Checked value must be of type integer with format {schema['format']}"
        found.append(invalid(_field(path), value, f"{path} in body must be of type {schema['format']}: {detail}"))
    return found


# -- lists and objects -------------------------------------------------------------------------------------------------


def _list(value: list[Any], schema: Obj, path: str, old: Any) -> list[FieldError]:
    found: list[FieldError] = []
    items = schema.get("items")
    if isinstance(items, dict):
        before = _by_key(old, schema)
        for index, one in enumerate(value):
            found += _check(one, items, f"{path}[{index}]", before.get(_key(one, schema), _NEW) if before else _NEW)
    size = len(value)
    if size < schema.get("minItems", 0):
        detail = f"{path} in body should have at least {schema['minItems']} items"
        found.append(invalid(_field(path), size, detail))
    if "maxItems" in schema and size > schema["maxItems"]:
        found.append(too_many(_field(path), size, schema["maxItems"]))
    return found


def _key(item: Any, schema: Obj) -> bytes:
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    return _canonical([item.get(key) if isinstance(item, dict) else None for key in keys])


def _by_key(old: Any, schema: Obj) -> dict[bytes, Any]:
    if schema.get("x-kubernetes-list-type") != "map" or not isinstance(old, list):
        return {}
    return {_key(one, schema): one for one in old}


def _object(value: Obj, schema: Obj, path: str, old: Any) -> list[FieldError]:
    found: list[FieldError] = []
    size = len(value)
    if size < schema.get("minProperties", 0):
        detail = f"{path} in body should have at least {schema['minProperties']} properties"
        found.append(invalid(_field(path), schema["minProperties"], detail))
    if "maxProperties" in schema and size > schema["maxProperties"]:
        found.append(too_many(_field(path), size, schema["maxProperties"]))
    prefix = f"{path}." if path else ""
    found += [required(f"{prefix}{name}") for name in schema.get("required") or () if name not in value]
    properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
    for name in sorted(value):
        inner = properties.get(name, additional)
        if isinstance(inner, dict):
            before = old.get(name, _NEW) if isinstance(old, dict) else _NEW
            found += _check(value[name], inner, f"{prefix}{name}", before)
    return found


# -- several schemas at once -------------------------------------------------------------------------------------------


def _alternatives(value: Any, schema: Obj, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    if schema.get("anyOf") and not schema.get(_INT_OR_STRING):
        tried = [_check(value, one, path) for one in schema["anyOf"]]
        if all(tried):
            found += [_composite(path, "must validate at least one schema (anyOf)"), *_least(tried)]
    if schema.get("oneOf"):
        tried = [_check(value, one, path) for one in schema["oneOf"]]
        good = sum(not one for one in tried)
        if good != 1:
            what = f"Found {good} valid alternatives" if good else "Found none valid"
            found.append(_composite(path, f"must validate one and only one schema (oneOf). {what}"))
            found += [] if good else _least(tried)
    failed = [one for part in schema.get("allOf") or () for one in _check(value, part, path)]
    if failed:
        found += [*failed, _composite(path, "must validate all the schemas (allOf)")]
    if schema.get("not") and not _check(value, schema["not"], path):
        found.append(_composite(path, "must not validate the schema (not)"))
    return found


def _least(tried: list[list[FieldError]]) -> list[FieldError]:
    """The findings of the alternative that comes nearest."""
    return min(tried, key=lambda one: len(one))


def _composite(path: str, words: str) -> FieldError:
    return FieldError(INVALID, "<nil>", "", f"{quote(path)} {words}")


# -- what Kubernetes adds ----------------------------------------------------------------------------------------------


def list_types(value: Any, schema: Obj, path: str = "") -> list[FieldError]:
    """Duplicates in sets and maps. Source: `pkg/apiserver/schema/listtype/validation.go`."""
    found: list[FieldError] = []
    if isinstance(value, dict):
        properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
        for name in sorted(value):
            inner = properties.get(name)
            here = f"{path}.{name}" if path else name
            if inner is None and isinstance(additional, dict):
                inner, here = additional, f"{path}[{name}]"
            if inner is not None:
                found += list_types(value[name], inner, here)
    elif isinstance(value, list) and isinstance(items := schema.get("items"), dict):
        kind = schema.get("x-kubernetes-list-type")
        seen: set[bytes] = set()
        for index, one in enumerate(value):
            here = f"{path}[{index}]"
            found += list_types(one, items, here)
            if kind not in ("set", "map"):
                continue
            key = _key(one, schema) if kind == "map" else _canonical(one)
            if key in seen:
                names = schema.get("x-kubernetes-list-map-keys") or ()
                bad = {n: one[n] for n in names if n in one} if kind == "map" and isinstance(one, dict) else one
                found.append(duplicate(here, shown(bad)))
            seen.add(key)
    return found


def embedded(value: Any, schema: Obj, path: str = "") -> list[FieldError]:
    """Objects in objects (x-kubernetes-embedded-resource) say what they are."""
    found: list[FieldError] = []
    if isinstance(value, dict):
        if schema.get("x-kubernetes-embedded-resource"):
            missing = [name for name in ("apiVersion", "kind") if not value.get(name)]
            found += [required(f"{path}.{name}", "must not be empty") for name in missing]
        for name in sorted(value):
            inner = (schema.get("properties") or {}).get(name, schema.get("additionalProperties"))
            if isinstance(inner, dict):
                found += embedded(value[name], inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and isinstance(items := schema.get("items"), dict):
        for index, one in enumerate(value):
            found += embedded(one, items, f"{path}[{index}]")
    return found
