"""IPVS of a namespace, by generic netlink (linux/ip_vs.h), and its dummy device.

The family's number is asked for once. Requests go in batches; what is refused is told with the command that it would
have been. Kernels before 6.11 refuse all of it in a user namespace: there only root's labs have IPVS.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netlab.dataplane.ipvs.model import DEVICE, SCHEDULERS, Frontend, RealServer, Scheduler, VirtualServer
from netlab.dataplane.ipvs.state import Bound, Device, Real, Step
from netlab.dataplane.model import Link
from netlab.kernel import links
from netlab.kernel import netlink as nl
from netlab.kernel import rtnl as rt
from netlab.kernel.errors import KernelError
from netlab.kernel.netns import NetNs
from netlab.kernel.nlsocket import NetlinkSocket

NETLINK_GENERIC = 16
GENL_ID_CTRL = 16
CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 3, 1, 2
NEW_SERVICE, SET_SERVICE, DEL_SERVICE, GET_SERVICE, NEW_DEST, SET_DEST, DEL_DEST, GET_DEST = range(1, 9)
FLUSH = 17
ATTR_SERVICE, ATTR_DEST = 1, 2
SVC_AF, SVC_PROTOCOL, SVC_ADDR, SVC_PORT, SVC_FWMARK, SVC_SCHED, SVC_FLAGS, SVC_TIMEOUT, SVC_NETMASK = range(1, 10)
DEST_ADDR, DEST_PORT, DEST_METHOD, DEST_WEIGHT, DEST_UPPER, DEST_LOWER, DEST_ACTIVE, DEST_INACTIVE = range(1, 9)
DEST_PERSISTENT, DEST_STATS, DEST_AF, DEST_STATS64 = 9, 10, 11, 12
SVC_STATS, SVC_STATS64 = 10, 12
STATS_CONNS, STATS_IN_PACKETS, STATS_OUT_PACKETS, STATS_IN_BYTES, STATS_OUT_BYTES = 1, 2, 3, 4, 5
FLAG_PERSISTENT, FLAG_HASHED, FLAG_SCHED2 = 0x1, 0x2, 0x10
METHOD_NAT = 0

_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_NAMES = {number: name for name, number in _PROTOCOLS.items()}
_FLAGS = struct.Struct("=II")
GONE = frozenset({errno.ENOENT, errno.ESRCH})


@dataclass(frozen=True, slots=True)
class Stats:
    """What a server has seen since it was made."""

    connections: int = 0
    in_packets: int = 0
    out_packets: int = 0
    in_bytes: int = 0
    out_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ObservedReal:
    """A real server as the kernel has it. Connections that it carries, and statistics."""

    server: RealServer
    active: int
    inactive: int
    persistent: int
    stats: Stats


@dataclass(frozen=True, slots=True)
class ObservedServer:
    server: VirtualServer
    stats: Stats


class Ipvs:
    """The IPVS of one namespace. Not for two threads at once. KernelError ENOENT where the kernel has none."""

    def __init__(self, ns: NetNs) -> None:
        self._ns = ns
        self._socket = NetlinkSocket(ns.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC))
        self._family = 0

    def close(self) -> None:
        self._socket.close()

    @property
    def family(self) -> int:
        """The number under which the kernel registered IPVS."""
        if not self._family:
            body = bytes((CTRL_CMD_GETFAMILY, 1, 0, 0))
            request = nl.message(GENL_ID_CTRL, 0, body, nl.text(CTRL_ATTR_FAMILY_NAME, "IPVS"))
            reply = self._socket.get(request, "generic netlink family IPVS")
            self._family = int.from_bytes(nl.attributes(reply.body, 4)[CTRL_ATTR_FAMILY_ID], sys.byteorder)
        return self._family

    def apply(self, steps: Sequence[Step]) -> None:
        """Virtual and real servers. Deleting what is gone is no error; KernelError names the first that was refused."""
        requests = [self._request(step) for step in steps]
        for refusal in self._socket.send(requests):
            step = steps[refusal.index]
            if not (step.op == "del" and refusal.errno in GONE):
                raise KernelError(refusal.errno or errno.EIO, str(step), refusal.detail)

    def _request(self, step: Step) -> bytes:
        place = {"add": 0, "change": 1, "del": 2}[step.op]
        if isinstance(step.thing, VirtualServer):
            body = service(step.thing) if step.op != "del" else identity(step.thing.frontend)
            return self._message((NEW_SERVICE, SET_SERVICE, DEL_SERVICE)[place], nl.nested(ATTR_SERVICE, body))
        assert isinstance(step.thing, Real)  # noqa: S101
        attributes = (
            nl.nested(ATTR_SERVICE, identity(step.thing.frontend)),
            nl.nested(ATTR_DEST, destination(step.thing.server)),
        )
        return self._message((NEW_DEST, SET_DEST, DEL_DEST)[place], *attributes)

    def _message(self, command: int, *attributes: bytes) -> bytes:
        return nl.message(self.family, 0, bytes((command, 1, 0, 0)), *attributes)

    def flush(self) -> None:
        """Removes all servers of the namespace."""
        self._socket.request(self._message(FLUSH), "ipvsadm -C")

    def servers(self) -> list[ObservedServer]:
        """All virtual servers but those by firewall mark."""
        found = []
        for reply in self._socket.dump(self._message(GET_SERVICE), "ipvsadm -L"):
            fields = nl.attributes(nl.attributes(reply.body, 4)[ATTR_SERVICE])
            if SVC_PORT in fields and SVC_PROTOCOL in fields and _number(fields[SVC_PROTOCOL]) in _NAMES:
                found.append(_server(fields))
        return found

    def reals(self, frontend: Frontend) -> list[ObservedReal]:
        """The real servers of a virtual server; none where there is no such server."""
        request = self._message(GET_DEST, nl.nested(ATTR_SERVICE, identity(frontend)))
        replies = self._socket.dump(request, f"ipvsadm -L {frontend}")
        return [_real(nl.attributes(nl.attributes(reply.body, 4)[ATTR_DEST])) for reply in replies]


def _address(text: str) -> bytes:
    """union nf_inet_addr: sixteen bytes, an IPv4 address in the first four."""
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text).ljust(16, b"\0")


def _af(text: str) -> int:
    return socket.AF_INET6 if ":" in text else socket.AF_INET


def identity(frontend: Frontend) -> bytes:
    """What a virtual server is known by."""
    return b"".join(
        (
            nl.u16(SVC_AF, _af(frontend.address)),
            nl.u16(SVC_PROTOCOL, _PROTOCOLS[frontend.protocol]),
            nl.attr(SVC_ADDR, _address(frontend.address)),
            nl.attr(SVC_PORT, nl.BE16.pack(frontend.port)),
        )
    )


def service(server: VirtualServer) -> bytes:
    """All of a virtual server."""
    flags = (FLAG_PERSISTENT if server.persistent is not None else 0) | (FLAG_SCHED2 if server.source_hash else 0)
    is_ipv6 = ":" in server.frontend.address
    return identity(server.frontend) + b"".join(
        (
            nl.text(SVC_SCHED, server.scheduler),
            nl.attr(SVC_FLAGS, _FLAGS.pack(flags, 0xFFFFFFFF)),
            nl.u32(SVC_TIMEOUT, server.persistent or 0),
            nl.u32(SVC_NETMASK, 128 if is_ipv6 else 0xFFFFFFFF),
        )
    )


def destination(real: RealServer) -> bytes:
    """All of a real server."""
    return b"".join(
        (
            nl.u16(DEST_AF, _af(real.address)),
            nl.attr(DEST_ADDR, _address(real.address)),
            nl.attr(DEST_PORT, nl.BE16.pack(real.port)),
            nl.u32(DEST_METHOD, METHOD_NAT),
            nl.u32(DEST_WEIGHT, real.weight),
            nl.u32(DEST_UPPER, 0),
            nl.u32(DEST_LOWER, 0),
        )
    )


def _number(payload: bytes | None) -> int:
    return int.from_bytes(payload or b"", sys.byteorder)


def _text(family: int, payload: bytes) -> str:
    return socket.inet_ntop(family, payload[: 16 if family == socket.AF_INET6 else 4])


def _server(fields: dict[int, bytes]) -> ObservedServer:
    flags = _FLAGS.unpack(fields[SVC_FLAGS])[0]
    frontend = Frontend(
        _NAMES[_number(fields[SVC_PROTOCOL])],  # type: ignore[arg-type]
        _text(_number(fields[SVC_AF]), fields[SVC_ADDR]),
        int.from_bytes(fields[SVC_PORT], "big"),
    )
    server = VirtualServer(
        frontend,
        _scheduler(nl.cstring(fields[SVC_SCHED])),
        _number(fields[SVC_TIMEOUT]) if flags & FLAG_PERSISTENT else None,
        bool(flags & FLAG_SCHED2),
    )
    return ObservedServer(server, _stats(fields.get(SVC_STATS64) or fields.get(SVC_STATS)))


def _scheduler(name: str) -> Scheduler:
    for known in SCHEDULERS:
        if name == known:
            return known
    return name  # type: ignore[return-value]  # someone else's; it differs from every one of ours


def _real(fields: dict[int, bytes]) -> ObservedReal:
    family = _number(fields.get(DEST_AF)) or socket.AF_INET
    real = RealServer(
        _text(family, fields[DEST_ADDR]), int.from_bytes(fields[DEST_PORT], "big"), _number(fields[DEST_WEIGHT])
    )
    active, inactive, persistent = (_number(fields.get(kind)) for kind in (DEST_ACTIVE, DEST_INACTIVE, DEST_PERSISTENT))
    stats = _stats(fields.get(DEST_STATS64) or fields.get(DEST_STATS))
    return ObservedReal(real, active, inactive, persistent, stats)


def _stats(payload: bytes | None) -> Stats:
    found = nl.attributes(payload or b"")
    kinds = (STATS_CONNS, STATS_IN_PACKETS, STATS_OUT_PACKETS, STATS_IN_BYTES, STATS_OUT_BYTES)
    return Stats(*(_number(found.get(kind)) for kind in kinds))


# -- the dummy device -------------------------------------------------------------------------------------------------


def device_index(ns: NetNs) -> int:
    """The dummy device's index, 0 where there is none."""
    try:
        return links.index_of(ns.netlink.get(links.get(DEVICE), DEVICE))
    except KernelError as problem:
        if problem.errno == errno.ENODEV:
            return 0
        raise


def apply_device(ns: NetNs, steps: Iterable[Step]) -> None:
    """The device and its addresses. Adding what is there, or deleting what is gone, is no error."""
    for step in steps:
        if isinstance(step.thing, Device):
            _device(ns, step)
    index = device_index(ns)
    bound = [step for step in steps if isinstance(step.thing, Bound)]
    requests = [_bind(step, index) for step in bound]
    for refusal in ns.netlink.send(requests) if requests else ():
        if refusal.errno not in (errno.EEXIST, errno.EADDRNOTAVAIL, errno.ENODEV):
            raise KernelError(refusal.errno or errno.EIO, str(bound[refusal.index]), refusal.detail)


def _device(ns: NetNs, step: Step) -> None:
    requests = [links.delete(DEVICE)]
    if step.op == "add":
        requests = links.add(Link(DEVICE, "dummy", up=False), lambda _: 0)
    for refusal in ns.netlink.send(requests):
        if refusal.errno not in (errno.EEXIST, errno.ENODEV):
            raise KernelError(refusal.errno or errno.EIO, str(step), refusal.detail)


def _bind(step: Step, index: int) -> bytes:
    assert isinstance(step.thing, Bound)  # noqa: S101
    family = _af(step.thing.address)
    raw = socket.inet_pton(family, step.thing.address)
    kind, flags = (rt.RTM_DELADDR, 0) if step.op == "del" else (rt.RTM_NEWADDR, nl.NLM_F_CREATE | nl.NLM_F_EXCL)
    body = rt.IFADDRMSG.pack(family, len(raw) * 8, 0, 0, index)
    return nl.message(kind, flags, body, nl.attr(rt.IFA_LOCAL, raw), nl.attr(rt.IFA_ADDRESS, raw))


def addresses(ns: NetNs) -> tuple[set[str], set[str]]:
    """(those of the dummy device, all others but loopback and IPv6's link-local ones), of both families."""
    index = device_index(ns)
    bound: set[str] = set()
    others: set[str] = set()
    request = nl.message(rt.RTM_GETADDR, 0, rt.IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
    for reply in ns.netlink.dump(request, "ip addr"):
        family, _, _, _, where = rt.IFADDRMSG.unpack_from(reply.body)
        if family not in (socket.AF_INET, socket.AF_INET6):
            continue
        found = nl.attributes(reply.body, 8)
        text = socket.inet_ntop(family, found.get(rt.IFA_LOCAL) or found[rt.IFA_ADDRESS])
        if index and where == index:
            bound.add(text)
        elif not text.startswith(("127.", "fe8", "fe9", "fea", "feb")) and text != "::1":
            others.add(text)
    return bound, others
