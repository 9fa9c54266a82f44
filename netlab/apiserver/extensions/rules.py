"""PURE. CEL rules of custom kinds, applied to whole objects; what did not change is not judged again.

Source followed: apiextensions-apiserver `pkg/apiserver/schema/cel/validation.go`,
`pkg/registry/customresource/strategy.go`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from netlab.api.types import Obj
from netlab.api.validation.field import (
    DUPLICATE,
    FORBIDDEN,
    INVALID,
    NOT_SUPPORTED,
    REQUIRED,
    TOO_LONG,
    TOO_MANY,
    TYPE_INVALID,
    FieldError,
    invalid,
)
from netlab.apiserver.extensions.checks import same
from netlab.apiserver.extensions.kinds import CustomResource

if TYPE_CHECKING:
    from netlab.api.cel.rules import Budget, Finding, Node

_BLOCKING = frozenset({NOT_SUPPORTED, REQUIRED, TOO_LONG, TOO_MANY, TYPE_INVALID})
"""What makes an object such that rules cannot be asked of it."""
_NOT_ASKED = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)
_REASONS = {"FieldValueForbidden": FORBIDDEN, "FieldValueRequired": REQUIRED, "FieldValueDuplicate": DUPLICATE}


@lru_cache(maxsize=256)
def _tree(resource: CustomResource) -> Node | None:
    if "x-kubernetes-validations" not in repr(resource.schema):
        return None
    from netlab.api.cel.rules import tree

    return tree(resource.schema, root=True)


def check(obj: Obj, old: Obj | None, resource: CustomResource, before: list[FieldError]) -> list[FieldError]:
    """Findings of the rules, unless the `before` ones keep them from being asked."""
    node = _tree(resource)
    if node is None:
        return []
    if any(one.type in _BLOCKING for one in before):
        return [invalid("<nil>", None, _NOT_ASKED)]
    from netlab.api.cel.rules import Budget

    walk = _Walk(Budget())
    walk.visit(node, "", obj, old, (obj, old) if old is not None else None)
    return [_error(one) for one in walk.found]


Pair = tuple[Any, Any] | None
"""A new and an old value at the same place; None where none corresponds."""


class _Walk:
    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.found: list[Finding] = []
        self.ended = False

    def visit(self, node: Node, path: str, value: Any, old: Any, pair: Pair, nearest: Pair = None) -> None:
        """`nearest` is the pair of the nearest place around this one that has one."""
        from netlab.api.cel.rules import apply

        if value is None or self.ended:
            return
        for one in apply(node, path, value, old, self.budget):
            judged = pair or nearest
            # ratcheting: what was wrong before and did not change may stay so
            if one.transition or one.final or judged is None or not same(*judged):
                self.found.append(one)
            self.ended = self.ended or one.final
        for part in node.all_of:
            self.visit(part, path, value, old, None, nearest)
        if isinstance(value, list) and node.items is not None:
            self._items(node, path, value, old, pair, nearest)
        elif isinstance(value, dict):
            self._fields(node, path, value, old, pair, nearest)

    def _items(self, node: Node, path: str, value: list[Any], old: Any, pair: Pair, nearest: Pair) -> None:
        known: dict[Any, Any] = {}
        if node.keys and isinstance(old, list):
            known = {_key(one, node.keys): one for one in old}
        for index, one in enumerate(value):
            before = known.get(_key(one, node.keys)) if node.keys else None
            if node.items is not None:
                inner = (one, before) if before is not None else None
                self.visit(node.items, f"{path}[{index}]", one, before, inner, pair or nearest)

    def _fields(self, node: Node, path: str, value: Obj, old: Any, pair: Pair, nearest: Pair) -> None:
        for key in sorted(value):
            inner = node.properties.get(key)
            here = f"{path}.{key}" if path else key
            if inner is None and node.additional is not None:
                inner, here = node.additional, f"{path}[{key}]"
            if inner is None:
                continue
            before = old.get(key) if isinstance(old, dict) and node.correlates else None
            found = (value[key], before) if isinstance(old, dict) and key in old and pair is not None else None
            self.visit(inner, here, value[key], before, found, pair or nearest)


def _key(item: Any, keys: tuple[str, ...]) -> Any:
    return tuple(item.get(key) for key in keys) if isinstance(item, dict) else None


def _error(found: Finding) -> FieldError:
    kind = _REASONS.get(found.reason, INVALID)
    return FieldError(kind, found.path or "<nil>", found.kind, found.detail if kind != DUPLICATE else "")
