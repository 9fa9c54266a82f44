"""The cluster's own add-ons: applied once it answers, as kubeadm would, and waited for.

An object that exists is left as it is: the user may have changed it, and it must survive the next `klab up`.
"""

from __future__ import annotations

import asyncio
from importlib import resources as files
from string import Template

from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.transport import TransportError
from netlab.lab.bus import report
from netlab.manifests import in_apply_order, parse
from netlab.topology.model import Topology


def manifests(topology: Topology) -> list[Obj]:
    """The add-ons' objects for this cluster, in apply order."""
    text = (files.files("netlab.lab") / "manifests" / "coredns.yaml").read_text()
    cluster = topology.cluster
    filled = Template(text).safe_substitute(dns_domain=cluster.dns_domain, dns_ip=cluster.dns_ip)
    return in_apply_order(parse(filled, "coredns.yaml"))


async def settle(client: Client, topology: Topology) -> None:
    """Apply the add-ons, then report `nodes` and `addons` to labd as they become ready."""
    await asyncio.gather(_apply_all(client, topology), _nodes_ready(client, topology), _dns_available(client))
    await client.transport.close()


async def _apply_all(client: Client, topology: Topology) -> None:
    for obj in manifests(topology):
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


_PLURALS = {
    "ServiceAccount": "serviceaccounts",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "ConfigMap": "configmaps",
    "Service": "services",
    "Deployment": "deployments",
}


async def _nodes_ready(client: Client, topology: Topology) -> None:
    from netlab.client.informer import Informer

    wanted = {node.name for node in topology.nodes}
    done = asyncio.Event()

    def look(*_: Obj) -> None:
        ready = {node["metadata"]["name"] for node in nodes.store.values() if condition(node, "Ready")}
        if wanted <= ready:
            done.set()

    nodes = Informer(client, ("v1", "nodes"))
    nodes.add_handler(on_add=look, on_update=look)
    nodes.start()
    await done.wait()
    await report("nodes", "ready", detail=f"{len(wanted)} nodes")
    await nodes.stop()


async def _dns_available(client: Client) -> None:
    from netlab.client.informer import Informer

    done = asyncio.Event()

    def look(*_: Obj) -> None:
        for deployment in deployments.store.values():
            if deployment["metadata"]["name"] == "coredns" and condition(deployment, "Available"):
                done.set()

    deployments = Informer(client, ("apps/v1", "deployments"), namespace="kube-system")
    deployments.add_handler(on_add=look, on_update=look)
    deployments.start()
    await done.wait()
    await report("addons", "ready")
    await deployments.stop()


def condition(obj: Obj, kind: str) -> bool:
    """Whether the condition of that type is "True"."""
    return any(
        entry.get("type") == kind and entry.get("status") == "True"
        for entry in obj.get("status", {}).get("conditions", [])
    )
