"""Services and what serves them: Service, Endpoints, EndpointSlice, Ingress, NetworkPolicy, IPAddress, ServiceCIDR."""

from __future__ import annotations

from typing import Any

from netlab.api import meta
from netlab.api.tables import human
from netlab.api.tables.human import text
from netlab.api.tables.model import AGE, NAME, SELECTOR, Printer, string
from netlab.api.types import Obj


def _ingress_points(obj: Obj) -> list[str]:
    points = meta.get(obj, "status", "loadBalancer", "ingress", default=[])
    return sorted({p.get("ip") or p.get("hostname") for p in points if p.get("ip") or p.get("hostname")})


def _external_ip(obj: Obj) -> str:
    spec = obj.get("spec") or {}
    external = spec.get("externalIPs") or []
    match spec.get("type"):
        case "ClusterIP" | "NodePort":
            return human.comma(external) or human.NONE
        case "LoadBalancer":
            return human.comma([*_ingress_points(obj), *external]) or "<pending>"
        case "ExternalName":
            return str(spec.get("externalName") or "")
    return human.UNKNOWN


def _port(port: Obj) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port', 0)}{node_port}/{port.get('protocol', 'TCP')}"


def _service(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    return [
        meta.name(obj),
        spec.get("type") or "",
        meta.get(spec, "clusterIPs", 0, default="") or spec.get("clusterIP") or human.NONE,
        _external_ip(obj),
        ",".join(map(_port, spec.get("ports") or ())) or human.NONE,
        human.age(obj, now),
        human.format_labels(spec.get("selector")),
    ]


SERVICE = Printer(
    (
        NAME,
        string("Type", "How the Service is exposed."),
        string("Cluster-IP", "The address of the Service inside the cluster."),
        string("External-IP", "Addresses at which it is reached from outside."),
        string("Port(s)", "Ports, and node ports where there are any."),
        AGE,
        SELECTOR,
    ),
    _service,
)


def _join(ip: str, port: Any) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _endpoints(obj: Obj, now: float) -> list[Any]:
    subsets = obj.get("subsets") or []
    found: list[str] = []
    for subset in subsets:
        ips = [address.get("ip", "") for address in subset.get("addresses") or ()]
        ports = subset.get("ports") or []
        if not ports:
            found += ips
        for port in ports:
            found += [_join(ip, port.get("port", 0)) for ip in ips]
    return [meta.name(obj), human.with_more(found) if subsets else human.NONE, human.age(obj, now)]


ENDPOINTS = Printer((NAME, string("Endpoints", "Addresses and ports of the ready endpoints."), AGE), _endpoints)


def _slice_port(port: Obj) -> str:
    number = port.get("port")
    if number is not None:
        return str(number)
    name = port.get("name")
    return "*" if name is None else str(name)


def _endpoint_slice(obj: Obj, now: float) -> list[Any]:
    addresses = [a for endpoint in obj.get("endpoints") or () for a in endpoint.get("addresses") or ()]
    return [
        meta.name(obj),
        obj.get("addressType") or "",
        human.with_more([_slice_port(port) for port in obj.get("ports") or ()]) or human.UNSET,
        human.with_more(addresses) or human.UNSET,
        human.age(obj, now),
    ]


ENDPOINT_SLICE = Printer(
    (
        NAME,
        string("AddressType", "IPv4, IPv6 or FQDN."),
        string("Ports", "Ports of the endpoints."),
        string("Endpoints", "Addresses of the endpoints."),
        AGE,
    ),
    _endpoint_slice,
)


def _hosts(rules: list[Obj]) -> str:
    listed: list[str] = []
    more = False
    for rule in rules:
        more = more or len(listed) == 3
        if not more and rule.get("host"):
            listed.append(rule["host"])
    if not listed:
        return "*"
    return f"{','.join(listed)} + {len(rules) - 3} more..." if more else ",".join(listed)


def _ingress(obj: Obj, now: float) -> list[Any]:
    return [
        meta.name(obj),
        text(obj, "spec", "ingressClassName", default=human.NONE),
        _hosts(meta.get(obj, "spec", "rules", default=[])),
        ",".join(_ingress_points(obj)),
        "80, 443" if meta.get(obj, "spec", "tls") else "80",
        human.age(obj, now),
    ]


INGRESS = Printer(
    (
        NAME,
        string("Class", "The name of the IngressClass resource that should be used for additional configuration"),
        string("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
        string("Address", "Address is a list containing ingress points for the load-balancer"),
        string("Ports", "Ports of TLS configurations that open"),
        AGE,
    ),
    _ingress,
)


def _ingress_class(obj: Obj, now: float) -> list[Any]:
    parameters = meta.get(obj, "spec", "parameters")
    shown = human.NONE
    if parameters:
        group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") is not None else ""
        shown = f"{parameters.get('kind', '')}{group}/{parameters.get('name', '')}"
    return [meta.name(obj), text(obj, "spec", "controller"), shown, human.age(obj, now)]


INGRESS_CLASS = Printer(
    (
        NAME,
        string("Controller", "Controller that is responsible for handling matching ingresses"),
        string("Parameters", "A reference to a resource with additional parameters"),
        AGE,
    ),
    _ingress_class,
)


def _network_policy(obj: Obj, now: float) -> list[Any]:
    return [
        meta.name(obj),
        human.format_selector(meta.get(obj, "spec", "podSelector", default={})),
        human.age(obj, now),
    ]


NETWORK_POLICY = Printer((NAME, string("Pod-Selector", "The pods that it applies to."), AGE), _network_policy)


def _ip_address(obj: Obj, now: float) -> list[Any]:
    parent = meta.get(obj, "spec", "parentRef")
    shown = human.NONE
    if parent:
        group = f".{parent['group']}" if parent.get("group") else ""
        parts = (f"{parent.get('resource', '')}{group}", parent.get("namespace"), parent.get("name"))
        shown = "/".join(part for part in parts if part)
    return [meta.name(obj), shown]


IP_ADDRESS = Printer((NAME, string("ParentRef", "The resource that the address belongs to.")), _ip_address)


def _service_cidr(obj: Obj, now: float) -> list[Any]:
    return [meta.name(obj), human.comma(meta.get(obj, "spec", "cidrs", default=[])), human.age(obj, now)]


SERVICE_CIDR = Printer((NAME, string("CIDRs", "Ranges from which Services get addresses."), AGE), _service_cidr)
