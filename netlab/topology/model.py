"""The frozen description of a lab's underlay and cluster.

Everything is resolved: names are unique, every layer-3 attachment has an interface name, a MAC and an address, every
link its MTU. Addresses are strings in the notation of `ip` ("192.168.0.2/24"), rates are bits per second, times are
seconds, loss is a fraction from 0 to 1. Whoever reads a `Topology` needs no further defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["control-plane", "worker"]
SwitchKind = Literal["bridge", "ovs"]
Overlay = Literal["vxlan", "host-gw", "external"]
ProxyMode = Literal["iptables", "nftables", "ipvs", "external", "none"]
IpvsScheduler = Literal["rr", "wrr", "lc", "wlc", "sh", "dh", "sed", "nq", "mh", "lblc", "lblcr"]
Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]

Family = Literal["IPv4", "IPv6"]

DEFAULT_MTU = 1500


def family_of(address: str) -> Family:
    """Of an address or CIDR, by its notation."""
    return "IPv6" if ":" in address else "IPv4"


@dataclass(frozen=True, slots=True)
class Cluster:
    """What all nodes share. `underlay_cidr` is the pool from which segments without a `subnet` are addressed.

    `pod_cidr` and `service_cidr` are one CIDR, or in a dual-stack cluster two, comma-separated as in upstream's flags;
    the first one's family is the primary. `node_prefix` is for the IPv4 one of them, `node_prefix6` for the other.
    """

    pod_cidr: str = "10.244.0.0/16"
    node_prefix: int = 24
    service_cidr: str = "10.96.0.0/12"
    dns_ip: str = "10.96.0.10"
    dns_domain: str = "cluster.local"
    overlay: Overlay = "vxlan"
    proxy_mode: ProxyMode = "iptables"
    underlay_cidr: str = "192.168.0.0/16"
    node_prefix6: int = 64
    underlay_cidr6: str = "fd00:c0a8::/32"
    ipvs_scheduler: IpvsScheduler = "rr"
    ipvs_strict_arp: bool = False
    load_balancer_pool: tuple[str, ...] = ()
    """The ranges of addresses for LoadBalancer Services (netlab.topology.pool); none: such Services stay pending."""
    node_local_dns: bool = False
    """Whether every node has a DNS cache of its own at 169.254.20.10."""
    compaction_interval_s: float = 300.0
    """Seconds for which older versions of objects can be watched and listed (upstream's --etcd-compaction-interval)."""

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        return tuple(self.pod_cidr.split(","))

    @property
    def service_cidrs(self) -> tuple[str, ...]:
        return tuple(self.service_cidr.split(","))

    @property
    def families(self) -> tuple[Family, ...]:
        """Of pods and Services, primary first."""
        return tuple(family_of(cidr) for cidr in self.pod_cidrs)

    def prefix_of(self, cidr: str) -> int:
        """How long the prefix of a node's subnet of this pod CIDR is."""
        return self.node_prefix6 if family_of(cidr) == "IPv6" else self.node_prefix


@dataclass(frozen=True, slots=True)
class Taint:
    """`key=value:effect`; the value may be empty."""

    key: str
    value: str
    effect: Effect

    def __str__(self) -> str:
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a node reports as its capacity, as Kubernetes quantities."""

    cpu: str = "4"
    memory: str = "8Gi"
    pods: int = 110


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """A route asked for in the file: `to` is a CIDR or "default", `via` an address on a connected subnet."""

    to: str
    via: str


@dataclass(frozen=True, slots=True)
class Node:
    """A cluster node: a network namespace with a kubelet, an overlay and a proxy."""

    name: str
    role: Role = "worker"
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    taints: tuple[Taint, ...] = ()
    capacity: Capacity = Capacity()
    unschedulable: bool = False
    routes: tuple[StaticRoute, ...] = ()
    proxy_mode: ProxyMode | None = None
    """The node's own proxy mode, where it differs from the cluster's."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A layer-2 bridge without an address; its ports are `<switch>-eth<n>`, from 1, in the order of the links."""

    name: str
    kind: SwitchKind = "bridge"


@dataclass(frozen=True, slots=True)
class Router:
    """A network namespace that forwards. `routes` are in addition to those computed by shortest path."""

    name: str
    routes: tuple[StaticRoute, ...] = ()


@dataclass(frozen=True, slots=True)
class Host:
    """A machine outside the cluster: a registry, an outside client. It does not forward."""

    name: str
    routes: tuple[StaticRoute, ...] = ()
    resolver: tuple[tuple[str, tuple[str, ...]], ...] | None = None
    """The host is a DNS server that knows these names (name, its addresses); None: it is none."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One end of a link. `address` ("192.168.0.2/24") and `mac` are None on a switch's port, set everywhere else;
    `address6` is set where the cluster has IPv6."""

    node: str
    interface: str
    address: str | None = None
    mac: str | None = None
    address6: str | None = None

    @property
    def ip(self) -> str | None:
        """The address without its prefix length."""
        return self.address.partition("/")[0] if self.address else None

    @property
    def ip6(self) -> str | None:
        """The IPv6 address without its prefix length."""
        return self.address6.partition("/")[0] if self.address6 else None

    def ip_of(self, family: Family) -> str | None:
        """The address of that family."""
        return self.ip6 if family == "IPv6" else self.ip


@dataclass(frozen=True, slots=True)
class Link:
    """A cable. Shaping applies to each direction: a packet that crosses it once is delayed by `delay_s`."""

    a: Attachment
    b: Attachment
    bandwidth_bps: int | None = None
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    mtu: int = DEFAULT_MTU
    standby: bool = False
    """A link between two switches that would close a loop: the substrate keeps its ports from forwarding (as spanning
    tree would), so that broadcasts end."""

    @property
    def ends(self) -> tuple[Attachment, Attachment]:
        return (self.a, self.b)

    @property
    def needs_netem(self) -> bool:
        """Whether the kernel must be able to delay or lose packets for this link to be what it says."""
        return bool(self.delay_s or self.jitter_s or self.loss)


@dataclass(frozen=True, slots=True)
class Segment:
    """One broadcast domain: the layer-3 attachments that reach each other without a router, and their subnet."""

    name: str
    subnet: str
    switches: tuple[str, ...]
    attachments: tuple[Attachment, ...]
    subnet6: str | None = None

    def subnet_of(self, family: Family) -> str | None:
        """The subnet of that family."""
        return self.subnet6 if family == "IPv6" else self.subnet


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole lab. Tuples keep the order of the file."""

    name: str
    cluster: Cluster
    nodes: tuple[Node, ...]
    switches: tuple[Switch, ...] = ()
    routers: tuple[Router, ...] = ()
    hosts: tuple[Host, ...] = ()
    links: tuple[Link, ...] = ()
    segments: tuple[Segment, ...] = ()

    @property
    def control_planes(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.role == "control-plane")

    @property
    def workers(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.role == "worker")

    @property
    def names(self) -> tuple[str, ...]:
        """Every named thing: nodes, hosts, routers, switches."""
        return tuple(item.name for group in (self.nodes, self.hosts, self.routers, self.switches) for item in group)

    def node(self, name: str) -> Node:
        """The cluster node of that name; KeyError where there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def attachments(self, name: str) -> tuple[Attachment, ...]:
        """The interfaces of a node, host, router or switch, in the order of the links."""
        return tuple(end for link in self.links for end in link.ends if end.node == name)

    def node_ip(self, name: str) -> str:
        """The address by which others know this machine: its first interface's, of the cluster's primary family.
        KeyError where it has none."""
        return self.node_ips(name)[0]

    def node_ips(self, name: str) -> tuple[str, ...]:
        """The same of each of the cluster's families, primary first."""
        for end in self.attachments(name):
            if end.ip is not None:
                return tuple(ip for ip in (end.ip_of(family) for family in self.cluster.families) if ip)
        raise KeyError(name)

    def underlay_if(self, name: str) -> str:
        """The interface that carries `node_ip(name)`."""
        for end in self.attachments(name):
            if end.ip is not None:
                return end.interface
        raise KeyError(name)

    def segment_of(self, attachment: Attachment) -> Segment:
        """The broadcast domain of a layer-3 attachment; KeyError for a switch's port."""
        for segment in self.segments:
            if attachment in segment.attachments:
                return segment
        raise KeyError((attachment.node, attachment.interface))
