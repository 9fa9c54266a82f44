"""Ours against the real kube-proxy's rules for the same objects: the same rules, up to order where none matters."""

from collections import Counter
from pathlib import Path

import yaml

from netlab.dataplane import iptables
from netlab.dataplane.iptables import names
from netlab.dataplane.services import NodeView, ServiceTable

FACTS = Path(__file__).parent / "kubeproxy"
CONFIG = iptables.IptablesConfig(node_ip="192.168.77.2", cluster_cidr="10.244.0.0/16", nfacct=True)
UNORDERED = {names.SERVICES, names.EXTERNAL_SERVICES, names.NODEPORTS, names.PROXY_FIREWALL}


def program() -> iptables.IptablesProgram:
    table = ServiceTable(NodeView("node-0"))
    for item in yaml.safe_load((FACTS / "scenario.yaml").read_text())["items"]:
        key = f"{item['metadata']['namespace']}/{item['metadata']['name']}"
        if item["kind"] == "Service":
            table.set_service(key, item)
        else:
            table.set_slice(key, item)
    made = iptables.IptablesProgram(CONFIG)
    for _, after in table.take_changes().values():
        for name, state in after.items():
            made.update(name, state)
    return made


def theirs() -> dict[str, iptables.Table]:
    return dict(iptables.parse((FACTS / "node-0.iptables.rules").read_text()))


def test_the_recorded_rules_parse_and_print_as_they_were() -> None:
    recorded = [line for line in (FACTS / "node-0.iptables.rules").read_text().splitlines() if line.startswith("-A")]
    assert [str(rule) for table in theirs().values() for rule in table.rules] == recorded


def test_the_same_rules_as_the_real_kube_proxy() -> None:
    ours = program().rules()
    for table in ("filter", "nat"):
        assert Counter(ours[table]) == Counter(theirs()[table].rules)


def test_the_same_order_in_every_chain_where_order_matters() -> None:
    ours = program().rules()
    for name, table in theirs().items():
        for chain in {rule.chain for rule in table.rules} - UNORDERED:
            assert tuple(rule for rule in ours[name] if rule.chain == chain) == table.chain(chain)


def test_node_ports_are_tried_last() -> None:
    services = [rule for rule in program().rules()["nat"] if rule.chain == names.SERVICES]
    assert services[-1] == theirs()["nat"].chain(names.SERVICES)[-1]
    assert "must be the last rule" in services[-1].comment


def test_the_same_chains() -> None:
    full = iptables.parse(program().full({}))
    for name, table in theirs().items():
        assert set(full[name].chains) == {chain for chain, policy in table.chains.items() if policy == "-"}


def test_a_node_that_has_it_all_gets_no_second_jump_and_keeps_every_chain() -> None:
    text = program().full(iptables.scan((FACTS / "node-0.iptables.rules").read_text()))
    assert "-I " not in text
    assert "-X " not in text


def test_chains_of_a_past_life_are_removed() -> None:
    stale = "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]\n:CNI-X - [0:0]\nCOMMIT\n"
    text = program().full(iptables.scan(stale))
    assert "-X KUBE-SEP-AAAAAAAAAAAAAAAA\n" in text
    assert "CNI-X" not in text
