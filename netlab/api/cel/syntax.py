"""The nodes of an expression. The parser makes them; the checker notes types and meanings in them, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from netlab.api.cel.types import DYN, Overload, Type


@dataclass(slots=True, eq=False)
class Node:
    """`offset` is where errors point to: the operator, the dot, the opening bracket."""

    offset: int
    type: Type = field(default=DYN, init=False)


@dataclass(slots=True, eq=False)
class Constant(Node):
    value: Any


@dataclass(slots=True, eq=False)
class Ident(Node):
    name: str
    constant: Type | None = field(default=None, init=False)
    """The type that a type's name means as a value."""


@dataclass(slots=True, eq=False)
class Select(Node):
    """`operand.field`; `test` for has(); `optional` for `.?`."""

    operand: Node
    field: str
    test: bool = False
    optional: bool = False
    variable: str = ""
    """The qualified name of the variable, where that is what the selection means."""
    key: str = ""
    """The JSON key that an object's field has, where it is written otherwise in CEL."""


@dataclass(slots=True, eq=False)
class Call(Node):
    """Functions and operators (`_+_`, `_[_]`, `_?_:_`); a member call has a target."""

    function: str
    target: Node | None
    args: list[Node]
    overloads: Sequence[Overload] = field(default=(), init=False)

    @property
    def operands(self) -> list[Node]:
        return self.args if self.target is None else [self.target, *self.args]


@dataclass(slots=True, eq=False)
class ListLiteral(Node):
    items: list[Node]
    optional: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class MapLiteral(Node):
    """Entries are (offset, key, value); those in `optional` are left out when they have no value."""

    entries: list[tuple[int, Node, Node]]
    optional: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Message(Node):
    """`Type{field: value}`: no type of Kubernetes' environments can be made so."""

    name: str


@dataclass(slots=True, eq=False)
class Macro(Node):
    """A comprehension: all, exists, existsOne, filter, map, transformList, transformMap, transformMapEntry.

    With two variables the first one is the index or key. `where` filters what is transformed.
    """

    kind: str
    over: Node
    variables: tuple[str, ...]
    body: Node
    where: Node | None = None


@dataclass(slots=True, eq=False)
class OptMacro(Node):
    """optMap and (`flat`) optFlatMap."""

    over: Node
    variable: str
    body: Node
    flat: bool
