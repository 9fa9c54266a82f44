"""Follows a packet through kube-proxy's nftables table, along every branch of a random choice at once."""

from __future__ import annotations

from dataclasses import dataclass

from netlab.dataplane.explain.counts import Beside, Count
from netlab.dataplane.explain.model import Packet, Uninterpretable, Walk, World
from netlab.dataplane.nftables import rules as r
from netlab.dataplane.nftables.table import NftState
from netlab.dataplane.services.objects import in_range

MARK = 0x4000


@dataclass(slots=True)
class Flow:
    share: float
    mark: int = 0
    translated: bool = False


class NftablesWalker:
    """One packet. kube-proxy's nftables rules count nothing: counters are there where someone counted beside them."""

    def __init__(self, state: NftState, world: World, packet: Packet, beside: Beside | None = None) -> None:
        self.state, self.world, self.packet, self.beside = state, world, packet, beside
        self.walk = Walk(packet)

    def run(self) -> Walk:
        own = self.packet.caller.origin == "node"
        flow = Flow(1.0)
        self._hook("filter-output-pre-dnat" if own else "filter-prerouting-pre-dnat", flow)
        if flow.share > 0:
            self._hook("nat-output" if own else "nat-prerouting", flow)
        if flow.share > 0:
            local = self.world.is_local(self.packet.destination)
            self._hook("filter-output" if own else "filter-input" if local else "filter-forward", flow)
            if own and local and flow.share > 0:
                self._hook("filter-input", flow)
        if flow.share > 0:
            self.walk.end("passed", flow.share, "", bool(flow.mark & MARK))
        return self.walk

    def _hook(self, name: str, flow: Flow) -> None:
        if name in self.state.chains:
            self._chain(name, flow, 0)

    def _chain(self, name: str, flow: Flow, depth: int) -> bool:
        """False where nothing of it comes back to the chain before."""
        if name not in self.state.chains:
            raise Uninterpretable(f"nftables: a rule leads to the chain {name}, which is not there")
        for rule in self.state.chains[name].rules:
            if not self._rule(rule, name, flow, depth):
                return flow.share > 0
        return True

    def _rule(self, rule: r.Rule, chain: str, flow: Flow, depth: int) -> bool:
        """False where the chain is left."""
        for statement in rule.statements:
            if isinstance(statement, r.Lookup):
                return self._lookup(statement, rule, flow, depth)
            if isinstance(statement, r.Spread):
                return self._spread(statement, rule, flow, depth)
            if isinstance(statement, r.Verdict):
                return self._verdict(statement, rule, flow, depth)
            if isinstance(statement, r.Dnat):
                counters = self._left(statement.to)
                self.walk.say(depth, f"its destination becomes {statement.to}", rule, counters=counters)
                self.walk.end("endpoint", flow.share, statement.to, bool(flow.mark & MARK))
                flow.share = 0.0
                return False
            if isinstance(statement, r.SetMark):
                flow.mark = flow.mark | statement.bits if statement.operator == "|" else flow.mark ^ statement.bits
                self.walk.say(depth, "marked: it will leave with the node's own address", rule)
            elif isinstance(statement, r.Remember):
                self.walk.say(depth, "the client is remembered, for its next connections", rule)
            elif not self._matches(statement, rule):
                self._told(statement, rule, chain, depth)
                return True
        return True

    def _told(self, statement: r.Statement, rule: r.Rule, chain: str, depth: int) -> None:
        if isinstance(statement, r.InSet) and statement.set.startswith("affinity-"):
            words = "a client that is remembered goes to the same endpoint again"
            self.walk.say(depth, words, rule, taken=False)
        elif chain.startswith("endpoint-") and isinstance(statement, r.Addr):
            self.walk.say(depth, "a pod that calls itself would be marked: masqueraded", rule, taken=False)

    def _matches(self, statement: r.Statement, rule: r.Rule) -> bool:
        packet = self.packet
        match statement:
            case r.CtNew():
                return True
            case r.Addr(_, side, values, negated):
                address = packet.destination if side == "daddr" else packet.caller.address
                return any(in_range(address, value) for value in values) != negated
            case r.InSet(_, side, name):
                address = packet.destination if side == "daddr" else packet.caller.address
                return not name.startswith("affinity-") and (name, (address,)) in self.state.elements
            case r.Port(protocol, dport):
                return (protocol, dport) == (packet.protocol, packet.port)
            case r.L4Proto(protocol):
                return protocol == packet.protocol
            case r.FibLocal(side):
                return self.world.is_local(packet.destination if side == "daddr" else packet.caller.address)
            case _:
                raise Uninterpretable(f"nftables statement {statement} of rule: {rule}")

    def _lookup(self, lookup: r.Lookup, rule: r.Rule, flow: Flow, depth: int) -> bool:
        key = (self.packet.protocol, str(self.packet.port))
        if lookup.ip:
            key = (self.packet.destination, *key)  # type: ignore[assignment]
        element = self.state.elements.get((lookup.map, key))
        if element is None:
            return True
        if element.verdict is None:
            raise Uninterpretable(f"nftables: the map {lookup.map} has no verdict for {' . '.join(key)}")
        self.walk.say(depth, f"found in the map {lookup.map}", element, counters=self._arrived(whole=bool(lookup.ip)))
        return self._verdict(element.verdict, rule, flow, depth)

    def _arrived(self, *, whole: bool) -> Count | None:
        """`whole`: at this very address; else (a node port) at any of the node's."""
        if self.beside is None:
            return None
        packet = self.packet
        if whole:
            return self.beside.arrived((packet.destination, packet.protocol, packet.port))
        return self.beside.arrived_anywhere(packet.protocol, packet.port, self.world)

    def _left(self, to: str) -> Count | None:
        if self.beside is None:
            return None
        packet = self.packet
        node_port = self.world.is_local(packet.destination)
        addresses = self.world.local if node_port else (packet.destination,)
        return self.beside.left(packet.protocol, packet.port, to, addresses)

    def _spread(self, spread: r.Spread, rule: r.Rule, flow: Flow, depth: int) -> bool:
        count = len(spread.chains)
        self.walk.say(depth, f"one of {count} endpoints, each with probability 1/{count}", rule)
        for chain in spread.chains:
            part = Flow(flow.share / count, flow.mark)
            self.walk.say(depth + 1, "to this endpoint", f"goto {chain}")
            self._chain(chain, part, depth + 2)
        flow.share = 0.0
        return False

    def _verdict(self, verdict: r.Verdict, rule: r.Rule, flow: Flow, depth: int) -> bool:
        match verdict.kind:
            case "jump":
                self.walk.say(depth, _led(verdict.chain), rule)
                return self._chain(verdict.chain, flow, depth + 1)
            case "goto":
                self.walk.say(depth, _led(verdict.chain), rule)
                self._chain(verdict.chain, flow, depth + 1)
                return False
            case "return":
                return False
            case "accept":
                return False
            case "drop" | "reject":
                words = "dropped" if verdict.kind == "drop" else "refused with an ICMP error"
                self.walk.say(depth, words, rule)
                self.walk.end("drop" if verdict.kind == "drop" else "reject", flow.share)
                flow.share = 0.0
                return False
        raise Uninterpretable(f"nftables verdict {verdict} of rule: {rule}")


_LED = (
    ("service-", "to one of all endpoints"),
    ("local-", "to one of this node's endpoints"),
    ("external-", "as traffic to an external address"),
    ("firewall-", "past the load balancer's source ranges"),
    ("endpoint-", "to this endpoint"),
    ("mark-for-masquerade", "to be marked for masquerading"),
)


def _led(chain: str) -> str:
    return next(
        (words for prefix, words in _LED if chain.startswith(prefix) and "-check" not in chain), f"into {chain}"
    )
