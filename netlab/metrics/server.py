"""The `metrics-server` image: HTTPS in front of the last readings. `main` takes metrics-server's own flags."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson

from netlab.api import errors, meta
from netlab.api.errors import StatusError
from netlab.api.resources import Resource
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.extension import InCluster, ProxyRules, asking, published_rules
from netlab.client.gate import Gate
from netlab.client.in_cluster import any_address
from netlab.client.kinds import NODES, PODS
from netlab.client.transport import TransportError
from netlab.metrics import objects, schema
from netlab.metrics.collect import Collector
from netlab.metrics.scrape import Store

if TYPE_CHECKING:
    from aiohttp import web

log = logging.getLogger("metrics-server")

BASE = f"/apis/{objects.API_VERSION}"
OPEN = ("/healthz", "/livez", "/readyz")
"""Paths that anybody may ask, as upstream's --authorization-always-allow-paths."""
RESOURCES = {
    name: Resource(
        group=objects.GROUP,
        version=objects.VERSION,
        kind=kind,
        plural=name,
        singular="",
        namespaced=namespaced,
        verbs=("get", "list"),
    )
    for name, (kind, namespaced) in objects.KINDS.items()
}


class Server:
    """Answers from a Store; pods and nodes themselves, and who may ask, are the API server's to know."""

    def __init__(self, client: Client, store: Store, proxy: ProxyRules) -> None:
        self.client, self.store, self.proxy = client, store, proxy
        self.gate = Gate(client)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request. Never raises but for cancellation."""
        from aiohttp import web

        try:
            code, body, kind = await self._answer(request)
        except StatusError as error:
            code, body, kind = error.code, orjson.dumps(error.status), "application/json"
        except (TransportError, TimeoutError) as error:
            problem = errors.internal(f"the API server does not answer: {error}")
            code, body, kind = problem.code, orjson.dumps(problem.status), "application/json"
        except Exception:
            log.exception("%s %s", request.method, request.path)
            problem = errors.internal("unexpected error, see the log of metrics-server")
            code, body, kind = problem.code, orjson.dumps(problem.status), "application/json"
        return web.Response(status=code, body=body, headers={"Content-Type": kind})

    async def _answer(self, request: web.BaseRequest) -> tuple[int, bytes, str]:
        path = request.path.rstrip("/") or "/"
        if path.startswith(OPEN):
            return self._health(path)
        await self._admit(request, path)
        if request.method not in ("GET", "HEAD"):
            raise errors.method_not_allowed()
        if path == "/metrics":
            from prometheus_client import generate_latest

            return 200, generate_latest(), "text/plain; version=0.0.4; charset=utf-8"
        document = _document(path, request.headers.get("Accept", ""))
        if document is not None:
            return 200, orjson.dumps(document[0]), document[1]
        return 200, orjson.dumps(await self._metrics(request, path)), "application/json"

    def _health(self, path: str) -> tuple[int, bytes, str]:
        if path.startswith("/readyz") and not self.store.ready:
            text = "[+]ping ok\n[-]metric-storage-ready failed: no metrics to serve\nreadyz check failed\n"
            return 500, text.encode(), "text/plain; charset=utf-8"
        return 200, b"ok", "text/plain; charset=utf-8"

    async def _admit(self, request: web.BaseRequest, path: str) -> None:
        """Raises StatusError 401 or 403."""
        user = await asking(request, self.proxy, self.gate)
        verb = "get"
        match = _PATH.match(path)
        if match is None:
            attributes = {"path": path, "verb": request.method.lower()}
        else:
            verb = "get" if match["name"] else "list"
            attributes = {"group": objects.GROUP, "version": objects.VERSION, "resource": match["resource"]}
            attributes |= {"verb": verb, "namespace": match["namespace"] or "", "name": match["name"] or ""}
        if await self.gate.allows(user, attributes):
            return
        if match is None:
            raise errors.path_forbidden(user.name, verb, path)
        named = f" {errors.quote(match['name'])}" if match["name"] else ""
        what = f"{match['resource']}.{objects.GROUP}{named}"
        where = f"in the namespace {errors.quote(match['namespace'])}" if match["namespace"] else "at the cluster scope"
        resource = f'resource "{match["resource"]}" in API group "{objects.GROUP}" {where}'
        message = f"{what} is forbidden: User {errors.quote(user.name)} cannot {verb} {resource}"
        raise errors.status(403, "Forbidden", message)

    async def _metrics(self, request: web.BaseRequest, path: str) -> Obj:
        match = _PATH.match(path)
        if match is None:
            raise errors.path_not_found()
        query = {key: values[0] for key, values in parse_qs(request.query_string).items()}
        resource = RESOURCES[match["resource"]]
        of = self._nodes if match["resource"] == "nodes" else self._pods
        fields = f"metadata.name={match['name']}" if match["name"] else query.get("fieldSelector")
        items = await of(match["namespace"], query.get("labelSelector"), fields)
        if match["name"] and not items:
            raise errors.not_found(resource, match["name"])
        if "as=Table" in request.headers.get("Accept", ""):
            return objects.table(items, query.get("includeObject", "Metadata"))
        return items[0] if match["name"] else objects.listed(resource.kind, items)

    async def _nodes(self, namespace: str | None, labels: str | None, fields: str | None) -> list[Obj]:
        found = (await self.client.list(NODES, label_selector=labels, field_selector=fields))["items"]
        pairs = ((node, self.store.node(meta.name(node))) for node in found)
        return [objects.node_metrics(node, usage) for node, usage in pairs if usage is not None]

    async def _pods(self, namespace: str | None, labels: str | None, fields: str | None) -> list[Obj]:
        found = (await self.client.list(PODS, namespace, label_selector=labels, field_selector=fields))["items"]
        items = []
        for pod in found:
            usages = self.store.pod(pod["spec"].get("nodeName", ""), (meta.namespace(pod), meta.name(pod)))
            if usages is not None:
                items.append(objects.pod_metrics(pod, usages))
        return items


_PATH = re.compile(
    rf"^{re.escape(BASE)}/(?:namespaces/(?P<namespace>[^/]+)/)?(?P<resource>nodes|pods)(?:/(?P<name>[^/]+))?$"
)


def _document(path: str, accept: str) -> tuple[Any, str] | None:
    """Discovery and schemas: (document, content type)."""
    json = "application/json"
    if path == "/apis":
        for version in ("v2", "v2beta1"):
            kind = f"{json};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            if kind in accept.replace(" ", ""):
                return objects.aggregated(version), kind
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [objects.group()]}, json
    fixed: dict[str, Any] = {
        f"/apis/{objects.GROUP}": lambda: {"kind": "APIGroup", "apiVersion": "v1", **objects.group()},
        BASE: objects.resource_list,
        "/openapi/v2": schema.v2,
        "/openapi/v3": lambda: {"paths": {BASE[1:]: {"serverRelativeURL": f"/openapi/v3{BASE}"}}},
        f"/openapi/v3{BASE}": schema.v3,
    }
    return (fixed[path](), json) if path in fixed else None


async def run(cluster: InCluster, port: int, period: float) -> None:
    """Serve until SIGTERM."""
    from aiohttp import web

    from netlab.client.certificate import self_signed, serving

    proxy = await published_rules(cluster)
    store = Store()
    collector = Collector(cluster.client, cluster.token, store, period)
    server = Server(cluster.client(), store, proxy)
    http = web.Server(server.handle, access_log=None)
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    tls = serving(self_signed("metrics-server"), proxy.authority)
    listener = await loop.create_server(http, any_address(), port, ssl=tls)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    log.info('"Serving securely" address="0.0.0.0:%d"', port)
    collecting = loop.create_task(collector.run())
    renewing = loop.create_task(_renew(server, cluster))
    await done.wait()
    for task in (collecting, renewing):
        task.cancel()
    listener.close()
    await http.shutdown(1.0)
    await collector.close()


async def _renew(server: Server, cluster: InCluster) -> None:
    """Ask with the newest token."""
    while True:
        await asyncio.sleep(60)
        server.client = cluster.client()
        server.gate = Gate(server.client)


def seconds(text: str) -> float:
    """A Go duration of hours, minutes and seconds. Raises ValueError."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f'invalid duration "{text}"')
    return sum(float(number) * {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}[unit] for number, unit in parts)


def main(*arguments: str) -> None:
    """`metrics-server --secure-port=10250 --metric-resolution=15s`; other flags of metrics-server are accepted."""
    import uvloop

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname).1s %(asctime)s %(message)s")
    flags = {name: value for name, _, value in (word.lstrip("-").partition("=") for word in arguments)}
    try:
        port, period = int(flags.get("secure-port", "10250")), seconds(flags.get("metric-resolution", "15s"))
    except ValueError as error:
        raise SystemExit(f"metrics-server: {error}") from None
    cluster = InCluster("metrics-server")

    async def start() -> None:
        await run(cluster, port, period)

    uvloop.run(start())
