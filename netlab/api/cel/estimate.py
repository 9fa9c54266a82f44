"""The most that an expression can cost, from how large the values of its types can get.

Kubernetes refuses rules whose estimate is beyond a limit, so estimates are upstream's to the unit. Source followed:
cel-go `checker/cost.go` (`coster`); apiserver `pkg/cel/library/cost.go` (`EstimateCallCost`); apiextensions-apiserver
`pkg/apiserver/schema/cel/compilation.go` (`sizeEstimator`). Only the greatest cost is followed: no limit asks for the
least. Sizes have both ends, because a replacement is longest where what it replaces is shortest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from typing import NamedTuple

from netlab.api.cel.plan import LIST_COST, MAP_COST
from netlab.api.cel.syntax import Call, Constant, Ident, ListLiteral, Macro, MapLiteral, Node, OptMacro, Select
from netlab.api.cel.types import Type

MOST = 2**64 - 1
"""Where counting ends."""
_STRING, _REGEX = 0.1, 0.25
_NAME_FORMAT = 128
"""Characters of the longest regular expression of a named format."""
_CHECK = 350_000
_SCALARS = frozenset(
    {"bool", "int", "uint", "double", "google.protobuf.Duration", "google.protobuf.Timestamp"},
)
_TEXTS = frozenset({"string", "bytes"})
_EQUAL_AT_ONCE = frozenset({"net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver"})

Path = tuple[str, ...]
"""The way from a variable to a value: fields, `@items`, `@keys`, `@values`; empty for what was computed."""


class Size(NamedTuple):
    """Characters, bytes, entries: the least and the most."""

    low: int
    high: int


_ONE, _UNKNOWN = Size(1, 1), Size(0, MOST)


class Seen(NamedTuple):
    """What is known of a part of the expression; no size where nothing bounds it."""

    cost: int
    size: Size | None = None
    path: Path = ()
    type: Type | None = None

    @property
    def bound(self) -> Size:
        return self.size or _UNKNOWN


def estimate(node: Node, root: Type | None) -> int:
    """In cel-go's units, at most `MOST`. `root` is what `self` is; None bounds no size."""
    return _Estimator(root).see(node).cost


def _plus(*costs: int) -> int:
    return min(sum(costs), MOST)


def _times(size: int, factor: float) -> int:
    return min(math.ceil(size * factor), MOST) if size < MOST else MOST if factor >= 1 else math.ceil(MOST * factor)


def _add(a: Size, b: Size) -> Size:
    return Size(min(a.low + b.low, MOST), min(a.high + b.high, MOST))


def _multiply(a: Size, b: Size) -> Size:
    return Size(min(a.low * b.low, MOST), min(a.high * b.high, MOST))


def _union(a: Size, b: Size) -> Size:
    return Size(min(a.low, b.low), max(a.high, b.high))


def _scalar(kind: Type) -> bool:
    return kind.name in _SCALARS or (kind.name == "optional_type" and bool(kind.params) and _scalar(kind.params[0]))


@dataclass
class _Estimator:
    root: Type | None
    bound: dict[str, list[Path]] = field(default_factory=dict)
    """The paths that the variables of macros stand for, innermost last."""

    def see(self, node: Node) -> Seen:
        match node:
            case Constant():
                return Seen(0, _literal(node.value), type=node.type)
            case Ident():
                known = self.bound.get(node.name)
                return self._at(1, known[-1] if known else (node.name,), node.type)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListLiteral():
                size = len(node.items)
                return Seen(_plus(LIST_COST, *(self.see(one).cost for one in node.items)), Size(size, size))
            case MapLiteral():
                parts = (self.see(one).cost for _, key, value in node.entries for one in (key, value))
                return Seen(_plus(MAP_COST, *parts), Size(len(node.entries), len(node.entries)))
            case Macro():
                return self._macro(node)
            case OptMacro():
                return self._opt_macro(node)
        return Seen(1)

    def _at(self, cost: int, path: Path, kind: Type) -> Seen:
        """What stands at a path."""
        size = self.declared(path)
        if size is None and _scalar(kind):
            size = _ONE
        return Seen(cost, size, path, kind)

    def declared(self, path: Path) -> Size | None:
        """Scalars and objects count as empty here, as they do upstream. The first step names the variable."""
        here = self.root if path else None
        for step in path[1:]:
            if here is None:
                return None
            if step in ("@items", "@values"):
                here = here.params[-1] if here.params else None
            elif step == "@keys":
                here = here.params[0] if here.name == "map" else None
            else:
                found = (here.fields or {}).get(step)
                here = found.type if found is not None else None
        if here is None:
            return None
        return Size(0, here.size or 0)

    def _select(self, node: Select) -> Seen:
        if node.variable:
            return self._at(1, (node.variable,), node.type)
        operand = self.see(node.operand)
        if node.test:
            return Seen(operand.cost, _ONE, type=node.type)
        if node.optional:
            return Seen(_plus(operand.cost, 1), _ONE if _scalar(node.type) else None, type=node.type)
        kind = node.operand.type
        own = 1 if kind.name == "map" or kind.variable or kind.fields is not None else 0
        return self._at(_plus(operand.cost, own), (*operand.path, node.field), node.type)

    # macros: the cost of an item is that of upstream's loop condition and step

    @contextmanager
    def _names(self, variables: Sequence[str], over: Seen, kind: Type) -> Iterator[None]:
        is_list = kind.name == "list"
        steps = ["@items" if is_list else "@keys"]
        if len(variables) == 2:
            steps = ["@indices" if is_list else "@keys", "@items" if is_list else "@values"]
        for name, step in zip(variables, steps, strict=True):
            self.bound.setdefault(name, []).append((*over.path, step))
        yield
        for name in variables:
            self.bound[name].pop()
            if not self.bound[name]:
                del self.bound[name]

    def _macro(self, node: Macro) -> Seen:
        over = self.see(node.over)
        with self._names(node.variables, over, node.over.type):
            body = self.see(node.body).cost
            where = self.see(node.where).cost if node.where is not None else None
        start, step, result = _LOOPS[node.kind]
        item = _plus(body, step) if where is None else _plus(where, max(_plus(body, step), 1))
        size = _ONE if node.kind in ("all", "exists", "existsOne") else over.bound
        return Seen(_plus(over.cost, start, min(over.bound.high * item, MOST), result), size, type=node.type)

    def _opt_macro(self, node: OptMacro) -> Seen:
        """`over.hasValue() ? optional.of(bind(v, over.value(), body)) : optional.none()`."""
        over = self.see(node.over)
        value = _plus(over.cost, 1)
        self.bound.setdefault(node.variable, []).append(())
        body = self.see(node.body).cost
        self.bound[node.variable].pop()
        if not self.bound[node.variable]:
            del self.bound[node.variable]
        given = _plus(LIST_COST, value, body, 0 if node.flat else 1)
        return Seen(_plus(value, max(given, 1)), _ONE if _scalar(node.type) else None, type=node.type)

    # calls

    def _call(self, node: Call) -> Seen:
        target = self.see(node.target) if node.target is not None else None
        args = [self.see(one) for one in node.args]
        spent = _plus(*(one.cost for one in args), target.cost if target is not None else 0)
        if node.function == "_?_:_":
            size = _union(args[1].bound, args[2].bound)
            return Seen(_plus(args[0].cost, max(args[1].cost, args[2].cost)), size, type=node.type)
        if node.function in ("_&&_", "_||_"):
            return Seen(spent, _ONE, type=node.type)
        if node.function == "_[_]":
            step = "@items" if node.args[0].type.name == "list" else "@values"
            return self._at(_plus(spent, 1), (*args[0].path, step), node.type)
        if node.function == "dyn":
            return Seen(_plus(spent, 1), args[0].size, type=node.type)
        known = _FUNCTIONS.get(node.function, _plain)
        found = [known(_Operands(self, one.params, target, args, node)) for one in node.overloads]
        own = max((cost for cost, _ in found), default=0)
        sizes = [size for _, size in found if size is not None]
        known_size = reduce(_union, sizes) if sizes else _ONE if _scalar(node.type) else None
        return Seen(_plus(spent, own), known_size, type=node.type)


_LOOPS: Mapping[str, tuple[int, int, int]] = {
    "all": (0, 3, 1),
    "exists": (0, 4, 1),
    "existsOne": (0, 2, 2),
    "map": (LIST_COST, 2 + LIST_COST, 1),
    "filter": (LIST_COST, 3 + LIST_COST, 1),
    "transformList": (LIST_COST, 2 + LIST_COST, 1),
    "transformMap": (MAP_COST, 3, 1),
    "transformMapEntry": (MAP_COST, 2, 1),
}
"""Kind of macro → cost of its start, of each item beside the body, of its result."""


def _literal(value: object) -> Size | None:
    if isinstance(value, str | bytes):
        return Size(len(value), len(value))
    return _ONE


@dataclass(frozen=True, slots=True)
class _Operands:
    """One overload's parameters, and what is known of the operands of a call."""

    estimator: _Estimator
    params: Sequence[Type]
    target: Seen | None
    args: Sequence[Seen]
    node: Call

    @property
    def first(self) -> Size:
        """The target's size."""
        return self.target.bound if self.target is not None else _UNKNOWN

    def items(self) -> Size:
        """Of an element of the target's, which is a list."""
        path = self.target.path if self.target is not None else ()
        return self.estimator.declared((*path, "@items")) or _UNKNOWN


_Estimate = tuple[int, Size | None]
_Rule = Callable[[_Operands], _Estimate]


def _plain(call: _Operands) -> _Estimate:
    return 1, None


def _read(times: float = 1) -> _Rule:
    """The target is read, that often, and the result is as long."""
    return lambda call: (_times(call.first.high, times * _STRING), call.first)


def _read_argument(call: _Operands) -> _Estimate:
    return _times(call.args[0].bound.high, _STRING), None


def _read_and_kept(call: _Operands) -> _Estimate:
    return _times(call.args[0].bound.high, _STRING), call.args[0].bound


def _each_item(call: _Operands) -> _Estimate:
    if call.params[0].name != "list":
        return _times(call.first.high, _STRING), None
    item = call.node.target.type.params if call.node.target is not None else ()
    own = _times(call.items().high, _STRING) if item and item[0].name in _TEXTS else 0
    return min(call.first.high * _plus(1, own), MOST), None


def _replace(call: _Operands) -> _Estimate:
    given, old, new = call.first, call.args[0].bound, call.args[1].bound
    # (how often it is replaced, how much stays), for the longest and the shortest result
    most, least = (0, given.high), (0, given.low)
    if old.low == 0:
        most = min(given.high + 1, MOST), given.high
    elif new.high > old.low:
        most = math.ceil(given.high / old.low), 0
    if old.high == 0:
        least = min(given.low + 1, MOST), given.low
    elif old.high > new.low:
        least = math.ceil(given.low / old.high), 0
    size = _add(_multiply(Size(least[0], most[0]), new), Size(least[1], most[1]))
    return _times(given.high, 2 * _STRING), size


def _split(call: _Operands) -> _Estimate:
    most, limit = call.first.high, call.node.args[1] if len(call.node.args) > 1 else None
    if isinstance(limit, Constant) and isinstance(limit.value, int):
        most = limit.value % 2**64
    return _times(call.first.high, 2 * _STRING), Size(0, most)


def _join(call: _Operands) -> _Estimate:
    given = call.first
    size = _multiply(given, call.items())
    if call.args:
        between = Size(max(given.low - 1, 0), max(given.high - 1, 0))
        size = _add(size, _multiply(call.args[0].bound, between))
    return _times(size.high, _STRING), size


def _regex(call: _Operands) -> _Estimate:
    if call.target is None:
        return 1, None
    text = _times(min(call.first.high + 1, MOST), _STRING)
    cost = min(text * _times(call.args[0].bound.high, _REGEX), MOST)
    return cost, Size(0, call.first.high) if call.node.function != "matches" else None


def _contains(call: _Operands) -> _Estimate:
    if call.params[0].name != "string":
        return 1, None
    return min(_times(call.first.high, _STRING) * _times(call.args[0].bound.high, _STRING), MOST), None


def _in(call: _Operands) -> _Estimate:
    return (call.args[1].bound.high if call.params[1].name == "list" else 1), None


def _plus_sign(call: _Operands) -> _Estimate:
    kind = call.params[0].name
    if kind not in ("list", *_TEXTS):
        return 1, None
    size = _add(call.args[0].bound, call.args[1].bound)
    return (1 if kind == "list" else _times(size.high, _STRING)), size


def _equal(call: _Operands) -> _Estimate:
    left, right = (one.type for one in call.node.args)
    if left == right and left.name in _EQUAL_AT_ONCE and call.node.function == "_==_":
        return 1, None
    return _times(min(one.bound.high for one in call.args), _STRING), None


def _ordered(call: _Operands) -> _Estimate:
    return _equal(call) if call.params[0].name in _TEXTS else (1, None)


def _to_bytes(call: _Operands) -> _Estimate:
    given = call.args[0].bound
    return (
        (_times(given.high, _STRING), Size(given.low, given.high * 4)) if call.params[0].name == "string" else (1, None)
    )


def _to_string(call: _Operands) -> _Estimate:
    given = call.args[0].bound
    return (
        (_times(given.high, _STRING), Size(given.low // 4, given.high)) if call.params[0].name == "bytes" else (1, None)
    )


def _quote(call: _Operands) -> _Estimate:
    given = call.args[0].bound
    return _times(given.high, _STRING), Size(given.low + 2, min(given.high * 2 + 2, MOST))


def _address(extra: int) -> _Rule:
    """Two addresses of at most 16 bytes are compared; one in words is read first."""

    def cost(call: _Operands) -> _Estimate:
        words = _times(call.args[0].bound.high, _STRING) if call.params[1].name == "string" else 0
        return _plus(_times(32, _STRING), extra, words), None

    return cost


def _validate(call: _Operands) -> _Estimate:
    return _times(_times(call.args[0].bound.high, _STRING), _NAME_FORMAT * _REGEX), None


def _pairs(times: int) -> _Rule:
    return lambda call: (_plus(_times(_multiply(call.args[0].bound, call.args[1].bound).high, times), 1), None)


_FUNCTIONS: Mapping[str, _Rule] = {
    "check": lambda call: (_CHECK, None),
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _each_item),
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _read()),
    **dict.fromkeys(("find", "findAll", "matches"), _regex),
    **dict.fromkeys(("startsWith", "endsWith"), _read_argument),
    **dict.fromkeys(("_<_", "_<=_", "_>_", "_>=_"), _ordered),
    **dict.fromkeys(("_==_", "_!=_"), _equal),
    **dict.fromkeys(("sets.contains", "sets.intersects"), _pairs(1)),
    "sets.equivalent": _pairs(2),
    "url": _read_and_kept,
    "replace": _replace,
    "split": _split,
    "join": _join,
    "contains": _contains,
    "@in": _in,
    "_+_": _plus_sign,
    "bytes": _to_bytes,
    "string": _to_string,
    "strings.quote": _quote,
    "format": lambda call: (_times(call.first.high, _STRING), None),
    "containsIP": _address(0),
    "containsCIDR": _address(_times(16, _STRING) + 1),
    "validate": _validate,
}
"""What is not here costs 1. So do parsers (`ip`, `quantity`, `isCIDR`): upstream's rule for them asks for a target."""
