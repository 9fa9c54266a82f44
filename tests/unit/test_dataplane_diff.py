"""diff: applying what it says to a kernel always ends where it should, and never touches what is not owned."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netlab.dataplane.diff import Owned, diff
from netlab.dataplane.model import Address, Link, Neighbour, NodeState, Plan, Route, Step, Sysctl
from netlab.dataplane.nodes import NodeNet, PodNet, ip_mac, vtep_mac
from netlab.dataplane.overlay import node_network, overlay_owned
from netlab.kernel.fake import FakeKernel

CLUSTER = "10.244.0.0/16"
OWNED = overlay_owned(CLUSTER)
UNDERLAY = (Link("eth0", "veth", mac="02:00:00:00:00:01", peer=("", "wire")), Address("eth0", "192.168.0.1/24"))

node_ids = st.sets(st.integers(2, 9), max_size=6)
addresses = st.sampled_from(["192.168.0.1", "192.168.0.11"])
backends = st.sampled_from(["vxlan", "host-gw"])
clusters = st.builds(
    lambda ids, own, backend, mtu, changed: _cluster(ids, own, backend, mtu, changed),
    node_ids,
    addresses,
    backends,
    st.sampled_from([1500, 9000, 1400]),
    st.booleans(),
)


def _cluster(ids: set[int], own: str, backend: str, mtu: int, changed: bool) -> NodeState:
    def node(number: int, ip: str) -> NodeNet:
        mac = "02:00:00:00:00:99" if changed and number == 3 else ""
        return NodeNet(f"n{number}", f"10.244.{number}.0/24", ip, mtu=mtu, backend=backend, vtep_mac=mac)  # type: ignore[arg-type]

    nodes = [node(1, own), *(node(i, f"192.168.0.{i}") for i in sorted(ids))]
    return node_network(nodes[0], nodes, nf_call_iptables=False)


@settings(max_examples=150, deadline=None)
@given(st.lists(clusters, min_size=1, max_size=4))
def test_a_node_follows_any_history_of_clusters(history):
    kernel = FakeKernel()
    kernel.create("n")
    kernel.apply("n", Plan.adding((*UNDERLAY, Route("172.16.0.0/12", "eth0", via="192.168.0.254")), "test"))
    for wanted in history:
        names = [sysctl.name for sysctl in wanted.sysctls]
        kernel.apply("n", diff(kernel.observe("n", sysctls=names), wanted, OWNED))
        now = kernel.observe("n", sysctls=names)
        assert not diff(now, wanted, OWNED)
        assert now.link("eth0") and any(route.dst == "172.16.0.0/12" for route in now.routes)
    kernel.apply("n", diff(kernel.observe("n"), NodeState(), OWNED))
    left = kernel.observe("n")
    assert {link.name for link in left.links} == {"lo", "eth0", "wire"}
    assert {route.dst for route in left.routes} == {"192.168.0.0/24", "172.16.0.0/12"}
    assert not left.fdb and not left.neighbours


@pytest.mark.parametrize(
    ("obj", "ours"),
    [
        (Link("flannel.1"), True),
        (Link("eth0"), False),
        (Link("veth12345678"), False),
        (Address("docker0", "10.244.1.1/24"), True),
        (Address("docker0", "fe80::1/64", scope="link"), False),
        (Address("eth0", "192.168.0.1/24"), False),
        (Route("10.244.2.0/24", "flannel.1", via="10.244.2.0"), True),
        (Route("10.244.1.0/24", "docker0", protocol="kernel"), False),
        (Route("10.0.0.0/8", "eth0", via="192.168.0.9"), False),
        (Route("default", "eth0", via="192.168.0.9"), False),
        (Neighbour("flannel.1", "10.244.2.0", "02:00:00:00:00:01"), True),
        (Neighbour("flannel.1", "10.244.2.0", "02:00:00:00:00:01", state="stale"), False),
        (Neighbour("docker0", "10.244.1.5", "02:00:00:00:00:01"), False),
        (Sysctl("net.ipv4.ip_forward", "1"), False),
    ],
    ids=str,
)
def test_what_the_overlay_owns(obj, ours):
    assert OWNED.owns(obj) is ours


def test_without_ownership_nothing_is_deleted():
    assert not diff(node_network(NodeNet("n", "10.244.1.0/24", "192.168.0.1"), []), NodeState(), Owned())


def test_every_plan_says_why_and_what_is_optional_stays_quiet():
    have = NodeState(sysctls=(Sysctl("net.bridge.bridge-nf-call-iptables", "1"),))
    want = NodeState(sysctls=(Sysctl("net.bridge.bridge-nf-call-iptables", "1", optional=True),))
    assert not diff(have, want)
    change = Step("change", Link("eth0", up=False), "cable", old=Link("eth0"))
    assert str(change) == "ip link set eth0 down  # cable"
    assert str(Plan((change,)).because("node1")) == "ip link set eth0 down  # node1: cable"


def test_names_and_addresses_are_the_same_everywhere_and_fit_the_kernel():
    assert vtep_mac("node1") == vtep_mac("node1") != vtep_mac("node2")
    first = int(vtep_mac("node1").split(":")[0], 16)
    assert first & 2 and not first & 1  # locally administered, unicast
    assert ip_mac("10.244.1.7") == "02:42:0a:f4:01:07"
    node = NodeNet("n", "10.244.3.0/24", "192.168.0.1")
    assert (node.gateway, node.vtep_ip, node.pod_mtu) == ("10.244.3.1", "10.244.3.0", 1450)
    assert replace(node, backend="host-gw").pod_mtu == 1500
    pod = PodNet.of("0b1f7f0e-a2c4-4f6e-9a51-1f0f3d6f7a10", "10.244.3.7", node)
    assert len(pod.ifname) == 12 and pod.netns == "cni-0b1f7f0ea2c4" and pod.address == "10.244.3.7/24"
    assert Sysctl("net.ipv4.conf.eth0/1.forwarding", "1").path == "net/ipv4/conf/eth0.1/forwarding"
