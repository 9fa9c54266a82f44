"""Routes by shortest path over the underlay, with all equal-cost next hops. Pure; the substrate applies them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from netlab.topology.model import Topology


@dataclass(frozen=True, slots=True)
class NextHop:
    """One way out: the neighbour's address and the interface that reaches it."""

    via: str
    interface: str


@dataclass(frozen=True, slots=True)
class ComputedRoute:
    """`destination` is a CIDR or "default"; more than one hop means equal-cost multipath."""

    destination: str
    hops: tuple[NextHop, ...]

    def __str__(self) -> str:
        """As an argument of `ip route add`."""
        if len(self.hops) == 1:
            return f"{self.destination} via {self.hops[0].via} dev {self.hops[0].interface}"
        hops = " ".join(f"nexthop via {hop.via} dev {hop.interface} weight 1" for hop in self.hops)
        return f"{self.destination} {hops}"


def routes(topology: Topology) -> Mapping[str, tuple[ComputedRoute, ...]]:
    """Every route that each node, host and router needs besides its connected subnets, by machine name.

    Routers know every subnet; nodes and hosts get one default route where all their routes leave by the same hops,
    else one route per subnet. Routes asked for in the file replace computed ones to the same destination.
    """
    raise NotImplementedError
