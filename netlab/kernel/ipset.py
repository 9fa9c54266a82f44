"""The ipsets of a namespace, by netlink (linux/netfilter/ipset/ip_set.h): those types that IPVS mode has."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from netlab.dataplane.ipvs.model import Entry, IpSet
from netlab.dataplane.ipvs.state import Member, Step
from netlab.kernel import netlink as nl
from netlab.kernel.errors import KernelError
from netlab.kernel.netns import NetNs
from netlab.kernel.nlsocket import NETLINK_NETFILTER, NetlinkSocket

SUBSYSTEM = 6 << 8
CREATE, DESTROY, LIST, ADD, DEL, TYPE = (SUBSYSTEM | number for number in (2, 3, 7, 9, 10, 13))
PROTOCOL_VERSION = 6
PROTOCOL, SETNAME, TYPENAME, REVISION, FAMILY, FLAGS, DATA, ADT = range(1, 9)
IP, IP_TO, CIDR, PORT, PORT_TO, TIMEOUT, PROTO = range(1, 8)
HASHSIZE, MAXELEM, IP2, CIDR2 = 18, 19, 20, 21
IPV4, IPV6 = 1, 2
NET_BYTEORDER = 0x4000

_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_NAMES = {number: name for name, number in _PROTOCOLS.items()}
REFERENCED, NO_SUCH_ENTRY, BUSY = 4108, 4103, 4100
_ERRORS = {
    4097: "protocol error",
    4098: "the kernel has no such set type",
    4099: "too many sets",
    4100: "the set is in use",
    4102: "a set of that name has another type",
    4103: "no such member, or it is there already",
    4104: "no such prefix length",
    4106: "wrong address family",
    4108: "a rule refers to the set",
}


@dataclass(frozen=True, slots=True)
class ObservedSet:
    """A set as the kernel has it; members of types that are not known here are left out."""

    set: IpSet
    entries: frozenset[Entry]


class IpSetHandle:
    """The ipsets of one namespace. Not for two threads at once."""

    def __init__(self, ns: NetNs) -> None:
        self._socket = NetlinkSocket(ns.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER))
        self._revisions: dict[tuple[str, str], int] = {}

    def close(self) -> None:
        self._socket.close()

    def apply(self, steps: Sequence[Step]) -> None:
        """Sets and members. Adding what is there or removing what is gone is no error."""
        requests = [self._request(step) for step in steps]
        for refusal in self._socket.send(requests):
            step = steps[refusal.index]
            if step.op == "del" and refusal.errno in (errno.ENOENT, NO_SUCH_ENTRY):
                continue
            code = refusal.errno or errno.EIO
            raise KernelError(code if code < 4096 else errno.EINVAL, str(step), explain(code))

    def _request(self, step: Step) -> bytes:
        if isinstance(step.thing, IpSet):
            if step.op == "add":
                return create(step.thing, self.revision(step.thing))
            return _message(DESTROY, step.thing.family, nl.text(SETNAME, step.thing.name))
        assert isinstance(step.thing, Member)  # noqa: S101
        set_, entry = step.thing.set, step.thing.entry
        data = nl.nested(DATA, *members(set_, entry), flag=True)
        return _message(ADD if step.op == "add" else DEL, set_.family, nl.text(SETNAME, set_.name), data)

    def revision(self, set_: IpSet) -> int:
        """The newest revision of a set type that the kernel knows."""
        key = (set_.type, set_.family)
        if key not in self._revisions:
            family = _family(set_.family) if set_.type != "bitmap:port" else socket.AF_UNSPEC
            request = _message(TYPE, set_.family, nl.text(TYPENAME, set_.type), nl.u8(FAMILY, family))
            try:
                reply = self._socket.get(request, f"ipset type {set_.type}")
            except KernelError as problem:
                raise KernelError(errno.EOPNOTSUPP, f"ipset type {set_.type}", explain(problem.errno or 0)) from problem
            self._revisions[key] = nl.attributes(reply.body, 4)[REVISION][0]
        return self._revisions[key]

    def all(self) -> Mapping[str, ObservedSet]:
        """Every set whose type is known here, by name."""
        sets: dict[str, IpSet] = {}
        entries: dict[str, set[Entry]] = {}
        for reply in self._socket.dump(_message(LIST, "IPv4"), "ipset list"):
            found = nl.attributes(reply.body, 4)
            name = nl.cstring(found[SETNAME])
            if TYPENAME in found:
                family = "IPv6" if found[FAMILY][0] == socket.AF_INET6 else "IPv4"
                sets[name] = IpSet(name, nl.cstring(found[TYPENAME]), family)  # type: ignore[arg-type]
            into = entries.setdefault(name, set())
            for _, data in nl.attribute_list(found.get(ADT, b"")):
                into.add(entry(sets[name], nl.attributes(data)))
        return {name: ObservedSet(set_, frozenset(entries[name])) for name, set_ in sets.items()}


def explain(code: int) -> str:
    return _ERRORS.get(code) or os.strerror(code)


def _family(family: str) -> socket.AddressFamily:
    return socket.AF_INET6 if family == "IPv6" else socket.AF_INET


def _message(kind: int, family: str, *attributes: bytes) -> bytes:
    body = bytes((_family(family), 0, 0, 0))
    return nl.message(kind, 0, body, nl.u8(PROTOCOL, PROTOCOL_VERSION), *attributes)


def create(set_: IpSet, revision: int) -> bytes:
    """One that is there with the same type is no error."""
    family = _family(set_.family)
    if set_.type == "bitmap:port":
        family = socket.AF_UNSPEC
        options = [_be16(PORT, 0), _be16(PORT_TO, 65535)]
    else:
        options = [_be32(HASHSIZE, 1024), _be32(MAXELEM, 65536)]
    return _message(
        CREATE,
        set_.family,
        nl.text(SETNAME, set_.name),
        nl.text(TYPENAME, set_.type),
        nl.u8(REVISION, revision),
        nl.u8(FAMILY, family),
        nl.nested(DATA, *options, flag=True),
    )


def members(set_: IpSet, entry: Entry) -> list[bytes]:
    """A member's attributes."""
    if set_.type == "bitmap:port":
        return [_be16(PORT, entry.port)]
    found = [_ip(IP, entry.address)]
    if set_.type == "hash:ip":
        return found
    found += [_be16(PORT, entry.port), nl.u8(PROTO, _PROTOCOLS[entry.protocol])]
    if set_.type == "hash:ip,port,ip":
        found.append(_ip(IP2, entry.second))
    elif set_.type == "hash:ip,port,net":
        network = ip_network(entry.second)
        found += [_ip(IP2, str(network.network_address)), nl.u8(CIDR2, network.prefixlen)]
    return found


def _ip(kind: int, address: str) -> bytes:
    family, which = (socket.AF_INET6, IPV6) if ":" in address else (socket.AF_INET, IPV4)
    return nl.nested(kind, nl.attr(which | NET_BYTEORDER, socket.inet_pton(family, address)), flag=True)


def _be16(kind: int, value: int) -> bytes:
    return nl.attr(kind | NET_BYTEORDER, value.to_bytes(2, "big"))


def _be32(kind: int, value: int) -> bytes:
    return nl.attr(kind | NET_BYTEORDER, value.to_bytes(4, "big"))


def entry(set_: IpSet, fields: Mapping[int, bytes]) -> Entry:
    """A member from its attributes."""
    port = int.from_bytes(fields.get(PORT, b""), "big")
    if set_.type == "bitmap:port":
        return Entry(port=port)
    address = _text(fields[IP]) if IP in fields else ""
    protocol = _NAMES.get(fields[PROTO][0], str(fields[PROTO][0])) if PROTO in fields else ""
    second = _text(fields[IP2]) if IP2 in fields else ""
    if set_.type == "hash:ip,port,net" and second:
        length = fields[CIDR2][0] if CIDR2 in fields else 0
        second = second if length == (128 if ":" in second else 32) else f"{second}/{length}"
    return Entry(address, protocol, port, second)


def _text(nested: bytes) -> str:
    found = nl.attributes(nested)
    if IPV6 in found:
        return socket.inet_ntop(socket.AF_INET6, found[IPV6])
    return socket.inet_ntop(socket.AF_INET, found[IPV4])
