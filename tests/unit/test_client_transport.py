"""The transport over real sockets on loopback: answers, streams, errors that say what was waited for, reconnection."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
import pytest
from aiohttp import web

from netlab.api.errors import StatusError
from netlab.api.measuring import exposition
from netlab.client.client import Client
from netlab.client.kinds import PODS
from netlab.client.requested import counted
from netlab.client.transport import HttpTransport, TransportError

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    runners: list[web.ServerRunner] = []

    async def start(handler: Handler) -> str:
        runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(url: str, **options: Any) -> Client:
        made.append(Client(HttpTransport(url, **options)))
        return made[-1]

    yield make
    for client in made:
        await client.close()


def answer(obj: Any, status: int = 200, **headers: str) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(obj), content_type="application/json", headers=headers)


async def test_requests_reuse_one_connection_made_by_the_factory(
    serve: Serve, client_of: Callable[..., Client]
) -> None:
    seen: list[Any] = []

    async def handle(request: web.BaseRequest) -> web.Response:
        seen.append((request.method, request.path_qs, request.headers.get("Authorization"), await request.read()))
        return answer({"ok": True})

    sockets: list[socket.socket] = []

    def factory(info: Any) -> socket.socket:
        sockets.append(socket.socket(info[0], info[1], info[2]))
        return sockets[-1]

    client = client_of(await serve(handle), token="t", socket_factory=factory)
    await client.get(PODS, "a", "ns")
    await client.patch(PODS, "a", {"x": 1}, "ns", patch_type="merge")
    await client.delete(PODS, "a", "ns", uid="u", grace_period=0)
    assert len(sockets) == 1
    assert sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert [entry[:3] for entry in seen] == [
        ("GET", "/api/v1/namespaces/ns/pods/a", "Bearer t"),
        ("PATCH", "/api/v1/namespaces/ns/pods/a", "Bearer t"),
        ("DELETE", "/api/v1/namespaces/ns/pods/a", "Bearer t"),
    ]
    options = orjson.loads(seen[2][3])
    assert (options["preconditions"], options["gracePeriodSeconds"]) == ({"uid": "u"}, 0)


async def test_selectors_are_quoted(serve: Serve, client_of: Callable[..., Client]) -> None:
    seen: list[str] = []

    async def handle(request: web.BaseRequest) -> web.Response:
        seen.append(request.query["labelSelector"])
        return answer({"kind": "PodList", "items": []})

    client = client_of(await serve(handle))
    await client.list(PODS, label_selector="a in (b,c),d!=e/f")
    assert seen == ["a in (b,c),d!=e/f"]


async def test_an_error_is_the_servers_status(serve: Serve, client_of: Callable[..., Client]) -> None:
    async def handle(request: web.BaseRequest) -> web.Response:
        if request.path.endswith("/html"):
            return web.Response(status=502, text="<html>bad gateway</html>")
        return answer({"kind": "Status", "message": "no", "reason": "Forbidden", "code": 403}, 403)

    client = client_of(await serve(handle))
    with pytest.raises(StatusError, match=r"^no$") as refused:
        await client.get(PODS, "a", "ns")
    assert (refused.value.code, refused.value.reason) == (403, "Forbidden")
    with pytest.raises(StatusError, match="HTTP 502: <html>bad gateway"):
        await client.get(PODS, "html", "ns")


async def test_too_many_requests_are_tried_again(serve: Serve, client_of: Callable[..., Client]) -> None:
    count = 0

    async def handle(request: web.BaseRequest) -> web.Response:
        nonlocal count
        count += 1
        return (
            answer({"kind": "Status", "code": 429}, 429, **{"Retry-After": "0"}) if count < 3 else answer({"n": count})
        )

    client = client_of(await serve(handle))
    assert await client.get(PODS, "a", "ns") == {"n": 3}


async def test_waiting_ends_and_says_for_what(serve: Serve, client_of: Callable[..., Client]) -> None:
    async def handle(request: web.BaseRequest) -> web.Response:
        await asyncio.sleep(30)
        return answer({})

    client = client_of(await serve(handle), request_timeout=0.05)
    with pytest.raises(TransportError, match=r"GET http://.*/pods/a: no answer within 0\.05 s"):
        await client.get(PODS, "a", "ns")


async def test_nobody_listens(client_of: Callable[..., Client]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = client_of(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(TransportError, match="GET http://127"):
            await client.get(PODS, "a", "ns")
        with pytest.raises(TransportError, match="GET http://127"):
            await anext(client.watch(PODS))


async def stream(request: web.BaseRequest, *pieces: bytes, hang: bool = False) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
        await asyncio.sleep(0.005)
    if hang:
        await asyncio.sleep(30)
    return response


def event(type_: str, version: int) -> bytes:
    return orjson.dumps({"type": type_, "object": {"metadata": {"name": "a", "resourceVersion": str(version)}}}) + b"\n"


async def test_a_watch_gives_whole_events_however_they_arrive(serve: Serve, client_of: Callable[..., Client]) -> None:
    first, second = event("ADDED", 1), event("MODIFIED", 2)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert request.query["allowWatchBookmarks"] == "true"
        return await stream(request, first + second[:10], second[10:20], second[20:])

    client = client_of(await serve(handle))
    found = [(t, o["metadata"]["resourceVersion"]) async for t, o in client.watch(PODS, resource_version="0")]
    assert found == [("ADDED", "1"), ("MODIFIED", "2")]


async def test_errors_in_and_before_a_watch(serve: Serve, client_of: Callable[..., Client]) -> None:
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.query.get("resourceVersion") == "1":
            return answer({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}, 410)
        return await stream(request, event("ADDED", 1), orjson.dumps(gone) + b"\n", hang=True)

    client = client_of(await serve(handle))
    seen = []
    with pytest.raises(StatusError, match="too old"):
        async for type_, _ in client.watch(PODS):
            seen.append(type_)
    assert seen == ["ADDED"]
    with pytest.raises(StatusError, match="too old") as error:
        await anext(client.watch(PODS, resource_version="1"))
    assert error.value.code == 410


async def test_a_silent_watch_ends_when_asked_to(serve: Serve) -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await stream(request, event("ADDED", 1), hang=True)

    transport = HttpTransport(await serve(handle))
    client = Client(transport, watch_idle_timeout=0.05)
    with pytest.raises(TransportError, match=r"nothing received for 0\.05 s"):
        async for _ in client.watch(PODS):
            pass
    await client.close()


async def test_requests_are_counted(serve: Serve, client_of: Callable[..., Client]) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"kind": "PodList", "items": []}, status=200 if "pods" in request.path else 404)

    url = await serve(answer)
    client = client_of(url)
    measures = counted(client.transport)
    assert counted(client.transport)[1:] == measures[1:], "asked twice, counted once"
    await client.list(PODS)
    with pytest.raises(StatusError):
        await client.get(("v1", "nodes"), "n")
    text = exposition(measures).decode()
    host = url.removeprefix("http://")
    for code in (200, 404):
        assert f'rest_client_requests_total{{code="{code}",host="{host}",method="GET"}} 1.0' in text
    assert f'rest_client_request_duration_seconds_count{{host="{host}",verb="GET"}} 2.0' in text
    await client.close()
    silent = client_of("http://127.0.0.1:1")
    lost = counted(silent.transport)
    with pytest.raises(TransportError):
        await silent.list(PODS)
    assert 'code="<error>"' in exposition(lost).decode()
