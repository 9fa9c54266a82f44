"""A topology as a running Mininet network, on the real kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from netlab.dataplane.diff import diff
from netlab.dataplane.underlay import underlay
from netlab.kernel import features, netns
from netlab.kernel.errors import KernelError
from netlab.kernel.observe import observe
from netlab.substrate import UnsupportedFeature, attach, build
from netlab.topology import load
from netlab.topology.model import Topology

SMALL = """\
name: small
nodes:
  master: {role: control-plane}
  node1:
  node2:
switches: [s1, s2]
routers: [r1]
hosts: [outside]
links:
  - ends: [master, s1]
  - ends: [node1, s1]
  - ends: [node2, s1]
  - ends: [r1, s1]
  - ends: [r1, s2]
  - ends: [outside, s2]
"""


@pytest.fixture
def topology(tmp_path: Path) -> Callable[[str], Topology]:
    def make(text: str) -> Topology:
        path = tmp_path / "topology.yaml"
        path.write_text(text)
        return load(path)

    return make


def inodes() -> dict[str, int]:
    return {name: os.stat(f"/run/netns/{name}").st_ino for name in netns.names()}


def processes() -> int:
    return sum(1 for entry in os.listdir("/proc") if entry.isdigit() and _parent(entry) == os.getpid())


def _parent(pid: str) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_everyone_reaches_everyone_and_no_process_was_started_for_it(sandbox, topology):
    net = build(topology(SMALL))
    assert processes() == 0
    for name, state in underlay(net.topology).items():
        assert not diff(observe(net.netns(name), sysctls=[s.name for s in state.sysctls]), state)
    assert net.pingAll(timeout="5") == 0
    net.stop()
    assert processes() == 0 and netns.names() == []
    assert [link.name for link in observe(netns.own()).links if link.name != "lo"] == []


def test_commands_run_in_the_nodes_own_namespace_in_a_shell_that_comes_when_asked(sandbox, topology):
    net = build(topology(SMALL))
    node = net.get("node1")
    assert node.shell is None
    assert net.node_ip("node1") in node.cmd("ip -4 -o addr show eth0")
    assert node.shell is not None and net.get("node2").shell is None
    node.cmd("cd /; X=kept")
    assert node.cmd("echo $X $PWD").split() == ["kept", "/"]
    out, _, status = node.pexec("sh", "-c", "stat -Lc %i /proc/self/ns/net; exit 3")
    assert int(out) == os.fstat(node.ns.fd).st_ino and status == 3
    assert net.get("s1").cmd("bridge link").count("master s1") == 4
    net.stop()


def test_an_interrupt_reaches_the_running_command(sandbox, topology):
    net = build(topology(SMALL))
    node = net.get("node1")
    node.sendCmd("sleep 100; echo ended")
    end = time.monotonic() + 10
    while not (begun := subprocess.run(["pgrep", "-P", str(node.shell.pid)], capture_output=True).stdout):
        assert time.monotonic() < end, "the command has not begun"
    assert begun
    node.sendInt()
    assert "ended" in node.waitOutput() or not node.waiting
    assert node.cmd("echo alive").strip() == "alive"
    net.stop()


def test_building_again_changes_nothing_and_repairs_what_is_broken(sandbox, topology):
    small = topology(SMALL)
    net = build(small)
    before = inodes()
    build(small)
    assert inodes() == before
    subprocess.run(["ip", "-n", "node1", "route", "del", "default"], check=True)
    subprocess.run(["ip", "-n", "node2", "link", "del", "eth0"], check=True)
    subprocess.run(["ip", "link", "del", "s2"], check=True)
    subprocess.run(["ip", "link", "set", "s1-eth1", "down"], check=True)
    netns.remove("outside")
    net.get("outside").ns.close()
    again = build(small)
    assert again.pingAll(timeout="5") == 0
    assert {name: inode for name, inode in inodes().items() if name != "outside"} == {
        name: inode for name, inode in before.items() if name != "outside"
    }


def test_another_process_attaches_and_letting_go_leaves_the_network_alone(sandbox, topology):
    small = topology(SMALL)
    build(small)
    pid = os.fork()
    if pid == 0:
        try:
            net = attach(small)
            assert net.get("node1").cmd("ping -c1 -W5 " + net.node_ip("outside")).count("1 received") == 1
            net.stop()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(netns.names()) == 5


def test_attaching_where_nothing_runs_says_so(sandbox, topology):
    with pytest.raises(KernelError, match="namespace master"):
        attach(topology(SMALL))


def test_mininets_prompt_runs_one_command_and_fails_when_it_cannot(sandbox, topology, tmp_path):
    small = topology(SMALL)
    build(small)

    def prompt(command: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "netlab.substrate.prompt", str(tmp_path / "topology.yaml"), "-c", command]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)

    shown = prompt("node1 ping -c1 -W5 outside")
    assert "1 received" in shown.stdout + shown.stderr and shown.returncode == 0
    cut = prompt("link node1 s1 down")
    assert cut.returncode == 0, cut.stderr
    assert prompt("link node1 s2 down").returncode == 1
    assert "no link between node1 and s2" in prompt("link node1 s2 down").stderr


def test_a_cut_cable_takes_the_carrier_and_leaves_addresses_and_routes(sandbox, topology):
    net = build(topology(SMALL))
    before = observe(net.netns("node1")).routes
    net.set_link("node1", "s1", up=False)
    eth0 = net.netns("node1").popen(["cat", "/proc/net/route"], stdout=subprocess.PIPE).communicate()[0]
    assert b"eth0" in eth0 and observe(net.netns("node1")).routes == before
    shown = subprocess.run(["ip", "-n", "node1", "link", "show", "eth0"], capture_output=True, text=True, check=True)
    assert "NO-CARRIER" in shown.stdout
    assert "0 received" in net.get("node1").cmd("ping -c1 -W1 " + net.node_ip("node2"))
    build(net.topology)  # a labd that starts again must not plug in what somebody pulled out
    assert "0 received" in net.get("node1").cmd("ping -c1 -W1 " + net.node_ip("node2"))
    net.set_link("s1", "node1", up=True)
    assert "1 received" in net.get("node1").cmd("ping -c1 -W5 " + net.node_ip("outside"))
    with pytest.raises(KeyError, match="no link between node1 and r1"):
        net.set_link("node1", "r1", up=False)
    net.stop()


RING = """\
name: ring
nodes: {n1: {role: control-plane}, n2: }
routers: [a, b, c, d]
links:
  - ends: [n1, a]
  - ends: [a, b]
  - ends: [a, c]
  - ends: [b, d]
  - ends: [c, d]
  - ends: [d, n2]
"""


def test_equal_paths_are_all_used_and_a_cable_between_routers_comes_back_with_its_routes(sandbox, topology):
    net = build(topology(RING))
    assert "nexthop" in net.get("a").cmd("ip route")
    assert net.pingAll(timeout="5") == 0
    wanted = underlay(net.topology)
    for pair in (("a", "b"), ("c", "d")):
        net.set_link(*pair, up=False)
        net.set_link(*pair, up=True)
    for name in "abcd":
        assert not diff(observe(net.netns(name)), replace(wanted[name], sysctls=())), name
    net.stop()


def test_a_bandwidth_is_kept(sandbox, topology):
    if not features.has("tbf"):
        pytest.skip("this kernel has no tbf")
    net = build(topology(SMALL.replace("- ends: [node1, s1]", "- {ends: [node1, s1], bandwidth: 20Mbit}")))
    shown = subprocess.run(
        ["tc", "-n", "node1", "qdisc", "show", "dev", "eth0"], capture_output=True, text=True, check=True
    )
    assert "tbf" in shown.stdout and "rate 20Mbit" in shown.stdout
    port = subprocess.run(["tc", "qdisc", "show", "dev", "s1-eth2"], capture_output=True, text=True, check=True)
    assert "rate 20Mbit" in port.stdout
    build(net.topology)
    net.stop()


def test_a_delay_is_netem_or_a_refusal_that_names_the_link_and_makes_nothing(sandbox, topology):
    slow = topology(SMALL.replace("- ends: [node1, s1]", "- {ends: [node1, s1], delay: 20ms}"))
    if not features.has("netem"):
        with pytest.raises(UnsupportedFeature, match=r"link node1 - s1 .* needs netem.*stock kernel"):
            build(slow)
        assert netns.names() == []
        return
    net = build(slow)
    shown = subprocess.run(
        ["tc", "-n", "node1", "qdisc", "show", "dev", "eth0"], capture_output=True, text=True, check=True
    )
    assert "netem" in shown.stdout and "delay 20ms" in shown.stdout
    net.stop()


def test_mininets_own_calls_add_to_a_running_network(sandbox, topology):
    net = build(topology(SMALL))
    host = net.addHost("h9", ip=None)
    net.addLink(host, net.get("s1"))
    subnet = net.node_ip("node1").rpartition(".")[0]
    host.setIP(f"{subnet}.200", 24, intf="h9-eth0")
    host.setDefaultRoute(f"via {net.get('r1').IP()}")
    assert "1 received" in host.cmd("ping -c1 -W5 " + net.node_ip("outside"))
    assert host.intf().updateMAC() and host.intf().isUp() and host.intf().status() == "OK"
    net.delLinkBetween(host, net.get("s1"))
    assert observe(host.ns).link("h9-eth0") is None
    other = net.addSwitch("s9")
    other.start([])
    assert observe(netns.own()).link("s9").kind == "bridge"
    net.stop()
    assert netns.names() == []


def test_a_switch_with_too_many_ports_says_how_many_it_can_have(sandbox, topology):
    names = ", ".join(f"h{i}" for i in range(1023))
    lines = ["name: big", "nodes: {m: {role: control-plane}}", "switches: {s1: {subnet: 10.0.0.0/16}}"]
    lines += [f"hosts: [{names}]", "links:", "  - ends: [m, s1]"]
    lines += [f"  - ends: [h{i}, s1]" for i in range(1023)]
    big = topology("\n".join(lines))
    with pytest.raises(KernelError, match="1,023 ports"):
        build(big)
