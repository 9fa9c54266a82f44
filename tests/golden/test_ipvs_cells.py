"""Golden tables of IPVS mode: what each kind of Service × policy × endpoints × family has in sets and servers.

Written from upstream's README of the mode (its table of ipsets) and the documents of traffic policies, not from our
own rules; test_explain_cells has where packets then go.
"""

from __future__ import annotations

import pytest

from netlab.dataplane import ipvs
from netlab.dataplane.ipvs.sets import kernel_name
from netlab.dataplane.services import Family
from tests.golden.service_cells import CELLS, FAMILIES, NODE_PORT, PLACES, PORT, Cell, addresses_of, state_of

# An address of the Service → the set that has it under external policy Cluster, and those that have it under Local.
SETS = {
    "cluster": ("KUBE-CLUSTER-IP", "KUBE-CLUSTER-IP"),
    "external": ("KUBE-EXTERNAL-IP", "KUBE-EXTERNAL-IP-LOCAL"),
    "balancer": ("KUBE-LOAD-BALANCER", "KUBE-LOAD-BALANCER KUBE-LOAD-BALANCER-LOCAL"),
    "node port": ("KUBE-NODE-PORT-TCP", "KUBE-NODE-PORT-TCP KUBE-NODE-PORT-LOCAL-TCP"),
}
# Beside what is always there: a filled set → the rules that it brings, by their ends.
RULES = {
    "KUBE-LOOP-BACK": {"nat KUBE-POSTROUTING dst,dst,src MASQUERADE"},
    "KUBE-CLUSTER-IP": {"nat KUBE-SERVICES dst,dst KUBE-MARK-MASQ", "nat KUBE-SERVICES dst,dst ACCEPT"},
    "KUBE-EXTERNAL-IP": {"nat KUBE-SERVICES dst,dst KUBE-MARK-MASQ", "nat KUBE-SERVICES dst,dst ACCEPT"},
    "KUBE-EXTERNAL-IP-LOCAL": {"nat KUBE-SERVICES dst,dst ACCEPT"},
    "KUBE-LOAD-BALANCER": {"nat KUBE-SERVICES dst,dst KUBE-LOAD-BALANCER", "nat KUBE-SERVICES dst,dst ACCEPT"},
    "KUBE-LOAD-BALANCER-LOCAL": {"nat KUBE-LOAD-BALANCER dst,dst RETURN"},
    "KUBE-LOAD-BALANCER-FW": {"filter KUBE-PROXY-FIREWALL dst,dst KUBE-SOURCE-RANGES-FIREWALL"},
    "KUBE-LOAD-BALANCER-SOURCE-CIDR": {"filter KUBE-SOURCE-RANGES-FIREWALL dst,dst,src RETURN"},
    "KUBE-NODE-PORT-TCP": {"nat KUBE-NODE-PORT dst KUBE-MARK-MASQ"},
    "KUBE-NODE-PORT-LOCAL-TCP": {"nat KUBE-NODE-PORT dst RETURN"},
}
ALWAYS = {
    "KUBE-HEALTH-CHECK-NODE-PORT": {"filter KUBE-NODE-PORT dst ACCEPT", "filter KUBE-IPVS-FILTER dst RETURN"},
    "KUBE-IPVS-IPS": {"filter KUBE-IPVS-FILTER dst REJECT"},
    **{
        name: {"filter KUBE-IPVS-FILTER dst,dst RETURN"}
        for name in ("KUBE-LOAD-BALANCER", "KUBE-CLUSTER-IP", "KUBE-EXTERNAL-IP", "KUBE-EXTERNAL-IP-LOCAL")
    },
}


def program(cell: Cell) -> ipvs.IpvsProgram:
    family, places = cell[0], PLACES[cell[0]]
    config = ipvs.IpvsConfig(places["node"], places["pods"], (places["node"],), family=family)
    made = ipvs.IpvsProgram(config)
    state = state_of(cell)
    made.update(state.port.name, state)
    return made


def members(cell: Cell) -> dict[str, set[str]]:
    """What each set must have, as ipset prints it."""
    family, kind, _, external, endpoints = cell
    places = PLACES[family]
    found: dict[str, set[str]] = {name: set() for name in ipvs.SET_NAMES}
    for address in addresses_of(kind):
        entry = str(NODE_PORT) if address == "node port" else f"{places[address]},tcp:{PORT}"
        for name in SETS[address][external == "Local"].split():
            found[name].add(entry)
        if address != "node port":
            found["KUBE-IPVS-IPS"].add(places[address])
    if endpoints in ("here", "both"):
        found["KUBE-LOOP-BACK"].add(f"{places['here']},tcp:8080,{places['here']}")
    if kind.endswith("ranges"):
        balancer = f"{places['balancer']},tcp:{PORT}"
        found["KUBE-LOAD-BALANCER-FW"].add(balancer)
        found["KUBE-LOAD-BALANCER-SOURCE-CIDR"].add(f"{balancer},{places['ranges']}")
    return found


def real_servers(cell: Cell, address: str) -> set[str]:
    """Policy Local takes the node's own endpoints; where it has none, all of them (upstream's PR 97081), but for what
    only pods of the node may call: an internal Service that nothing outside leads to."""
    family, kind, internal, external, endpoints = cell
    every = {"none": set[str](), "both": {"here", "there"}}.get(endpoints, {endpoints})
    policy = internal if address == "cluster" else external
    chosen = every & {"here"} if policy == "Local" else every
    if policy == "Local" and not chosen and not (address == "cluster" and kind == "ClusterIP"):
        chosen = every
    return {PLACES[family][name] for name in chosen}


def asked(cell: Cell, table: str, rule: object) -> tuple[str, str] | None:
    """(a set's IPv4 name, the rule in short) of a rule that asks one."""
    words = str(rule).split()
    if "--match-set" not in words:
        return None
    at = words.index("--match-set")
    (name,) = [name for name in ipvs.SET_NAMES if kernel_name(name, cell[0]) == words[at + 1]]
    return name, f"{table} {words[1]} {words[at + 2]} {words[words.index('-j') + 1]}"


@pytest.mark.parametrize("family", FAMILIES)
def test_sets_and_servers_of_every_cell(family: Family) -> None:
    seen = 0
    for cell in (cell for cell in CELLS if cell[0] == family):
        state, places = program(cell).state(), PLACES[family]
        wanted = members(cell)
        assert {name: {str(entry) for entry in entries} for name, entries in state.members.items()} == wanted, cell
        assert state.addresses == wanted["KUBE-IPVS-IPS"], cell
        servers = {
            address: ipvs.Frontend("TCP", places["node"], NODE_PORT)
            if address == "node port"
            else ipvs.Frontend("TCP", places[address], PORT)
            for address in addresses_of(cell[1])
        }
        assert set(state.servers) == set(servers.values()), cell
        for address, frontend in servers.items():
            reals = state.reals[frontend].values()
            assert {real.address for real in reals} == real_servers(cell, address), (cell, address)
            assert {(real.port, real.weight) for real in reals} <= {(8080, 1)}
        seen += 1
    assert seen == len(CELLS) / len(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_rules_that_ask_sets_in_every_cell(family: Family) -> None:
    brought = set[str]()
    for cell in (cell for cell in CELLS if cell[0] == family):
        filled = {name for name, entries in members(cell).items() if entries}
        wanted = {(name, rule) for name in filled for rule in RULES.get(name, set())}
        wanted |= {(name, rule) for name, rules in ALWAYS.items() for rule in rules}
        found = {asked(cell, table, rule) for table, rules in program(cell).rules().items() for rule in rules}
        assert found - {None} == wanted, cell
        brought |= filled
    assert brought >= RULES.keys(), "each of these sets is filled in some cell"


def test_every_set_is_spoken_for() -> None:
    """But for those of other protocols, and of a node that is within the source ranges."""
    others = {
        *(name for protocol in ("UDP", "SCTP") for name in ipvs.SET_NAMES if f"-{protocol}" in name),
        "KUBE-LOAD-BALANCER-SOURCE-IP",
    }
    assert RULES.keys() | ALWAYS.keys() | others == set(ipvs.SET_NAMES)
