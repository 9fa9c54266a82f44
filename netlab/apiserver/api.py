"""What the operations share: one value with the store, the registry, the gatekeepers and the clock."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from netlab.api.resources import BUILTIN, Registry, Resource
from netlab.api.types import Obj
from netlab.apiserver.admission import Admission
from netlab.apiserver.aggregation.remotes import Remotes
from netlab.apiserver.allocation import Allocation
from netlab.apiserver.authn import Authenticator
from netlab.apiserver.authz import Authorizer
from netlab.apiserver.config import ApiServerConfig
from netlab.apiserver.listing import ListCache
from netlab.apiserver.pki import Pki
from netlab.apiserver.storage import Storage, Stored, shared
from netlab.apiserver.watching import Hubs
from netlab.store import Store


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
    registry: Registry = BUILTIN
    remotes: Remotes = field(default_factory=Remotes)
    clock: Callable[[], float] = time.time
    started: float = field(default_factory=time.time)
    requests: Counter[tuple[str, str, str, str, str, int]] = field(default_factory=Counter)
    """Answers given so far by (verb, group, version, resource, subresource, code)."""

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
        where = namespace if stored.resource.namespaced else ""
        return [shared(item, stored) for item in self.store.list(stored.collection, where).items]
