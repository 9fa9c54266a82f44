"""With `overlay: external` a node keeps its bridge, and everything else of the overlay is someone else's."""

from __future__ import annotations

from netlab.dataplane.diff import diff
from netlab.dataplane.model import Link, NodeState, Route
from netlab.dataplane.overlay import node_network, overlay_owned
from netlab.node.config import NodeConfig
from netlab.node.overlay import flannel_annotations, node_net

NODE = {"metadata": {"name": "w1"}, "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}}


def config() -> NodeConfig:
    return NodeConfig("w1", "192.168.0.3", "w1", "", "", "", "")


def test_a_node_needs_no_annotations_and_publishes_none() -> None:
    assert flannel_annotations(config(), "external") == {}
    assert set(flannel_annotations(config(), "vxlan")) > {"flannel.alpha.coreos.com/public-ip"}
    assert node_net(NODE, "vxlan") is None
    net = node_net(NODE, "external")
    assert net is not None
    assert (net.gateway, net.pod_mtu) == ("10.244.1.1", 1450), "room for VXLAN, whatever it will be"


def test_what_a_real_flanneld_made_is_left_alone() -> None:
    net = node_net(NODE, "external")
    assert net is not None
    wanted = node_network(net, [])
    assert {link.name for link in wanted.links} == {"docker0"}
    theirs = NodeState(
        links=(*wanted.links, Link("flannel.1", "vxlan")),
        addresses=wanted.addresses,
        routes=(Route("10.244.2.0/24", dev="flannel.1", via="10.244.2.0"),),
        sysctls=wanted.sysctls,
    )
    assert not diff(theirs, wanted, overlay_owned("10.244.0.0/16", "external"))
    assert diff(theirs, wanted, overlay_owned("10.244.0.0/16"))
