"""The network of a lab as a Mininet object."""

from __future__ import annotations

from netlab.kernel.netns import NetNs
from netlab.topology.model import Topology


class LabNet:
    """To become a `mininet.net.Mininet`; these are the parts others may rely on."""

    topology: Topology

    def node_ip(self, name: str) -> str:
        """The address by which others reach that machine."""
        raise NotImplementedError

    def underlay_if(self, name: str) -> str:
        """The interface that has it."""
        raise NotImplementedError

    def netns(self, name: str) -> NetNs:
        """The machine's namespace."""
        raise NotImplementedError

    def set_link(self, a: str, b: str, up: bool) -> None:
        """Plug or unplug the cable(s) between two machines: both ends lose or gain carrier. KeyError: no such link."""
        raise NotImplementedError


def build(topology: Topology) -> LabNet:
    raise NotImplementedError


def attach(topology: Topology) -> LabNet:
    raise NotImplementedError
