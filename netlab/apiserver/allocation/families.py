"""PURE. The IP families of a Service, as upstream's storage fills them in before it allocates addresses.

Source followed: `initIPFamilyFields` in pkg/registry/core/service/storage/alloc.go, KEP-563.
"""

from __future__ import annotations

from collections.abc import Sequence

from netlab.api.types import Obj
from netlab.api.validation import addresses
from netlab.api.validation.field import FieldError, invalid
from netlab.api.validation.service_addresses import cluster_ips

SINGLE, PREFER, REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"
_WITH_ADDRESS = ("ClusterIP", "NodePort", "LoadBalancer")
_POLICY = "spec.ipFamilyPolicy"


def fill_families(service: Obj, old: Obj | None, cluster: Sequence[str]) -> list[FieldError]:
    """Set `ipFamilyPolicy` and `ipFamilies` in place, cut `clusterIPs` where the policy became SingleStack.

    `cluster` are the families of the cluster's service CIDRs, the default one first. What is found wrong comes back;
    the Service is then half filled in and must not be stored.
    """
    spec = service.setdefault("spec", {})
    if spec.get("type") == "ExternalName":
        return []
    before: Obj = (old or {}).get("spec") or {}
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    if old is not None and _stays_as_preferred(spec, before):
        return []
    if not spec.get("ipFamilyPolicy"):
        spec["ipFamilyPolicy"] = before.get("ipFamilyPolicy") or (REQUIRE if _anything_goes(spec) else SINGLE)
    found = cluster_ips(service)
    if found:
        return found
    if old is not None:
        found += _reduced(spec, before)
    found += _policy_fits(spec) + _infer_from_addresses(spec, cluster)
    if found:
        return found
    if _anything_goes(spec):
        _complete(spec, cluster)
        return []
    found = _configured(spec, cluster)
    if not found:
        _complete(spec, cluster)
    return found


def _anything_goes(spec: Obj) -> bool:
    """Headless without a selector: its endpoints are written by hand, whatever the cluster has."""
    return next(iter(spec.get("clusterIPs") or [spec.get("clusterIP")]), "") == "None" and not spec.get("selector")


def _stays_as_preferred(spec: Obj, before: Obj) -> bool:
    """A PreferDualStack Service is not up- or downgraded by an update that does not ask for it."""
    return (
        spec.get("type") in _WITH_ADDRESS
        and spec.get("type") == before.get("type")
        and spec.get("ipFamilyPolicy") == before.get("ipFamilyPolicy") == PREFER
        and _same(spec, before, "clusterIPs")
        and _same(spec, before, "ipFamilies")
    )


def _same(spec: Obj, before: Obj, field: str) -> bool:
    return (spec.get(field) or []) == (before.get(field) or [])


def _reduced(spec: Obj, before: Obj) -> list[FieldError]:
    """SingleStack gives the second address and family up; without it they may not be left out."""
    found = []
    for field, what in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        have, had = spec.get(field) or [], before.get(field) or []
        if spec["ipFamilyPolicy"] == SINGLE:
            if have == had and len(have) > 1:
                spec[field] = have[:1]
        elif len(had) == 2 and len(have) == 1 and have[0] == had[0]:
            found.append(
                invalid(_POLICY, spec["ipFamilyPolicy"], f"must be SingleStack to release the secondary {what}")
            )
    return found


def _policy_fits(spec: Obj) -> list[FieldError]:
    if spec["ipFamilyPolicy"] != SINGLE:
        return []
    return [
        invalid(_POLICY, SINGLE, f"must be RequireDualStack or PreferDualStack when multiple {field} are specified")
        for field in ("clusterIPs", "ipFamilies")
        if len(spec.get(field) or []) == 2
    ]


def _infer_from_addresses(spec: Obj, cluster: Sequence[str]) -> list[FieldError]:
    """An address says its family where `ipFamilies` does not."""
    found, families, ips = [], list(spec.get("ipFamilies") or []), spec.get("clusterIPs") or []
    for index, ip in enumerate(ips):
        if ip == "None":
            break
        if index < len(families):
            continue
        family = addresses.family(ip)
        if family in cluster:
            families.append(family)
        else:
            found.append(invalid(f"spec.clusterIPs[{index}]", ips, f"{family} is not configured on this cluster"))
    if families:
        spec["ipFamilies"] = families
    return found


def _configured(spec: Obj, cluster: Sequence[str]) -> list[FieldError]:
    found = []
    if spec["ipFamilyPolicy"] == REQUIRE and len(cluster) < 2:
        found.append(invalid(_POLICY, REQUIRE, "this cluster is not configured for dual-stack services"))
    for index, family in enumerate(spec.get("ipFamilies") or []):
        if family not in cluster:
            found.append(invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster"))
    return found


def _complete(spec: Obj, cluster: Sequence[str]) -> None:
    """The cluster's default family where none is said, and the other one where two are wanted and can be had."""
    families = list(spec.get("ipFamilies") or [cluster[0]])
    if spec["ipFamilyPolicy"] != SINGLE and len(families) == 1 and (len(cluster) == 2 or _anything_goes(spec)):
        families.append("IPv6" if families[0] == "IPv4" else "IPv4")
    spec["ipFamilies"] = families
