"""Whole lists that are asked for again while nothing has changed: the joined items are kept, and only they.

Bounded by number and by size, so that it can never hold more than a few megabytes.
"""

from collections import OrderedDict

import orjson

from netlab.api.resources import Resource
from netlab.apiserver.representation import accept, joined
from netlab.apiserver.storage import Stored
from netlab.apiserver.wire.message import Request, Response
from netlab.store import Store

_ENTRIES, _LARGEST = 8, 4 << 20


class ListCache:
    """Lists of whole collections or namespaces, as plain JSON, at the present revision."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[tuple[str, str, str], tuple[int, bytes]] = OrderedDict()

    def whole(self, request: Request, resource: Resource, stored: Stored, namespace: str) -> Response | None:
        """The answer; None where another representation than plain JSON is wanted."""
        how = accept(request)
        if how.convert or how.yaml:
            return None
        key = (stored.collection, namespace, resource.api_version)
        changed = self._store.changed(stored.collection)
        known = self._kept.get(key)
        if known is not None and known[0] == changed:
            self._kept.move_to_end(key)
            items = known[1]
        else:
            where = namespace if stored.resource.namespaced else ""
            items = joined(resource, stored, self._store.list(stored.collection, where).items)
            self._keep(key, changed, items)
        metadata = {"resourceVersion": str(self._store.revision)}
        start = orjson.dumps({"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": metadata})
        return Response(200, start[:-1] + b',"items":[', more=(items, b"]}\n"))

    def _keep(self, key: tuple[str, str, str], changed: int, items: bytes) -> None:
        if len(items) > _LARGEST:
            self._kept.pop(key, None)
            return
        self._kept[key] = (changed, items)
        if len(self._kept) > _ENTRIES:
            self._kept.popitem(last=False)
