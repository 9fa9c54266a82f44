"""Mininet custom topologies as clusters."""

from pathlib import Path

import pytest

from netlab import topology
from netlab.topology import TopologyError

TOPO = """
from mininet.topo import Topo
from mininet.node import Node

class LinuxRouter(Node):
    pass

class Campus(Topo):
    def build(self, hosts=2, delay="5ms"):
        router = self.addNode("r0", cls=LinuxRouter, ip="10.0.1.1/24")
        s1, s2 = self.addSwitch("s1"), self.addSwitch("s2")
        self.addLink(s1, router, intfName2="r0-eth1", params2={"ip": "10.0.1.1/24"})
        self.addLink(s2, router, intfName2="r0-eth2", params2={"ip": "10.0.2.1/24"})
        for index in range(hosts):
            host = self.addHost(f"h{index + 1}", ip=f"10.0.1.{index + 100}/24", defaultRoute="via 10.0.1.1")
            self.addLink(host, s1, bw=10, delay=delay, loss=2, max_queue_size=100)
        self.addLink(self.addHost("out", role="host", ip="10.0.2.100/24"), s2)

class Flat(Topo):
    def build(self, names):
        switch = self.addSwitch("s1")
        for name in names.split("+"):
            self.addLink(self.addHost(name, ip=None), switch)

topos = {"campus": Campus, "flat": Flat}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "custom.py"
    path.write_text(TOPO)
    return path


def test_hosts_switches_routers_and_link_options_become_a_cluster(file: Path) -> None:
    loaded = topology.load(f"{file}:campus,3,delay=10ms")
    assert [(node.name, node.role) for node in loaded.nodes] == [
        ("h1", "control-plane"),
        ("h2", "worker"),
        ("h3", "worker"),
    ]
    assert [router.name for router in loaded.routers] == ["r0"]
    assert [host.name for host in loaded.hosts] == ["out"]
    assert [loaded.node_ip(name) for name in ("h1", "h2", "out")] == ["10.0.1.100", "10.0.1.101", "10.0.2.100"]
    assert [(end.interface, end.address) for end in loaded.attachments("r0")] == [
        ("r0-eth1", "10.0.1.1/24"),
        ("r0-eth2", "10.0.2.1/24"),
    ]
    link = next(link for link in loaded.links if "h1" in (link.a.node, link.b.node))
    assert (link.bandwidth_bps, link.delay_s, link.loss) == (10_000_000, 0.01, 0.02)
    assert loaded.node("h1").routes[0].via == "10.0.1.1"


def test_a_host_named_master_is_the_control_plane(file: Path) -> None:
    loaded = topology.load(f"{file}:flat,names=a+master+b")
    assert [node.name for node in loaded.control_planes] == ["master"]
    assert loaded.segments[0].subnet == "192.168.0.0/24"


def test_mininets_wide_default_prefix_is_narrowed(tmp_path: Path) -> None:
    path = tmp_path / "wide.py"
    path.write_text(
        "from mininet.topo import Topo\nclass T(Topo):\n    def build(self):\n        s = self.addSwitch('s1')\n"
        "        for n in (1, 2):\n            self.addLink(self.addHost(f'h{n}', ip=f'10.0.0.{n}/8'), s)\n"
        "topos = {'t': T}\n"
    )
    assert topology.load(path).segments[0].subnet == "10.0.0.0/24"


def test_fattree_takes_parameters() -> None:
    assert len(topology.load("fattree").nodes) == 16
    assert len(topology.load("fattree,k=2").nodes) == 2
    tree = topology.load("fattree")
    between_switches = [link for link in tree.links if not link.a.node.startswith("h")]
    assert len([link for link in between_switches if not link.standby]) == len(tree.switches) - 1


WRONG = {
    "no topos": ("x = 1\n", "", "defines no topologies"),
    "syntax": ("def (\n", "", "SyntaxError"),
    "raises": ("def t():\n    raise ValueError('k must be even')\ntopos = {'t': t}\n", "", "k must be even"),
    "several": ("topos = {'x': int, 'y': int}\n", "", "several topologies: x, y"),
    "unknown": ("topos = {'x': int, 'y': int}\n", ":z", "no topology 'z' in it"),
    "exits": ("raise SystemExit(3)\n", "", "SystemExit: 3"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused(case: str, tmp_path: Path) -> None:
    text, selector, message = WRONG[case]
    path = tmp_path / "wrong.py"
    path.write_text(text)
    with pytest.raises(TopologyError, match=message) as caught:
        topology.load(f"{path}{selector}")
    assert str(path) in str(caught.value)


def test_an_error_in_the_users_code_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(WRONG["raises"][0])
    with pytest.raises(TopologyError) as caught:
        topology.load(path)
    assert caught.value.line == 2
