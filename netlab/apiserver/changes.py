"""`/debug/netlab/changes?since=REVISION`: the keys of every collection that has changed since, in one answer.

Ours, not Kubernetes': whoever keeps a cluster as it was (the test fixtures) asks one question instead of seventy. Only
keys, revisions and where the collection is served: the objects themselves are read and deleted as always, by the API.
"""

from __future__ import annotations

import orjson

from netlab.api import meta
from netlab.api.resources import get
from netlab.apiserver.api import Api
from netlab.apiserver.late import late_objects
from netlab.apiserver.operations.options import revision
from netlab.apiserver.wire.message import Request, Response

PATH = "/debug/netlab/changes"


def changes(api: Api, request: Request) -> Response:
    """{"revision": R, "collections": {NAME: {"path", "plural", "kind", "namespaced", "items": {KEY: REVISION}}}}

    With since=0 also "late": {NAME: [KEY]}, what the server itself makes some seconds after its start.
    """
    since = revision(request.query.get("since", ""))
    found: dict[str, object] = {}
    for resource in api.registry:
        if not resource.stored:
            continue
        stored = api.stored(resource)
        name = stored.collection
        if name in found or api.store.changed(name) <= since:
            continue
        kept, prefix = stored.resource, len(name) + 1
        found[name] = {
            "path": kept.prefix,
            "plural": kept.plural,
            "kind": kept.kind,
            "namespaced": kept.namespaced,
            "items": {item.key[prefix:]: item.revision for item in api.store.list(name).items},
        }
    answer: dict[str, object] = {"revision": api.store.revision, "collections": found}
    if not since:
        answer["late"] = _late(api)
    return Response(200, orjson.dumps(answer))


def _late(api: Api) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for obj in late_objects(api):
        stored = api.stored(get(obj["apiVersion"], obj["kind"]))
        key = stored.key(meta.namespace(obj), meta.name(obj))
        found.setdefault(stored.collection, []).append(key.removeprefix(f"{stored.collection}/"))
    return found
