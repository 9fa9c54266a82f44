"""Follows one packet through one base chain of an nftables table. PURE."""

from __future__ import annotations

from dataclasses import replace

from netlab.dataplane.explain.model import Uninterpretable
from netlab.dataplane.nftables import rules as n
from netlab.dataplane.services.objects import in_range
from netlab.trace.model import Step
from netlab.trace.predict.context import Context, Outcome, split
from netlab.trace.predict.packet import Pkt
from netlab.trace.predict.tables import NChain, NftTable, NRule


def run(table: NftTable, chain: NChain, packet: Pkt, context: Context) -> Outcome:
    """Uninterpretable names a rule that cannot be followed."""
    return _Run(table, packet, context).run(chain)


class _Run:
    def __init__(self, table: NftTable, packet: Pkt, context: Context) -> None:
        self.table, self.context = table, context
        self.out = Outcome(packet)

    def run(self, chain: NChain) -> Outcome:
        if self._chain(chain.name) is None:
            self.out.verdict = chain.policy
            if chain.policy == "drop":
                where = f"nft {self.table.family} {self.table.name} {chain.name} policy"
                self.out.steps.append(Step("rule", f"policy of {chain.name}: drop", where, deciding=True))
        return self.out

    def _chain(self, name: str) -> str | None:
        if name not in self.table.chains:
            raise Uninterpretable(f"nftables: a rule leads to the chain {name}, which is not there")
        for rule in self.table.chains[name].rules:
            if rule.rule is None:
                raise Uninterpretable(
                    f"on {self.context.machine.name}, table {self.table.family} {self.table.name}: {rule.problem}"
                )
            left, verdict = self._rule(name, rule, rule.rule)
            if verdict is not None:
                return verdict
            if left:
                return None
        return None

    def _rule(self, chain: str, rule: NRule, typed: n.Rule) -> tuple[bool, str | None]:
        """(whether the chain is left, final verdict)."""
        packet = self.out.packet
        for statement in typed.statements:
            match statement:
                case n.Verdict():
                    self._say(chain, rule, typed, statement)
                    return self._verdict(statement)
                case n.Lookup():
                    element = self._look_up(statement)
                    if element is None:
                        return False, None
                    if element.verdict is None:
                        raise Uninterpretable(f"nftables: the map {statement.map} has no verdict for {element.key}")
                    self._say(chain, rule, typed, element.verdict, element)
                    return self._verdict(element.verdict)
                case n.AddressVerdict():
                    element = self._for_address(statement)
                    if element is None or element.verdict is None:
                        return False, None
                    self._say(chain, rule, typed, element.verdict, element)
                    return self._verdict(element.verdict)
                case n.Spread(chains):
                    options = [(self._endpoint(one), 1 / len(chains)) for one in chains]
                    chosen = chains[self.context.oracle.choose(chain, options)] if len(chains) > 1 else chains[0]
                    self._say(chain, rule, typed, n.Verdict("goto", chosen))
                    return True, self._chain(chosen)
                case n.Dnat(to):
                    self.out.verdict, self.out.to = "dnat", to
                    self._say(chain, rule, typed, statement)
                    return True, "dnat"
                case n.Masquerade(random):
                    self.out.verdict, self.out.masquerade, self.out.random = "snat", True, random
                    self._say(chain, rule, typed, statement)
                    return True, "snat"
                case n.SetMark(operator, bits):
                    mark = packet.mark | bits if operator == "|" else packet.mark ^ bits
                    self.out.packet = packet = replace(packet, mark=mark)
                case n.Remember():
                    pass
                case _:
                    if not self._matches(statement, rule):
                        return False, None
        self._say(chain, rule, typed, None)
        return False, None

    def _verdict(self, verdict: n.Verdict) -> tuple[bool, str | None]:
        match verdict.kind:
            case "jump":
                return False, self._chain(verdict.chain)
            case "goto":
                return True, self._chain(verdict.chain)
            case "return":
                return True, None
        self.out.verdict = verdict.kind
        return True, verdict.kind

    def _say(
        self, chain: str, rule: NRule, typed: n.Rule, did: n.Statement | None, element: n.Element | None = None
    ) -> None:
        deciding = isinstance(did, n.Dnat | n.Masquerade) or (
            isinstance(did, n.Verdict) and did.kind in ("accept", "drop", "reject")
        )
        text = str(typed) if element is None else f"{typed}   # {element}"
        owner = element.comment if element is not None else ""
        if isinstance(did, n.Dnat):
            address, port = split(did.to)
            owner = self.context.owner(address, port or 0)
        elif isinstance(did, n.Verdict) and did.chain:
            owner = owner or _service(did.chain)
        step = Step("rule", text, self.table.where(chain, rule), rule.counter, owner, deciding)
        self.out.steps.append(step)

    def _endpoint(self, chain: str) -> str:
        found = self.table.chains.get(chain)
        for rule in found.rules if found else ():
            for statement in rule.rule.statements if rule.rule else ():
                if isinstance(statement, n.Dnat):
                    return statement.to
        return ""

    def _look_up(self, lookup: n.Lookup) -> n.Element | None:
        packet = self.out.packet
        key: tuple[str, ...] = (packet.protocol, str(packet.dport))
        if lookup.ip:
            key = (packet.dst, *key)
        return self.table.state.elements.get((lookup.map, key))

    def _for_address(self, lookup: n.AddressVerdict) -> n.Element | None:
        packet = self.out.packet
        if (lookup.ip == "ip6") != packet.ipv6:
            return None
        address = packet.dst if lookup.side == "daddr" else packet.src
        return self.table.state.elements.get((lookup.map, (address,)))

    def _matches(self, statement: n.Statement, rule: NRule) -> bool:
        packet, context = self.out.packet, self.context
        match statement:
            case n.CtNew():
                return context.state == "NEW"
            case n.Addr(ip, side, values, negated):
                if (ip == "ip6") != packet.ipv6:
                    return False
                address = packet.dst if side == "daddr" else packet.src
                return any(in_range(address, value) for value in values) != negated
            case n.InSet(ip, side, name):
                return (ip == "ip6") == packet.ipv6 and self._in_set(
                    name, packet.dst if side == "daddr" else packet.src
                )
            case n.Port(protocol, dport):
                return (protocol, dport) == (packet.protocol, packet.dport)
            case n.PortRange(protocol, first, last):
                return protocol == packet.protocol and first <= (packet.dport or 0) <= last
            case n.L4Proto(protocol):
                return protocol == packet.protocol
            case n.FibLocal(side):
                return context.local(packet.dst if side == "daddr" else packet.src)
            case n.MarkUnset(mark):
                return packet.mark & mask_of(mark) == 0
        raise Uninterpretable(f"nftables statement {statement} of rule: {rule.text}")

    def _in_set(self, name: str, address: str) -> bool:
        if name in self.table.remembered:
            return address in self.table.remembered[name]
        return any(
            container == name and len(key) == 1 and in_range(address, key[0])
            for container, key in self.table.state.elements
        )


def mask_of(mark: int) -> int:
    return mark


def _service(chain: str) -> str:
    """`service-2QRHZV4L-default/web/tcp/http` → default/web."""
    parts = chain.split("-", 2)
    if len(parts) == 3 and parts[0] in ("service", "external", "local", "endpoint", "firewall"):
        names = parts[2].split("/")
        return "/".join(names[:2]) if len(names) > 1 else ""
    return ""
