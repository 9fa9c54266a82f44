"""From checked nodes to closures, which count what they cost. Source followed: cel-go `interpreter` (semantics: what
is absorbed by && and ||, and by all() and exists(); costs: `interpreter/runtimecost.go`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from netlab.api.cel.errors import CelError, CostExceededError
from netlab.api.cel.library.optionals import maybe
from netlab.api.cel.syntax import Call, Constant, Ident, ListLiteral, Macro, MapLiteral, Message, Node, OptMacro, Select
from netlab.api.cel.types import NAMES, Overload
from netlab.api.cel.values import NONE, Optional, is_a, type_name

LIST_COST, MAP_COST = 10, 30


class Frame:
    """One evaluation: the values of variables, and the cost so far."""

    __slots__ = ("cost", "limit", "variables")

    def __init__(self, variables: dict[str, Any], limit: float) -> None:
        self.variables, self.limit, self.cost = variables, limit, 0.0

    def spend(self, cost: float) -> None:
        self.cost += cost
        if self.cost > self.limit:
            raise CostExceededError


Step = Callable[[Frame], Any]


def plan(node: Node) -> Step:
    """A function of the frame. Raises CelError when it runs."""
    return _PLANS[type(node)](node)


def _constant(node: Constant) -> Step:
    value = node.value
    return lambda frame: value


def _ident(node: Ident) -> Step:
    if node.constant is not None:
        kind = node.constant
        return lambda frame: kind
    return _variable(node.name)


def _variable(name: str) -> Step:
    def read(frame: Frame) -> Any:
        frame.cost += 1
        try:
            value = frame.variables[name]
        except KeyError:
            raise CelError(f"no such attribute(s): {name}") from None
        if type(value) is Lazy:
            value = frame.variables[name] = value.make()
        return value

    return read


class Lazy:
    """A variable that is computed when it is first read."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


class LazyMap(dict[str, Any]):
    """A map whose values are computed when they are first read; a failure is told each time."""

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if type(value) is Lazy:
            value = self[key] = value.make()
        return value


def _select(node: Select) -> Step:
    if node.variable:
        kind = NAMES.get(node.variable)
        return (lambda frame: kind) if kind is not None else _variable(node.variable)
    operand, key = plan(node.operand), node.key or node.field
    if node.test:
        return _test(operand, key)
    if node.optional:
        return lambda frame: maybe(operand(frame), key)

    def select(frame: Frame) -> Any:
        where = operand(frame)
        frame.cost += 1
        if isinstance(where, dict):
            try:
                return where[key]
            except KeyError:
                raise CelError(f"no such key: {key}") from None
        if isinstance(where, Optional):
            return maybe(where, key)
        raise CelError("no such overload" if where is not None else f"no such key: {key}")

    return select


def _test(operand: Step, key: str) -> Step:
    def test(frame: Frame) -> bool:
        where = operand(frame)
        frame.cost += 1
        if isinstance(where, Optional):
            return isinstance(where.value, dict) and key in where.value
        if not isinstance(where, dict):
            raise CelError("no such overload")
        return bool(key in where)

    return test


# -- calls -------------------------------------------------------------------------------------------------------------


def _call(node: Call) -> Step:
    special = _LOGIC.get(node.function)
    steps = [plan(one) for one in node.operands]
    if special is not None:
        return special(*steps)
    if len(node.overloads) == 1 and _certain(node, node.overloads[0]):
        return _direct(node.overloads[0], steps)
    return _chosen(node, steps)


def _certain(node: Call, overload: Overload) -> bool:
    """Whether the types of the operands are known, so that nothing must be looked at."""
    return all(
        wanted.variable or (got.type.name == wanted.name and got.type.name != "dyn")
        for wanted, got in zip(overload.params, node.operands, strict=True)
    )


def size_of(value: Any) -> float:
    """How large a value is, where that decides what it costs."""
    return len(value) if isinstance(value, str | bytes | list | dict) else 1


def _direct(overload: Overload, steps: Sequence[Step]) -> Step:
    call, cost = overload.call, overload.cost
    if cost is None and len(steps) == 1:
        only = steps[0]

        def unary(frame: Frame) -> Any:
            value = only(frame)
            frame.cost += 1
            return call(value)

        return unary
    if cost is None and len(steps) == 2:
        left, right = steps

        def binary(frame: Frame) -> Any:
            a, b = left(frame), right(frame)
            frame.cost += 1
            return call(a, b)

        return binary

    def several(frame: Frame) -> Any:
        values = [step(frame) for step in steps]
        frame.spend(1 if cost is None else math.ceil(cost(*map(size_of, values))))
        return call(*values)

    return several


_OPERATORS = "_!-@"


def _chosen(node: Call, steps: Sequence[Step]) -> Step:
    overloads, function = tuple(node.overloads), node.function

    def choose(frame: Frame) -> Any:
        values = [step(frame) for step in steps]
        for one in overloads:
            if all(map(is_a, values, one.params)):
                frame.spend(1 if one.cost is None else math.ceil(one.cost(*map(size_of, values))))
                return one.call(*values)
        if function[0] in _OPERATORS:
            if function == "_[_]" and isinstance(values[0], list):
                return overloads[0].call(*values)
            raise CelError("no such overload")
        raise CelError(f"no such overload: {function}({', '.join(map(type_name, values))})")

    return choose


def _and(left: Step, right: Step) -> Step:
    def both(frame: Frame) -> bool:
        try:
            a = left(frame)
            if a is False:
                return False
        except CostExceededError:
            raise
        except CelError as error:
            if right(frame) is False:
                return False
            raise error from None
        b = right(frame)
        if b is False:
            return False
        if a is not True or b is not True:
            raise CelError("no such overload")
        return True

    return both


def _or(left: Step, right: Step) -> Step:
    def either(frame: Frame) -> bool:
        try:
            a = left(frame)
            if a is True:
                return True
        except CostExceededError:
            raise
        except CelError as error:
            if right(frame) is True:
                return True
            raise error from None
        b = right(frame)
        if b is True:
            return True
        if a is not False or b is not False:
            raise CelError("no such overload")
        return False

    return either


def _conditional(condition: Step, then: Step, other: Step) -> Step:
    def choose(frame: Frame) -> Any:
        found = condition(frame)
        if found is True:
            return then(frame)
        if found is False:
            return other(frame)
        raise CelError("no such overload")

    return choose


_LOGIC: dict[str, Callable[..., Step]] = {"_&&_": _and, "_||_": _or, "_?_:_": _conditional}


# -- literals ----------------------------------------------------------------------------------------------------------


def _list(node: ListLiteral) -> Step:
    steps, optional = [plan(one) for one in node.items], node.optional

    def make(frame: Frame) -> list[Any]:
        frame.cost += LIST_COST
        if not optional:
            return [step(frame) for step in steps]
        found = []
        for index, step in enumerate(steps):
            value = step(frame)
            if index not in optional:
                found.append(value)
            elif value.present:
                found.append(value.value)
        return found

    return make


def _map(node: MapLiteral) -> Step:
    steps, optional = [(plan(key), plan(value)) for _, key, value in node.entries], node.optional

    def make(frame: Frame) -> dict[Any, Any]:
        frame.cost += MAP_COST
        found: dict[Any, Any] = {}
        for index, (left, right) in enumerate(steps):
            key, value = left(frame), right(frame)
            if not isinstance(key, str | int) or key is None:
                raise CelError("unsupported key type")
            if key in found:
                raise CelError(f"failed with repeated key: {key}")
            if index not in optional:
                found[key] = value
            elif value.present:
                found[key] = value.value
        return found

    return make


def _message(node: Message) -> Step:
    raise AssertionError("the checker refuses messages")


# -- comprehensions ----------------------------------------------------------------------------------------------------

Body = Callable[[Frame], Any]
Items = list[tuple[Any, ...]]


def _macro(node: Macro) -> Step:
    over, body = plan(node.over), plan(node.body)
    where = plan(node.where) if node.where is not None else None
    names = node.variables
    run = _RUNS[node.kind]

    def loop(frame: Frame) -> Any:
        found = over(frame)
        if isinstance(found, dict):
            items = list(found.items()) if len(names) == 2 else [(key,) for key in found]
        elif isinstance(found, list):
            items = list(enumerate(found)) if len(names) == 2 else [(one,) for one in found]
        else:
            raise CelError("no such overload")
        variables = frame.variables
        frame.variables = {**variables}
        try:
            return run(frame, names, items, body, where)
        finally:
            frame.variables = variables

    return loop


def _bind(frame: Frame, names: tuple[str, ...], values: tuple[Any, ...]) -> None:
    frame.spend(2)
    frame.variables[names[0]] = values[0]
    if len(names) == 2:
        frame.variables[names[1]] = values[1]


def _decide(frame: Frame, names: tuple[str, ...], items: Items, body: Body, decisive: bool) -> bool:
    """all() and exists(): one decisive item outweighs failures of others."""
    failure: CelError | None = None
    for values in items:
        _bind(frame, names, values)
        try:
            found: Any = body(frame)
            if found is decisive:
                return bool(decisive)
            if not isinstance(found, bool):
                failure = failure or CelError("no such overload")
        except CostExceededError:
            raise
        except CelError as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return not decisive


def _all(frame: Frame, names: tuple[str, ...], items: Items, body: Body, where: Step | None) -> bool:
    return _decide(frame, names, items, body, False)


def _exists(frame: Frame, names: tuple[str, ...], items: Items, body: Body, where: Step | None) -> bool:
    return _decide(frame, names, items, body, True)


def _chosen_items(frame: Frame, names: tuple[str, ...], items: Items, where: Step | None) -> Any:
    for values in items:
        _bind(frame, names, values)
        if where is None:
            yield values
            continue
        found = where(frame)
        if found is True:
            yield values
        elif found is not False:
            raise CelError("no such overload")


def _exists_one(frame: Frame, names: tuple[str, ...], items: Items, body: Body, where: Step | None) -> bool:
    return sum(1 for _ in _chosen_items(frame, names, items, body)) == 1


def _filter(frame: Frame, names: tuple[str, ...], items: Items, body: Body, where: Step | None) -> list[Any]:
    frame.cost += LIST_COST
    return [values[-1] for values in _chosen_items(frame, names, items, body)]


def _transform(frame: Frame, names: tuple[str, ...], items: Items, body: Body, where: Step | None) -> list[Any]:
    frame.cost += LIST_COST
    return [body(frame) for _ in _chosen_items(frame, names, items, where)]


def _transform_map(frame: Frame, names: tuple[str, ...], items: Items, body: Body, where: Step | None) -> Any:
    frame.cost += MAP_COST
    return {values[0]: body(frame) for values in _chosen_items(frame, names, items, where)}


def _transform_entry(frame: Frame, names: tuple[str, ...], items: Items, body: Body, where: Step | None) -> Any:
    frame.cost += MAP_COST
    found: dict[Any, Any] = {}
    for _ in _chosen_items(frame, names, items, where):
        for key, value in body(frame).items():
            if key in found:
                raise CelError(f"insert failed: key {key} already exists")
            found[key] = value
    return found


_RUNS: dict[str, Callable[..., Any]] = {
    "all": _all,
    "exists": _exists,
    "existsOne": _exists_one,
    "filter": _filter,
    "map": _transform,
    "transformList": _transform,
    "transformMap": _transform_map,
    "transformMapEntry": _transform_entry,
}


def _opt_macro(node: OptMacro) -> Step:
    over, body, name, flat = plan(node.over), plan(node.body), node.variable, node.flat

    def run(frame: Frame) -> Any:
        found = over(frame)
        if not isinstance(found, Optional):
            raise CelError("no such overload")
        if not found.present:
            return NONE
        variables = frame.variables
        frame.variables = {**variables, name: found.value}
        try:
            value = body(frame)
        finally:
            frame.variables = variables
        return value if flat else Optional(value, True)

    return run


_PLANS: dict[type[Node], Callable[[Any], Step]] = {
    Constant: _constant,
    Ident: _ident,
    Select: _select,
    Call: _call,
    ListLiteral: _list,
    MapLiteral: _map,
    Message: _message,
    Macro: _macro,
    OptMacro: _opt_macro,
}
