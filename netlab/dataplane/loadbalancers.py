"""Which node answers for a load balancer's address. Pure; every node computes it by itself, and all come to the same.

As MetalLB's layer-2 speaker (speaker/layer2_controller.go, ShouldAnnounce): among the nodes that may, the first by
SHA-256 of "node#address". So a node that leaves only moves its own addresses, and gets the same ones back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from netlab.api.types import Obj

EXCLUDE = "node.kubernetes.io/exclude-from-external-load-balancers"


def usable(node: Obj) -> bool:
    """Ready, with a network, not excluded by upstream's label, and not about to go."""
    if EXCLUDE in (node["metadata"].get("labels") or {}):
        return False
    found = {one["type"]: one.get("status") for one in (node.get("status") or {}).get("conditions") or ()}
    return found.get("Ready") == "True" and found.get("NetworkUnavailable") != "True"


def serving_nodes(slices: Iterable[Obj]) -> tuple[bool, set[str]]:
    """(whether any endpoint is there, the nodes that have one): ready ones, or where there are none, terminating ones
    that still serve, as kube-proxy falls back."""
    ready, ending = [], []
    for one in slices:
        for endpoint in one.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            if conditions.get("ready") is not False:
                ready.append(endpoint)
            elif conditions.get("serving") and conditions.get("terminating"):
                ending.append(endpoint)
    chosen = ready or ending
    return bool(chosen), {endpoint["nodeName"] for endpoint in chosen if endpoint.get("nodeName")}


def candidates(service: Obj, slices: Sequence[Obj], nodes: Iterable[Obj]) -> list[str]:
    """The nodes that may answer for this Service's addresses; none while it has no endpoint."""
    there, having = serving_nodes(slices)
    if not there:
        return []
    able = [node["metadata"]["name"] for node in nodes if usable(node)]
    if service["spec"].get("externalTrafficPolicy") == "Local":
        return [name for name in able if name in having]
    return able


def leader(address: str, names: Iterable[str]) -> str | None:
    """The node that answers for the address."""
    return min(names, key=lambda name: hashlib.sha256(f"{name}#{address}".encode()).digest(), default=None)


def vip_addresses(service: Obj) -> Iterator[str]:
    """The addresses in the status that nodes answer themselves."""
    for entry in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
        if entry.get("ip") and (entry.get("ipMode") or "VIP") == "VIP":
            yield entry["ip"]


def announced_by(
    node: str,
    services: Iterable[Obj],
    slices: Mapping[str, Sequence[Obj]],
    nodes: Mapping[str, Sequence[Obj]],
) -> dict[str, str]:
    """What one node announces: address → "namespace/name" of its Service.

    `slices`: by the Service's key. `nodes`: by address, those that are on the address' segment; an address that is not
    among the keys is on no segment of the underlay.
    """
    found: dict[str, str] = {}
    for service in services:
        key = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
        if service["spec"].get("type") != "LoadBalancer":
            continue
        for address in vip_addresses(service):
            names = candidates(service, slices.get(key, ()), nodes.get(address, ()))
            if leader(address, names) == node:
                found[address] = key
    return found
