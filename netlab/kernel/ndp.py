"""The same as `arp` for IPv6: neighbour solicitations answered, unsolicited advertisements sent (RFC 4861).

Solicitations come to the multicast group of the address, which the node has to join so that switches that look at MLD
let them through. Advertisements come from the address itself, as its owner's would.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Set
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv6Address

from netlab.kernel.bpf import INSTRUCTION, JEQ, LD_B, LD_H, RET
from netlab.kernel.capture import attach_filter
from netlab.kernel.netns import NetNs

ETH_P_IPV6 = 0x86DD
ICMPV6, SOLICITATION, ADVERTISEMENT = 58, 135, 136
SOLICITED, OVERRIDE = 0x40000000, 0x20000000
ALL_NODES = "ff02::1"
PACKET_OUTGOING = 4
_ETHERNET = struct.Struct("!6s6sH")
_IPV6 = struct.Struct("!IHBB16s16s")
_NEIGHBOUR = struct.Struct("!BBHI16s")
_OPTION = struct.Struct("!BB6s")
_TARGET_LINK_ADDRESS = 2

ONLY_SOLICITATIONS = b"".join(
    INSTRUCTION.pack(*instruction)
    for instruction in (
        (LD_H, 0, 0, 12),
        (JEQ, 0, 5, ETH_P_IPV6),
        (LD_B, 0, 0, 14 + 6),
        (JEQ, 0, 3, ICMPV6),
        (LD_B, 0, 0, 14 + 40),
        (JEQ, 0, 1, SOLICITATION),
        (RET, 0, 0, 0x40000),
        (RET, 0, 0, 0),
    )
)


@dataclass(frozen=True, slots=True)
class Solicitation:
    """Who has `target`? `source` is "::" where somebody looks whether the address is free."""

    source_mac: bytes
    source: str
    target: str


def parse(frame: bytes) -> Solicitation | None:
    """The solicitation in a frame; None where it is none, or has come from beyond the segment."""
    if len(frame) < _ETHERNET.size + _IPV6.size + _NEIGHBOUR.size:
        return None
    _, source_mac, kind = _ETHERNET.unpack_from(frame)
    _, _, protocol, hops, source, _ = _IPV6.unpack_from(frame, _ETHERNET.size)
    type_, code, _, _, target = _NEIGHBOUR.unpack_from(frame, _ETHERNET.size + _IPV6.size)
    if (kind, protocol, hops, type_, code) != (ETH_P_IPV6, ICMPV6, 255, SOLICITATION, 0):
        return None
    return Solicitation(source_mac, str(IPv6Address(source)), str(IPv6Address(target)))


def advertisement(target: str, mac: bytes, to: str, to_mac: bytes, flags: int) -> bytes:
    """The frame that says that `target` is at `mac`."""
    source, destination = IPv6Address(target).packed, IPv6Address(to).packed
    option = _OPTION.pack(_TARGET_LINK_ADDRESS, 1, mac)
    body = _NEIGHBOUR.pack(ADVERTISEMENT, 0, 0, flags, source) + option
    check = _checksum(source + destination + struct.pack("!II", len(body), ICMPV6) + body)
    body = body[:2] + struct.pack("!H", check) + body[4:]
    header = _IPV6.pack(6 << 28, len(body), ICMPV6, 255, source, destination)
    return _ETHERNET.pack(to_mac, mac, ETH_P_IPV6) + header + body


def answer(asked: Solicitation, addresses: Set[str], mac: bytes) -> bytes | None:
    """The frame with which a machine that answers for `addresses` replies; None where it is not asked."""
    if asked.target not in addresses:
        return None
    if asked.source == "::":  # duplicate address detection: tell everybody that it is taken
        return unsolicited(asked.target, mac)
    return advertisement(asked.target, mac, asked.source, asked.source_mac, SOLICITED | OVERRIDE)


def unsolicited(address: str, mac: bytes) -> bytes:
    """The frame that tells all neighbours where an address now is."""
    return advertisement(address, mac, ALL_NODES, _multicast_mac(ALL_NODES), OVERRIDE)


def solicited_node(address: str) -> str:
    """The multicast group to which solicitations for an address are sent."""
    return str(IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | (int(IPv6Address(address)) & 0xFFFFFF)))


def _multicast_mac(group: str) -> bytes:
    return b"\x33\x33" + IPv6Address(group).packed[-4:]


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class NdpResponder:
    """As ArpResponder; `join` before an address can be asked for, `leave` after."""

    def __init__(self, ns: NetNs, interface: str, addresses: Set[str]) -> None:
        """OSError where there is no such interface."""
        self._addresses = addresses
        self._index = ns.run(partial(socket.if_nametoindex, interface))
        self._socket = ns.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._groups = ns.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            attach_filter(self._socket, ONLY_SOLICITATIONS)
            self._socket.bind((interface, ETH_P_IPV6))
        except OSError:
            self.close()
            raise
        self.mac: bytes = self._socket.getsockname()[4]

    def fileno(self) -> int:
        return self._socket.fileno()

    def _group(self, option: int, address: str) -> None:
        request = IPv6Address(solicited_node(address)).packed + struct.pack("=I", self._index)
        with contextlib.suppress(OSError):  # two addresses may share a group, and it may have been left already
            self._groups.setsockopt(socket.IPPROTO_IPV6, option, request)

    def join(self, address: str) -> None:
        """Solicitations for the address are for us."""
        self._group(socket.IPV6_JOIN_GROUP, address)

    def leave(self, address: str) -> None:
        """No longer, unless another of our addresses is in the same group."""
        if not any(solicited_node(one) == solicited_node(address) for one in self._addresses if one != address):
            self._group(socket.IPV6_LEAVE_GROUP, address)

    def read(self) -> int:
        """How many solicitations were answered. OSError when the interface went down or away."""
        answered = 0
        while True:
            try:
                frame, sender = self._socket.recvfrom(2048)
            except BlockingIOError:
                return answered
            asked = parse(frame) if sender[2] != PACKET_OUTGOING else None
            reply = answer(asked, self._addresses, self.mac) if asked else None
            if reply is not None:
                self._socket.send(reply)
                answered += 1

    def announce(self, address: str) -> None:
        """Tell the segment that the address is here."""
        self._socket.send(unsolicited(address, self.mac))

    def close(self) -> None:
        self._socket.close()
        self._groups.close()
