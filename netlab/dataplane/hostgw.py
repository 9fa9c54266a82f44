"""The host-gw backend: a plain route per peer through the underlay. Needs all nodes in one layer-2 segment.

See Flannel `pkg/backend/hostgw`.
"""

from __future__ import annotations

from collections.abc import Sequence

from netlab.dataplane.model import NodeState, Route
from netlab.dataplane.nodes import NodeNet


def hostgw_network(node: NodeNet, peers: Sequence[NodeNet]) -> NodeState:
    """One route per peer: its pod subnet by its node address. `node` itself among them is skipped."""
    others = [peer for peer in peers if peer.name != node.name]
    pairs = ((one, peer.of_family(one)) for one in node.families for peer in others)
    return NodeState(
        routes=tuple(Route(peer.pod_cidr, one.underlay_if, via=peer.node_ip) for one, peer in pairs if peer is not None)
    )
