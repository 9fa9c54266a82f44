"""The iptables rules of IPVS mode: a few fixed ones that ask the sets. Pure; upstream's writeIptablesRules.

A rule whose set is empty is left out, as upstream does; so the rules change when a set gets its first member or loses
its last, and not with every Service. Their order within a chain is upstream's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from netlab.dataplane.iptables.parse import Existing
from netlab.dataplane.iptables.rules import (
    ACCEPT,
    DROP,
    RETURN,
    AddrType,
    Comment,
    CtState,
    InSet,
    IpvsMatch,
    Jump,
    MarkMatch,
    Masquerade,
    Match,
    Net,
    PhysdevIn,
    Reject,
    Rule,
    SetMark,
    Target,
)
from netlab.dataplane.ipvs import sets
from netlab.dataplane.ipvs.model import Frontend
from netlab.dataplane.ipvs.service import IpvsConfig

SERVICES = "KUBE-SERVICES"
POSTROUTING = "KUBE-POSTROUTING"
NODE_PORT = "KUBE-NODE-PORT"
LOAD_BALANCER = "KUBE-LOAD-BALANCER"
MARK_MASQ = "KUBE-MARK-MASQ"
FORWARD = "KUBE-FORWARD"
PROXY_FIREWALL = "KUBE-PROXY-FIREWALL"
SOURCE_RANGES = "KUBE-SOURCE-RANGES-FIREWALL"
IPVS_FILTER = "KUBE-IPVS-FILTER"
IPVS_OUT_FILTER = "KUBE-IPVS-OUT-FILTER"

_CHAINS: Mapping[str, tuple[str, ...]] = {
    "nat": (SERVICES, POSTROUTING, NODE_PORT, LOAD_BALANCER, MARK_MASQ),
    "filter": (FORWARD, NODE_PORT, PROXY_FIREWALL, SOURCE_RANGES, IPVS_FILTER, IPVS_OUT_FILTER),
}
_PROTOCOL_NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132}

# table, from, to, comment: upstream puts each at the top of its chain, so the last one of a chain is tried first.
_JUMPS = (
    ("nat", "OUTPUT", SERVICES, "kubernetes service portals"),
    ("nat", "PREROUTING", SERVICES, "kubernetes service portals"),
    ("nat", "POSTROUTING", POSTROUTING, "kubernetes postrouting rules"),
    ("filter", "FORWARD", FORWARD, "kubernetes forwarding rules"),
    ("filter", "INPUT", NODE_PORT, "kubernetes health check rules"),
    ("filter", "INPUT", PROXY_FIREWALL, "kube-proxy firewall rules"),
    ("filter", "FORWARD", PROXY_FIREWALL, "kube-proxy firewall rules"),
    ("filter", "INPUT", IPVS_FILTER, "kubernetes ipvs access filter"),
    ("filter", "OUTPUT", IPVS_OUT_FILTER, "kubernetes ipvs access filter"),
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A rule that is nothing but a question to a set. `protocol` where the set holds only ports."""

    set: str
    table: str
    chain: str
    target: Target
    sides: tuple[str, ...]
    protocol: str | None = None


# Local sets stand before those of all, because what is in the first must not be masqueraded.
_ASKED = (
    _Asked(sets.LOOP_BACK, "nat", POSTROUTING, Masquerade(random_fully=False), ("dst", "dst", "src")),
    _Asked(sets.LOAD_BALANCER, "nat", SERVICES, Jump(LOAD_BALANCER), ("dst", "dst")),
    _Asked(sets.LOAD_BALANCER_LOCAL, "nat", LOAD_BALANCER, RETURN, ("dst", "dst")),
    _Asked(sets.NODE_PORT_LOCAL["TCP"], "nat", NODE_PORT, RETURN, ("dst",), "tcp"),
    _Asked(sets.NODE_PORT["TCP"], "nat", NODE_PORT, Jump(MARK_MASQ), ("dst",), "tcp"),
    _Asked(sets.NODE_PORT_LOCAL["UDP"], "nat", NODE_PORT, RETURN, ("dst",), "udp"),
    _Asked(sets.NODE_PORT["UDP"], "nat", NODE_PORT, Jump(MARK_MASQ), ("dst",), "udp"),
    _Asked(sets.NODE_PORT_LOCAL["SCTP"], "nat", NODE_PORT, RETURN, ("dst", "dst"), "sctp"),
    _Asked(sets.NODE_PORT["SCTP"], "nat", NODE_PORT, Jump(MARK_MASQ), ("dst", "dst"), "sctp"),
    _Asked(sets.LOAD_BALANCER_FW, "filter", PROXY_FIREWALL, Jump(SOURCE_RANGES), ("dst", "dst")),
    _Asked(sets.LOAD_BALANCER_SOURCE_CIDR, "filter", SOURCE_RANGES, RETURN, ("dst", "dst", "src")),
    _Asked(sets.LOAD_BALANCER_SOURCE_IP, "filter", SOURCE_RANGES, RETURN, ("dst", "dst", "src")),
)


def fixed_chains(table: str) -> tuple[str, ...]:
    """Our chains of a table, none in most; they are there whatever the Services are."""
    return _CHAINS.get(table, ())


def jumps(table: str) -> tuple[Rule, ...]:
    """The rules of built-in chains, in the order in which they stand."""
    found = [
        Rule(chain, Jump(target), (Comment(comment),)) for where, chain, target, comment in _JUMPS if where == table
    ]
    return tuple(reversed(found))


def rules(filled: Collection[str], refused: Iterable[Frontend], config: IpvsConfig) -> dict[str, list[Rule]]:
    """Our chains' rules by table. `filled`: the sets, by IPv4 name, that have members."""
    return _Rules(frozenset(filled), tuple(refused), config).all()


class _Rules:
    def __init__(self, filled: frozenset[str], refused: Sequence[Frontend], config: IpvsConfig) -> None:
        self.filled, self.refused, self.config = filled, refused, config
        self.tables: dict[str, list[Rule]] = {"filter": [], "nat": []}

    def all(self) -> dict[str, list[Rule]]:
        nat, filter_ = self.tables["nat"], self.tables["filter"]
        loopback = "::1/128" if self.config.family == "IPv6" else "127.0.0.0/8"
        nat.append(Rule(SERVICES, RETURN, source=Net(loopback)))
        for asked in _ASKED:
            if asked.set in self.filled:
                self.tables[asked.table].append(self._asked(asked))
        nat += self._cluster_ips()
        nat += self._external_ips()
        nat.append(Rule(SERVICES, Jump(NODE_PORT), (AddrType("dst"),)))
        nat.append(Rule(LOAD_BALANCER, Jump(MARK_MASQ)))
        filter_.append(Rule(SOURCE_RANGES, DROP))
        filter_ += self._out_filter()
        # Last in KUBE-SERVICES: what is for a virtual server must not be refused by rules of others.
        for name in (sets.CLUSTER_IP, sets.LOAD_BALANCER):
            if name in self.filled:
                nat.append(Rule(SERVICES, ACCEPT, (self._in(name, "dst", "dst"),)))
        filter_ += self._forward()
        filter_ += self._input()
        nat += self._masquerading()
        return self.tables

    def _in(self, name: str, *sides: str) -> InSet:
        return InSet(sets.kernel_name(name, self.config.family), sides)

    def _asked(self, asked: _Asked) -> Rule:
        matches = (Comment(sets.COMMENTS[asked.set]), self._in(asked.set, *asked.sides))
        return Rule(asked.chain, asked.target, matches, protocol=asked.protocol)

    def _cluster_ips(self) -> Iterator[Rule]:
        """Whoever is no pod gets its answers back through this node: as in the other modes."""
        if sets.CLUSTER_IP not in self.filled:
            return
        matches = (Comment(sets.COMMENTS[sets.CLUSTER_IP]), self._in(sets.CLUSTER_IP, "dst", "dst"))
        source = None if self.config.masquerade_all else Net(self.config.cluster_cidr, negated=True)
        yield Rule(SERVICES, Jump(MARK_MASQ), matches, source=source)

    def _external_ips(self) -> Iterator[Rule]:
        """Traffic that came from outside, not over a bridge and not from the node, goes on to the virtual server."""
        for name in (sets.EXTERNAL_IP, sets.EXTERNAL_IP_LOCAL):
            if name not in self.filled:
                continue
            matches: tuple[Match, ...] = (Comment(sets.COMMENTS[name]), self._in(name, "dst", "dst"))
            if name == sets.EXTERNAL_IP:
                yield Rule(SERVICES, Jump(MARK_MASQ), matches)
            from_outside = (PhysdevIn(negated=True), AddrType("src", negated=True))
            yield Rule(SERVICES, ACCEPT, (*matches, *from_outside))
            yield Rule(SERVICES, ACCEPT, (*matches, AddrType("dst")))

    def _out_filter(self) -> Iterator[Rule]:
        """A node outside the source ranges: IPVS has made the address itself both source and destination."""
        for frontend in self.refused:
            match = IpvsMatch(_PROTOCOL_NUMBERS[frontend.protocol], frontend.address, frontend.port)
            yield Rule(IPVS_OUT_FILTER, DROP, (match,), source=Net.host(frontend.address))

    def _forward(self) -> Iterator[Rule]:
        mark = self.config.masquerade_mark
        yield Rule(FORWARD, ACCEPT, (Comment("kubernetes forwarding rules"), MarkMatch(mark, mark)))
        known = CtState(("RELATED", "ESTABLISHED"))
        yield Rule(FORWARD, ACCEPT, (Comment("kubernetes forwarding conntrack rule"), known))

    def _input(self) -> Iterator[Rule]:
        """The service addresses are local ones: without this the node's own ports would be reached through them."""
        health = self._in(sets.HEALTH_CHECK_NODE_PORT, "dst")
        yield Rule(NODE_PORT, ACCEPT, (Comment(sets.COMMENTS[sets.HEALTH_CHECK_NODE_PORT]), health))
        for name in (sets.LOAD_BALANCER, sets.CLUSTER_IP, sets.EXTERNAL_IP, sets.EXTERNAL_IP_LOCAL):
            yield Rule(IPVS_FILTER, RETURN, (self._in(name, "dst", "dst"),))
        yield Rule(IPVS_FILTER, RETURN, (health,))
        reason = "icmp6-port-unreachable" if self.config.family == "IPv6" else "icmp-port-unreachable"
        yield Rule(IPVS_FILTER, Reject(reason), (CtState(("NEW",)), self._in(sets.IPVS_IPS, "dst")))

    def _masquerading(self) -> Iterator[Rule]:
        mark = self.config.masquerade_mark
        yield Rule(POSTROUTING, RETURN, (MarkMatch(mark, mark, negated=True),))
        yield Rule(POSTROUTING, SetMark(mark, 0))
        snat = Masquerade(self.config.random_fully)
        yield Rule(POSTROUTING, snat, (Comment("kubernetes service traffic requiring SNAT"),))
        yield Rule(MARK_MASQ, SetMark(mark, mark))


def restore_text(tables: Mapping[str, Sequence[Rule]], present: Mapping[str, Existing]) -> str:
    """Text for `iptables-restore --noflush`: our chains whole, and the jumps that `present` (a scanned save) lacks."""
    lines: list[str] = []
    for table in ("nat", "filter"):
        there = present[table].jumps if table in present else frozenset[Rule]()
        lines += [f"*{table}", *(f":{chain} - [0:0]" for chain in fixed_chains(table))]
        lines += [f"-I {rule.chain} 1 {rule.spec()}" for rule in reversed(jumps(table)) if rule not in there]
        lines += [str(rule) for rule in tables[table]]
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"
