"""Pods on the real kernel: attached in batches, reachable, cleaned up, and honest about what failed."""

from __future__ import annotations

import errno
import socket
import subprocess
from dataclasses import replace

import pytest

from netlab.dataplane.diff import diff
from netlab.dataplane.model import Plan
from netlab.dataplane.nodes import NodeNet, PodNet
from netlab.dataplane.overlay import node_network
from netlab.dataplane.pods import pod_side
from netlab.kernel import netns, veth
from netlab.kernel.apply import apply
from netlab.kernel.errors import KernelError
from netlab.kernel.observe import observe
from netlab.kernel.pods import setup_pods, teardown_pods

NET = NodeNet("n", "10.244.1.0/24", "192.168.0.1", backend="host-gw")


def node() -> netns.NetNs:
    ns = netns.create("n")
    apply(ns, Plan.adding(node_network(NET, []).objects(), "test"))
    return ns


def pods(count: int, first: int = 2, net: NodeNet = NET) -> list[tuple[netns.NetNs, PodNet]]:
    nets = [PodNet.of(f"uid-{i}", f"10.244.1.{i}", net) for i in range(first, first + count)]
    return list(zip(netns.many([f"pod-{first + i}" for i in range(count)]), nets, strict=True))


def reaches(source: netns.NetNs, target: netns.NetNs, ip: str) -> bool:
    server = target.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.bind(("0.0.0.0", 0))
    server.listen()
    client = source.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(5)
    try:
        client.connect((ip, server.getsockname()[1]))
    except OSError:
        return False
    return True


def ports(ns: netns.NetNs) -> list[str]:
    return [link.name for link in observe(ns).links if link.kind == "veth"]


def test_pods_have_what_their_plan_says_and_reach_each_other(sandbox):
    n = node()
    made = pods(5)
    setup_pods(n, made)
    for ns, pod in made:
        assert not diff(observe(ns), pod_side(pod))
    assert reaches(made[0][0], made[4][0], made[4][1].ip)
    assert reaches(made[0][0], n, NET.gateway)
    assert reaches(n, made[3][0], made[3][1].ip)
    assert {link.hairpin for link in observe(n).links if link.kind == "veth"} == {True}


def test_more_pods_than_a_chunk_and_all_gone_at_once(sandbox):
    n = node()
    made = pods(150)
    setup_pods(n, made)
    assert len(ports(n)) == 150
    teardown_pods(n, [pod for _, pod in made])
    assert not ports(n) and not observe(n).neighbours
    teardown_pods(n, [pod for _, pod in made])  # again is no error
    assert observe(made[0][0]).link("eth0") is None


def test_one_pod_that_fails_is_named_and_undone_and_the_others_work(sandbox):
    n = node()
    made = pods(4)
    twice = replace(made[2][1], id="other", ifname=made[0][1].ifname)
    made[2] = (made[2][0], twice)
    with pytest.raises(KernelError, match="pod other") as problem:
        setup_pods(n, made)
    assert problem.value.errno == errno.EEXIST
    assert sorted(ports(n)) == sorted(pod.ifname for _, pod in (made[0], made[1], made[3]))
    assert observe(made[2][0]).link("eth0") is None
    assert reaches(made[0][0], made[3][0], made[3][1].ip)


def test_a_bridge_that_is_missing_is_named(sandbox):
    ns = netns.create("n")
    with pytest.raises(KernelError, match="bridge docker0 of n"):
        setup_pods(ns, pods(1))


def test_a_namespace_in_which_something_else_came_first(sandbox):
    """Kernels with tunnel modules put their fallback devices into every new namespace: eth0 is not number 2."""
    n = node()
    made = pods(2)
    made[0][0].netlink.request(veth.create(veth.End("tunl0"), veth.End("other")), "a device before eth0")
    setup_pods(n, made)
    state = observe(made[0][0])
    assert [address.dev for address in state.addresses if address.cidr == made[0][1].address] == ["eth0"]
    assert reaches(made[0][0], made[1][0], made[1][1].ip)


def test_a_full_bridge_says_how_many_ports_it_has(sandbox):
    wide = replace(NET, pod_cidr="10.244.0.0/16")
    ns = netns.create("n")
    apply(ns, Plan.adding(node_network(wide, []).objects(), "test"))
    one = netns.create("pod")
    filler = [veth.End(f"p{i}", master=2) for i in range(1023)]
    assert not ns.netlink.send([veth.create(end, veth.End(f"q{end.name}")) for end in filler])
    with pytest.raises(KernelError, match="1,023 ports"):
        setup_pods(ns, [(one, PodNet.of("uid", "10.244.9.9", wide))])


def test_no_ipv6_address_and_no_chatter(sandbox):
    n = node()
    made = pods(1)
    setup_pods(n, made)
    shown = subprocess.run(["ip", "-n", "pod-2", "-6", "addr", "show", "dev", "eth0"], capture_output=True, check=True)
    assert shown.stdout == b""
