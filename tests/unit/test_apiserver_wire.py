"""The server on a socket: TLS and certificates, raw requests, watches, and connections that are handed on."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from netlab.apiserver import pki
from netlab.apiserver.config import ApiServerConfig
from netlab.apiserver.pki import Pki
from netlab.apiserver.server import serve

PODS = "/api/v1/namespaces/default/pods"
CMS = "/api/v1/namespaces/default/configmaps"
Answerer = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Client:
    port: int
    context: ssl.SSLContext

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.context, server_hostname="localhost")

    async def ask(self, method: str, path: str, body: object = None, headers: str = "") -> tuple[int, bytes]:
        reader, writer = await self.open()
        data = b"" if body is None else orjson.dumps(body)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(data)}\r\n{headers}\r\n"
        )
        writer.write(head.encode() + data)
        found = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        first, _, rest = found.partition(b"\r\n\r\n")
        return int(first.split(b" ")[1]), rest

    async def ok(self, method: str, path: str, body: object = None) -> None:
        code, rest = await self.ask(
            method, path, body, "Content-Type: application/merge-patch+json\r\n" * (method == "PATCH")
        )
        assert code in (200, 201), rest


def context_of(found: Pki, pair: pki.KeyPair | None, directory: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=found.ca.cert.decode())
    if pair is not None:
        (directory / "c.crt").write_bytes(pair.cert)
        (directory / "c.key").write_bytes(pair.key)
        context.load_cert_chain(directory / "c.crt", directory / "c.key")
    return context


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[Client, Pki]]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = ApiServerConfig(state_dir=tmp_path, listen_fds=(listening.detach(),), advertise_port=port)
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(config, ready=ready.set))
    await asyncio.wait_for(ready.wait(), 10)
    found = pki.ensure_pki(config.pki_dir)
    yield Client(port, context_of(found, pki.client_cert(found, *pki.ADMIN), tmp_path)), found
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def test_certificates_say_who_one_is(server: tuple[Client, Pki], tmp_path: Path) -> None:
    client, found = server
    review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    code, body = await client.ask("POST", review, {})
    assert code == 201
    assert orjson.loads(body)["status"]["userInfo"]["groups"] == [
        "kubeadm:cluster-admins",
        "system:masters",
        "system:authenticated",
    ]
    node = Client(client.port, context_of(found, pki.client_cert(found, *pki.node_identity("n1")), tmp_path))
    code, body = await node.ask("POST", review, {})
    assert orjson.loads(body)["status"]["userInfo"]["username"] == "system:node:n1"
    assert (await node.ask("GET", "/api/v1/nodes/n1"))[0] == 404
    assert (await node.ask("GET", "/api/v1/nodes"))[0] == 403
    assert (await node.ask("GET", "/apis/apps/v1/deployments"))[0] == 403
    nobody = Client(client.port, context_of(found, None, tmp_path))
    assert (await nobody.ask("GET", PODS))[0] == 403
    assert (await nobody.ask("GET", "/healthz")) == (200, b"ok")


async def test_a_certificate_of_another_authority_is_refused(server: tuple[Client, Pki], tmp_path: Path) -> None:
    client, found = server
    other = pki.ensure_pki(tmp_path / "other")
    context = context_of(found, pki.client_cert(other, *pki.ADMIN), tmp_path)
    code, body = await Client(client.port, context).ask("GET", PODS)
    assert (code, orjson.loads(body)["message"]) == (401, "Unauthorized")


@pytest.mark.parametrize(
    "raw, code",
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n", 400),
        (b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{oops", 400),
        (b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{}", 400),
    ],
)
async def test_bad_requests_get_a_status_and_no_traceback(server: tuple[Client, Pki], raw: bytes, code: int) -> None:
    reader, writer = await server[0].open()
    writer.write(raw)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
    assert head.split(b" ")[1] == str(code).encode()
    rest = await asyncio.wait_for(reader.read(2000), 10)
    assert b"Traceback" not in rest
    writer.close()


async def test_head_has_no_body_and_connections_are_kept(server: tuple[Client, Pki]) -> None:
    reader, writer = await server[0].open()
    for _ in range(3):
        writer.write(b"HEAD /version HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        first = await reader.readuntil(b"\r\n\r\n")
        second = await reader.readuntil(b"\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Length: 2\r\n" in second
        assert await reader.readexactly(2) == b"ok"
    writer.close()


async def test_a_watch_is_a_chunked_stream_that_ends_properly(server: tuple[Client, Pki]) -> None:
    client, _ = server
    reader, writer = await client.open()
    writer.write(f"GET {CMS}?watch=1&timeoutSeconds=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    await client.ok("POST", CMS, {"metadata": {"name": "a"}})
    size = int((await reader.readuntil(b"\r\n")).strip(), 16)
    event = orjson.loads((await reader.readexactly(size + 2)).strip())
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "a")
    assert await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10) == b"0\r\n\r\n"
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()


@contextlib.asynccontextmanager
async def kubelet(server: tuple[Client, Pki], tmp_path: Path, answer: Answerer) -> AsyncIterator[None]:
    """A node n1 with a pod p, and something that listens where its kubelet should."""
    client, found = server
    pair = pki.server_cert(found, "n1", ["127.0.0.1"])
    (tmp_path / "k.crt").write_bytes(pair.cert)
    (tmp_path / "k.key").write_bytes(pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "k.crt", tmp_path / "k.key")
    context.load_verify_locations(cadata=found.ca.cert.decode())
    context.verify_mode = ssl.CERT_REQUIRED

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await answer(head, reader, writer)
        writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    await client.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    await client.ok("PATCH", "/api/v1/nodes/n1/status", {"status": status})
    await client.ok("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}
    await client.ok("POST", PODS, {"metadata": {"name": "p"}, "spec": spec})
    try:
        yield
    finally:
        listener.close()


@pytest.mark.parametrize("method, protocol", [("POST", "SPDY/3.1"), ("GET", "websocket"), ("GET", "SPDY/3.1")])
async def test_an_upgraded_connection_is_a_pipe_to_the_kubelet(
    server: tuple[Client, Pki], tmp_path: Path, method: str, protocol: str
) -> None:
    heads: list[bytes] = []

    async def echo(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        upgrade = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        # the first bytes of the new protocol come in one piece with the answer
        writer.write(upgrade.encode() + b"hello")
        while data := await reader.read(65536):
            writer.write(data.swapcase())
            if data.endswith(b"end"):
                break

    async with kubelet(server, tmp_path, echo):
        reader, writer = await server[0].open()
        head = (
            f"{method} {PODS}/p/exec?command=sh&stdin=true&stdout=true HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
        )
        head += f"Upgrade: {protocol}\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n"
        head += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        writer.write((head + ("Content-Length: 0\r\n" if method == "POST" else "") + "\r\n").encode())
        answered = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert answered.startswith(b"HTTP/1.1 101 ")
        assert await reader.readexactly(5) == b"hello"
        writer.write(b"abc")
        assert await asyncio.wait_for(reader.readexactly(3), 10) == b"ABC"
        big = b"x" * 3_000_000
        writer.write(big)
        assert await asyncio.wait_for(reader.readexactly(len(big)), 10) == big.upper()
        writer.write(b"end")
        assert await asyncio.wait_for(reader.read(), 10) == b"END"
        writer.close()
    assert heads[0].startswith(f"{method} /exec/default/p/c?command=sh&input=1&output=1 HTTP/1.1\r\n".encode())
    assert b"X-Stream-Protocol-Version: v4.channel.k8s.io" in heads[0]


async def test_logs_flow_while_they_are_written(server: tuple[Client, Pki], tmp_path: Path) -> None:
    more = asyncio.Event()

    async def log(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
        await more.wait()
        writer.write(b"4\r\ntwo\n\r\n0\r\n\r\n")

    async with kubelet(server, tmp_path, log):
        reader, writer = await server[0].open()
        writer.write(f"GET {PODS}/p/log?follow=true HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        assert await asyncio.wait_for(reader.readuntil(b"one\n\r\n"), 10) == b"4\r\none\n\r\n"
        more.set()
        assert await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10) == b"4\r\ntwo\n\r\n0\r\n\r\n"
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_kubelets_refusal_is_passed_on(server: tuple[Client, Pki], tmp_path: Path) -> None:
    async def refuse(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nContent-Type: text/plain\r\n\r\nnope")

    async with kubelet(server, tmp_path, refuse):
        code, body = await server[0].ask("GET", f"{PODS}/p/log")
        assert (code, body) == (404, b"nope")


async def test_a_kubelet_that_is_not_there_is_said_so(server: tuple[Client, Pki], tmp_path: Path) -> None:
    async def never(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError

    async with kubelet(server, tmp_path, never):
        pass
    code, body = await server[0].ask("GET", f"{PODS}/p/log")
    status = orjson.loads(body)
    assert (code, status["reason"]) == (500, "InternalError")
    assert "connect: connection refused" in status["message"]


async def test_a_taken_port_is_one_clear_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            await serve(ApiServerConfig(state_dir=tmp_path, listen=(("127.0.0.1", port),)), ready=lambda: None)
