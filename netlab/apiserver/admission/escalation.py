"""Nobody grants more than they have: roles and bindings, against the rules of whoever writes them.

system:masters may; so may whoever has the verb "escalate" on the role, or "bind" on the role that a binding leads to.
An aggregation rule can collect anything, so it needs everything. Sources followed: pkg/registry/rbac (policybased
storages, escalation_check.go, validation/rule.go).
"""

from collections.abc import Sequence

from netlab.api import errors
from netlab.api.resources import get
from netlab.api.types import Obj
from netlab.apiserver.admission.attributes import Attributes, Plugin, Reader
from netlab.apiserver.authz.authorizer import MASTERS, Action
from netlab.apiserver.authz.rules import compact, quoted, shown, uncovered

_GROUP = "rbac.authorization.k8s.io"
_EVERYTHING = ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]})
_PLURALS = {"Role": "roles", "ClusterRole": "clusterroles"}
_ABOUT = frozenset(f"{plural}.{_GROUP}" for plural in ("roles", "clusterroles", "rolebindings", "clusterrolebindings"))
_GARBAGE = ("ownerReferences", "finalizers")


def _check(reader: Reader, attributes: Attributes) -> None:
    obj = attributes.obj
    if obj is None or attributes.operation not in ("CREATE", "UPDATE") or MASTERS in attributes.user.groups:
        return
    if attributes.old is not None and _only_for_collector(obj, attributes.old):
        return
    if attributes.resource.plural.endswith("bindings"):
        _check_binding(reader, attributes, obj)
    else:
        _check_role(reader, attributes, obj)


def _check_role(reader: Reader, attributes: Attributes, role: Obj) -> None:
    resource = attributes.resource
    action = Action("escalate", _GROUP, resource.plural, "", attributes.namespace, attributes.name)
    if reader.authorizer.decide(attributes.user, action).allowed:
        return
    _confirm(reader, attributes, role.get("rules") or ())
    aggregates = resource.plural == "clusterroles" and (_aggregates(role) or _aggregates(attributes.old))
    if aggregates and uncovered(_rules_of(reader, attributes), _EVERYTHING):
        why = "must have cluster-admin privileges to use an aggregationRule"
        raise errors.forbidden(resource, attributes.shown_name, why)


def _check_binding(reader: Reader, attributes: Attributes, binding: Obj) -> None:
    reference = binding.get("roleRef") or {}
    kind, name = str(reference.get("kind", "")), str(reference.get("name", ""))
    plural = _PLURALS.get(kind)
    if plural is None or not name:
        return  # validation's to refuse
    action = Action("bind", _GROUP, plural, "", attributes.namespace, name)
    if reader.authorizer.decide(attributes.user, action).allowed:
        return
    where = attributes.namespace if kind == "Role" else ""
    role = reader.read(f"{_GROUP}/v1", kind, where, name)
    if role is None:
        raise errors.not_found(get(f"{_GROUP}/v1", kind), name)
    _confirm(reader, attributes, role.get("rules") or ())


def _confirm(reader: Reader, attributes: Attributes, rules: Sequence[Obj]) -> None:
    missing = uncovered(_rules_of(reader, attributes), rules)
    if not missing:
        return
    user = attributes.user
    lines = "\n".join(sorted({shown(rule) for rule in compact(missing)}))
    who = f"user {errors.quote(user.name)} (groups={quoted(user.groups)})"
    why = f"{who} is attempting to grant RBAC permissions not currently held:\n{lines}"
    raise errors.forbidden(attributes.resource, attributes.shown_name, why)


def _rules_of(reader: Reader, attributes: Attributes) -> list[Obj]:
    resources, paths = reader.authorizer.rules(attributes.user, attributes.namespace)
    return [*resources, *paths]


def _aggregates(role: Obj | None) -> bool:
    return bool(((role or {}).get("aggregationRule") or {}).get("clusterRoleSelectors"))


def _only_for_collector(new: Obj, old: Obj) -> bool:
    """Nothing but what the garbage collector takes away has changed."""

    def rest(obj: Obj) -> Obj:
        ignored = (*_GARBAGE, "managedFields", "resourceVersion")
        return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k not in ignored}}

    changed = any(new["metadata"].get(field) != old["metadata"].get(field) for field in _GARBAGE)
    return changed and rest(new) == rest(old)


PLUGIN = Plugin("RbacEscalation", mutate=_check, about=_ABOUT)
