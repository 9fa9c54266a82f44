"""Who asks a component, and may they: the API server is asked by TokenReview and SubjectAccessReview.

Source followed: apiserver's delegated authentication and authorization (pkg/server/options), kubelet's defaults of both
caches (pkg/kubelet/apis/config/v1beta1/defaults.go).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from netlab.api.errors import unauthorized
from netlab.api.types import Obj
from netlab.client.client import Client

TOKEN_REVIEWS = ("authentication.k8s.io/v1", "tokenreviews")
ACCESS_REVIEWS = ("authorization.k8s.io/v1", "subjectaccessreviews")
MOST = 1000
"""Answers that are kept."""


@dataclass(frozen=True, slots=True)
class User:
    name: str
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


@dataclass(frozen=True, slots=True)
class Remembered:
    """Seconds for which answers of the API server are kept: upstream's cacheTTL and cache(Una|A)uthorizedTTL."""

    users: float = 10.0
    allowed: float = 10.0
    refused: float = 10.0


COMPONENT, KUBELET = Remembered(), Remembered(users=120.0, allowed=300.0, refused=30.0)


def certified(peer: Mapping[str, Any] | None) -> User | None:
    """Whom a client certificate names that TLS has verified (`SSLSocket.getpeercert`'s form); None without one."""
    if not peer:
        return None
    pairs = [pair for part in peer.get("subject", ()) for pair in part]
    name = next((value for key, value in pairs if key == "commonName"), "")
    return User(name, (*(value for key, value in pairs if key == "organizationName"), "system:authenticated"))


class Gate:
    """Asks the API server, and remembers its answers for a little while."""

    def __init__(self, client: Client, remembered: Remembered = COMPONENT) -> None:
        self._client, self._remembered = client, remembered
        self._users: dict[str, tuple[float, User | None]] = {}
        self._allowed: dict[tuple[User, tuple[tuple[str, str], ...]], tuple[float, bool]] = {}

    async def bearer(self, authorization: str) -> User | None:
        """Whom an Authorization header names; None: it holds no token. Raises StatusError 401 for one that is bad."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return None
        found = await self.user(token.strip())
        if found is None:
            raise unauthorized()
        return found

    async def user(self, token: str) -> User | None:
        """The token's user; None: it is not good."""
        known = self._users.get(token)
        now = time.monotonic()
        if known is None or known[0] < now:
            _prune(self._users)
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
            status = (await self._client.create(TOKEN_REVIEWS, body)).get("status") or {}
            found = _user(status) if status.get("authenticated") else None
            known = self._users[token] = (now + self._remembered.users, found)
        return known[1]

    async def allows(self, user: User, attributes: Mapping[str, str]) -> bool:
        """`attributes` are a SubjectAccessReview's resourceAttributes, or a path and a verb."""
        if "system:masters" in user.groups:
            return True
        key = (user, tuple(sorted(attributes.items())))
        known, now = self._allowed.get(key), time.monotonic()
        if known is None or known[0] < now:
            _prune(self._allowed)
            kind = "nonResourceAttributes" if "path" in attributes else "resourceAttributes"
            spec: Obj = {"user": user.name, "groups": list(user.groups), kind: dict(attributes)}
            spec["extra"] = {name: list(values) for name, values in user.extra}
            body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
            status = (await self._client.create(ACCESS_REVIEWS, body)).get("status") or {}
            allowed = bool(status.get("allowed"))
            kept = self._remembered.allowed if allowed else self._remembered.refused
            known = self._allowed[key] = (now + kept, allowed)
        return known[1]


def _prune(known: dict[Any, Any]) -> None:
    """Whoever asks under ever new names shall not fill the memory."""
    if len(known) > MOST:
        known.clear()


def _user(status: Obj) -> User:
    found = status.get("user") or {}
    extra = {name: tuple(values) for name, values in (found.get("extra") or {}).items()}
    return User(str(found.get("username", "")), tuple(found.get("groups") or ()), tuple(sorted(extra.items())))
