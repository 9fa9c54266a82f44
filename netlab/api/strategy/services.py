"""What a Service gets before its addresses are allocated. Source followed: `pkg/registry/core/service/strategy.go`,
`storage/storage.go` (`normalizeClusterIPs`)."""

from __future__ import annotations

from netlab.api.types import Obj


def create(service: Obj) -> None:
    """clusterIP and clusterIPs agree. Families and policy are filled in by whoever allocates the addresses."""
    spec = service["spec"]
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]


def update(new: Obj, old: Obj) -> None:
    """What the update leaves out is what was there; what the new type does not have is dropped."""
    after, before = new["spec"], old["spec"]
    if after.get("type") != "ExternalName" and before.get("type") != "ExternalName":
        _sync_addresses(after, before)
        for key in ("ipFamilyPolicy", "ipFamilies"):
            if not after.get(key) and before.get(key):
                after[key] = before[key]
    _drop_type_dependent(after, before)
    if after.get("type") != "ExternalName" and after.get("clusterIP") and not after.get("clusterIPs"):
        after["clusterIPs"] = [after["clusterIP"]]


def _sync_addresses(after: Obj, before: Obj) -> None:
    """`normalizeClusterIPs` and `patchAllocatedValues`."""
    one, many = after.get("clusterIP", ""), after.get("clusterIPs") or []
    had_one, had_many = before.get("clusterIP", ""), before.get("clusterIPs") or []
    if not one and not many:
        if had_one:
            after["clusterIP"], after["clusterIPs"] = had_one, list(had_many)
        return
    if one and one != had_one and many == had_many:
        after["clusterIPs"] = [one]
    elif not one and many and many == had_many:
        after["clusterIP"] = many[0]
    elif one and not many and one == had_one:
        after["clusterIPs"] = list(had_many)


def _drop_type_dependent(after: Obj, before: Obj) -> None:
    """`dropTypeDependentFields`: what only the old type had, where the update did not touch it."""
    kind, was = after.get("type"), before.get("type")
    if kind == "ExternalName" and was != "ExternalName":
        for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if after.get(key) == before.get(key):
                after.pop(key, None)
    if kind == "ExternalName" != was or (kind == "ClusterIP" and was in ("NodePort", "LoadBalancer")):
        _drop_node_ports(after, before)
    if not _needs_health_check(after) and after.get("healthCheckNodePort") == before.get("healthCheckNodePort"):
        after.pop("healthCheckNodePort", None)
    if kind != "LoadBalancer" and was == "LoadBalancer":
        for key in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if after.get(key) == before.get(key):
                after.pop(key, None)
    external = kind in ("NodePort", "LoadBalancer") or bool(after.get("externalIPs"))
    if not external and after.get("externalTrafficPolicy") == before.get("externalTrafficPolicy"):
        after.pop("externalTrafficPolicy", None)


def _needs_health_check(spec: Obj) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _drop_node_ports(after: Obj, before: Obj) -> None:
    known = {(port.get("protocol"), port.get("port")): port.get("nodePort") for port in before.get("ports") or ()}
    for port in after.get("ports") or ():
        if port.get("nodePort") and port["nodePort"] in known.values():
            del port["nodePort"]
