"""The `sample-apiserver` image: HTTPS in front of the verbs. `main` takes upstream's flags, others are let pass."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import orjson

from netlab.api import errors
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.extension import InCluster, ProxyRules, asking, published_rules
from netlab.client.gate import Gate, User
from netlab.client.in_cluster import any_address
from netlab.client.transport import TransportError
from netlab.wardle import objects
from netlab.wardle.keeping import Keeper
from netlab.wardle.verbs import Place, Selection, Verbs

if TYPE_CHECKING:
    from aiohttp import web

log = logging.getLogger("sample-apiserver")
OPEN = ("/healthz", "/livez", "/readyz")
_JSON = "application/json"
_PATH = re.compile(
    rf"^/apis/{re.escape(objects.GROUP)}/(?P<version>[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>flunders|fischers)(?:/(?P<name>[^/]+))?$"
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


class Server:
    """Answers from a Keeper; who may ask is the API server's to know."""

    def __init__(self, gate: Gate, keeper: Keeper, proxy: ProxyRules) -> None:
        self.gate, self.verbs, self.proxy = gate, Verbs(keeper), proxy

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request. Never raises but for cancellation."""
        from aiohttp import web

        try:
            answer = await self._answer(request)
        except StatusError as error:
            answer = (error.code, error.status)
        except (TransportError, TimeoutError) as error:
            problem = errors.internal(f"an upstream server does not answer: {error}")
            answer = (problem.code, problem.status)
        except Exception:
            log.exception("%s %s", request.method, request.path)
            problem = errors.internal("unexpected error, see the log of sample-apiserver")
            answer = (problem.code, problem.status)
        if isinstance(answer, tuple):
            code, body, *kind = answer
            content = body if isinstance(body, bytes) else orjson.dumps(body)
            return web.Response(status=code, body=content, headers={"Content-Type": kind[0] if kind else _JSON})
        return answer

    async def _answer(self, request: web.BaseRequest) -> tuple[int, Obj] | tuple[int, bytes, str] | web.StreamResponse:
        path = request.path.rstrip("/") or "/"
        if path.startswith(OPEN):
            return 200, b"ok", "text/plain; charset=utf-8"
        user = await asking(request, self.proxy, self.gate)
        match = _PATH.match(path)
        if match is None:
            await self._admit(user, {"path": path, "verb": request.method.lower()})
            document = _document(path, request.headers.get("Accept", ""))
            if document is None:
                raise errors.path_not_found()
            return 200, orjson.dumps(document[0]), document[1]
        resource = objects.RESOURCES.get((match["version"], match["plural"]))
        if resource is None or (match["name"] and resource.namespaced != bool(match["namespace"])):
            raise errors.path_not_found()
        place = Place(resource, match["namespace"] or "", match["name"] or "")
        query = {key: values[0] for key, values in parse_qs(request.query_string).items()}
        verb = _verb(request.method, place, query)
        attributes = {"group": resource.group, "version": resource.version, "resource": resource.plural, "verb": verb}
        await self._admit(user, attributes | {"namespace": place.namespace, "name": place.name})
        return await self._serve(request, verb, place, query)

    async def _admit(self, user: User, attributes: dict[str, str]) -> None:
        """Raises StatusError 403."""
        if await self.gate.allows(user, attributes):
            return
        if "path" in attributes:
            raise errors.path_forbidden(user.name, attributes["verb"], attributes["path"])
        named = f" {errors.quote(attributes['name'])}" if attributes["name"] else ""
        space = attributes["namespace"]
        where = f"in the namespace {errors.quote(space)}" if space else "at the cluster scope"
        what = f"{attributes['resource']}.{attributes['group']}{named}"
        said = f"is forbidden: User {errors.quote(user.name)} cannot {attributes['verb']}"
        kind = f'resource "{attributes["resource"]}" in API group "{attributes["group"]}"'
        raise errors.status(403, "Forbidden", f"{what} {said} {kind} {where}")

    async def _serve(
        self, request: web.BaseRequest, verb: str, place: Place, query: dict[str, str]
    ) -> tuple[int, Obj] | web.StreamResponse:
        accept = request.headers.get("Accept", "")
        if verb == "watch":
            return await self._watch(request, place, query)
        if verb == "list":
            return 200, _listed(place, *await self.verbs.select(place, query), accept, query)
        if verb == "get":
            return 200, _shown(await self.verbs.get(place), place, accept, query)
        if verb == "deletecollection":
            return 200, _listed(place, await self.verbs.delete_all(place, query), "", "", query)
        if verb == "delete":
            gone = await self.verbs.delete(place)
            details = {"name": place.name, "group": place.resource.group, "kind": place.resource.plural}
            details["uid"] = gone["metadata"]["uid"]
            head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
            return 200, {**head, "details": details}
        body = await request.read()
        if verb == "patch":
            return 200, await self.verbs.patch(place, request.headers.get("Content-Type", ""), body)
        obj = _parsed(body)
        if verb == "create":
            return 201, _shown(await self.verbs.create(place, obj), place, accept, query)
        return 200, _shown(await self.verbs.replace(place, obj), place, accept, query)

    async def _watch(self, request: web.BaseRequest, place: Place, query: dict[str, str]) -> web.StreamResponse:
        """What is there, where no version is named, then what is written, until the client or its time ends."""
        from aiohttp import web

        selection = Selection.of(place.resource, query)
        changes = self.verbs.keeper.changes(place.key)
        first = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)  # it listens from here on
        response = web.StreamResponse(headers={"Content-Type": _JSON})
        await response.prepare(request)
        try:
            async with asyncio.timeout(float(query.get("timeoutSeconds") or _WATCH_SECONDS)):
                if query.get("resourceVersion", "0") in ("", "0"):
                    for one in (await self.verbs.select(place, query))[0]:
                        await response.write(orjson.dumps({"type": "ADDED", "object": one}) + b"\n")
                pending: asyncio.Future[tuple[str, Obj]] = first
                while True:
                    kind, stored = await pending
                    pending = asyncio.ensure_future(anext(changes))
                    obj = objects.converted(stored, place.resource.version)
                    if selection.takes(obj):
                        await response.write(orjson.dumps({"type": kind, "object": obj}) + b"\n")
        except (TimeoutError, ConnectionError):
            pass
        finally:
            first.cancel()
        return response


_WATCH_SECONDS = 1800


def _verb(method: str, place: Place, query: dict[str, str]) -> str:
    if method in ("GET", "HEAD"):
        watching = query.get("watch") in ("1", "true", "True")
        return "get" if place.name else "watch" if watching else "list"
    if method == "DELETE":
        return "delete" if place.name else "deletecollection"
    verb = _VERBS.get(method, "")
    if not verb or (verb == "create") == bool(place.name) or (not place.namespace and place.resource.namespaced):
        raise errors.method_not_allowed()
    return verb


def _parsed(body: bytes) -> Obj:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise errors.bad_request(f"couldn't get version/kind; json parse error: {error}") from None
    if not isinstance(found, dict):
        raise errors.bad_request("couldn't get version/kind; the body is no object")
    return found


def _shown(obj: Obj, place: Place, accept: str, query: dict[str, str]) -> Obj:
    if "as=Table" in accept:
        return objects.table([obj], place.resource.version, query.get("includeObject", "Metadata"))
    return obj


def _listed(place: Place, items: list[Obj], revision: str, accept: str, query: dict[str, str]) -> Obj:
    if "as=Table" in accept:
        found = objects.table(items, place.resource.version, query.get("includeObject", "Metadata"))
        return {**found, "metadata": {"resourceVersion": revision}}
    head = {"kind": f"{place.resource.kind}List", "apiVersion": place.resource.api_version}
    return {**head, "metadata": {"resourceVersion": revision} if revision else {}, "items": items}


def _document(path: str, accept: str) -> tuple[Obj, str] | None:
    """Discovery and schemas: (document, content type)."""
    if path == "/apis":
        for form in ("v2", "v2beta1"):
            kind = f"{_JSON};g=apidiscovery.k8s.io;v={form};as=APIGroupDiscoveryList"
            if kind in accept.replace(" ", ""):
                return objects.aggregated(form), kind
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [objects.group()]}, _JSON
    if path == f"/apis/{objects.GROUP}":
        return {"kind": "APIGroup", "apiVersion": "v1", **objects.group()}, _JSON
    if path == "/openapi/v2":
        return objects.openapi_v2(), _JSON
    if path == "/openapi/v3":
        urls = {f"apis/{objects.GROUP}/{version}" for version in objects.VERSIONS}
        return {"paths": {url: {"serverRelativeURL": f"/openapi/v3/{url}"} for url in sorted(urls)}}, _JSON
    for version in objects.VERSIONS:
        base = f"/apis/{objects.GROUP}/{version}"
        if path == base:
            return objects.resource_list(version), _JSON
        if path == f"/openapi/v3{base}":
            return objects.openapi_v3(version), _JSON
    return None


async def run(cluster: InCluster, flags: dict[str, str], pem: bytes) -> None:
    """Serve until SIGTERM. `pem`: certificate and key."""
    from aiohttp import web

    from netlab.client.certificate import serving

    proxy = await published_rules(cluster)
    keeper = Keeper(flags.get("etcd-servers", "http://localhost:2379").split(",")[0])
    server = Server(Gate(cluster.client()), keeper, proxy)
    http = web.Server(server.handle, access_log=None)
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    port = int(flags.get("secure-port", "443"))
    listener = await loop.create_server(http, any_address(), port, ssl=serving(pem, proxy.authority))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    log.info('"Serving securely" address="[::]:%d"', port)
    renewing = loop.create_task(_renew(server, cluster))
    await done.wait()
    renewing.cancel()
    listener.close()
    await http.shutdown(1.0)
    await keeper.close()


async def _renew(server: Server, cluster: InCluster) -> None:
    """Ask with the newest token."""
    while True:
        await asyncio.sleep(60)
        server.gate = Gate(cluster.client())


def main(*arguments: str) -> None:
    """`sample-apiserver --etcd-servers=http://localhost:2379 --tls-cert-file=… --tls-private-key-file=…`."""
    import uvloop

    from netlab.client.certificate import self_signed

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname).1s %(asctime)s %(message)s")
    flags = {name: value for name, _, value in (word.lstrip("-").partition("=") for word in arguments)}
    cluster = InCluster("sample-apiserver")

    files = [flags[name] for name in ("tls-cert-file", "tls-private-key-file") if name in flags]
    try:
        pem = b"".join(Path(name).read_bytes() for name in files) if files else self_signed("sample-apiserver")

        async def start() -> None:
            await run(cluster, flags, pem)

        uvloop.run(start())
    except (OSError, ValueError) as error:
        raise SystemExit(f"sample-apiserver: {error}") from None
