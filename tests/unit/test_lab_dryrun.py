"""`klab up --dry-run`: every machine, cable, route and rule of a topology is in the text, and nothing runs."""

from __future__ import annotations

import re

import pytest

from netlab.lab.dryrun import plan_text
from netlab.lab.lifecycle import UpOptions
from netlab.topology import load


@pytest.mark.parametrize("name", ["course", "single", "dual-stack", "leaf-spine", "wan", "fattree"])
def test_every_machine_and_cable_is_there(name: str) -> None:
    topology, text = load(name), plan_text(UpOptions(name))
    for machine in (*topology.nodes, *topology.hosts, *topology.routers):
        assert f"ip netns add {machine.name}\n" in text
    assert text.count("ip link add name ") == len(topology.links)
    for end in (end for link in topology.links for end in link.ends if end.address):
        assert f"ip addr add {end.address} dev {end.interface}\n" in text
    shaped = [link for link in topology.links if link.bandwidth_bps or link.needs_netem]
    assert ("tc qdisc replace" in text) is bool(shaped)


def test_the_overlay_of_each_node_leads_to_all_others() -> None:
    topology, text = load("course"), plan_text(UpOptions("course"))
    for index, node in enumerate(topology.nodes):
        section = re.search(rf"# {node.name}: pod network .*?\n\n", text, re.DOTALL)
        assert section is not None
        for other in range(len(topology.nodes)):
            route = f"ip route add 10.244.{other}.0/24 via 10.244.{other}.0 dev flannel.1 onlink"
            assert (route in section[0]) is (other != index)
        assert section[0].count("bridge fdb add") == len(topology.nodes) - 1


def test_host_gw_has_no_vxlan_device() -> None:
    text = plan_text(UpOptions("leaf-spine"))
    assert ("flannel.1" in text) is (load("leaf-spine").cluster.overlay == "vxlan")


def test_the_rules_are_whole_tables() -> None:
    text = plan_text(UpOptions("single"))
    assert text.count("*nat\n") == text.count("*filter\n") == 1
    assert text.count("COMMIT\n") == 2
    used = set(re.findall(r"-j (KUBE-[A-Z-]+|FLANNEL-[A-Z-]+)", text))
    declared = set(re.findall(r"^:(\S+) ", text, re.MULTILINE))
    assert used <= declared
