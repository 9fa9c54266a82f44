"""What the stock kernel is there for is found; `klab doctor` prints the same."""

from __future__ import annotations

import pytest

from netlab.kernel import features
from netlab.sandbox import cgroups

pytestmark = pytest.mark.vm


@pytest.mark.parametrize("name", ["ip_vs", "netem", "tbf", "htb", "ovs", "br_netfilter"])
def test_the_kernel_has(name: str) -> None:
    found = features.feature(name)
    assert found.available, found


def test_memory_limits_are_possible() -> None:
    assert cgroups.delegated() is not None
