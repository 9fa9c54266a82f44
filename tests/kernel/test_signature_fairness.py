"""Fairness: new connections are shared among a Service's endpoints as equally as chance allows, in each mode."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from netlab.dataplane.explain.service import Mode
from netlab.dataplane.services import Endpoint, NodeView, ServicePort, ServicePortName, ServiceState, choose
from netlab.dataplane.services.model import Protocol
from netlab.kernel import iptables as kernel_iptables
from netlab.node import proxy_backend
from netlab.node.proxy_backend import IpvsOptions
from netlab.node.proxy_kernel import NodeKernel
from tests.kernel.signature_net import CLUSTER_CIDR, NODES, Network, ip
from tests.kernel.signature_probes import NOTHING, REFUSED, Call, Prober

CONNECTIONS = 10_000
CLUSTER_IP, PORT = "10.96.0.20", 80
SIGMAS = 5.0
"""Further from its mean a binomial count is once in 1.7 million."""
BACKENDS: list[tuple[Mode, Any]] = [("iptables", "legacy"), ("iptables", "nft"), ("nftables", "nft")]
SPREADS: list[tuple[Protocol, int]] = [("TCP", 3), ("UDP", 7)]


async def serving(net: Network, mode: str, protocol: Protocol, count: int, scheduler: str = "rr") -> Prober:
    """A Service of `count` endpoints, which are addresses of one pod. The scheduler is IPVS'."""
    addresses = [f"10.244.0.{100 + number}" for number in range(count)]
    ip("two", "\n".join(f"addr add {address}/24 dev eth0" for address in addresses))
    port = ServicePort(ServicePortName("default", "fair", "p", protocol), CLUSTER_IP, PORT)
    endpoints = tuple(Endpoint(address, 8080, "here", True) for address in addresses)
    backend = proxy_backend.make(mode, NodeKernel(net.ns["here"]), CLUSTER_CIDR, "", IpvsOptions(scheduler))
    await backend.prepare()
    backend.configure((), NODES["here"].ip, count)
    backend.update(port.name, ServiceState(port, endpoints, choose(port, endpoints, NodeView("here"))))
    await backend.sync(True)
    return Prober(net.ns, {address: ("two", address) for address in addresses})


def answers(prober: Prober, calls: Sequence[Call]) -> list[str]:
    """Who answered each call. One that nobody did is made again: a datagram may be lost on a busy machine."""
    found = [""] * len(calls)
    while left := [i for i, server in enumerate(found) if not server]:
        got = prober.calls([calls[i] for i in left], silence=0, patience=20, silent=[False] * len(left))
        for i, (server, _) in zip(left, got, strict=True):
            found[i] = server if server not in (REFUSED, NOTHING) else ""
        assert any(found[i] for i in left), f"nobody answers: {Counter(got)}"
    return found


async def shares(net: Network, mode: str, protocol: Protocol, count: int, scheduler: str = "rr") -> Counter[str]:
    """How many of CONNECTIONS new connections of one client each of `count` endpoints got."""
    prober = await serving(net, mode, protocol, count, scheduler)
    found = Counter(answers(prober, [Call("pod", protocol, CLUSTER_IP, PORT)] * CONNECTIONS))
    prober.close()
    return found


def beyond_chance(found: Counter[str], count: int) -> list[str]:
    """The endpoints whose count is further from the mean than chance explains."""
    mean = CONNECTIONS / count
    bound = SIGMAS * math.sqrt(CONNECTIONS * (1 / count) * (1 - 1 / count))
    return [
        f"{name}: {number}, {mean:.0f} ± {bound:.0f}" for name, number in found.items() if abs(number - mean) > bound
    ]


@pytest.mark.parametrize(("protocol", "count"), SPREADS, ids=["TCP-3", "UDP-7"])
@pytest.mark.parametrize(("mode", "backend"), BACKENDS, ids=[f"{mode}-{backend}" for mode, backend in BACKENDS])
async def test_endpoints_share_alike(sandbox: object, mode: Mode, backend: Any, protocol: Protocol, count: int) -> None:
    kernel_iptables.default_backend = lambda: backend  # type: ignore[assignment]  # in this child only
    found = await shares(Network(), mode, protocol, count)
    assert len(found) == count
    assert not beyond_chance(found, count), dict(found)


def test_the_bound_finds_what_is_unfair() -> None:
    """Probabilities off by a tenth are found: 1/3 ± 10 % of 10,000 is twice the bound away."""
    assert beyond_chance(Counter({"a": 3667, "b": 3333, "c": 3000}), 3)
    assert not beyond_chance(Counter({"a": 3400, "b": 3300, "c": 3300}), 3)
