"""Rules of LimitRanges and ResourceQuotas. Source followed: `pkg/apis/core/validation/validation.go`."""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.api.validation import names, resources
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import FieldError, duplicate, forbidden, invalid, required
from netlab.api.validation.gofmt import GoSyntax, quote
from netlab.api.validation.meta import IMMUTABLE, each, metadata, metadata_update
from netlab.api.validation.resources import go_quantity, value

_LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_SCOPES = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity")
_COMPUTE = frozenset({"pods", "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})


def limit_range(obj: Obj) -> list[FieldError]:
    """`ValidateLimitRange`."""
    found = metadata(obj, True)
    seen: set[str] = set()
    for index, limit in enumerate(obj["spec"].get("limits") or ()):
        here, kind = f"spec.limits[{index}]", limit.get("type", "")
        found += _limit_type(kind, f"{here}.type")
        if kind in seen:
            found.append(duplicate(f"{here}.type", kind))
        seen.add(kind)
        found += _limit_names(limit, kind, here)
        keys = {key for part in _PARTS for key in limit.get(part) or ()}
        for key in sorted(keys):
            found += _limit_values(limit, key, kind, here)
    return found


_PARTS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")


def _limit_type(kind: str, field: str) -> list[FieldError]:
    found = each(field, kind, names.qualified_name(kind))
    if not found and "/" not in kind and kind not in _LIMIT_TYPES:
        return [invalid(field, kind, "must be a standard limit type or fully qualified")]
    return found


def _limit_names(limit: Obj, kind: str, field: str) -> list[FieldError]:
    rule = resources.container_resource_name if kind in ("Pod", "Container") else resources.resource_name
    found: list[FieldError] = []
    for part in _PARTS:
        if part in ("default", "defaultRequest") and kind == "Pod":
            if limit.get(part):
                found.append(forbidden(f"{field}.{part}", "may not be specified when `type` is 'Pod'"))
            continue
        bounded = "storage" in (limit.get("min") or ()) or "storage" in (limit.get("max") or ())
        if part == "maxLimitRequestRatio" and kind == "PersistentVolumeClaim" and not bounded:
            detail = "either minimum or maximum storage value is required, but neither was provided"
            found.append(required(f"{field}.limits", detail))
        for name in limit.get(part) or ():
            found += rule(name, f"{field}.{part}[{name}]")
    return found


def _limit_values(limit: Obj, key: str, kind: str, field: str) -> list[FieldError]:
    """How the values of one resource must stand to each other."""
    low, high = (limit.get("min") or {}).get(key), (limit.get("max") or {}).get(key)
    default = None if kind == "Pod" else (limit.get("default") or {}).get(key)
    request = None if kind == "Pod" else (limit.get("defaultRequest") or {}).get(key)
    found: list[FieldError] = []

    def ordered(small: str | None, big: str | None, part: str, shown: str | None, words: tuple[str, str]) -> None:
        if small is not None and big is not None and shown is not None and value(small) > value(big):
            detail = f"{words[0]} value {small} is greater than {words[1]} value {big}"
            found.append(invalid(f"{field}.{part}[{key}]", go_quantity(shown), detail))

    ordered(low, high, "min", low, ("min", "max"))
    ordered(low, request, "defaultRequest", request, ("min", "default request"))
    ordered(request, high, "defaultRequest", request, ("default request", "max"))
    ordered(request, default, "defaultRequest", request, ("default request", "default limit"))
    ordered(low, default, "default", low, ("min", "default"))
    ordered(default, high, "default", high, ("default", "max"))
    found += _ratio(limit, key, low, high, field)
    both = default is not None and request is not None and not resources.overcommit_allowed(key)
    if both and default is not None and request is not None and value(default) != value(request):
        detail = f"default value {default} must equal to defaultRequest value {request} in {key}"
        found.append(invalid(f"{field}.defaultRequest[{key}]", go_quantity(request), detail))
    return found


def _ratio(limit: Obj, key: str, low: str | None, high: str | None, field: str) -> list[FieldError]:
    ratio = (limit.get("maxLimitRequestRatio") or {}).get(key)
    if ratio is None:
        return []
    here = f"{field}.maxLimitRequestRatio[{key}]"
    found: list[FieldError] = []
    if value(ratio) < 1:
        found.append(invalid(here, go_quantity(ratio), f"ratio {ratio} is less than 1"))
    if low is not None and high is not None and value(low) > 0:
        most = float(value(high) / value(low))
        if float(value(ratio)) > most:
            detail = f"ratio {ratio} is greater than max/min = {most:.6f}"
            found.append(invalid(here, go_quantity(ratio), detail))
    return found


def _limit_range_update(new: Obj, old: Obj) -> list[FieldError]:
    return metadata_update(new, old) + limit_range(new)


# -- quotas ------------------------------------------------------------------------------------------------------------


def quota(obj: Obj) -> list[FieldError]:
    """`ValidateResourceQuota`."""
    return metadata(obj, True) + _quota_spec(obj["spec"]) + _quota_status(obj["status"])


def _amounts(given: Obj | None, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for name, amount in (given or {}).items():
        here = f"{field}[{name}]"
        found += resources.quota_resource_name(name, here) + resources.quantity_value(name, amount, here)
    return found


def _quota_status(status: Obj) -> list[FieldError]:
    return _amounts(status.get("hard"), "status.hard") + _amounts(status.get("used"), "status.used")


def _quota_spec(spec: Obj) -> list[FieldError]:
    hard = sorted(spec.get("hard") or ())
    found = _amounts(spec.get("hard"), "spec.hard")
    scopes = spec.get("scopes") or []
    shown = GoSyntax(f"[]core.ResourceQuotaScope{{{', '.join(quote(one) for one in scopes)}}}")
    for scope in scopes:
        if scope not in _SCOPES:
            found.append(invalid("spec.scopes", shown, "unsupported scope"))
        found += [
            invalid("spec.scopes", shown, "unsupported scope applied to resource")
            for name in hard
            if resources.is_standard_quota(name) and not _scope_fits(scope, name)
        ]
    found += _conflicts(set(scopes), "spec.scopes", shown)
    return found + _scope_selector(spec, hard)


def _scope_fits(scope: str, name: str) -> bool:
    if scope == "BestEffort":
        return name == "pods"
    if scope in _SCOPES:
        return name in _COMPUTE or resources.is_quota_huge_page(name) or name.startswith(("requests.", "limits."))
    return True


def _conflicts(scopes: set[str], field: str, shown: GoSyntax) -> list[FieldError]:
    pairs = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
    return [invalid(field, shown, "conflicting scopes") for pair in pairs if pair <= scopes]


def _scope_selector(spec: Obj, hard: list[str]) -> list[FieldError]:
    selector = spec.get("scopeSelector")
    if selector is None:
        return []
    field = "spec.scopeSelector.matchExpressions"
    found: list[FieldError] = []
    scopes: set[str] = set()
    for one in selector.get("matchExpressions") or ():
        scope, operator, values = one.get("scopeName", ""), one.get("operator", ""), one.get("values") or []
        if scope not in _SCOPES:
            found.append(invalid(f"{field}.scopeName", scope, "unsupported scope"))
        for name in hard:
            if resources.is_standard_quota(name) and not _scope_fits(scope, name):
                shown = GoSyntax("core.ScopeSelector{…}")
                found.append(invalid(field, shown, "unsupported scope applied to resource"))
        if scope in _SCOPES and scope != "PriorityClass" and operator != "Exists":
            detail = (
                "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, "
                "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
                "ResourceQuotaScopeCrossNamespacePodAffinity"
            )
            found.append(invalid(f"{field}.operator", operator, detail))
        found += _scope_values(operator, values, field)
        scopes.add(scope)
    return found + _conflicts(scopes, field, GoSyntax("[]core.ResourceQuotaScope(nil)"))


def _scope_values(operator: str, values: list[str], field: str) -> list[FieldError]:
    if operator in ("In", "NotIn"):
        detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
        return [] if values else [required(f"{field}.values", detail)]
    if operator in ("Exists", "DoesNotExist"):
        detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
        return [invalid(f"{field}.values", values, detail)] if values else []
    return [invalid(f"{field}.operator", operator, "not a valid selector operator")]


def _quota_update(new: Obj, old: Obj) -> list[FieldError]:
    found = metadata_update(new, old) + _quota_spec(new["spec"])
    scopes = new["spec"].get("scopes") or []
    if set(scopes) != set(old["spec"].get("scopes") or []):
        shown = GoSyntax(f"[]core.ResourceQuotaScope{{{', '.join(quote(one) for one in scopes)}}}")
        found.append(invalid("spec.scopes", shown, IMMUTABLE))
    return found


def _quota_status_update(new: Obj, old: Obj) -> list[FieldError]:
    found = metadata_update(new, old)
    if not new["metadata"].get("resourceVersion"):
        found.append(required("resourceVersion"))
    return found + _quota_status(new["status"])


RULES = {
    "LimitRange": Rules(limit_range, _limit_range_update, _limit_range_update),
    "ResourceQuota": Rules(quota, _quota_update, _quota_status_update),
}
