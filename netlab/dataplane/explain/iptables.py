"""Follows a packet through iptables rules, as the kernel would, but along every branch of a random choice at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from netlab.dataplane.explain.model import Packet, Uninterpretable, Walk, World
from netlab.dataplane.iptables.parse import Counted
from netlab.dataplane.iptables.rules import (
    AddrType,
    Comment,
    CtState,
    Dnat,
    InSet,
    IpvsMatch,
    Jump,
    MarkMatch,
    Match,
    Net,
    NfAcct,
    PhysdevIn,
    Ports,
    Recent,
    Reject,
    Rule,
    SetMark,
    Statistic,
)
from netlab.dataplane.ipvs.model import Entry, Frontend
from netlab.dataplane.services.objects import in_range

Tables = Mapping[str, Sequence[Counted]]
"""Rules by table, in their order; counters are shown where `live`."""

MARK = 0x4000
SETTLED = 1e-6
"""Probabilities are rounded by the kernel: so small a rest is none."""
OURS = ("KUBE-",)


@dataclass(slots=True)
class Flow:
    """What is still on its way: its share of all connections, and its mark."""

    share: float
    mark: int = 0

    @property
    def masqueraded(self) -> bool:
        return bool(self.mark & MARK)


class IptablesWalker:
    """One packet through one set of tables."""

    def __init__(self, tables: Tables, world: World, packet: Packet, *, live: bool) -> None:
        self.world, self.packet, self.live = world, packet, live
        self.walk = Walk(packet)
        self._flow, self._mark = Flow(1.0), 0
        self._chains: dict[tuple[str, str], list[Counted]] = {}
        for table, rules in tables.items():
            for counted in rules:
                self._chains.setdefault((table, counted.rule.chain), []).append(counted)

    def run(self) -> Walk:
        """nat first; what it does not translate is then looked at by filter."""
        flow = self.nat()
        if flow.share > SETTLED:
            self.filter(flow)
        return self.walk

    def nat(self) -> Flow:
        """What falls through, not translated, with its mark."""
        flow = self._flow
        with suppress(_Accepted):
            self._chain("nat", "OUTPUT" if self.packet.caller.origin == "node" else "PREROUTING", flow, 0)
        flow.mark = self._mark
        return flow

    def filter(self, flow: Flow) -> None:
        """What filter lets through ends as "passed"."""
        self.filtered(flow)
        if flow.share > SETTLED:
            self.walk.end("passed", flow.share, "", flow.masqueraded)

    def filtered(self, flow: Flow) -> None:
        """Takes from the flow what filter refuses or drops."""
        local = self.world.is_local(self.packet.destination)
        if self.packet.caller.origin == "node":
            self._chain("filter", "OUTPUT", flow, 0)
            if flow.share <= SETTLED or not local:
                return
        hook = "INPUT" if local else "FORWARD"
        self._chain("filter", hook, flow, 0)

    def leaving(self, frontend: Frontend, flow: Flow) -> None:
        """What filter drops on its way out of the node after IPVS took it: packets from a service address to itself."""
        for counted in self._chains.get(("filter", "KUBE-IPVS-OUT-FILTER"), ()):
            for match in counted.rule.matches:
                if isinstance(match, IpvsMatch) and (match.address, match.port) == (frontend.address, frontend.port):
                    self._say(counted, 0, "the node itself is in none of the source ranges: dropped")
                    self.walk.end("drop", flow.share)
                    flow.share = 0.0
                    return

    def _chain(self, table: str, name: str, flow: Flow, depth: int) -> bool:
        """False where the packet has met a final verdict (flow.share is then 0)."""
        for counted in self._chains.get((table, name), ()):
            rule = counted.rule
            if depth == 0 and not _is_ours(rule):
                continue  # of others: the lab's own masquerading, a user's firewall
            fraction = self._matches(rule)
            if fraction is None:
                self._would(counted, depth)
            elif fraction > 0 and not self._target(table, counted, flow, fraction, depth):
                return flow.share > SETTLED
            if flow.share <= SETTLED:
                return False
        return True

    def _target(self, table: str, counted: Counted, flow: Flow, fraction: float, depth: int) -> bool:
        """False where the chain is left: RETURN, or a verdict for all of it."""
        rule = counted.rule
        part = Flow(flow.share * fraction, flow.mark)
        match rule.target:
            case None:
                self._say(counted, depth, "counted only")
            case SetMark(value, mask):
                flow.mark = self._mark = (flow.mark & ~mask) ^ value
                words = "marked: it will leave with the node's own address" if flow.masqueraded else "mark cleared"
                self._say(counted, depth, words)
            case Dnat(to):
                self._say(counted, depth, f"its destination becomes {to}")
                self.walk.end("endpoint", part.share, to, part.masqueraded)
                flow.share -= part.share
            case Reject():
                self._say(counted, depth, "refused with an ICMP error")
                self.walk.end("reject", part.share)
                flow.share -= part.share
            case Jump("RETURN"):
                self._say(counted, depth, "back to the chain before")
                return False
            case Jump("DROP"):
                self._say(counted, depth, "dropped")
                self.walk.end("drop", part.share)
                flow.share -= part.share
            case Jump("ACCEPT"):
                if table == "nat":  # no more translation; the packet goes on
                    self._say(counted, depth, "not translated here")
                    raise _Accepted
                self._say(counted, depth, "let through")
                self.walk.end("passed", part.share, "", part.masqueraded)
                flow.share -= part.share
            case Jump(chain):
                self._say(counted, depth, _led(chain, fraction))
                self._chain(table, chain, part, depth + 1)
                flow.share -= flow.share * fraction - part.share
                if fraction == 1:
                    flow.mark = part.mark
            case _:
                raise Uninterpretable(f"iptables target of rule: {rule}")
        return True

    def _would(self, counted: Counted, depth: int) -> None:
        rule = counted.rule
        affinity = next((match for match in rule.matches if isinstance(match, Recent)), None)
        if affinity is not None:
            words = f"a client that was here within {affinity.seconds} s goes to the same endpoint again"
            self._say(counted, depth, words, taken=False)
        else:
            self._say(counted, depth, "a pod that calls itself would be marked: masqueraded", taken=False)

    def _say(self, counted: Counted, depth: int, words: str, *, taken: bool = True) -> None:
        counters = (counted.packets, counted.bytes) if self.live else None
        self.walk.say(depth, words, counted.rule, taken=taken, counters=counters)

    # -- matching

    def _matches(self, rule: Rule) -> float | None:
        """The fraction of packets that match: 0, 1 or a probability. None: not this one, but worth telling."""
        packet = self.packet
        if rule.protocol is not None and rule.protocol != packet.protocol:
            return 0.0
        if rule.in_interface is not None or rule.out_interface is not None:
            raise Uninterpretable(f"iptables rule that asks for an interface: {rule}")
        if not _in(rule.destination, packet.destination):
            return 0.0
        if not _in(rule.source, packet.caller.address):
            hairpin = rule.chain.startswith("KUBE-SEP-") and isinstance(rule.target, Jump)
            return None if hairpin else 0.0
        fraction = 1.0
        for match in rule.matches:
            found = self._match(match, rule)
            if found is None:
                return None
            fraction *= found
        return fraction

    def _match(self, match: Match, rule: Rule) -> float | None:
        packet = self.packet
        match match:
            case Comment() | NfAcct():
                return 1.0
            case Ports(dport=dport, sport=None):
                return float(dport in (None, packet.port))
            case CtState(states, negated):
                return float(("NEW" in states) != negated)
            case AddrType(side, "LOCAL", negated):
                address = packet.caller.address if side == "src" else packet.destination
                return float(self.world.is_local(address) != negated)
            case MarkMatch(value, mask, negated):
                return float((value & mask == 0) != negated)
            case Statistic():
                return match.probability
            case Recent(action="set"):
                return 1.0
            case Recent(action="rcheck"):
                return None
            case InSet(name, sides, negated):
                return float(self._in_set(name, sides, rule) != negated)
            case PhysdevIn(negated):
                return float((packet.caller.origin == "pod") != negated)
            case IpvsMatch():
                return 0.0  # of packets that IPVS has already taken; a first one is not
            case _:
                raise Uninterpretable(f"iptables match {match} of rule: {rule}")

    def _in_set(self, name: str, sides: tuple[str, ...], rule: Rule) -> bool:
        if name not in self.world.sets:
            raise Uninterpretable(f"iptables rule that asks the ipset {name}, which is not known: {rule}")
        return any(self._is(entry, sides) for entry in self.world.sets[name])

    def _is(self, entry: Entry, sides: tuple[str, ...]) -> bool:
        packet = self.packet
        if not entry.address:
            return entry.port == packet.port
        address = packet.destination if sides[0] == "dst" else packet.caller.address
        if entry.address != address:
            return False
        if entry.protocol and (entry.protocol, entry.port) != (packet.protocol, packet.port):
            return False
        return not entry.second or in_range(packet.caller.address, entry.second)


class _Accepted(Exception):  # noqa: N818
    """ACCEPT in nat ends the walk of that table."""


def _is_ours(rule: Rule) -> bool:
    return isinstance(rule.target, Jump) and rule.target.chain.startswith(OURS)


def _in(net: Net | None, address: str) -> bool:
    return net is None or in_range(address, net.cidr) != net.negated


_LED = (
    ("KUBE-SVC-", "to one of all endpoints"),
    ("KUBE-SVL-", "to one of this node's endpoints"),
    ("KUBE-EXT-", "as traffic to an external address"),
    ("KUBE-FW-", "past the load balancer's source ranges"),
    ("KUBE-SEP-", "to this endpoint"),
    ("KUBE-MARK-MASQ", "to be marked for masquerading"),
    ("KUBE-NODEPORTS", "as a packet to the node itself: node ports"),
    ("KUBE-NODE-PORT", "as a packet to the node itself: node ports"),
    ("KUBE-LOAD-BALANCER", "as a packet to a load balancer's address"),
    ("KUBE-SERVICES", "into the Services' rules"),
)


def _led(chain: str, fraction: float) -> str:
    words = next((words for prefix, words in _LED if chain.startswith(prefix)), f"into {chain}")
    return words if fraction == 1 else f"{words}, with probability {fraction:.3g} of what comes here"


def counted(rules: Mapping[str, Sequence[Rule]]) -> Tables:
    """Typed rules that nobody counted."""
    return {table: [Counted(rule) for rule in found] for table, found in rules.items()}
