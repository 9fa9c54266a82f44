"""Rules of a Service's addresses and their families. Source followed: `ValidateServiceClusterIPsRelatedFields` and its
neighbours in `pkg/apis/core/validation/validation.go`. Which families the cluster has is the allocator's to judge.
"""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.api.validation import addresses
from netlab.api.validation.field import FieldError, duplicate, invalid, not_supported, required
from netlab.api.validation.gofmt import GoSyntax, quote

_FAMILIES = ("IPv4", "IPv6")
_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_NOT_AGAIN = "may not change once set"
_SINGLE_STACK = "SingleStack"


def is_headless(service: Obj) -> bool:
    """clusterIP None."""
    return (service["spec"].get("clusterIPs") or []) == ["None"]


def _ip_families(families: list[str]) -> GoSyntax:
    return GoSyntax(f"[]core.IPFamily{{{', '.join(quote(one) for one in families)}}}")


def cluster_ips(service: Obj) -> list[FieldError]:
    """`ValidateServiceClusterIPsRelatedFields`."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        return []
    field, one, ips = "spec.clusterIPs", spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    found: list[FieldError] = []
    if one and not ips:
        found.append(required(field))
    elif one and ips[0] != one:
        found.append(invalid(field, ips, "first value must match `clusterIP`"))
    elif not one and ips:
        found.append(invalid(field, ips, "must be empty when `clusterIP` is not specified"))
    families = spec.get("ipFamilies") or []
    found += _families(families)
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in _POLICIES:
        found.append(not_supported("spec.ipFamilyPolicy", policy, _POLICIES))
    wrong = _addresses(ips, field)
    found += wrong
    if len(ips) > 2:
        found.append(invalid(field, ips, "may only hold up to 2 values"))
    if wrong:
        return found
    if len(ips) > 1 and not addresses.dual_stack(ips):
        found.append(invalid(field, ips, "may specify no more than one IP for each IP family"))
    if not is_headless(service):
        for index, (ip, family) in enumerate(zip(ips, families, strict=False)):
            if family in _FAMILIES and addresses.family(ip) != family:
                detail = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
                found.append(invalid(f"{field}[{index}]", ip, detail))
    return found


def _families(families: list[str]) -> list[FieldError]:
    found: list[FieldError] = []
    for index, one in enumerate(families):
        if one not in _FAMILIES:
            found.append(not_supported(f"spec.ipFamilies[{index}]", one, _FAMILIES))
        if one in families[:index]:
            found.append(duplicate(f"spec.ipFamilies[{index}]", one))
    return found


def _addresses(ips: list[str], field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for index, ip in enumerate(ips):
        if index == 0 and ip == "None":
            if len(ips) > 1:
                found.append(invalid(field, ips, "'None' must be the first and only value"))
            continue
        found += addresses.valid_ip(ip, f"{field}[{index}]")
    return found


def cluster_ips_update(new: Obj, old: Obj) -> list[FieldError]:
    """`validateUpgradeDowngradeClusterIPs`: the first address stays, a second one may come and go."""
    if "ExternalName" in (new["spec"].get("type"), old["spec"].get("type")):
        return []
    if is_headless(new) and is_headless(old):
        return []
    after, before = new["spec"].get("clusterIPs") or [], old["spec"].get("clusterIPs") or []
    found: list[FieldError] = []
    first = "spec.clusterIPs[0]"
    if len(after) == len(before):
        for index, ip in enumerate(before):
            if ip != after[index]:
                found.append(invalid(f"spec.clusterIPs[{index}]", after, _NOT_AGAIN))
        return found
    if not after:
        return [invalid(first, GoSyntax("[]string(nil)"), "primary clusterIP can not be unset")]
    if before and after[0] != before[0]:
        found.append(invalid(first, after, _NOT_AGAIN))
    if len(before) > len(after) == 1 and new["spec"].get("ipFamilyPolicy") != _SINGLE_STACK:
        detail = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        found.append(invalid("spec.ipFamilyPolicy", new["spec"].get("ipFamilyPolicy"), detail))
    return found


def families_update(new: Obj, old: Obj) -> list[FieldError]:
    """`validateUpgradeDowngradeIPFamilies`."""
    if "ExternalName" in (new["spec"].get("type"), old["spec"].get("type")):
        return []
    if is_headless(new) or is_headless(old):
        return []
    after, before = new["spec"].get("ipFamilies") or [], old["spec"].get("ipFamilies") or []
    found: list[FieldError] = []
    field = "spec.ipFamilies[0]"
    if len(after) == len(before):
        return [invalid(field, _ip_families(after), _NOT_AGAIN) for a, b in zip(after, before, strict=True) if a != b]
    if len(before) > len(after) and not new["spec"].get("clusterIPs"):
        found.append(invalid(field, _ip_families(after), "primary ipFamily can not be unset"))
    if after and before and after[0] != before[0]:
        found.append(invalid(field, new["spec"].get("clusterIPs") or [], _NOT_AGAIN))
    if len(before) > len(after) == 1 and new["spec"].get("ipFamilyPolicy") != _SINGLE_STACK:
        detail = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        found.append(invalid("spec.ipFamilyPolicy", new["spec"].get("ipFamilyPolicy"), detail))
    return found
