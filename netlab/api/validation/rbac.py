"""Rules of roles and bindings. Source followed: `pkg/apis/rbac/validation/validation.go`."""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.api.validation import names
from netlab.api.validation.dispatch import Create, Rules, Update
from netlab.api.validation.field import FieldError, invalid, not_supported, required
from netlab.api.validation.gofmt import GoSyntax, quote
from netlab.api.validation.meta import each, label_selector, metadata, metadata_update

_GROUP = "rbac.authorization.k8s.io"


def _role(namespaced: bool) -> Create:
    def create(role: Obj) -> list[FieldError]:
        found = metadata(role, namespaced, names.path_segment_name)
        for index, rule in enumerate(role.get("rules") or ()):
            found += _policy_rule(rule, namespaced, f"rules[{index}]")
        selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors")
        if "aggregationRule" in role and not selectors:
            found.append(
                required(
                    "aggregationRule.clusterRoleSelectors",
                    "at least one clusterRoleSelector required if aggregationRule is non-nil",
                )
            )
        for index, one in enumerate(selectors or ()):
            found += label_selector(one, f"aggregationRule.clusterRoleSelectors[{index}]")
        return found

    return create


def _policy_rule(rule: Obj, namespaced: bool, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    if not rule.get("verbs"):
        found.append(required(f"{field}.verbs", "verbs must contain at least one value"))
    urls = rule.get("nonResourceURLs")
    if urls:
        here = f"{field}.nonResourceURLs"
        if namespaced:
            found.append(invalid(here, urls, "namespaced rules cannot apply to non-resource URLs"))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            found.append(invalid(here, urls, "rules cannot apply to both regular resources and non-resource URLs"))
        return found
    if not rule.get("apiGroups"):
        found.append(required(f"{field}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        found.append(required(f"{field}.resources", "resource rules must supply at least one resource"))
    return found


def _binding(namespaced: bool) -> Create:
    def create(binding: Obj) -> list[FieldError]:
        found = metadata(binding, namespaced, names.path_segment_name)
        ref = binding["roleRef"]
        if ref.get("apiGroup") != _GROUP:
            found.append(not_supported("roleRef.apiGroup", ref.get("apiGroup", ""), (_GROUP,)))
        kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
        if ref.get("kind") not in kinds:
            found.append(not_supported("roleRef.kind", ref.get("kind", ""), kinds))
        name = ref.get("name", "")
        found += each("roleRef.name", name, names.path_segment(name)) if name else [required("roleRef.name")]
        for index, subject in enumerate(binding.get("subjects") or ()):
            found += _subject(subject, namespaced, f"subjects[{index}]")
        return found

    return create


def _subject(subject: Obj, namespaced: bool, field: str) -> list[FieldError]:
    name, kind, group = (subject.get(key, "") for key in ("name", "kind", "apiGroup"))
    found = [] if name else [required(f"{field}.name")]
    if kind == "ServiceAccount":
        if name:
            found += each(f"{field}.name", name, names.dns_subdomain(name))
        if group:
            found.append(not_supported(f"{field}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            found.append(required(f"{field}.namespace"))
    elif kind in ("User", "Group"):
        if not name:
            found.append(invalid(f"{field}.name", name, f"{kind.lower()} name cannot be empty"))
        if group != _GROUP:
            found.append(not_supported(f"{field}.apiGroup", group, (_GROUP,)))
    else:
        found.append(not_supported(f"{field}.kind", kind, ("ServiceAccount", "User", "Group")))
    return found


def _update(create: Create, *, binding: bool) -> Update:
    def update(new: Obj, old: Obj) -> list[FieldError]:
        found = create(new) + metadata_update(new, old)
        if binding and new["roleRef"] != old["roleRef"]:
            ref = new["roleRef"]
            shown = ", ".join(
                f"{go}:{quote(ref.get(key, ''))}"
                for go, key in (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))
            )
            found.append(invalid("roleRef", GoSyntax(f"rbac.RoleRef{{{shown}}}"), "cannot change roleRef"))
        return found

    return update


def _rules(create: Create, *, binding: bool) -> Rules:
    update = _update(create, binding=binding)
    return Rules(create, update, update)


RULES = {
    "Role": _rules(_role(True), binding=False),
    "ClusterRole": _rules(_role(False), binding=False),
    "RoleBinding": _rules(_binding(True), binding=True),
    "ClusterRoleBinding": _rules(_binding(False), binding=True),
}
