"""A node's Lease: made, renewed, and renewed also while the agent's own loop is busy."""

import asyncio
import dataclasses
import threading
import time
from collections.abc import AsyncIterator

import pytest

from netlab.api.timing import LAB
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.client.kinds import LEASES
from netlab.node.heartbeat import HeartThread, NodeLease

QUICK = dataclasses.replace(LAB, node_lease_renew=0.02, node_lease_duration=4.0)
KEY = "kube-node-lease/n1"
NODE = {"metadata": {"name": "n1", "uid": "u1"}}


@pytest.fixture
async def heart() -> AsyncIterator[HeartThread]:
    thread = HeartThread()
    yield thread
    thread.close()


def lease_of(clock: float = 0.0, node: Obj | None = NODE) -> NodeLease:
    return NodeLease("n1", QUICK, lambda: clock, lambda: node)


async def test_the_lease_belongs_to_the_node_and_is_renewed() -> None:
    api = FakeApi()
    assert await lease_of(0.0).beat(Client(api)) == QUICK.node_lease_renew
    made = api.find(LEASES, KEY)
    assert made["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1"}]
    assert made["spec"] == {
        "holderIdentity": "n1",
        "leaseDurationSeconds": 4,
        "renewTime": "1970-01-01T00:00:00.000000Z",
    }
    await lease_of(1.5).beat(Client(api))  # another agent finds it there
    assert api.find(LEASES, KEY)["spec"]["renewTime"] == "1970-01-01T00:00:01.500000Z"


async def test_a_refused_renewal_is_soon_tried_again() -> None:
    api, lease = FakeApi(), lease_of()
    await lease.beat(Client(api))
    api.fail_next("PUT", "/leases/", 409, "Conflict")
    assert await lease.beat(Client(api)) <= QUICK.node_lease_renew
    api.remove(LEASES, KEY)
    await lease.beat(Client(api))
    assert api.find(LEASES, KEY)["spec"]["holderIdentity"] == "n1"


async def test_renewals_go_on_while_the_agents_loop_is_busy(heart: HeartThread) -> None:
    api, seen = FakeApi(), set[str]()

    class Watched(Client):
        async def update(self, *args: object, **options: object) -> Obj:
            seen.add(threading.current_thread().name)
            return await super().update(*args, **options)  # type: ignore[arg-type]

    lease = NodeLease("n1", QUICK, time.time)
    await lease.beat(Client(api))
    client = Watched(api)
    beating = asyncio.create_task(heart.run(lambda: lease.keep(client, 0.0)))
    await eventually(lambda: bool(seen), "a first renewal")
    before = api.find(LEASES, KEY)["spec"]["renewTime"]
    deadline = time.monotonic() + 10
    while api.find(LEASES, KEY)["spec"]["renewTime"] == before and time.monotonic() < deadline:
        time.sleep(0.01)  # noqa: ASYNC251 - blocks this loop on purpose
    assert api.find(LEASES, KEY)["spec"]["renewTime"] > before
    assert seen == {"heart"}
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
    await asyncio.sleep(0.1)
    last = api.find(LEASES, KEY)["spec"]["renewTime"]
    await asyncio.sleep(0.1)
    assert api.find(LEASES, KEY)["spec"]["renewTime"] == last
