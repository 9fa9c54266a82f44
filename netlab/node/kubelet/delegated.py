"""Bearer tokens on the kubelet's port: the API server says who it is and whether they may (kubelet's webhook mode).

Source followed: pkg/kubelet/server/auth.go (which path is which subresource of the node).
"""

from __future__ import annotations

from netlab.api.errors import status, unauthorized
from netlab.client.client import Client
from netlab.client.gate import KUBELET, Gate, User
from netlab.client.transport import TransportError
from netlab.node.streams.http import Request

VERBS = {"POST": "create", "GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
SUBRESOURCES = (
    ("/stats", ("stats",)),
    ("/metrics", ("metrics",)),
    ("/logs", ("log",)),
    ("/healthz", ("healthz", "proxy")),
    ("/configz", ("configz", "proxy")),
    ("/pods", ("pods", "proxy")),
    ("/runningpods", ("pods", "proxy")),
)
"""Path → subresources of nodes, of which one must be allowed; all else is `proxy`."""


def subresources(path: str) -> tuple[str, ...]:
    """PURE. What a path of the kubelet's API is, as a resource."""
    for prefix, found in SUBRESOURCES:
        if path == prefix or path.startswith(f"{prefix}/"):
            return found
    return ("proxy",)


class Delegated:
    """Of one node."""

    def __init__(self, client: Client, node: str) -> None:
        self._gate, self._node = Gate(client, KUBELET), node

    async def admit(self, known: User | None, request: Request) -> None:
        """Whether who asks may: `known` by certificate, or by the request's token. Raises StatusError 401 or 403."""
        try:
            user = known or await self._gate.bearer(request.headers.get("authorization", ""))
            if user is None:
                raise unauthorized()
            verb, wanted = VERBS.get(request.method, "get"), subresources(request.path)
            for subresource in wanted:
                attributes = {"version": "v1", "resource": "nodes", "subresource": subresource, "name": self._node}
                if await self._gate.allows(user, {"verb": verb, **attributes}):
                    return
        except TransportError as error:
            raise status(500, "InternalError", f"the API server does not answer: {error}") from None
        what = f"user={user.name}, verb={verb}, resource=nodes, subresource(s)=[{' '.join(wanted)}]"
        raise status(403, "Forbidden", f"Forbidden ({what})")
