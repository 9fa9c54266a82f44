"""IPVS mode as text: what `ipvsadm`, `ipset`, `ip` and `iptables-save` would print for Services of every kind.

The lines are written from upstream's documents of the mode (its README, and proxier.go's comments and tables of sets).
"""

from __future__ import annotations

import pytest

from netlab.dataplane import ipvs
from netlab.dataplane.iptables import parse_rule
from netlab.dataplane.services import Endpoint, NodeView, ServicePort, ServicePortName, ServiceState, choose
from tests.golden.service_cells import CELLS, FAMILIES, PLACES, state_of

HERE, THERE = Endpoint("10.244.0.5", 8080, "here", local=True), Endpoint("10.244.1.5", 8080, "there")


def state(name: str = "web", **fields: object) -> ServiceState:
    port = ServicePort(ServicePortName("ns", name, "p", "TCP"), "10.96.0.7", 80, **fields)  # type: ignore[arg-type]
    found = (HERE, THERE)
    return ServiceState(port, found, choose(port, found, NodeView("here")))


def program(*states: ServiceState, **config: object) -> ipvs.IpvsProgram:
    base = ipvs.IpvsConfig("192.168.0.2", "10.244.0.0/16", ("10.244.0.1", "192.168.0.2"), **config)  # type: ignore[arg-type]
    made = ipvs.IpvsProgram(base)
    for one in states:
        made.update(one.port.name, one)
    return made


def lines(made: ipvs.IpvsProgram) -> list[str]:
    found = made.state().text(made.sets).splitlines()
    return [line for line in found if not line.startswith(("ip link", "ipset create"))]


def test_a_cluster_ip() -> None:
    assert lines(program(state())) == [
        "ipset add KUBE-LOOP-BACK 10.244.0.5,tcp:8080,10.244.0.5",
        "ipset add KUBE-CLUSTER-IP 10.96.0.7,tcp:80",
        "ipset add KUBE-IPVS-IPS 10.96.0.7",
        "ipvsadm -A -t 10.96.0.7:80 -s rr",
        "ipvsadm -a -t 10.96.0.7:80 -r 10.244.0.5:8080 -m -w 1",
        "ipvsadm -a -t 10.96.0.7:80 -r 10.244.1.5:8080 -m -w 1",
        "ip addr add 10.96.0.7/32 dev kube-ipvs0",
    ]


def test_a_load_balancer_of_policy_local_with_source_ranges() -> None:
    shaped = state(
        node_port=30080, load_balancer_ips=("203.0.113.9",), source_ranges=("198.51.100.0/24", "0.0.0.0/0"),
        external_local=True, health_check_node_port=32000, affinity_seconds=600,
    )  # fmt: skip
    found = lines(program(shaped, scheduler="lc"))
    local = {"ipvsadm -a -t 203.0.113.9:80 -r 10.244.0.5:8080 -m -w 1"}
    assert {line for line in found if line.startswith("ipvsadm -a -t 203")} == local
    assert "ipvsadm -A -t 192.168.0.2:30080 -s lc -p 600" in found
    assert "ipvsadm -A -t 10.244.0.1:30080 -s lc -p 600" in found
    for member in (
        "KUBE-NODE-PORT-TCP 30080",
        "KUBE-NODE-PORT-LOCAL-TCP 30080",
        "KUBE-LOAD-BALANCER 203.0.113.9,tcp:80",
        "KUBE-LOAD-BALANCER-LOCAL 203.0.113.9,tcp:80",
        "KUBE-LOAD-BALANCER-FW 203.0.113.9,tcp:80",
        "KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.9,tcp:80,198.51.100.0/24",
        "KUBE-LOAD-BALANCER-SOURCE-CIDR 203.0.113.9,tcp:80,0.0.0.0/1",
        "KUBE-LOAD-BALANCER-SOURCE-IP 203.0.113.9,tcp:80,203.0.113.9",
        "KUBE-HEALTH-CHECK-NODE-PORT 32000",
        "KUBE-IPVS-IPS 203.0.113.9",
    ):
        assert f"ipset add {member}" in found


def test_an_address_that_another_device_has_is_not_bound() -> None:
    found = lines(program(state(external_ips=("192.168.0.2", "203.0.113.9"))))
    assert "ipvsadm -A -t 192.168.0.2:80 -s rr" in found
    assert [line for line in found if line.startswith("ip addr")] == [
        "ip addr add 10.96.0.7/32 dev kube-ipvs0",
        "ip addr add 203.0.113.9/32 dev kube-ipvs0",
    ]


def test_the_rules_without_any_service() -> None:
    assert [str(rule) for rules in program().rules().values() for rule in rules] == [
        "-A KUBE-SOURCE-RANGES-FIREWALL -j DROP",
        '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT',
        '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate '
        "RELATED,ESTABLISHED -j ACCEPT",
        '-A KUBE-NODE-PORT -m comment --comment "Kubernetes health check node port" -m set --match-set '
        "KUBE-HEALTH-CHECK-NODE-PORT dst -j ACCEPT",
        "-A KUBE-IPVS-FILTER -m set --match-set KUBE-LOAD-BALANCER dst,dst -j RETURN",
        "-A KUBE-IPVS-FILTER -m set --match-set KUBE-CLUSTER-IP dst,dst -j RETURN",
        "-A KUBE-IPVS-FILTER -m set --match-set KUBE-EXTERNAL-IP dst,dst -j RETURN",
        "-A KUBE-IPVS-FILTER -m set --match-set KUBE-EXTERNAL-IP-LOCAL dst,dst -j RETURN",
        "-A KUBE-IPVS-FILTER -m set --match-set KUBE-HEALTH-CHECK-NODE-PORT dst -j RETURN",
        "-A KUBE-IPVS-FILTER -m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j REJECT --reject-with "
        "icmp-port-unreachable",
        "-A KUBE-SERVICES -s 127.0.0.0/8 -j RETURN",
        "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT",
        "-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ",
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0",
        '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE '
        "--random-fully",
        "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
    ]


def test_the_services_chain_in_upstreams_order() -> None:
    shaped = state(external_ips=("203.0.113.8",), load_balancer_ips=("203.0.113.9",), node_port=30080)
    chain = [rule for rule in program(shaped).rules()["nat"] if rule.chain == "KUBE-SERVICES"]
    wanted = [
        "-s 127.0.0.0/8 -j RETURN",
        "--match-set KUBE-LOAD-BALANCER dst,dst -j KUBE-LOAD-BALANCER",
        "--match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ",
        "--match-set KUBE-EXTERNAL-IP dst,dst -j KUBE-MARK-MASQ",
        "--match-set KUBE-EXTERNAL-IP dst,dst -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT",
        "--match-set KUBE-EXTERNAL-IP dst,dst -m addrtype --dst-type LOCAL -j ACCEPT",
        "-m addrtype --dst-type LOCAL -j KUBE-NODE-PORT",
        "--match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT",
        "--match-set KUBE-LOAD-BALANCER dst,dst -j ACCEPT",
    ]
    assert len(chain) == len(wanted)
    for rule, end in zip(chain, wanted, strict=True):
        assert str(rule).endswith(end)
    assert str(chain[2]).startswith("-A KUBE-SERVICES ! -s 10.244.0.0/16 ")


def test_a_node_outside_the_source_ranges_is_refused() -> None:
    shaped = state(load_balancer_ips=("203.0.113.9",), source_ranges=("198.51.100.0/24",))
    text = [str(rule) for rule in program(shaped).rules()["filter"] if rule.chain == "KUBE-IPVS-OUT-FILTER"]
    assert text == [
        "-A KUBE-IPVS-OUT-FILTER -s 203.0.113.9/32 -m ipvs --vproto 6 --vaddr 203.0.113.9 --vport 80 -j DROP"
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_rule_of_every_cell_parses_back(family: str) -> None:
    for cell in CELLS:
        if cell[0] != family:
            continue
        places = PLACES[family]
        config = ipvs.IpvsConfig(places["node"], places["pods"], (places["node"],), family=cell[0])
        made = ipvs.IpvsProgram(config)
        shaped = state_of(cell)
        made.update(shaped.port.name, shaped)
        for rules in made.rules().values():
            for rule in rules:
                assert parse_rule(str(rule)) == rule


def test_of_two_services_at_one_address_the_last_by_name_has_it_and_it_stays_while_one_is_there() -> None:
    first, second = state("a"), state("b", affinity_seconds=60)
    made = program(first, second)
    frontend = ipvs.Frontend("TCP", "10.96.0.7", 80)
    assert made.state().servers[frontend].persistent == 60
    made.update(second.port.name, None)
    assert made.state().servers[frontend].persistent is None
    assert made.state().addresses == {"10.96.0.7"}
    made.update(first.port.name, None)
    assert made.state().servers == {}
    assert made.state().addresses == set()
