"""The most that an expression can cost, from how large the values of its types can get.

Source followed: cel-go `checker/cost.go`. Upstream refuses rules whose estimate is beyond a limit; what matters is
the order of magnitude: loops multiply.
"""

from __future__ import annotations

import math

from netlab.api.cel.plan import LIST_COST, MAP_COST
from netlab.api.cel.syntax import Call, Constant, Ident, ListLiteral, Macro, MapLiteral, Node, OptMacro, Select
from netlab.api.cel.types import Type

UNBOUNDED = float(2**64 - 1)
_LOOP = 3
"""An iteration's own work: the condition and the step."""
_SCALARS = frozenset({"bool", "int", "uint", "double", "null_type", "type"})


def estimate(node: Node) -> float:
    """In cel-go's units of cost, at most `UNBOUNDED`."""
    return min(_cost(node), UNBOUNDED)


def _cost(node: Node) -> float:
    match node:
        case Constant():
            return 0
        case Ident():
            return 1
        case Select():
            return 1 if node.variable else 1 + _cost(node.operand)
        case Call():
            return _call(node)
        case ListLiteral():
            return LIST_COST + sum(map(_cost, node.items))
        case MapLiteral():
            return MAP_COST + sum(_cost(key) + _cost(value) for _, key, value in node.entries)
        case Macro():
            inner = _cost(node.body) + (_cost(node.where) if node.where is not None else 0)
            extra = 0 if node.kind in ("all", "exists", "existsOne") else LIST_COST
            step = _LOOP + (LIST_COST if node.kind in ("map", "filter", "transformList") else 0)
            return _cost(node.over) + extra + _size(node.over) * (inner + step)
        case OptMacro():
            return 1 + _cost(node.over) + _cost(node.body)
    return 1


def _call(node: Call) -> float:
    costs = [_cost(one) for one in node.operands]
    if node.function == "_?_:_":
        return costs[0] + max(costs[1:])
    if node.function in ("_&&_", "_||_"):
        return sum(costs)
    sizes = [_size(one) for one in node.operands]
    own = max(
        (1 if one.cost is None else math.ceil(min(one.cost(*sizes), UNBOUNDED)) for one in node.overloads), default=1
    )
    return sum(costs) + own


def _size(node: Node) -> float:
    """The largest size that a node's value can have."""
    if isinstance(node, Call):
        if node.function == "_?_:_":
            return max(_size(one) for one in node.operands[1:])
        if node.overloads and node.overloads[0].sized is not None and node.type.name not in _SCALARS:
            return min(node.overloads[0].sized(*map(_size, node.operands)), UNBOUNDED)
    if isinstance(node, Macro) and node.kind not in ("all", "exists", "existsOne"):
        return _size(node.over)
    return type_size(node.type)


def type_size(kind: Type) -> float:
    if kind.size is not None:
        return kind.size
    return 1 if kind.name in _SCALARS else UNBOUNDED
