"""The connection tracking table of a namespace, by netlink (linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from netlab.kernel import netlink as nl
from netlab.kernel.errors import KernelError
from netlab.kernel.netns import NetNs
from netlab.kernel.nlsocket import NETLINK_NETFILTER, SOL_NETLINK, NetlinkSocket

CT_NEW, CT_GET, CT_DELETE, CT_GET_STATS = 0x0100, 0x0101, 0x0102, 0x0105
CTA_STATS_GLOBAL_ENTRIES = 1
NFNLGRP_NEW, NFNLGRP_UPDATE, NFNLGRP_DESTROY = 1, 2, 3
NETLINK_ADD_MEMBERSHIP = 1
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS, CTA_PROTOINFO, CTA_TIMEOUT, CTA_MARK, CTA_ID = 1, 2, 3, 4, 7, 8, 12
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_IP_V4_SRC, CTA_IP_V4_DST, CTA_IP_V6_SRC, CTA_IP_V6_DST = 1, 2, 3, 4
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE = 1, 1

CONFIRMED, SEEN_REPLY, ASSURED, SRC_NAT, DST_NAT = 0x8, 0x2, 0x4, 0x10, 0x20
"""Bits of `Entry.status` (enum ip_conntrack_status)."""

TCP_STATES = (
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
)
_FAMILY = bytes((socket.AF_INET, 0, 0, 0))
_FAMILY6 = bytes((socket.AF_INET6, 0, 0, 0))
_BE32 = struct.Struct("!I")


class Netfilter(Protocol):
    """A namespace as far as the table needs it: NetNs, or whoever has got a socket of one."""

    @property
    def netfilter(self) -> NetlinkSocket: ...


@dataclass(frozen=True, slots=True)
class Tuple:
    """One direction of a connection. Ports are 0 where the protocol has none (ICMP)."""

    src: str
    dst: str
    sport: int
    dport: int

    def __str__(self) -> str:
        return f"src={self.src} dst={self.dst} sport={self.sport} dport={self.dport}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A tracked connection. `proto` is the IP protocol's number; `state` is TCP's, by name, or empty. Timeout in s."""

    proto: int
    original: Tuple
    reply: Tuple
    state: str
    status: int
    mark: int
    timeout: int
    id: int
    raw: bytes = field(default=b"", repr=False, compare=False)
    """The original tuple as the kernel gave it, by which it takes the entry back."""

    def __str__(self) -> str:
        """As conntrack(8) prints it, near enough."""
        name = {6: "tcp", 17: "udp", 1: "icmp"}.get(self.proto, str(self.proto))
        state = f" {self.state}" if self.state else ""
        assured = " [ASSURED]" if self.status & ASSURED else "" if self.status & SEEN_REPLY else " [UNREPLIED]"
        return f"{name} {self.proto} {self.timeout}{state} {self.original} {self.reply}{assured} mark={self.mark}"


def entries(ns: Netfilter, *, ipv6: bool = False) -> list[Entry]:
    """All IPv4 entries, or all IPv6 ones."""
    replies = ns.netfilter.dump(nl.message(CT_GET, 0, _FAMILY6 if ipv6 else _FAMILY), "conntrack table")
    return [_decode(reply) for reply in replies]


def count(ns: Netfilter) -> int:
    """How many entries there are, of both families: at once, where a dump walks the whole machine's table."""
    reply = ns.netfilter.get(nl.message(CT_GET_STATS, 0, bytes(4)), "conntrack statistics")
    return _number(nl.attributes(reply.body, 4).get(CTA_STATS_GLOBAL_ENTRIES))


def delete(ns: Netfilter, entry: Entry) -> bool:
    """Delete one entry; False where it was gone already (or another connection has its addresses now)."""
    tuple_, identity = nl.attr(CTA_TUPLE_ORIG | nl.NLA_F_NESTED, entry.raw), nl.attr(CTA_ID, _BE32.pack(entry.id))
    family = _FAMILY6 if ":" in entry.original.src else _FAMILY
    for refusal in ns.netfilter.send((nl.message(CT_DELETE, 0, family, tuple_, identity),)):
        if refusal.errno == errno.ENOENT:
            return False
        raise KernelError(refusal.errno or errno.EIO, f"conntrack entry {entry}", refusal.detail)
    return True


def subscribe(ns: NetNs) -> NetlinkSocket:
    """A socket of its own on which the namespace tells of connections that begin, change and end (see `events`)."""
    sock = ns.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    sock.bind((0, 0))
    for group in (NFNLGRP_NEW, NFNLGRP_UPDATE, NFNLGRP_DESTROY):
        sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    return NetlinkSocket(sock)


def events(stream: NetlinkSocket) -> Iterator[tuple[str, Entry]]:
    """What has arrived: ("new", "update" or "destroy", the connection). Never waits."""
    for message in stream.events():
        if message.type & 0xFF == CT_DELETE & 0xFF:
            yield "destroy", _decode(message)
        elif message.type & 0xFF == CT_NEW & 0xFF:
            yield ("new" if message.flags & nl.NLM_F_CREATE else "update"), _decode(message)


def flush(ns: Netfilter, *, proto: int = 0, dst: str = "", dport: int = 0, reply_src: str = "") -> int:
    """Delete the entries that match everything given; returns how many.

    `dst` and `dport` are of the original direction, `reply_src` is who answers: what a proxy cleans up when a UDP
    endpoint goes away (kube-proxy `pkg/proxy/conntrack`).
    """

    def matches(entry: Entry) -> bool:
        return (
            (not proto or entry.proto == proto)
            and (not dst or entry.original.dst == dst)
            and (not dport or entry.original.dport == dport)
            and (not reply_src or entry.reply.src == reply_src)
        )

    return sum(delete(ns, entry) for entry in entries(ns) if matches(entry))


def _decode(reply: nl.Message) -> Entry:
    found = nl.attributes(reply.body, 4)
    proto, original = _tuple(found[CTA_TUPLE_ORIG])
    _, answer = _tuple(found[CTA_TUPLE_REPLY])
    tcp = nl.attributes(nl.attributes(found.get(CTA_PROTOINFO, b"")).get(CTA_PROTOINFO_TCP, b""))
    state = tcp.get(CTA_PROTOINFO_TCP_STATE, b"")
    return Entry(
        proto=proto,
        original=original,
        reply=answer,
        state=TCP_STATES[state[0]] if state and state[0] < len(TCP_STATES) else "",
        status=_number(found.get(CTA_STATUS)),
        mark=_number(found.get(CTA_MARK)),
        timeout=_number(found.get(CTA_TIMEOUT)),
        id=_number(found.get(CTA_ID)),
        raw=found[CTA_TUPLE_ORIG],
    )


def _number(payload: bytes | None) -> int:
    return int.from_bytes(payload or b"", "big")


def _tuple(data: bytes) -> tuple[int, Tuple]:
    parts = nl.attributes(data)
    ip, proto = nl.attributes(parts[CTA_TUPLE_IP]), nl.attributes(parts[CTA_TUPLE_PROTO])
    ports = (_number(proto.get(kind)) for kind in (CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT))
    v4 = CTA_IP_V4_SRC in ip
    source = nl.ip_text(ip[CTA_IP_V4_SRC if v4 else CTA_IP_V6_SRC])
    destination = nl.ip_text(ip[CTA_IP_V4_DST if v4 else CTA_IP_V6_DST])
    return proto[CTA_PROTO_NUM][0], Tuple(source, destination, *ports)
