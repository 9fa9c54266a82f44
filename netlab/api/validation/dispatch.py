"""Which module holds the rules of a kind; one explicit table, modules loaded on first use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module

from netlab.api.types import Obj
from netlab.api.validation import meta
from netlab.api.validation.field import FieldError

Create = Callable[[Obj], list[FieldError]]
Update = Callable[[Obj, Obj], list[FieldError]]


@dataclass(frozen=True)
class Rules:
    """The rules of one kind. Each returns findings in upstream's order."""

    create: Create
    update: Update
    status_update: Update
    others: dict[str, Update] = field(default_factory=dict)

    def subresource_update(self, name: str, new: Obj, old: Obj) -> list[FieldError]:
        """Rules of another subresource; those of a plain update where it has none."""
        return self.others.get(name, self.update)(new, old)


_MODULES: dict[tuple[str, str], str] = {}
"""(group, kind) to the module of this package whose `RULES[kind]` holds the rules."""

_GENERIC = Rules(
    create=meta.validate_generic, update=meta.validate_generic_update, status_update=meta.validate_generic_update
)


def rules_of(obj: Obj) -> Rules:
    """The rules for `obj`'s apiVersion and kind."""
    group, _, _ = str(obj.get("apiVersion", "")).rpartition("/")
    return rules_for(group, str(obj.get("kind", "")))


@cache
def rules_for(group: str, kind: str) -> Rules:
    """The rules of a kind; the generic ones (metadata only) where it has none of its own."""
    module = _MODULES.get((group, kind))
    if module is None:
        return _GENERIC
    rules: dict[str, Rules] = import_module(f"netlab.api.validation.{module}").RULES
    return rules[kind]
