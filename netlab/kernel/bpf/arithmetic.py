"""Numbers computed from a packet: `PROTO[OFFSET:SIZE]`, `len`, operators. Left in A; M[] keeps what waits."""

from __future__ import annotations

from dataclasses import dataclass

from netlab.kernel.bpf.code import (
    ADD,
    AND,
    DIV,
    JEQ,
    JGE,
    JGT,
    LD_B,
    LD_B_X,
    LD_H,
    LD_H_X,
    LD_K,
    LD_LEN,
    LD_M,
    LD_W,
    LD_W_X,
    LDX_IP_HEADER,
    LSH,
    MOD,
    MUL,
    NEG,
    OR,
    RSH,
    ST_M,
    SUB,
    TAX,
    XOR,
    And,
    Not,
    Op,
    Test,
    Tree,
    X,
)
from netlab.kernel.bpf.primitives import (
    LINK,
    NETWORK,
    PROTOCOLS,
    TRANSPORT6,
    ethertype,
    ip4,
    ip6,
    protocol,
    unfragmented,
)

OPERATORS = {"+": ADD, "-": SUB, "*": MUL, "/": DIV, "%": MOD, "&": AND, "|": OR, "^": XOR, "<<": LSH, ">>": RSH}
BINDING = (("|", "^"), ("&",), ("<<", ">>"), ("+", "-"), ("*", "/", "%"))
"""From loosest to tightest, as libpcap's grammar.y."""
COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
SIZES = {1: (LD_B, LD_B_X), 2: (LD_H, LD_H_X), 4: (LD_W, LD_W_X)}
SLOTS = 15
"""M[] has 16 words; the last is for an offset."""

NAMES = {
    "icmptype": 0, "icmpcode": 1, "icmp6type": 0, "icmp6code": 1, "tcpflags": 13,
    "tcp-fin": 0x01, "tcp-syn": 0x02, "tcp-rst": 0x04, "tcp-push": 0x08,
    "tcp-ack": 0x10, "tcp-urg": 0x20, "tcp-ece": 0x40, "tcp-cwr": 0x80,
    "icmp-echoreply": 0, "icmp-unreach": 3, "icmp-sourcequench": 4, "icmp-redirect": 5, "icmp-echo": 8,
    "icmp-routeradvert": 9, "icmp-routersolicit": 10, "icmp-timxceed": 11, "icmp-paramprob": 12, "icmp-tstamp": 13,
    "icmp-tstampreply": 14, "icmp-ireq": 15, "icmp-ireqreply": 16, "icmp-maskreq": 17, "icmp-maskreply": 18,
    "icmp6-destinationunreach": 1, "icmp6-packettoobig": 2, "icmp6-timeexceeded": 3, "icmp6-parameterproblem": 4,
    "icmp6-echo": 128, "icmp6-echoreply": 129, "icmp6-routersolicit": 133, "icmp6-routeradvert": 134,
    "icmp6-neighborsolicit": 135, "icmp6-neighboradvert": 136, "icmp6-redirect": 137,
}  # fmt: skip
HEADERS = ("ether", "link", "ip", "ip6", "arp", "rarp", "icmp6", *(name for name in PROTOCOLS if name != "icmp6"))
"""What may stand before a bracket."""


@dataclass(frozen=True, slots=True)
class Value:
    """`code` leaves it in A; `constant` where it is known; `guards`: what the packet must be to have it."""

    code: tuple[Op, ...]
    constant: int | None = None
    guards: tuple[Tree, ...] = ()
    depth: int = 0
    """Words of M[] that the code uses."""


LENGTH = Value(((LD_LEN, 0),))


def number(value: int) -> Value:
    return Value(((LD_K, value & 0xFFFFFFFF),), value & 0xFFFFFFFF)


def negative(value: Value) -> Value:
    return Value((*value.code, (NEG, 0)), None, value.guards, value.depth)


def operation(sign: str, left: Value, right: Value) -> Value:
    """ZeroDivisionError where a constant divisor is 0; OverflowError where it is nested too deeply."""
    guards = (*left.guards, *(guard for guard in right.guards if guard not in left.guards))
    code = OPERATORS[sign]
    if right.constant is not None:
        if right.constant == 0 and sign in "/%":
            raise ZeroDivisionError
        return Value((*left.code, (code, right.constant)), None, guards, left.depth)
    kept = max(left.depth, right.depth)
    if kept >= SLOTS:
        raise OverflowError
    # the right side may use M[0..kept): what is kept of the left one lies above
    both = (*left.code, (ST_M, kept), *right.code, (TAX, 0), (LD_M, kept), (code + X, 0))
    return Value(both, None, guards, kept + 1)


def access(header: str, offset: Value, size: int) -> Value:
    """`header[offset:size]`; transport headers as tcpdump has them: of IPv4, in a first fragment; icmp6 of IPv6."""
    absolute, indirect = SIZES[size]
    guards = (*offset.guards, *_guards(header))
    if header in PROTOCOLS and header != "icmp6":
        add: tuple[Op, ...] = ((LDX_IP_HEADER, NETWORK),)
        if offset.constant is not None:
            return Value((*add, (indirect, NETWORK + offset.constant)), None, guards)
        code = (*offset.code, (ST_M, SLOTS), *add, (LD_M, SLOTS), (ADD + X, 0), (TAX, 0), (indirect, NETWORK))
        return Value(code, None, guards, offset.depth)
    base = {"ether": LINK, "link": LINK, "icmp6": TRANSPORT6}.get(header, NETWORK)
    if offset.constant is not None:
        return Value(((absolute, base + offset.constant),), None, guards)
    return Value((*offset.code, (TAX, 0), (indirect, base)), None, guards, offset.depth)


def _guards(header: str) -> tuple[Tree, ...]:
    if header in ("ether", "link"):
        return ()
    if header == "icmp6":
        return (ethertype(0x86DD), ip6(PROTOCOLS[header]))
    if header in PROTOCOLS:
        return (ip4(PROTOCOLS[header]), unfragmented())
    return (protocol(header),)


def comparison(sign: str, left: Value, right: Value) -> Tree:
    """A test of both."""
    jump, negated = {
        "=": (JEQ, False), "!=": (JEQ, True), ">": (JGT, False),
        "<=": (JGT, True), ">=": (JGE, False), "<": (JGE, True),
    }[sign]  # fmt: skip
    if right.constant is not None:
        test: Tree = Test(left.code, jump, right.constant)
    else:
        kept = max(left.depth, right.depth)
        if kept >= SLOTS:
            raise OverflowError
        code = (*left.code, (ST_M, kept), *right.code, (TAX, 0), (LD_M, kept))
        test = Test(code, jump + X, 0)
    test = Not(test) if negated else test
    for guard in reversed((*left.guards, *(guard for guard in right.guards if guard not in left.guards))):
        test = And(guard, test)
    return test
