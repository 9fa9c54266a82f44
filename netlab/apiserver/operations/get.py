"""GET of one object."""

from netlab.api import errors
from netlab.api.resources import Resource
from netlab.apiserver.api import Api
from netlab.apiserver.operations.options import revision
from netlab.apiserver.representation import one
from netlab.apiserver.wire.message import Answer, Request


async def get(api: Api, request: Request, resource: Resource) -> Answer:
    """The object, from memory: the newest durable state satisfies every resourceVersion that exists."""
    stored = api.stored(resource)
    item = api.store.get(stored.key(request.info.namespace, request.info.name))
    at_least = revision(request.query.get("resourceVersion", ""))
    if at_least > api.store.revision:
        raise errors.too_large_resource_version(at_least, api.store.revision)
    if item is None:
        raise errors.not_found(resource, request.info.name)
    return one(request, resource, stored, item)
