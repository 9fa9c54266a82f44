"""A small filter language, compiled to classic BPF: the part of pcap-filter(7) that people use on a lab.

    ip | arp | ip6 | tcp | udp | icmp | proto N
    [src|dst] host A.B.C.D        (ARP too)
    [src|dst] net A.B.C.D/LEN
    [tcp|udp] [src|dst] port N    (not in later fragments)
    ether [src|dst] host MAC
    not X, X and Y, X or Y, ( X )     also ! && ||

Frames start with an Ethernet header. The expression becomes a tree of tests, the tree becomes jumps: each part is
told where to go when it is true and when it is false, so no value is ever computed. Numbers: linux/filter.h.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from ipaddress import IPv4Network

LD_W, LD_H, LD_B = 0x20, 0x28, 0x30
LD_H_X = 0x48
LDX_IP_HEADER = 0xB1
AND = 0x54
JEQ, JSET = 0x15, 0x45
RET = 0x06

ETH_IP, ETH_ARP, ETH_IP6 = 0x0800, 0x0806, 0x86DD
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1}
ETHERTYPES = {"ip": ETH_IP, "arp": ETH_ARP, "ip6": ETH_IP6}
ACCEPT = 0x40000

_INSTRUCTION = struct.Struct("=HBBI")
_TOKEN = re.compile(r"\s*(\(|\)|&&|\|\||!|[\w.:/]+)")
_ALIASES = {"&&": "and", "||": "or", "!": "not"}


class FilterError(ValueError):
    """The expression cannot be understood; says where."""


@dataclass(frozen=True, slots=True)
class Test:
    """Load, then compare: `loads` are (code, k), the jump is on equality (JEQ) or on any common bit (JSET)."""

    loads: tuple[tuple[int, int], ...]
    jump: int
    k: int


@dataclass(frozen=True, slots=True)
class Not:
    a: Tree


@dataclass(frozen=True, slots=True)
class And:
    a: Tree
    b: Tree


@dataclass(frozen=True, slots=True)
class Or:
    a: Tree
    b: Tree


Tree = Test | Not | And | Or


def compile_filter(expression: str) -> bytes:
    """The instructions, 8 bytes each. FilterError where the expression is not of the language, or too long."""
    tree = _Parser(expression).parse()
    return _Assembler().assemble(tree)


class _Parser:
    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tokens: list[str] = []
        place = 0
        while place < len(expression.rstrip()):
            found = _TOKEN.match(expression, place)
            if found is None:
                raise FilterError(f"filter {expression!r}: {expression[place:].strip()[:1]!r} is not understood")
            self.tokens.append(_ALIASES.get(found[1], found[1]))
            place = found.end()
        self.at = 0

    def parse(self) -> Tree:
        tree = self._or()
        if self.at < len(self.tokens):
            self._fail()
        return tree

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _take(self, *wanted: str) -> str:
        token = self._peek()
        if wanted and token not in wanted:
            return ""
        self.at += 1
        return token

    def _fail(self) -> None:
        token = self._peek()
        raise FilterError(f"filter {self.expression!r}: " + (f"{token!r} is not understood" if token else "unfinished"))

    def _or(self) -> Tree:
        tree = self._and()
        while self._take("or"):
            tree = Or(tree, self._and())
        return tree

    def _and(self) -> Tree:
        tree = self._not()
        while self._take("and"):
            tree = And(tree, self._not())
        return tree

    def _not(self) -> Tree:
        if self._take("not"):
            return Not(self._not())
        if self._take("("):
            tree = self._or()
            if not self._take(")"):
                self._fail()
            return tree
        return self._primitive()

    def _primitive(self) -> Tree:
        word = self._peek()
        if word == "ether":
            self._take()
            return self._ether()
        if word == "proto":
            self._take()
            return _protocol(self._number(255))
        if word in ETHERTYPES:
            self._take()
            return _ethertype(ETHERTYPES[word])
        if word in PROTOCOLS:
            self._take()
            if self._peek() in ("src", "dst", "port"):
                return self._port(self._take("src", "dst"), (PROTOCOLS[word],))
            return _protocol(PROTOCOLS[word])
        return self._address()

    def _address(self) -> Tree:
        direction = self._take("src", "dst")
        kind = self._peek()
        if kind == "port":
            return self._port(direction, (6, 17))
        if kind not in ("host", "net"):
            self._fail()
        self._take()
        try:
            network = IPv4Network(self._take())
        except ValueError as problem:
            raise FilterError(f"filter {self.expression!r}: {problem}") from problem
        return _network(network, direction)

    def _port(self, direction: str, protocols: tuple[int, ...]) -> Tree:
        if not self._take("port"):
            self._fail()
        number = self._number(65535)
        source, destination = (_at_transport(LD_H_X, offset, number) for offset in (0, 2))
        ports = _choose(direction, source, destination)
        kinds = _any([Test(((LD_B, 23),), JEQ, protocol) for protocol in protocols])
        first_fragment = Not(Test(((LD_H, 20),), JSET, 0x1FFF))
        return And(_ethertype(ETH_IP), And(kinds, And(first_fragment, ports)))

    def _ether(self) -> Tree:
        direction = self._take("src", "dst")
        self._take("host")
        raw = bytes.fromhex(self._take().replace(":", "")) if ":" in self._peek() else b""
        if len(raw) != 6:
            self._fail()
        high, low = int.from_bytes(raw[:2], "big"), int.from_bytes(raw[2:], "big")
        to = And(Test(((LD_W, 2),), JEQ, low), Test(((LD_H, 0),), JEQ, high))
        came = And(Test(((LD_W, 8),), JEQ, low), Test(((LD_H, 6),), JEQ, high))
        return _choose(direction, came, to)

    def _number(self, most: int) -> int:
        token = self._take()
        if not token.isdecimal() or int(token) > most:
            raise FilterError(f"filter {self.expression!r}: {token!r} is not a number up to {most}")
        return int(token)


def _ethertype(value: int) -> Tree:
    return Test(((LD_H, 12),), JEQ, value)


def _protocol(number: int) -> Tree:
    return And(_ethertype(ETH_IP), Test(((LD_B, 23),), JEQ, number))


def _at_transport(load: int, offset: int, value: int) -> Test:
    return Test(((LDX_IP_HEADER, 14), (load, 14 + offset)), JEQ, value)


def _network(network: IPv4Network, direction: str) -> Tree:
    def at(offset: int) -> Tree:
        mask = () if network.prefixlen == 32 else ((AND, int(network.netmask)),)
        return Test(((LD_W, offset), *mask), JEQ, int(network.network_address))

    ip = And(_ethertype(ETH_IP), _choose(direction, at(26), at(30)))
    arp = And(_ethertype(ETH_ARP), _choose(direction, at(28), at(38)))
    return Or(ip, arp)


def _choose(direction: str, source: Tree, destination: Tree) -> Tree:
    return {"src": source, "dst": destination}.get(direction) or Or(source, destination)


def _any(trees: list[Tree]) -> Tree:
    first, *others = trees
    for other in others:
        first = Or(first, other)
    return first


class _Assembler:
    def __init__(self) -> None:
        self.code: list[tuple[int, int, int, int]] = []  # code, k, label if true, label if false
        self.labels: dict[int, int] = {}

    def assemble(self, tree: Tree) -> bytes:
        self._emit(tree, 0, 1)
        for label, result in ((0, ACCEPT), (1, 0)):
            self.labels[label] = len(self.code)
            self.code.append((RET, result, -1, -1))
        return b"".join(self._instruction(place, *entry) for place, entry in enumerate(self.code))

    def _emit(self, tree: Tree, yes: int, no: int) -> None:
        match tree:
            case Test():
                self.code += [(code, k, -1, -1) for code, k in tree.loads]
                self.code.append((tree.jump, tree.k, yes, no))
            case Not():
                self._emit(tree.a, no, yes)
            case And() | Or():
                second = len(self.labels) + 2
                self.labels[second] = -1
                self._emit(tree.a, *((second, no) if isinstance(tree, And) else (yes, second)))
                self.labels[second] = len(self.code)
                self._emit(tree.b, yes, no)

    def _instruction(self, place: int, code: int, k: int, yes: int, no: int) -> bytes:
        jumps = [self.labels[label] - place - 1 if label >= 0 else 0 for label in (yes, no)]
        if max(jumps) > 255:
            raise FilterError("the filter is too long: a jump passes more than 255 instructions")
        return _INSTRUCTION.pack(code, *jumps, k)
