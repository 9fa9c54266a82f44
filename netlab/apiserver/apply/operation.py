"""PATCH with application/apply-patch+yaml: not served yet, and said so with what is."""

from netlab.api import errors
from netlab.api import patch as patches
from netlab.api.resources import Resource
from netlab.apiserver.api import Api
from netlab.apiserver.wire.message import Answer, Request


async def apply(api: Api, request: Request, resource: Resource) -> Answer:
    served = [kind for kind in patches.accepted_types(resource) if kind != patches.APPLY_PATCH]
    raise errors.unsupported_media_type(served)
