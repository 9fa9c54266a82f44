"""The VXLAN backend, as Flannel lays it out: three entries per peer, nothing learnt, nothing flooded.

A packet for a peer's pod meets the route `10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink`; its next hop, the peer's
VTEP address, has a permanent neighbour entry with the VTEP's MAC; and that MAC has a forwarding entry with the peer's
underlay address, which becomes the outer destination. The earlier designs (L3 misses answered by a daemon, and a /16 on
the device) put user space on the path of first packets; the onlink route replaced both. See Flannel
`pkg/backend/vxlan/vxlan.go`.
"""

from __future__ import annotations

from collections.abc import Sequence

from netlab.dataplane.model import Address, Fdb, Link, Neighbour, NodeState, Route, Vxlan
from netlab.dataplane.nodes import VXLAN_DEVICE, NodeNet

VNI = 1
PORT = 8472
"""Linux's historical port, which Flannel keeps; IANA's 4789 is not used on Linux nodes."""


def vxlan_network(node: NodeNet, peers: Sequence[NodeNet]) -> NodeState:
    """flannel.1 of `node` and its entries for every peer, in the order given. `node` itself among them is skipped."""
    others = [peer for peer in peers if peer.name != node.name]
    device = Vxlan(VNI, node.node_ip, node.underlay_if, PORT)
    return NodeState(
        links=(Link(VXLAN_DEVICE, "vxlan", mac=node.mac, mtu=node.pod_mtu, vxlan=device),),
        addresses=(Address(VXLAN_DEVICE, f"{node.vtep_ip}/32"),),
        routes=tuple(Route(peer.pod_cidr, VXLAN_DEVICE, via=peer.vtep_ip, onlink=True) for peer in others),
        neighbours=tuple(Neighbour(VXLAN_DEVICE, peer.vtep_ip, peer.mac) for peer in others),
        fdb=tuple(Fdb(VXLAN_DEVICE, peer.mac, peer.node_ip) for peer in others),
    )
