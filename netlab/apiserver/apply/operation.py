"""PATCH with application/apply-patch+yaml."""

from netlab.api import errors
from netlab.api.resources import Resource
from netlab.apiserver.api import Api
from netlab.apiserver.wire.message import Answer, Request


async def apply(api: Api, request: Request, resource: Resource) -> Answer:
    raise errors.unsupported_media_type(())
