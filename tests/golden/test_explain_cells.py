"""The walkers of all three modes against the table of expectations: every kind × policy × endpoints × family × caller.

This is also the golden table of IPVS mode: its typed state, walked, leads where upstream's documents say.
"""

from __future__ import annotations

import pytest

from netlab.dataplane.explain import Caller, Origin, Walk
from netlab.dataplane.explain.desired import Node, material
from netlab.dataplane.explain.model import Packet
from netlab.dataplane.explain.service import MODES, Mode
from netlab.dataplane.services import Family
from tests.golden.service_cells import (
    ADDRESSES,
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
    expected_ipvs,
    state_of,
    where,
)

ORIGINS: dict[str, Origin] = {"pod": "pod", "node": "node", "outside": "outside", "near": "outside"}
WORDS = {"reject": "REJECT", "drop": "DROP", "passed": "nothing"}


def outcome(walk: Walk, places: dict[str, str]) -> Outcome:
    """What a walk says, in the table's words. All shares together are all connections."""
    assert sum(ending.share for ending in walk.endings) == pytest.approx(1.0, abs=1e-5)
    names = {places["here"]: "here", places["there"]: "there"}
    reaches = [ending for ending in walk.endings if ending.verdict == "endpoint"]
    if not reaches:
        (ending,) = walk.endings
        return Outcome(frozenset(), otherwise=WORDS[ending.verdict])
    for ending in reaches:
        assert ending.share == pytest.approx(1 / len(reaches), abs=1e-5), "equal shares"
    assert len({ending.masqueraded for ending in reaches}) == 1
    ends = frozenset(names[ending.endpoint.rpartition(":")[0].strip("[]")] for ending in reaches)
    return Outcome(ends, reaches[0].masqueraded)


def wanted(mode: Mode, cell: Cell, caller: str, address: str) -> Outcome:
    _, kind, internal, external, endpoints = cell
    rule = expected_ipvs if mode == "ipvs" else expected
    found = rule(kind, internal, external, endpoints, caller, address)
    if mode == "nftables" and found.otherwise == "nothing":
        return Outcome(frozenset(), otherwise="REJECT")  # upstream's nftables mode looks at the node's own calls too
    return Outcome(found.reaches, found.masqueraded) if found.reaches else found


def node_of(family: Family) -> Node:
    places = PLACES[family]
    return Node("here", places["node"], (places["node"],), places["pods"], family=family)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_cell(mode: Mode, family: Family) -> None:
    places, wrong, seen = PLACES[family], [], 0
    for cell in CELLS:
        if cell[0] != family:
            continue
        rules = material(mode, [state_of(cell)], node_of(family))
        for caller in CALLERS:
            for address in addresses_of(cell[1]):
                to, port = where(places, address)
                walk = rules.walk(Packet(Caller(ORIGINS[caller], places[caller]), to, port, "tcp"))
                found, right = outcome(walk, places), wanted(mode, cell, caller, address)
                seen += 1
                if found != right:
                    wrong.append(f"{' '.join(cell[1:])}: {caller} to {address}: {found}, expected {right}")
    assert not wrong, "\n".join(wrong)
    assert seen == 4 * 4 * (2 * 1 * 1 + 4 * 2 + 4 * 2 + 2 * 4 * 3)


def test_no_cell_is_missing() -> None:
    assert len(CELLS) == len(FAMILIES) * len(POLICIES) * len(ENDPOINTS) * (1 + 2 * (len(KINDS) - 1))
    assert set(ADDRESSES) == {address for kind in KINDS for address in addresses_of(kind)}
