"""A node's Lease, and the thread on which all nodes of a process renew theirs.

Follows upstream component-helpers/apimachinery/lease. A kubelet upstream has a machine of its own; here twenty share
one event loop, and a thousand pods that start may keep it busy for seconds: their nodes would be called lost. So
renewals have a thread of their own, and a connection for each node, and wait for nobody but the processor.

Rejected: a process for it (some 10 MB), one connection for all nodes (a heartbeat must cross its node's own cable).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable

from netlab.api.errors import StatusError
from netlab.api.timing import Timing
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.kinds import LEASES
from netlab.client.transport import TransportError
from netlab.node.kubelet.clock import rfc3339_micro

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"


class HeartThread:
    """A thread with an event loop, started when it is first needed. It runs nothing but heartbeats."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    async def run(self, call: Callable[[], Awaitable[None]]) -> None:
        """`call()` on that thread, until it returns or the caller is cancelled."""
        if self._loop is None:
            self._loop = type(asyncio.get_running_loop())()
            self._thread = threading.Thread(target=_live, args=(self._loop,), name="heart", daemon=True)
            self._thread.start()

        async def called() -> None:
            await call()

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(called(), self._loop))

    def close(self) -> None:
        """End the thread; what it still ran is dropped."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(1.0)
            self._loop = self._thread = None


def _live(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, then end what it still runs."""
    try:
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
    finally:
        loop.close()


class NodeLease:
    """The Lease of one node. `clock`: wall time as the node has it; `node`: the Node as it is known, its owner."""

    def __init__(
        self, name: str, timing: Timing, clock: Callable[[], float], node: Callable[[], Obj | None] = lambda: None
    ) -> None:
        self._name, self._timing, self._clock, self._node = name, timing, clock, node
        self._lease: Obj | None = None

    async def keep(self, client: Client, wait: float) -> None:
        """Renew it for ever, first in `wait` seconds; `client` is closed at the end."""
        try:
            while True:
                await asyncio.sleep(wait)
                wait = await self.beat(client)
        finally:
            await client.close()

    async def beat(self, client: Client) -> float:
        """Make it or renew it; in how many seconds it is to be renewed next."""
        period = self._timing.node_lease_renew
        try:
            self._lease = await self._renew(client)
        except StatusError as problem:
            self._lease = None
            log.info("lease of node %s: %s", self._name, problem)
            return min(0.2, period)
        except TransportError as problem:
            log.info("lease of node %s: %s", self._name, problem)
            return min(0.5, period)
        return period

    async def _renew(self, client: Client) -> Obj:
        lease = self._lease or await self._get(client)
        if lease is None:
            return await client.create(LEASES, self._new())
        return await client.update(LEASES, {**lease, "spec": {**lease["spec"], **self._spec()}})

    async def _get(self, client: Client) -> Obj | None:
        try:
            return await client.get(LEASES, self._name, LEASE_NAMESPACE)
        except StatusError as problem:
            if problem.code == 404:
                return None
            raise

    def _spec(self) -> Obj:
        return {
            "holderIdentity": self._name,
            "leaseDurationSeconds": max(1, int(self._timing.node_lease_duration)),
            "renewTime": rfc3339_micro(self._clock()),
        }

    def _new(self) -> Obj:
        owner: list[Obj] = []
        node = self._node()
        if node is not None:
            meta = node["metadata"]
            owner = [{"apiVersion": "v1", "kind": "Node", "name": meta["name"], "uid": meta["uid"]}]
        meta = {"name": self._name, "namespace": LEASE_NAMESPACE, "ownerReferences": owner}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": self._spec()}
