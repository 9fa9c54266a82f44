"""The signature table: every caller × address × policy × protocol × endpoints, and what the typed rules say of it.

The Services are one product; the expectation of a row is walked through the typed rules of the nodes on its way
(netlab.dataplane.explain), with what is not a proxy's (routes, Flannel's masquerading) added by rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import product
from typing import Any

from netlab.api.types import Obj
from netlab.dataplane.explain import Caller
from netlab.dataplane.explain.desired import Node, material, states
from netlab.dataplane.explain.model import Packet
from netlab.dataplane.explain.service import Material, Mode
from tests.kernel.signature_net import CLUSTER_CIDR, HOSTS, NODES, SERVERS, SOURCES, Source
from tests.kernel.signature_probes import NOTHING, REFUSED, Answer

POLICIES = ("Cluster", "Local")
PROTOCOLS = ("TCP", "UDP")
PORT = 80
SERVING = {"serving": True, "terminating": False}
ENDPOINTS: dict[str, dict[str, dict[str, bool]]] = {
    "ready": {name: {"ready": True, **SERVING} for name in ("one", "far")},
    "none": {},
    "only remote": {"far": {"ready": True, **SERVING}},
    "only terminating": {name: {"ready": False, "serving": True, "terminating": True} for name in ("two", "far")},
    "some terminating": {
        "two": {"ready": False, "serving": True, "terminating": True},
        "far": {"ready": True, **SERVING},
    },
}
KINDS = ("everything", "everything with ranges", "ClusterIP")
"""`everything` is a Service with cluster IP, node port, external IP and load balancer IP."""


@dataclass(frozen=True)
class Shape:
    """One Service of the product, and its addresses."""

    kind: str
    internal: str
    external: str
    endpoints: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind}, internal {self.internal}, external {self.external}, {self.endpoints}"

    @property
    def name(self) -> str:
        return f"svc{self.number}"

    @property
    def node_port(self) -> int:
        return 30000 + self.number

    def addresses(self) -> dict[str, tuple[str, int]]:
        """By name: address and port."""
        cluster = {"cluster IP": (f"10.96.1.{self.number}", PORT)}
        if self.kind == "ClusterIP":
            return cluster
        return {
            **cluster,
            "node port": (NODES["here"].ip, self.node_port),
            "other node's port": (NODES["there"].ip, self.node_port),
            "node port on docker0": (NODES["here"].gateway, self.node_port),
            "external IP": (f"203.0.113.{self.number}", PORT),
            "load balancer IP": (f"198.51.100.{self.number}", PORT),
        }


SHAPES = [
    Shape(*cell, number)
    for number, cell in enumerate(
        [
            cell
            for cell in product(KINDS, POLICIES, POLICIES, ENDPOINTS)
            if cell[0] != "ClusterIP" or cell[2] == "Cluster"  # it has no external policy
        ],
        1,
    )
]


def objects(shapes: Sequence[Shape | None] = SHAPES) -> tuple[list[Obj], list[Obj]]:
    """Services and EndpointSlices."""
    found = [shape for shape in shapes if shape is not None]
    return [_service(shape) for shape in found], [_slice(shape) for shape in found if ENDPOINTS[shape.endpoints]]


def _service(shape: Shape) -> Obj:
    addresses = shape.addresses()
    full = shape.kind != "ClusterIP"
    ports = [
        {
            "name": protocol.lower(),
            "port": PORT,
            "protocol": protocol,
            **({"nodePort": shape.node_port} if full else {}),
        }
        for protocol in PROTOCOLS
    ]
    spec: dict[str, Any] = {
        "type": "LoadBalancer" if full else "ClusterIP",
        "clusterIP": addresses["cluster IP"][0],
        "internalTrafficPolicy": shape.internal,
        "ports": ports,
    }
    status: Obj = {}
    if full:
        spec |= {"externalTrafficPolicy": shape.external, "externalIPs": [addresses["external IP"][0]]}
        status = {"loadBalancer": {"ingress": [{"ip": addresses["load balancer IP"][0]}]}}
    if shape.kind.endswith("ranges"):
        spec["loadBalancerSourceRanges"] = [f"{HOSTS['near']}/32"]
    meta = {"namespace": "default", "name": shape.name}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec, "status": status}


def _slice(shape: Shape) -> Obj:
    labels = {"kubernetes.io/service-name": shape.name}
    endpoints = [
        {"addresses": [SERVERS[name]], "nodeName": _home(SERVERS[name]), "conditions": conditions}
        for name, conditions in ENDPOINTS[shape.endpoints].items()
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": "default", "name": f"{shape.name}-1", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": protocol.lower(), "port": 8080, "protocol": protocol} for protocol in PROTOCOLS],
        "endpoints": endpoints,
    }


def _home(pod: str) -> str:
    return next(name for name, place in NODES.items() if place.holds(pod))


# -- rows and what they expect ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One flow; `shape` is the Service that it is to, None where it goes to an endpoint itself."""

    shape: Shape | None
    what: str
    source: Source
    protocol: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.what}: {self.source.name} calls {self.address}:{self.port}/{self.protocol}"


def rows() -> Iterator[Row]:
    for shape, source, protocol in product(SHAPES, SOURCES, PROTOCOLS):
        for kind, (address, port) in shape.addresses().items():
            # A remote pod's call to docker0 keeps its address, and the endpoint beside it would answer it directly.
            if kind == "node port on docker0" and source.name not in ("pod", "one", "here"):
                continue
            yield Row(shape, f"{shape}, {kind}", source, protocol, address, port)
    for source, protocol, (name, address) in product(SOURCES, PROTOCOLS, SERVERS.items()):
        yield Row(None, f"headless, {name}", source, protocol, address, 8080)


Rules = Mapping[Shape | None, Mapping[str, Material]]
"""By Service and node. Each Service's rules stand alone: that the others' do not interfere is part of the claim."""


def materials(mode: Mode) -> Rules:
    """The typed rules."""
    return {shape: {name: _material(mode, shape, name) for name in NODES} for shape in (None, *SHAPES)}


def _material(mode: Mode, shape: Shape | None, name: str) -> Material:
    place = NODES[name]
    node = Node(name, place.ip, (place.ip, place.gateway), CLUSTER_CIDR)
    return material(mode, states(*objects([shape]), node), node)


def expected(row: Row, rules: Rules) -> frozenset[Answer]:
    """All answers that the row may have; REFUSED or NOTHING is then the only one."""
    first = row.source.node
    if row.source.origin == "outside":  # it reaches the nodes directly, everything else by way of "here"
        first = next((name for name, place in NODES.items() if place.ip == row.address), first)
    address = row.source.address_to(row.address)
    mine = rules[row.shape]
    if row.source.origin == "node" and row.address in mine[first].world.local - set(_own(first)):
        address = row.address  # on kube-ipvs0: it is the node's own, and so the source of what the node sends there
    return frozenset(_answers(row, mine, first, Caller(row.source.origin, address)))


def _answers(row: Row, rules: Mapping[str, Material], node: str, caller: Caller) -> Iterator[Answer]:
    walk = rules[node].walk(Packet(caller, row.address, row.port, row.protocol.lower()))
    for ending in walk.endings:
        if ending.verdict == "endpoint":
            pod = ending.endpoint.rpartition(":")[0]
            hairpin = rules[node].mode == "ipvs" and pod == caller.address  # KUBE-LOOP-BACK, behind the choice
            yield _server(pod), seen(node, caller.address, pod, ending.masqueraded or hairpin)
        elif ending.verdict == "reject":
            yield REFUSED, ""
        elif ending.verdict == "drop":
            yield NOTHING, ""
        else:
            yield from _onward(row, rules, node, seen(node, caller.address, row.address, ending.masqueraded))


def _onward(row: Row, rules: Mapping[str, Material], node: str, address: str) -> Iterator[Answer]:
    """A packet that a node's rules left as it is: to a pod, to the node itself, to the other node, or to nowhere."""
    if row.address in SERVERS.values():
        yield _server(row.address), address
    elif row.address in _own(node):
        yield REFUSED, ""  # nothing listens there
    elif owner := next((name for name, place in NODES.items() if place.ip == row.address), ""):
        yield from _answers(row, rules, owner, Caller("outside", address))
    else:
        yield NOTHING, ""


def _own(node: str) -> tuple[str, str]:
    return NODES[node].ip, NODES[node].gateway


def _server(address: str) -> str:
    return next(name for name, ip in SERVERS.items() if ip == address)


def seen(node: str, source: str, destination: str, masqueraded: bool) -> str:
    """The client's address after the node's POSTROUTING: kube-proxy's mark, then Flannel's rules."""
    place = NODES[node]
    inside = [ip_address(address) in ip_network(CLUSTER_CIDR) for address in (source, destination)]
    out = inside == [True, False] or (inside == [False, True] and not place.holds(destination))
    return place.leaving_to(destination) if masqueraded or out else source
