"""What the stock kernel is there for is found, by root and, in `klab doctor`, by an ordinary user."""

from __future__ import annotations

import json

import pytest

from netlab.kernel import features
from netlab.sandbox import cgroups
from tests.labs.tools import User

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]

STOCK = ["ip_vs", "netem", "tbf", "htb", "ovs", "br_netfilter"]


@pytest.mark.parametrize("name", STOCK)
def test_the_kernel_has(name: str) -> None:
    found = features.feature(name)
    assert found.available, found


def test_memory_limits_are_possible() -> None:
    assert cgroups.delegated() is not None


def test_doctor_finds_it_all_for_an_ordinary_user(ordinary: User) -> None:
    said = ordinary.klab("doctor", "-o", "json", timeout=240)
    found = {check["name"]: check for check in json.loads(said.stdout)}
    assert {name: found[name]["found"] for name in (*STOCK, "memory cgroup") if not found[name]["ok"]} == {}
    assert said.returncode == 0, said.stderr
