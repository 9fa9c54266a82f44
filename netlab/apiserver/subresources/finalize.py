"""namespaces/finalize: the namespace controller takes its finalizer back (pkg/registry/core/namespace)."""

from dataclasses import replace

from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.apiserver.api import Api
from netlab.apiserver.body import decode_object
from netlab.apiserver.operations.change import change
from netlab.apiserver.wire.message import Answer, Request


async def finalize(api: Api, request: Request, resource: Resource) -> Answer:
    wanted = decode_object(request, resource)

    def take(current: Obj) -> Obj:
        current["metadata"]["resourceVersion"] = wanted.get("metadata", {}).get("resourceVersion", "")
        current["spec"] = {**current.get("spec", {}), "finalizers": wanted.get("spec", {}).get("finalizers") or []}
        if not current["spec"]["finalizers"]:
            del current["spec"]["finalizers"]
        return current

    request.info = replace(request.info, subresource="finalize")
    return await change(api, request, resource, take)
