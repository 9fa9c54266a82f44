"""Answers that the client may have already: an ETag, and 304 when it matches (RFC 9110 section 13.1.2)."""

import hashlib
from collections.abc import Callable

from netlab.apiserver.wire.message import Request, Response


def with_etag(request: Request, body: bytes, kind: str) -> Response:
    """The body, or 304 when the client has it."""
    return tagged(request, hashlib.sha512(body).hexdigest().upper(), lambda: body, kind)


def tagged(request: Request, tag: str, make: Callable[[], bytes], kind: str) -> Response:
    """As `with_etag`, where the tag is known before the body is made."""
    etag = f'"{tag}"'
    headers = {"Etag": etag, "Vary": "Accept", "Cache-Control": "public"}
    if request.headers.get("if-none-match") == etag:
        return Response(304, b"", kind, headers)
    return Response(200, make(), kind, headers)
