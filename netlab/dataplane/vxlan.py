"""The VXLAN backend, as Flannel lays it out: three entries per peer, nothing learnt, nothing flooded.

A packet for a peer's pod meets the route `10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink`; its next hop, the peer's
VTEP address, has a permanent neighbour entry with the VTEP's MAC; and that MAC has a forwarding entry with the peer's
underlay address, which becomes the outer destination. The earlier designs (L3 misses answered by a daemon, and a /16 on
the device) put user space on the path of first packets; the onlink route replaced both. See Flannel
`pkg/backend/vxlan/vxlan.go`. IPv6 pods have a device of their own, flannel-v6.1, whose outer packets are IPv6 too.
"""

from __future__ import annotations

from collections.abc import Sequence

from netlab.dataplane.model import Address, Fdb, Link, Neighbour, NodeState, Route, Vxlan
from netlab.dataplane.nodes import NodeNet

VNI = 1
PORT = 8472
"""Linux's historical port, which Flannel keeps; IANA's 4789 is not used on Linux nodes."""


def vxlan_network(node: NodeNet, peers: Sequence[NodeNet]) -> NodeState:
    """flannel.1 of `node` and its entries for every peer, in the order given. `node` itself among them is skipped."""
    others = [peer for peer in peers if peer.name != node.name]
    first, *second = (_of_family(one, [p for peer in others if (p := peer.of_family(one))]) for one in node.families)
    return first.merge(*second) if second else first


def _of_family(node: NodeNet, others: Sequence[NodeNet]) -> NodeState:
    name, device = node.device, Vxlan(VNI, node.node_ip, node.underlay_if, PORT)
    return NodeState(
        links=(Link(name, "vxlan", mac=node.mac, mtu=node.device_mtu, vxlan=device),),
        addresses=(Address(name, f"{node.vtep_ip}/{node.network.max_prefixlen}"),),
        routes=tuple(Route(peer.pod_cidr, name, via=peer.vtep_ip, onlink=True) for peer in others),
        neighbours=tuple(Neighbour(name, peer.vtep_ip, peer.mac) for peer in others),
        fdb=tuple(Fdb(name, peer.mac, peer.node_ip) for peer in others),
    )
