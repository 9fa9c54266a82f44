"""Follows one packet through one table of iptables (legacy or nft-backed), rule by rule, as the kernel does. PURE.

`dataplane.explain` tells a Service's rules with the shares of every branch; here one packet meets whatever rules there
are, of anybody, with interfaces, marks and connection states, and every rule it matches is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from netlab.dataplane.explain.model import Uninterpretable
from netlab.dataplane.iptables import rules as r
from netlab.dataplane.ipvs.model import Entry
from netlab.dataplane.services.objects import in_range
from netlab.trace.model import Step
from netlab.trace.predict.context import Context, Outcome, split
from netlab.trace.predict.packet import Pkt
from netlab.trace.predict.tables import XRule, XTable

CHAINS = {"prerouting": "PREROUTING", "input": "INPUT", "forward": "FORWARD", "output": "OUTPUT",
          "postrouting": "POSTROUTING"}  # fmt: skip
PROTOCOLS = {"ipv6-icmp": "icmpv6", "6": "tcp", "17": "udp", "1": "icmp", "58": "icmpv6", "132": "sctp"}


def run(table: XTable, packet: Pkt, context: Context) -> Outcome:
    """From the table's built-in chain of the hook. Uninterpretable names a rule that cannot be followed."""
    return _Run(table, packet, context).run()


class _Run:
    def __init__(self, table: XTable, packet: Pkt, context: Context) -> None:
        self.table, self.context = table, context
        self.out = Outcome(packet)

    def run(self) -> Outcome:
        name = CHAINS[self.context.hook]
        if self._chain(name) is None:
            self.out.verdict = self.table.policies.get(name, "ACCEPT").lower()
            if self.out.verdict == "drop":
                where = f"iptables {self.table.name} {name} policy"
                self.out.steps.append(Step("rule", f"policy of {name}: DROP", where, deciding=True))
        return self.out

    def _chain(self, name: str) -> str | None:
        """A final verdict, or None where the packet comes back to the chain before."""
        if name not in self.table.chains:
            raise Uninterpretable(f"a rule leads to the chain {name} of table {self.table.name}, which is not there")
        for rule in self.table.chains[name]:
            if rule.rule is None:
                raise Uninterpretable(
                    f"on {self.context.machine.name}, table {self.table.name}: {rule.text} ({rule.problem})"
                )
            if not self._matches(rule, rule.rule):
                continue
            back, verdict = self._target(rule, rule.rule)
            if verdict is not None:
                return verdict
            if back:
                return None
        return None

    def _target(self, rule: XRule, typed: r.Rule) -> tuple[bool, str | None]:
        """(whether the chain is left, final verdict)."""
        out = self.out
        match typed.target:
            case None:
                self._say(rule)
                return False, None
            case r.SetMark(value, mask):
                out.packet = replace(out.packet, mark=(out.packet.mark & ~mask) ^ value)
                self._say(rule, owner=typed.comment)
                return False, None
            case r.Dnat(to):
                out.verdict, out.to = "dnat", to
                self._say(rule, deciding=True, owner=self._owner_of(to))
                return True, "dnat"
            case r.Masquerade(random_fully):
                out.verdict, out.masquerade, out.random = "snat", True, random_fully
                self._say(rule, deciding=True)
                return True, "snat"
            case r.Reject():
                out.verdict, out.to = "reject", typed.target.reason
                self._say(rule, deciding=True, owner=_service(typed.comment))
                return True, "reject"
            case r.Jump("RETURN"):
                self._say(rule)
                return True, None
            case r.Jump("ACCEPT" | "DROP" as verdict):
                out.verdict = verdict.lower()
                self._say(rule, deciding=True, owner=_service(typed.comment))
                return True, out.verdict
            case r.Jump(chain):
                self._say(rule, owner=_service(typed.comment))
                return False, self._chain(chain)
        raise Uninterpretable(f"iptables target of rule: {rule.text}")

    def _owner_of(self, to: str) -> str:
        address, port = split(to)
        return self.context.owner(address, port or 0)

    def _say(self, rule: XRule, *, deciding: bool = False, owner: str = "") -> None:
        counter = (rule.packets, rule.bytes)
        self.out.steps.append(
            Step("rule", rule.text, self.table.where(rule), counter, owner if "/" in owner else "", deciding)
        )

    # -- matching

    def _matches(self, rule: XRule, typed: r.Rule) -> bool:
        packet, context = self.out.packet, self.context
        if typed.protocol is not None and PROTOCOLS.get(typed.protocol, typed.protocol) not in (packet.protocol, "all"):
            return False
        for wanted, device in ((typed.in_interface, context.indev), (typed.out_interface, context.outdev)):
            if wanted is not None and not _is_device(wanted, device):
                return False
        for net, address in ((typed.source, packet.src), (typed.destination, packet.dst)):
            if net is not None and in_range(address, net.cidr) == net.negated:
                return False
        return all(self._match(match, rule, typed) for match in typed.matches)

    def _match(self, match: r.Match, rule: XRule, typed: r.Rule) -> bool:
        packet, context = self.out.packet, self.context
        match match:
            case r.Comment() | r.NfAcct():
                return True
            case r.Ports(protocol, dport, sport):
                if protocol != packet.protocol:
                    return False
                return all(
                    wanted is None or self._port(has, wanted, rule)
                    for wanted, has in ((dport, packet.dport), (sport, packet.sport))
                )
            case r.CtState(states, negated):
                return self._state(states) != negated
            case r.AddrType(side, "LOCAL", negated):
                return context.local(packet.src if side == "src" else packet.dst) != negated
            case r.MarkMatch(value, mask, negated):
                return (packet.mark & mask == value) != negated
            case r.Statistic():
                return self._chance(match, typed)
            case r.Recent():
                return self._recent(match)
            case r.InSet(name, sides, negated):
                return self._in_set(name, sides, rule) != negated
            case r.PhysdevIn(negated):
                return context.bridged != negated
            case r.IpvsMatch():
                taken = packet.virtual
                wanted = (PROTOCOLS.get(str(match.protocol)), match.address, match.port)
                return taken is not None and (taken.protocol.lower(), taken.address, taken.port) == wanted
        raise Uninterpretable(f"iptables match {match} of rule: {rule.text}")

    def _port(self, has: int | None, wanted: int, rule: XRule) -> bool:
        if has is None:
            raise Uninterpretable(f"a rule asks for a port that masquerading chose at random: {rule.text}")
        return has == wanted

    def _state(self, states: tuple[str, ...]) -> bool:
        connection = self.context.connection
        virtual = {"DNAT": connection is not None and connection.dnat_done,
                   "SNAT": connection is not None and connection.snat_done}  # fmt: skip
        return self.context.state in states or any(virtual.get(state, False) for state in states)

    def _chance(self, match: r.Statistic, typed: r.Rule) -> bool:
        if match.probability >= 1:
            return True
        leads = self._endpoint(typed.target.chain) if isinstance(typed.target, r.Jump) else ""
        options = ((leads, match.probability), ("", 1 - match.probability))
        return self.context.oracle.choose(typed.comment or "statistic", options) == 0

    def _endpoint(self, chain: str) -> str:
        for rule in self.table.chains.get(chain, ()):
            if rule.rule is not None and isinstance(rule.rule.target, r.Dnat):
                return rule.rule.target.to
        return ""

    def _recent(self, match: r.Recent) -> bool:
        return match.action == "set" or self.out.packet.src in self.context.machine.recent.get(match.name, ())

    def _in_set(self, name: str, sides: tuple[str, ...], rule: XRule) -> bool:
        sets = self.context.machine.sets
        if name not in sets:
            raise Uninterpretable(f"a rule asks the ipset {name}, which is not known: {rule.text}")
        return any(self._is(entry, sides) for entry in sets[name])

    def _is(self, entry: Entry, sides: tuple[str, ...]) -> bool:
        packet = self.out.packet
        addresses, ports = {"src": packet.src, "dst": packet.dst}, {"src": packet.sport, "dst": packet.dport}
        if not entry.address:
            return entry.port == ports[sides[0]]
        if entry.address != addresses[sides[0]]:
            return False
        if entry.protocol and (entry.protocol.lower(), entry.port) != (packet.protocol, ports[sides[1]]):
            return False
        return not entry.second or in_range(addresses[sides[2]], entry.second)


def _is_device(wanted: str, device: str) -> bool:
    return device.startswith(wanted[:-1]) if wanted.endswith("+") else wanted == device


def _service(comment: str) -> str:
    """The Service that kube-proxy's comment names ("default/web:http cluster IP", "default/web -> 10.0.0.1:80")."""
    word = comment.split(" ", 1)[0]
    return word if word.count("/") == 1 else ""


_ = (Callable, Mapping)
