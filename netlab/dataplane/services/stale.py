"""Which tracked UDP flows lead nowhere any more. Pure.

UDP has no end of connection: a client that keeps sending keeps its tracking entry alive, and with it the translation
to an endpoint that is gone, or none at all from before the Service had one. Such entries must be deleted for the flow
to be translated anew. Upstream's `pkg/proxy/conntrack/cleanup.go`: UDP only, and by what is served now; a Service that
nobody serves keeps its entries, because there is nothing that they could be translated to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from netlab.dataplane.services.table import ServiceState


@dataclass(frozen=True, slots=True)
class Flow:
    """A tracked flow: where it was sent to, and who answers."""

    dst: str
    dport: int
    reply_src: str
    reply_sport: int


@dataclass(frozen=True, slots=True)
class Served:
    """The endpoints ("ip", port) behind every UDP address and node port."""

    addresses: Mapping[tuple[str, int], frozenset[tuple[str, int]]]
    node_ports: Mapping[int, frozenset[tuple[str, int]]]

    def is_stale(self, flow: Flow) -> bool:
        """Whether the flow goes to a Service but is answered by none of its endpoints."""
        answers = flow.reply_src, flow.reply_sport
        groups = (self.addresses.get((flow.dst, flow.dport)), self.node_ports.get(flow.dport))
        return any(group is not None and answers not in group for group in groups)


def served(states: Iterable[ServiceState]) -> Served:
    """What is served by UDP now; endpoints that are terminating still count while they serve."""
    addresses: dict[tuple[str, int], frozenset[tuple[str, int]]] = {}
    node_ports: dict[int, frozenset[tuple[str, int]]] = {}
    for state in states:
        port = state.port
        if port.protocol != "UDP":
            continue
        endpoints = frozenset((endpoint.ip, endpoint.port) for endpoint in state.endpoints if endpoint.serving)
        if not endpoints:
            continue
        for address in (port.cluster_ip, *port.external_ips, *port.load_balancer_ips):
            addresses[address, port.port] = endpoints
        if port.node_port:
            node_ports[port.node_port] = endpoints
    return Served(addresses, node_ports)
