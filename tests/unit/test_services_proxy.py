"""The proxier against an API server and a netfilter in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.dataplane.services.stale import Flow
from netlab.node.proxy import SERVICES, SLICES, Proxier, SyncTiming
from netlab.node.proxy_fake import FakeNetfilter

TIMING = SyncTiming(settle=0.0, min_period=0.0, retry=0.001, canary=0.02)


def service(name: str, ip: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "default", "name": name},
        "spec": {"clusterIP": ip, "ports": ports, **spec},
    }


def slice_of(name: str, *addresses: str, protocol: str = "TCP") -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": "default", "name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": protocol}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    }


@asynccontextmanager
async def running(client: Client, kernel: FakeNetfilter) -> AsyncIterator[Proxier]:
    proxier = Proxier("node", None, cluster_cidr="10.244.0.0/16", kernel=kernel, timing=TIMING)
    task = asyncio.create_task(proxier.run(client))
    try:
        await eventually(lambda: proxier.full_syncs > 0 or task.done(), "first sync")
        yield proxier
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def settled(proxier: Proxier, kernel: FakeNetfilter, text: str, present: bool = True) -> None:
    def check() -> bool:
        rules = [rule for chains in kernel.tables.values() for rules in chains.values() for rule in rules]
        return any(text in rule for rule in rules) is present

    await eventually(check, f"{text} {'in' if present else 'out of'} the rules")


async def test_rules_follow_the_objects_and_only_changes_are_written() -> None:
    client, kernel = Client(FakeApi()), FakeNetfilter()
    await client.create(SERVICES, service("one", "10.96.0.20"))
    async with running(client, kernel) as proxier:
        await settled(proxier, kernel, '"default/one:http has no endpoints"')
        await client.create(SLICES, slice_of("one", "10.244.1.5"))
        await settled(proxier, kernel, "--to-destination 10.244.1.5:8080")
        await settled(proxier, kernel, "has no endpoints", present=False)
        await client.create(SERVICES, service("two", "10.96.0.21"))
        await settled(proxier, kernel, "default/two:http")
        assert "default/one" not in kernel.restores[-1]
        await client.delete(SERVICES, "one", "default")
        await settled(proxier, kernel, "default/one", present=False)
        assert not [chain for chain in kernel.tables["nat"] if chain.startswith("KUBE-SEP")]
        assert proxier.full_syncs == 1


async def test_a_new_proxier_adopts_and_removes_what_is_stale() -> None:
    client, kernel = Client(FakeApi()), FakeNetfilter()
    await client.create(SERVICES, service("one", "10.96.0.20"))
    await client.create(SLICES, slice_of("one", "10.244.1.5", "10.244.1.6"))
    async with running(client, kernel):
        pass
    before = kernel.snapshot()
    async with running(client, kernel):
        assert kernel.snapshot() == before
    await client.delete(SLICES, "one-1", "default")
    async with running(client, kernel) as proxier:
        await settled(proxier, kernel, "has no endpoints")
        assert not [chain for chain in kernel.tables["nat"] if chain.startswith(("KUBE-SEP", "KUBE-SVC"))]


async def test_a_refused_write_is_followed_by_a_full_sync() -> None:
    client, kernel = Client(FakeApi()), FakeNetfilter()
    async with running(client, kernel) as proxier:
        kernel.fail_next = True
        await client.create(SERVICES, service("one", "10.96.0.20"))
        await settled(proxier, kernel, "default/one:http")
        assert proxier.full_syncs == 2


async def test_rules_that_someone_flushed_come_back() -> None:
    client, kernel = Client(FakeApi()), FakeNetfilter()
    await client.create(SERVICES, service("one", "10.96.0.20"))
    async with running(client, kernel) as proxier:
        kernel.tables = FakeNetfilter().tables
        await settled(proxier, kernel, "default/one:http")


async def test_flows_of_udp_that_lead_nowhere_are_deleted() -> None:
    client, kernel = Client(FakeApi()), FakeNetfilter()
    ports = [{"name": "http", "port": 53, "protocol": "UDP"}]
    await client.create(SERVICES, service("dns", "10.96.0.10", ports=ports))
    async with running(client, kernel):
        kept = Flow("8.8.8.8", 53, "8.8.8.8", 53)
        kernel.flows = [Flow("10.96.0.10", 53, "10.96.0.10", 53), kept]
        await client.create(SLICES, slice_of("dns", "10.244.1.5", protocol="UDP"))
        await eventually(lambda: kernel.flows == [kept], "the stale flow is deleted")


async def test_many_changes_at_once_are_written_together() -> None:
    client, kernel = Client(FakeApi()), FakeNetfilter()
    async with running(client, kernel) as proxier:
        before = len(kernel.restores)
        for number in range(50):
            await client.create(SERVICES, service(f"s{number}", f"10.96.1.{number}"))
        await settled(proxier, kernel, "default/s49:http")
        assert len(kernel.restores) - before <= 50
        assert proxier.health.healthy(proxier.health.last_updated)


async def test_without_route_localnet_nodeports_stay_off_localhost() -> None:
    client, kernel = Client(FakeApi()), FakeNetfilter()
    kernel.localhost = False
    async with running(client, kernel):
        assert any("! -d 127.0.0.0/8" in rule for rule in kernel.tables["nat"]["KUBE-SERVICES"])
        assert "KUBE-FIREWALL" not in kernel.tables["filter"]
