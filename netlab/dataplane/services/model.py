"""A Service's port and an endpoint, as a proxy sees them. Frozen, hashable, of one address family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["IPv4", "IPv6"]
Protocol = Literal["TCP", "UDP", "SCTP"]


@dataclass(frozen=True, slots=True, order=True)
class ServicePortName:
    """What a proxy programs one by one: a Service's port. Prints as upstream writes it in comments and hashes."""

    namespace: str
    name: str
    port: str
    protocol: Protocol

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}:{self.port}" if self.port else f"{self.namespace}/{self.name}"

    @property
    def service(self) -> str:
        """`namespace/name` of the Service."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service, with what of the Service matters to a proxy (upstream: proxy.BaseServicePortInfo)."""

    name: ServicePortName
    cluster_ip: str
    port: int
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    """Ingress addresses of ipMode VIP: those that a node must answer itself."""
    source_ranges: tuple[str, ...] = ()
    affinity_seconds: int | None = None
    """The ClientIP affinity's timeout; None without affinity."""
    internal_local: bool = False
    external_local: bool = False
    health_check_node_port: int = 0
    family: Family = "IPv4"

    @property
    def protocol(self) -> Protocol:
        return self.name.protocol

    @property
    def externally_accessible(self) -> bool:
        """Whether anything but the cluster IP leads to it."""
        return bool(self.node_port or self.external_ips or self.load_balancer_ips)

    @property
    def uses_cluster_endpoints(self) -> bool:
        """Whether endpoints of other nodes can be needed: also under external policy Local, for traffic of pods and of
        the node itself to an external address, which that policy does not bind."""
        return not self.internal_local or self.externally_accessible

    @property
    def uses_local_endpoints(self) -> bool:
        return self.internal_local or (self.external_local and self.externally_accessible)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address and port behind a Service's port. `local` is from the point of view of one node."""

    ip: str
    port: int
    node: str | None = None
    local: bool = False
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zone_hints: frozenset[str] = frozenset()
    node_hints: frozenset[str] = frozenset()

    def here(self) -> Endpoint:
        """The same, on the node that looks. (dataclasses.replace takes five times as long, and there are many.)"""
        return Endpoint(
            self.ip,
            self.port,
            self.node,
            True,
            self.ready,
            self.serving,
            self.terminating,
            self.zone_hints,
            self.node_hints,
        )

    def __str__(self) -> str:
        """`ip:port`, as in a URL: the key by which endpoints are sorted, and hashed in chain names."""
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


@dataclass(frozen=True, slots=True)
class NodeView:
    """What of its own node a proxy's choices depend on."""

    name: str
    zone: str = ""
