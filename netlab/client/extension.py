"""What an extension API server in a pod needs: its own identity, whom the front proxy speaks for, who may do what.

Source followed: apiserver's delegated authentication and authorization (pkg/server/options).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import orjson

from netlab.api.errors import StatusError
from netlab.api.version import user_agent
from netlab.client.client import Client
from netlab.client.gate import ANONYMOUS, Gate, User, certified
from netlab.client.in_cluster import api_url
from netlab.client.kinds import CONFIG_MAPS
from netlab.client.transport import HttpTransport, TransportError

if TYPE_CHECKING:
    from aiohttp import web

log = logging.getLogger(__name__)

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """What kube-system/extension-apiserver-authentication says of the front proxy. `authority` is PEM."""

    authority: str
    names: tuple[str, ...]
    client_authority: str = ""


def proxied(headers: Sequence[tuple[str, str]]) -> User | None:
    """Whom the front proxy speaks for. Header names in any case."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(value)
    name = values.get("x-remote-user", [""])[0]
    if not name:
        return None
    prefix = "x-remote-extra-"
    extra = {unquote(key[len(prefix) :]): tuple(found) for key, found in values.items() if key.startswith(prefix)}
    return User(name, tuple(values.get("x-remote-group", ())), tuple(sorted(extra.items())))


class InCluster:
    """The pod's own identity. The token in its file is replaced from time to time: the client is made anew then."""

    def __init__(self, program: str, directory: Path = SERVICE_ACCOUNT) -> None:
        self._program = program
        self._url, self._directory = api_url(), directory
        self._tls = ssl.create_default_context(cafile=str(directory / "ca.crt"))
        self._made: tuple[str, Client] | None = None

    def token(self) -> str:
        return (self._directory / "token").read_text().strip()

    def client(self) -> Client:
        token = self.token()
        if self._made is None or self._made[0] != token:
            self._made = (
                token,
                Client(HttpTransport(self._url, self._tls, token, user_agent=user_agent(self._program))),
            )
        return self._made[1]


async def asking(request: web.BaseRequest, proxy: ProxyRules, gate: Gate) -> User:
    """Whose request it is: whom the front proxy names, else a token's user, else anonymous. Raises StatusError 401."""
    tls = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
    peer = certified(tls.getpeercert() if tls is not None else None)
    if peer is not None and (not proxy.names or peer.name in proxy.names):
        user = proxied(list(request.headers.items()))
        if user is not None:
            return user
    return await gate.bearer(request.headers.get("Authorization", "")) or ANONYMOUS


async def proxy_rules(client: Client) -> ProxyRules:
    """From kube-system/extension-apiserver-authentication, where the API server publishes them."""
    data = (await client.get(CONFIG_MAPS, "extension-apiserver-authentication", "kube-system")).get("data") or {}
    names = orjson.loads(data.get("requestheader-allowed-names") or "[]")
    return ProxyRules(data.get("requestheader-client-ca-file", ""), tuple(names))


async def published_rules(cluster: InCluster) -> ProxyRules:
    """The same, asked for until the API server gives them."""
    while True:
        try:
            return await proxy_rules(cluster.client())
        except (StatusError, TransportError) as error:
            log.warning("kube-system/extension-apiserver-authentication: %s", error)
            await asyncio.sleep(1.0)
