"""SPDY, WebSocket, exec and port-forward: the protocols byte by byte, then a kubelet's port over a real socket."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_fakes import FakeRuntime, NodeUnderTest, pod, start_node

from netlab.client.fake import eventually
from netlab.client.gate import User
from netlab.node.kubelet import server as kubelet_server
from netlab.node.kubelet.server import KubeletServer
from netlab.node.streams import spdy, websocket
from netlab.node.streams.spdy import DICTIONARY, Decoder, Encoder, Frame, SpdyError
from netlab.runtime.contract import StartError


def test_the_dictionary_is_the_drafts() -> None:
    assert len(DICTIONARY) == 1423 and zlib.adler32(DICTIONARY) == 0xE3C6A7C2


headers = st.dictionaries(
    st.text("abcdefgh-", min_size=1, max_size=8), st.text(max_size=30).filter(lambda s: "\ud800" not in s), max_size=4
)
frames = st.one_of(
    st.builds(lambda n, d, f: Frame(0, n, f, d), st.integers(1, 99), st.binary(max_size=99), st.sampled_from([0, 1])),
    st.builds(lambda n, h: Frame(spdy.SYN_STREAM, n, headers=h), st.integers(1, 99), headers),
    st.builds(lambda n, h: Frame(spdy.SYN_REPLY, n, headers=h), st.integers(1, 99), headers),
    st.builds(lambda n, c: Frame(spdy.RST_STREAM, n, code=c), st.integers(1, 99), st.integers(1, 11)),
    st.builds(lambda c: Frame(spdy.PING, code=c), st.integers(1, 99)),
)


@given(st.lists(frames, max_size=6), st.integers(1, 40))
def test_frames_survive_any_cutting(sent: list[Frame], piece: int) -> None:
    encoder, decoder = Encoder(), Decoder()
    data = b"".join(encoder.encode(frame) for frame in sent)
    found = [f for start in range(0, len(data), piece) for f in decoder.feed(data[start : start + piece])]
    assert found == sent


def test_another_version_is_refused() -> None:
    with pytest.raises(SpdyError, match="version 2"):
        Decoder().feed(struct.pack(">HHI", 0x8002, 1, 0))


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_is_its_own_inverse(data: bytes, mask: bytes) -> None:
    assert websocket.unmask(websocket.unmask(data, mask), mask) == data
    assert websocket.unmask(data, mask) == bytes(b ^ mask[i % 4] for i, b in enumerate(data))


class EchoSession:
    """What `cat` does, then exit code 3."""

    def __init__(self, tty: bool) -> None:
        self.out: asyncio.Queue[bytes] = asyncio.Queue()
        self.tty, self.sizes = tty, [(0, 0)]

    async def read(self, stream: Literal["stdout", "stderr"]) -> bytes:
        return await self.out.get() if stream == "stdout" else b""

    async def write(self, data: bytes) -> None:
        self.out.put_nowait(data)

    async def close_stdin(self) -> None:
        self.out.put_nowait(b"")

    def resize(self, width: int, height: int) -> None:
        self.out.put_nowait(f"{width}x{height}".encode())

    async def wait(self) -> int:
        return 3

    async def close(self) -> None:
        return None


class StreamRuntime(FakeRuntime):
    async def exec(self, container_id: str, argv: Any, *, tty: bool = False, stdin: bool = False) -> EchoSession:
        if argv[0] == "none":
            raise StartError('exec: "none": executable file not found in $PATH', exit_code=127)
        session = EchoSession(tty)
        if not stdin:
            session.out.put_nowait(" ".join(argv).encode())
            session.out.put_nowait(b"")
        return session

    async def stats(self, node: str | None = None) -> list[Any]:
        return []


Subject = User | None


class Port:
    """A kubelet's port without TLS, as `who`."""

    def __init__(self, node: NodeUnderTest, server: KubeletServer, number: int) -> None:
        self.node, self.server, self.number = node, server, number

    async def open(self, head: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number)
        writer.write(head.encode() + b"\r\nHost: n1\r\n\r\n")
        return reader, writer

    async def get(self, path: str) -> tuple[int, bytes]:
        reader, writer = await self.open(f"GET {path} HTTP/1.1\r\nConnection: close")
        status = int((await reader.readline()).split()[1])
        fields = {}
        while (line := await reader.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            fields[name.lower()] = value.strip()
        body = b""
        if fields.get("transfer-encoding") == "chunked":
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
        else:
            body = await reader.readexactly(int(fields["content-length"]))
        writer.close()
        return status, body


@pytest.fixture
async def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Port]:
    node = await start_node(tmp_path, runtime=StreamRuntime())
    server = KubeletServer(node.kubelet.context, node.kubelet)
    masters: Subject = User("admin", ("system:masters",))
    monkeypatch.setattr(kubelet_server, "subject", lambda _: masters)
    listener = await asyncio.start_server(server._connected, "127.0.0.1", 0)
    node.api.add(pod())
    await eventually(lambda: bool(node.kubelet.workers), "worker")
    worker = next(iter(node.kubelet.workers.values()))
    await eventually(lambda: worker.state.any_running, "running")
    yield Port(node, server, listener.sockets[0].getsockname()[1])
    listener.close()
    await server.close()
    await node.close()


async def spdy_exec(port: Port, query: str, stdin: bytes | None) -> dict[str, bytes]:
    reader, writer = await port.open(
        f"POST /exec/default/p/c?{query} HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        "X-Stream-Protocol-Version: v4.channel.k8s.io\r\nX-Stream-Protocol-Version: v3.channel.k8s.io"
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ") and b"X-Stream-Protocol-Version: v4.channel.k8s.io" in head
    encoder, decoder = Encoder(), Decoder()
    names = {1: "error", 3: "stdout", **({5: "stdin"} if stdin is not None else {})}
    for number, name in names.items():
        writer.write(encoder.encode(Frame(spdy.SYN_STREAM, number, headers={"streamtype": name})))
    if stdin is not None:
        writer.write(encoder.encode(Frame(0, 5, 0, stdin)) + encoder.encode(Frame(0, 5, spdy.FIN)))
    found = dict.fromkeys(names.values(), b"")
    while data := await reader.read(65536):
        for frame in decoder.feed(data):
            if frame.kind == 0:
                found[names[frame.stream]] += frame.data
    writer.close()
    return found


async def test_exec_over_spdy(port: Port) -> None:
    found = await spdy_exec(port, "command=cat&input=1&output=1", b"hello")
    assert found["stdout"] == b"hello"
    status = json.loads(found["error"])
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_exec_of_what_is_not_there(port: Port) -> None:
    found = await spdy_exec(port, "command=none&output=1", None)
    assert b"executable file not found" in found["stdout"]
    assert json.loads(found["error"])["details"]["causes"][0]["message"] == "127"


def masked(data: bytes, opcode: int = 2) -> bytes:
    mask = os.urandom(4)
    size = bytes((0x80 | len(data),)) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
    return bytes((0x80 | opcode,)) + size + mask + websocket.unmask(data, mask)


async def websocket_exec(port: Port, protocol: str, sends: list[bytes]) -> list[tuple[int, bytes]]:
    key = base64.b64encode(os.urandom(16)).decode()
    reader, writer = await port.open(
        "GET /exec/default/p/c?command=cat&input=1&output=1&tty=1 HTTP/1.1\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        f"Sec-WebSocket-Protocol: {protocol}"
    )
    try:
        return await converse(reader, writer, protocol, sends)
    finally:
        writer.close()


async def converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: str, sends: list[bytes]
) -> list[tuple[int, bytes]]:
    head = await reader.readuntil(b"\r\n\r\n")
    assert f"Sec-WebSocket-Protocol: {protocol}\r\n".encode() in head
    for message in sends:
        writer.write(masked(message))
    found = []
    while True:
        first, second = await reader.readexactly(2)
        size = second if second < 126 else struct.unpack(">H", await reader.readexactly(2))[0]
        payload = await reader.readexactly(size)
        if first & 0x0F == websocket.CLOSE:
            break
        found.append((first & 0x0F, payload))
    writer.write(masked(b"\x03\xe8", websocket.CLOSE))
    return found


async def test_exec_over_websocket_closes_stdin(port: Port) -> None:
    size = json.dumps({"Width": 80, "Height": 24}).encode()
    found = await websocket_exec(port, "v5.channel.k8s.io", [b"\x04" + size, b"\x00hi", b"\xff\x00"])
    assert found[0] == (websocket.BINARY, b"\x01")
    assert b"".join(m[1:] for _, m in found if m[0] == 1) in (b"80x24hi", b"hi80x24")
    assert json.loads(found[-1][1][1:])["details"]["causes"][0]["message"] == "3"


async def test_exec_and_attach_to_a_container_that_does_not_run(port: Port) -> None:
    """A client of v5 hears of it on the error stream, as upstream's API server tells it; others as an HTTP answer."""
    worker = next(iter(port.node.kubelet.workers.values()))
    worker.state.containers.clear()
    why = 'container not found ("c")'
    assert await port.get("/exec/default/p/c?command=x&output=1") == (500, why.encode())
    assert await port.get("/attach/default/p/c?output=1") == (500, why.encode())
    found = await websocket_exec(port, "v5.channel.k8s.io", [])
    status = json.loads(found[-1][1][1:])
    assert (status["code"], status["reason"]) == (500, "InternalError")
    assert status["message"] == f"Internal error occurred: unable to upgrade connection: {why}"


async def test_exec_over_base64_websocket(port: Port) -> None:
    task = asyncio.create_task(websocket_exec(port, "v4.base64.channel.k8s.io", [b"0" + base64.b64encode(b"hey")]))
    await asyncio.sleep(0.1)
    assert not task.done()  # v4 has no way to close stdin: the command waits
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_port_forward_over_spdy(port: Port) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    target = await asyncio.start_server(echo, "127.0.0.1", 0)
    number = target.sockets[0].getsockname()[1]
    reader, writer = await port.open(
        "POST /portForward/default/p HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        "X-Stream-Protocol-Version: portforward.k8s.io"
    )
    await reader.readuntil(b"\r\n\r\n")
    encoder, decoder = Encoder(), Decoder()
    for index, wanted in enumerate((number, 1)):
        about = {"port": str(wanted), "requestid": str(index)}
        first = 4 * index + 1
        writer.write(encoder.encode(Frame(spdy.SYN_STREAM, first, headers={**about, "streamtype": "error"})))
        writer.write(encoder.encode(Frame(spdy.SYN_STREAM, first + 2, headers={**about, "streamtype": "data"})))
    writer.write(encoder.encode(Frame(0, 3, spdy.FIN, b"shout")))
    found = {1: b"", 3: b"", 5: b"", 7: b""}
    while found[3] != b"SHOUT" or not found[5]:
        for frame in decoder.feed(await reader.read(65536)):
            if frame.kind == 0:
                found[frame.stream] += frame.data
    assert b"error forwarding port 1 to pod" in found[5] and b"connection refused" in found[5]
    writer.close()
    await writer.wait_closed()
    target.close()
    await asyncio.sleep(0.05)


async def test_port_forward_over_plain_websocket_channels(port: Port) -> None:
    """Two ports in one parameter, the second refused without being spoken to; the end comes with the last one's."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read(5)).upper())
        writer.close()

    target = await asyncio.start_server(echo, "127.0.0.1", 0)
    number = target.sockets[0].getsockname()[1]
    key = base64.b64encode(bytes(16)).decode()
    reader, writer = await port.open(
        f"GET /portForward/default/p?port={number},1 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: v4.channel.k8s.io"
    )
    await reader.readuntil(b"\r\n\r\n")
    found = dict.fromkeys(range(4), b"")
    spoken = False
    while True:
        first, size = await reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2), "big")
        data = await reader.readexactly(size)
        if first & 0x0F == websocket.CLOSE:
            break
        found[data[0]] += data[1:]
        if found[3][2:] and not spoken:
            spoken = True
            writer.write(masked(b"\x00shout", websocket.BINARY))
    lead = number.to_bytes(2, "little")
    assert (found[0], found[1], found[2]) == (lead + b"SHOUT", lead, b"\x01\x00")
    assert b"error forwarding port 1 to pod" in found[3] and b"connection refused" in found[3]
    writer.close()
    await writer.wait_closed()
    target.close()
    await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("", 'query parameter "port" is required'),
        ("?port=", 'query parameter "port" cannot be empty'),
        ("?port=80,x", 'unable to parse "80,x" as a port'),
        ("?port=0", 'port "0" must be > 0'),
        ("?port=65536", 'unable to parse "65536" as a port'),
    ],
)
async def test_ports_that_are_none(port: Port, query: str, why: str) -> None:
    reader, writer = await port.open(
        f"GET /portForward/default/p{query} HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Protocol: v4.channel.k8s.io"
    )
    said = await reader.readuntil(b"\r\n\r\n") + await reader.read(4096)
    assert said.startswith(b"HTTP/1.1 400 ") and why.encode() in said
    writer.close()
    await writer.wait_closed()


async def test_paths_of_the_kubelet(port: Port) -> None:
    assert await port.get("/healthz") == (200, b"ok")
    status, body = await port.get("/pods")
    assert status == 200 and json.loads(body)["items"][0]["metadata"]["name"] == "p"
    assert (await port.get("/stats/summary"))[0] == 200
    status, body = await port.get("/metrics/resource")
    assert status == 200 and b"node_cpu_usage_seconds_total" in body
    assert b'pod_memory_working_set_bytes{namespace="default",pod="p"}' in body and b"resource_scrape_error 0" in body
    worker = next(iter(port.node.kubelet.workers.values()))
    worker.prober.counts["c", "Liveness", "failed"] += 2
    status, body = await port.get("/metrics/probes")
    labels = f'container="c",namespace="default",pod="p",pod_uid="{worker.uid}",probe_type="Liveness",result="failed"'
    assert status == 200 and f"prober_probe_total{{{labels}}} 2.0".encode() in body
    status, body = await port.get("/metrics")
    assert status == 200 and b"kubelet_running_pods 1.0" in body
    assert b'kubelet_running_containers{container_state="running"} 1.0' in body
    assert (await port.get("/nothing"))[0] == 404
    assert (await port.get("/containerLogs/default/nope/c"))[0] == 404
    status, body = await port.get("/containerLogs/default/p/c?previous=true")
    message = 'previous terminated container "c" in pod "p" not found'
    assert status == 400 and json.loads(body)["message"] == message


async def test_logs(port: Port) -> None:
    worker = next(iter(port.node.kubelet.workers.values()))
    directory = port.node.kubelet.context.log_dir("default", "p", worker.uid) / "c"
    directory.mkdir(parents=True)
    (directory / "0.log").write_text("2023-11-14T22:13:20.1Z stdout F one\n2023-11-14T22:13:21.1Z stdout F two\n")
    assert await port.get("/containerLogs/default/p/c?tailLines=1") == (200, b"two\n")
    follow = asyncio.create_task(port.get("/containerLogs/default/p/c?follow=true"))
    await asyncio.sleep(0.05)
    with (directory / "0.log").open("a") as file:
        file.write("2023-11-14T22:13:22.1Z stdout F three\n")
    port.node.runtime.exit(worker.state.containers["c"].id, 0)
    assert await asyncio.wait_for(follow, 5) == (200, b"one\ntwo\nthree\n")


WHO: list[tuple[Subject, int]] = [
    (None, 401),
    (User("someone"), 403),
    (User("kube-apiserver-kubelet-client"), 200),
    (User("x", ("kubeadm:cluster-admins",)), 200),
]


@pytest.mark.parametrize(("who", "status"), WHO)
async def test_who_may_ask(port: Port, monkeypatch: pytest.MonkeyPatch, who: Subject, status: int) -> None:
    async def refuses(*_: object) -> bool:
        return False

    monkeypatch.setattr(kubelet_server, "subject", lambda _: who)
    monkeypatch.setattr("netlab.client.gate.Gate.allows", refuses)
    assert (await port.get("/pods"))[0] == status
