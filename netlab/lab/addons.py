"""The cluster's own add-ons: applied once it answers, as kubeadm would, and waited for.

An object that exists is left as it is: the user may have changed it, and it must survive the next `klab up`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import resources as files
from string import Template

from netlab.api.errors import StatusError
from netlab.api.kubelet_labels import kubelet_may_set
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.transport import TransportError
from netlab.lab.bus import report
from netlab.manifests import in_apply_order, parse
from netlab.topology.model import Node, Topology


def manifests(topology: Topology) -> list[Obj]:
    """The add-ons' objects for this cluster, in apply order."""
    text = (files.files("netlab.lab") / "manifests" / "coredns.yaml").read_text()
    cluster = topology.cluster
    filled = Template(text).safe_substitute(dns_domain=cluster.dns_domain, dns_ip=cluster.dns_ip)
    objects = list(parse(filled, "coredns.yaml"))
    return in_apply_order([*objects, *node_local_dns(topology), *storage_classes()])


def storage_classes() -> list[Obj]:
    """The default class, as kind has it, and one on a file system that all nodes have in common."""
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    modes = {"standard": "WaitForFirstConsumer", "shared": "Immediate"}
    return [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name, "annotations": default if name == "standard" else {}},
            "provisioner": "rancher.io/local-path",
            "reclaimPolicy": "Delete",
            "volumeBindingMode": mode,
        }
        for name, mode in modes.items()
    ]


def node_local_dns(topology: Topology) -> list[Obj]:
    """NodeLocal DNSCache, where the topology has it on. It takes the cluster DNS' own address too, so that pods need
    not know; not with IPVS, which has that address on an interface of its own (there the kubelet tells pods)."""
    cluster = topology.cluster
    if not cluster.node_local_dns:
        return []
    local = [NODE_LOCAL_DNS] if cluster.proxy_mode == "ipvs" else [NODE_LOCAL_DNS, cluster.dns_ip]
    text = (files.files("netlab.lab") / "manifests" / "nodelocaldns.yaml").read_text()
    filled = Template(text).safe_substitute(
        dns_domain=cluster.dns_domain, local_ips=" ".join(local), local_list=",".join(local)
    )
    return list(parse(filled, "nodelocaldns.yaml"))


def metrics_server(topology: Topology, resolution: float) -> list[Obj]:
    """The metrics server's objects. Its period grows with the number of nodes: a scrape costs each of them."""
    text = (files.files("netlab.lab") / "manifests" / "metrics-server.yaml").read_text()
    seconds = max(resolution, len(topology.nodes) * METRICS_PER_NODE)
    filled = Template(text).safe_substitute(metric_resolution=f"{seconds:g}s")
    return in_apply_order(parse(filled, "metrics-server.yaml"))


METRICS_PER_NODE = 0.1
"""Seconds between two scrapes for every node of the cluster, where that is more than the usual period."""


AFTER_ALL_ELSE = 1.5
"""Seconds from a lab's readiness to the start of what its first user need not wait for."""


async def settle(
    client: Client, topology: Topology, *, without: Sequence[str] = (), metrics_resolution: float = 15.0
) -> None:
    """Apply the add-ons, then report `nodes` and `addons` to labd as they become ready.

    Of a lab `without` a scheduler or controllers nothing becomes ready by itself: it is reported once it could. So it
    is where the overlay or a node's proxy is the user's own: DNS answers when these run.
    """
    tasks = [_apply_all(client, manifests(topology)), _nodes_ready(client, topology), _dns_available(client, topology)]
    if {"scheduler", "controller-manager"} & {*without} or _left_to_others(topology):
        tasks.append(_registered(client, topology, nodes="controller-manager" in without))
    await asyncio.gather(*tasks)
    if "metrics-server" not in without:
        await asyncio.sleep(AFTER_ALL_ELSE)  # nobody waits for it, and the first pods should not have to
        await _apply_all(client, metrics_server(topology, metrics_resolution))
    await client.transport.close()


def _left_to_others(topology: Topology) -> bool:
    cluster = topology.cluster
    modes = {node.proxy_mode or cluster.proxy_mode for node in topology.nodes}
    return cluster.overlay == "external" or bool(modes & {"external", "none"})


async def _registered(client: Client, topology: Topology, *, nodes: bool) -> None:
    """Report `addons` once all nodes are registered, and `nodes` too where nobody makes them ready."""
    wanted = {node.name for node in topology.nodes}
    while True:
        try:
            found = {node["metadata"]["name"] for node in (await client.list(("v1", "nodes")))["items"]}
        except (TransportError, StatusError):
            found = set()
        if wanted <= found:
            break
        await asyncio.sleep(0.2)
    if nodes:
        await report("nodes", "ready", detail=f"{len(wanted)} nodes, registered")
    await report("addons", "ready")


async def _apply_all(client: Client, objects: Sequence[Obj]) -> None:
    for obj in objects:
        await _ensure(client, obj)


async def _ensure(client: Client, obj: Obj) -> None:
    """Create the object unless it exists; the API server may just be starting again, so try until it answers."""
    resource, metadata = (obj["apiVersion"], _PLURALS[obj["kind"]]), obj["metadata"]
    while True:
        try:
            await client.get(resource, metadata["name"], metadata.get("namespace"))
            return
        except TransportError:
            await asyncio.sleep(0.2)
        except StatusError as error:
            if error.code != 404:
                raise
            await client.create(resource, obj, metadata.get("namespace"))
            return


NODE_LOCAL_DNS = "169.254.20.10"

_PLURALS = {
    "DaemonSet": "daemonsets",
    "ServiceAccount": "serviceaccounts",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "RoleBinding": "rolebindings",
    "APIService": "apiservices",
    "ConfigMap": "configmaps",
    "Service": "services",
    "Deployment": "deployments",
    "StorageClass": "storageclasses",
}


def administrative_labels(node: Node) -> dict[str, str]:
    """PURE. The labels of a node that its kubelet may not set itself: kubeadm's, and such ones of the topology."""
    role = {"node-role.kubernetes.io/control-plane": ""} if node.role == "control-plane" else {}
    return {**role, **{key: value for key, value in dict(node.labels).items() if not kubelet_may_set(key)}}


def _settled(node: Obj, labels: dict[str, str]) -> bool:
    return condition(node, "Ready") and labels.items() <= (node["metadata"].get("labels") or {}).items()


async def _label(client: Client, name: str, labels: dict[str, str]) -> None:
    """Put the labels on a node; the API server may just be starting again, so try until it answers."""
    while True:
        try:
            await client.patch(("v1", "nodes"), name, {"metadata": {"labels": labels}}, patch_type="merge")
            return
        except TransportError:
            await asyncio.sleep(0.2)
        except StatusError as error:
            if error.code != 404:
                raise
            return


async def _nodes_ready(client: Client, topology: Topology) -> None:
    from netlab.client.informer import Informer

    wanted = {node.name: administrative_labels(node) for node in topology.nodes}
    labelling: dict[str, asyncio.Task[None]] = {}
    done = asyncio.Event()

    def look(*seen: Obj) -> None:
        name, labels = seen[-1]["metadata"]["name"], seen[-1]["metadata"].get("labels") or {}
        if name not in labelling and not wanted.get(name, {}).items() <= labels.items():
            labelling[name] = asyncio.create_task(_label(client, name, wanted[name]))
        if all(node in nodes.store and _settled(nodes.store[node], labels) for node, labels in wanted.items()):
            done.set()

    nodes = Informer(client, ("v1", "nodes"))
    nodes.add_handler(on_add=look, on_update=look)
    nodes.start()
    await done.wait()
    await report("nodes", "ready", detail=f"{len(wanted)} nodes")
    await nodes.stop()


async def _dns_available(client: Client, topology: Topology) -> None:
    from netlab.client.informer import Informer
    from netlab.lab.firstanswer import dns_answers

    done = asyncio.Event()

    def look(*_: Obj) -> None:
        for deployment in deployments.store.values():
            if deployment["metadata"]["name"] == "coredns" and condition(deployment, "Available"):
                done.set()

    deployments = Informer(client, ("apps/v1", "deployments"), namespace="kube-system")
    deployments.add_handler(on_add=look, on_update=look)
    deployments.start()
    await done.wait()
    await dns_answers(topology)
    await report("addons", "ready")
    await deployments.stop()


def condition(obj: Obj, kind: str) -> bool:
    """Whether the condition of that type is "True"."""
    return any(
        entry.get("type") == kind and entry.get("status") == "True"
        for entry in obj.get("status", {}).get("conditions", [])
    )
