"""What the operations share: one value with the store, the registry, the gatekeepers and the clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from netlab.api import meta
from netlab.api.resources import BUILTIN, Registry, Resource, get
from netlab.api.types import Obj
from netlab.apiserver.admission import Admission
from netlab.apiserver.admission.dynamic import Dynamic
from netlab.apiserver.aggregation.remotes import Remotes
from netlab.apiserver.allocation import Allocation
from netlab.apiserver.audit import Auditor
from netlab.apiserver.authn import Authenticator
from netlab.apiserver.authz import Authorizer
from netlab.apiserver.config import ApiServerConfig
from netlab.apiserver.flow import FlowControl
from netlab.apiserver.listing import ListCache
from netlab.apiserver.measured import Measured
from netlab.apiserver.pki import Pki
from netlab.apiserver.storage import Storage, Stored, encoder, load, shared
from netlab.apiserver.watching import Hubs
from netlab.store import Store

_FEW, _MOST_READ = 32, 256


@dataclass(slots=True)
class Api:
    """Made by `assembly.assemble`; lives as long as the server. `clock` is seconds since the epoch."""

    config: ApiServerConfig
    store: Store
    pki: Pki
    storage: Storage
    hubs: Hubs
    admission: Admission
    allocation: Allocation
    authenticator: Authenticator
    authorizer: Authorizer
    lists: ListCache
    auditor: Auditor | None = None
    registry: Registry = BUILTIN
    remotes: Remotes = field(default_factory=Remotes)
    dynamic: Dynamic = field(default_factory=Dynamic)
    clock: Callable[[], float] = time.time
    started: float = field(default_factory=time.time)
    read_before: dict[tuple[str, str], tuple[int, list[Obj]]] = field(default_factory=dict)
    """Short lists that `read_all` gave, each with the revision of its collection's last change."""
    measured: Measured = field(default_factory=Measured)
    flow: FlowControl = field(init=False)

    def __post_init__(self) -> None:
        self.flow = FlowControl(self, self.store, self.config.seats)
        self.admission.measured = self.measured

    def stored(self, resource: Resource) -> Stored:
        return self.storage.of(resource)

    def read(self, api_version: str, kind: str, namespace: str, name: str) -> Obj | None:
        """The durable object in its stored version, or None. It is shared: the caller may not change it."""
        resource = self.registry.by_kind(api_version, kind)
        if resource is None:
            return None
        stored = self.stored(resource)
        item = self.store.get(stored.key(namespace, name))
        return shared(item, stored) if item is not None else None

    def read_all(self, api_version: str, kind: str, namespace: str) -> list[Obj]:
        """The durable objects of a kind, in one namespace or (empty) in all; shared, as those of `read`."""
        resource = self.registry.by_kind(api_version, kind)
        if resource is None:
            return []
        stored = self.stored(resource)
        collection, where = stored.collection, namespace if stored.resource.namespaced else ""
        changed = self.store.changed(collection)
        known = self.read_before.get((collection, where))
        if known is not None and known[0] == changed:
            return known[1]
        found = [shared(item, stored) for item in self.store.list(collection, where).items]
        if len(found) <= _FEW:
            if len(self.read_before) >= _MOST_READ:
                self.read_before.clear()
            self.read_before[collection, where] = changed, found
        return found

    def any(self, collection: str) -> bool:
        """Whether a collection holds anything."""
        return self.store.count(collection) > 0

    def latest_all(self, api_version: str, kind: str, namespace: str) -> list[Obj]:
        """As `read_all`, with writes that are not durable yet; fresh copies, the caller's to change."""
        stored = self.stored(get(api_version, kind))
        found = []
        for item in self.store.list(stored.collection, namespace).items:
            latest = self.store.latest(item.key)
            if latest is not None:
                found.append(load(latest, stored))
        return found

    def taken(self, resource: Resource, namespace: str, name: str) -> bool:
        """Whether something has this name, durable or not."""
        return bool(name) and self.store.latest(self.stored(resource).key(namespace, name)) is not None

    def overwrite(self, obj: Obj) -> None:
        """Write `obj`, which came from `latest_all` in this turn of the event loop, without waiting for the disk.

        Later writes are not durable without it, so whoever waits for one of them has waited for this one.
        """
        stored = self.stored(get(obj["apiVersion"], obj["kind"]))
        key = stored.key(meta.namespace(obj), meta.name(obj))
        written = self.store.update(key, encoder(obj), int(meta.resource_version(obj)))
        written.add_done_callback(lambda done: done.cancelled() or done.exception())
