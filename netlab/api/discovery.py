"""Discovery documents, legacy and aggregated, from the registry.

Shapes: apimachinery meta/v1 (APIVersions, APIGroupList, APIResourceList) and KEP-3352 (apidiscovery.k8s.io).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from netlab.api.resources import Registry, Resource, Subresource
from netlab.api.types import Obj

LEGACY = "application/json"
AGGREGATED_V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
AGGREGATED_V2BETA1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"


def api_versions(server_address: str) -> Obj:
    """`/api`; `server_address` is `host:port` as clients inside the cluster reach it."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    }


def api_group_list(registry: Registry) -> Obj:
    """`/apis`."""
    groups = [_group(group, versions) for group, versions in registry.groups() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_group(registry: Registry, group: str) -> Obj | None:
    """`/apis/<group>`; None where nothing is served in the group."""
    versions = dict(registry.groups()).get(group)
    if not group or versions is None:
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, versions)}


def _group(group: str, versions: tuple[str, ...]) -> Obj:
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def api_resource_list(registry: Registry, group: str, version: str) -> Obj | None:
    """`/api/v1` and `/apis/<group>/<version>`; None where nothing is served there."""
    resources = registry.in_version(group, version)
    if not resources:
        return None
    listed: list[Obj] = []
    for resource in resources:
        listed.append(_legacy(resource))
        listed.extend(_legacy_subresource(resource, sub) for sub in resource.subresources)
    document: Obj = {"kind": "APIResourceList"}
    if group:
        document["apiVersion"] = "v1"
    return {
        **document,
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": sorted(listed, key=lambda entry: entry["name"]),
    }


def _legacy(resource: Resource) -> Obj:
    entry: Obj = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.stored:
        entry["storageVersionHash"] = storage_version_hash(resource.group, resource.version, resource.kind)
    return entry


def _legacy_subresource(resource: Resource, sub: Subresource) -> Obj:
    entry: Obj = {
        "name": f"{resource.plural}/{sub.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
    }
    if (sub.group, sub.version) != (resource.group, resource.version):
        entry |= {"group": sub.group, "version": sub.version}
    return {**entry, "kind": sub.kind, "verbs": list(sub.verbs)}


def storage_version_hash(group: str, version: str, kind: str) -> str:
    """Upstream's opaque mark of the version that is stored (apiserver pkg/endpoints/discovery)."""
    digest = hashlib.sha256(f"{group}/{version}/{kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def aggregated(registry: Registry, *, core: bool, version: str = "v2", stale: Iterable[str] = ()) -> Obj:
    """`/api` (core) or `/apis` as one document; v2 or v2beta1.

    `stale` lists the `group/version`s that do not answer now.
    """
    items = []
    gone = frozenset(stale)
    for group, versions in registry.groups():
        if core != (group == ""):
            continue
        listed = [_aggregated_version(registry, group, one, gone) for one in versions]
        meta: Obj = {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None}
        items.append({"metadata": meta, "versions": listed})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _aggregated_version(registry: Registry, group: str, version: str, stale: frozenset[str]) -> Obj:
    return {
        "version": version,
        "resources": [_aggregated_resource(resource) for resource in registry.in_version(group, version)],
        "freshness": "Stale" if f"{group}/{version}" in stale else "Current",
    }


def _aggregated_resource(resource: Resource) -> Obj:
    entry: Obj = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
                "verbs": list(sub.verbs),
            }
            for sub in resource.subresources
        ]
    return entry
