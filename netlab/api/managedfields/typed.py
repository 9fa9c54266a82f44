"""Objects seen through their schema: the fields they set, how two differ, their merge, and the removal of fields.

A leaf is a scalar, an atomic list or map, or an empty object; lists of type set and map are walked item by item. None
(`ABSENT`) and an explicit null differ: Go writes null for a nil list without omitempty, and that list is then present.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from netlab.api.managedfields.sets import FieldSet, Path, show
from netlab.api.schema import Schema, unknown_fields
from netlab.api.types import Obj, clone


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Any = _Absent()

# Fields of keyed lists that may be left out, and what they then are (`default` in upstream's OpenAPI).
_KEY_DEFAULTS = {"protocol": "TCP"}


class TypedError(ValueError):
    """An object that cannot be seen through its schema; str() says where and why."""


def is_map(schema: Schema | None, value: Any) -> bool:
    """Whether this is walked field by field."""
    if schema is None or schema.type != "object" or schema.map_type == "atomic":
        return False
    return not schema.open and (isinstance(value, dict) or value is None)


def is_list(schema: Schema | None, value: Any) -> bool:
    """Whether this is walked item by item."""
    return (
        schema is not None
        and schema.type == "array"
        and schema.list_type in ("set", "map")
        and (isinstance(value, list) or value is None)
    )


def element(schema: Schema, item: Any) -> str:
    """The path element of a list's item."""
    if schema.list_type == "set":
        return f"v:{orjson.dumps(item).decode()}"
    if not isinstance(item, dict):
        raise TypedError("associative list with keys may not have non-map elements")
    names, values = schema.list_map_keys, []
    for key in names:
        value = item.get(key, _KEY_DEFAULTS.get(key))
        if value is None:
            raise TypedError(
                f'associative list with keys has an element that omits key field "{key}" '
                "(and doesn't have default value)"
            )
        values.append(value)
    try:
        return _keyed(names, *values)
    except TypeError:  # a key that is an object: no schema of ours has one, a custom one may
        return _keyed.__wrapped__(names, *values)


@lru_cache(maxsize=8192, typed=True)
def _keyed(names: tuple[str, ...], *values: Any) -> str:
    return f"k:{orjson.dumps(dict(zip(names, values, strict=True)), option=orjson.OPT_SORT_KEYS).decode()}"


class Repeated(list[Any]):
    """Items that share a path element: not allowed by the schema, but stored objects have them. Owned as one."""


def items(schema: Schema, values: list[Any] | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in values or ():
        name = element(schema, item)
        if name not in found:
            found[name] = item
        elif isinstance(found[name], Repeated):
            found[name].append(item)
        else:
            found[name] = Repeated([found[name], item])
    return found


def _flat(items: Iterable[Any]) -> list[Any]:
    return [one for item in items for one in (item if isinstance(item, Repeated) else (item,))]


def check(schema: Schema, config: Obj) -> None:
    """TypedError where a configuration has fields that the schema lacks, or repeats an item of a keyed list."""
    problems = [f".{path}: field not declared in schema" for path in unknown_fields(schema, config)]
    _find_repeated(schema, config, (), problems)
    if len(problems) == 1:
        raise TypedError(problems[0])
    if problems:
        raise TypedError("errors:\n" + "\n".join(f"  {problem}" for problem in problems))


def _find_repeated(schema: Schema | None, value: Any, path: Path, problems: list[str]) -> None:
    if schema is not None and is_map(schema, value):
        for key, inner in (value or {}).items():
            _find_repeated(schema.field(key), inner, (*path, f"f:{key}"), problems)
    elif schema is not None and is_list(schema, value):
        for name, inner in items(schema, value).items():
            if isinstance(inner, Repeated):
                problems.append(f"{show(path)}: duplicate entries for key {show((name,))}")
            else:
                _find_repeated(schema.items, inner, (*path, name), problems)


def field_set(schema: Schema, obj: Obj) -> FieldSet:
    """The paths that an applied configuration sets."""
    found: set[Path] = set()
    _collect(schema, obj, (), found)
    return frozenset(found)


def _collect(schema: Schema | None, value: Any, path: Path, found: set[Path]) -> None:
    if schema is not None and is_map(schema, value):
        for key, inner in (value or {}).items():
            here = (*path, f"f:{key}")
            _collect(schema.field(key), inner, here, found)
            if inner is None or inner == {} or key not in schema.properties:
                found.add(here)
    elif schema is not None and is_list(schema, value):
        for name, inner in items(schema, value).items():
            here = (*path, name)
            if not isinstance(inner, Repeated):
                _collect(schema.items, inner, here, found)
            found.add(here)
    else:
        found.add(path)


@dataclass(slots=True)
class Comparison:
    """What is different in the newer of two objects."""

    added: set[Path] = field(default_factory=set)
    modified: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)

    @property
    def same(self) -> bool:
        """True where nothing differs."""
        return not (self.added or self.modified or self.removed)


def compare(schema: Schema, old: Obj, new: Obj) -> Comparison:
    """How `new` differs from `old`."""
    result = Comparison()
    _compare(schema, old, new, (), result)
    return result


def _compare(schema: Schema | None, old: Any, new: Any, path: Path, result: Comparison) -> None:
    if old == new:  # most of an object, most of the time; at the speed of C
        return
    sample = old if new is ABSENT or new is None else new
    walked: Iterable[tuple[str, Schema | None, Any, Any]] | None = None
    empty = (old is ABSENT or not old) and (new is ABSENT or not new)
    repeated = isinstance(old, Repeated) or isinstance(new, Repeated)
    if not empty and not repeated and schema is not None:
        if is_map(schema, sample):
            walked = _map_pairs(schema, old, new)
        elif is_list(schema, sample):
            walked = _list_pairs(schema, old, new)
    if walked is not None:
        for name, child, left, right in walked:
            _compare(child, left, right, (*path, name), result)
    if old is ABSENT:
        result.added.add(path)
    elif new is ABSENT:
        result.removed.add(path)
    elif walked is None and old != new:
        result.modified.add(path)


def _map_pairs(schema: Schema, old: Any, new: Any) -> list[tuple[str, Schema | None, Any, Any]]:
    left = old if isinstance(old, dict) else {}
    right = new if isinstance(new, dict) else {}
    return [(f"f:{key}", schema.field(key), left.get(key, ABSENT), right.get(key, ABSENT)) for key in {**left, **right}]


def _list_pairs(schema: Schema, old: Any, new: Any) -> list[tuple[str, Schema | None, Any, Any]]:
    left = items(schema, old if isinstance(old, list) else None)
    right = items(schema, new if isinstance(new, list) else None)
    return [(key, schema.items, left.get(key, ABSENT), right.get(key, ABSENT)) for key in {**left, **right}]


def merge(schema: Schema | None, live: Any, config: Any) -> Any:
    """`live` with everything that `config` says: scalars and atomic values replace, the rest merges."""
    if config is ABSENT:
        return clone(live)
    if live is ABSENT or live is None or isinstance(live, Repeated) or isinstance(config, Repeated):
        return clone(config)
    if schema is not None and isinstance(config, dict) and isinstance(live, dict) and is_map(schema, config):
        merged = {}
        for key in {**live, **config}:
            merged[key] = merge(schema.field(key), live.get(key, ABSENT), config.get(key, ABSENT))
        return merged
    if schema is not None and isinstance(config, list) and isinstance(live, list) and is_list(schema, config):
        return _merge_lists(schema, items(schema, live), items(schema, config))
    return clone(config)


def _merge_lists(schema: Schema, live: dict[str, Any], config: dict[str, Any]) -> list[Any]:
    """The configuration's order for what it names; items of the live object alone stay where they are among them."""
    order: list[str] = []
    wanted = list(config)
    for key in live:
        if key not in config:
            order.append(key)
        elif wanted:
            while wanted:
                order.append(wanted.pop(0))
                if order[-1] == key:
                    break
    order += wanted
    merged: list[Any] = []
    for key in dict.fromkeys(order):
        chosen = config[key] if key in config else live[key]
        if isinstance(chosen, Repeated):
            merged += clone(list(chosen))
        else:
            merged.append(merge(schema.items, live.get(key, ABSENT), config.get(key, ABSENT)))
    return merged


def remove(schema: Schema | None, value: Any, paths: FieldSet) -> Any:
    """`value` without the fields and items at `paths`; null where nothing remains of an object or list."""
    by_first: dict[str, set[Path]] = {}
    for path in paths:
        if path:
            by_first.setdefault(path[0], set()).add(path[1:])
    if not by_first or schema is None:
        return value
    if isinstance(value, dict) and is_map(schema, value):
        kept: dict[str, Any] = {}
        for key, inner in value.items():
            below = by_first.get(f"f:{key}")
            if below is None:
                kept[key] = inner
            elif () not in below:
                kept[key] = remove(schema.field(key), inner, frozenset(below))
        return kept or None
    if isinstance(value, list) and is_list(schema, value):
        left: list[Any] = []
        for name, inner in items(schema, value).items():
            below = by_first.get(name)
            if below is None:
                left.append(inner)
            elif () not in below:
                left.append(inner if isinstance(inner, Repeated) else remove(schema.items, inner, frozenset(below)))
        return _flat(left) or None
    return value


def with_named_parents(schema: Schema, paths: FieldSet) -> FieldSet:
    """The paths, and every field of a struct (not: key of a map, item of a list) that leads to one of them."""
    found = set(paths)
    for path in paths:
        here: Schema | None = schema
        for depth, name in enumerate(path[:-1], 1):
            if here is None:
                break
            kind, _, text = name.partition(":")
            if kind == "f":
                if text in here.properties:
                    found.add(path[:depth])
                here = here.field(text)
            else:
                here = here.items
    return frozenset(found)
