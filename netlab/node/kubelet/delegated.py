"""Bearer tokens on the kubelet's port: the API server says who it is and whether they may (kubelet's webhook mode).

Source followed: pkg/kubelet/server/auth.go (which path is which subresource of the node), with its caches.
"""

from __future__ import annotations

import time

from netlab.api.errors import status, unauthorized
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.transport import TransportError
from netlab.node.streams.http import Request

TOKEN_REVIEWS = ("authentication.k8s.io/v1", "tokenreviews")
ACCESS_REVIEWS = ("authorization.k8s.io/v1", "subjectaccessreviews")
KNOWN_FOR, ALLOWED_FOR, REFUSED_FOR = 120.0, 300.0, 30.0
"""Seconds for which answers are kept: upstream's cacheTTL, cacheAuthorizedTTL, cacheUnauthorizedTTL."""
MOST = 1000
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
        self._client, self._node = client, node
        self._users: dict[str, tuple[float, Obj | None]] = {}
        self._decisions: dict[tuple[str, str, str], tuple[float, bool]] = {}

    async def admit(self, request: Request) -> None:
        """Raises StatusError 401 or 403."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthorized()
        try:
            user = await self._user(token.strip())
            if user is None:
                raise unauthorized()
        except TransportError as error:
            raise status(500, "InternalError", f"the API server does not answer: {error}") from None
        await self.permit(user, request)

    async def permit(self, user: Obj, request: Request) -> None:
        """Whether a known user may do this. Raises StatusError 403."""
        try:
            verb, wanted = VERBS.get(request.method, "get"), subresources(request.path)
            for subresource in wanted:
                if await self._allowed(user, verb, subresource):
                    return
        except TransportError as error:
            raise status(500, "InternalError", f"the API server does not answer: {error}") from None
        name = user.get("username", "")
        what = f"user={name}, verb={verb}, resource=nodes, subresource(s)=[{' '.join(wanted)}]"
        raise status(403, "Forbidden", f"Forbidden ({what})")

    async def _user(self, token: str) -> Obj | None:
        now = time.monotonic()
        known = self._users.get(token)
        if known is None or known[0] < now:
            if len(self._users) > MOST:
                self._users.clear()
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
            found = (await self._client.create(TOKEN_REVIEWS, body)).get("status") or {}
            user = found.get("user") if found.get("authenticated") else None
            known = self._users[token] = (now + KNOWN_FOR, user)
        return known[1]

    async def _allowed(self, user: Obj, verb: str, subresource: str) -> bool:
        now, key = time.monotonic(), (repr(user), verb, subresource)
        known = self._decisions.get(key)
        if known is None or known[0] < now:
            if len(self._decisions) > MOST:
                self._decisions.clear()
            attributes = {"verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource}
            spec: Obj = {"user": user.get("username", ""), "groups": user.get("groups") or []}
            spec |= {"resourceAttributes": {**attributes, "name": self._node}, "extra": user.get("extra") or {}}
            body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
            found = (await self._client.create(ACCESS_REVIEWS, body)).get("status") or {}
            allowed = bool(found.get("allowed"))
            known = self._decisions[key] = (now + (ALLOWED_FOR if allowed else REFUSED_FOR), allowed)
        return known[1]


__all__ = ["Delegated", "subresources"]
