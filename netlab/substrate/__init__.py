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

__all__ = ["UnsupportedFeature", "attach", "build"]


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
