"""Overlay and pod wiring on the real kernel: nodes on one segment, an API in memory, packets across."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address
from typing import Any

from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.client.informer import Informer
from netlab.client.kinds import NODES
from netlab.dataplane.model import Address, Link, NodeState, Plan
from netlab.dataplane.nodes import NodeNet
from netlab.kernel import netns
from netlab.kernel.apply import apply
from netlab.node.config import AgentConfig, NodeConfig
from netlab.node.network import NetworkThread, NodeNetwork, PodSockets, namespace_of
from netlab.node.overlay import Overlay, flannel_annotations


def build_underlay(names: list[str]) -> None:
    """Nodes 192.168.0.2, .3 … joined by a bridge in a namespace of its own."""
    switch = netns.create("switch")
    apply(switch, Plan.adding((Link("sw", "bridge"),), "test"))
    for index, name in enumerate(names):
        node = netns.create(name)
        apply(switch, Plan.adding((Link(f"p{index}", "veth", master="sw", peer=(name, "eth0")),), "test"))
        state = NodeState(
            links=(Link("lo", "loopback"), Link("eth0", "veth")),
            addresses=(Address("eth0", f"192.168.0.{index + 2}/24"),),
        )
        steps = [*(step_up(link) for link in state.links), *Plan.adding(state.addresses, "test").steps]
        apply(node, Plan(tuple(steps)))


def step_up(link: Link) -> Any:
    from dataclasses import replace

    from netlab.dataplane.model import Step

    return Step("change", link, "up", old=replace(link, up=False))


def node_config(index: int) -> NodeConfig:
    name = f"n{index}"
    return NodeConfig(name, f"192.168.0.{index + 1}", name, "", "", "", "")


def node_object(config: NodeConfig, cidr: str, backend: str = "vxlan") -> dict[str, Any]:
    meta = {"name": config.name, "annotations": flannel_annotations(config, backend)}
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": {"podCIDR": cidr}}


class Hosted:
    """One node's overlay and wiring."""

    def __init__(self, api: FakeApi, config: NodeConfig, agent: AgentConfig, thread: NetworkThread) -> None:
        self.config = config
        self.network = NodeNetwork(config.netns, thread)
        self.nodes = Informer(Client(api), NODES)
        self.ready: asyncio.Future[NodeNet] = asyncio.get_running_loop().create_future()
        self.overlay = Overlay(config, agent, self.network, 0.3, self.ready.set_result)
        self.overlay.watch(self.nodes)
        self.nodes.start()
        self.task = asyncio.create_task(self.overlay.run())

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.nodes.stop()
        self.network.close()


async def echo_between(uid_a: str, uid_b: str, ip_b: str) -> str:
    """Send a datagram from pod a to pod b; the source address that b sees."""
    server = PodSockets(f"/run/netns/{namespace_of(uid_b)}").socket(socket.AF_INET, socket.SOCK_DGRAM)
    client = PodSockets(f"/run/netns/{namespace_of(uid_a)}").socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client:
        server.bind((ip_b, 5000))
        server.setblocking(False)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        for _ in range(20):
            await loop.sock_sendto(client, b"hello", (ip_b, 5000))
            try:
                async with asyncio.timeout(0.5):
                    _, source = await loop.sock_recvfrom(server, 100)
                    return str(source[0])
            except TimeoutError:
                continue
    raise AssertionError("no answer")


async def run_overlay(backend: str) -> None:
    await asyncio.to_thread(build_underlay, ["n1", "n2", "n3"])
    api, thread = FakeApi(), NetworkThread()
    configs = [node_config(1), node_config(2), node_config(3)]
    agent = AgentConfig(tuple(configs), "/tmp/none", overlay=backend)
    hosted = [Hosted(api, config, agent, thread) for config in configs]
    try:
        for index, config in enumerate(configs[:2], 1):
            api.add(node_object(config, f"10.244.{index}.0/24", backend))
        for node in hosted[:2]:
            await asyncio.wait_for(node.ready, 10)
        one, two = hosted[0].network, hosted[1].network
        await asyncio.gather(
            one.attach("aaaa-1", "10.244.1.2"), one.attach("aaaa-2", "10.244.1.3"), two.attach("bbbb-1", "10.244.2.2")
        )
        assert await echo_between("aaaa-1", "aaaa-2", "10.244.1.3") == "10.244.1.2"
        assert await echo_between("aaaa-1", "bbbb-1", "10.244.2.2") == "10.244.1.2"
        # a node joins: everybody learns of it
        api.add(node_object(configs[2], "10.244.3.0/24", backend))
        await asyncio.wait_for(hosted[2].ready, 10)
        await hosted[2].network.attach("cccc-1", "10.244.3.2")
        assert await echo_between("aaaa-1", "cccc-1", "10.244.3.2") == "10.244.1.2"
        # a node leaves: its route goes
        api.remove(NODES, "n3")

        state = await one.observe()
        assert IPv4Address(hosted[0].overlay._own.gateway)  # type: ignore[union-attr]
        for _ in range(100):
            state = await one.observe()
            if not any(route.dst == "10.244.3.0/24" for route in state.routes):
                break
            await asyncio.sleep(0.05)
        assert not any(route.dst == "10.244.3.0/24" for route in state.routes)
        # a pod that goes takes its interface along, and can come again
        await one.detach("aaaa-2")
        assert namespace_of("aaaa-2") not in netns.names()
        await one.attach("aaaa-2", "10.244.1.4")
        assert await echo_between("bbbb-1", "aaaa-2", "10.244.1.4") == "10.244.2.2"
        # what somebody deleted comes back
        if backend == "vxlan":
            from netlab.dataplane.model import Step

            link = (await one.observe()).link("flannel.1")
            assert link is not None
            await one.apply(Plan((Step("del", link, "test"),)))
            assert await echo_between("bbbb-1", "aaaa-2", "10.244.1.4") == "10.244.2.2"
    finally:
        for node in hosted:
            await node.close()
        thread.close()


async def test_vxlan_pods_reach_each_other_as_nodes_join_and_leave(sandbox: object) -> None:
    await run_overlay("vxlan")


async def test_host_gw_pods_reach_each_other_as_nodes_join_and_leave(sandbox: object) -> None:
    await run_overlay("host-gw")


async def test_a_second_agent_finds_nothing_to_change(sandbox: object) -> None:
    await asyncio.to_thread(build_underlay, ["n1", "n2"])
    api, thread = FakeApi(), NetworkThread()
    configs = [node_config(1), node_config(2)]
    agent = AgentConfig(tuple(configs), "/tmp/none")
    for index, config in enumerate(configs, 1):
        api.add(node_object(config, f"10.244.{index}.0/24"))
    first = Hosted(api, configs[0], agent, thread)
    await asyncio.wait_for(first.ready, 10)
    await first.network.attach("aaaa-1", "10.244.1.2")
    await eventually(lambda: bool(first.overlay._applied), "applied")
    await first.close()
    second = Hosted(api, configs[0], agent, thread)
    applied: list[Plan] = []
    keep = second.network.apply

    async def spy(plan: Plan) -> None:
        applied.append(plan)
        await keep(plan)

    second.network.apply = spy  # type: ignore[method-assign]
    try:
        await asyncio.wait_for(second.ready, 10)
        assert not [str(plan) for plan in applied]
        second.network.adopt("aaaa-1", "10.244.1.2")
        await second.network.detach("aaaa-1")
        assert namespace_of("aaaa-1") not in netns.names()
    finally:
        await second.close()
        thread.close()
