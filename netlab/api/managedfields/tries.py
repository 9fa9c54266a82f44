"""FieldsV1 without the detour over sets of paths: what two objects differ in, as tries, and tries joined and parted.

An ordinary write happens hundreds of times a second, and touches few fields: everything here costs what differs, not
what is there. `typed.compare` says the same in sets of paths; a test holds the two together.

A node without children is a field that is owned; one with `.` among its children is owned, too. Tries are never
changed, since stored objects and their copies share them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from netlab.api.managedfields.typed import Repeated, is_list, is_map, items
from netlab.api.schema import Schema
from netlab.api.types import Obj

Trie = Obj
P = TypeVar("P")
_OWN = "."
_LEAF: Trie = {}
"""Shared by all, as tries are."""


def every(schema: Schema | None, value: Any) -> Trie:
    """The trie of a value that is new (or gone) as a whole."""
    if not value or schema is None:
        return {}
    walk = walk_of(schema)
    return walk(value) if walk is not None else {}


Walk = Callable[[Any], Trie]


def walk_of(schema: Schema) -> Walk | None:
    """The function that makes the trie of a value of this schema, made once; None where it is owned as one."""
    kept: dict[str, Any] = schema.__dict__
    if "_walk" not in kept:
        made = None
        if is_map(schema, None):
            made = _fields_walk(schema)
        elif is_list(schema, None):
            made = _items_walk(schema)
        kept["_walk"] = made
    found: Walk | None = kept["_walk"]
    return found


def _fields_walk(schema: Schema) -> Walk:
    plans: dict[tuple[str, ...], _Plan] = {}

    def walk(value: Any) -> Trie:
        if type(value) is not dict and not isinstance(value, dict):
            return {}
        keys = tuple(value)
        plan = plans.get(keys)
        if plan is None:
            plan = remember(plans, keys, _plan(schema, keys))
        whole, deep = plan
        if not deep:
            return whole
        made = dict(whole)
        for key, name, inner in deep:
            one = value[key]
            if one:
                made[name] = inner(one)
        return made

    return walk


_Plan = tuple[Trie, tuple[tuple[str, str, Walk], ...]]
"""Of objects with certain keys: the trie as it is if no field has fields of its own, and the fields that may have."""
_PLANS, _KEYS = 256, 64


def remember(plans: dict[tuple[str, ...], P], keys: tuple[str, ...], plan: P) -> P:
    """Keep a plan for the next object with these keys: most objects of a kind have the same few sets of them."""
    if len(keys) <= _KEYS:
        if len(plans) >= _PLANS:
            plans.clear()
        plans[keys] = plan
    return plan


def _plan(schema: Schema, keys: tuple[str, ...]) -> _Plan:
    whole: Trie = {_OWN: _LEAF}
    deep = []
    for key in sorted(keys):
        whole[f"f:{key}"] = _LEAF
        inner = schema.field(key)
        walk = walk_of(inner) if inner is not None else None
        if walk is not None:
            deep.append((key, f"f:{key}", walk))
    return whole, tuple(deep)


def _items_walk(schema: Schema) -> Walk:
    def walk(value: Any) -> Trie:
        if not isinstance(value, list) or isinstance(value, Repeated):
            return {}
        found = items(schema, value)
        inner = schema.items
        made: Trie = {_OWN: {}}
        for key in sorted(found):
            made[key] = every(inner, found[key])
        return made

    return walk


def changes(schema: Schema | None, old: Any, new: Any) -> tuple[Trie | None, Trie | None]:
    """What was added or modified, and what was removed, between two values that are both there; None for nothing."""
    if old == new:
        return None, None
    if (not old and not new) or schema is None:
        return {}, None
    if isinstance(old, Repeated) or isinstance(new, Repeated):
        return {}, None
    sample = old if new is None else new
    if is_map(schema, sample):
        left = old if isinstance(old, dict) else {}
        right = new if isinstance(new, dict) else {}
        return fields(schema, left, right)
    if is_list(schema, sample):
        inner = schema.items
        before = items(schema, old if isinstance(old, list) else None)
        after = items(schema, new if isinstance(new, list) else None)
        return _children({key: (inner, key) for key in {**before, **after}}, before, after)
    return {}, None


def fields(schema: Schema, old: Obj, new: Obj) -> tuple[Trie | None, Trie | None]:
    """As `changes`, for two objects walked field by field."""
    differing = [key for key in {**old, **new} if key not in old or key not in new or old[key] != new[key]]
    return _children({key: (schema.field(key), f"f:{key}") for key in differing}, old, new)


def _children(
    schemas: dict[str, tuple[Schema | None, str]], old: dict[str, Any], new: dict[str, Any]
) -> tuple[Trie | None, Trie | None]:
    taken: Trie = {}
    gone: Trie = {}
    for key in sorted(schemas):
        schema, name = schemas[key]
        if key not in old:
            taken[name] = every(schema, new[key])
        elif key not in new:
            gone[name] = every(schema, old[key])
        else:
            more, less = changes(schema, old[key], new[key])
            if more is not None:
                taken[name] = more
            if less is not None:
                gone[name] = less
    return taken or None, gone or None


def minus(own: Trie, lost: Trie) -> Trie | None:
    """`own` without the fields that `lost` names; the same object where it has none of them, None for nothing."""
    if not lost or not own:
        at_once = not lost or _OWN in lost
        if not at_once:
            return own
        if not own:
            return None
        return _tidy({key: child for key, child in own.items() if key != _OWN}) if _OWN in own else own
    kept: Trie | None = None
    for key, child in lost.items():
        if key not in own:
            continue
        left = None if key == _OWN else minus(own[key], child)
        if left is own[key]:
            continue
        kept = dict(own) if kept is None else kept
        if left is None:
            del kept[key]
        else:
            kept[key] = left
    return own if kept is None else _tidy(kept)


def _tidy(node: Trie) -> Trie | None:
    if not node:
        return None
    return {} if node.keys() == {_OWN} else node


def plus(own: Trie, more: Trie) -> Trie:
    """Both together, keys sorted as upstream sorts them."""
    if not more:
        return own if not own or _OWN in own else {_OWN: {}, **own}
    if not own:
        return more if _OWN in more else {_OWN: {}, **more}
    joined = dict(own)
    for key, child in more.items():
        joined[key] = plus(own[key], child) if key in own and key != _OWN else child
    return {key: joined[key] for key in sorted(joined)}
