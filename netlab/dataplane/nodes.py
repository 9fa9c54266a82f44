"""What the plans are made from: a node and a pod, as far as the network is concerned.

Both carry only what other nodes could know too (API data and the underlay's facts), so a plan can be made, printed and
compared anywhere.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Literal

Backend = Literal["vxlan", "host-gw"]

BRIDGE = "docker0"
VXLAN_DEVICE = "flannel.1"
VXLAN_OVERHEAD = 50
"""Bytes that VXLAN over IPv4 adds: Ethernet 14, VXLAN 8, UDP 8, IPv4 20."""


def vtep_mac(node_name: str) -> str:
    """A node's VTEP address: locally administered unicast, the same in every lab and after every restart."""
    digest = bytearray(hashlib.sha256(f"flannel.1 {node_name}".encode()).digest()[:6])
    digest[0] = digest[0] & 0xFE | 0x02
    return digest.hex(":")


def ip_mac(ip: str) -> str:
    """The address Docker gives an interface with this IPv4 address: 02:42 and the four bytes."""
    return "02:42:" + ":".join(f"{int(part):02x}" for part in ip.split("."))


@dataclass(frozen=True, slots=True)
class NodeNet:
    """A node as its peers see it. `mtu` is the underlay's; `vtep_mac` empty means the deterministic one."""

    name: str
    pod_cidr: str
    node_ip: str
    underlay_if: str = "eth0"
    mtu: int = 1500
    backend: Backend = "vxlan"
    vtep_mac: str = ""

    @property
    def mac(self) -> str:
        return self.vtep_mac or vtep_mac(self.name)

    @property
    def gateway(self) -> str:
        """docker0's address: the subnet's first."""
        return str(IPv4Network(self.pod_cidr)[1])

    @property
    def bridge_cidr(self) -> str:
        return f"{self.gateway}/{IPv4Network(self.pod_cidr).prefixlen}"

    @property
    def bridge_mac(self) -> str:
        return ip_mac(self.gateway)

    @property
    def vtep_ip(self) -> str:
        """flannel.1's address: the subnet's .0."""
        return str(IPv4Network(self.pod_cidr).network_address)

    @property
    def pod_mtu(self) -> int:
        """What the overlay leaves of the underlay's MTU."""
        return self.mtu - VXLAN_OVERHEAD if self.backend == "vxlan" else self.mtu


@dataclass(frozen=True, slots=True)
class PodNet:
    """A pod's attachment. `ifname` is the node's end (vethXXXXXXXX), `pod_ifname` the pod's.

    `gateway_mac` and `mac` empty mean the deterministic ones. `netns` names the pod's namespace, for printing.
    """

    id: str
    ifname: str
    address: str
    gateway: str
    mtu: int = 1450
    bridge: str = BRIDGE
    mac: str = ""
    gateway_mac: str = ""
    pod_ifname: str = "eth0"
    netns: str = ""
    hairpin: bool = True

    @property
    def ip(self) -> str:
        return self.address.partition("/")[0]

    @property
    def pod_mac(self) -> str:
        return self.mac or ip_mac(self.ip)

    @property
    def bridge_mac(self) -> str:
        return self.gateway_mac or ip_mac(self.gateway)

    @classmethod
    def of(cls, uid: str, ip: str, node: NodeNet) -> PodNet:
        """The attachment of the pod with this uid and address to this node's docker0."""
        digest = hashlib.sha256(uid.encode()).hexdigest()
        prefix = IPv4Network(node.pod_cidr).prefixlen
        return cls(
            id=uid,
            ifname=f"veth{digest[:8]}",
            address=f"{ip}/{prefix}",
            gateway=node.gateway,
            mtu=node.pod_mtu,
            netns=f"cni-{uid.replace('-', '')[:12]}",
        )
