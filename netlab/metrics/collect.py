"""Scrapes every node's kubelet, all within one period (metrics-server pkg/scraper)."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable

from netlab.api import meta
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.kinds import NODES
from netlab.client.transport import HttpTransport, TransportError
from netlab.metrics.scrape import Store, parse

log = logging.getLogger("metrics-server")

AT_ONCE = 16


class Collector:
    """`period` in seconds; `token` gives the credential that kubelets are shown, which may change."""

    def __init__(self, client: Callable[[], Client], token: Callable[[], str], store: Store, period: float) -> None:
        self._client, self._token, self._store, self.period = client, token, store, period
        self._kubelets: dict[tuple[str, str], HttpTransport] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        # kubelets' certificates are signed by nobody we know: --kubelet-insecure-tls
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    async def run(self) -> None:
        """Until cancelled. The second scrape comes early, so that there soon is something to tell."""
        while True:
            began = time.monotonic()
            try:
                await self.scrape()
            except (StatusError, TransportError) as error:
                log.warning("nodes: %s", error)
            period = self.period if self._store.ready else min(1.0, self.period)
            await asyncio.sleep(max(0.1, period - (time.monotonic() - began)))

    async def scrape(self) -> None:
        """Every node once. Raises StatusError or TransportError when the nodes cannot be listed."""
        found = await self._client().list(NODES, resource_version="0")
        nodes = {meta.name(node): node for node in found["items"]}
        self._store.keep(set(nodes))
        token = self._token()
        places = {name: place for name, node in nodes.items() if (place := address(node))}
        wanted = {(place, token) for place in places.values()}
        for gone in [known for known in self._kubelets if known not in wanted]:
            await self._kubelets.pop(gone).close()
        await asyncio.gather(*(self._node(name, place, token) for name, place in places.items()))

    async def _node(self, name: str, place: str, token: str) -> None:
        kubelet = self._kubelets.get((place, token))
        if kubelet is None:
            kubelet = self._kubelets[place, token] = HttpTransport(f"https://{place}", self._tls, token)
        async with self._slots:
            try:
                answer = await asyncio.wait_for(kubelet.request("GET", "/metrics/resource"), max(2.0, self.period))
            except (TransportError, TimeoutError) as error:
                log.warning('"Failed to scrape node" err="%s" node="%s"', error or "timed out", name)
                return
        if answer.status != 200:
            why = answer.body[:200].decode(errors="replace").strip()
            log.warning(
                '"Failed to scrape node" err="request failed, status: %d: %s" node="%s"', answer.status, why, name
            )
            return
        self._store.put(name, parse(answer.body.decode(errors="replace"), time.time()))

    async def close(self) -> None:
        for kubelet in self._kubelets.values():
            await kubelet.close()


def address(node: Obj) -> str:
    """host:port of a node's kubelet; "" where it has no InternalIP."""
    addresses: list[Obj] = meta.get(node, "status", "addresses", default=[])
    host = next((one["address"] for one in addresses if one.get("type") == "InternalIP"), "")
    port = meta.get(node, "status", "daemonEndpoints", "kubeletEndpoint", "Port", default=10250)
    if not host:
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
