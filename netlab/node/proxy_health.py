"""What a proxy tells load balancers over HTTP: its own health on port 10256, and per Service on healthCheckNodePort.

Upstream: `pkg/proxy/healthcheck`. A load balancer asks the health-check node port of a Service with external policy
Local, and sends traffic only to nodes that answer 200, which are those with a local endpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from netlab.dataplane.services import ServiceState

log = logging.getLogger(__name__)

HEALTHZ_PORT = 10256
REQUEST_TIMEOUT = 5.0
MAX_REQUEST = 16384

SocketFactory = Callable[[int], socket.socket]
"""A listening TCP socket on that port in the node's namespace; raises OSError where the port is taken."""

Answer = tuple[int, dict[str, object] | str, Mapping[str, str]]
"""Status, body (an object is sent as JSON, a text as it is) and extra headers."""
Handler = Callable[[str], Answer]
"""From a request's path to status, body and extra headers."""

_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


@dataclass(slots=True)
class ProxyHealth:
    """Healthy while no change waits longer than `patience` seconds to reach the kernel (upstream: two sync periods)."""

    patience: float = 60.0
    last_updated: float = 0.0
    waiting_since: float | None = None
    eligible: bool = True
    others: tuple[ProxyHealth, ...] = ()
    """Those of the node's other proxiers (the other family's)."""

    def queued(self, now: float) -> None:
        """Something changed that is not in the kernel yet."""
        if self.waiting_since is None:
            self.waiting_since = now

    def updated(self, now: float) -> None:
        """Everything that was queued is in the kernel."""
        self.last_updated, self.waiting_since = now, None

    def healthy(self, now: float) -> bool:
        return all(one.up_to_date(now) for one in (self, *self.others))

    def up_to_date(self, now: float) -> bool:
        """This one alone."""
        if self.waiting_since is None:
            return self.last_updated > 0
        return now - self.waiting_since < self.patience

    def answer(self, path: str, now: float) -> Answer:
        """/healthz and /livez as upstream answers them."""
        if path not in ("/healthz", "/livez"):
            return 404, {}, {}
        healthy = self.healthy(now)
        eligible = self.eligible or path == "/livez"
        body: dict[str, object] = {"lastUpdated": _stamp(self.last_updated), "currentTime": _stamp(now)}
        if path == "/healthz":
            body["nodeEligible"] = self.eligible
        return (200 if healthy and eligible else 503), body, {}


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """What a health-check node port says of its Service."""

    namespace: str
    name: str
    local_endpoints: int

    def answer(self, proxy_healthy: bool) -> Answer:
        code = 200 if self.local_endpoints and proxy_healthy else 503
        body: dict[str, object] = {
            "service": {"namespace": self.namespace, "name": self.name},
            "localEndpoints": self.local_endpoints,
            "serviceProxyHealthy": proxy_healthy,
        }
        headers = {
            "X-Content-Type-Options": "nosniff",
            "X-Load-Balancing-Endpoint-Weight": str(self.local_endpoints),
        }
        return code, body, headers


def service_healths(states: Iterable[ServiceState]) -> dict[int, ServiceHealth]:
    """By health-check node port: the local endpoints of each Service (an address of several ports counts once)."""
    addresses: dict[int, set[str]] = {}
    names: dict[int, tuple[str, str]] = {}
    for state in states:
        node_port = state.port.health_check_node_port
        if node_port:
            names[node_port] = (state.port.name.namespace, state.port.name.name)
            local = {endpoint.ip for endpoint in state.endpoints if endpoint.local and endpoint.ready}
            addresses.setdefault(node_port, set()).update(local)
    return {port: ServiceHealth(*names[port], len(found)) for port, found in addresses.items()}


class HealthServers:
    """Listens on exactly the ports that are wanted."""

    def __init__(self, open_socket: SocketFactory) -> None:
        self._open = open_socket
        self._servers: dict[int, asyncio.Server] = {}

    async def want(self, port: int, handler: Handler) -> None:
        """Serves the port; a port that is taken is logged and tried again at the next call."""
        if port in self._servers:
            return
        try:
            sock = self._open(port)
        except OSError as error:
            log.error("cannot listen on health-check port %d: %s", port, error)
            return
        self._servers[port] = await asyncio.start_server(lambda r, w: _serve(r, w, handler), sock=sock)

    async def keep_only(self, ports: Iterable[int]) -> None:
        """Closes all others."""
        for port in set(self._servers) - set(ports):
            server = self._servers.pop(port)
            server.close()
            with contextlib.suppress(Exception):
                await server.wait_closed()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
    """One request per connection: all that health checks need."""
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
            code, body, headers = handler(target.partition("?")[0]) if method in ("GET", "HEAD") else (405, {}, {})
            is_text = isinstance(body, str)
            content = str(body).encode() if is_text else json.dumps(body).encode() if body else b""
            kind = "text/plain; version=0.0.4; charset=utf-8" if is_text else "application/json"
            lines = [f"HTTP/1.1 {code} {_REASONS[code]}", f"Content-Type: {kind}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            lines += [f"Content-Length: {len(content)}", "Connection: close"]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (content if method != "HEAD" else b""))
            await writer.drain()
    except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()
