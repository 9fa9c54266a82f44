"""Service account tokens of pods, by TokenRequest: kept while fresh, renewed at 80 % of their life or after a day.

Follows upstream pkg/kubelet/token/token_manager.go.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from netlab.api.types import Obj
from netlab.client.kinds import SERVICE_ACCOUNTS
from netlab.node.kubelet.clock import parse
from netlab.node.kubelet.ports import NodeContext
from netlab.node.kubelet.volumes.payload import TokenRequest

MAX_AGE = 24 * 3600.0


@dataclass(slots=True)
class _Token:
    text: str
    renew_at: float


@dataclass(slots=True)
class PodTokens:
    """The tokens of one pod."""

    context: NodeContext
    _known: dict[TokenRequest, _Token] = field(default_factory=dict)

    async def get(self, pod: Obj, request: TokenRequest, now: float) -> str:
        """A token bound to the pod. A stale one is renewed; if that fails and it has not expired, it is kept.

        Raises StatusError or TransportError when there is none.
        """
        known = self._known.get(request)
        if known is not None and now < known.renew_at:
            return known.text
        meta, spec = pod["metadata"], pod["spec"]
        body: Obj = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [request.audience] if request.audience else None,
                "expirationSeconds": request.expiration_seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]},
            },
        }
        if not request.audience:
            del body["spec"]["audiences"]
        account = spec.get("serviceAccountName") or "default"
        client = self.context.client
        async with self.context.requests:
            answer = await client.subresource(SERVICE_ACCOUNTS, account, "token", meta["namespace"], body=body)
        status = answer["status"]
        expires = parse(status.get("expirationTimestamp")) or now + request.expiration_seconds
        self._known[request] = _Token(status["token"], min(now + (expires - now) * 0.8, now + MAX_AGE))
        return str(status["token"])

    def renew_at(self) -> float | None:
        """When the first token should be renewed, in seconds since the epoch."""
        return min((token.renew_at for token in self._known.values()), default=None)
