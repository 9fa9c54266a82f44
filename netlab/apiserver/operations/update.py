"""UPDATE: PUT of a whole object, also of its status and other subresources that carry the whole object."""

from netlab.api import errors, meta
from netlab.api.resources import Resource
from netlab.apiserver import lifecycle
from netlab.apiserver.api import Api
from netlab.apiserver.body import decode_object
from netlab.apiserver.operations.change import change
from netlab.apiserver.operations.create import authorize_creation, create_object
from netlab.apiserver.wire.message import Answer, Request


async def update(api: Api, request: Request, resource: Resource) -> Answer:
    wanted = decode_object(request, resource)
    info, stored = request.info, api.stored(resource)
    if not meta.name(wanted):
        raise errors.bad_request("name must be provided")
    may_create = stored.collection in lifecycle.CREATE_ON_UPDATE and not info.subresource
    if may_create and api.store.latest(stored.key(info.namespace, info.name)) is None:
        authorize_creation(api, request)
        return await create_object(api, request, resource, wanted)
    return await change(api, request, resource, wanted)
