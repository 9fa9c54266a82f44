"""PURE. The shapes of the API's Go types: what published schemas do not say and behaviour depends on.

Which field is a pointer (so that an explicit zero is kept), which is always written, what a type is called in a
decoding error, its protobuf field number. Facts only, read out of a real kubectl by `extract` (`table.json`) or written
by hand where kubectl lacks the type (`extra.json`). Types are named `<group>/<version>.<GoName>`, as in `core/v1.Pod`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import orjson


class Field(NamedTuple):
    """One field of a Go struct, embedded structs already unfolded.

    `type` is Go's notation (`*int32`, `[]core/v1.Container`, `map[string]string`); `omit_empty` is the JSON
    tag's option; `number` is the protobuf field number within `owner`, the struct that declares the field; `inline` is
    the protobuf number of that embedded struct when it is not the struct asked for, else 0.
    """

    name: str
    type: str
    omit_empty: bool
    number: int
    owner: str
    inline: int


class _Tables(NamedTuple):
    structs: dict[str, list[tuple[str, str, str, int]]]
    names: dict[str, str]


@cache
def _tables() -> _Tables:
    here = Path(__file__).parent
    table = orjson.loads((here / "table.json").read_bytes())
    extra = orjson.loads((here / "extra.json").read_bytes())
    return _Tables(table["structs"] | extra["structs"], table["names"] | extra["names"])


def type_name(api_version: str, kind: str) -> str:
    """The Go type of a kind: `("rbac.authorization.k8s.io/v1", "Role")` is `rbac/v1.Role`."""
    group, _, version = api_version.rpartition("/")
    return f"{group.partition('.')[0] or 'core'}/{version}.{kind}"


def is_struct(name: str) -> bool:
    """Whether `name` (as `core/v1.Pod`) is a struct in the tables."""
    return name in _tables().structs


def underlying(name: str) -> str:
    """What a named type is made of: `core/v1.Protocol` is `string`; other types are themselves."""
    return _tables().names.get(name, name)


@cache
def fields_of(name: str) -> tuple[Field, ...]:
    """The fields of a struct in Go's order, embedded structs unfolded in place. Raises KeyError for an unknown one."""
    found: list[Field] = []
    for json_name, type_, flags, number in _tables().structs[name]:
        if flags == "i":
            found += [one._replace(inline=number) for one in fields_of(type_)]
        else:
            found.append(Field(json_name, type_, flags != "r", number, name, 0))
    return tuple(found)
