"""Wires one agent process: its share of the nodes, the runtime, the kernel, and the proxy of each node."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from ipaddress import ip_network

from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.lab import proxymodes
from netlab.lab.addons import NODE_LOCAL_DNS
from netlab.lab.components import announce, component_kubeconfig, node_kubeconfig, resolvers, share
from netlab.node.agent import run_agent
from netlab.node.config import AgentConfig, NodeConfig
from netlab.node.proxy import start_proxy
from netlab.node.proxy_backend import IpvsOptions
from netlab.node.told import NodeFaults
from netlab.sandbox.paths import LabPaths
from netlab.topology.model import Node, Taint, Topology, family_of
from netlab.topology.pool import AddressRange

CONTROL_PLANE_TAINT: Obj = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


def agent_config(
    paths: LabPaths, topology: Topology, index: int, agents: int, upstream_timing: bool = False
) -> AgentConfig:
    """What the `index`-th of `agents` processes is told."""
    cluster = topology.cluster
    return AgentConfig(
        nodes=tuple(node_config(paths, topology, node) for node in share(topology.nodes, index, agents)),
        pods_dir=str(paths.pods),
        disks_dir=str(paths.disks),
        cluster_name=topology.name,
        cluster_cidr=cluster.pod_cidr,
        service_cidr=cluster.service_cidr,
        dns_ip=NODE_LOCAL_DNS if cluster.node_local_dns and cluster.proxy_mode == "ipvs" else cluster.dns_ip,
        dns_domain=cluster.dns_domain,
        overlay=cluster.overlay,
        proxy_mode=cluster.proxy_mode,
        upstream_timing=upstream_timing,
        load_balancer=pools(topology),
        resolv_conf=resolv_conf(topology),
    )


def pools(topology: Topology) -> tuple[Obj, ...]:
    """The pool of LoadBalancer addresses as agents are told of it."""
    found: list[Obj] = []
    names = {node.name for node in topology.nodes}
    for text in topology.cluster.load_balancer_pool:
        first = AddressRange.parse(text).first
        for segment in topology.segments:
            subnet = segment.subnet_of(family_of(str(first)))
            if subnet and first in ip_network(subnet):
                near = {end.node: end.interface for end in segment.attachments if end.node in names}
                found.append({"range": text, "interfaces": near})
    return tuple(found)


def resolv_conf(topology: Topology) -> str:
    """What the nodes' own resolv.conf says: the topology's resolvers. The machine's own would not be reached."""
    return "".join(f"nameserver {topology.node_ip(host.name)}\n" for host in resolvers(topology))


def node_config(paths: LabPaths, topology: Topology, node: Node) -> NodeConfig:
    """One node of the topology as its agent sees it."""
    interface = topology.underlay_if(node.name)
    mtu = next(
        link.mtu for link in topology.links for end in link.ends if (end.node, end.interface) == (node.name, interface)
    )
    serving = paths.pki / f"kubelet-{node.name}-serving"
    return NodeConfig(
        name=node.name,
        ip=topology.node_ip(node.name),
        second_ip=next(iter(topology.node_ips(node.name)[1:]), ""),
        netns=node.name,
        kubeconfig=str(node_kubeconfig(paths, node.name)),
        serving_cert=str(serving.with_name(serving.name + ".crt")),
        serving_key=str(serving.with_name(serving.name + ".key")),
        client_ca=str(paths.pki / "ca.crt"),
        interface=interface,
        mtu=mtu,
        control_plane=node.role == "control-plane",
        labels=dict(node.labels),
        taints=tuple(_taint(taint) for taint in node.taints),
        capacity={"cpu": node.capacity.cpu, "memory": node.capacity.memory, "pods": str(node.capacity.pods)},
        unschedulable=node.unschedulable,
        overlay_kubeconfig=str(component_kubeconfig(paths, "flannel")),
        proxy_kubeconfig=str(component_kubeconfig(paths, "kube-proxy")),
        policy_kubeconfig=str(component_kubeconfig(paths, "kube-network-policies")),
    )


def _taint(taint: Taint) -> Obj:
    entry: Obj = {"key": taint.key, "effect": taint.effect}
    return {**entry, "value": taint.value} if taint.value else entry


class ProxySwitches:
    """The proxies of one agent's nodes, each in the mode that is chosen for it; looks again when told to."""

    def __init__(self, paths: LabPaths, topology: Topology, nodes: Iterable[str], written: Callable[[], None]) -> None:
        """`written` is called when the proxies of all `nodes`, this agent's, have written their rules once."""
        self._paths, self._topology = paths, topology
        self._unwritten = set(nodes)
        self._written = written
        self._chosen = proxymodes.chosen(paths.state, topology)
        self._changed: dict[str, asyncio.Event] = {}
        self._epochs: dict[str, int] = {}

    def again(self, faults: NodeFaults) -> None:
        """Proxies that are told to write everything again begin anew. To be called before `look`."""
        for name in self._chosen:
            self._epochs[name] = faults.of(name).proxy

    def look(self) -> None:
        """The choice may have changed."""
        self._chosen = proxymodes.chosen(self._paths.state, self._topology)
        for event in self._changed.values():
            event.set()

    async def run(self, node: NodeConfig, agent: AgentConfig, client: Client) -> None:
        """One node's proxy, until cancelled; raises what it raises."""
        changed = self._changed.setdefault(node.name, asyncio.Event())
        while True:
            changed.clear()
            choice = self._chosen[node.name]
            last = proxymodes.last_choice(node.name)
            switching = last is not None and last.mode != choice.mode
            # As long as the switch is not done the report names the mode of before: a new agent would begin it again.
            if not switching:
                proxymodes.report(node.name, choice, "starting")
            task = asyncio.create_task(
                start_proxy(
                    node,
                    replace(agent, proxy_mode=choice.mode),
                    client,
                    ipvs=IpvsOptions(choice.scheduler, choice.strict_arp),
                    switching=switching,
                    ready=partial(self._ready, node.name, choice),
                )
            )
            await self._until_changed(node.name, task, choice)

    def _ready(self, node: str, choice: proxymodes.ProxyChoice) -> None:
        proxymodes.report(node, choice, "ready")
        if node in self._unwritten:
            self._unwritten.discard(node)
            if not self._unwritten:
                self._written()

    async def _until_changed(self, name: str, task: asyncio.Task[None], choice: proxymodes.ProxyChoice) -> None:
        epoch = self._epochs.get(name, 0)
        try:
            while not task.done() and self._chosen[name] == choice and self._epochs.get(name, 0) == epoch:
                waiting = asyncio.create_task(self._changed[name].wait())
                await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                self._changed[name].clear()
            if task.done():
                task.result()
        except Exception as error:
            proxymodes.report(name, choice, "failed", _first_words(error))
            raise
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _first_words(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__


async def run_node_agents(paths: LabPaths, topology: Topology, index: int, agents: int, upstream_timing: bool) -> None:
    """The agent component: until cancelled."""
    from netlab.runtime.real import SandboxRuntime

    config = agent_config(paths, topology, index, agents, upstream_timing)
    names = [node.name for node in config.nodes]
    switches = ProxySwitches(paths, topology, names, announce(f"proxies-{index}"))

    async def proxy(node: NodeConfig, agent: AgentConfig, client: Client) -> None:
        await switches.run(node, agent, client)

    from netlab.client.watch import share_decoding

    share_decoding()  # its nodes watch the same collections
    faults = NodeFaults(names)
    switches.again(faults)

    def look() -> None:
        faults.look()
        switches.again(faults)
        switches.look()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, look)
    runtime = await SandboxRuntime.connect(nodes=names)
    try:
        ready = announce(f"agent-{index}")
        await run_agent(config, runtime, ready=ready, start_proxy=proxy, faults=faults)
    finally:
        await runtime.close()
