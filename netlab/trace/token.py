"""By what one probe is known wherever it is seen: a value that NAT and encapsulation leave alone. PURE.

Of TCP it is the first sequence number, which the prober chooses; of UDP and ICMP the first bytes of the payload. The
same value makes the kernel's filters: packet sockets (classic BPF, inside VXLAN too) and the trace tables see this flow
and nothing else. Answers carry it too: as the acknowledgement, or in the packet that an ICMP error quotes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from netlab.trace.model import Flow
from netlab.trace.packet import ETH_IPV4, ETH_IPV6, ICMP, ICMPV6, TCP, UDP, Packet, decode

NUMBERS = {"tcp": TCP, "udp": UDP, "icmp": ICMP, "icmpv6": ICMPV6}
_INSTRUCTION = struct.Struct("=HBBI")
_LD_W, _LD_H, _LD_B, _SUB, _JGE, _RET = 0x20, 0x28, 0x30, 0x14, 0x35, 0x06
_ACCEPT = 0x40000

Role = Literal["request", "reply", "error"]


@dataclass(frozen=True, slots=True)
class Token:
    """`value`: 32 bits of TCP's first sequence number, or of the payload's beginning. `dns`: the payload is a DNS
    query, whose first 16 bits its answer keeps."""

    protocol: str
    value: int
    ipv6: bool = False
    dns: bool = False
    whole: bool = False
    """TCP: the packet sockets see the whole connection (its first 64 KiB each way), not only how it begins."""

    @property
    def raw(self) -> bytes:
        return struct.pack("!I", self.value)

    @property
    def next(self) -> int:
        """What acknowledges a SYN."""
        return (self.value + 1) & 0xFFFFFFFF

    def marks(self) -> tuple[tuple[int, int, bytes], ...]:
        """(IP protocol, offset behind the transport header's start, bytes) of requests and answers, for a trace
        table."""
        number = NUMBERS[self.protocol]
        if self.protocol == "tcp":
            return (number, 4, self.raw), (number, 8, struct.pack("!I", self.next))
        if self.dns:
            return ((number, 8, self.raw[:2]),)
        return ((number, 8, self.raw),)

    def bpf(self) -> bytes:
        """A program that accepts Ethernet frames with the token where it must be, plain or in VXLAN, also quoted by an
        ICMP error. Shallow tests first: a load behind the packet's end refuses it."""
        header = 40 if self.ipv6 else 20
        tests: list[tuple[int, int, int]] = []
        for start in (14, 14 + header + 8 + 8 + 14):
            transport = start + header
            quoted = transport + 8 + header
            if self.protocol == "tcp":
                tests += [
                    (transport + 4, _LD_W, self.value),
                    (transport + 8, _LD_W, self.next),
                    (quoted + 4, _LD_W, self.value),
                ]
            elif self.dns:
                tests += [(transport + 8, _LD_H, self.value >> 16), (quoted + 8, _LD_H, self.value >> 16)]
            else:
                tests += [(transport + 8, _LD_W, self.value), (quoted + 8, _LD_W, self.value)]
        return _program(sorted(tests), SPAN if self.whole else 1)

    def role(self, packet: Packet) -> Role | None:
        """What a packet (its innermost) is to the probe; None: nothing. For UDP without DNS a request's echo is told
        apart by whoever knows the addresses: both are "request" here."""
        inner = packet.innermost
        if inner.protocol in (ICMP, ICMPV6) and not inner.info.startswith("echo"):
            return "error" if self.raw[: 2 if self.dns else 4] in inner.payload else None
        if inner.protocol != NUMBERS[self.protocol]:
            return None
        if self.protocol == "tcp":
            sequence, acknowledged = _numbers(inner.info)
            if sequence == self.value and "SYN" in inner.flags:
                return "request"
            return "reply" if acknowledged == self.next and "ACK" in inner.flags else None
        if self.dns:
            if inner.payload[:2] != self.raw[:2] or len(inner.payload) < 3:
                return None
            return "reply" if inner.payload[2] & 0x80 else "request"
        if inner.payload[:4] != self.raw:
            return None
        return "reply" if inner.info.startswith("echo reply") else "request"


SPAN = 1 << 16


def _program(tests: Sequence[tuple[int, int, int]], span: int = 1) -> bytes:
    """Accepts where the value at an offset is the wanted one, or less than `span` above it."""
    code = b""
    for number, (offset, load, value) in enumerate(tests):
        to_accept = 3 * (len(tests) - number - 1) + 1
        code += _INSTRUCTION.pack(load, 0, 0, offset) + _INSTRUCTION.pack(_SUB, 0, 0, value)
        code += _INSTRUCTION.pack(_JGE, 0, to_accept, span)
    return code + _INSTRUCTION.pack(_RET, 0, 0, 0) + _INSTRUCTION.pack(_RET, 0, 0, _ACCEPT)


@dataclass(frozen=True, slots=True)
class AnyToken:
    """Before a real packet came by: whatever has one of these ports (TCP, UDP), or is an echo (ICMP)."""

    protocol: str
    ports: frozenset[int]
    ipv6: bool = False
    whole: bool = True

    def marks(self) -> tuple[tuple[int, int, bytes], ...]:
        number = NUMBERS[self.protocol]
        if self.protocol in ("icmp", "icmpv6"):
            kinds = (128, 129) if self.protocol == "icmpv6" else (8, 0)
            return tuple((number, 0, bytes((kind,))) for kind in kinds)
        return tuple((number, at, struct.pack("!H", port)) for port in sorted(self.ports) for at in (2, 0))

    def bpf(self) -> bytes:
        header = 40 if self.ipv6 else 20
        tests: list[tuple[int, int, int]] = []
        for start in (14, 14 + header + 8 + 8 + 14):
            at = start + header
            if self.protocol in ("icmp", "icmpv6"):
                tests += [(start + (6 if self.ipv6 else 9), _LD_B, NUMBERS[self.protocol])]
            else:
                tests += [(at + place, _LD_H, port) for port in sorted(self.ports) for place in (0, 2)]
        return _program(sorted(tests))

    def role(self, packet: Packet) -> Role | None:
        return None


def is_first(packet: Packet, flow: Flow) -> bool:
    """Whether a packet begins such a flow."""
    if (packet.dst, packet.protocol) != (flow.dst, NUMBERS[flow.protocol]):
        return False
    if flow.protocol == "tcp":
        return packet.dport == flow.dport and packet.flags == ("SYN",)
    if flow.protocol == "udp":
        return packet.dport == flow.dport
    return packet.info.startswith("echo request")


def token_of(packet: Packet, protocol: str) -> Token:
    """By what a packet that was seen is known from now on."""
    v6 = ":" in packet.dst
    if protocol == "tcp":
        return Token(protocol, _numbers(packet.info)[0], v6)
    dns = protocol == "udp" and packet.dport == 53
    return Token(protocol, int.from_bytes(packet.payload[:4].ljust(4, b"\0"), "big"), v6, dns)


def _numbers(info: str) -> tuple[int, int]:
    """(sequence, acknowledgement) of `packet`'s words."""
    words = info.split()
    return (int(words[1]), int(words[3])) if len(words) == 4 and words[0] == "seq" else (-1, -1)


def decode_ip(data: bytes) -> Packet:
    """An IP packet, as the kernel's trace gives it, without a frame around."""
    kind = ETH_IPV6 if data[:1] and data[0] >> 4 == 6 else ETH_IPV4
    return decode(b"\0" * 12 + struct.pack("!H", kind) + data)
