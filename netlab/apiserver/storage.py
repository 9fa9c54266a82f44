"""Between API objects and stored values: which collection, which stored version, how it is encoded.

A stored value is the object's JSON, kind and apiVersion first, its resourceVersion the revision of the write. Answers
are these bytes; nobody encodes an object twice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from netlab.api.resources import Registry, Resource
from netlab.api.types import Obj
from netlab.apiserver.conversion import convert
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
        return self._by_resource[resource]


def encoder(obj: Obj, resource: Resource) -> Callable[[int], bytes]:
    """Encodes `obj` (and sets its resourceVersion) when the revision is known."""

    def encode(revision: int) -> bytes:
        obj["metadata"]["resourceVersion"] = str(revision)
        return dump(obj, resource)

    return encode


def dump(obj: Obj, resource: Resource) -> bytes:
    return orjson.dumps({"kind": resource.kind, "apiVersion": resource.api_version, **obj})


def load(item: Item) -> Obj:
    """A fresh object, the caller's to change."""
    loaded: Obj = orjson.loads(item.value)
    return loaded


def value_for(item: Item, stored: Stored, resource: Resource) -> bytes:
    """The item's bytes as `resource` shows them."""
    if resource.version == stored.resource.version and resource.group == stored.resource.group:
        return item.value
    kept = item.cache.get(resource.api_version)
    if kept is None:
        kept = dump(convert(load(item), stored.resource, resource), resource)
        item.cache[resource.api_version] = kept
    value: bytes = kept
    return value


def load_for(item: Item, stored: Stored, resource: Resource) -> Obj:
    """A fresh object as `resource` shows it."""
    return convert(load(item), stored.resource, resource)


def head(resource: Resource) -> bytes:
    """What every value of a resource begins with; the items of a list go without it."""
    start = orjson.dumps({"kind": resource.kind, "apiVersion": resource.api_version})
    return start[:-1] + b","


def remember(item: Item, what: str, make: Callable[[], Any]) -> Any:
    """What was derived from the item under this name, made at first need."""
    found = item.cache.get(what)
    if found is None:
        found = item.cache[what] = make()
    return found
