"""The signature test and fairness in IPVS mode, on the stock kernel: the same table as for the other modes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from netlab.dataplane.services.model import Protocol
from netlab.kernel import throwaway
from tests.kernel.signature_net import Network, ip
from tests.kernel.signature_probes import Call
from tests.kernel.test_signature import signature
from tests.kernel.test_signature_fairness import (
    CLUSTER_IP,
    CONNECTIONS,
    PORT,
    answers,
    beyond_chance,
    serving,
    shares,
)

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]

T = TypeVar("T")
CLIENTS = CONNECTIONS // 2


def in_child(body: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return throwaway.run(lambda: asyncio.run(body()), user=False)


def test_the_kernel_does_what_the_rules_say() -> None:
    in_child(lambda: signature("ipvs"))


@pytest.mark.parametrize(("scheduler", "protocol", "count"), [("rr", "UDP", 5), ("rr", "TCP", 3), ("wrr", "TCP", 7)])
def test_round_robin_is_exact(scheduler: str, protocol: Protocol, count: int) -> None:
    """Each in turn: no chance is in it. (A datagram that is lost and asked again shifts the turn.)"""
    found = in_child(lambda: shares(Network(), "ipvs", protocol, count, scheduler))
    assert len(found) == count
    allowed = 1 if protocol == "TCP" else CONNECTIONS / 100
    assert max(found.values()) - min(found.values()) <= allowed, found


def test_maglev_shares_one_client_s_connections_as_chance_does() -> None:
    """It goes by the source port too (upstream's FlagSourceHash)."""
    found = in_child(lambda: shares(Network(), "ipvs", "TCP", 3, "mh"))
    assert len(found) == 3
    assert not beyond_chance(found, 3), found


def test_source_hashing_shares_clients_as_chance_does_and_keeps_each() -> None:
    found = in_child(_by_source)
    first, second = found[:CLIENTS], found[CLIENTS:]
    assert first == second, "a client always gets the same endpoint"
    shared = Counter(found)
    assert len(shared) == 3
    assert not beyond_chance(shared, 3), shared


async def _by_source() -> list[str]:
    """Who answers the clients, each of which calls twice."""
    net = Network()
    ip("outside", "route add local 172.16.0.0/16 dev lo")  # all of it are addresses of that host
    prober = await serving(net, "ipvs", "TCP", 3, "sh")
    clients = [f"172.16.{number >> 8}.{number & 255}" for number in range(1, CLIENTS + 1)]
    found = answers(prober, [Call("outside", "TCP", CLUSTER_IP, PORT, own) for own in clients * 2])
    prober.close()
    return found
