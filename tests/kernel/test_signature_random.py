"""Random histories on the live kernel, in iptables (nft and legacy) and nftables mode; IPVS is in tests/vm."""

from __future__ import annotations

from typing import Any

import pytest

from netlab.kernel import iptables as kernel_iptables
from tests.kernel.signature_history import LiveHistory, histories


@pytest.mark.parametrize(("mode", "backend"), [("iptables", "legacy"), ("iptables", "nft"), ("nftables", "nft")])
def test_any_history_ends_as_a_full_sync_and_breaks_nothing(sandbox: object, mode: str, backend: Any) -> None:
    kernel_iptables.default_backend = lambda: backend  # type: ignore[assignment]  # in this child only
    seen = histories(LiveHistory, mode)
    assert seen["TCP"] > 5
    assert seen["UDP"] > 5
    assert seen["killed"] > 1
