"""One netfilter hook as the kernel runs it: every table's chain in the order of priorities, conntrack and NAT among
them. PURE.

NAT is decided once for a connection's first packet; later packets, and the answers with the inverse, are translated by
what conntrack keeps. A packet whose translation of this kind is decided already meets no nat chain again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from netlab.trace.model import Step
from netlab.trace.predict import nft, xtables
from netlab.trace.predict.context import Context, Outcome, split
from netlab.trace.predict.packet import Connection, Pkt, Tuple
from netlab.trace.predict.tables import NChain, NftTable, XTable

XTABLES = {  # (table, hook) → priority, netfilter_ipv4.h
    ("raw", "prerouting"): -300, ("raw", "output"): -300,
    **{("mangle", hook): -150 for hook in ("prerouting", "input", "forward", "output", "postrouting")},
    ("nat", "prerouting"): -100, ("nat", "output"): -100, ("nat", "postrouting"): 100, ("nat", "input"): 100,
    ("filter", "input"): 0, ("filter", "forward"): 0, ("filter", "output"): 0,
    ("security", "input"): 50, ("security", "forward"): 50, ("security", "output"): 50,
}  # fmt: skip
CONNTRACK = -200
DST_HOOKS = ("prerouting", "output")
ALL = (-1000, 1000)
"""Priorities of every chain of a hook."""


@dataclass(frozen=True, slots=True)
class Base:
    """A chain that a hook runs."""

    priority: int
    nat: bool
    table: XTable | NftTable
    chain: NChain | None = None


@dataclass(slots=True)
class HookResult:
    """`verdict`: "accept", "drop" or "reject"; `reason` for the latter two."""

    packet: Pkt
    verdict: str
    steps: list[Step]
    reason: str = ""


def bases(context: Context, ipv6: bool) -> list[Base]:
    """The chains of a hook, in order."""
    machine, hook = context.machine, context.hook
    found = [
        Base(XTABLES[table.name, hook], table.name == "nat", table)
        for table in machine.xtables
        if (table.name, hook) in XTABLES and xtables.CHAINS[hook] in table.chains
    ]
    for one in machine.nft:
        if one.family == "inet" or (one.family == "ip6") == ipv6:
            found += [
                Base(chain.priority, chain.type == "nat", one, chain)
                for chain in one.chains.values()
                if chain.hook == hook and chain.type in ("filter", "nat", "route")
            ]
    return sorted(found, key=lambda base: (base.priority, (base.chain is None) == machine.nft_first))


def run(context: Context, packet: Pkt, *, masquerade_as: str = "", between: tuple[int, int] = ALL) -> HookResult:
    """Leads the packet through one hook. `context.connection` is what conntrack attached (None: not seen yet, so it is
    looked up or begun by the walk before this is called). `masquerade_as`: the address that masquerading would take.
    `between`: only chains of these priorities, the last not included (IPVS takes packets in the middle of a hook)."""
    steps: list[Step] = []
    nat_done = False
    state = context.state
    for base in bases(context, packet.ipv6):
        if not between[0] <= base.priority < between[1]:
            continue
        if base.priority >= (-100 if context.hook in DST_HOOKS else 100) and not nat_done and not base.nat:
            packet, nat_done = _established(context, packet, steps), True
        if base.nat:
            if not nat_done:
                packet, nat_done = _established(context, packet, steps), True
            if not _to_decide(context, state):
                continue
        context.state = "INVALID" if base.priority < CONNTRACK and context.hook in DST_HOOKS else state
        out = _run_one(base, packet, context)
        context.state = state
        steps += out.steps
        packet = out.packet
        if out.verdict in ("drop", "reject"):
            return HookResult(packet, out.verdict, steps, out.to)
        if out.verdict in ("dnat", "snat"):
            packet = _decide(context, packet, out, masquerade_as, steps)
    if not nat_done:
        packet = _established(context, packet, steps)
    if between[1] >= ALL[1]:
        _decided(context)
    return HookResult(packet, "accept", steps)


def _run_one(base: Base, packet: Pkt, context: Context) -> Outcome:
    if isinstance(base.table, XTable):
        return xtables.run(base.table, packet, context)
    assert base.chain is not None  # noqa: S101
    return nft.run(base.table, base.chain, packet, context)


def _to_decide(context: Context, state: str) -> bool:
    connection = context.connection
    if connection is None or state != "NEW" or connection.confirmed:
        return False
    return not (connection.dnat if context.hook in DST_HOOKS else connection.snat)


def _decided(context: Context) -> None:
    """Behind the hook, no translation of this kind is possible any more."""
    connection = context.connection
    if connection is not None and context.state == "NEW":
        if context.hook in DST_HOOKS:
            connection.dnat = True
        elif context.hook != "forward":
            connection.snat = True


def _decide(context: Context, packet: Pkt, out: Outcome, masquerade_as: str, steps: list[Step]) -> Pkt:
    connection = context.connection
    assert connection is not None  # noqa: S101
    if out.verdict == "dnat":
        address, port = split(out.to)
        after = replace(packet, dst=address, dport=port if port is not None else packet.dport)
        connection.reply = replace(connection.reply, src=after.dst, sport=after.dport)
        connection.dnat = True
    else:
        address, port = (masquerade_as, None) if out.masquerade else split(out.to)
        keeps = packet.protocol in ("icmp", "icmpv6")
        sport = packet.sport if keeps or not out.random else None
        after = replace(packet, src=address, sport=port if port is not None else sport)
        connection.reply = replace(connection.reply, dst=after.src, dport=after.sport)
        connection.snat = True
    return after


def _established(context: Context, packet: Pkt, steps: list[Step]) -> Pkt:
    """What conntrack does to a packet of a connection whose translation is known."""
    connection = context.connection
    if connection is None or not connection.confirmed or context.hook == "forward":
        return packet
    if context.reply:
        before, target = connection.reply, connection.original.reversed()
    else:
        before, target = connection.original, connection.translated
    after = _partly(packet, target, dst=context.hook in DST_HOOKS)
    if after != packet:
        steps.append(Step("conntrack", f"{connection.protocol} {before} is known: becomes {after.ends}", deciding=True))
    return after


def _partly(packet: Pkt, target: Tuple, *, dst: bool) -> Pkt:
    if dst:
        return replace(packet, dst=target.dst, dport=target.dport)
    return replace(packet, src=target.src, sport=target.sport)


def begin(packet: Pkt) -> Connection:
    return Connection(packet.protocol, packet.ends, packet.ends.reversed())


def find(connections: list[Connection], packet: Pkt) -> tuple[Connection, bool] | None:
    """(connection, whether the packet is of its reply direction)."""
    for one in connections:
        if one.protocol == packet.protocol:
            if one.reply.fits(packet.ends):
                return one, True
            if one.original.fits(packet.ends):
                return one, False
    return None
