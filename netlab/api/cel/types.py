"""CEL's types, and functions as overloads of them.

A type carries how large its values can get (`size`: characters, items), which estimates of cost need and nothing else.
Source followed: cel-go `common/types`, `checker/types.go`; apiserver `pkg/cel/types.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Type:
    """A primitive, an opaque type (`net.IP`), a type variable, or list, map, optional_type, type with parameters."""

    name: str
    params: tuple[Type, ...] = ()
    variable: bool = False
    size: int | None = field(default=None, compare=False)
    fields: Mapping[str, Field] | None = field(default=None, compare=False)
    """The fields of an object; names as CEL writes them."""

    def __str__(self) -> str:
        name = _SHOWN.get(self.name, self.name)
        return f"{name}({', '.join(map(str, self.params))})" if self.params else name


_SHOWN = {"google.protobuf.Duration": "duration", "google.protobuf.Timestamp": "timestamp", "null_type": "null"}


@dataclass(frozen=True)
class Field:
    """A field of an object; `key` is its name in JSON."""

    type: Type
    key: str


DYN = Type("dyn")
BOOL, INT, UINT, DOUBLE = Type("bool"), Type("int"), Type("uint"), Type("double")
STRING, BYTES, NULL = Type("string"), Type("bytes"), Type("null_type")
DURATION, TIMESTAMP = Type("google.protobuf.Duration"), Type("google.protobuf.Timestamp")
ERROR = Type("!error!")

NAMES: dict[str, Type] = {
    "bool": BOOL,
    "int": INT,
    "uint": UINT,
    "double": DOUBLE,
    "string": STRING,
    "bytes": BYTES,
    "null_type": NULL,
    "list": Type("list", (DYN,)),
    "map": Type("map", (DYN, DYN)),
    "type": Type("type"),
    "google.protobuf.Duration": DURATION,
    "google.protobuf.Timestamp": TIMESTAMP,
    "optional_type": Type("optional_type", (DYN,)),
}
"""Types that an expression can name."""


def list_of(item: Type, size: int | None = None) -> Type:
    return Type("list", (item,), size=size)


def map_of(key: Type, value: Type, size: int | None = None) -> Type:
    return Type("map", (key, value), size=size)


def optional_of(value: Type) -> Type:
    return Type("optional_type", (value,))


def type_of(value: Type) -> Type:
    return Type("type", (value,))


def object_type(name: str, fields: Mapping[str, Field]) -> Type:
    return Type(name, fields=fields)


Bindings = dict[str, Type]


def assignable(wanted: Type, given: Type, bound: Bindings) -> bool:
    """Whether a value of `given` may stand for `wanted`; type variables of `wanted` are bound on the way."""
    if wanted.variable:
        known = bound.get(wanted.name)
        if known is None or (known.name == "dyn" and given.name != "dyn"):
            bound[wanted.name] = given
            return True
        if assignable(known, given, {}):
            return True
        if given.name != "dyn" and assignable(given, known, {}):
            bound[wanted.name] = given
            return True
        return False
    if "dyn" in (wanted.name, given.name) or "!error!" in (wanted.name, given.name):
        return True
    if wanted.name != given.name:
        # null may stand for what can be absent: objects, times, durations and opaque values
        return given.name == "null_type" and (wanted.fields is not None or wanted in (DURATION, TIMESTAMP))
    if len(wanted.params) != len(given.params):
        return True
    return all(assignable(a, b, bound) for a, b in zip(wanted.params, given.params, strict=True))


def substitute(wanted: Type, bound: Bindings) -> Type:
    """`wanted` with its type variables replaced; unbound ones are dyn."""
    if wanted.variable:
        return bound.get(wanted.name, DYN)
    if not wanted.params:
        return wanted
    return Type(wanted.name, tuple(substitute(one, bound) for one in wanted.params), size=wanted.size)


def join(a: Type, b: Type) -> Type:
    """The type of what is one of two."""
    return a if a == b else DYN


@dataclass(frozen=True, eq=False)
class Overload:
    """One signature of a function; for a member the first parameter is the target."""

    function: str
    params: tuple[Type, ...]
    result: Type
    member: bool
    call: Callable[..., Any]
    cost: Callable[..., float] | None = None
    """From the sizes of the arguments to the cost; None costs 1."""


def parse_type(text: str) -> Type:
    """`list(T)`, `map(string, net.IP)`: single capital letters are type variables."""
    found, rest = _read(text.strip())
    if rest.strip():
        raise ValueError(f"not a type: {text}")
    return found


_SHORT: dict[str, Type | str] = {"duration": DURATION, "timestamp": TIMESTAMP, "dyn": DYN, "optional": "optional_type"}


def _read(text: str) -> tuple[Type, str]:
    end = 0
    while end < len(text) and (text[end].isalnum() or text[end] in "._"):
        end += 1
    name, rest = text[:end], text[end:]
    params: list[Type] = []
    if rest.startswith("("):
        rest = rest[1:]
        while True:
            one, rest = _read(rest.lstrip())
            params.append(one)
            rest = rest.lstrip()
            closing, rest = rest[0], rest[1:]
            if closing == ")":
                break
    known = _SHORT.get(name, name)
    if isinstance(known, Type):
        return known, rest
    if not params and known in NAMES and not NAMES[known].params:
        return NAMES[known], rest
    return Type(known, tuple(params), variable=len(name) == 1 and name.isupper()), rest


def overload(
    signature: str,
    call: Callable[..., Any],
    cost: Callable[..., float] | None = None,
) -> Overload:
    """From `list(T).indexOf(T) -> int`, or `isURL(string) -> bool`."""
    left, _, right = signature.rpartition("->")
    left = left.strip()
    opening = _opening(left)
    head, inside = left[:opening], left[opening + 1 : -1]
    target, member = "", False
    if "." in head:
        target, _, name = head.rpartition(".")
        member = target[0] != "!"
    else:
        name = head
    if target.startswith("!"):
        # a function whose own name is qualified
        name = f"{target[1:]}.{name}"
    params = [parse_type(one) for one in _split(inside)]
    if member:
        params.insert(0, parse_type(target))
    return Overload(name, tuple(params), parse_type(right), member, call, cost)


def _opening(text: str) -> int:
    """The bracket that opens the parameters: the partner of the last one."""
    depth = 0
    for index in range(len(text) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(text[index], 0)
        if not depth:
            return index
    raise ValueError(text)


def _split(text: str) -> list[str]:
    found, depth, start = [], 0, 0
    for index, char in enumerate(text):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == "," and not depth:
            found.append(text[start:index])
            start = index + 1
    return [*found, text[start:]] if text.strip() else []
