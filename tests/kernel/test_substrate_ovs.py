"""Switches of kind ovs, where the machine has Open vSwitch (scripts/vm-test has it)."""

from __future__ import annotations

import subprocess

import pytest

from netlab.kernel import features
from netlab.substrate import UnsupportedFeature, build, ovs
from netlab.topology import load

pytestmark = pytest.mark.vm

FLOWS = """\
name: flows
nodes: {n1: {role: control-plane}, n2: }
switches: {s1: {kind: ovs}, s2: {kind: ovs}}
links:
  - ends: [n1, s1]
  - ends: [n2, s2]
  - ends: [s1, s2]
"""


@pytest.fixture
def flows(tmp_path):
    path = tmp_path / "flows.yaml"
    path.write_text(FLOWS)
    return load(path)


def test_machines_reach_each_other_and_building_again_adopts(sandbox, flows):
    net = build(flows)
    try:
        shown = net.get("n1").cmd("ping -c3 -i0.2 -W5 " + net.node_ip("n2"))
        assert " 0% packet loss" in shown, shown
        bridges = subprocess.run(["ovs-vsctl", "list-br"], capture_output=True, text=True, check=True)
        assert bridges.stdout.split() == ["s1", "s2"]
        assert "actions=NORMAL" in net.get("s1").dpctl("dump-flows")
        daemons = ovs.daemons()
        assert None not in daemons.values()
        again = build(flows)
        assert ovs.daemons() == daemons
        assert " 0% packet loss" in again.get("n2").cmd("ping -c1 -W5 " + net.node_ip("n1"))
    finally:
        net.stop()


def test_a_machine_without_its_programs_says_so(sandbox, flows, monkeypatch):
    monkeypatch.setattr(features, "find", lambda program: None)
    features.feature.cache_clear()
    with pytest.raises(UnsupportedFeature, match=r"switch s1 needs ovs.*install openvswitch-switch"):
        build(flows)
