"""Rules of Services. Source followed: `pkg/apis/core/validation/validation.go`, `pkg/registry/core/service/storage`."""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.api.validation import addresses, names
from netlab.api.validation.containers import port_number_or_name, protocol
from netlab.api.validation.dispatch import Rules
from netlab.api.validation.field import FieldError, duplicate, forbidden, invalid, not_supported, required
from netlab.api.validation.gofmt import GoSyntax, quote
from netlab.api.validation.meta import each, labels, metadata, metadata_update
from netlab.api.validation.service_addresses import (
    cluster_ips,
    cluster_ips_update,
    families_update,
    is_headless,
)

_SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_TOPOLOGY_HINTS = "service.kubernetes.io/topology-aware-hints"
_TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
_ONLY_LOAD_BALANCER = "may only be used when `type` is 'LoadBalancer'"
_MAX_AFFINITY_SECONDS = 86400


def create(service: Obj) -> list[FieldError]:
    """`ValidateServiceCreate`; what the address allocator refuses comes before, and alone, as upstream calls it."""
    return _service(service)


def update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidateServiceUpdate`."""
    found = metadata_update(new, old) + cluster_ips_update(new, old) + families_update(new, old)
    after, before = new["spec"], old["spec"]
    if after.get("type") == before.get("type") == "LoadBalancer":
        given = after.get("loadBalancerClass")
        if given != before.get("loadBalancerClass"):
            found.append(invalid("spec.loadBalancerClass", given, "may not change once set"))
    found += _load_balancer_class(after)
    port = "healthCheckNodePort"
    if _needs_health_check(before) and _needs_health_check(after) and after.get(port, 0) != before.get(port, 0):
        found.append(forbidden(f"spec.{port}", "field is immutable"))
    return found + _service(new)


def status_update(new: Obj, old: Obj) -> list[FieldError]:
    """`ValidateServiceStatusUpdate`."""
    found = metadata_update(new, old)
    ingress = new["status"]["loadBalancer"].get("ingress") or []
    field = "status.loadBalancer.ingress"
    if ingress and new["spec"].get("type") != "LoadBalancer":
        return [*found, forbidden(field, "may only be used when `spec.type` is 'LoadBalancer'")]
    for index, one in enumerate(ingress):
        found += _ingress_point(one, f"{field}[{index}]")
    return found


def _ingress_point(one: Obj, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    address, mode, host = one.get("ip", ""), one.get("ipMode"), one.get("hostname", "")
    if address:
        found += addresses.valid_ip(address, f"{field}.ip")
    if mode is None:
        if address:
            found.append(required(f"{field}.ipMode", "must be specified when `ip` is set"))
    elif not address:
        found.append(forbidden(f"{field}.ipMode", "may not be specified when `ip` is not set"))
    elif mode not in ("Proxy", "VIP"):
        found.append(not_supported(f"{field}.ipMode", mode, ("Proxy", "VIP")))
    if host:
        found += each(f"{field}.hostname", host, names.dns_subdomain(host))
        if addresses.parse_ip(host) is not None:
            found.append(invalid(f"{field}.hostname", host, "must be a DNS name, not an IP address"))
    return found


def _service(service: Obj) -> list[FieldError]:
    """`ValidateService`."""
    spec = service["spec"]
    ports, kind = spec.get("ports") or [], spec.get("type", "")
    found = metadata(service, True, names.label_1035_name)
    found += _topology_annotations(service["metadata"].get("annotations") or {})
    if not ports and not is_headless(service) and kind != "ExternalName":
        found.append(required("spec.ports"))
    found += _by_type(service, kind)
    seen: set[str] = set()
    for index, port in enumerate(ports):
        found += _port(port, len(ports) > 1, seen, f"spec.ports[{index}]")
    found += labels(spec.get("selector"), "spec.selector")
    found += _affinity(spec)
    found += cluster_ips(service)
    found += _external_ips(spec)
    found += _type(kind)
    found += _port_pairs(ports, kind)
    found += _source_ranges(service, kind)
    if "allocateLoadBalancerNodePorts" in spec and kind != "LoadBalancer":
        found.append(forbidden("spec.allocateLoadBalancerNodePorts", _ONLY_LOAD_BALANCER))
    if kind == "LoadBalancer" and "allocateLoadBalancerNodePorts" not in spec:
        found.append(required("allocateLoadBalancerNodePorts"))
    return found + _load_balancer_class(spec) + _traffic_policies(spec)


def _topology_annotations(annotations: dict[str, str]) -> list[FieldError]:
    mode, hints = annotations.get(_TOPOLOGY_MODE), annotations.get(_TOPOLOGY_HINTS)
    if mode is None or hints is None or mode == hints:
        return []
    detail = f"must match annotations[{_TOPOLOGY_HINTS}] when both are specified"
    return [invalid(f"metadata.annotations[{_TOPOLOGY_MODE}]", mode, detail)]


def _by_type(service: Obj, kind: str) -> list[FieldError]:
    spec = service["spec"]
    if kind in ("LoadBalancer", "NodePort"):
        if is_headless(service):
            detail = f"may not be set to 'None' for {kind} services"
            return [invalid("spec.clusterIPs[0]", spec["clusterIPs"][0], detail)]
        return []
    if kind != "ExternalName":
        return []
    keys = [key for key in ("clusterIPs", "ipFamilies", "ipFamilyPolicy") if spec.get(key)]
    found = [forbidden(f"spec.{key}", "may not be set for ExternalName services") for key in keys]
    name = spec.get("externalName", "").removesuffix(".")
    if not name:
        return [*found, required("spec.externalName")]
    return found + each("spec.externalName", name, names.dns_subdomain(name))


def _port(port: Obj, need_name: bool, seen: set[str], field: str) -> list[FieldError]:
    name, number = port.get("name", ""), port.get("port", 0)
    found: list[FieldError] = []
    if need_name and not name:
        found.append(required(f"{field}.name"))
    elif name:
        found += each(f"{field}.name", name, names.dns_label(name))
        if name in seen:
            found.append(duplicate(f"{field}.name", name))
        seen.add(name)
    found += each(f"{field}.port", number, names.port_number(number))
    found += protocol(port.get("protocol", ""), f"{field}.protocol")
    found += port_number_or_name(port.get("targetPort", 0), f"{field}.targetPort")
    if "appProtocol" in port:
        found += each(f"{field}.appProtocol", port["appProtocol"], names.qualified_name(port["appProtocol"]))
    return found


def _affinity(spec: Obj) -> list[FieldError]:
    given, config = spec.get("sessionAffinity", ""), spec.get("sessionAffinityConfig")
    field = "spec.sessionAffinityConfig"
    if not given:
        return [required("spec.sessionAffinity")]
    if given not in ("ClientIP", "None"):
        return [not_supported("spec.sessionAffinity", given, ("ClientIP", "None"))]
    if given == "None":
        detail = "must not be set when session affinity is None"
        return [forbidden(field, detail)] if config is not None else []
    for path in ("", ".clientIP", ".clientIP.timeoutSeconds"):
        value = config
        for key in path.split(".")[1:]:
            value = (value or {}).get(key)
        if value is None:
            return [required(f"{field}{path}", "when session affinity type is ClientIP")]
    seconds = (config or {})["clientIP"]["timeoutSeconds"]
    if 0 < seconds <= _MAX_AFFINITY_SECONDS:
        return []
    detail = f"must be greater than 0 and less than {_MAX_AFFINITY_SECONDS}"
    return [invalid(f"{field}.clientIP.timeoutSeconds", seconds, detail)]


def _external_ips(spec: Obj) -> list[FieldError]:
    found: list[FieldError] = []
    for index, one in enumerate(spec.get("externalIPs") or ()):
        field = f"spec.externalIPs[{index}]"
        found += addresses.valid_ip(one, field) or addresses.not_special(one, field)
    return found


def _type(kind: str) -> list[FieldError]:
    allowed = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    if not kind:
        return [required("spec.type")]
    return [] if kind in allowed else [not_supported("spec.type", kind, allowed)]


def _port_pairs(ports: list[Obj], kind: str) -> list[FieldError]:
    """Node ports where they belong, and no (protocol, port) twice."""
    found: list[FieldError] = []
    for index, port in enumerate(ports):
        if kind == "ClusterIP" and port.get("nodePort"):
            found.append(forbidden(f"spec.ports[{index}].nodePort", "may not be used when `type` is 'ClusterIP'"))
    seen: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        pair = (port.get("protocol", ""), port.get("nodePort", 0))
        if pair[1] and pair in seen:
            found.append(duplicate(f"spec.ports[{index}].nodePort", pair[1]))
        seen.add(pair)
    seen = set()
    for index, port in enumerate(ports):
        pair = (port.get("protocol", ""), port.get("port", 0))
        if pair in seen:
            shown = (
                f'core.ServicePort{{Name:"", Protocol:{quote(pair[0])}, AppProtocol:(*string)(nil), Port:{pair[1]}, '
                'TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:""}, NodePort:0}'
            )
            found.append(duplicate(f"spec.ports[{index}]", GoSyntax(shown)))
        seen.add(pair)
    return found


def _source_ranges(service: Obj, kind: str) -> list[FieldError]:
    ranges = service["spec"].get("loadBalancerSourceRanges") or []
    annotation = (service["metadata"].get("annotations") or {}).get(_SOURCE_RANGES)
    found: list[FieldError] = []
    if ranges:
        field = "spec.LoadBalancerSourceRanges"
        if kind != "LoadBalancer":
            found.append(forbidden(field, _ONLY_LOAD_BALANCER))
        for index, one in enumerate(ranges):
            found += addresses.valid_cidr(one.strip(), f"{field}[{index}]")
    elif annotation is not None:
        field = f"metadata.annotations[{_SOURCE_RANGES}]"
        if kind != "LoadBalancer":
            found.append(forbidden(field, _ONLY_LOAD_BALANCER))
        for one in annotation.strip().split(",") if annotation.strip() else ():
            found += addresses.valid_cidr(one.strip(), field)
    return found


def _load_balancer_class(spec: Obj) -> list[FieldError]:
    name = spec.get("loadBalancerClass")
    if name is None:
        return []
    if spec.get("type") != "LoadBalancer":
        return [forbidden("spec.loadBalancerClass", _ONLY_LOAD_BALANCER)]
    return each("spec.loadBalancerClass", name, names.qualified_name(name))


def _externally_accessible(spec: Obj) -> bool:
    external = spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs"))
    return spec.get("type") in ("LoadBalancer", "NodePort") or external


def _needs_health_check(spec: Obj) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _traffic_policies(spec: Obj) -> list[FieldError]:
    found: list[FieldError] = []
    policy, port = spec.get("externalTrafficPolicy", ""), spec.get("healthCheckNodePort", 0)
    field = "spec.externalTrafficPolicy"
    if not _externally_accessible(spec):
        if policy:
            found.append(invalid(field, policy, "may only be set for externally-accessible services"))
    elif not policy:
        found.append(required(field))
    elif policy not in ("Cluster", "Local"):
        found.append(not_supported(field, policy, ("Cluster", "Local")))
    field = "spec.healthCheckNodePort"
    if not _needs_health_check(spec):
        if port:
            detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
            found.append(invalid(field, port, detail))
    else:
        found += each(field, port, names.port_number(port)) if port else [required(field)]
    internal = spec.get("internalTrafficPolicy")
    if internal is None:
        if spec.get("type") in ("NodePort", "LoadBalancer", "ClusterIP"):
            found.append(required("spec.internalTrafficPolicy"))
    elif internal not in ("Cluster", "Local"):
        found.append(not_supported("spec.internalTrafficPolicy", internal, ("Cluster", "Local")))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution != "PreferClose":
        found.append(not_supported("spec.trafficDistribution", distribution, ("PreferClose",)))
    return found


RULES = {"Service": Rules(create, update, status_update)}
