"""Every wrong file gets one sentence: place, key, what was expected, what to do."""

from pathlib import Path

import pytest

from netlab import topology
from netlab.topology import TopologyError

CP = "nodes: {a: {role: control-plane}}\n"
TWO = "nodes:\n  a: {role: control-plane}\n  b:\n"

# document, line, column, key, part of the message, part of the suggestion
WRONG = {
    "not YAML": ("nodes: [a\nb: c}", 2, 2, "", "not valid YAML", ""),
    "empty": ("", 1, 1, "", "empty", ""),
    "a list": ("- a\n", 1, 1, "", "expected a topology, found a list", ""),
    "unknown key": (CP + "nodse: {}\n", 2, 8, "nodse", "unknown key 'nodse'", "did you mean 'nodes'?"),
    "unknown node key": (
        "nodes:\n  a:\n    rolle: worker\n", 3, 12, "nodes.a.rolle", "unknown key 'rolle'", "did you mean 'role'?",
    ),
    "unknown cluster key": (CP + "cluster: {podCidr: 10.0.0.0/8}\n", 2, 20, "cluster.podCidr", "unknown", "'podCIDR'?"),
    "duplicate key": ("nodes:\n  a: {}\n  a: {}\n", 3, 6, "nodes.a", "duplicate key 'a', first given on line 2", ""),
    "duplicate name": (CP + "hosts:\n  a: {}\n", 1, 12, "nodes.a", "duplicate name 'a': hosts.a (line 3)", "rename"),
    "no nodes": ("name: x\n", 1, 1, "nodes", "no cluster node", "add one"),
    "no control plane": ("nodes: {a: {}}\n", 1, 1, "nodes", "no node has the role control-plane", "to 'a'"),
    "bad node name": ("nodes: {A_b: {role: control-plane}}\n", 1, 14, "nodes.A_b", "cannot be a name", "DNS-1123"),
    "bad role": ("nodes: {a: {role: master}}\n", 1, 19, "nodes.a.role", "unknown role 'master'", "known:"),
    "bad proxy mode": (CP + "cluster: {proxyMode: iptable}\n", 2, 22, "cluster.proxyMode", "unknown", "'iptables'?"),
    "bad overlay": (CP + "cluster: {overlay: hostgw}\n", 2, 20, "cluster.overlay", "unknown", "'host-gw'?"),
    "bad label": ("nodes: {a: {labels: {'-x': y}}}\n", 1, 28, "nodes.a.labels.-x", "no label key", ""),
    "bad label value": ("nodes: {a: {labels: {x: 'a b'}}}\n", 1, 25, "nodes.a.labels.x", "no label value", ""),
    "bad taint": ("nodes: {a: {taints: [dedicated]}}\n", 1, 22, "nodes.a.taints[0]", "expected a taint such as", ""),
    "bad effect": ("nodes: {a: {taints: [x=y:NoShedule]}}\n", 1, 22, "nodes.a.taints[0]", "effect", "'NoSchedule'?"),
    "bad memory": ("nodes: {a: {capacity: {memory: 8GB}}}\n", 1, 32, "nodes.a.capacity.memory", "8Gi", ""),
    "bad pods": ("nodes: {a: {capacity: {pods: many}}}\n", 1, 30, "nodes.a.capacity.pods", "found 'many'", ""),
    "too many pods": (
        "nodes:\n  a: {role: control-plane, capacity: {pods: 300}}\n", 2, 6, "nodes.a", "253 addresses", "nodePrefix",
    ),
    "pod CIDR is none": (CP + "cluster: {podCIDR: 10.0/8}\n", 2, 20, "cluster.podCIDR", "is no pod CIDR", ""),
    "host bits": (CP + "cluster: {podCIDR: 10.1.2.3/16}\n", 2, 20, "cluster.podCIDR", "host bits", "10.1.0.0/16"),
    "CIDRs overlap": (CP + "cluster: {podCIDR: 10.96.0.0/16}\n", 2, 20, "cluster.podCIDR", "overlap", "apart"),
    "pod CIDR too small": (
        TWO + "cluster: {podCIDR: 10.1.0.0/24}\n", 4, 20, "cluster.podCIDR", "holds 1 subnets of /24", "/23",
    ),
    "node prefix too wide": (CP + "cluster: {nodePrefix: 12}\n", 2, 23, "cluster.nodePrefix", "wider than", ""),
    "service CIDR too small": (CP + "cluster: {serviceCIDR: 10.9.0.0/30}\n", 2, 24, "cluster.serviceCIDR", "small", ""),
    "DNS outside": (CP + "cluster: {dnsIP: 10.9.0.10}\n", 2, 18, "cluster.dnsIP", "not free in", "10.96.0.10"),
    "underlay hides pods": (
        CP + "switches: {s: {subnet: 10.244.3.0/24}}\nlinks:\n- ends: [a, s]\n", 2, 24, "switches.s.subnet",
        "overlaps the pod CIDR", "another subnet",
    ),
    "subnet too small": (
        "nodes: {a: {role: control-plane}, b1..4: }\nswitches: {s: {subnet: 10.9.0.0/30}}\nlinks:\n- ends: [a, s]\n"
        "- ends: [b1..4, s]\n", 2, 24, "switches.s.subnet", "too small for the 5 machines", "/29",
    ),
    "subnets overlap": (
        CP + "hosts: [h]\nswitches: {s: {subnet: 10.9.0.0/24}, t: {subnet: 10.9.0.128/25}}\nlinks:\n- ends: [a, s]\n"
        "- ends: [h, t]\n", 3, 50, "switches.t.subnet", "overlaps 10.9.0.0/24 of segment 's'", "",
    ),
    "pool used up": (
        TWO + "cluster: {underlayCIDR: 192.0.2.0/30}\nswitches: [s]\nlinks:\n- ends: [a, s]\n- ends: [b, s]\n",
        4, 25, "cluster.underlayCIDR", "too small", "wider underlayCIDR",
    ),
    "address elsewhere": (
        CP + "switches: {s: {subnet: 10.9.0.0/24}}\nlinks:\n- ends: [{node: a, address: 10.8.0.1}, s]\n", 4, 10,
        "links[0].ends[0]", "not a machine's address in 10.9.0.0/24", "10.9.0.1 … 10.9.0.254",
    ),
    "duplicate address": (
        TWO + "switches: [s]\nlinks:\n- ends: [{node: a, address: 10.9.0.1/24}, s]\n"
        "- ends: [{node: b, address: 10.9.0.1/24}, s]\n", 7, 10, "links[1].ends[0]", "address 10.9.0.1: 'a'", "",
    ),
    "duplicate MAC": (
        TWO + "switches: [s]\nlinks:\n- ends: [{node: a, mac: 02:00:00:00:00:01}, s]\n"
        "- ends: [{node: b, mac: 02:00:00:00:00:01}, s]\n", 7, 10, "links[1].ends[0]", "duplicate MAC", "another",
    ),
    "multicast MAC": (
        CP + "switches: [s]\nlinks:\n- ends: [{node: a, mac: 03:00:00:00:00:01}, s]\n", 4, 10, "links[0].ends[0]",
        "no machine's MAC", "even",
    ),
    "link to nothing": (
        CP + "switches: [s1]\nlinks:\n- ends: [a, s2]\n", 4, 13, "links[0].ends[1]", "leads to 's2'", "'s1'?",
    ),
    "link to itself": (CP + "links:\n- ends: [a, a]\n", 3, 3, "links[0]", "joins 'a' to itself", ""),
    "three ends": (CP + "links:\n- ends: [a, b, c]\n", 3, 9, "links[0].ends", "two ends, found 3", ""),
    "no ends": (CP + "links:\n- mtu: 1500\n", 3, 3, "links[0]", "no 'ends'", ""),
    "interface too long": (
        CP + "switches: [s]\nlinks:\n- ends: ['a:abcdefghijklmnop', s]\n", 4, 10, "links[0].ends[0]", "16 characters",
        "shorten",
    ),
    "switch port too long": (
        CP + "switches: [abcdefghijkl]\nlinks:\n- ends: [a, abcdefghijkl]\n", 4, 13, "links[0].ends[1]",
        "'abcdefghijkl-eth1' has 17 characters", "shorten the name of switch",
    ),
    "interface reused": (
        TWO + "links:\n- ends: ['a:up', b]\n- ends: ['a:up', b]\n", 6, 10, "links[1].ends[0]", "link on line 5", "",
    ),
    "reserved interface": (TWO + "links:\n- ends: ['a:docker0', b]\n", 5, 10, "links[0].ends[0]", "cannot be", "taken"),
    "bandwidth unit": (TWO + "links:\n- {ends: [a, b], bandwidth: 100Mbps}\n", 5, 29, "links[0].bandwidth", "Mbit", ""),
    "delay without unit": (TWO + "links:\n- {ends: [a, b], delay: 10}\n", 5, 25, "links[0].delay", "10ms", ""),
    "loss over all": (TWO + "links:\n- {ends: [a, b], loss: 120%}\n", 5, 24, "links[0].loss", "1%", ""),
    "tiny MTU": (TWO + "links:\n- {ends: [a, b], mtu: 100}\n", 5, 23, "links[0].mtu", "from 576 to 65535", ""),
    "no link": (TWO + "switches: [s]\nlinks:\n- ends: [a, s]\n", 3, 3, "nodes.b", "'b' has no link", "add one"),
    "no path": (
        TWO + "hosts: [h]\nlinks:\n- ends: [a, h]\n- ends: [h, b]\n", 3, 3, "nodes.b", "no path of switches and", "",
    ),
    "gateway elsewhere": (
        "nodes:\n  a:\n    role: control-plane\n    routes:\n    - {to: default, via: 10.9.9.9}\n", 5, 7,
        "nodes.a.routes[0]", "on no subnet of 'a'", "192.168.0.0/24",
    ),
    "range backwards": ("nodes:\n  n3..1: {}\n", 2, 10, "nodes.n3..1", "runs backwards", "node1..9"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_with_place_and_remedy(case: str) -> None:
    text, line, column, key, message, suggestion = WRONG[case]
    with pytest.raises(TopologyError) as caught:
        topology.loads(text, "lab.yaml")
    error = caught.value
    assert (error.line, error.column, error.key) == (line, column, key), str(error)
    assert message in error.message
    assert suggestion in error.suggestion
    assert str(error).startswith(f"lab.yaml:{line}:{column}: ")
    assert "\n" not in str(error)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(TopologyError, match=r"no topology 'cuorse' \(did you mean 'course'\?\)"):
        topology.load("cuorse")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"nodes: \xff\xfe")
    with pytest.raises(TopologyError, match="not UTF-8"):
        topology.load(tmp_path / "binary.yaml")
    with pytest.raises(TopologyError, match="no such file"):
        topology.load(tmp_path / "none.yaml")
    with pytest.raises(TopologyError, match="is a directory"):
        topology.load(tmp_path)
