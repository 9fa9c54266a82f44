"""Neighbour (ARP, NDP) and VXLAN forwarding entries as netlink messages, and back."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache

from netlab.dataplane.model import Fdb, Neighbour
from netlab.kernel import netlink as nl
from netlab.kernel import rtnl as rt
from netlab.kernel.links import Index

_HEAD = struct.Struct("=HH")
_REPLACE = nl.NLM_F_CREATE | nl.NLM_F_REPLACE


def add(neighbour: Neighbour, index: Index) -> bytes:
    """Write an entry, over one that may be there."""
    state = rt.NEIGHBOUR_NUMBERS[neighbour.state]
    body = rt.NDMSG.pack(rt.family_of(neighbour.ip), index(neighbour.dev), state, 0, 0)
    return nl.message(rt.RTM_NEWNEIGH, _REPLACE, body, _pair(neighbour.ip, neighbour.mac))


def add_all(entries: Iterable[Neighbour], index: int) -> list[bytes]:
    """The same as `add` for many permanent entries of one device, at a tenth of the cost each."""
    v4, v6 = _head(rt.AF_INET, "0.0.0.0", index), _head(rt.AF_INET6, "::", index)
    return [(v6 if ":" in entry.ip else v4) + _pair(entry.ip, entry.mac) for entry in entries]


def _head(family: int, example: str, index: int) -> bytes:
    size = nl.HEADER.size + rt.NDMSG.size + len(_pair(example, "00:00:00:00:00:00"))
    header = nl.HEADER.pack(size, rt.RTM_NEWNEIGH, _REPLACE | nl.NLM_F_REQUEST, 0, 0)
    return header + rt.NDMSG.pack(family, index, rt.NUD_PERMANENT, 0, 0)


@lru_cache(maxsize=4096)
def _pair(ip: str, mac: str) -> bytes:
    """Where many machines know each other, each pair is written once per machine."""
    return nl.attr(rt.NDA_DST, nl.ip_bytes(ip)) + nl.attr(rt.NDA_LLADDR, nl.mac_bytes(mac))


def delete(neighbour: Neighbour, index: Index) -> bytes:
    """Delete an entry."""
    body = rt.NDMSG.pack(rt.family_of(neighbour.ip), index(neighbour.dev), 0, 0, 0)
    return nl.message(rt.RTM_DELNEIGH, 0, body, nl.attr(rt.NDA_DST, nl.ip_bytes(neighbour.ip)))


def add_fdb(entry: Fdb, index: Index) -> bytes:
    """Write a forwarding entry, over one that may be there for the same MAC."""
    body = rt.NDMSG.pack(rt.AF_BRIDGE, index(entry.dev), rt.NUD_NOARP | rt.NUD_PERMANENT, rt.NTF_SELF, 0)
    return nl.message(rt.RTM_NEWNEIGH, _REPLACE, body, *_fdb(entry))


def delete_fdb(entry: Fdb, index: Index) -> bytes:
    """Delete a forwarding entry."""
    body = rt.NDMSG.pack(rt.AF_BRIDGE, index(entry.dev), 0, rt.NTF_SELF, 0)
    return nl.message(rt.RTM_DELNEIGH, 0, body, *_fdb(entry))


def _fdb(entry: Fdb) -> tuple[bytes, bytes]:
    return nl.attr(rt.NDA_LLADDR, nl.mac_bytes(entry.mac)), nl.attr(rt.NDA_DST, nl.ip_bytes(entry.dst))


GET_ALL = nl.message(rt.RTM_GETNEIGH, 0, rt.NDMSG.pack(rt.AF_INET, 0, 0, 0, 0))
GET_ALL6 = nl.message(rt.RTM_GETNEIGH, 0, rt.NDMSG.pack(rt.AF_INET6, 0, 0, 0, 0))
GET_FDB = nl.message(rt.RTM_GETNEIGH, 0, rt.NDMSG.pack(rt.AF_BRIDGE, 0, 0, 0, 0))


def decode(reply: nl.Message, names: dict[int, str]) -> Neighbour | None:
    """The entry in an RTM_NEWNEIGH message; None where it has no address yet or is no ARP entry (loopback)."""
    _, index, state, _, _ = rt.NDMSG.unpack_from(reply.body)
    found = nl.attributes(reply.body, rt.NDMSG.size)
    if state & rt.NUD_NOARP or rt.NDA_LLADDR not in found:
        return None
    ip, mac = nl.ip_text(found[rt.NDA_DST]), nl.mac_text(found[rt.NDA_LLADDR])
    return Neighbour(names.get(index, f"if{index}"), ip, mac, rt.NEIGHBOUR_STATES.get(state, str(state)))


def permanent(replies: Iterable[nl.Message]) -> frozenset[bytes]:
    """The addresses, as bytes, of the permanent entries in a dump: what `decode` says, without the rest of it."""
    found = (reply.body for reply in replies if rt.NDMSG.unpack_from(reply.body)[2] & rt.NUD_PERMANENT)
    return frozenset(_destination(body) for body in found)


def _destination(body: bytes) -> bytes:
    """NDA_DST, which the kernel writes first."""
    length, kind = _HEAD.unpack_from(body, rt.NDMSG.size)
    if kind == rt.NDA_DST:
        return body[rt.NDMSG.size + _HEAD.size : rt.NDMSG.size + length]
    return nl.attributes(body, rt.NDMSG.size)[rt.NDA_DST]


def decode_fdb(reply: nl.Message, names: dict[int, str]) -> Fdb | None:
    """The VXLAN forwarding entry in the message; None for the bridge's own entries, which have no destination."""
    family, index, _, _, _ = rt.NDMSG.unpack_from(reply.body)
    found = nl.attributes(reply.body, rt.NDMSG.size)
    if family != rt.AF_BRIDGE or not found.get(rt.NDA_DST):
        return None
    return Fdb(names.get(index, f"if{index}"), nl.mac_text(found[rt.NDA_LLADDR]), nl.ip_text(found[rt.NDA_DST]))
