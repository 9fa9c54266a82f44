"""From Service and EndpointSlice objects to service ports and endpoints of one family. Pure.

Follows upstream's `pkg/proxy/serviceport.go` and `endpointslicecache.go`: what is not for a proxy (headless Services,
ExternalName, those of another proxy) gives nothing; addresses of the other family are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from operator import itemgetter
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
    result = {}
    for name, candidates in _candidates(list(slices), family).items():
        chosen: dict[str, Endpoint] = {}
        for text, endpoint in candidates:
            if endpoint.node is not None and endpoint.node == node_name:
                chosen[text] = endpoint.here()
            elif text not in chosen:
                chosen[text] = endpoint
        result[name] = tuple(chosen.values())
    return result


Candidates = Mapping[tuple[str, Protocol], Sequence[tuple[str, Endpoint]]]

REMEMBERED_FROM, REMEMBERED = 64, 8
_remembered: dict[tuple[object, ...], tuple[list[Obj], Candidates]] = {}
"""What the last large sets of slices hold, by identity: the nodes of one process are given the same objects, which
nobody changes. The entries keep the slices alive."""


def _candidates(slices: list[Obj], family: Family) -> Candidates:
    """All endpoints as no node's own, in order of their text."""
    if sum(len(one.get("endpoints") or ()) for one in slices) < REMEMBERED_FROM:
        return _read_slices(slices, family)
    key = (family, *map(id, slices))
    known = _remembered.get(key)
    if known is None:
        known = (slices, _read_slices(slices, family))
        if len(_remembered) >= REMEMBERED:
            del _remembered[next(iter(_remembered))]
        _remembered[key] = known
    return known[1]


def _read_slices(slices: Iterable[Obj], family: Family) -> Candidates:
    found: dict[tuple[str, Protocol], list[tuple[str, Endpoint]]] = {}
    for endpoint_slice in slices:
        if endpoint_slice.get("addressType") != family:
            continue
        for port in endpoint_slice.get("ports") or ():
            if not port.get("port"):
                continue
            group = found.setdefault((port.get("name") or "", _protocol(port)), [])
            for item in endpoint_slice.get("endpoints") or ():
                endpoint = _endpoint(item, int(port["port"]))
                if endpoint is not None:
                    group.append((str(endpoint), endpoint))
    return {name: sorted(group, key=itemgetter(0)) for name, group in found.items()}


def _endpoint(item: Obj, port: int) -> Endpoint | None:
    """None conditions read as upstream does: ready and serving unless denied, terminating only if said."""
    addresses = item.get("addresses") or ()
    if not addresses:
        return None
    conditions = item.get("conditions") or {}
    hints = item.get("hints") or {}
    return Endpoint(
        ip=str(addresses[0]),
        port=port,
        node=item.get("nodeName"),
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
