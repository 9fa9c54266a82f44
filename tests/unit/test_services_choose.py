"""Which endpoints serve which traffic: a table of upstream's rules (pkg/proxy/topology.go)."""

from dataclasses import replace

import pytest

from netlab.dataplane.services import Endpoint, NodeView, ServicePort, ServicePortName, choose

HERE = NodeView("here", zone="a")
CLUSTER = ServicePort(ServicePortName("ns", "svc", "http", "TCP"), "10.96.0.20", 80)
INTERNAL_LOCAL = replace(CLUSTER, internal_local=True)
EXTERNAL_LOCAL = replace(CLUSTER, node_port=30000, external_local=True)
BOTH_LOCAL = replace(EXTERNAL_LOCAL, internal_local=True)

L1 = Endpoint("10.0.0.1", 80, "here", local=True)
R1 = Endpoint("10.0.1.1", 80, "there")
R2 = Endpoint("10.0.2.1", 80, "there")


def not_ready(ep: Endpoint) -> Endpoint:
    return replace(ep, ready=False, serving=False)


def leaving(ep: Endpoint) -> Endpoint:
    return replace(ep, ready=False, serving=True, terminating=True)


def gone(ep: Endpoint) -> Endpoint:
    return replace(ep, ready=False, serving=False, terminating=True)


def zone(ep: Endpoint, *zones: str) -> Endpoint:
    return replace(ep, zone_hints=frozenset(zones))


def node(ep: Endpoint, *nodes: str) -> Endpoint:
    return replace(ep, node_hints=frozenset(nodes))


# what: (port, endpoints, cluster, local, reachable, has any)
TABLE = {
    "no endpoints": (CLUSTER, [], "", "", "", False),
    "all ready": (CLUSTER, [L1, R1], "L1 R1", "", "L1 R1", True),
    "unready ones are left out": (CLUSTER, [not_ready(L1), R1], "R1", "", "R1", True),
    "none ready": (CLUSTER, [not_ready(L1)], "", "", "", False),
    "terminating ones only where none is ready": (CLUSTER, [leaving(L1), R1], "R1", "", "R1", True),
    "terminating but serving": (CLUSTER, [leaving(L1), leaving(R1)], "L1 R1", "", "L1 R1", True),
    "terminating and no longer serving": (CLUSTER, [gone(L1)], "", "", "", False),
    "internal Local": (INTERNAL_LOCAL, [L1, R1], "", "L1", "L1", True),
    "internal Local, none here": (INTERNAL_LOCAL, [R1], "", "", "", True),
    "internal Local, none at all": (INTERNAL_LOCAL, [], "", "", "", False),
    "internal Local, only leaving here": (INTERNAL_LOCAL, [leaving(L1), R1], "", "L1", "L1", True),
    "external Local": (EXTERNAL_LOCAL, [L1, R1], "L1 R1", "L1", "L1 R1", True),
    "external Local, none here": (EXTERNAL_LOCAL, [R1], "R1", "", "R1", True),
    "external Local, the one here leaving": (EXTERNAL_LOCAL, [leaving(L1), R1], "R1", "L1", "L1 R1", True),
    "external Local of a Service without external address": (
        replace(EXTERNAL_LOCAL, node_port=0), [L1, R1], "L1 R1", "", "L1 R1", True),
    "both Local still need all for the node's own calls": (BOTH_LOCAL, [L1, R1], "L1 R1", "L1", "L1 R1", True),
    "zone hints": (CLUSTER, [zone(L1, "a"), zone(R1, "b")], "L1", "", "L1", True),
    "zone hints that are not complete are not trusted": (CLUSTER, [zone(L1, "a"), R1], "L1 R1", "", "L1 R1", True),
    "no hint for this zone": (CLUSTER, [zone(L1, "b"), zone(R1, "c")], "L1 R1", "", "L1 R1", True),
    "hints of unready endpoints do not count": (CLUSTER, [zone(L1, "a"), not_ready(R1)], "L1", "", "L1", True),
    "node hints before zone hints": (
        CLUSTER, [node(zone(L1, "a"), "here"), node(zone(R1, "a"), "there")], "L1", "", "L1", True),
    "zone hints and external Local": (
        EXTERNAL_LOCAL, [zone(L1, "b"), zone(R1, "a"), zone(R2, "b")], "R1", "L1", "L1 R1", True),
}  # fmt: skip


@pytest.mark.parametrize("what", TABLE)
def test_choice(what: str) -> None:
    port, endpoints, cluster, local, reachable, has_any = TABLE[what]
    name = {"10.0.0.1": "L1", "10.0.1.1": "R1", "10.0.2.1": "R2"}
    choice = choose(port, endpoints, HERE)
    found = [" ".join(name[ep.ip] for ep in part) for part in (choice.cluster, choice.local, choice.reachable)]
    assert (*found, choice.has_any) == (cluster, local, reachable, has_any)


def test_no_zone_of_the_node_means_no_zone_hints() -> None:
    choice = choose(CLUSTER, [zone(L1, ""), zone(R1, "b")], replace(HERE, zone=""))
    assert len(choice.cluster) == 2
