"""Between API objects and stored values: which collection, which stored version, how it is encoded.

A stored value is the object's JSON from behind its kind and apiVersion on: the items of a list go without these, so a
list is a join of stored values, and everything else puts the `head` in front. Nobody encodes an object twice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import orjson

from netlab.api.resources import Registry, Resource
from netlab.api.types import Obj
from netlab.apiserver.conversion import convert
from netlab.apiserver.extensions.kinds import CustomResource
from netlab.apiserver.extensions.values import complete, converted
from netlab.store import Item, key_of


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the objects of a resource are kept: the collection's name, and the version they are kept in."""

    collection: str
    resource: Resource

    def key(self, namespace: str, name: str) -> str:
        return key_of(self.collection, namespace if self.resource.namespaced else "", name)


class Storage:
    """Look-up of `Stored` for every resource of a registry; kinds of several versions share one."""

    def __init__(self, registry: Registry) -> None:
        self._by_resource: dict[Resource, Stored] = {}
        kept: dict[tuple[str, str], Resource] = {}
        for resource in registry:
            home = resource.storage_key
            if home not in kept and resource.group == home[0]:
                kept[home] = resource
        for resource in registry:
            group, plural = resource.storage_key
            collection = f"{plural}.{group}" if group else plural
            self._by_resource[resource] = Stored(collection, kept[resource.storage_key])

    def of(self, resource: Resource) -> Stored:
        if isinstance(resource, CustomResource):
            return Stored(resource.group_resource, resource.home)
        return self._by_resource[resource]


def encoder(obj: Obj, *, custom: bool = False) -> Callable[[int], bytes]:
    """Encodes `obj` as a stored value (and sets its resourceVersion) when the revision is known.

    Of custom kinds it says in which version it is: the version that is stored may change.
    """

    def encode(revision: int) -> bytes:
        obj["metadata"]["resourceVersion"] = str(revision)
        return tail(obj, versioned=custom)

    return encode


def tail(obj: Obj, *, versioned: bool = False) -> bytes:
    """The object's JSON behind the head, from its metadata on; with its apiVersion only if `versioned`."""
    rest = {"metadata": obj["metadata"], **obj}
    rest.pop("kind", None)
    if not versioned:
        rest.pop("apiVersion", None)
    return orjson.dumps(rest)[1:]


@lru_cache(maxsize=1024)
def head(resource: Resource) -> bytes:
    """What the JSON of every object of a resource begins with."""
    return orjson.dumps({"kind": resource.kind, "apiVersion": resource.api_version})[:-1] + b","


def value_for(item: Item, stored: Stored, resource: Resource) -> bytes:
    """The item's value as `resource` shows it, without the head."""
    kept = stored.resource
    same = resource is kept or (resource.version == kept.version and resource.group == kept.group)
    if same and not kept.custom:
        return item.value
    known: bytes | None = item.cache.get(resource.api_version)
    if known is None:
        known = item.cache[resource.api_version] = tail(convert(load(item, stored), kept, resource))
    return known


def whole(item: Item, stored: Stored, resource: Resource) -> bytes:
    """The item's whole JSON as `resource` shows it."""
    return head(resource) + value_for(item, stored, resource)


def load(item: Item, stored: Stored) -> Obj:
    """A fresh object in its stored version, the caller's to change."""
    loaded: Obj = orjson.loads(head(stored.resource) + item.value)
    if isinstance(stored.resource, CustomResource):
        # it may have been written in another version, or under an older schema
        if loaded["apiVersion"] != stored.resource.api_version:
            loaded = converted(loaded, stored.resource)
        complete(loaded, stored.resource)
    return loaded


def shared(item: Item, stored: Stored) -> Obj:
    """As `load`, decoded once for everybody; for small objects that are read again and again, and only read."""
    known: Obj | None = item.cache.get("object")
    if known is None:
        known = item.cache["object"] = load(item, stored)
    return known


def load_for(item: Item, stored: Stored, resource: Resource) -> Obj:
    """A fresh object as `resource` shows it."""
    return convert(load(item, stored), stored.resource, resource)
