"""Rules of affinity, tolerations, taints, spreading. Source followed: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

from collections.abc import Iterable

from netlab.api.types import Obj
from netlab.api.validation import names
from netlab.api.validation.field import FieldError, duplicate, forbidden, invalid, not_supported, required
from netlab.api.validation.gofmt import GoSyntax, quote
from netlab.api.validation.meta import NOT_ABOVE_ZERO, each, label_key, label_selector

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_BAD_OPERATOR = "not a valid selector operator"


def affinity(given: Obj | None, field: str) -> list[FieldError]:
    """`validateAffinity`."""
    if given is None:
        return []
    found: list[FieldError] = []
    node = given.get("nodeAffinity")
    if node is not None:
        if node.get(_REQUIRED) is not None:
            found += node_selector(node[_REQUIRED], f"{field}.nodeAffinity.{_REQUIRED}")
        found += preferred_terms(node.get(_PREFERRED) or (), f"{field}.nodeAffinity.{_PREFERRED}")
    for key in ("podAffinity", "podAntiAffinity"):
        pod = given.get(key)
        if pod is None:
            continue
        for index, term in enumerate(pod.get(_REQUIRED) or ()):
            found += _pod_term(term, f"{field}.{key}.{_REQUIRED}[{index}]")
        for index, weighted in enumerate(pod.get(_PREFERRED) or ()):
            here = f"{field}.{key}.{_PREFERRED}[{index}]"
            found += _weight(weighted, here)
            found += _pod_term(weighted.get("podAffinityTerm") or {}, f"{here}.podAffinityTerm")
    return found


def _weight(term: Obj, field: str) -> list[FieldError]:
    weight = term.get("weight", 0)
    return [] if 1 <= weight <= 100 else [invalid(f"{field}.weight", weight, "must be in the range 1-100")]


def node_selector(selector: Obj, field: str) -> list[FieldError]:
    """`ValidateNodeSelector`."""
    terms = selector.get("nodeSelectorTerms") or []
    if not terms:
        return [required(f"{field}.nodeSelectorTerms", "must have at least one node selector term")]
    found: list[FieldError] = []
    for index, term in enumerate(terms):
        found += _node_term(term, f"{field}.nodeSelectorTerms[{index}]", check_values=True)
    return found


def preferred_terms(terms: Iterable[Obj], field: str) -> list[FieldError]:
    """`ValidatePreferredSchedulingTerms`."""
    found: list[FieldError] = []
    for index, term in enumerate(terms):
        here = f"{field}[{index}]"
        found += _weight(term, here)
        found += _node_term(term.get("preference") or {}, f"{here}.preference", check_values=False)
    return found


def _node_term(term: Obj, field: str, *, check_values: bool) -> list[FieldError]:
    found: list[FieldError] = []
    for index, one in enumerate(term.get("matchExpressions") or ()):
        found += _node_requirement(one, f"{field}.matchExpressions[{index}]", check_values)
    for index, one in enumerate(term.get("matchFields") or ()):
        found += _node_field_requirement(one, f"{field}.matchFields[{index}]")
    return found


def _node_requirement(one: Obj, field: str, check_values: bool) -> list[FieldError]:
    operator, values = one.get("operator", ""), one.get("values") or []
    found: list[FieldError] = []
    if operator in ("In", "NotIn"):
        if not values:
            found.append(required(f"{field}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(forbidden(f"{field}.values", detail))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            found.append(required(f"{field}.values", detail))
    else:
        found.append(invalid(f"{field}.operator", operator, _BAD_OPERATOR))
    found += label_key(one.get("key", ""), f"{field}.key")
    if check_values:
        for index, value in enumerate(values):
            found += each(f"{field}.values[{index}]", value, names.label_value(value))
    return found


def _node_field_requirement(one: Obj, field: str) -> list[FieldError]:
    operator, values = one.get("operator", ""), one.get("values") or []
    found: list[FieldError] = []
    if operator in ("In", "NotIn"):
        if len(values) != 1:
            detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            found.append(required(f"{field}.values", detail))
    else:
        found.append(invalid(f"{field}.operator", operator, _BAD_OPERATOR))
    if one.get("key") != "metadata.name":
        return [*found, invalid(f"{field}.key", one.get("key", ""), "not a valid field selector key")]
    for index, value in enumerate(values):
        found += each(f"{field}.values[{index}]", value, names.dns_subdomain(value))
    return found


def _pod_term(term: Obj, field: str) -> list[FieldError]:
    selector = term.get("labelSelector")
    found = label_selector(selector, f"{field}.labelSelector")
    found += label_selector(term.get("namespaceSelector"), f"{field}.namespaceSelector")
    for name in term.get("namespaces") or ():
        found += each(f"{field}.namespace", name, names.dns_label(name))
    matched, mismatched = term.get("matchLabelKeys") or [], term.get("mismatchLabelKeys") or []
    found += _label_keys(matched, selector, f"{field}.matchLabelKeys")
    found += _label_keys(mismatched, selector, f"{field}.mismatchLabelKeys")
    for index, key in enumerate(matched):
        if key in mismatched:
            detail = "exists in both matchLabelKeys and mismatchLabelKeys"
            found.append(invalid(f"{field}.matchLabelKeys[{index}]", key, detail))
    topology = term.get("topologyKey", "")
    if not topology:
        found.append(required(f"{field}.topologyKey", "can not be empty"))
    return found + label_key(topology, f"{field}.topologyKey")


def _label_keys(keys: list[str], selector: Obj | None, field: str) -> list[FieldError]:
    if not keys:
        return []
    if selector is None:
        return [forbidden(field, "must not be specified when labelSelector is not set")]
    return [error for index, key in enumerate(keys) for error in label_key(key, f"{field}[{index}]")]


def taint_effect(effect: str, field: str, *, allow_empty: bool) -> list[FieldError]:
    """`validateTaintEffect`."""
    if not effect and not allow_empty:
        return [required(field)]
    return [] if effect in _EFFECTS else [not_supported(field, effect, _EFFECTS)]


def tolerations(given: Iterable[Obj], field: str) -> list[FieldError]:
    """`ValidateTolerations`."""
    found: list[FieldError] = []
    for index, one in enumerate(given):
        found += _toleration(one, f"{field}[{index}]")
    return found


def _toleration(one: Obj, field: str) -> list[FieldError]:
    key, operator = one.get("key", ""), one.get("operator", "")
    value, effect = one.get("value", ""), one.get("effect", "")
    found = label_key(key, f"{field}.key") if key else []
    if not key and operator != "Exists":
        detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        found.append(invalid(f"{field}.operator", operator, detail))
    if "tolerationSeconds" in one and effect != "NoExecute":
        found.append(invalid(f"{field}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
    if operator in ("", "Equal"):
        wrong = names.label_value(value)
        if wrong:
            found.append(invalid(f"{field}.operator", value, ";".join(wrong)))
    elif operator == "Exists":
        if value:
            found.append(invalid(f"{field}.operator", value, "value must be empty when `operator` is 'Exists'"))
    else:
        found.append(not_supported(f"{field}.operator", operator, ("Equal", "Exists")))
    if effect:
        found += taint_effect(effect, f"{field}.effect", allow_empty=True)
    return found


def taints(given: Iterable[Obj], field: str) -> list[FieldError]:
    """`validateNodeTaints`."""
    found: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, one in enumerate(given):
        here, key, value = f"{field}[{index}]", one.get("key", ""), one.get("value", "")
        effect = one.get("effect", "")
        found += label_key(key, f"{here}.key")
        wrong = names.label_value(value)
        if wrong:
            found.append(invalid(f"{here}.value", value, ";".join(wrong)))
        found += taint_effect(effect, f"{here}.effect", allow_empty=False)
        if (key, effect) in seen:
            shown = f"core.Taint{{Key:{quote(key)}, Value:{quote(value)}, Effect:{quote(effect)}, "
            twice = duplicate(here, GoSyntax(shown + "TimeAdded:<nil>}"))
            twice.detail = "taints must be unique by key and effect pair"
            found.append(twice)
        seen.add((key, effect))
    return found


def topology_spread(constraints: list[Obj], field: str) -> list[FieldError]:
    """`validateTopologySpreadConstraints`."""
    found: list[FieldError] = []
    for index, one in enumerate(constraints):
        here = f"{field}[{index}]"
        skew, key, action = one.get("maxSkew", 0), one.get("topologyKey", ""), one.get("whenUnsatisfiable", "")
        if skew <= 0:
            found.append(invalid(f"{here}.maxSkew", skew, NOT_ABOVE_ZERO))
        if not key:
            found.append(required(f"{here}.topologyKey", "can not be empty"))
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            found.append(not_supported(f"{here}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway")))
        rest = constraints[index + 1 :]
        if any((o.get("topologyKey", ""), o.get("whenUnsatisfiable", "")) == (key, action) for o in rest):
            found.append(duplicate(f"{here}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
        found += _min_domains(one, action, f"{here}.minDomains")
        for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if policy in one and one[policy] not in ("Honor", "Ignore"):
                found.append(not_supported(f"{here}.{policy}", one[policy], ("Honor", "Ignore")))
        found += _spread_label_keys(one, f"{here}.matchLabelKeys")
        found += label_selector(one.get("labelSelector"), f"{here}.labelSelector")
    return found


def _min_domains(one: Obj, action: str, field: str) -> list[FieldError]:
    wanted = one.get("minDomains")
    if wanted is None:
        return []
    found = [invalid(field, wanted, NOT_ABOVE_ZERO)] if wanted <= 0 else []
    if action != "DoNotSchedule":
        detail = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
        found.append(invalid(field, wanted, detail))
    return found


def _spread_label_keys(one: Obj, field: str) -> list[FieldError]:
    keys, selector = one.get("matchLabelKeys") or [], one.get("labelSelector")
    if not keys:
        return []
    found: list[FieldError] = []
    if selector is None:
        found.append(forbidden(field, "must not be specified when labelSelector is not set"))
        selector = {}
    used = {*(selector.get("matchLabels") or ()), *(e.get("key") for e in selector.get("matchExpressions") or ())}
    for index, key in enumerate(keys):
        found += label_key(key, f"{field}[{index}]")
        if key in used:
            found.append(invalid(f"{field}[{index}]", key, "exists in both matchLabelKeys and labelSelector"))
    return found
