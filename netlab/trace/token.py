"""By what one probe is known wherever it is seen: a value that NAT and encapsulation leave alone. PURE.

Of TCP it is the first sequence number, which the prober chooses; of UDP and ICMP the first bytes of the payload. The
same value makes the kernel's filters: packet sockets (classic BPF, inside VXLAN too) and the trace tables see this flow
and nothing else. Answers carry it too: as the acknowledgement, or in the packet that an ICMP error quotes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from netlab.trace.packet import ETH_IPV4, ETH_IPV6, ICMP, ICMPV6, TCP, UDP, Packet, decode

NUMBERS = {"tcp": TCP, "udp": UDP, "icmp": ICMP, "icmpv6": ICMPV6}
_INSTRUCTION = struct.Struct("=HBBI")
_LD_W, _LD_H, _LDX_JEQ, _RET = 0x20, 0x28, 0x15, 0x06
_ACCEPT = 0x40000

Role = Literal["request", "reply", "error"]


@dataclass(frozen=True, slots=True)
class Token:
    """`value`: 32 bits of TCP's first sequence number, or of the payload's beginning. `dns`: the payload is a DNS query,
    whose first 16 bits its answer keeps."""

    protocol: str
    value: int
    ipv6: bool = False
    dns: bool = False

    @property
    def raw(self) -> bytes:
        return struct.pack("!I", self.value)

    @property
    def next(self) -> int:
        """What acknowledges a SYN."""
        return (self.value + 1) & 0xFFFFFFFF

    def marks(self) -> tuple[tuple[int, int, bytes], ...]:
        """(IP protocol, offset behind the transport header's start, bytes) of requests and answers, for a trace table."""
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
        tests.sort()
        code = b""
        for number, (offset, load, value) in enumerate(tests):
            to_accept = 2 * (len(tests) - number - 1) + 1
            code += _INSTRUCTION.pack(load, 0, 0, offset) + _INSTRUCTION.pack(_LDX_JEQ, to_accept, 0, value)
        return code + _INSTRUCTION.pack(_RET, 0, 0, 0) + _INSTRUCTION.pack(_RET, 0, 0, _ACCEPT)

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


def _numbers(info: str) -> tuple[int, int]:
    """(sequence, acknowledgement) of `packet`'s words."""
    words = info.split()
    return (int(words[1]), int(words[3])) if len(words) == 4 and words[0] == "seq" else (-1, -1)


def decode_ip(data: bytes) -> Packet:
    """An IP packet, as the kernel's trace gives it, without a frame around."""
    kind = ETH_IPV6 if data[:1] and data[0] >> 4 == 6 else ETH_IPV4
    return decode(b"\0" * 12 + struct.pack("!H", kind) + data)
