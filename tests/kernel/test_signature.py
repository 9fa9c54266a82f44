"""The signature test: what the typed rules predict of some thousand flows, and what a live kernel does with them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import product
from typing import Any

import pytest

from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.dataplane.explain.service import Mode
from netlab.kernel import iptables as kernel_iptables
from netlab.node.proxy import NODES as NODE_KIND
from netlab.node.proxy import SERVICES, SLICES, Proxier, SyncTiming
from tests.kernel import signature_table as table
from tests.kernel.signature_net import CLUSTER_CIDR, NODES, PODS, SERVERS, SOURCES, Network
from tests.kernel.signature_probes import NOTHING, Answer, Call, Prober

BACKENDS: list[tuple[Mode, Any]] = [("iptables", "legacy"), ("iptables", "nft"), ("nftables", "nft")]
TIMING = SyncTiming(min_period=0.0, settle=0.0)
SILENCE = 1.0
"""Seconds in which a dropped packet must have been answered by nobody."""
LOSSES = 4
ROUNDS = 60
"""Of two endpoints one stays unseen in as many calls with probability 2⁻⁶⁰."""


@asynccontextmanager
async def proxied(net: Network, mode: Mode) -> AsyncIterator[None]:
    """Both nodes have the table's Services in their kernels."""
    client = Client(FakeApi())
    for name, place in NODES.items():
        node = await client.create(NODE_KIND, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        addresses = [{"type": "InternalIP", "address": place.ip}]
        await client.update_status(NODE_KIND, {**node, "status": {"addresses": addresses}})
    services, slices = table.objects()
    for service in services:
        made = await client.create(SERVICES, service)
        await client.update_status(SERVICES, {**made, "status": service["status"]})
    for one in slices:
        await client.create(SLICES, one)
    async with AsyncExitStack() as stack:
        for name in NODES:
            await stack.enter_async_context(_running(net, name, mode, client, len(services) * len(table.PROTOCOLS)))
        yield


@asynccontextmanager
async def _running(net: Network, name: str, mode: Mode, client: Client, ports: int) -> AsyncIterator[None]:
    proxier = Proxier(name, net.ns[name], cluster_cidr=CLUSTER_CIDR, mode=mode, timing=TIMING)
    task = asyncio.create_task(proxier.run(client))

    def written() -> bool:
        known = len(list(proxier.table.states())) == ports and not proxier.table.pending
        return task.done() or (known and proxier.full_syncs > 0 and proxier.health.waiting_since is None)

    try:
        await eventually(written, "the table's Services written", timeout=60)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def differences(net: Network, mode: Mode) -> list[str]:
    """Every row, called until all that it may answer has answered; what came that may not, or did not that should."""
    rules = table.materials(mode)
    rows = list(table.rows())
    wanted = [table.expected(row, rules) for row in rows]
    found: list[set[Answer]] = [set() for _ in rows]
    prober = Prober(net.ns, {name: (name, address) for name, address in SERVERS.items()})
    left = list(range(len(rows)))
    lost: Counter[int] = Counter()
    for number in range(ROUNDS):
        random.Random(number).shuffle(left)  # or round robin might meet the same caller in each round
        calls = [Call(rows[i].source.name, rows[i].protocol, rows[i].address, rows[i].port) for i in left]
        silent = [wanted[i] == {(NOTHING, "")} for i in left]
        for i, answer in zip(left, prober.calls(calls, silence=SILENCE, patience=20, silent=silent), strict=True):
            if answer == (NOTHING, "") != next(iter(wanted[i])) and rows[i].protocol == "UDP":
                lost[i] += 1  # a busy machine may lose a datagram, but not each
                if lost[i] < LOSSES:
                    continue
            found[i].add(answer)
        left = [i for i in left if found[i] < wanted[i]]
        if not left:
            break
    prober.close()
    return [
        f"{row}: {sorted(has)}, expected {sorted(should)}"
        for row, has, should in zip(rows, found, wanted, strict=True)
        if has != should
    ]


async def signature(mode: Mode) -> None:
    """The whole table on this kernel; AssertionError with the rows that differ."""
    net = Network()
    net.masquerade()
    async with proxied(net, mode):
        wrong = differences(net, mode)
    assert not wrong, f"{len(wrong)} rows differ\n" + "\n".join(wrong[:60])


@pytest.mark.parametrize(("mode", "backend"), BACKENDS, ids=[f"{mode}-{backend}" for mode, backend in BACKENDS])
async def test_the_kernel_does_what_the_rules_say(sandbox: object, mode: Mode, backend: Any) -> None:
    kernel_iptables.default_backend = lambda: backend  # type: ignore[assignment]  # in this child only
    await signature(mode)


def test_no_row_is_missing() -> None:
    rows = list(table.rows())
    assert len({(str(row)) for row in rows}) == len(rows)
    policies, protocols, endpoints = len(table.POLICIES), len(table.PROTOCOLS), len(table.ENDPOINTS)
    everything = 2 * policies**2 * endpoints * protocols * (5 * len(SOURCES) + 3)
    only_inside = policies * endpoints * protocols * len(SOURCES)
    headless = len(SOURCES) * protocols * len(SERVERS)
    assert len(rows) == everything + only_inside + headless
    places = {row.source.name for row in rows}
    assert places == {"pod", "remote", "one", *NODES, "outside", "near"}
    assert places - set(PODS) - set(NODES) == {"outside", "near"}


@pytest.mark.parametrize("mode", ["iptables", "ipvs", "nftables"])
def test_the_table_has_every_kind_of_outcome(mode: Mode) -> None:
    """A table whose rows all said the same would prove little."""
    rules = table.materials(mode)
    kinds = Counter[str]()
    for row in table.rows():
        answers = table.expected(row, rules)
        assert answers
        kinds["+".join(sorted({server for server, _ in answers}))] += 1
    wanted = {"refused", "nothing", *("+".join(sorted(one)) for one in (["one"], ["two"], ["far"], ["one", "far"]))}
    assert wanted <= set(kinds)
    assert {protocol for _, protocol in product((1,), table.PROTOCOLS)} == {row.protocol for row in table.rows()}
