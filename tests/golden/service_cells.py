"""Every kind of Service × policy × endpoints × family, and where its first packets must go, for all back ends.

The expectation is written from the documented meaning of the fields, not from anyone's rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from netlab.dataplane.services import Endpoint, Family, NodeView, ServicePort, ServicePortName, ServiceState, choose

Cell = tuple[Family, str, str, str, str]
"""Family, kind of Service, internal policy, external policy, where the endpoints are."""

V4 = {
    "pods": "10.244.0.0/16", "pod": "10.244.0.9", "node": "192.168.0.2", "outside": "203.0.113.50",
    "near": "198.51.100.7", "cluster": "10.96.0.20", "external": "203.0.113.9", "balancer": "203.0.113.10",
    "here": "10.244.0.11", "there": "10.244.1.12", "ranges": "198.51.100.0/24",
}  # fmt: skip
V6 = {
    "pods": "fd10:244::/56", "pod": "fd10:244::9", "node": "fd00::2", "outside": "2001:db8:1::50",
    "near": "2001:db8:2::7", "cluster": "fd96::20", "external": "2001:db8:3::9", "balancer": "2001:db8:3::10",
    "here": "fd10:244::11", "there": "fd10:244:0:1::12", "ranges": "2001:db8:2::/48",
}  # fmt: skip
PLACES = {"IPv4": V4, "IPv6": V6}
NODE_PORT, PORT = 30080, 80

FAMILIES: tuple[Family, ...] = ("IPv4", "IPv6")
KINDS = ("ClusterIP", "NodePort", "ExternalIP", "LoadBalancer", "LoadBalancer with ranges")
POLICIES = ("Cluster", "Local")
ENDPOINTS = ("none", "there", "here", "both")
CALLERS = ("pod", "node", "outside", "near")
ADDRESSES = ("cluster", "node port", "external", "balancer")


@dataclass(frozen=True)
class Outcome:
    """`reaches` are the endpoints ("here", "there") that can be chosen; without any, why not."""

    reaches: frozenset[str]
    masqueraded: bool = False
    otherwise: str = ""


def state_of(cell: Cell) -> ServiceState:
    """The Service of a cell as node "here" sees it."""
    family, kind, internal, external, endpoints = cell
    places = PLACES[family]
    balanced = kind.startswith("LoadBalancer")
    port = ServicePort(
        ServicePortName("ns", "svc", "http", "TCP"),
        places["cluster"],
        PORT,
        node_port=NODE_PORT if kind == "NodePort" or balanced else 0,
        external_ips=(places["external"],) if kind == "ExternalIP" else (),
        load_balancer_ips=(places["balancer"],) if balanced else (),
        source_ranges=(places["ranges"],) if kind.endswith("ranges") else (),
        internal_local=internal == "Local",
        external_local=external == "Local" and kind != "ClusterIP",
        family=family,
    )
    which = {"none": (), "both": ("here", "there")}.get(endpoints, (endpoints,))
    found = [Endpoint(places[name], 8080, name, local=name == "here") for name in which]
    return ServiceState(port, tuple(found), choose(port, found, NodeView("here")))


def addresses_of(kind: str) -> tuple[str, ...]:
    return {
        "ClusterIP": ("cluster",),
        "NodePort": ("cluster", "node port"),
        "ExternalIP": ("cluster", "external"),
    }.get(kind, ("cluster", "node port", "balancer"))


def where(places: dict[str, str], address: str) -> tuple[str, int]:
    """Destination and port of an address of the Service."""
    return (places["node"], NODE_PORT) if address == "node port" else (places[address], PORT)


def expected(kind: str, internal: str, external: str, endpoints: str, caller: str, address: str) -> Outcome:
    """From Kubernetes' documentation of traffic policies and source ranges."""
    every = {"none": frozenset[str](), "both": frozenset({"here", "there"})}.get(endpoints, frozenset({endpoints}))
    if not every:
        # What a node itself sends to an external address leaves it: upstream refuses that in FORWARD and INPUT only.
        leaves = caller == "node" and address in ("external", "balancer")
        return Outcome(every, otherwise="nothing" if leaves else "REJECT")
    if address == "cluster":
        reaches = every & {"here"} if internal == "Local" else every
        return Outcome(reaches, caller != "pod", "DROP") if reaches else Outcome(reaches, otherwise="DROP")
    if address == "balancer" and kind.endswith("ranges") and caller != "near":
        return Outcome(frozenset(), otherwise="DROP")
    if external == "Local" and caller in ("outside", "near"):
        reaches = every & {"here"}
        return Outcome(reaches, False, "DROP") if reaches else Outcome(reaches, otherwise="DROP")
    return Outcome(every, external == "Cluster" or caller == "node", "DROP")


def expected_ipvs(kind: str, internal: str, external: str, endpoints: str, caller: str, address: str) -> Outcome:
    """Where IPVS mode differs, as upstream's documents and issues have it: a virtual server is the same for whoever
    calls; under policy Local without a local endpoint it has all endpoints, or, where nothing but the cluster IP leads
    to the Service, none; without endpoints IPVS refuses by itself, also the node's own calls."""
    common = expected(kind, internal, external, endpoints, caller, address)
    if caller == "node" and endpoints == "none":
        return Outcome(frozenset(), otherwise="REJECT")
    if address == "balancer" and kind.endswith("ranges") and caller != "near":
        return Outcome(frozenset(), otherwise="DROP")
    every = {"none": frozenset[str](), "both": frozenset({"here", "there"})}.get(endpoints, frozenset({endpoints}))
    local = external == "Local" if address != "cluster" else internal == "Local"
    if not local:
        return common if every else Outcome(every, otherwise="REJECT")
    reaches = every & {"here"} or every
    if address == "cluster" and kind == "ClusterIP":
        reaches = every & {"here"}
    if not reaches:
        return Outcome(reaches, otherwise="REJECT")
    return Outcome(reaches, address == "cluster" and caller != "pod")


CELLS = [
    (family, kind, internal, external, endpoints)
    for family, kind, internal, external, endpoints in product(FAMILIES, KINDS, POLICIES, POLICIES, ENDPOINTS)
    if not (kind == "ClusterIP" and external == "Local")
]
