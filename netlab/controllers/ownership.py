"""Adoption and release of objects by a controller with a selector (upstream's controller_ref_manager.go)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.labels import Selector
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.informer import Informer


@dataclass(frozen=True)
class Claims:
    """`mine` are kept; `adopt` match and have no controller; `release` are ours and match no longer."""

    mine: tuple[Obj, ...]
    adopt: tuple[Obj, ...]
    release: tuple[Obj, ...]


def claims(owner: Obj, owned: Iterable[Obj], orphans: Iterable[Obj], selector: Selector) -> Claims:
    """PURE. Who belongs to whom. `owned` are those whose controller uid is the owner's."""
    mine, release = [], []
    for obj in owned:
        if selector.matches(meta.labels(obj)):
            mine.append(obj)
        elif not meta.deleting(owner):
            release.append(obj)
    adopt: tuple[Obj, ...] = ()
    if not meta.deleting(owner):
        adopt = tuple(o for o in orphans if not meta.deleting(o) and selector.matches(meta.labels(o)))
    return Claims(tuple(mine), adopt, tuple(release))


async def claim(
    client: Client, informer: Informer, owner_resource: tuple[str, str], owner: Obj, found: Claims
) -> list[Obj]:
    """Write adoptions and releases; returns what the owner controls afterwards."""
    mine = list(found.mine)
    if found.adopt:
        await _still_there(client, owner_resource, owner)
    for obj in found.adopt:
        reference = meta.owner_reference(owner)
        patch = {"metadata": {"ownerReferences": [reference], "uid": meta.uid(obj)}}
        adopted = await _patch(client, informer, obj, patch)
        if adopted is not None:
            mine.append(adopted)
    for obj in found.release:
        reference = {"$patch": "delete", "uid": meta.uid(owner)}
        await _patch(client, informer, obj, {"metadata": {"ownerReferences": [reference], "uid": meta.uid(obj)}})
    return mine


async def _still_there(client: Client, resource: tuple[str, str], owner: Obj) -> None:
    """Adopting for an owner that is being deleted would undo an orphaning deletion: ask the server itself."""
    fresh = await client.get(resource, meta.name(owner), meta.namespace(owner))
    if meta.uid(fresh) != meta.uid(owner):
        raise OSError(f"original {meta.key(owner)} is gone: got uid {meta.uid(fresh)}, wanted {meta.uid(owner)}")
    if meta.deleting(fresh):
        raise OSError(f"{meta.key(owner)} has just been deleted at {fresh['metadata']['deletionTimestamp']}")


async def _patch(client: Client, informer: Informer, obj: Obj, patch: Obj) -> Obj | None:
    try:
        result = await client.patch(informer.resource, meta.name(obj), patch, meta.namespace(obj))
    except StatusError as error:
        if error.code in (404, 422):
            return None  # gone, or no longer what we saw
        raise
    informer.observe(result)
    return result
