"""What an agent process is told when it starts: plain, frozen, and JSON-able, because it crosses a fork as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from netlab.api.types import Obj

KUBELET_PORT = 10250

DEFAULT_CAPACITY: Mapping[str, str] = {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "100Gi", "pods": "110"}


@dataclass(frozen=True)
class NodeConfig:
    """One node to host.

    `netns` names the node's namespace as pinned under /run/netns; `ip` is its address on the underlay (InternalIP)
    and `interface` the device that has it. `kubeconfig` is the path of a kubeconfig with the client certificate of
    `system:node:<name>` (group `system:nodes`); `overlay_kubeconfig`, `proxy_kubeconfig` and `policy_kubeconfig`
    are those of the overlay, the proxy and network policies, which see more than their own node (empty: the node's
    own). `serving_cert`/`serving_key`/`client_ca` are PEM files for the kubelet API.
    `labels`, `taints` (API shape) and `capacity` (resource → quantity) are laid over the defaults.
    """

    name: str
    ip: str
    netns: str
    kubeconfig: str
    serving_cert: str
    serving_key: str
    client_ca: str
    interface: str = "eth0"
    mtu: int = 1500
    control_plane: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Obj, ...] = ()
    capacity: Mapping[str, str] = field(default_factory=dict)
    unschedulable: bool = False
    kubelet_port: int = KUBELET_PORT
    overlay_kubeconfig: str = ""
    proxy_kubeconfig: str = ""
    policy_kubeconfig: str = ""
    second_ip: str = ""
    """The underlay address of the cluster's other family, in a dual-stack cluster."""

    @property
    def ips(self) -> tuple[str, ...]:
        """The node's addresses, the primary family's first."""
        return (self.ip, self.second_ip) if self.second_ip else (self.ip,)

    def resources(self) -> dict[str, str]:
        """Capacity by resource name, defaults filled in."""
        return {**DEFAULT_CAPACITY, **self.capacity}


@dataclass(frozen=True)
class AgentConfig:
    """One agent process: its nodes and what is the same for the whole lab.

    `pods_dir` is the lab's `<state>/pods`: `log/` (pod logs) and `data/<uid>` (volumes, termination messages) are made
    below it. `memory_dir` is on a tmpfs that was mounted before any container started (a mount made later is not seen
    inside containers): secrets, tokens and emptyDirs of medium Memory live there. `overlay` is "vxlan" or "host-gw";
    `proxy_mode` is for the proxy; `cluster_cidr` and `service_cidr` are one CIDR, or one of each family with a comma
    between. `upstream_timing` chooses upstream's timers instead of the lab's fast ones
    (netlab.api.timing).
    """

    nodes: tuple[NodeConfig, ...]
    pods_dir: str
    cluster_name: str = "netlab"
    cluster_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/12"
    dns_ip: str = "10.96.0.10"
    dns_domain: str = "cluster.local"
    overlay: str = "vxlan"
    proxy_mode: str = "iptables"
    memory_dir: str = "/run/netlab/volumes"
    upstream_timing: bool = False
    load_balancer: tuple[Obj, ...] = ()
    """The pool of LoadBalancer addresses: {"range": "A-B", "interfaces": {node: interface on the range's segment}}."""
    disks_dir: str = ""
    """The lab's `<state>/disks`: what nodes have on their own disks, `<node>/`, and what they share, `shared/`. Empty:
    beside the pods' data, gone with it."""
    resolv_conf: str | None = None
    """The nodes' /etc/resolv.conf; None: that of the machine."""
    start_concurrency: int = 32
    """Pods that the agent's nodes begin to start at a time, together; every node may start two."""

    @property
    def pods_path(self) -> Path:
        return Path(self.pods_dir)

    @property
    def disks_path(self) -> Path:
        return Path(self.disks_dir) if self.disks_dir else self.pods_path / "disks"

    def to_obj(self) -> Obj:
        """JSON-able form, for the argument list of the agent's ProcessSpec."""
        return asdict(self)

    @classmethod
    def from_obj(cls, obj: Obj) -> AgentConfig:
        """The inverse of `to_obj`. Unknown keys raise TypeError."""
        nodes = tuple(NodeConfig(**{**node, "taints": tuple(node.get("taints", ()))}) for node in obj["nodes"])
        return cls(**{**obj, "nodes": nodes, "load_balancer": tuple(obj.get("load_balancer", ()))})
