"""Statements to the expressions that nf_tables runs: loads into registers, comparisons, verdicts.

As nft 1.0 compiles them, so that it recognises and lists them again: a port is preceded by its protocol, a prefix of
whole bytes is compared by those bytes, one of another length under a mask. A list of addresses is an anonymous set, the
choice of an endpoint an anonymous map: those are made before the rule that they belong to, and are returned with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from ipaddress import ip_network
from typing import Any

from netlab.dataplane.nftables import rules as r
from netlab.kernel import netlink as nl
from netlab.kernel.nftables.wire import FAMILIES, PROTOCOLS, be32, expression, value, verdict

NETWORK, TRANSPORT = 1, 2
EQUAL, UNEQUAL, AT_MOST, AT_LEAST = 0, 1, 3, 5
VERDICT_REGISTER, FIRST = 0, 1
_MARK, _L4PROTO = 3, 16
_OFFSETS = {("ip", "saddr"): 12, ("ip", "daddr"): 16, ("ip6", "saddr"): 8, ("ip6", "daddr"): 24}
_SIZES = {"ip": 4, "ip6": 16}
_PORT_UNREACHABLE = {"ip": 3, "ip6": 4}
_NEW, _LOCAL, _DESTINATION, _SOURCE, _ADDRESS_TYPE = 8, 2, 2, 1, 3
_RANDOM, _UPDATE, _DNAT, _SPECIFIED, _FULLY_RANDOM, _INVERTED = 1, 1, 1, 2, 0x10, 1


@dataclass(frozen=True, slots=True)
class Anonymous:
    """A constant set or map that one rule owns. `keys` are members, or with `intervals` the bounds of ranges (key,
    whether it is the first that does not belong); `chains` are where a map's keys lead."""

    ip: r.Ip
    keys: tuple[bytes, ...] = ()
    intervals: tuple[tuple[bytes, bool], ...] = ()
    chains: tuple[str, ...] = ()
    open_end: bool = False
    """The last range ends with the last address there is."""


def _load(base: int, offset: int, size: int, register: int = FIRST) -> bytes:
    return expression("payload", be32(1, register), be32(2, base), be32(3, offset), be32(4, size))


def _compare(data: bytes, operator: int = EQUAL) -> bytes:
    return _before_data(_compared, operator, len(data)) + data + bytes(-len(data) % 4)


def _compared(operator: int, data: bytes) -> bytes:
    return expression("cmp", be32(1, FIRST), be32(2, operator), value(3, data))


def _immediate(register: int, data: bytes) -> bytes:
    return _before_data(_stored, register, len(data)) + data + bytes(-len(data) % 4)


def _stored(register: int, data: bytes) -> bytes:
    return expression("immediate", be32(1, register), value(2, data))


@cache
def _before_data(make: Callable[[int, bytes], bytes], detail: int, size: int) -> bytes:
    """An expression whose data come last, without them: only they differ from one endpoint to the next."""
    return make(detail, bytes(size))[: -(size + 3 & ~3)]


def _mask(mask: bytes, other: bytes) -> bytes:
    """reg 1 = (reg 1 & mask) ^ other"""
    return expression(
        "bitwise", be32(1, FIRST), be32(2, FIRST), be32(3, len(mask)), be32(6, 0), value(4, mask), value(5, other)
    )


def _meta(key: int, register: int = FIRST) -> bytes:
    return expression("meta", be32(2, key), be32(1, register))


def _lookup(name: str, number: int, *, invert: bool = False, verdicts: bool = False) -> bytes:
    """`number` is the set's within this transaction, 0 for one that is there."""
    attributes = [nl.text(1, name), be32(2, FIRST)]
    attributes += [be32(3, VERDICT_REGISTER)] if verdicts else []
    attributes += [be32(4, number)] if number else []
    attributes += [be32(5, _INVERTED)] if invert else []
    return expression("lookup", *attributes)


_LOAD_ADDRESS = {key: _load(NETWORK, offset, _SIZES[key[0]]) for key, offset in _OFFSETS.items()}
_COMPARE_PROTOCOL = {name: _meta(_L4PROTO) + _compare(bytes((number,))) for name, number in PROTOCOLS.items()}
_LOAD_PORT = _load(TRANSPORT, 2, 2)
_MARK_ALL = b"\xff\xff\xff\xff"
_NOTHING = b"\0\0\0\0"


class Compiler:
    """Makes one rule's expressions. `make` is told of each anonymous set and answers with its name and number."""

    def __init__(self, ip: r.Ip, make: Callable[[Anonymous], tuple[str, int]]) -> None:
        self.ip = ip
        self._make = make

    def rule(self, rule: r.Rule) -> bytes:
        """All expressions. ValueError for a statement that nft would refuse."""
        return b"".join(_COMPILERS[type(statement)](self, statement) for statement in rule.statements)

    def _new(self, _: r.CtNew) -> bytes:
        state = expression("ct", be32(2, 0), be32(1, FIRST))
        return state + _mask(nl.U32.pack(_NEW), _NOTHING) + _compare(_NOTHING, UNEQUAL)

    def _address(self, one: r.Addr) -> bytes:
        if len(one.values) > 1:
            name, number = self._make(addresses(one.ip, one.values))
            return _LOAD_ADDRESS[one.ip, one.side] + _lookup(name, number, invert=one.negated)
        text, operator = one.values[0], UNEQUAL if one.negated else EQUAL
        if "/" in text:
            return _network(one.ip, one.side, text, operator)
        return _LOAD_ADDRESS[one.ip, one.side] + _compare(nl.ip_bytes(text), operator)

    def _in_set(self, one: r.InSet) -> bytes:
        return _LOAD_ADDRESS[one.ip, one.side] + _lookup(one.set, 0)

    def _port(self, one: r.Port) -> bytes:
        return _COMPARE_PROTOCOL[one.protocol] + _LOAD_PORT + _compare(nl.BE16.pack(one.dport))

    def _ports(self, one: r.PortRange) -> bytes:
        ends = _compare(nl.BE16.pack(one.first), AT_LEAST) + _compare(nl.BE16.pack(one.last), AT_MOST)
        return _COMPARE_PROTOCOL[one.protocol] + _LOAD_PORT + ends

    def _protocol(self, one: r.L4Proto) -> bytes:
        return _COMPARE_PROTOCOL[one.protocol]

    def _local(self, one: r.FibLocal) -> bytes:
        flags = _SOURCE if one.side == "saddr" else _DESTINATION
        found = expression("fib", be32(3, flags), be32(2, _ADDRESS_TYPE), be32(1, FIRST))
        return found + _compare(nl.U32.pack(_LOCAL))

    def _unmarked(self, one: r.MarkUnset) -> bytes:
        return _meta(_MARK) + _mask(nl.U32.pack(one.mark), _NOTHING) + _compare(_NOTHING)

    def _set_mark(self, one: r.SetMark) -> bytes:
        bits = nl.U32.pack(one.bits)
        kept = _MARK_ALL if one.operator == "^" else nl.U32.pack(~one.bits & 0xFFFFFFFF)
        return _meta(_MARK) + _mask(kept, bits) + expression("meta", be32(2, _MARK), be32(3, FIRST))

    def _map(self, one: r.Lookup) -> bytes:
        register = FIRST
        loads = []
        if one.ip:
            loads.append(_LOAD_ADDRESS[one.ip, "daddr"])
            register = _beside(register, _SIZES[one.ip])
        loads.append(_meta(_L4PROTO, register))
        loads.append(_load(TRANSPORT, 2, 2, _beside(register, 1)))
        return b"".join(loads) + _lookup(one.map, 0, verdicts=True)

    def _address_map(self, one: r.AddressVerdict) -> bytes:
        return _LOAD_ADDRESS[one.ip, one.side] + _lookup(one.map, 0, verdicts=True)

    def _spread(self, one: r.Spread) -> bytes:
        keys = tuple(map(nl.U32.pack, range(len(one.chains))))
        name, number = self._make(Anonymous(self.ip, keys, chains=one.chains))
        chosen = expression("numgen", be32(1, FIRST), be32(2, len(one.chains)), be32(3, _RANDOM), be32(4, 0))
        return chosen + _lookup(name, number, verdicts=True)

    def _remember(self, one: r.Remember) -> bytes:
        update = expression("dynset", be32(4, FIRST), be32(3, _UPDATE), nl.text(1, one.set))
        return _LOAD_ADDRESS[one.ip, "saddr"] + update

    def _dnat(self, one: r.Dnat) -> bytes:
        address, _, port = one.to.rpartition(":")
        target = _immediate(FIRST, nl.ip_bytes(address.strip("[]")))
        return target + _immediate(FIRST + 1, nl.BE16.pack(int(port))) + _translate(self.ip)

    def _masquerade(self, one: r.Masquerade) -> bytes:
        return expression("masq", *([be32(1, _FULLY_RANDOM)] if one.random else []))

    def _verdict(self, one: r.Verdict) -> bytes:
        if one.kind == "reject":
            return expression("reject", be32(1, 0), nl.u8(2, _PORT_UNREACHABLE[self.ip]))
        return _verdict(one)


_COMPILERS: dict[type, Callable[[Compiler, Any], bytes]] = {
    r.CtNew: Compiler._new,
    r.Addr: Compiler._address,
    r.InSet: Compiler._in_set,
    r.Port: Compiler._port,
    r.PortRange: Compiler._ports,
    r.L4Proto: Compiler._protocol,
    r.FibLocal: Compiler._local,
    r.MarkUnset: Compiler._unmarked,
    r.SetMark: Compiler._set_mark,
    r.Lookup: Compiler._map,
    r.AddressVerdict: Compiler._address_map,
    r.Spread: Compiler._spread,
    r.Remember: Compiler._remember,
    r.Dnat: Compiler._dnat,
    r.Masquerade: Compiler._masquerade,
    r.Verdict: Compiler._verdict,
}


@lru_cache(maxsize=256)
def _verdict(one: r.Verdict) -> bytes:
    return expression("immediate", be32(1, VERDICT_REGISTER), verdict(2, one))


@lru_cache(maxsize=4)
def _translate(ip: r.Ip) -> bytes:
    family = be32(2, FAMILIES[ip])
    return expression("nat", be32(1, _DNAT), family, be32(3, FIRST), be32(5, FIRST + 1), be32(7, _SPECIFIED))


@lru_cache(maxsize=256)
def _network(ip: r.Ip, side: r.Side, text: str, operator: int) -> bytes:
    network = ip_network(text, strict=False)
    start, whole = network.network_address.packed, network.prefixlen // 8
    if network.prefixlen == 0 or network.prefixlen % 8:
        mask = network.netmask.packed
        return _LOAD_ADDRESS[ip, side] + _mask(mask, bytes(len(mask))) + _compare(start, operator)
    return _load(NETWORK, _OFFSETS[ip, side], whole) + _compare(start[:whole], operator)


def _beside(register: int, size: int) -> int:
    """The register of the next part of a concatenation: each part takes whole words, and words are counted from 8."""
    word = 8 + 4 * (register - 1) if register < 8 else register
    return word + (size + 3) // 4


def addresses(ip: r.Ip, values: Sequence[str]) -> Anonymous:
    """The set of these addresses, or where one of them is a network, of ranges, joined where they touch."""
    if not any("/" in one for one in values):
        return Anonymous(ip, keys=tuple(map(nl.ip_bytes, values)))
    ranges = list(_joined(values))
    size, last = _SIZES[ip], 256 ** _SIZES[ip] - 1
    bounds = [(0, True)] if ranges[0][0] else []
    for first, final in ranges:
        bounds.append((first, False))
        bounds += [(final + 1, True)] if final < last else []
    packed = tuple((number.to_bytes(size, "big"), end) for number, end in bounds)
    return Anonymous(ip, intervals=packed, open_end=ranges[-1][1] == last)


def _joined(values: Sequence[str]) -> Iterator[tuple[int, int]]:
    networks = [ip_network(one, strict=False) for one in values]
    found = sorted((int(one.network_address), int(one.broadcast_address)) for one in networks)
    first, final = found[0]
    for start, end in found[1:]:
        if start > final + 1:
            yield first, final
            first, final = start, end
        final = max(final, end)
    yield first, final


def key_part(text: str) -> bytes:
    """One part of an element's key: an address, a protocol, or a port; in a concatenation, padded to whole words."""
    if text in PROTOCOLS:
        return bytes((PROTOCOLS[text],))
    return nl.BE16.pack(int(text)) if text.isdigit() else nl.ip_bytes(text)
