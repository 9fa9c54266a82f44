"""The published schemas: OpenAPI v2 (JSON and protobuf) and v3 (an index, and a document per group and version)."""

from functools import lru_cache

from netlab.api import errors
from netlab.api.openapi import V2_PROTOBUF, V2_PROTOBUF_ACCEPTED, OpenApi
from netlab.api.resources import Registry
from netlab.api.version import KUBERNETES_VERSION
from netlab.apiserver.aggregation.schemas import Merged, Mergers
from netlab.apiserver.api import Api
from netlab.apiserver.extensions.openapi import definitions
from netlab.apiserver.wire.caching import tagged, with_etag
from netlab.apiserver.wire.message import Answer, Request
from netlab.apiserver.wire.negotiate import JSON, media_ranges


@lru_cache(maxsize=4)
def _documents(registry: Registry, more: Mergers) -> OpenApi:
    return Merged(registry, version=KUBERNETES_VERSION, extra=definitions(registry), more=more)


def openapi(api: Api, request: Request, path: str) -> Answer:
    """`path` is below /openapi. Raises 404 where no schema is."""
    documents = _documents(api.registry, api.remotes.heard())
    if path == "/openapi/v2":
        return _v2(request, documents)
    if path == "/openapi/v3":
        return with_etag(request, documents.v3_index, JSON)
    parts = path.removeprefix("/openapi/v3/").split("/")
    group, version = ("", parts[1]) if parts[0] == "api" and len(parts) == 2 else ("", "")
    if parts[0] == "apis" and len(parts) == 3:
        group, version = parts[1], parts[2]
    known = api.remotes.documents.get((group, version))
    if known is not None and known.v3:
        return with_etag(request, known.v3, JSON)
    if not version or not api.registry.in_version(group, version):
        raise errors.path_not_found()
    found = tagged(request, documents.v3_hash(group, version), lambda: documents.v3(group, version) or b"{}", JSON)
    if request.query.get("hash"):
        # the address names the content, so it never changes
        found.headers["Cache-Control"] = "public, immutable"
    return found


def _v2(request: Request, documents: OpenApi) -> Answer:
    tag = documents.v2_etag.strip('"')
    for media, _ in media_ranges(request.headers.get("accept", "")):
        if media in (kind.lower() for kind in V2_PROTOBUF_ACCEPTED):
            return tagged(request, f"{tag}-PB", lambda: documents.v2_protobuf, V2_PROTOBUF)
        if media in (JSON, "*/*", "application/*"):
            break
    return tagged(request, tag, lambda: documents.v2_json, JSON)
