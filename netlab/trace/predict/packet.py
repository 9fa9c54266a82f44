"""A packet on its way, and what conntrack knows of it on one machine. PURE."""

from __future__ import annotations

from dataclasses import dataclass, replace

from netlab.dataplane.ipvs.model import Frontend
from netlab.trace.model import Outer, View

VXLAN_OVERHEAD = {"IPv4": 50, "IPv6": 70}
"""Outer IP, UDP and VXLAN header, and the inner frame's Ethernet header, in bytes."""
HEADERS = {"tcp": 40, "udp": 8, "icmp": 8, "icmpv6": 8}
"""Bytes of transport header; of TCP a connection's first packet's, with the options that Linux puts there."""


@dataclass(frozen=True, slots=True)
class Pkt:
    """`length` from the IP header on, in bytes. `inner` with its MACs: what a VXLAN packet carries. `virtual`: the
    virtual server of this machine's that IPVS has taken it for. It and `mark` end with the machine (skb_scrub_packet).
    """

    src: str
    dst: str
    protocol: str
    sport: int | None = 0
    dport: int | None = 0
    ttl: int = 64
    length: int = 60
    df: bool = True
    mark: int = 0
    flags: str = ""
    inner: Pkt | None = None
    inner_macs: tuple[str, str] = ("", "")
    vni: int = 0
    virtual: Frontend | None = None

    @property
    def ipv6(self) -> bool:
        return ":" in self.dst

    @property
    def ends(self) -> Tuple:
        return Tuple(self.src, self.dst, self.sport, self.dport)

    def view(self, macs: tuple[str, str]) -> View:
        """As a packet socket shows it."""
        if self.inner is None:
            return View(self.src, self.dst, self.protocol, self.sport, self.dport, self.ttl, flags=self.flags,
                        length=self.length, macs=macs)  # fmt: skip
        outer = Outer(self.src, self.dst, self.vni, self.ttl, self.dport or 0)
        return replace(self.inner.view(macs), outer=outer)


@dataclass(frozen=True, slots=True)
class Tuple:
    """One direction of a connection. A port of None: some port that is not known yet."""

    src: str
    dst: str
    sport: int | None
    dport: int | None

    def reversed(self) -> Tuple:
        return Tuple(self.dst, self.src, self.dport, self.sport)

    def fits(self, other: Tuple) -> bool:
        ports = ((self.sport, other.sport), (self.dport, other.dport))
        return (self.src, self.dst) == (other.src, other.dst) and all(
            a is None or b is None or a == b for a, b in ports
        )

    def __str__(self) -> str:
        sport, dport = ("?" if port is None else port for port in (self.sport, self.dport))
        return f"src={self.src} dst={self.dst} sport={sport} dport={dport}"


@dataclass(slots=True)
class Connection:
    """What a machine's conntrack keeps: the tuple of the first packet, and the one its answers will have.
    `dnat`/`snat`: whether that manipulation has been decided (it is once for a connection); `…_done`: whether it
    changed anything."""

    protocol: str
    original: Tuple
    reply: Tuple
    dnat: bool = False
    snat: bool = False
    confirmed: bool = False

    @property
    def translated(self) -> Tuple:
        """The original direction, translated."""
        return self.reply.reversed()

    @property
    def dnat_done(self) -> bool:
        return (self.original.dst, self.original.dport) != (self.reply.src, self.reply.sport)

    @property
    def snat_done(self) -> bool:
        return (self.original.src, self.original.sport) != (self.reply.dst, self.reply.dport)

    def __str__(self) -> str:
        return f"{self.protocol} {self.original} | {self.reply}"
