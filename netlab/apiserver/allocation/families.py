"""PURE. The IP families of a Service on a cluster of one family (IPv4), as upstream's storage fills them in.

Source followed: pkg/registry/core/service/storage/alloc.go (initIPFamilyFields) and the dual-stack documentation.
"""

from netlab.api import errors, meta
from netlab.api.types import Obj

_SINGLE, _PREFER, _REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"


def fill_families(service: Obj, old: Obj | None) -> None:
    """Set `clusterIPs` from `clusterIP`, `ipFamilies` and `ipFamilyPolicy`; 422 for what one family cannot give."""
    spec = service.setdefault("spec", {})
    if spec.get("type") == "ExternalName":
        return
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    if old is not None:
        before = old.get("spec", {})
        for field in ("ipFamilies", "ipFamilyPolicy"):
            if field not in spec and field in before:
                spec[field] = before[field]
    if spec.get("clusterIPs", [""])[0] == "None" and not spec.get("selector"):
        _without_selector(spec)
        return
    causes = []
    if spec.get("ipFamilyPolicy") == _REQUIRE:
        message = f'Invalid value: "{_REQUIRE}": this cluster is not configured for dual-stack services'
        causes.append(errors.cause("FieldValueInvalid", "spec.ipFamilyPolicy", message))
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        if family == "IPv6":
            message = f'Invalid value: "{family}": not configured on this cluster'
            causes.append(errors.cause("FieldValueInvalid", f"spec.ipFamilies[{index}]", message))
    if causes:
        raise errors.invalid("Service", meta.name(service), causes)
    spec.setdefault("ipFamilyPolicy", _SINGLE)
    spec["ipFamilies"] = spec.get("ipFamilies") or ["IPv4"]


def _without_selector(spec: Obj) -> None:
    """Endpoints are written by hand, so any family may be meant, whatever the cluster has."""
    spec["ipFamilies"] = families = spec.get("ipFamilies") or ["IPv4"]
    policy = spec.setdefault("ipFamilyPolicy", _REQUIRE)
    if policy in (_PREFER, _REQUIRE) and len(families) == 1:
        spec["ipFamilies"] = [*families, "IPv6" if families[0] == "IPv4" else "IPv4"]
