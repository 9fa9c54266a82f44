"""The signature test and fairness in IPVS mode, on the stock kernel: the same table as for the other modes."""

from __future__ import annotations

import asyncio

import pytest

from netlab.dataplane.services.model import Protocol
from netlab.kernel import throwaway
from tests.kernel.signature_net import Network
from tests.kernel.test_signature import signature
from tests.kernel.test_signature_fairness import CONNECTIONS, shares

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]


def test_the_kernel_does_what_the_rules_say() -> None:
    throwaway.run(lambda: asyncio.run(signature("ipvs")), user=False)


@pytest.mark.parametrize(("protocol", "count"), [("UDP", 5)])
def test_round_robin_is_exact(protocol: Protocol, count: int) -> None:
    """Each in turn: no chance is in it. (A datagram that is lost and asked again shifts the turn.)"""

    async def body() -> dict[str, int]:
        return dict(await shares(Network(), "ipvs", protocol, count))

    found = throwaway.run(lambda: asyncio.run(body()), user=False)
    assert len(found) == count
    assert max(found.values()) - min(found.values()) <= CONNECTIONS / 100, found
