"""Operations to nf_tables messages: what nft would send for the same words.

A rule's anonymous sets are named here and not by the kernel ("__map%d"): to find a free number it would read the names
of all sets that there are, for each. Nobody sees the name; like the kernel's it begins with two underscores.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache

from netlab.dataplane.nftables.operations import Operation, Placed, Table
from netlab.dataplane.nftables.rules import Chain, Container, Element, Ip
from netlab.kernel import netlink as nl
from netlab.kernel.nftables.expressions import Anonymous, Compiler, key_part
from netlab.kernel.nftables.wire import (
    BE32_SIGNED,
    BE64,
    FAMILIES,
    SUBSYSTEM,
    be32,
    leading,
    listed,
    note,
    number_note,
    value,
    verdict,
)

NEW_TABLE, GET_TABLE, DELETE_TABLE, NEW_CHAIN, _, DELETE_CHAIN, NEW_RULE, _, DELETE_RULE = (
    SUBSYSTEM << 8 | number for number in range(9)
)
NEW_SET, _, DELETE_SET, NEW_ELEMENT, _, DELETE_ELEMENT = (SUBSYSTEM << 8 | number for number in range(9, 15))

HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
_ANONYMOUS, _CONSTANT, _INTERVAL, _MAP, _TIMEOUT, _DYNAMIC = 1, 2, 4, 8, 16, 32
_TYPES = {"integer": (4, 4), "ipv4_addr": (7, 4), "ipv6_addr": (8, 16), "inet_proto": (12, 1), "inet_service": (13, 2)}
"""nft's own numbers of types, and their sizes."""
_VERDICT_TYPE = 0xFFFFFF00
_HOST_ORDER, _NETWORK_ORDER = 1, 2
_KEY_ORDER, _DATA_ORDER, _MERGE, _SET_COMMENT = 0, 1, 2, 7
_BODIES = {ip: bytes((number, 0, 0, 0)) for ip, number in FAMILIES.items()}
_END, _OPEN_NOTE = be32(3, 1), nl.attr(6, number_note(1, 1))


def _names() -> Callable[[], str]:
    """Names that no other transaction has: 48 random bits to begin with, then one more each time."""
    state = int.from_bytes(os.urandom(6), "big")

    def next_name() -> str:
        nonlocal state
        state += 1
        return f"{state & 0xFFFFFFFFFFFF:012x}"[::-1]

    return next_name


_fresh = _names()


class Writer:
    """Turns operations into messages. One for each transaction: it numbers the sets that the transaction makes."""

    def __init__(self) -> None:
        self._sets = 0

    def messages(self, one: Operation) -> list[bytes]:
        """The requests of one operation, which must be in one transaction. ValueError for what nft would refuse."""
        body, table = _BODIES[one.ip], _table(one.table)
        what = one.what
        if isinstance(what, Placed):
            return self._rule(body, table, what, one.ip)
        if isinstance(what, Element):
            kind = NEW_ELEMENT if one.verb == "add" else DELETE_ELEMENT
            flags = nl.NLM_F_CREATE if one.verb == "add" else 0
            key = b"".join(map(_padded, what.key)) if len(what.key) > 1 else key_part(what.key[0])
            member = _member(key, what) if one.verb == "add" else _key(key)
            elements = nl.nested(3, listed(member), flag=True)
            return [nl.message(kind, flags, body, table, nl.text(2, what.container), elements)]
        if isinstance(what, Chain):
            return [_chain(one.verb, body, table, what)]
        if isinstance(what, Table):
            if one.verb == "delete":
                return [nl.message(DELETE_TABLE, 0, body, table)]
            comment = nl.attr(6, note(0, what.comment)) if what.comment else b""
            return [nl.message(NEW_TABLE, 0, body, table, be32(2, 0), comment)]
        if one.verb == "delete":
            return [nl.message(DELETE_SET, 0, body, table, nl.text(2, what.name))]
        return [self._container(body, table, what)]

    def _number(self) -> int:
        self._sets += 1
        return self._sets

    def _container(self, body: bytes, table: bytes, one: Container) -> bytes:
        key_type, size, last = 0, 0, ""
        key, _, data = one.type.partition(" : ")
        parts = key.split(" . ")
        for last in parts:
            number, width = _TYPES[last]
            key_type = key_type << 6 | number
            size += (width + 3) & ~3 if len(parts) > 1 else width
        flags = (_MAP if data else 0) | (_TIMEOUT | _DYNAMIC if one.timeout is not None else 0)
        attributes = [table, nl.text(2, one.name), be32(3, flags), be32(4, key_type), be32(5, size)]
        if data:
            attributes += [be32(6, _VERDICT_TYPE), be32(7, 0)]
        attributes.append(be32(10, self._number()))
        if one.timeout is not None:
            attributes.append(nl.attr(11, BE64.pack(one.timeout * 1000)))
        order = 0 if len(parts) > 1 else _NETWORK_ORDER
        notes = number_note(_KEY_ORDER, order)
        notes += number_note(_DATA_ORDER, 0) if data else b""
        notes += note(_SET_COMMENT, one.comment) if one.comment else b""
        return nl.message(NEW_SET, nl.NLM_F_CREATE, body, *attributes, nl.attr(13, notes))

    def _rule(self, body: bytes, table: bytes, one: Placed, ip: Ip) -> list[bytes]:
        requests: list[bytes] = []

        def make(found: Anonymous) -> tuple[str, int]:
            name, number = _fresh(), self._number()
            requests.extend(_anonymous(body, table, found, name, number))
            return name, number

        expressions = nl.nested(4, Compiler(ip, make).rule(one.rule), flag=True)
        comment = nl.attr(7, note(0, one.rule.comment)) if one.rule.comment else b""
        flags = nl.NLM_F_CREATE | nl.NLM_F_APPEND
        requests.append(nl.message(NEW_RULE, flags, body, table, nl.text(2, one.chain), expressions, comment))
        return requests


@lru_cache(maxsize=16)
def _table(name: str) -> bytes:
    return nl.text(1, name)


def _chain(verb: str, body: bytes, table: bytes, one: Chain) -> bytes:
    if verb == "flush":
        return nl.message(DELETE_RULE, 0, body, table, nl.text(2, one.name))
    head = (body, table, nl.text(3, one.name))
    if verb == "delete":
        return nl.message(DELETE_CHAIN, 0, *head)
    attributes: list[bytes] = []
    if one.hook:
        kind, _, hook, _, priority = one.hook.split(" ", 4)
        where = (be32(1, HOOKS[hook]), nl.attr(2, BE32_SIGNED.pack(_priority(priority))))
        attributes = [nl.nested(4, *where, flag=True), nl.text(7, kind)]
    if one.comment:
        attributes.append(nl.attr(12, note(0, one.comment)))
    return nl.message(NEW_CHAIN, 0, *head, *attributes)


def _priority(text: str) -> int:
    """ "dstnat - 10", "filter", "-110" """
    name, sign, offset = text.partition(" ")
    base = PRIORITIES[name] if name in PRIORITIES else int(name)
    return base + int(offset.replace(" ", "")) if sign else base


def _padded(text: str) -> bytes:
    part = key_part(text)
    return part + bytes(-len(part) % 4)


def _key(key: bytes) -> bytes:
    return value(1, key)


def _member(key: bytes, one: Element) -> bytes:
    leads = verdict(2, one.verdict) if one.verdict else b""
    comment = nl.attr(6, note(0, one.comment)) if one.comment else b""
    return _key(key) + leads + comment


def _anonymous(body: bytes, table: bytes, one: Anonymous, name: str, number: int) -> tuple[bytes, bytes]:
    """The set and its members, which find it by its number: by name the kernel would look through all sets."""
    flags = _ANONYMOUS | _CONSTANT | (_INTERVAL if one.intervals else 0) | (_MAP if one.chains else 0)
    kind = "integer" if one.chains else "ipv6_addr" if one.ip == "ip6" else "ipv4_addr"
    key_type, size = _TYPES[kind]
    members = [_key(key) for key in one.keys]
    if one.chains:
        members = [key + leading(2, "goto", chain) for key, chain in zip(members, one.chains, strict=True)]
    members += [_key(key) + (_END if end else b"") for key, end in one.intervals]
    if one.open_end:
        members[-1] += _OPEN_NOTE
    count = nl.nested(9, be32(1, len(members)), flag=True)
    data = be32(6, _VERDICT_TYPE) + be32(7, 0) if one.chains else b""
    notes = number_note(_KEY_ORDER, _HOST_ORDER if one.chains else _NETWORK_ORDER)
    notes += number_note(_DATA_ORDER, 0) if one.chains else b""
    head = (be32(3, flags), be32(4, key_type), be32(5, size), data, count, be32(10, number))
    made = nl.message(NEW_SET, nl.NLM_F_CREATE, body, table, nl.text(2, name), *head, nl.attr(13, notes))
    elements = nl.nested(3, *map(listed, members), flag=True)
    return made, nl.message(NEW_ELEMENT, nl.NLM_F_CREATE, body, table, be32(4, number), elements)
