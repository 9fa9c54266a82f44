"""A topology that asks for what this kernel lacks: refused before anything is made. tests/vm has the other half."""

from __future__ import annotations

import pytest

from netlab.kernel import features
from tests.labs.tools import User, one_sentence

OPEN_VSWITCH = """\
name: flows
nodes: {node: {role: control-plane}}
hosts: [client]
switches: {s1: {kind: ovs}}
links:
  - ends: [node, s1]
  - ends: [client, s1]
"""


def _needs_to_lack(feature: str) -> None:
    if features.has(feature):
        pytest.skip(f"this kernel has {feature}: tests/vm uses it")


def _refused(user: User, topology: str, *mentioned: str) -> None:
    result = user.klab("up", topology)
    assert result.returncode == 1, result.stdout + result.stderr
    one_sentence(result.stderr)
    for word in (*mentioned, "scripts/vm-test"):
        assert word in result.stderr
    assert [str(entry) for name in ("run", "state") for entry in (user.home / name).rglob("*")] == []


def test_delay_without_netem(anyone: User, machine_unchanged: dict[str, str]) -> None:
    _needs_to_lack("netem")
    _refused(anyone, "wan", "netem", "link gw-ams - gw-nyc")


def test_a_switch_without_open_vswitch(caller: User, machine_unchanged: dict[str, str]) -> None:
    _needs_to_lack("ovs")
    file = caller.home / "flows.yaml"
    file.write_text(OPEN_VSWITCH)
    _refused(caller, str(file), "openvswitch", "switch s1")
