"""Sends one real packet from inside a namespace, through the kernel's own sockets: a SYN, a datagram, an echo request.

The socket is made and bound first, so that everything which is to see the packet can be told its ports and its token;
`send` then lets it go.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from dataclasses import dataclass, field

from netlab.kernel.errors import KernelError
from netlab.kernel.netns import NetNs
from netlab.trace.token import Token

TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
TCP_SEND_QUEUE = 2
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_PMTUDISC_DONT = 10, 2, 0
IPV6_MTU_DISCOVER = 23


@dataclass(slots=True)
class Probe:
    """A packet that is ready. `sport` is 0 for ICMP. `error`: errno of what the kernel said when it was sent, or
    since."""

    sock: socket.socket
    token: Token
    dst: str
    dport: int
    sport: int
    payload: bytes
    error: int = 0
    sent: bool = field(default=False)

    def send(self) -> None:
        """Never waits, never raises."""
        self.sent = True
        try:
            if self.token.protocol == "tcp":
                self.sock.connect((self.dst, self.dport))
            else:
                self.sock.sendto(self.payload, (self.dst, self.dport))
        except BlockingIOError:
            pass
        except OSError as problem:
            self.error = problem.errno or 0

    def look(self) -> int:
        """The kernel's word since: an errno, 0 for none."""
        with contextlib.suppress(OSError):
            self.error = self.error or self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return self.error

    def close(self) -> None:
        self.sock.close()


def prepare(
    ns: NetNs, protocol: str, src: str, dst: str, dport: int, *, size: int = 0, df: bool = True, payload: bytes = b""
) -> Probe:
    """A probe of `size` bytes of payload (TCP's first packet has none). `payload`: what a datagram says; a DNS query is
    one. KernelError where the kernel refuses such a socket there."""
    v6 = ":" in dst
    family = socket.AF_INET6 if v6 else socket.AF_INET
    value = int.from_bytes(os.urandom(4), "big") % 0xFFFFFFFE + 1  # neither it nor what acknowledges it is 0
    try:
        if protocol == "tcp":
            return _tcp(ns, family, value, src, dst, dport)
        if protocol == "udp":
            return _udp(ns, family, value, src, dst, dport, size, df, payload)
        return _icmp(ns, family, value, src, dst, size, df)
    except OSError as problem:
        raise KernelError(problem.errno or 0, f"a {protocol} socket in {ns.name}") from problem


def _tcp(ns: NetNs, family: int, value: int, src: str, dst: str, dport: int) -> Probe:
    sock = ns.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, struct.pack("=I", value))
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 0)
    sock.bind((src, 0))
    token = Token("tcp", value, family == socket.AF_INET6)
    return Probe(sock, token, dst, dport, sock.getsockname()[1], b"")


def _udp(
    ns: NetNs, family: int, value: int, src: str, dst: str, dport: int, size: int, df: bool, payload: bytes
) -> Probe:
    sock = ns.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    _fragments(sock, family, df)
    sock.bind((src, 0))
    dns = bool(payload)
    if not dns:
        payload = struct.pack("!I", value) + b"klab trace" + b"\0" * max(0, size - 14)
        payload = payload[: max(size, 4)] if size else payload
    token = Token("udp", int.from_bytes(payload[:4], "big"), family == socket.AF_INET6, dns)
    return Probe(sock, token, dst, dport, sock.getsockname()[1], payload)


def _icmp(ns: NetNs, family: int, value: int, src: str, dst: str, size: int, df: bool) -> Probe:
    v6 = family == socket.AF_INET6
    protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
    sock = ns.socket(family, socket.SOCK_RAW, protocol)
    sock.setblocking(False)
    _fragments(sock, family, df)
    sock.bind((src, 0))
    body = struct.pack("!I", value) + b"\0" * max(0, (size or 56) - 4)
    identity = value & 0xFFFF
    head = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, identity, 1)
    if not v6:  # of ICMPv6 the kernel computes it
        head = struct.pack("!BBHHH", 8, 0, _checksum(head + body), identity, 1)
    return Probe(sock, Token("icmpv6" if v6 else "icmp", value, v6), dst, 0, 0, head + body)


def _fragments(sock: socket.socket, family: int, df: bool) -> None:
    level, option = (
        (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER) if family == socket.AF_INET6 else (socket.IPPROTO_IP, IP_MTU_DISCOVER)
    )
    sock.setsockopt(level, option, IP_PMTUDISC_DO if df else IP_PMTUDISC_DONT)


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)
