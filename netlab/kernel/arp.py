"""Answers ARP requests (RFC 826) for addresses that no interface has, and tells the segment of a take-over.

A load balancer's address belongs to no node: the leader only answers for it, from a packet socket, as MetalLB's layer-2
speaker does. So the kernel never takes such packets for its own, and what proxies do with them is not disturbed.
Gratuitous ARP in both forms, request and reply: some neighbours listen to one, some to the other.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Set
from dataclasses import dataclass
from ipaddress import IPv4Address

from netlab.kernel.netns import NetNs

ETH_P_ARP = 0x0806
REQUEST, REPLY = 1, 2
BROADCAST = b"\xff" * 6
_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ETHERNET_IPV4 = (1, 0x0800, 6, 4)
PACKET_OUTGOING = 4


@dataclass(frozen=True, slots=True)
class Arp:
    """One ARP packet with its Ethernet header."""

    to: bytes
    operation: int
    sender_mac: bytes
    sender: str
    target_mac: bytes
    target: str

    def pack(self) -> bytes:
        """The frame."""
        return _ETHERNET.pack(self.to, self.sender_mac, ETH_P_ARP) + _ARP.pack(
            *_ETHERNET_IPV4,
            self.operation,
            self.sender_mac,
            IPv4Address(self.sender).packed,
            self.target_mac,
            IPv4Address(self.target).packed,
        )


def parse(frame: bytes) -> Arp | None:
    """The packet in a frame; None where it is no ARP for IPv4 on Ethernet."""
    if len(frame) < _ETHERNET.size + _ARP.size:
        return None
    to, _, kind = _ETHERNET.unpack_from(frame)
    *head, operation, sender_mac, sender, target_mac, target = _ARP.unpack_from(frame, _ETHERNET.size)
    if kind != ETH_P_ARP or tuple(head) != _ETHERNET_IPV4:
        return None
    return Arp(to, operation, sender_mac, str(IPv4Address(sender)), target_mac, str(IPv4Address(target)))


def answer(asked: Arp, addresses: Set[str], mac: bytes) -> Arp | None:
    """The reply of a machine with this MAC that answers for `addresses`; None where it is not asked."""
    if asked.operation != REQUEST or asked.target not in addresses or asked.to not in (BROADCAST, mac):
        return None
    if asked.sender == asked.target:
        return None  # somebody else's announcement
    return Arp(asked.sender_mac, REPLY, mac, asked.target, asked.sender_mac, asked.sender)


def gratuitous(address: str, mac: bytes) -> tuple[Arp, Arp]:
    """The announcements that an address is now here."""
    return tuple(  # type: ignore[return-value]
        Arp(BROADCAST, operation, mac, address, BROADCAST, address) for operation in (REQUEST, REPLY)
    )


class ArpResponder:
    """An open packet socket on one interface. `read` answers what has arrived, without blocking."""

    def __init__(self, ns: NetNs, interface: str, addresses: Set[str]) -> None:
        """`addresses` is looked at anew for every request. OSError where there is no such interface."""
        self._addresses = addresses
        self._socket = ns.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            self._socket.bind((interface, ETH_P_ARP))
        except OSError:
            self._socket.close()
            raise
        self.mac: bytes = self._socket.getsockname()[4]

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> int:
        """How many requests were answered. OSError when the interface went down or away."""
        answered = 0
        while True:
            try:
                frame, sender = self._socket.recvfrom(2048)
            except BlockingIOError:
                return answered
            asked = parse(frame) if sender[2] != PACKET_OUTGOING else None
            reply = answer(asked, self._addresses, self.mac) if asked else None
            if reply is not None:
                self._socket.send(reply.pack())
                answered += 1

    def announce(self, address: str) -> None:
        """Tell the segment that the address is here."""
        for packet in gratuitous(address, self.mac):
            self._socket.send(packet.pack())

    def close(self) -> None:
        self._socket.close()
