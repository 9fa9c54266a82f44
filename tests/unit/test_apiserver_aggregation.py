"""APIServices: what stands in the way as a table; an extension server of our own, asked through a real API server."""

import asyncio
import contextlib
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from netlab.api.types import Obj
from netlab.apiserver import pki
from netlab.apiserver.aggregation.availability import judge
from netlab.apiserver.aggregation.documents import discovery_of, with_discovery, with_groups
from netlab.apiserver.aggregation.remotes import Documents, Remote, remote_of
from netlab.apiserver.config import ApiServerConfig
from netlab.apiserver.server import serve
from tests.unit.apiserver_harness import harness

PATH = "/apis/apiregistration.k8s.io/v1/apiservices"
GROUP, VERSION = "wardle.example.com", "v1"


def api_service(port: int = 443, **spec: Any) -> Obj:
    full = {
        "group": GROUP,
        "version": VERSION,
        "groupPriorityMinimum": 2000,
        "versionPriority": 15,
        "service": {"namespace": "default", "name": "wardle", "port": port},
        **spec,
    }
    metadata = {"name": f"{VERSION}.{GROUP}"}
    return {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": metadata, "spec": full}


def remote(**spec: Any) -> Remote:
    found = remote_of(api_service(**spec))
    assert found is not None
    return found


SERVICE: Obj = {"spec": {"type": "ClusterIP", "ports": [{"name": "https", "port": 443}]}}
LABELS = {"labels": {"kubernetes.io/service-name": "wardle"}}
READY: Obj = {"metadata": LABELS, "endpoints": [{"addresses": ["1.2.3.4"]}], "ports": [{"name": "https", "port": 8443}]}


@pytest.mark.parametrize(
    ("service", "slices", "verdict"),
    [
        (None, [], ("False", "ServiceNotFound", 'service/wardle in "default" is not present')),
        (
            {"spec": {"ports": [{"port": 80}]}},
            [],
            ("False", "ServicePortError", 'service/wardle in "default" is not listening on port 443'),
        ),
        (
            SERVICE,
            [],
            ("False", "EndpointsNotFound", 'cannot find endpointslices for service/wardle in "default"'),
        ),
        (
            SERVICE,
            [{**READY, "endpoints": [{"addresses": ["1.2.3.4"], "conditions": {"ready": False}}]}],
            (
                "False",
                "MissingEndpoints",
                'endpointslices for service/wardle in "default" have no addresses with port name "https"',
            ),
        ),
        (SERVICE, [READY], None),
        ({"spec": {"type": "ExternalName"}}, [], None),
    ],
)
def test_what_stands_in_the_way(service: Obj | None, slices: list[Obj], verdict: tuple[str, str, str] | None) -> None:
    assert judge(remote(), service, slices) == verdict


def test_discovery_is_merged() -> None:
    entry = {"groupVersion": "apps/v1", "version": "v1"}
    local = {"groups": [{"name": "apps", "versions": [entry], "preferredVersion": entry}]}
    assert [group["name"] for group in with_groups(local, [remote()])["groups"]] == ["apps", GROUP]
    first = with_groups(local, [remote(groupPriorityMinimum=20000)])["groups"]
    assert [group["name"] for group in first] == [GROUP, "apps"]
    listed = {
        "resources": [
            {"name": "flunders", "namespaced": True, "kind": "Flunder", "verbs": ["get"], "shortNames": ["fl"]},
            {"name": "flunders/status", "namespaced": True, "kind": "Flunder", "verbs": ["get"]},
        ]
    }
    made = discovery_of(listed, remote())
    assert made["resources"][0]["subresources"][0]["subresource"] == "status"
    merged = with_discovery({"items": [{"metadata": {"name": "apps"}}]}, [(remote(), Documents(listed, made))])
    assert [item["metadata"]["name"] for item in merged["items"]] == ["apps", GROUP]
    assert merged["items"][1]["versions"][0]["freshness"] == "Stale"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group": "other"}, 'metadata.name: Invalid value: "v1.wardle.example.com": must be `spec.version+"."'),
        ({"groupPriorityMinimum": 0}, "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than"),
        ({"service": None, "insecureSkipTLSVerify": True}, "local APIServices may not have insecureSkipTLSVerify"),
        ({"insecureSkipTLSVerify": True, "caBundle": "eHg="}, "may not be true if caBundle is present"),
    ],
)
async def test_validation(tmp_path: Path, change: Obj, message: str) -> None:
    async with harness(tmp_path) as server:
        code, reason, text = await server.refused("POST", PATH, api_service(**change))
        assert (code, reason) == (422, "Invalid")
        assert message in text


async def test_what_extension_servers_need_is_published(tmp_path: Path) -> None:
    async with harness(tmp_path) as server:
        place = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
        data = (await server.ok("GET", place))["data"]
        assert data["requestheader-allowed-names"] == '["front-proxy-client"]'
        assert data["requestheader-client-ca-file"] == server.api.pki.front_proxy_ca.cert.decode()


class Wardle:
    """An extension server: says what it was asked, and by whom."""

    def __init__(self, directory: Path, authority: pki.Pki) -> None:
        pair = pki.server_cert(authority, "wardle.default.svc", ["wardle.default.svc"])
        (directory / "w.crt").write_bytes(pair.cert)
        (directory / "w.key").write_bytes(pair.key)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(directory / "w.crt", directory / "w.key")
        self.tls.load_verify_locations(cadata=authority.front_proxy_ca.cert.decode())
        self.tls.verify_mode = ssl.CERT_OPTIONAL
        self.port = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        base = f"/apis/{GROUP}/{VERSION}"
        if request.path == base:
            listed = [{"name": "flunders", "singularName": "", "namespaced": True, "kind": "Flunder", "verbs": ["get"]}]
            head = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}"}
            return web.json_response({**head, "resources": listed})
        if request.path == f"/openapi/v3{base}":
            return web.json_response({"openapi": "3.0.0", "paths": {f"{base}/flunders": {}}})
        if request.path == "/openapi/v2":
            return web.json_response({"paths": {f"{base}/flunders": {}}, "definitions": {"Flunder": {}}})
        if request.query.get("watch"):
            return await self._watch(request)
        if not request.path.startswith(base):
            return web.Response(status=404)
        assert request.transport is not None
        peer = request.transport.get_extra_info("ssl_object").getpeercert()
        said = {name: request.headers.getall(name) for name in request.headers}
        body = (await request.read()).decode()
        return web.json_response({"by": str(peer.get("subject")), "headers": said, "body": body})

    async def _watch(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for number in range(3):
            await response.write(b'{"type":"ADDED","object":{"n":%d}}\n' % number)
            await asyncio.sleep(0.05)
        await response.write_eof()
        return response


async def until(check: Any, what: str) -> Any:
    for _ in range(400):
        found = await check()
        if found:
            return found
        await asyncio.sleep(0.05)
    raise TimeoutError(f"not within 20 s: {what}")


@contextlib.asynccontextmanager
async def cluster(directory: Path) -> AsyncIterator[tuple[aiohttp.ClientSession, Wardle, pki.Pki]]:
    """An API server and an extension server, both on 127.0.0.1; a Service of type ExternalName leads there."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = ApiServerConfig(
        state_dir=directory,
        listen_fds=(listening.detach(),),
        advertise_port=port,
        static_tokens={"t": ("jane", ("system:masters", "dev"))},
    )
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(config, ready=ready.set))
    await asyncio.wait_for(ready.wait(), 20)
    authority = pki.ensure_pki(config.pki_dir)
    wardle = Wardle(directory, authority)
    http = web.Server(wardle.handle)
    listener = await asyncio.get_running_loop().create_server(http, "127.0.0.1", 0, ssl=wardle.tls)
    wardle.port = listener.sockets[0].getsockname()[1]
    context = ssl.create_default_context(cadata=authority.ca.cert.decode())
    connector = aiohttp.TCPConnector(ssl=context)
    headers = {"Authorization": "Bearer t"}
    session = aiohttp.ClientSession(f"https://127.0.0.1:{port}", connector=connector, headers=headers)
    try:
        yield session, wardle, authority
    finally:
        await session.close()
        listener.close()
        await http.shutdown(0.1)
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


async def get(session: aiohttp.ClientSession, path: str, **more: Any) -> Any:
    async with session.get(path, **more) as answer:
        return orjson.loads(await answer.read())


async def available(session: aiohttp.ClientSession) -> Any:
    conditions = (await get(session, f"{PATH}/{VERSION}.{GROUP}")).get("status", {}).get("conditions")
    return conditions[0] if conditions else None


async def test_a_group_that_is_served_elsewhere(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (session, wardle, authority):

        async def own() -> Any:
            found = await get(session, f"{PATH}/v1.apps")
            return found if found["kind"] == "APIService" else None

        local = await until(own, "a local APIService")
        assert local["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
        assert local["status"]["conditions"][0]["message"] == "Local APIServices are always available"

        bundle = b64encode(authority.ca.cert).decode()
        async with session.post(PATH, json=api_service(wardle.port, caBundle=bundle)) as answer:
            assert answer.status == 201, await answer.text()
        found = await until(lambda: available(session), "a condition")
        assert (found["status"], found["reason"]) == ("False", "ServiceNotFound")
        flunders = f"/apis/{GROUP}/{VERSION}/namespaces/default/flunders"
        async with session.get(flunders) as answer:
            assert (answer.status, await answer.text()) == (503, "service unavailable\n")

        spec = {"type": "ExternalName", "externalName": "localhost"}
        service = {"metadata": {"name": "wardle"}, "spec": spec}
        async with session.post("/api/v1/namespaces/default/services", json=service) as answer:
            assert answer.status == 201, await answer.text()

        async def passed() -> bool:
            return bool((await available(session))["reason"] == "Passed")

        await until(passed, "the check passes")
        groups = [group["name"] for group in (await get(session, "/apis"))["groups"]]
        assert GROUP in groups and groups[0] == "apiregistration.k8s.io"
        kind = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        items = (await get(session, "/apis", headers={"Accept": kind}))["items"]
        mine = next(item for item in items if item["metadata"]["name"] == GROUP)
        assert mine["versions"][0]["resources"][0]["resource"] == "flunders"
        assert mine["versions"][0]["freshness"] == "Current"
        assert f"apis/{GROUP}/{VERSION}" in (await get(session, "/openapi/v3"))["paths"]
        assert (await get(session, f"/openapi/v3/apis/{GROUP}/{VERSION}"))["openapi"] == "3.0.0"
        assert f"/apis/{GROUP}/{VERSION}/flunders" in (await get(session, "/openapi/v2"))["paths"]

        sent = {"X-Remote-User": "root", "X-Remote-Group": "kings", "Impersonate-Extra-X": "y"}
        async with session.post(flunders, json={"a": 1}, headers=sent) as answer:
            said = orjson.loads(await answer.read())
        assert "front-proxy-client" in said["by"]
        assert said["body"] == '{"a": 1}'
        assert said["headers"]["X-Remote-User"] == ["jane"]
        assert said["headers"]["X-Remote-Group"] == ["system:masters", "dev", "system:authenticated"]
        assert "Authorization" not in said["headers"] and "Impersonate-Extra-X" not in said["headers"]
        async with session.get(f"{flunders}?watch=1") as answer:
            lines = [orjson.loads(line) async for line in answer.content]
        assert [line["object"]["n"] for line in lines] == [0, 1, 2]

        async with session.patch(
            f"{PATH}/{VERSION}.{GROUP}",
            data='{"spec":{"service":{"port":1}}}',
            headers={"Content-Type": "application/merge-patch+json"},
        ) as answer:
            assert answer.status == 200, await answer.text()

        async def failed() -> bool:
            return bool((await available(session))["reason"] == "FailedDiscoveryCheck")

        async with session.get(flunders) as answer:
            assert answer.status == 503
        await until(failed, "the check fails")
        found = await available(session)
        where = f"https://localhost:1/apis/{GROUP}/{VERSION}"
        assert found["message"].startswith(f'failing or missing response from {where}: Get "{where}": dial tcp')
        async with session.delete(f"{PATH}/{VERSION}.{GROUP}") as answer:
            assert answer.status == 200
        assert GROUP not in [group["name"] for group in (await get(session, "/apis"))["groups"]]


async def test_what_was_stored_of_a_remote_is_not_believed_after_a_restart(tmp_path: Path) -> None:
    path = f"{PATH}/{VERSION}.{GROUP}"
    stamp = "2020-01-01T00:00:00Z"
    passed = {"type": "Available", "status": "True", "reason": "Passed", "message": "", "lastTransitionTime": stamp}
    async with harness(tmp_path) as before:
        made = await before.ok("POST", PATH, api_service())
        await before.ok("PUT", f"{path}/status", {**made, "status": {"conditions": [passed]}})
        local = {"metadata": {"name": "v1.example.com"}, "spec": {**api_service()["spec"], "group": "example.com"}}
        local["spec"] |= {"version": "v1", "service": None}
        await before.ok("POST", PATH, local)
    async with harness(tmp_path) as after:
        condition = (await after.ok("GET", path))["status"]["conditions"][0]
        assert (condition["status"], condition["reason"]) == ("False", "FailedDiscoveryCheck")
        assert condition["message"].endswith("not asked since the start")
        assert condition["lastTransitionTime"] > stamp
        assert not (await after.ok("GET", f"{PATH}/v1.example.com")).get("status")
