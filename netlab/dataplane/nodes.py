"""What the plans are made from: a node and a pod, as far as the network is concerned.

Both carry only what other nodes could know too (API data and the underlay's facts), so a plan can be made, printed and
compared anywhere.

A `NodeNet` is of one family. A dual-stack node's has the other family's in `second`: whatever is laid out per family
(addresses, overlay, routes) is laid out for each of `families` by the same code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Literal

Backend = Literal["vxlan", "host-gw", "external"]

BRIDGE = "docker0"
VXLAN_DEVICE = "flannel.1"
VXLAN_DEVICE6 = "flannel-v6.1"
VXLAN_OVERHEAD = 50
"""Bytes that VXLAN over IPv4 adds: Ethernet 14, VXLAN 8, UDP 8, IPv4 20."""
VXLAN_OVERHEAD6 = 70


def vtep_mac(node_name: str, device: str = VXLAN_DEVICE) -> str:
    """A node's VTEP address: locally administered unicast, the same in every lab and after every restart."""
    digest = bytearray(hashlib.sha256(f"{device} {node_name}".encode()).digest()[:6])
    digest[0] = digest[0] & 0xFE | 0x02
    return digest.hex(":")


def ip_mac(ip: str) -> str:
    """The address Docker gives an interface with this IPv4 address: 02:42 and the four bytes. Of an IPv6 address the
    last four bytes are taken."""
    if ":" in ip:
        return "02:42:" + IPv6Address(ip).packed[-4:].hex(":")
    return "02:42:" + ":".join(f"{int(part):02x}" for part in ip.split("."))


def link_local(mac: str) -> str:
    """The link-local address (with its prefix length) that belongs to a MAC address (RFC 4291, modified EUI-64)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    eui = bytes((raw[0] ^ 2, *raw[1:3], 0xFF, 0xFE, *raw[3:]))
    return f"{IPv6Address(bytes((0xFE, 0x80)) + bytes(6) + eui)}/64"


@dataclass(frozen=True, slots=True)
class NodeNet:
    """A node as its peers see it, in one family. `mtu` is the underlay's; `vtep_mac` empty means the deterministic one.
    `second` is the same of a dual-stack node's other family."""

    name: str
    pod_cidr: str
    node_ip: str
    underlay_if: str = "eth0"
    mtu: int = 1500
    backend: Backend = "vxlan"
    vtep_mac: str = ""
    second: NodeNet | None = None

    @property
    def families(self) -> tuple[NodeNet, ...]:
        return (self,) if self.second is None else (self, self.second)

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.pod_cidr

    def of_family(self, other: NodeNet) -> NodeNet | None:
        """This node in the family of `other`, None where it has none of it."""
        return next((one for one in self.families if one.is_ipv6 == other.is_ipv6), None)

    @property
    def device(self) -> str:
        """The VXLAN device of this family."""
        return VXLAN_DEVICE6 if self.is_ipv6 else VXLAN_DEVICE

    @property
    def mac(self) -> str:
        return self.vtep_mac or vtep_mac(self.name, self.device)

    @property
    def network(self) -> IPv4Network | IPv6Network:
        return ip_network(self.pod_cidr)

    @property
    def gateway(self) -> str:
        """docker0's address: the subnet's first."""
        return str(self.network[1])

    @property
    def bridge_cidr(self) -> str:
        return f"{self.gateway}/{self.network.prefixlen}"

    @property
    def bridge_mac(self) -> str:
        return ip_mac(self.gateway)

    @property
    def vtep_ip(self) -> str:
        """flannel.1's address: the subnet's .0."""
        return str(self.network.network_address)

    @property
    def pod_mtu(self) -> int:
        """What the overlay leaves of the underlay's MTU; as Flannel, reckoned for IPv4 where the node has both. Someone
        else's overlay is given the room that VXLAN needs."""
        return self.mtu if self.backend == "host-gw" else self.device_mtu

    @property
    def device_mtu(self) -> int:
        """The VXLAN device's own."""
        return self.mtu - (VXLAN_OVERHEAD6 if self.is_ipv6 else VXLAN_OVERHEAD)


@dataclass(frozen=True, slots=True)
class PodNet:
    """A pod's attachment. `ifname` is the node's end (vethXXXXXXXX), `pod_ifname` the pod's. A dual-stack pod has its
    other family's address and gateway in `second`.

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
    second: tuple[str, str] | None = None

    @property
    def ip(self) -> str:
        return self.address.partition("/")[0]

    @property
    def attachments(self) -> tuple[tuple[str, str], ...]:
        """(address with prefix length, gateway) of each family."""
        return ((self.address, self.gateway), *((self.second,) if self.second else ()))

    @property
    def link_local(self) -> str:
        """The IPv6 link-local address of a pod that has IPv6, else empty."""
        v6 = any(":" in address for address, _ in self.attachments)
        return link_local(self.pod_mac) if v6 else ""

    @property
    def pod_mac(self) -> str:
        return self.mac or ip_mac(self.ip)

    @property
    def bridge_mac(self) -> str:
        return self.gateway_mac or ip_mac(self.gateway)

    @classmethod
    def of(cls, uid: str, ip: str | Sequence[str], node: NodeNet) -> PodNet:
        """The attachment of the pod with this uid and address (or addresses, primary first) to this node's docker0."""
        digest = hashlib.sha256(uid.encode()).hexdigest()
        ips = (ip,) if isinstance(ip, str) else ip
        (address, gateway), *rest = (
            (f"{one}/{net.network.prefixlen}", net.gateway) for one, net in zip(ips, node.families, strict=False)
        )
        return cls(
            id=uid,
            ifname=f"veth{digest[:8]}",
            address=address,
            gateway=gateway,
            gateway_mac=node.bridge_mac if ":" in gateway else "",
            second=rest[0] if rest else None,
            mtu=node.pod_mtu,
            netns=f"cni-{uid.replace('-', '')[:12]}",
        )
