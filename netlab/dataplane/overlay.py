"""A node's whole pod network: its bridge, its overlay backend, and what of the node they own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from netlab.dataplane.bridge import bridge_network
from netlab.dataplane.diff import Owned
from netlab.dataplane.hostgw import hostgw_network
from netlab.dataplane.model import NodeState
from netlab.dataplane.nodes import BRIDGE, VXLAN_DEVICE, VXLAN_DEVICE6, NodeNet
from netlab.dataplane.vxlan import vxlan_network

BACKENDS: Mapping[str, Callable[[NodeNet, Sequence[NodeNet]], NodeState]] = {
    "vxlan": vxlan_network,
    "host-gw": hostgw_network,
    "external": lambda _node, _peers: NodeState(),
}


def node_network(node: NodeNet, peers: Sequence[NodeNet], *, nf_call_iptables: bool = True) -> NodeState:
    """The desired state of `node`, given all nodes that have a pod CIDR. Unknown backend: KeyError."""
    return bridge_network(node, nf_call_iptables=nf_call_iptables).merge(BACKENDS[node.backend](node, peers))


def overlay_owned(cluster_cidr: str, backend: str = "vxlan") -> Owned:
    """What the overlay may delete on a node: its devices and what is on them, and routes into the pod network.

    `cluster_cidr` is one CIDR, or two comma-separated. With the backend "external" only the bridge is ours."""
    if backend == "external":
        return Owned(links=frozenset({BRIDGE}), devices=frozenset(), routes_in=())
    overlays = frozenset({VXLAN_DEVICE, VXLAN_DEVICE6})
    return Owned(links=overlays | {BRIDGE}, devices=overlays, routes_in=tuple(cluster_cidr.split(",")))
