"""A request for a group that is served elsewhere is handed on (kube-aggregator pkg/apiserver/handler_proxy.go)."""

from __future__ import annotations

import ssl

from netlab.apiserver.aggregation import identity
from netlab.apiserver.aggregation.availability import address, server_name
from netlab.apiserver.aggregation.remotes import Remote
from netlab.apiserver.api import Api
from netlab.apiserver.wire.message import Answer, Request, Response, TakeOver

_contexts = identity.Contexts()


def serve(api: Api, request: Request, remote: Remote) -> Answer:
    """The remote's answer, whatever it is; 503 where it is not available."""
    place = address(remote, api.read("v1", "Service", remote.namespace, remote.service))
    if not remote.available or place is None:
        return unavailable("service unavailable")
    try:
        context = _contexts.of(api.pki, remote)
    except ssl.SSLError as error:
        return Response(500, f"unable to load root certificates: {error}\n".encode(), _TEXT)
    path = request.info.path
    return TakeOver(
        *place,
        f"{path}?{request.raw_query}" if request.raw_query else path,
        lines=identity.headers(request.user),
        without=identity.dropped(request.headers),
        context=context,
        server_name=server_name(remote),
        body=request.body or None,
        unreachable=unavailable,
    )


_TEXT = "text/plain; charset=utf-8"


def unavailable(why: str) -> Response:
    """503 as Go's http.Error writes it."""
    return Response(503, f"{why}\n".encode(), _TEXT, {"X-Content-Type-Options": "nosniff"})
