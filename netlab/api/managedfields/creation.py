"""What the creator of an object owns: a function per kind, which remembers what it found for each set of keys.

It says what `tries.fields` says of Go's empty object and the new one. Only the parts whose fields are owned one by one
are looked into; of the others the keys alone decide, and most objects of a kind have the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import Any

from netlab.api.managedfields import tries
from netlab.api.managedfields.typed import is_list, is_map
from netlab.api.schema import Schema
from netlab.api.types import Obj

Creation = Callable[[Any], tries.Trie | None]
"""The trie of what is new in a value; None for nothing."""
_Plan = tuple[tries.Trie, tuple[tuple[str, str, Creation], ...]]
_NONE: Mapping[str, Creation] = {}


def creation(schema: Schema, zero: Obj, ignored: Container[str] = (), own: Mapping[str, Creation] = _NONE) -> Creation:
    """Compare objects of `schema` with `zero`, but for the fields `ignored`; `own` are the functions of some fields."""
    plans: dict[tuple[str, ...], _Plan] = {}

    def plan(keys: tuple[str, ...]) -> _Plan:
        whole: tries.Trie = {}
        asked = []
        for key in sorted(keys):
            if key in ignored:
                continue
            name = f"f:{key}"
            whole[name] = {}
            found = own.get(key) or _of_field(schema.field(key), key, zero)
            if found is not None:
                asked.append((key, name, found))
        return whole, tuple(asked)

    def made(value: Any) -> tries.Trie | None:
        keys = tuple(value)
        found = plans.get(keys)
        if found is None:
            found = tries.remember(plans, keys, plan(keys))
        whole, asked = found
        if not asked:
            return whole or None
        result = dict(whole)
        for key, name, ask in asked:
            part = ask(value[key])
            if part is None:
                del result[name]
            elif part:
                result[name] = part
        return result or None

    return made


def _of_field(schema: Schema | None, key: str, zero: Obj) -> Creation | None:
    """The function of one field; None where its being there is all that counts."""
    if key not in zero:
        whole = schema is not None and tries.walk_of(schema) is not None
        return partial(tries.every, schema) if whole else None
    before = zero[key]
    if not is_map(schema, None) and not is_list(schema, None):
        return lambda value: None if value == before else {}

    def changed(value: Any) -> tries.Trie | None:
        return tries.changes(schema, before, value)[0]

    if schema is None or not schema.properties or not isinstance(before, dict):
        return changed
    inside = creation(schema, before)
    return lambda value: inside(value) if type(value) is dict else changed(value)
