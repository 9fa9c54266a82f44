"""PURE. Whether a webhook or policy is about a request: rules, selectors, and versions that mean the same.

Sources followed: apiserver `pkg/admission/plugin/webhook/predicates` (rules, namespace, object), `…/generic/webhook.go`
(`ShouldCallHook`), `pkg/admission/plugin/policy/matching/matching.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netlab.api import labels
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.admission.attributes import Attributes


@dataclass(frozen=True, slots=True)
class Subject:
    """What is matched: a request, the version it came in, and all versions of the same objects."""

    attributes: Attributes
    resource: Resource
    equivalents: Sequence[Resource]
    namespace_labels: Obj | None
    """Labels of the namespace; None where the object lives in none."""


def chosen(rules: Iterable[Obj], policy: str, subject: Subject) -> Resource | None:
    """The version in which an object is shown to whoever has these rules; None where they do not match."""
    rules = list(rules)
    if any(rule_matches(rule, subject, subject.resource) for rule in rules):
        return subject.resource
    if policy == "Exact":
        return None
    for rule in rules:
        for other in subject.equivalents:
            if other != subject.resource and rule_matches(rule, subject, other):
                return other
    return None


def rule_matches(rule: Obj, subject: Subject, resource: Resource) -> bool:
    """One rule against the request as `resource` shows it."""
    attributes = subject.attributes
    names = rule.get("resourceNames") or ()
    return (
        _in(attributes.operation, rule.get("operations"))
        and _in(resource.group, rule.get("apiGroups"))
        and _in(resource.version, rule.get("apiVersions"))
        and any(_resource_matches(one, resource, attributes.subresource) for one in rule.get("resources") or ())
        and _scope_matches(rule.get("scope") or "*", attributes)
        and (not names or attributes.name in names)
    )


def _in(value: str, allowed: Sequence[str] | None) -> bool:
    return bool(allowed) and ("*" in (allowed or ()) or value in (allowed or ()))


def _resource_matches(pattern: str, resource: Resource, subresource: str) -> bool:
    plural, _, sub = pattern.partition("/")
    return plural in ("*", resource.plural) and sub in ("*", subresource)


def _scope_matches(scope: str, attributes: Attributes) -> bool:
    inside = bool(attributes.namespace) and attributes.resource.group_resource != "namespaces"
    return scope == "*" or (scope == "Namespaced") == inside


def selected(hook: Obj, subject: Subject) -> bool:
    """Whether namespaceSelector and objectSelector let a request pass."""
    wanted = labels.from_label_selector(hook.get("namespaceSelector") or {})
    if not wanted.empty and subject.namespace_labels is not None and not wanted.matches(subject.namespace_labels):
        return False
    wanted = labels.from_label_selector(hook.get("objectSelector") or {})
    if wanted.empty:
        return True
    attributes = subject.attributes
    given = [
        one["metadata"].get("labels") or {} for one in (attributes.obj, attributes.old) if one and "metadata" in one
    ]
    return any(wanted.matches(one) for one in given)
