"""The sets of IPVS mode: upstream's names, types and comments (`pkg/proxy/ipvs/ipset.go`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from netlab.dataplane.ipvs.model import IpSet, SetType
from netlab.dataplane.services.model import Family

LOOP_BACK = "KUBE-LOOP-BACK"
CLUSTER_IP = "KUBE-CLUSTER-IP"
EXTERNAL_IP = "KUBE-EXTERNAL-IP"
EXTERNAL_IP_LOCAL = "KUBE-EXTERNAL-IP-LOCAL"
LOAD_BALANCER = "KUBE-LOAD-BALANCER"
LOAD_BALANCER_FW = "KUBE-LOAD-BALANCER-FW"
LOAD_BALANCER_LOCAL = "KUBE-LOAD-BALANCER-LOCAL"
LOAD_BALANCER_SOURCE_IP = "KUBE-LOAD-BALANCER-SOURCE-IP"
LOAD_BALANCER_SOURCE_CIDR = "KUBE-LOAD-BALANCER-SOURCE-CIDR"
NODE_PORT = {"TCP": "KUBE-NODE-PORT-TCP", "UDP": "KUBE-NODE-PORT-UDP", "SCTP": "KUBE-NODE-PORT-SCTP-HASH"}
NODE_PORT_LOCAL = {
    "TCP": "KUBE-NODE-PORT-LOCAL-TCP",
    "UDP": "KUBE-NODE-PORT-LOCAL-UDP",
    "SCTP": "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
}
HEALTH_CHECK_NODE_PORT = "KUBE-HEALTH-CHECK-NODE-PORT"
IPVS_IPS = "KUBE-IPVS-IPS"

_LOCAL = "with externalTrafficPolicy=local"
_TABLE: tuple[tuple[str, SetType, str], ...] = (
    (LOOP_BACK, "hash:ip,port,ip", "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose"),
    (CLUSTER_IP, "hash:ip,port", "Kubernetes service cluster ip + port for masquerade purpose"),
    (EXTERNAL_IP, "hash:ip,port", "Kubernetes service external ip + port for masquerade and filter purpose"),
    (EXTERNAL_IP_LOCAL, "hash:ip,port", f"Kubernetes service external ip + port {_LOCAL}"),
    (LOAD_BALANCER, "hash:ip,port", "Kubernetes service lb portal"),
    (
        LOAD_BALANCER_FW,
        "hash:ip,port",
        "Kubernetes service load balancer ip + port for load balancer with sourceRange",
    ),
    (LOAD_BALANCER_LOCAL, "hash:ip,port", f"Kubernetes service load balancer ip + port {_LOCAL}"),
    (
        LOAD_BALANCER_SOURCE_IP,
        "hash:ip,port,ip",
        "Kubernetes service load balancer ip + port + source IP for packet filter purpose",
    ),
    (
        LOAD_BALANCER_SOURCE_CIDR,
        "hash:ip,port,net",
        "Kubernetes service load balancer ip + port + source cidr for packet filter purpose",
    ),
    (NODE_PORT["TCP"], "bitmap:port", "Kubernetes nodeport TCP port for masquerade purpose"),
    (NODE_PORT_LOCAL["TCP"], "bitmap:port", f"Kubernetes nodeport TCP port {_LOCAL}"),
    (NODE_PORT["UDP"], "bitmap:port", "Kubernetes nodeport UDP port for masquerade purpose"),
    (NODE_PORT_LOCAL["UDP"], "bitmap:port", f"Kubernetes nodeport UDP port {_LOCAL}"),
    (
        NODE_PORT["SCTP"],
        "hash:ip,port",
        "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'",
    ),
    (
        NODE_PORT_LOCAL["SCTP"],
        "hash:ip,port",
        f"Kubernetes nodeport SCTP port {_LOCAL} with type 'hash ip:port'",
    ),
    (HEALTH_CHECK_NODE_PORT, "bitmap:port", "Kubernetes health check node port"),
    (IPVS_IPS, "hash:ip", "Addresses on the ipvs interface"),
)
SET_NAMES = tuple(name for name, _, _ in _TABLE)
COMMENTS = {name: comment for name, _, comment in _TABLE}

MAX_NAME = 31


def kernel_name(name: str, family: Family) -> str:
    """A set holds one family, and all sets of a namespace share their names: those of IPv6 begin with KUBE-6-."""
    if family == "IPv4":
        return name
    return name.replace("KUBE-", "KUBE-6-", 1)[:MAX_NAME]


@dataclass(frozen=True, slots=True)
class IpSets:
    """The sets of one family, by the name that they have in IPv4."""

    family: Family
    by_name: Mapping[str, IpSet]

    def owns(self, kernel: str) -> bool:
        """Whether a set of that name in the kernel is one of these."""
        return any(found.name == kernel for found in self.by_name.values())


def ip_sets(family: Family) -> IpSets:
    return IpSets(family, {name: IpSet(kernel_name(name, family), kind, family) for name, kind, _ in _TABLE})
