"""Enforces NetworkPolicies on one node, as kindnet does beside its routes; Flannel alone has nothing for them.

Every node watches NetworkPolicies, which are few. Pods and namespaces of the whole cluster are watched only once there
is a policy: a cluster without one pays nothing for them. What must hold is computed whole (netlab.dataplane.policies)
and what differs is written; the table's first version replaces whatever an earlier agent has left.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from netlab.api.meta import key as key_of
from netlab.api.timing import Timing
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.informer import Informer
from netlab.client.kinds import NAMESPACES, NETWORK_POLICIES, PODS
from netlab.dataplane.nftables.operations import Operation, Table
from netlab.dataplane.nftables.rules import Ip
from netlab.dataplane.nftables.table import NftState, diff, remove
from netlab.dataplane.policies import TABLE, Cluster, Pod, isolation, pod_of, policy_table
from netlab.kernel.errors import CommandFailed, KernelError
from netlab.kernel.netns import NetNs
from netlab.node.proxy_kernel import NodeKernel

log = logging.getLogger(__name__)

GATHER = 0.02
"""Seconds in which changes come together; a label that many pods get is one change of the table."""
SHARE = 5
"""A node spends at most one part in so many, and one, of its time on it."""
RETRY = 1.0
FAMILIES: tuple[Ip, ...] = ("ip", "ip6")


def thinned(pod: Obj) -> Obj:
    """What policies need to know of a pod."""
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    kept = {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion", "labels") if key in metadata}
    containers = [{"ports": one["ports"]} for one in spec.get("containers") or () if one.get("ports")]
    starting = [{"ports": one["ports"]} for one in spec.get("initContainers") or () if one.get("ports")]
    place = {key: spec[key] for key in ("nodeName", "hostNetwork") if key in spec}
    seen = {key: status[key] for key in ("phase", "podIPs") if key in status}
    return {
        "metadata": kept,
        "spec": {**place, "containers": containers, "initContainers": starting},
        "status": seen,
    }


def _concern(obj: Obj) -> tuple[object, ...]:
    return obj["metadata"].get("labels"), obj.get("spec"), obj.get("status")


class PolicyAgent:
    """One node's. `remembered` is a file that says that the table is in the kernel; both outlive the agent."""

    def __init__(self, node: str, client: Client, ns: NetNs, times: Timing, remembered: Path) -> None:
        self._node, self._remembered = node, remembered
        self._kernel = {"ip": NodeKernel(ns), "ip6": NodeKernel(ns, "IPv6")}
        self._written: dict[Ip, NftState | None] = dict.fromkeys(FAMILIES)
        self._wake = asyncio.Event()
        self._policies = Informer(client, NETWORK_POLICIES, timing=times)
        self._pods = Informer(client, PODS, transform=thinned, timing=times)
        self._namespaces = Informer(client, NAMESPACES, timing=times)
        self._known: dict[str, Pod] = {}
        self._following = False
        self._took = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        for informer in (self._policies, self._namespaces):
            informer.add_handler(self._changed, self._updated, self._changed)
        self._pods.add_handler(self._pod_seen, self._pod_updated, self._pod_gone)
        self._policies.start()
        try:
            await self._policies.wait_synced()
            self._wake.set()
            while True:
                await self._wake.wait()
                await asyncio.sleep(max(GATHER, SHARE * self._took))
                self._wake.clear()
                began = time.monotonic()
                try:
                    await self._sync()
                    self._took = time.monotonic() - began
                except (KernelError, CommandFailed, OSError) as problem:
                    log.warning("network policies of %s: %s", self._node, problem)
                    self._written = dict.fromkeys(FAMILIES)
                    await asyncio.sleep(RETRY)
                    self._wake.set()
        finally:
            await asyncio.gather(*(one.stop() for one in (self._policies, self._pods, self._namespaces)))

    def _changed(self, _: Obj) -> None:
        self._wake.set()

    def _updated(self, old: Obj, new: Obj) -> None:
        """Most events concern nothing that policies look at."""
        if _concern(old) != _concern(new):
            self._wake.set()

    def _pod_updated(self, old: Obj, new: Obj) -> None:
        if _concern(old) != _concern(new):
            self._pod_seen(new)

    def _pod_seen(self, obj: Obj) -> None:
        key, pod = key_of(obj), pod_of(obj)
        if pod is not None:
            self._known[key] = pod
        elif self._known.pop(key, None) is None:
            return
        self._wake.set()

    def _pod_gone(self, obj: Obj) -> None:
        if self._known.pop(key_of(obj), None) is not None:
            self._wake.set()

    async def _sync(self) -> None:
        policies = list(self._policies.store.values())
        if not policies and not self._following and not self._remembered.exists():
            return
        if policies and not self._following:
            self._pods.start()
            self._namespaces.start()
            self._following = True
            await self._pods.wait_synced()
            await self._namespaces.wait_synced()
        for ip, state in self._desired(policies).items():
            await self._write(ip, state)

    def _desired(self, policies: Sequence[Obj]) -> dict[Ip, NftState]:
        if not policies:
            return {ip: NftState() for ip in FAMILIES}
        labels = {name: obj["metadata"].get("labels") or {} for name, obj in self._namespaces.store.items()}
        cluster = Cluster(self._known.values(), labels)
        found = [one for policy in policies for one in isolation(policy, cluster)]
        local = [pod for pod in cluster.pods if pod.node == self._node]
        return {ip: policy_table(found, local, ip) for ip in FAMILIES}

    async def _write(self, ip: Ip, state: NftState) -> None:
        before = self._written[ip]
        if before == state or (before is None and not state.chains and not self._remembered.exists()):
            self._written[ip] = state
            return
        if before is None or not state.chains:
            table = Operation("add", ip, TABLE, Table())
            operations = [table, remove(ip, TABLE)]  # whether it is there or not
            if state.chains:
                self._remembered.parent.mkdir(parents=True, exist_ok=True)
                self._remembered.touch()
                operations += [table, *diff(NftState(), state, ip, TABLE).apply]
            await self._kernel[ip].nft(operations)
        else:
            change = diff(before, state, ip, TABLE)
            await self._kernel[ip].nft(change.apply)
            if change.cleanup:
                await self._kernel[ip].nft(change.cleanup)
        self._written[ip] = state
        if not any(one is not None and one.chains for one in self._written.values()):
            self._remembered.unlink(missing_ok=True)
