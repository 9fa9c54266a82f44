"""What the stock kernel is there for is found, by root and, in `klab doctor`, by an ordinary user."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netlab.kernel import features
from netlab.sandbox import cgroups
from netlab.sandbox.doctor import kernel_release
from tests.labs.tools import User

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]

STOCK = ["ip_vs", "netem", "tbf", "htb", "ovs", "br_netfilter"]


@pytest.mark.parametrize("name", STOCK)
def test_the_kernel_has(name: str) -> None:
    found = features.feature(name)
    assert found.available, found


def test_memory_limits_are_possible() -> None:
    assert cgroups.delegated() is not None


def doctor(user: User) -> dict[str, str]:
    """What `klab doctor` says that this user lacks, of what the lane is there for: check → what it found."""
    said = user.klab("doctor", "-o", "json", timeout=240)
    assert said.returncode == 0, said.stderr
    checks = {check["name"]: check for check in json.loads(said.stdout)}
    return {name: checks[name]["found"] for name in (*STOCK, "memory cgroup") if not checks[name]["ok"]}


def test_doctor_finds_it_all_for_root(tmp_path: Path) -> None:
    user = User(tmp_path)
    user.prepare()
    assert doctor(user) == {}


def test_doctor_finds_it_for_an_ordinary_user_but_what_the_kernel_keeps_for_root(ordinary: User) -> None:
    lacks = doctor(ordinary)
    if kernel_release() < (6, 11):
        assert "refuses user namespaces" in lacks.pop("ip_vs")
    assert lacks == {}
