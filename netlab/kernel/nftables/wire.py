"""The pieces that all nf_tables messages are made of (linux/netfilter/nf_tables.h). Numbers are in network order."""

from __future__ import annotations

import struct

from netlab.dataplane.nftables.rules import Ip, Verdict
from netlab.kernel import netlink as nl

BE32 = struct.Struct("!I")
BE32_SIGNED = struct.Struct("!i")
BE64 = struct.Struct("!Q")
SUBSYSTEM = 10
FAMILIES: dict[Ip, int] = {"ip": 2, "ip6": 10}
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "sctp": 132}
VERDICTS = {"drop": 0, "accept": 1, "jump": -3, "goto": -4, "return": -5}

_LIST_ELEM, _EXPR_NAME, _EXPR_DATA = 1, 1, 2
_DATA_VALUE, _DATA_VERDICT, _VERDICT_CODE, _VERDICT_CHAIN = 1, 2, 1, 2
_NEST = nl.NLA_F_NESTED
_LEADING = struct.Struct("=HHHH8sHH")
_codes = {kind: nl.attr(_VERDICT_CODE, BE32_SIGNED.pack(code)) for kind, code in VERDICTS.items()}


def be32(kind: int, value: int) -> bytes:
    """An attribute of four bytes."""
    return nl.attr(kind, BE32.pack(value))


def listed(*attributes: bytes) -> bytes:
    """One member of a list."""
    return nl.nested(_LIST_ELEM, *attributes, flag=True)


def expression(name: str, *attributes: bytes) -> bytes:
    """One member of a rule's list of expressions."""
    return listed(nl.text(_EXPR_NAME, name), nl.nested(_EXPR_DATA, *attributes, flag=True))


def value(kind: int, data: bytes) -> bytes:
    """An attribute that holds a value."""
    return nl.nested(kind, nl.attr(_DATA_VALUE, data), flag=True)


def verdict(kind: int, found: Verdict) -> bytes:
    """An attribute that holds a verdict; not "reject", which is an expression of its own."""
    if found.chain:
        return leading(kind, found.kind, found.chain)
    return nl.nested(kind, nl.nested(_DATA_VERDICT, _codes[found.kind], flag=True), flag=True)


def leading(kind: int, verb: str, chain: str) -> bytes:
    """The same for one that leads to a chain. Each endpoint has one, so all its headers are written at once."""
    name = chain.encode() + b"\0"
    padded = len(name) + 3 & ~3
    code = _codes[verb]
    outer = _LEADING.pack(padded + 20, kind | _NEST, padded + 16, _DATA_VERDICT | _NEST, code, len(name) + 4, 2)
    return outer + name + bytes(padded - len(name))


def note(kind: int, text: str) -> bytes:
    """One entry of user data, nft's own notebook on an object: type, length, a string."""
    data = text.encode() + b"\0"
    return bytes((kind, len(data))) + data


def number_note(kind: int, number: int) -> bytes:
    """One entry of user data with a number, in the machine's own order."""
    return bytes((kind, 4)) + nl.U32.pack(number)
