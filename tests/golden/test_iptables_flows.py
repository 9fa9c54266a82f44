"""Every kind of Service × policy × endpoints × family × caller × address: where the typed rules lead a first packet.

The expectation is written from the documented meaning of the fields, not from the rules; a small walk over the typed
rules gives what they do. A rule that the walk cannot interpret is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import product

import pytest

from netlab.dataplane.iptables import IptablesConfig, IptablesProgram, parse, rules
from netlab.dataplane.services import Endpoint, Family, NodeView, ServicePort, ServicePortName, ServiceState, choose

V4 = {
    "pods": "10.244.0.0/16", "pod": "10.244.0.9", "node": "192.168.0.2", "outside": "203.0.113.50",
    "near": "198.51.100.7", "cluster": "10.96.0.20", "external": "203.0.113.9", "balancer": "203.0.113.10",
    "here": "10.244.0.11", "there": "10.244.1.12", "ranges": "198.51.100.0/24",
}  # fmt: skip
V6 = {
    "pods": "fd10:244::/56", "pod": "fd10:244::9", "node": "fd00::2", "outside": "2001:db8:1::50",
    "near": "2001:db8:2::7", "cluster": "fd96::20", "external": "2001:db8:3::9", "balancer": "2001:db8:3::10",
    "here": "fd10:244::11", "there": "fd10:244:0:1::12", "ranges": "2001:db8:2::/48",
}  # fmt: skip
PLACES = {"IPv4": V4, "IPv6": V6}
NODE_PORT, PORT = 30080, 80

FAMILIES: tuple[Family, ...] = ("IPv4", "IPv6")
KINDS = ("ClusterIP", "NodePort", "ExternalIP", "LoadBalancer", "LoadBalancer with ranges")
POLICIES = ("Cluster", "Local")
ENDPOINTS = ("none", "there", "here", "both")
CALLERS = ("pod", "node", "outside", "near")
ADDRESSES = ("cluster", "node port", "external", "balancer")


@dataclass(frozen=True)
class Outcome:
    """`reaches` are the endpoints ("here", "there") that can be chosen; without any, why not."""

    reaches: frozenset[str]
    masqueraded: bool = False
    otherwise: str = ""


def program(family: Family, kind: str, internal: str, external: str, endpoints: str) -> IptablesProgram:
    places = PLACES[family]
    balanced = kind.startswith("LoadBalancer")
    port = ServicePort(
        ServicePortName("ns", "svc", "http", "TCP"),
        places["cluster"],
        PORT,
        node_port=NODE_PORT if kind == "NodePort" or balanced else 0,
        external_ips=(places["external"],) if kind == "ExternalIP" else (),
        load_balancer_ips=(places["balancer"],) if balanced else (),
        source_ranges=(places["ranges"],) if kind.endswith("ranges") else (),
        internal_local=internal == "Local",
        external_local=external == "Local" and kind != "ClusterIP",
        family=family,
    )
    which = {"none": (), "both": ("here", "there")}.get(endpoints, (endpoints,))
    found = [Endpoint(places[name], 8080, name, local=name == "here") for name in which]
    state = ServiceState(port, tuple(found), choose(port, found, NodeView("here")))
    made = IptablesProgram(IptablesConfig(places["node"], places["pods"], family))
    made.update(port.name, state)
    return made


def addresses_of(kind: str) -> tuple[str, ...]:
    return {
        "ClusterIP": ("cluster",),
        "NodePort": ("cluster", "node port"),
        "ExternalIP": ("cluster", "external"),
    }.get(kind, ("cluster", "node port", "balancer"))


def expected(kind: str, internal: str, external: str, endpoints: str, caller: str, address: str) -> Outcome:
    """From Kubernetes' documentation of traffic policies and source ranges."""
    every = {"none": frozenset[str](), "both": frozenset({"here", "there"})}.get(endpoints, frozenset({endpoints}))
    if not every:
        # What a node itself sends to an external address leaves it: upstream refuses that in FORWARD and INPUT only.
        leaves = caller == "node" and address in ("external", "balancer")
        return Outcome(every, otherwise="nothing" if leaves else "REJECT")
    if address == "cluster":
        reaches = every & {"here"} if internal == "Local" else every
        return Outcome(reaches, caller != "pod", "DROP") if reaches else Outcome(reaches, otherwise="DROP")
    if address == "balancer" and kind.endswith("ranges") and caller != "near":
        return Outcome(frozenset(), otherwise="DROP")
    if external == "Local" and caller in ("outside", "near"):
        reaches = every & {"here"}
        return Outcome(reaches, False, "DROP") if reaches else Outcome(reaches, otherwise="DROP")
    return Outcome(every, external == "Cluster" or caller == "node", "DROP")


class Walk:
    """A first packet through PREROUTING or OUTPUT of nat, then the filter chains; every random choice is taken."""

    def __init__(self, made: IptablesProgram, places: dict[str, str], caller: str, to: str, dport: int) -> None:
        self.tables = {name: list(table) for name, table in made.rules().items()}
        self.places, self.caller = places, caller
        self.source, self.to, self.dport = places[caller], to, dport
        self.reaches: dict[str, bool] = {}

    def outcome(self) -> Outcome:
        self.nat("OUTPUT" if self.caller == "node" else "PREROUTING", False)
        if self.reaches:
            names = {self.places[name]: name for name in ("here", "there")}
            assert len(set(self.reaches.values())) == 1
            return Outcome(frozenset(names[ip] for ip in self.reaches), next(iter(self.reaches.values())), "DROP")
        mine = self.to == self.places["node"]
        hooks = ["INPUT" if mine else "FORWARD"] if self.caller != "node" else ["OUTPUT", *(["INPUT"] if mine else [])]
        verdicts = [verdict for verdict in map(self.filter, hooks) if verdict]
        return Outcome(frozenset(), otherwise=verdicts[0] if verdicts else "nothing")

    def matches(self, rule: rules.Rule) -> bool:
        for net, address in ((rule.source, self.source), (rule.destination, self.to)):
            if net is not None and (ip_address(address) in ip_network(net.cidr)) is net.negated:
                return False
        return all(self.match(match) for match in rule.matches)

    def match(self, match: rules.Match) -> bool:
        if isinstance(match, rules.Ports):
            return match.protocol == "tcp" and match.dport in (None, self.dport)
        if isinstance(match, rules.AddrType):
            return (self.source if match.side == "src" else self.to) == self.places["node"]
        if isinstance(match, rules.CtState):
            return ("NEW" in match.states) is not match.negated
        assert isinstance(match, rules.Comment | rules.Statistic | rules.MarkMatch), match
        return not isinstance(match, rules.MarkMatch)

    def nat(self, chain: str, marked: bool) -> tuple[bool, bool]:
        """Follows a chain; (whether the packet was translated for sure, whether it is marked)."""
        for rule in self.tables["nat"]:
            if rule.chain != chain or not self.matches(rule):
                continue
            target = rule.target
            if isinstance(target, rules.SetMark):
                marked = True
            elif isinstance(target, rules.Dnat):
                self.reaches[target.to.rpartition(":")[0].strip("[]")] = marked
                return True, marked
            elif isinstance(target, rules.Jump):
                done, after = self.nat(target.chain, marked)
                chance = any(isinstance(match, rules.Statistic) for match in rule.matches)
                marked = marked if chance else after
                if done and not chance:
                    return True, marked
            else:
                assert target is None, target
        return False, marked

    def filter(self, chain: str) -> str:
        for rule in self.tables["filter"]:
            if rule.chain == chain and self.matches(rule):
                if isinstance(rule.target, rules.Reject):
                    return "REJECT"
                assert isinstance(rule.target, rules.Jump)
                verdict = rule.target.chain
                if verdict not in ("DROP", "ACCEPT"):
                    verdict = self.filter(verdict)
                if verdict:
                    return verdict
        return ""


CELLS = [
    (family, kind, internal, external, endpoints)
    for family, kind, internal, external, endpoints in product(FAMILIES, KINDS, POLICIES, POLICIES, ENDPOINTS)
    if not (kind == "ClusterIP" and external == "Local")
]


@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_where_a_first_packet_goes(cell: tuple[Family, str, str, str, str]) -> None:
    family, kind, internal, external, endpoints = cell
    places, made = PLACES[family], program(*cell)
    for caller, address in product(CALLERS, addresses_of(kind)):
        to, dport = (places["node"], NODE_PORT) if address == "node port" else (places[address], PORT)
        outcome = Walk(made, places, caller, to, dport).outcome()
        wanted = expected(kind, internal, external, endpoints, caller, address)
        assert outcome.reaches == wanted.reaches, (caller, address)
        assert outcome.masqueraded == wanted.masqueraded, (caller, address)
        if not wanted.reaches:
            assert outcome.otherwise == wanted.otherwise, (caller, address)


@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_the_text_parses_back_to_the_same_rules(cell: tuple[Family, str, str, str, str]) -> None:
    made = program(*cell)
    tables = parse(made.full({}))
    for name, found in made.rules().items():
        assert sorted(map(str, tables[name].rules)) == sorted(map(str, found))


def test_no_cell_is_missing() -> None:
    wanted = len(FAMILIES) * len(KINDS) * len(POLICIES) ** 2 * len(ENDPOINTS)
    skipped = len(FAMILIES) * len(POLICIES) * len(ENDPOINTS)  # ClusterIP has no external policy
    assert len(set(CELLS)) == wanted - skipped
