"""A node's kernel network as the agent uses it: pods' namespaces made and joined in batches, plans applied.

All netlink work of a process goes through one thread: namespaces and their sockets are not for sharing between threads,
and the event loop stays free. Pods that ask while a batch is on its way travel together in the next one.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from netlab.dataplane.hostports import PortMapping
from netlab.dataplane.model import NodeState, Plan
from netlab.dataplane.nodes import NodeNet, PodNet
from netlab.kernel import apply as applying
from netlab.kernel import netns, pods
from netlab.kernel.errors import KernelError
from netlab.node.hostports import HostPorts

T = TypeVar("T")

BATCH = 64


class NetworkThread:
    """The one thread on which this process talks to the kernel about networks."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="network")

    async def call(self, function: Callable[..., T], *args: object) -> T:
        """Run `function(*args)` there."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


def namespace_of(uid: str) -> str:
    """The name under which a pod's namespace is pinned: cni- and 12 digits of the uid."""
    return f"cni-{uid.replace('-', '')[:12]}"


class NodeNetwork:
    """One node: its namespace, and its pods' (PodWiring). `net` is set once the overlay has made the bridge."""

    def __init__(self, node_netns: str, thread: NetworkThread) -> None:
        self.ns = netns.open(node_netns)
        self.net: NodeNet | None = None
        self._thread = thread
        self._waiting: dict[str, tuple[Sequence[str], asyncio.Future[str]]] = {}
        self._batch: asyncio.Task[None] | None = None
        self._leaving: dict[str, tuple[PodNet | None, asyncio.Future[None]]] = {}
        self._leaver: asyncio.Task[None] | None = None
        self._attached: dict[str, PodNet] = {}
        self._ports = HostPorts(self.ns)

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket:
        """A socket in the node's namespace."""
        return self.ns.socket(family, kind, proto)

    def netns_path(self, uid: str) -> str:
        return netns.path(namespace_of(uid))

    async def attach(self, uid: str, ips: Sequence[str]) -> str:
        """See PodWiring."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[uid] = (ips, future)
        if self._batch is None or self._batch.done():
            self._batch = asyncio.get_running_loop().create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            chosen = list(self._waiting.items())[:BATCH]
            for uid, _ in chosen:
                del self._waiting[uid]
            wanted = [(uid, ips) for uid, (ips, _) in chosen]
            try:
                failed = await self._thread.call(self._attach_now, wanted)
            except BaseException as problem:
                for _, (_, future) in chosen:
                    if not future.done():
                        future.set_exception(_as_os_error(problem))
                if not isinstance(problem, Exception):
                    raise
                continue
            for uid, (_, future) in chosen:
                if future.done():
                    continue
                if uid in failed:
                    future.set_exception(failed[uid])
                else:
                    future.set_result(self.netns_path(uid))

    def _attach_now(self, wanted: Sequence[tuple[str, Sequence[str]]]) -> dict[str, KernelError]:
        """On the network thread: all at once, and one by one where that failed, to know which."""
        if self.net is None:
            raise KernelError(errno.ENETDOWN, f"bridge of {self.ns.name}")
        nets = [PodNet.of(uid, ips, self.net) for uid, ips in wanted]
        for net in nets:
            netns.remove(net.netns)  # left by an attempt that did not get to its end
        pods.teardown_pods(self.ns, [net for net in nets if net.id in self._attached])
        spaces = netns.many([net.netns for net in nets])
        try:
            return self._join(list(zip(spaces, nets, strict=True)))
        finally:
            for space in spaces:
                space.close()

    def _join(self, pairs: list[tuple[netns.NetNs, PodNet]]) -> dict[str, KernelError]:
        failed: dict[str, KernelError] = {}
        try:
            pods.setup_pods(self.ns, pairs)
        except KernelError:
            for pair in pairs:
                try:
                    pods.teardown_pods(self.ns, [pair[1]])
                    pods.setup_pods(self.ns, [pair])
                except KernelError as problem:
                    failed[pair[1].id] = problem
        for _, net in pairs:
            if net.id in failed:
                netns.remove(net.netns)
            else:
                self._attached[net.id] = net
        return failed

    def adopt(self, uid: str, ips: str | Sequence[str]) -> None:
        """A pod that was attached by an earlier agent."""
        if self.net is not None:
            self._attached[uid] = PodNet.of(uid, ips, self.net)
            self._ports.adopt(uid)

    async def open_ports(self, uid: str, mappings: Sequence[PortMapping]) -> None:
        """See PodWiring."""
        net = self._attached[uid]
        await self._ports.open(uid, [address for address, _ in net.attachments], mappings, net.bridge)

    async def detach(self, uid: str) -> None:
        """See PodWiring. The kernel waits some 30 ms for every removal, however many devices it removes."""
        await self._ports.close(uid)
        net = self._attached.pop(uid, None)
        if net is None and not netns.is_namespace(netns.path(namespace_of(uid))):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leaving[uid] = (net, future)
        if self._leaver is None or self._leaver.done():
            self._leaver = asyncio.get_running_loop().create_task(self._leave())
        await future

    async def _leave(self) -> None:
        while self._leaving:
            chosen, self._leaving = self._leaving, {}
            nets = [net for net, _ in chosen.values() if net is not None]
            try:
                await self._thread.call(self._detach_now, list(chosen), nets)
            except Exception as problem:
                self._attached.update((net.id, net) for net in nets)
                for _, future in chosen.values():
                    if not future.done():
                        future.set_exception(_as_os_error(problem))
            else:
                for _, future in chosen.values():
                    if not future.done():
                        future.set_result(None)

    def _detach_now(self, uids: Sequence[str], nets: Sequence[PodNet]) -> None:
        if nets:
            pods.teardown_pods(self.ns, nets)
        for uid in uids:
            netns.remove(namespace_of(uid))

    async def apply(self, plan: Plan) -> None:
        """Do what the plan says in the node's namespace. Raises KernelError."""
        await self._thread.call(applying.apply, self.ns, plan)

    async def observe(self, sysctls: Sequence[str] = (), *, ipv6: bool = False) -> NodeState:
        """What the node's namespace has."""
        from netlab.kernel.observe import observe

        return await self._thread.call(lambda: observe(self.ns, sysctls=sysctls, ipv6=ipv6))

    def close(self) -> None:
        for task in (self._batch, self._leaver):
            if task is not None:
                task.cancel()
        self.ns.close()


def _as_os_error(problem: BaseException) -> Exception:
    return problem if isinstance(problem, OSError) else OSError(errno.EIO, str(problem))


class PodSockets:
    """Opens sockets inside a pod's namespace (port forwarding); one short-lived handle per socket."""

    def __init__(self, netns_path: str) -> None:
        self._path = netns_path

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket:
        with netns.open(self._path) as space:
            return space.socket(family, kind, proto)
