"""A topology as a running Mininet: nodes, switches, routers, hosts and links, made by netlink.

The only code that imports Mininet (and only inside functions: importing it is not on everyone's path). Mininet's
classes are overridden so that nothing is spawned per node until someone calls `cmd()`. It knows no Kubernetes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netlab.kernel.errors import UnsupportedFeature
from netlab.topology.model import Topology

if TYPE_CHECKING:
    from netlab.substrate.lab import LabNet

__all__ = ["UnsupportedFeature", "attach", "build", "check"]


def check(topology: Topology) -> None:
    """UnsupportedFeature, naming the link or switch, where this kernel lacks what the topology asks for.

    Each feature that it asks for is tried, for this user; a topology that asks for none costs nothing.
    """
    shaped = any(link.needs_netem or link.bandwidth_bps is not None for link in topology.links)
    if shaped or "IPv6" in topology.cluster.families or any(switch.kind == "ovs" for switch in topology.switches):
        from netlab.substrate.network import check as check_network

        check_network(topology)


def build(topology: Topology) -> LabNet:
    """Make what is missing of the topology and adopt what is there; every node's namespace is pinned by its name.

    Raises UnsupportedFeature, before anything is made, where the kernel cannot do what a link asks for.
    """
    from netlab.substrate.lab import build as build_lab

    return build_lab(topology)


def attach(topology: Topology) -> LabNet:
    """The running network as Mininet objects, from another process of the lab: nothing is made or changed."""
    from netlab.substrate.lab import attach as attach_lab

    return attach_lab(topology)
