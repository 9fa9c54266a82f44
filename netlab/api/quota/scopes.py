"""PURE. Scopes: a quota may count only some of the objects of a kind."""

from typing import NamedTuple

from netlab.api.types import Obj


class Scope(NamedTuple):
    """One requirement, as in `scopeSelector.matchExpressions`; `spec.scopes` are those with operator Exists."""

    name: str
    operator: str = "Exists"
    values: tuple[str, ...] = ()


def scopes_of(quota: Obj) -> list[Scope]:
    """Everything that an object must be for a quota to count it."""
    spec = quota.get("spec") or {}
    chosen = (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    return [
        *(Scope(str(name)) for name in spec.get("scopes") or ()),
        *(Scope(one.get("scopeName", ""), one.get("operator", ""), tuple(one.get("values") or ())) for one in chosen),
    ]
