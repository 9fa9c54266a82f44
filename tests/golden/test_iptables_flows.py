"""Where the typed iptables rules lead a first packet, for every cell of the table.

A small walk over the rules says what they do. A rule that the walk cannot interpret is an error.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import product

import pytest
from service_cells import (
    CALLERS,
    CELLS,
    ENDPOINTS,
    FAMILIES,
    KINDS,
    PLACES,
    POLICIES,
    Cell,
    Outcome,
    addresses_of,
    expected,
    state_of,
    where,
)

from netlab.dataplane.iptables import IptablesConfig, IptablesProgram, parse, rules


def program(cell: Cell) -> IptablesProgram:
    places, state = PLACES[cell[0]], state_of(cell)
    made = IptablesProgram(IptablesConfig(places["node"], places["pods"], cell[0]))
    made.update(state.port.name, state)
    return made


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


@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_where_a_first_packet_goes(cell: Cell) -> None:
    family, kind, internal, external, endpoints = cell
    places, made = PLACES[family], program(cell)
    for caller, address in product(CALLERS, addresses_of(kind)):
        outcome = Walk(made, places, caller, *where(places, address)).outcome()
        assert outcome == expected(kind, internal, external, endpoints, caller, address), (caller, address)


@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_the_text_parses_back_to_the_same_rules(cell: Cell) -> None:
    made = program(cell)
    tables = parse(made.full({}))
    for name, found in made.rules().items():
        assert sorted(map(str, tables[name].rules)) == sorted(map(str, found))


def test_no_cell_is_missing() -> None:
    wanted = len(FAMILIES) * len(KINDS) * len(POLICIES) ** 2 * len(ENDPOINTS)
    skipped = len(FAMILIES) * len(POLICIES) * len(ENDPOINTS)  # ClusterIP has no external policy
    assert len(set(CELLS)) == wanted - skipped
