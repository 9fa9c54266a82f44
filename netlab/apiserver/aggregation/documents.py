"""PURE. Discovery and schemas of local and remote groups, merged."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from netlab.api.types import Obj
from netlab.apiserver.aggregation.local import group_priority
from netlab.apiserver.aggregation.remotes import Documents, Remote


def with_groups(local: Obj, remotes: Iterable[Remote]) -> Obj:
    """An APIGroupList with the remote groups at their places; they are listed whether or not they answer."""
    groups = {group["name"]: group for group in local["groups"]}
    ranks = {name: group_priority(name) for name in groups}
    for remote in sorted(remotes, key=lambda one: -one.version_priority):
        group = _with_version(groups.get(remote.group), remote)
        groups[remote.group] = group
        ranks[remote.group] = max(ranks.get(remote.group, 0), remote.group_priority)
    return {**local, "groups": sorted(groups.values(), key=lambda group: -ranks[group["name"]])}


def _with_version(group: Obj | None, remote: Remote) -> Obj:
    entry = {"groupVersion": f"{remote.group}/{remote.version}", "version": remote.version}
    if group is None:
        return {"name": remote.group, "versions": [entry], "preferredVersion": entry}
    kept = [one for one in group["versions"] if one != entry]
    return {**group, "versions": [*kept, entry]}


def group_of(local: Obj | None, name: str, remotes: Iterable[Remote]) -> Obj | None:
    """`/apis/<group>`."""
    mine = [remote for remote in remotes if remote.group == name]
    if not mine:
        return local
    merged = with_groups({"groups": [local] if local is not None else []}, mine)
    return {"kind": "APIGroup", "apiVersion": "v1", **merged["groups"][0]}


def with_discovery(local: Obj, remotes: Iterable[tuple[Remote, Documents]]) -> Obj:
    """Aggregated discovery with what the remotes say of themselves; of one that does not answer now, as stale."""
    items = {item["metadata"].get("name", ""): item for item in local["items"]}
    ranks = {name: group_priority(name) for name in items}
    for remote, documents in remotes:
        entry = {**documents.discovery, "freshness": "Current" if remote.available else "Stale"}
        item = items.get(remote.group)
        metadata = {"name": remote.group, "creationTimestamp": None}
        versions = [one for one in item["versions"] if one["version"] != remote.version] if item is not None else []
        items[remote.group] = {"metadata": metadata, "versions": [*versions, entry]}
        ranks[remote.group] = max(ranks.get(remote.group, 0), remote.group_priority)
    ordered = sorted(items.items(), key=lambda pair: -ranks[pair[0]])
    return {**local, "items": [item for _, item in ordered]}


def discovery_of(resources: Obj, remote: Remote) -> Obj:
    """The entry of aggregated discovery for an APIResourceList, for servers that know no other discovery."""
    found: dict[str, Obj] = {}
    for one in resources.get("resources") or ():
        name, slash, part = one["name"].partition("/")
        kind = {
            "group": one.get("group") or remote.group,
            "version": one.get("version") or remote.version,
            "kind": one["kind"],
        }
        if slash:
            sub = {"subresource": part, "responseKind": kind, "verbs": one.get("verbs") or []}
            found.setdefault(name, {}).setdefault("subresources", []).append(sub)
            continue
        entry = {
            "resource": name,
            "responseKind": kind,
            "scope": "Namespaced" if one.get("namespaced") else "Cluster",
            "singularResource": one.get("singularName", ""),
            "verbs": one.get("verbs") or [],
        }
        entry |= {key: one[key] for key in ("shortNames", "categories") if one.get(key)}
        found[name] = entry | found.get(name, {})
    return {"version": remote.version, "resources": [one for one in found.values() if "resource" in one]}


def own_entry(document: Obj, remote: Remote) -> Obj | None:
    """The remote's group and version in its aggregated discovery document, None where it is not."""
    for item in document.get("items") or ():
        if (item.get("metadata") or {}).get("name", "") == remote.group:
            return next((one for one in item.get("versions") or () if one.get("version") == remote.version), None)
    return None


def v3_hash(document: bytes) -> str:
    return hashlib.sha512(document).hexdigest().upper()


def v3_path(remote: Remote) -> str:
    """The remote's place in the index of schemas."""
    return remote.path[1:]


def with_v2(local: Obj, remotes: Iterable[tuple[Remote, Documents]]) -> Obj:
    """One OpenAPI v2 document. What is defined here stays; of a remote only its own paths come in."""
    paths, definitions = dict(local["paths"]), dict(local["definitions"])
    for remote, documents in remotes:
        for path, item in (documents.v2.get("paths") or {}).items():
            if path == f"{remote.path}/" or path.startswith(f"{remote.path}/"):
                paths.setdefault(path, item)
        for name, schema in (documents.v2.get("definitions") or {}).items():
            definitions.setdefault(name, schema)
    return {**local, "paths": paths, "definitions": definitions}


def mark(remotes: Iterable[tuple[Remote, Documents]]) -> str:
    """Changes when any of the remotes' schemas do."""
    digest = hashlib.sha256()
    for remote, documents in remotes:
        digest.update(remote.name.encode() + hashlib.sha256(documents.v3).digest())
        digest.update(repr(documents.v2).encode())
    return base64.b32encode(digest.digest()[:10]).decode()
