"""Static types of an expression, in cel-go's words where they do not fit.

Source followed: cel-go `checker/checker.go`, `cel/validator.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from netlab.api.cel.errors import CelError, Issue
from netlab.api.cel.library.standard import pattern
from netlab.api.cel.syntax import Call, Constant, Ident, ListLiteral, Macro, MapLiteral, Message, Node, OptMacro, Select
from netlab.api.cel.types import (
    BOOL,
    DOUBLE,
    DYN,
    ERROR,
    INT,
    NAMES,
    NULL,
    UINT,
    Bindings,
    Overload,
    Type,
    assignable,
    join,
    list_of,
    map_of,
    optional_of,
    substitute,
    type_of,
)
from netlab.api.cel.values import UInt, parse_duration, parse_timestamp

Functions = Mapping[str, Sequence[Overload]]


class Checker:
    """One check; `used` are the names of variables that the expression refers to."""

    def __init__(self, variables: Mapping[str, Type], functions: Functions) -> None:
        self._variables, self._functions = variables, functions
        self._scopes: list[dict[str, Type]] = []
        self.issues: list[Issue] = []
        self.used: set[str] = set()
        self._mixed = False
        """Within the arguments of format(), whose list may hold anything."""

    def check(self, node: Node) -> Type:
        """Note the type in the node and return it."""
        node.type = _RULES[type(node)](self, node)
        return node.type

    def _wrong(self, node: Node, message: str, at: int | None = None) -> Type:
        self.issues.append(Issue(node.offset if at is None else at, message))
        return ERROR

    def _look_up(self, name: str) -> Type | None:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        found = self._variables.get(name)
        if found is not None:
            self.used.add(name)
        return found

    def _constant(self, node: Constant) -> Type:
        return constant_type(node.value)

    def _ident(self, node: Ident) -> Type:
        found = self._look_up(node.name)
        if found is not None:
            return found
        named = NAMES.get(node.name)
        if named is not None:
            node.constant = named
            return type_of(named)
        return self._wrong(node, f"undeclared reference to '{node.name}' (in container '')")

    def _select(self, node: Select) -> Type:
        qualified = _qualified(node)
        if qualified and not self._shadowed(qualified):
            found = self._look_up(qualified)
            if found is not None:
                node.variable = qualified
                return found
            if qualified in NAMES:
                node.variable = qualified
                return type_of(NAMES[qualified])
        operand = self.check(node.operand)
        optional = node.optional or operand.name == "optional_type"
        if operand.name == "optional_type":
            operand = operand.params[0]
        found = self._field(node, operand)
        if node.test:
            return BOOL
        if optional and found.name != "optional_type":
            return optional_of(found)
        return found

    def _shadowed(self, qualified: str) -> bool:
        first = qualified.partition(".")[0]
        return any(first in scope for scope in self._scopes)

    def _field(self, node: Select, operand: Type) -> Type:
        if operand.name == "map":
            return operand.params[1]
        if operand.fields is not None:
            field = operand.fields.get(node.field)
            if field is None:
                return self._wrong(node, f"undefined field '{node.field}'")
            node.key = field.key
            return field.type
        if operand.name in ("dyn", "!error!"):
            return DYN
        return self._wrong(node, f"type '{operand}' does not support field selection")

    def _list(self, node: ListLiteral) -> Type:
        item: Type | None = None
        for index, one in enumerate(node.items):
            item = self._same(item, self._unwrapped(one, index in node.optional), one)
        return list_of(item or DYN, len(node.items))

    def _map(self, node: MapLiteral) -> Type:
        key: Type | None = None
        value: Type | None = None
        for index, (_, left, right) in enumerate(node.entries):
            key = self._same(key, self.check(left), left)
            value = self._same(value, self._unwrapped(right, index in node.optional), right)
        return map_of(key or DYN, value or DYN, len(node.entries))

    def _unwrapped(self, node: Node, optional: bool) -> Type:
        given = self.check(node)
        if not optional:
            return given
        if given.name == "optional_type":
            return given.params[0]
        if given.name not in ("dyn", "!error!"):
            self._wrong(node, f"expected type 'optional_type(dyn)' but found '{given}'")
        return DYN

    def _same(self, known: Type | None, given: Type, node: Node) -> Type:
        """Kubernetes' literals are of one type."""
        if known is None or known.name == "dyn":
            return given
        if assignable(known, given, {}):
            return known
        if self._mixed:
            return DYN
        self._wrong(node, f"expected type '{known}' but found '{given}'")
        return known

    def _message(self, node: Message) -> Type:
        return self._wrong(node, f"undeclared reference to '{node.name}' (in container '')")

    def _call(self, node: Call) -> Type:
        if node.target is not None:
            # a function may have a qualified name, as ip.isCanonical
            qualified = _qualified(node.target)
            full = f"{qualified}.{node.function}"
            if qualified and full in self._functions and not self._shadowed(full):
                node.function, node.target = full, None
        mixed, self._mixed = self._mixed, self._mixed or node.function == "format"
        given = [self.check(one) for one in node.operands]
        self._mixed = mixed
        self._literals(node)
        overloads = [o for o in self._functions.get(node.function, ()) if o.member == (node.target is not None)]
        if not overloads:
            if node.function not in self._functions:
                return self._wrong(node, f"undeclared reference to '{node.function}' (in container '')")
            return self._no_overload(node, given)
        matching: list[Overload] = []
        result: Type | None = None
        for one in overloads:
            bound: Bindings = {}
            if len(one.params) == len(given) and all(
                assignable(wanted, got, bound) for wanted, got in zip(one.params, given, strict=True)
            ):
                matching.append(one)
                found = substitute(one.result, bound)
                result = found if result is None else join(result, found)
        node.overloads = matching
        return result if result is not None else self._no_overload(node, given)

    def _literals(self, node: Call) -> None:
        """Constants that are converted are judged now."""
        parse = _PARSED.get(node.function)
        last = node.args[-1] if node.args else None
        if parse is None or not isinstance(last, Constant) or not isinstance(last.value, str):
            return
        try:
            parse(last.value)
        except CelError:
            self._wrong(last, f"invalid {node.function} argument")

    def _no_overload(self, node: Call, given: list[Type]) -> Type:
        if any(one.name == "!error!" for one in given):
            return ERROR
        if node.target is not None:
            signature = f"{given[0]}.({', '.join(map(str, given[1:]))})"
        else:
            signature = f"({', '.join(map(str, given))})"
        return self._wrong(node, f"found no matching overload for '{node.function}' applied to '{signature}'")

    def _macro(self, node: Macro) -> Type:
        over = self.check(node.over)
        scope = self._loop_scope(node, over)
        self._scopes.append(scope)
        try:
            if node.where is not None:
                self._bool(node.where)
            body = self.check(node.body)
        finally:
            self._scopes.pop()
        if node.kind in ("all", "exists", "existsOne", "filter"):
            self._expect_bool(node.body, body)
            return list_of(scope[node.variables[0]], over.size) if node.kind == "filter" else BOOL
        if node.kind in ("map", "transformList"):
            return list_of(body, over.size)
        if node.kind == "transformMapEntry":
            return body if body.name == "map" else map_of(DYN, DYN)
        key = over.params[0] if over.name == "map" else INT if over.name == "list" else DYN
        return map_of(key, body, over.size)

    def _loop_scope(self, node: Macro, over: Type) -> dict[str, Type]:
        pair: tuple[Type, Type] = (DYN, DYN)
        if over.name == "list":
            pair = (INT, over.params[0])
        elif over.name == "map":
            pair = over.params[0], over.params[1]
        elif over.name not in ("dyn", "!error!"):
            why = f"expression of type '{over}' cannot be range of a comprehension (must be list, map, or dynamic)"
            self._wrong(node.over, why)
        if len(node.variables) == 2:
            return dict(zip(node.variables, pair, strict=True))
        return {node.variables[0]: pair[0] if over.name == "map" else pair[1]}

    def _bool(self, node: Node) -> None:
        self._expect_bool(node, self.check(node))

    def _expect_bool(self, node: Node, given: Type) -> None:
        if given.name not in ("bool", "dyn", "!error!"):
            self._wrong(node, f"expected type 'bool' but found '{given}'")

    def _opt_macro(self, node: OptMacro) -> Type:
        over = self.check(node.over)
        if over.name not in ("optional_type", "dyn", "!error!"):
            return self._wrong(node, f"expected type 'optional_type(dyn)' but found '{over}'")
        self._scopes.append({node.variable: over.params[0] if over.params else DYN})
        try:
            body = self.check(node.body)
        finally:
            self._scopes.pop()
        return body if node.flat else optional_of(body)


def constant_type(value: Any) -> Type:
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, UInt):
        return UINT
    if isinstance(value, int):
        return INT
    if isinstance(value, float):
        return DOUBLE
    if isinstance(value, str):
        return Type("string", size=len(value))
    return Type("bytes", size=len(value)) if isinstance(value, bytes) else NULL


def _qualified(node: Node) -> str:
    """`a.b.c` where a node is that, else nothing."""
    if isinstance(node, Ident):
        return node.name
    if isinstance(node, Select) and not node.test and not node.optional:
        front = _qualified(node.operand)
        return f"{front}.{node.field}" if front else ""
    return ""


_PARSED: dict[str, Callable[[str], Any]] = {
    "duration": parse_duration,
    "timestamp": parse_timestamp,
    "matches": pattern,
}
_RULES: dict[type[Node], Any] = {
    Constant: Checker._constant,
    Ident: Checker._ident,
    Select: Checker._select,
    Call: Checker._call,
    ListLiteral: Checker._list,
    MapLiteral: Checker._map,
    Message: Checker._message,
    Macro: Checker._macro,
    OptMacro: Checker._opt_macro,
}
