"""Wires one agent process: its share of the nodes, the runtime, the kernel, and the proxy of each node."""

from __future__ import annotations

from dataclasses import replace

from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.lab.components import announce, component_kubeconfig, node_kubeconfig, share
from netlab.node.agent import run_agent
from netlab.node.config import AgentConfig, NodeConfig
from netlab.node.proxy import start_proxy
from netlab.sandbox.paths import LabPaths
from netlab.topology.model import Node, Taint, Topology

CONTROL_PLANE_TAINT: Obj = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


def agent_config(
    paths: LabPaths, topology: Topology, index: int, agents: int, upstream_timing: bool = False
) -> AgentConfig:
    """What the `index`-th of `agents` processes is told."""
    cluster = topology.cluster
    return AgentConfig(
        nodes=tuple(node_config(paths, topology, node) for node in share(topology.nodes, index, agents)),
        pods_dir=str(paths.pods),
        cluster_name=topology.name,
        cluster_cidr=cluster.pod_cidr,
        service_cidr=cluster.service_cidr,
        dns_ip=cluster.dns_ip,
        dns_domain=cluster.dns_domain,
        overlay=cluster.overlay,
        proxy_mode=cluster.proxy_mode,
        upstream_timing=upstream_timing,
    )


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
    )


def _taint(taint: Taint) -> Obj:
    entry: Obj = {"key": taint.key, "effect": taint.effect}
    return {**entry, "value": taint.value} if taint.value else entry


async def run_node_agents(paths: LabPaths, topology: Topology, index: int, agents: int, upstream_timing: bool) -> None:
    """The agent component: until cancelled."""
    from netlab.runtime.real import SandboxRuntime

    modes = {node.name: node.proxy_mode or topology.cluster.proxy_mode for node in topology.nodes}

    async def proxy(node: NodeConfig, agent: AgentConfig, client: Client) -> None:
        await start_proxy(node, replace(agent, proxy_mode=modes[node.name]), client)

    from netlab.client.watch import share_decoding

    share_decoding()  # its nodes watch the same collections
    config = agent_config(paths, topology, index, agents, upstream_timing)
    runtime = await SandboxRuntime.connect(nodes=[node.name for node in config.nodes])
    try:
        await run_agent(config, runtime, ready=announce(f"agent-{index}"), start_proxy=proxy)
    finally:
        await runtime.close()
