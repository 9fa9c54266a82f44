"""PURE. Default roles and bindings are brought back at every start, unless an administrator has said otherwise.

A role or binding whose autoupdate annotation is "false" is left alone. What a default grants and the stored object
lacks is added; what was added to it stays. Source followed: pkg/registry/rbac/reconciliation.
"""

import copy
from collections.abc import Sequence

from netlab.api.types import Obj
from netlab.apiserver.authz.rules import uncovered

AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"
ROLES, BINDINGS = frozenset({"ClusterRole", "Role"}), frozenset({"ClusterRoleBinding", "RoleBinding"})


def is_default(obj: Obj) -> bool:
    """Whether the object is one of the defaults that are brought back."""
    annotations = obj["metadata"].get("annotations") or {}
    return obj["kind"] in ROLES | BINDINGS and annotations.get(AUTO_UPDATE) == "true"


def reconciled(stored: Obj, wanted: Obj) -> Obj:
    """The stored role or binding with all that the default says. Equal to `stored` where nothing is missing."""
    if (stored["metadata"].get("annotations") or {}).get(AUTO_UPDATE) == "false":
        return stored
    found = copy.deepcopy(stored)
    for field in ("labels", "annotations"):
        merged = {**(wanted["metadata"].get(field) or {}), **(stored["metadata"].get(field) or {})}
        if merged:
            found["metadata"][field] = merged
    if wanted["kind"] in BINDINGS:
        _add(found, "subjects", [one for one in wanted.get("subjects") or () if not _among(one, stored)])
    elif wanted.get("aggregationRule"):
        _add_selectors(found, wanted["aggregationRule"].get("clusterRoleSelectors") or ())
    else:
        _add(found, "rules", uncovered(stored.get("rules") or (), wanted.get("rules") or ()))
    return found


def led_elsewhere(stored: Obj, wanted: Obj) -> bool:
    """Whether a binding is to another role than the default's: it cannot be changed, it is made anew."""
    if wanted["kind"] not in BINDINGS or (stored["metadata"].get("annotations") or {}).get(AUTO_UPDATE) == "false":
        return False
    return bool(stored.get("roleRef") != wanted["roleRef"])


def _among(subject: Obj, binding: Obj) -> bool:
    return any(_identity(one) == _identity(subject) for one in binding.get("subjects") or ())


def _identity(subject: Obj) -> tuple[str, ...]:
    return tuple(subject.get(field, "") for field in ("kind", "apiGroup", "name", "namespace"))


def _add(obj: Obj, field: str, missing: list[Obj]) -> None:
    if missing:
        obj[field] = [*(obj.get(field) or ()), *missing]


def _add_selectors(role: Obj, wanted: Sequence[Obj]) -> None:
    have = (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
    missing = [one for one in wanted if one not in have]
    if missing:
        role["aggregationRule"] = {"clusterRoleSelectors": [*have, *missing]}
