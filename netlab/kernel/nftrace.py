"""Following single packets through a namespace's rules: nftables trace events, and legacy tables' log of traced
packets.

`skb->nf_trace` is one bit for both worlds: nftables tells on the multicast group NFTRACE which rules a packet with that
bit met, legacy xtables logs them through whichever logger the namespace has, here nfnetlink_log's group 0. So the only
thing that must be added to a namespace is one nftables table that sets the bit on packets with a certain token, and its
owner flag makes the kernel remove it with the socket that made it, however that process ends. (Rejected: the TRACE
target in the raw table, which would stay behind after SIGKILL, and counters' differences, which others change too.)
Numbers: linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink_log.h.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from netlab.kernel import netlink as nl
from netlab.kernel.errors import KernelError
from netlab.kernel.netns import NetNs
from netlab.kernel.nftables.batch import transact
from netlab.kernel.nftables.wire import BE32, BE32_SIGNED, BE64, be32, expression, value
from netlab.kernel.nlsocket import NETLINK_NETFILTER, SOL_NETLINK, NetlinkSocket

TABLE = "klab-trace"
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
FIRST = -450
"""Before raw (-300), conntrack defragmentation (-400) and everything that a cluster writes."""

_NFTABLES, _ULOG = 10 << 8, 4 << 8
_NEWTABLE, _NEWCHAIN, _NEWRULE, _TRACE = (_NFTABLES | n for n in (0, 3, 6, 17))
_TABLE_F_OWNER = 2
_GROUP_NFTRACE = 9
_ADD_MEMBERSHIP = 1
_INET = 1
_META_NFTRACE, _META_L4PROTO = 12, 16
_TRACE_TYPES = {1: "policy", 2: "return", 3: "rule"}
_VERDICTS = {
    0: "drop",
    1: "accept",
    0xFFFFFFFF: "continue",
    0xFFFFFFFD: "jump",
    0xFFFFFFFC: "goto",
    0xFFFFFFFB: "return",
}
_CMD_BIND, _CMD_UNBIND, _CMD_PF_BIND = 1, 2, 3
_LOGGERS = {socket.AF_INET: "nf_log_ipv4", socket.AF_INET6: "nf_log_ipv6"}


@dataclass(frozen=True, slots=True)
class Mark:
    """Packets to follow: of IP protocol `protocol`, with `value` at `offset` bytes behind the start of the transport
    header."""

    protocol: int
    offset: int
    value: bytes


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that a followed packet met. `what`: "rule", "return" or "policy". A legacy table's rule has its `number`
    in the chain (from 1), an nftables one its `handle`; the other is 0.

    `packet` is the packet from its network header on, as much as the kernel told (legacy: at most 128 bytes; nftables:
    the headers, only with the first event of a packet, whose `id` the others share). `verdict` is nftables' word.
    """

    backend: str
    family: str
    table: str
    chain: str
    what: str
    number: int = 0
    handle: int = 0
    hook: str = ""
    verdict: str = ""
    to: str = ""
    indev: int = 0
    outdev: int = 0
    mark: int = 0
    id: int = 0
    packet: bytes = b""


class Tracer:
    """Watches a namespace until closed. `fileno` is for an event loop, `read` for what has arrived."""

    def __init__(self, ns: NetNs) -> None:
        self.ns = ns
        self._tables = _socket(ns)
        self._events = _socket(ns, _GROUP_NFTRACE)
        """Both nftables' events and the log: on one socket they keep their order."""
        self._bound = False

    def arm(self, marks: Sequence[Mark], *, legacy: Iterable[int] = (socket.AF_INET,)) -> None:
        """Follow packets with any of these marks, from now on. `legacy`: address families whose legacy tables may have
        rules. KernelError where this kernel has no nftables, or someone else reads log group 0."""
        requests = [_message(_NEWTABLE, nl.NLM_F_CREATE, nl.text(1, TABLE), be32(2, _TABLE_F_OWNER))]
        for number, name in ((0, "prerouting"), (3, "output")):
            hook = nl.nested(4, be32(1, number), nl.attr(2, BE32_SIGNED.pack(FIRST)), flag=True)
            head = (nl.text(1, TABLE), nl.text(3, name), hook, nl.text(7, "filter"))
            requests.append(_message(_NEWCHAIN, nl.NLM_F_CREATE, *head))
            for mark in marks:
                rule = (nl.text(1, TABLE), nl.text(2, name), nl.nested(4, *_expressions(mark), flag=True))
                requests.append(_message(_NEWRULE, nl.NLM_F_CREATE | nl.NLM_F_APPEND, *rule))
        self._transaction(requests, f"trace table in {self.ns.name}")
        for family in legacy:
            self._log_to_us(family)

    def _transaction(self, requests: Sequence[bytes], what: str) -> None:
        for refusal in transact(self._tables, requests):
            raise KernelError(refusal.errno or 0, what, refusal.detail)

    def _log_to_us(self, family: int) -> None:
        """Legacy tables' traces to our socket: the namespace's logger of the family, and group 0 of it."""
        self._events.request(_config(family, 0, nl.attr(1, bytes((_CMD_PF_BIND,)))), f"packet log of {self.ns.name}")
        if self._bound:
            return
        for attribute in (
            nl.attr(1, bytes((_CMD_BIND,))),
            nl.attr(2, struct.pack("!IBx", 128, 2)),
            be32(5, 1),
        ):
            self._events.request(_config(0, 0, attribute), f"packet log group 0 of {self.ns.name}")
        self._bound = True

    def fileno(self) -> int:
        return self._events.sock.fileno()

    def read(self) -> Iterator[Hit]:
        """What has arrived, in the order in which it happened; never waits."""
        for message in self._events.events():
            hit: Hit | None = None
            if message.type == _TRACE:
                hit = _decode_nft(message)
            elif message.type == _ULOG:
                hit = _decode_log(message)
            if hit is not None and hit.table != TABLE:
                yield hit

    def give_back(self) -> None:
        """The logger, to whom it belonged."""
        if self._bound:
            self._bound = False
            for family, name in _LOGGERS.items():
                number = {socket.AF_INET: 2, socket.AF_INET6: 10}[family]
                self.ns.run(lambda number=number, name=name: _set_logger(number, name))  # type: ignore[misc]

    def close(self) -> None:
        """The table goes with its socket."""
        self.give_back()
        for held in (self._events, self._tables):
            held.close()


def leftover(ns: NetNs) -> bool:
    """Whether an earlier tracer that was killed left the logger with nfnetlink_log; it is given back here."""

    def look() -> bool:
        found = False
        for number, name in ((2, "nf_log_ipv4"), (10, "nf_log_ipv6")):
            path = Path(f"/proc/sys/net/netfilter/nf_log/{number}")
            if path.exists() and path.read_text().strip() == "nfnetlink_log":
                _set_logger(number, name)
                found = True
        return found

    return ns.run(look)


def _set_logger(number: int, name: str) -> None:
    path = Path(f"/proc/sys/net/netfilter/nf_log/{number}")
    for logger in (name, "NONE"):
        with contextlib.suppress(OSError):
            path.write_text(logger)
            return


def _socket(ns: NetNs, *groups: int) -> NetlinkSocket:
    sock = ns.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    sock.bind((0, 0))
    for group in groups:
        sock.setsockopt(SOL_NETLINK, _ADD_MEMBERSHIP, group)
    return NetlinkSocket(sock)


def _message(kind: int, flags: int, *attributes: bytes) -> bytes:
    return nl.message(kind, flags, bytes((_INET, 0, 0, 0)), *attributes)


def _config(family: int, group: int, *attributes: bytes) -> bytes:
    return nl.message(_ULOG | 1, 0, struct.pack("!BBH", family, 0, group), *attributes)


def _expressions(mark: Mark) -> list[bytes]:
    place = (be32(n, number) for n, number in ((1, 1), (2, 2), (3, mark.offset), (4, len(mark.value))))
    return [
        expression("meta", be32(1, 1), be32(2, _META_L4PROTO)),
        _equals(bytes((mark.protocol,))),
        expression("payload", *place),
        _equals(mark.value),
        expression("immediate", be32(1, 1), value(2, b"\1")),
        expression("meta", be32(2, _META_NFTRACE), be32(3, 1)),
    ]


def _equals(data: bytes) -> bytes:
    return expression("cmp", be32(1, 1), be32(2, 0), value(3, data))


def _decode_nft(message: nl.Message) -> Hit:
    found = nl.attributes(message.body, 4)

    def number(kind: int) -> int:
        return int(BE32.unpack(found[kind])[0]) if kind in found else 0

    verdict = nl.attributes(found.get(5, b""))
    code = BE32.unpack(verdict[1])[0] if 1 in verdict else number(16)
    return Hit(
        "nft",
        {1: "inet", 2: "ip", 10: "ip6"}.get(message.body[0], str(message.body[0])),
        nl.cstring(found.get(1, b"")),
        nl.cstring(found.get(2, b"")),
        _TRACE_TYPES.get(number(4), "?"),
        handle=BE64.unpack(found[3])[0] if 3 in found else 0,
        verdict=_VERDICTS.get(code, str(code)),
        to=nl.cstring(verdict.get(2, b"")),
        indev=number(10),
        outdev=number(12),
        mark=number(14),
        id=number(6),
        packet=found.get(8, b"") + found.get(9, b""),
    )


def _decode_log(message: nl.Message) -> Hit | None:
    """None for a log line that is no trace."""
    found = nl.attributes(message.body, 4)
    words = nl.cstring(found.get(10, b""))
    if not words.startswith("TRACE: "):
        return None
    table, chain, what, number = words.removeprefix("TRACE: ").strip().rsplit(":", 3)

    def index(kind: int) -> int:
        return int(BE32.unpack(found[kind])[0]) if kind in found else 0

    return Hit(
        "legacy",
        "ip6" if message.body[0] == socket.AF_INET6 else "ip",
        table,
        chain,
        what,
        number=int(number),
        hook=HOOKS[found[1][2]] if 1 in found else "",
        indev=index(4),
        outdev=index(5),
        mark=index(2),
        packet=found.get(9, b""),
    )
