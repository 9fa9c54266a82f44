"""The agent process: hosts many nodes, each with its own client, kubelet, overlay and proxy, on one event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

from netlab.api.timing import Timing, timing
from netlab.api.version import user_agent
from netlab.client.client import Client
from netlab.client.events import EventRecorder
from netlab.client.informer import Informer
from netlab.client.kinds import NODES
from netlab.client.kubeconfig import load
from netlab.client.transport import HttpTransport
from netlab.dataplane.nodes import NodeNet
from netlab.node.config import AgentConfig, NodeConfig
from netlab.node.heartbeat import HeartThread
from netlab.node.kubelet.kubelet import Kubelet
from netlab.node.kubelet.ports import PARALLEL_REQUESTS, NodeContext
from netlab.node.network import NetworkThread, NodeNetwork, PodSockets
from netlab.node.overlay import Overlay, flannel_annotations
from netlab.node.registration import Registration
from netlab.node.told import NodeFaults
from netlab.runtime.contract import Runtime

log = logging.getLogger(__name__)


class StartProxy(Protocol):
    """The narrow hook by which the service proxy is started on a node: runs until cancelled."""

    def __call__(self, node: NodeConfig, agent: AgentConfig, client: Client) -> Awaitable[None]: ...


POLICIES = Path("/run/netlab/policies")
"""Which nodes have a table of policies in their kernel: in the lab's memory, as long as the nodes are."""
credentials = lru_cache(maxsize=8)(load)
"""Proxy and overlay have one identity on all nodes: what is read from its file is shared by them."""


def node_client(program: str, kubeconfig: str, network: NodeNetwork, times: Timing) -> Client:
    """A program's client in the node's network namespace, with the identity of a kubeconfig."""
    url, tls, token = credentials(kubeconfig)

    def open_socket(info: Any) -> Any:
        family, kind, proto = info[0], info[1], info[2]
        sock = network.socket(family, kind, proto)
        sock.setblocking(False)
        return sock

    transport = HttpTransport(
        url,
        tls,
        token,
        open_socket,
        request_timeout=times.request_timeout,
        connect_timeout=times.connect_timeout,
        limit=2 * PARALLEL_REQUESTS,
        user_agent=user_agent(program),
    )
    return Client(transport)


class HostedNode:
    """Everything of one node."""

    def __init__(
        self,
        node: NodeConfig,
        agent: AgentConfig,
        runtime: Runtime,
        thread: NetworkThread,
        heart: HeartThread,
        faults: NodeFaults,
    ) -> None:
        self.config, self.agent = node, agent
        self.network = NodeNetwork(node.netns, thread)
        times = timing(agent.upstream_timing)
        self.client = node_client("kubelet", node.kubeconfig, self.network, times)
        self.overlay_client = node_client("flanneld", node.overlay_kubeconfig or node.kubeconfig, self.network, times)
        self.proxy_client = node_client("kube-proxy", node.proxy_kubeconfig or node.kubeconfig, self.network, times)
        self.policy_client = node_client(
            "kube-network-policies", node.policy_kubeconfig or node.kubeconfig, self.network, times
        )
        self.recorder = EventRecorder(self.client, "kubelet", host=node.name)
        self.context = NodeContext(
            config=node,
            agent=agent,
            timing=times,
            client=self.client,
            recorder=self.recorder,
            runtime=runtime,
            wiring=self.network,
            sockets=self.network,
            pod_sockets=PodSockets,
            clock=faults.clock(node.name),
        )
        # a kubelet may not list all nodes: it looks at its own through the overlay's watch, which is there anyway
        self.nodes = Informer(self.overlay_client, NODES, timing=times)
        lease_client = node_client("kubelet", node.kubeconfig, self.network, times)
        self.registration = Registration(self.context, flannel_annotations(node, agent.overlay), heart, lease_client)
        self.overlay = Overlay(node, agent, self.network, times.overlay_resync, self._network_ready, faults)
        self.kubelet = Kubelet(self.context, self.nodes)
        self._kubelet_started = asyncio.Event()

    def _network_ready(self, net: NodeNet) -> None:
        for uid, ips in self.kubelet.adopted():
            self.network.adopt(uid, ips)
        self.kubelet.network_ready([one.pod_cidr for one in net.families])
        self.registration.network_up()

    async def run(self, start_proxy: StartProxy | None, listening: Callable[[], None]) -> None:
        """Until cancelled."""
        from netlab.node.kubelet.server import KubeletServer

        server = KubeletServer(self.context, self.kubelet)
        await server.start()
        listening()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._kubelet())
                group.create_task(self._register())
                if start_proxy is not None:
                    group.create_task(_keep(f"proxy of {self.config.name}", _proxy(start_proxy), self))
                group.create_task(_keep(f"network policies of {self.config.name}", _enforce, self))
                if self.agent.load_balancer:
                    group.create_task(_keep(f"announcer of {self.config.name}", _announce, self))
        finally:
            await server.close()
            await self.close()

    async def _kubelet(self) -> None:
        await self.kubelet.start()
        self._kubelet_started.set()

    async def _register(self) -> None:
        self.overlay.watch(self.nodes)
        self.nodes.add_handler(self.registration.seen, lambda _, new: self.registration.seen(new))
        self.nodes.start()
        await self.registration.register()
        await self._kubelet_started.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.registration.run())
            group.create_task(self.overlay.run())

    async def close(self) -> None:
        """Let go of everything; pods and network stay as they are."""
        await self.kubelet.close()
        await self.nodes.stop()
        await self.recorder.close()
        for client in (self.client, self.overlay_client, self.proxy_client, self.policy_client):
            await client.close()
        self.network.close()


def _proxy(start_proxy: StartProxy) -> Callable[[HostedNode], Awaitable[None]]:
    return lambda node: start_proxy(node.config, node.agent, node.proxy_client)


async def _announce(node: HostedNode) -> None:
    """Answers for load balancers' addresses, once the node has started."""
    from netlab.kernel import netns
    from netlab.node.loadbalancer import Announcer

    await node.nodes.wait_synced()
    name = node.config.netns
    await Announcer(
        node.config.name, node.agent.load_balancer, node.proxy_client, node.nodes, lambda: netns.open(name)
    ).run()


async def _enforce(node: HostedNode) -> None:
    """NetworkPolicies, once the node has started."""
    from netlab.kernel import netns
    from netlab.node.policies import PolicyAgent

    await node.nodes.wait_synced()
    remembered = POLICIES / node.config.name
    ns = netns.open(node.config.netns)
    await PolicyAgent(node.config.name, node.policy_client, ns, node.context.timing, remembered).run()


async def _keep(what: str, start: Callable[[HostedNode], Awaitable[None]], node: HostedNode) -> None:
    """Run a part of the node for ever: a crash is logged and it is started again."""
    while True:
        try:
            await start(node)
        except Exception:
            log.exception("%s", what)
        await asyncio.sleep(0.5)


async def _powered(
    name: str,
    start: Callable[[], HostedNode],
    faults: NodeFaults,
    start_proxy: StartProxy | None,
    listening: Callable[[], None],
) -> None:
    """Host a node while it is on; without its last words when it goes off."""
    if faults.of(name).off:
        listening()
    while True:
        await faults.until_off(name, False)
        faults.acknowledge(name)
        running = asyncio.create_task(start().run(start_proxy, listening))
        off = asyncio.create_task(faults.until_off(name, True))
        try:
            await asyncio.wait((running, off), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
                return
        finally:
            off.cancel()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        faults.acknowledge(name)


async def run_agent(
    config: AgentConfig,
    runtime: Runtime,
    *,
    ready: Callable[[], None] = lambda: None,
    start_proxy: StartProxy | None = None,
    faults: NodeFaults | None = None,
) -> None:
    """Host every node of `config` until cancelled; `ready` is called once all kubelet listeners are open.

    Idempotent: a new agent adopts the pods its runtime still lists, and the network it finds. A node that `faults` says
    is off is not hosted until it is on.
    """
    thread, heart = NetworkThread(), HeartThread()
    faults = faults or NodeFaults([node.name for node in config.nodes])
    waiting = len(config.nodes)

    def listening() -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            ready()

    try:
        async with asyncio.TaskGroup() as group:
            for node in config.nodes:
                start = partial(HostedNode, node, config, runtime, thread, heart, faults)
                group.create_task(_powered(node.name, start, faults, start_proxy, listening))
    finally:
        heart.close()
        thread.close()
