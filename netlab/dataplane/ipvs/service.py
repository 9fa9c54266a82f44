"""What one service port brings in IPVS mode: virtual servers, addresses of the dummy device, members of sets. Pure.

Follows upstream's `pkg/proxy/ipvs/proxier.go` (syncProxyRules and syncEndpoint), also where it differs from the other
modes: under policy Local without a local endpoint a virtual server falls back to all endpoints, so that pods of the
node still get through; an answer to anyone else comes from the wrong address and is dropped by the caller. A virtual
server without real servers refuses with an ICMP error of IPVS itself: there is no rule for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from netlab.dataplane.ipvs import sets
from netlab.dataplane.ipvs.model import Entry, Frontend, RealServer, Scheduler, VirtualServer
from netlab.dataplane.services.choose import Choice
from netlab.dataplane.services.model import Endpoint, Family, ServicePort, ServicePortName
from netlab.dataplane.services.objects import in_range

Member = tuple[str, Entry]
"""A set's IPv4 name, and a member."""


@dataclass(frozen=True, slots=True)
class IpvsConfig:
    """What of the node and of kube-proxy's options the state depends on.

    `node_addresses` are all of the node's addresses of the family but those of loopback and of the dummy device:
    NodePorts are served on each (or on those in `node_port_cidrs`, where it says some), and none of them is put on the
    dummy device.
    """

    node_ip: str
    cluster_cidr: str
    node_addresses: tuple[str, ...] = ()
    family: Family = "IPv4"
    scheduler: Scheduler = "rr"
    node_port_cidrs: tuple[str, ...] = ()
    masquerade_all: bool = False
    masquerade_mark: int = 0x4000
    random_fully: bool = True
    strict_arp: bool = False

    @property
    def node_port_addresses(self) -> tuple[str, ...]:
        if not self.node_port_cidrs:
            return self.node_addresses
        cidrs = self.node_port_cidrs
        return tuple(ip for ip in self.node_addresses if any(in_range(ip, cidr) for cidr in cidrs))


@dataclass(frozen=True, slots=True)
class ServiceParts:
    """All that one service port brings. `refused` are load-balancer addresses which the node itself may not call."""

    name: ServicePortName
    servers: tuple[tuple[VirtualServer, tuple[RealServer, ...]], ...]
    addresses: tuple[str, ...]
    members: tuple[Member, ...]
    refused: tuple[Frontend, ...] = ()


def service_parts(port: ServicePort, choice: Choice, endpoints: Sequence[Endpoint], config: IpvsConfig) -> ServiceParts:
    """`endpoints` are all of the port's, chosen or not: hairpin is solved for every local one."""
    builder = _Builder(port, choice, config)
    builder.hairpin(endpoints)
    builder.cluster_ip()
    builder.external_ips()
    builder.load_balancer()
    builder.node_port()
    builder.health_check()
    return ServiceParts(
        port.name,
        tuple(builder.servers),
        tuple(dict.fromkeys(builder.addresses)),
        tuple(dict.fromkeys(builder.members)),
        tuple(builder.refused),
    )


class _Builder:
    def __init__(self, port: ServicePort, choice: Choice, config: IpvsConfig) -> None:
        self.port, self.choice, self.config = port, choice, config
        self.protocol = port.protocol.lower()
        self.servers: list[tuple[VirtualServer, tuple[RealServer, ...]]] = []
        self.addresses: list[str] = []
        self.members: list[Member] = []
        self.refused: list[Frontend] = []

    def hairpin(self, endpoints: Sequence[Endpoint]) -> None:
        for endpoint in endpoints:
            if endpoint.local:
                self.members.append(
                    (sets.LOOP_BACK, Entry(endpoint.ip, self.protocol, endpoint.port, endpoint.ip)),
                )

    def cluster_ip(self) -> None:
        address = self.port.cluster_ip
        self.members.append((sets.CLUSTER_IP, self._entry(address)))
        self._serve(address, self.port.port, self.port.internal_local)
        self.addresses.append(address)

    def external_ips(self) -> None:
        name = sets.EXTERNAL_IP_LOCAL if self.port.external_local else sets.EXTERNAL_IP
        for address in self.port.external_ips:
            self.members.append((name, self._entry(address)))
            self._serve_external(address)

    def load_balancer(self) -> None:
        for address in self.port.load_balancer_ips:
            self.members.append((sets.LOAD_BALANCER, self._entry(address)))
            if self.port.external_local:
                self.members.append((sets.LOAD_BALANCER_LOCAL, self._entry(address)))
            if self.port.source_ranges:
                self._firewall(address)
            self._serve_external(address)

    def _firewall(self, address: str) -> None:
        self.members.append((sets.LOAD_BALANCER_FW, self._entry(address)))
        for cidr in self.port.source_ranges:
            for part in _halves(cidr):
                self.members.append((sets.LOAD_BALANCER_SOURCE_CIDR, self._entry(address, part)))
        # A node that calls the address has the address itself as source, since it is a local one.
        if any(in_range(self.config.node_ip, cidr) for cidr in self.port.source_ranges):
            self.members.append((sets.LOAD_BALANCER_SOURCE_IP, self._entry(address, address)))
        else:
            self.refused.append(Frontend(self.port.protocol, address, self.port.port))

    def node_port(self) -> None:
        number, where = self.port.node_port, self.config.node_port_addresses
        if not number or not where:
            return
        entries = [Entry(port=number)]
        if self.port.protocol == "SCTP":
            entries = [Entry(address, self.protocol, number) for address in where]
        self.members += [(sets.NODE_PORT[self.port.protocol], entry) for entry in entries]
        if self.port.external_local:
            self.members += [(sets.NODE_PORT_LOCAL[self.port.protocol], entry) for entry in entries]
        for address in where:
            self._serve(address, number, self.port.external_local)

    def health_check(self) -> None:
        if self.port.health_check_node_port:
            self.members.append((sets.HEALTH_CHECK_NODE_PORT, Entry(port=self.port.health_check_node_port)))

    def _entry(self, address: str, second: str = "") -> Entry:
        return Entry(address, self.protocol, self.port.port, second)

    def _serve_external(self, address: str) -> None:
        """Not put on the dummy device where another device has it: two of them would answer for it."""
        self._serve(address, self.port.port, self.port.external_local)
        if address not in self.config.node_addresses:
            self.addresses.append(address)

    def _serve(self, address: str, port: int, only_local: bool) -> None:
        chosen = self.choice.local if only_local and self.choice.local else self.choice.cluster
        server = VirtualServer(
            Frontend(self.port.protocol, address, port),
            self.config.scheduler,
            self.port.affinity_seconds,
            source_hash=self.config.scheduler == "mh",
        )
        real = sorted({RealServer(endpoint.ip, endpoint.port) for endpoint in chosen})
        self.servers.append((server, tuple(real)))


def _halves(cidr: str) -> Iterator[str]:
    """A set of nets has no room for "all": that is its two halves."""
    network = ip_network(cidr)
    parts = network.subnets() if network.prefixlen == 0 else (network,)
    for part in parts:
        single = part.prefixlen == part.max_prefixlen
        yield str(part.network_address) if single else str(part)
