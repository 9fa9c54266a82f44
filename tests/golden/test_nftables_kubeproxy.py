"""Ours against the real kube-proxy's nftables table for the same objects."""

from pathlib import Path

import pytest
import yaml

from netlab.dataplane import nftables
from netlab.dataplane.services import NodeView, ServiceTable

FACTS = Path(__file__).parent / "kubeproxy"
CONFIG = nftables.NftablesConfig("192.168.77.2", "10.244.0.0/16", "10.96.0.0/16", ("192.168.77.2",))


def program() -> nftables.NftablesProgram:
    table = ServiceTable(NodeView("node-0"))
    for item in yaml.safe_load((FACTS / "scenario.yaml").read_text())["items"]:
        key = f"{item['metadata']['namespace']}/{item['metadata']['name']}"
        if item["kind"] == "Service":
            table.set_service(key, item)
        else:
            table.set_slice(key, item)
    made = nftables.NftablesProgram(CONFIG)
    for _, after in table.take_changes().values():
        for name, state in after.items():
            made.update(name, state)
    return made


def theirs() -> nftables.NftState:
    return nftables.parse((FACTS / "node-0.nftables.rules").read_text())


def test_every_recorded_rule_prints_as_it_was() -> None:
    text = (FACTS / "node-0.nftables.rules").read_text().partition("table ip6")[0]
    listed = {line.strip() for line in text.splitlines()}
    for chain in theirs().chains.values():
        for rule in chain.rules:
            assert str(rule) in listed


@pytest.mark.parametrize("part", ["chains", "containers", "elements"])
def test_the_same_table_as_the_real_kube_proxy(part: str) -> None:
    assert getattr(program().state(), part) == getattr(theirs(), part)


def test_the_same_empty_table_for_ipv6() -> None:
    config = nftables.NftablesConfig("fd00::2", "fd10::/56", family="IPv6")
    recorded = nftables.parse((FACTS / "node-0.nftables.rules").read_text(), "ip6")
    assert nftables.base_state(config) == recorded


def test_a_node_that_has_it_all_needs_nothing() -> None:
    assert not program().full(theirs())
