"""Decoding of captured Ethernet frames into frozen data: only the layers that a cluster's network uses.

Pure, and total: a frame that is cut short or unknown becomes a `Packet` with what could be read, never an exception.
VXLAN (RFC 7348) is followed inwards, so that one frame on the underlay shows both its headers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

ETH_IPV4, ETH_ARP, ETH_IPV6, ETH_VLAN = 0x0800, 0x0806, 0x86DD, 0x8100
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
VXLAN_PORTS = frozenset({8472, 4789})
"""Linux's (and Flannel's) default, and IANA's."""

PROTOCOL_NAMES = {ICMP: "ICMP", TCP: "TCP", UDP: "UDP", ICMPV6: "ICMPv6", 132: "SCTP"}
_TCP_FLAGS = ((0x02, "SYN"), (0x10, "ACK"), (0x01, "FIN"), (0x04, "RST"), (0x08, "PSH"), (0x20, "URG"))


@dataclass(frozen=True, slots=True)
class Packet:
    """One frame. Ports are 0 where the protocol has none; `inner` is the frame that a VXLAN packet carries."""

    eth_src: str
    eth_dst: str
    ethertype: int
    length: int
    src: str = ""
    dst: str = ""
    ttl: int = 0
    protocol: int = 0
    sport: int = 0
    dport: int = 0
    flags: tuple[str, ...] = ()
    info: str = ""
    payload: bytes = b""
    vni: int | None = None
    inner: Packet | None = None

    @property
    def innermost(self) -> Packet:
        """What a pod would see: the packet inside all encapsulation."""
        return self.inner.innermost if self.inner else self

    @property
    def protocol_name(self) -> str:
        return PROTOCOL_NAMES.get(self.protocol, str(self.protocol)) if self.protocol else "ARP"

    @property
    def source(self) -> str:
        """Address and port."""
        return f"{self.src}:{self.sport}" if self.sport else self.src

    @property
    def destination(self) -> str:
        return f"{self.dst}:{self.dport}" if self.dport else self.dst


def mac(raw: bytes) -> str:
    """Six bytes as `aa:bb:cc:dd:ee:ff`."""
    return raw.hex(":")


def decode(frame: bytes) -> Packet:
    """Decode an Ethernet frame."""
    if len(frame) < 14:
        return Packet("", "", 0, len(frame), info="cut short")
    dst, src, (ethertype,) = mac(frame[:6]), mac(frame[6:12]), struct.unpack_from("!H", frame, 12)
    body = frame[14:]
    if ethertype == ETH_VLAN and len(body) >= 4:
        (ethertype,) = struct.unpack_from("!H", body, 2)
        body = body[4:]
    fields: dict[str, object] = {}
    if ethertype == ETH_IPV4:
        fields = _ipv4(body)
    elif ethertype == ETH_IPV6:
        fields = _ipv6(body)
    elif ethertype == ETH_ARP:
        fields = _arp(body)
    return Packet(src, dst, ethertype, len(frame), **fields)  # type: ignore[arg-type]


def _arp(body: bytes) -> dict[str, object]:
    if len(body) < 28:
        return {"info": "cut short"}
    operation = struct.unpack_from("!H", body, 6)[0]
    sender, target = str(IPv4Address(body[14:18])), str(IPv4Address(body[24:28]))
    info = f"who has {target}? tell {sender}" if operation == 1 else f"{sender} is at {mac(body[8:14])}"
    return {"src": sender, "dst": target, "info": info}


def _ipv4(body: bytes) -> dict[str, object]:
    if len(body) < 20:
        return {"info": "cut short"}
    header = (body[0] & 0x0F) * 4
    total, fragment = struct.unpack_from("!H", body, 2)[0], struct.unpack_from("!H", body, 6)[0]
    fields: dict[str, object] = {
        "src": str(IPv4Address(body[12:16])),
        "dst": str(IPv4Address(body[16:20])),
        "ttl": body[8],
        "protocol": body[9],
    }
    if fragment & 0x1FFF:
        return fields | {"info": f"fragment at {(fragment & 0x1FFF) * 8}"}
    return fields | _transport(body[9], body[header : max(total, header)])


def _ipv6(body: bytes) -> dict[str, object]:
    if len(body) < 40:
        return {"info": "cut short"}
    length = struct.unpack_from("!H", body, 4)[0]
    fields: dict[str, object] = {
        "src": str(IPv6Address(body[8:24])),
        "dst": str(IPv6Address(body[24:40])),
        "ttl": body[7],
        "protocol": body[6],
    }
    return fields | _transport(body[6], body[40 : 40 + length])


def _transport(protocol: int, body: bytes) -> dict[str, object]:
    if protocol == TCP and len(body) >= 20:
        return _tcp(body)
    if protocol == UDP and len(body) >= 8:
        return _udp(body)
    if protocol in (ICMP, ICMPV6) and len(body) >= 8:
        return {"info": _icmp_text(protocol, body), "payload": body[8:]}
    return {}


def _tcp(body: bytes) -> dict[str, object]:
    sport, dport, seq, ack = struct.unpack_from("!HHII", body)
    offset, bits = (body[12] >> 4) * 4, body[13]
    return {
        "sport": sport,
        "dport": dport,
        "flags": tuple(name for bit, name in _TCP_FLAGS if bits & bit),
        "info": f"seq {seq} ack {ack}",
        "payload": body[offset:],
    }


def _udp(body: bytes) -> dict[str, object]:
    sport, dport, length = struct.unpack_from("!HHH", body)
    payload = body[8 : max(length, 8)]
    fields: dict[str, object] = {"sport": sport, "dport": dport, "payload": payload}
    if dport in VXLAN_PORTS and len(payload) >= 22 and payload[0] & 0x08:
        fields["vni"] = int.from_bytes(payload[4:7], "big")
        fields["inner"] = decode(payload[8:])
    return fields


_ICMP_TYPES = {
    (ICMP, 0): "echo reply",
    (ICMP, 3): "unreachable",
    (ICMP, 8): "echo request",
    (ICMP, 11): "time exceeded",
    (ICMPV6, 1): "unreachable",
    (ICMPV6, 128): "echo request",
    (ICMPV6, 129): "echo reply",
}


def _icmp_text(protocol: int, body: bytes) -> str:
    name = _ICMP_TYPES.get((protocol, body[0]), f"type {body[0]}")
    if name.startswith("echo"):
        return f"{name} id {int.from_bytes(body[4:6], 'big')} seq {int.from_bytes(body[6:8], 'big')}"
    if name == "unreachable" and protocol == ICMP:
        reasons = {0: "network", 1: "host", 2: "protocol", 3: "port", 4: "fragmentation needed", 13: "prohibited"}
        return f"{name}: {reasons.get(body[1], body[1])}"
    return name
