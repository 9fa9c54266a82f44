"""From Service and EndpointSlice objects to service ports and endpoints of one family. Pure.

Follows upstream's `pkg/proxy/serviceport.go` and `endpointslicecache.go`: what is not for a proxy (headless Services,
ExternalName, those of another proxy) gives nothing; addresses of the other family are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from netlab.api.types import Obj
from netlab.dataplane.services.model import Endpoint, Family, Protocol, ServicePort, ServicePortName

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
DEFAULT_AFFINITY_SECONDS = 10800

SELECTOR = f"!{PROXY_NAME_LABEL},!{HEADLESS_LABEL}"
"""The label selector with which a proxy watches Services and EndpointSlices."""


def family_of(address: str) -> Family:
    """By its notation; nothing is validated."""
    return "IPv6" if ":" in address else "IPv4"


def service_ports(service: Obj, family: Family) -> tuple[ServicePort, ...]:
    """The ports that a proxy of that family must serve; none for Services that are not its business."""
    spec: Obj = service.get("spec") or {}
    meta: Obj = service["metadata"]
    cluster_ip = _cluster_ip(spec, family)
    if cluster_ip is None or spec.get("type") == "ExternalName" or PROXY_NAME_LABEL in (meta.get("labels") or {}):
        return ()
    common = _common(service, spec, family)
    return tuple(
        ServicePort(
            name=ServicePortName(
                meta.get("namespace") or "default", meta["name"], port.get("name") or "", _protocol(port)
            ),
            cluster_ip=cluster_ip,
            port=int(port["port"]),
            node_port=int(port.get("nodePort") or 0),
            family=family,
            **common,
        )
        for port in spec.get("ports") or ()
    )


def _common(service: Obj, spec: Obj, family: Family) -> dict[str, Any]:
    """What all ports of a Service share."""
    kind = spec.get("type") or "ClusterIP"
    external_ips = tuple(ip for ip in spec.get("externalIPs") or () if family_of(ip) == family)
    accessible = kind in ("NodePort", "LoadBalancer") or bool(spec.get("externalIPs"))
    external_local = accessible and spec.get("externalTrafficPolicy") == "Local"
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    vips = tuple(
        entry["ip"]
        for entry in ingress
        if entry.get("ip") and family_of(entry["ip"]) == family and (entry.get("ipMode") or "VIP") == "VIP"
    )
    affinity = None
    if spec.get("sessionAffinity") == "ClientIP":
        client_ip = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        affinity = int(client_ip.get("timeoutSeconds") or DEFAULT_AFFINITY_SECONDS)
    return {
        "external_ips": external_ips,
        "load_balancer_ips": vips,
        "source_ranges": _ranges(spec.get("loadBalancerSourceRanges") or (), family),
        "affinity_seconds": affinity,
        "internal_local": spec.get("internalTrafficPolicy") == "Local",
        "external_local": external_local,
        "health_check_node_port": int(spec.get("healthCheckNodePort") or 0)
        if kind == "LoadBalancer" and external_local
        else 0,
    }


def _cluster_ip(spec: Obj, family: Family) -> str | None:
    for address in spec.get("clusterIPs") or [spec.get("clusterIP") or ""]:
        if address and address != "None" and family_of(address) == family:
            return str(address)
    return None


def _protocol(port: Obj) -> Protocol:
    protocol: Protocol = port.get("protocol") or "TCP"
    return protocol


def _ranges(texts: Iterable[str], family: Family) -> tuple[str, ...]:
    ranges: list[str] = []
    for text in texts:
        try:
            network = ip_network(text.strip(), strict=False)
        except ValueError:
            continue
        if family_of(str(network)) == family:
            ranges.append(str(network))
    return tuple(ranges)


def slice_service(endpoint_slice: Obj) -> str | None:
    """`namespace/name` of the Service that an EndpointSlice belongs to, None where it says none."""
    meta: Obj = endpoint_slice["metadata"]
    labels = meta.get("labels") or {}
    name = labels.get(SERVICE_NAME_LABEL)
    if not name or HEADLESS_LABEL in labels or PROXY_NAME_LABEL in labels:
        return None
    return f"{meta.get('namespace') or 'default'}/{name}"


def endpoints(
    slices: Iterable[Obj], family: Family, node_name: str
) -> Mapping[tuple[str, Protocol], tuple[Endpoint, ...]]:
    """The endpoints of one Service by (port name, protocol), from all its EndpointSlices, in upstream's order.

    The same address in two slices (while one is moved to another) counts once, and as local if either says so.
    """
    found: dict[tuple[str, Protocol], dict[str, Endpoint]] = {}
    for endpoint_slice in slices:
        if endpoint_slice.get("addressType") != family:
            continue
        for port in endpoint_slice.get("ports") or ():
            if not port.get("port"):
                continue
            by_address = found.setdefault((port.get("name") or "", _protocol(port)), {})
            for item in endpoint_slice.get("endpoints") or ():
                endpoint = _endpoint(item, int(port["port"]), node_name)
                if endpoint is not None and (str(endpoint) not in by_address or endpoint.local):
                    by_address[str(endpoint)] = endpoint
    return {name: tuple(by_address[key] for key in sorted(by_address)) for name, by_address in found.items()}


def _endpoint(item: Obj, port: int, node_name: str) -> Endpoint | None:
    """None conditions read as upstream does: ready and serving unless denied, terminating only if said."""
    addresses = item.get("addresses") or ()
    if not addresses:
        return None
    conditions = item.get("conditions") or {}
    hints = item.get("hints") or {}
    node = item.get("nodeName")
    return Endpoint(
        ip=str(addresses[0]),
        port=port,
        node=node,
        local=node is not None and node == node_name,
        ready=conditions.get("ready") is not False,
        serving=conditions.get("serving") is not False,
        terminating=conditions.get("terminating") is True,
        zone_hints=frozenset(hint["name"] for hint in hints.get("forZones") or ()),
        node_hints=frozenset(hint["name"] for hint in hints.get("forNodes") or ()),
    )


def in_range(address: str, network: str) -> bool:
    """Whether an address lies in a CIDR; False across families, and for an address that is not known yet ("")."""
    if not address:
        return False
    parsed, cidr = ip_address(address), ip_network(network, strict=False)
    return parsed.version == cidr.version and parsed in cidr
