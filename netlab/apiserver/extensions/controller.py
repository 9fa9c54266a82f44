"""Keeps what is served in step with the CustomResourceDefinitions that are stored.

Two halves. `follow` changes the registry in the very turn in which a definition becomes durable, so whoever has the
answer to its write can use the kind. `keep` writes what the server has to say about definitions (conditions) and
removes the objects of those that are deleted; it is level-based, so a restart takes it up again.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from netlab.api import errors, meta
from netlab.api.resources import BUILTIN, Resource, get
from netlab.api.types import Obj
from netlab.apiserver.api import Api
from netlab.apiserver.extensions.kinds import (
    CLEANUP,
    COLLECTION,
    CustomResource,
    Verdict,
    judge,
    resources_of,
    set_terminating,
    version_order,
    with_conditions,
)
from netlab.apiserver.lifecycle import Deletion, removable
from netlab.apiserver.listing import ListCache
from netlab.apiserver.operations.delete import delete_key
from netlab.apiserver.storage import load, shared
from netlab.apiserver.wire.message import Request, User
from netlab.apiserver.wire.path import RequestInfo
from netlab.apiserver.writing import Conflict, NotFound, write_changed, write_gone
from netlab.store import Event, StoreError

log = logging.getLogger("netlab.apiserver")

_DEFINITION = get("apiextensions.k8s.io/v1", "CustomResourceDefinition")
_SERVER = User("system:apiserver", ("system:masters",))
_RETRY_SECONDS = 0.3


def follow(api: Api) -> None:
    """Serve the stored definitions from now on."""
    served = _Served(api)
    served.renew()
    api.store.subscribe(COLLECTION, served.told)


class _Served:
    """What is served at present, by definition; resources are made anew only for definitions that changed."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[str, tuple[object, list[CustomResource]]] = {}

    def told(self, events: Sequence[Event]) -> None:
        self.renew()

    def renew(self) -> None:
        definitions = _definitions(self._api)
        verdicts = judge(definitions, BUILTIN)
        found: dict[str, tuple[object, list[CustomResource]]] = {}
        for definition in definitions:
            name = meta.name(definition)
            if not verdicts[name].accepted:
                continue
            mark = (meta.uid(definition), meta.generation(definition), meta.deleting(definition))
            known = self._known.get(name)
            found[name] = known if known and known[0] == mark else (mark, resources_of(definition))
        before, self._known = self._known, found
        changed = [name for name in {*before, *found} if before.get(name) is not found.get(name)]
        if not changed:
            return
        listed = [resource for _, resources in found.values() for resource in resources]
        listed.sort(key=lambda one: (one.group, version_order(one.version), one.plural))
        self._api.registry = BUILTIN.with_resources(listed)
        for name in changed:
            if _of(before, name) != _of(found, name):
                self._forget(name)
        self._api.lists = ListCache(self._api.store)

    def _forget(self, collection: str) -> None:
        """What was derived from the objects under the old definition; watches end, and clients list again."""
        for item in self._api.store.list(collection).items:
            item.cache.clear()
        self._api.hubs.end(collection)


def _of(served: dict[str, tuple[object, list[CustomResource]]], name: str) -> list[CustomResource]:
    """What watches depend on: they stay while a kind that is deleted only loses verbs."""
    return [replace(resource, verbs=()) for resource in served[name][1]] if name in served else []


def _definitions(api: Api) -> list[Obj]:
    stored = api.stored(_DEFINITION)
    return [shared(item, stored) for item in api.store.list(stored.collection).items]


async def keep(api: Api) -> None:
    """Answer definitions with conditions, and end those that are deleted; until cancelled."""
    wake = asyncio.Event()
    wake.set()
    leave = api.store.subscribe(COLLECTION, lambda events: wake.set())
    try:
        while True:
            await wake.wait()
            wake.clear()
            if not await _settle_all(api):
                # somebody else's change came between, or objects wait for their finalizers
                await asyncio.sleep(_RETRY_SECONDS)
                wake.set()
    finally:
        leave()


async def _settle_all(api: Api) -> bool:
    """Whether nothing is left to do."""
    definitions = _definitions(api)
    verdicts = judge(definitions, BUILTIN)
    done = True
    for definition in definitions:
        name = meta.name(definition)
        try:
            if CLEANUP in meta.finalizers(definition) and meta.deleting(definition):
                done = await _end(api, name) and done
            elif not meta.deleting(definition):
                await _answer(api, name, verdicts[name])
        except (Conflict, NotFound):
            done = False
        except (errors.StatusError, StoreError) as error:
            log.warning("custom resource definition %s: %s", name, error)
            done = False
    return done


async def _answer(api: Api, name: str, verdict: Verdict) -> None:
    """Bring the conditions and accepted names up to date."""
    stored = api.stored(_DEFINITION)
    item = api.store.latest(stored.key("", name))
    if item is None:
        return
    definition = load(item, stored)
    status = with_conditions(definition, verdict, meta.now_rfc3339(api.clock))
    if status != definition.get("status"):
        definition["status"] = status
        await write_changed(api, stored, _DEFINITION, definition, item.revision)


async def _end(api: Api, name: str) -> bool:
    """Remove the objects of a deleted definition, then its finalizer. False while objects are left."""
    resource = next((r for r in api.registry if r.custom and r.group_resource == name), None)
    if resource is not None:
        stored = api.stored(resource)
        info = RequestInfo("", "delete", resource.group, resource.version, resource=resource.plural)
        request = Request(info, "DELETE", {}, "", {}, user=_SERVER)
        for one in list(api.store.list(stored.collection).items):
            await _remove(api, request, resource, one.key)
        if api.store.count(stored.collection):
            return False
    stored = api.stored(_DEFINITION)
    item = api.store.latest(stored.key("", name))
    if item is None:
        return True
    definition = load(item, stored)
    metadata = definition["metadata"]
    metadata["finalizers"] = [one for one in metadata.get("finalizers") or () if one != CLEANUP]
    if not metadata["finalizers"]:
        del metadata["finalizers"]
    set_terminating(
        definition, "False", "InstanceDeletionCompleted", "removed all instances", meta.now_rfc3339(api.clock)
    )
    write = write_gone if removable(definition, _DEFINITION) else write_changed
    await write(api, stored, _DEFINITION, definition, item.revision)
    return True


async def _remove(api: Api, request: Request, resource: Resource, key: str) -> None:
    try:
        await delete_key(api, request, resource, key, Deletion())
    except errors.StatusError as error:
        if error.code != 404:
            raise
