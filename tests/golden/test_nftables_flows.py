"""Where the typed nftables table leads a first packet, for every cell of the table."""

from __future__ import annotations

import copy
from ipaddress import ip_address, ip_network
from itertools import pairwise, product

import pytest

from netlab.dataplane.nftables import NftablesConfig, NftablesProgram, NftState, diff, parse_rule, rules
from netlab.node.proxy_fake_nft import apply_nft, check_nft
from tests.golden.service_cells import CALLERS, CELLS, PLACES, Cell, Outcome, addresses_of, expected, state_of, where


def program(cell: Cell) -> NftablesProgram:
    places, state = PLACES[cell[0]], state_of(cell)
    config = NftablesConfig(places["node"], places["pods"], "", (places["node"],), cell[0])
    made = NftablesProgram(config)
    made.update(state.port.name, state)
    return made


class Walk:
    """A first packet through the hooks; every random choice is taken."""

    def __init__(self, state: NftState, places: dict[str, str], caller: str, to: str, dport: int) -> None:
        self.state, self.places, self.caller = state, places, caller
        self.source, self.to, self.dport = places[caller], to, str(dport)
        self.reaches: dict[str, bool] = {}

    def outcome(self) -> Outcome:
        mine = self.to == self.places["node"]
        if self.caller == "node":
            hooks = ["filter-output-pre-dnat", "nat-output", "filter-output", *(["filter-input"] if mine else [])]
        else:
            hooks = ["filter-prerouting-pre-dnat", "nat-prerouting", "filter-input" if mine else "filter-forward"]
        for hook in hooks:
            verdict, _ = self.chain(hook, False)
            if self.reaches:
                names = {self.places[name]: name for name in ("here", "there")}
                assert len(set(self.reaches.values())) == 1
                return Outcome(frozenset(names[ip] for ip in self.reaches), next(iter(self.reaches.values())), "DROP")
            if verdict in ("drop", "reject"):
                return Outcome(frozenset(), otherwise=verdict.upper())
        return Outcome(frozenset(), otherwise="nothing")

    def chain(self, name: str, marked: bool) -> tuple[str, bool]:
        """The verdict ("" to go on with the caller) and the mark after a chain."""
        for rule in self.state.chains[name].rules:
            verdict, marked = self.rule(rule, marked)
            if verdict:
                return ("" if verdict == "return" else verdict), marked
        return "", marked

    def rule(self, rule: rules.Rule, marked: bool) -> tuple[str, bool]:
        for statement in rule.statements:
            if isinstance(statement, rules.SetMark):
                marked = True
            elif isinstance(statement, rules.Dnat):
                self.reaches[statement.to.rpartition(":")[0].strip("[]")] = marked
                return "dnat", marked
            elif isinstance(statement, rules.Spread):
                for chain in statement.chains:
                    self.chain(chain, marked)
                return "dnat", marked
            elif isinstance(statement, rules.Lookup):
                key = ((self.to,) if statement.ip else ()) + ("tcp", self.dport)
                found = self.state.elements.get((statement.map, key))
                return self.follow(found.verdict, marked) if found and found.verdict else ("", marked)
            elif isinstance(statement, rules.Verdict):
                return self.follow(statement, marked)
            elif not self.matches(statement):
                return "", marked
        return "", marked

    def follow(self, verdict: rules.Verdict, marked: bool) -> tuple[str, bool]:
        if not verdict.chain:
            return verdict.kind, marked
        after, marked = self.chain(verdict.chain, marked)
        return (after or ("return" if verdict.kind == "goto" else "")), marked

    def matches(self, statement: rules.Statement) -> bool:
        if isinstance(statement, rules.Addr):
            address = ip_address(self.source if statement.side == "saddr" else self.to)
            return any(address in ip_network(value) for value in statement.values) is not statement.negated
        if isinstance(statement, rules.InSet):
            address_ = self.source if statement.side == "saddr" else self.to
            return (statement.set, (address_,)) in self.state.elements
        if isinstance(statement, rules.FibLocal):
            return (self.source if statement.side == "saddr" else self.to) == self.places["node"]
        if isinstance(statement, rules.Port):
            return statement.protocol == "tcp" and str(statement.dport) == self.dport
        assert isinstance(statement, rules.CtNew | rules.L4Proto), statement
        return True


@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_where_a_first_packet_goes(cell: Cell) -> None:
    family, kind, internal, external, endpoints = cell
    places, state = PLACES[family], program(cell).state()
    for caller, address in product(CALLERS, addresses_of(kind)):
        outcome = Walk(state, places, caller, *where(places, address)).outcome()
        wanted = expected(kind, internal, external, endpoints, caller, address)
        if wanted.otherwise == "nothing":
            # nftables mode refuses what a node itself sends to an external address, iptables mode lets it go.
            wanted = Outcome(frozenset(), otherwise="REJECT")
        assert outcome == wanted, (caller, address)


@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_the_transaction_makes_the_same_table(cell: Cell) -> None:
    made = program(cell)
    state: NftState | None = None
    for operation in made.full(NftState()).apply:
        state = apply_nft(str(operation), state)
    assert state is not None
    check_nft(state)
    assert state == made.state()
    for chain in state.chains.values():
        assert tuple(parse_rule(str(rule)) for rule in chain.rules) == chain.rules


@pytest.mark.parametrize(("family", "kind"), [*product(PLACES, ("ClusterIP", "NodePort", "LoadBalancer with ranges"))])
@pytest.mark.parametrize(("old", "new"), [("none", "here"), ("here", "both"), ("both", "there"), ("there", "none")])
def test_wherever_a_transaction_is_cut_packets_go_as_before_or_as_after(
    family: str, kind: str, old: str, new: str
) -> None:
    made = [program((family, kind, "Cluster", "Cluster", endpoints)) for endpoints in (old, new)]  # type: ignore[arg-type]
    before, after = (one.state() for one in made)
    places = PLACES[family]  # type: ignore[index]
    state: NftState | None = copy.deepcopy(before)
    change = diff(before, after, made[0].config.ip)
    cuts = 0
    for previous, operation in pairwise((*change.apply, *change.cleanup)):
        state = apply_nft(str(previous), state)
        if operation.belongs_to(previous):
            continue
        cuts += 1
        assert state is not None
        for caller, address in product(CALLERS, addresses_of(kind)):
            ways = [Walk(one, places, caller, *where(places, address)).outcome() for one in (state, before, after)]
            assert ways[0] in ways[1:], (str(operation), caller, address)
    assert cuts
