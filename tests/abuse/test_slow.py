"""Clients that say little, read nothing, or are many: they end, others do not wait for them, memory stays bounded."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.abuse.server import CMS, Server, parse

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits 2 s for a head and 3 s for a body."""
    state = Path(tmp_path_factory.mktemp("impatient"))
    with Server(state, "--header-seconds", "2", "--request-seconds", "3") as made:
        yield made
        made.unharmed()


def _dripping(connection: ssl.SSLSocket, drops: bytes) -> bytes:
    """Say one byte each 0.2 s until the server has had enough; what it said."""
    connection.settimeout(0.2)
    for drop in range(len(drops)):
        try:
            connection.sendall(drops[drop : drop + 1])
            said = connection.recv(65536)
        except TimeoutError:
            continue
        except (ConnectionError, ssl.SSLEOFError):
            return b""
        return said
    raise AssertionError("the server never had enough")


def test_heads_that_drip(impatient: Server) -> None:
    with impatient.connect() as idle, impatient.connect() as dripping, impatient.connect() as later:
        later.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert later.recv(65536).startswith(b"HTTP/1.1 200")
        assert _dripping(dripping, b"GET /readyz HTTP/1.1\r\n" + b"X: y\r\n" * 100) == b""
        assert idle.recv(1) == b"", "a connection that never says anything ends, too"
        later.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert later.recv(65536).startswith(b"HTTP/1.1 200"), "one that is merely kept does not"
        later.sendall(b"GET /readyz HTT")
        assert later.recv(1) == b""
    assert impatient.ask("GET", "/readyz").body == b"ok"


@pytest.mark.parametrize("head", ["Content-Length: 1000", "Content-Length: 1000\r\nExpect: 100-continue"])
def test_bodies_that_drip(impatient: Server, head: str) -> None:
    with impatient.connect() as connection:
        connection.sendall(f"POST {CMS} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
        if "100-continue" in head:
            assert connection.recv(65536).startswith(b"HTTP/1.1 100")
        found = parse(_dripping(connection, b'{"metadata":{' + b" " * 900))
    assert found.code == 504
    assert found.status["reason"] == "Timeout"
    assert found.status["message"] == "Timeout: request did not complete within the allotted timeout"


def test_a_watch_that_is_not_read(server: Server) -> None:
    """Slow watchers are let go; nobody else waits for them, and what they left is given back."""
    before = server.memory()
    listening = []
    for _ in range(4):
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(60)
        plain.connect(("127.0.0.1", server.port))
        connection = server.admin.wrap_socket(plain, server_hostname="localhost")
        connection.sendall(f"GET {CMS}?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        listening.append(connection)
    body = {"metadata": {"name": "loud"}, "data": {"a": "x" * 500_000}}
    assert server.ask("POST", CMS, body).code == 201
    most = 0
    for turn in range(40):
        body["data"]["a"] = "x" * 500_000 + str(turn)
        began = time.monotonic()
        assert server.ask("PUT", f"{CMS}/loud", body).code == 200
        assert time.monotonic() - began < 30
        most = max(most, server.memory())
    # 20 MB of changes were told; eight for each watcher, and the history itself, are kept
    assert most - before < 150 << 20, (before >> 20, most >> 20)
    for connection in listening:
        told = 0
        try:
            while part := connection.recv(1 << 20):
                told += len(part)
        except (ConnectionError, ssl.SSLError):
            pass
        assert told < 20 << 20, "it was let go before it had all"
        connection.close()
    assert server.ask("DELETE", f"{CMS}/loud").code == 200


async def test_two_thousand_idle_watches(server: Server) -> None:
    """Each costs some tens of kilobytes and hears what happens; without them the memory is as before."""
    count = 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count + 500), hard), hard))
    before = server.memory()
    gate = asyncio.Semaphore(100)

    async def watch() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with gate:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, ssl=server.admin, server_hostname="localhost"
            )
            writer.write(f"GET {CMS}?watch=1&fieldSelector=metadata.name=told HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 120)
            assert head.startswith(b"HTTP/1.1 200")
            return reader, writer

    opened = await asyncio.gather(*(watch() for _ in range(count)))
    each = (server.memory() - before) / count
    assert each < 150_000, f"{each:.0f} bytes a watch"
    used = server.cpu()
    await asyncio.sleep(1)
    assert server.cpu() - used < 0.5, "idle watches cost next to nothing"
    made = await asyncio.to_thread(server.ask, "POST", CMS, {"metadata": {"name": "told"}})
    assert made.code == 201
    for reader, _ in opened:
        size = int(await asyncio.wait_for(reader.readuntil(b"\r\n"), 120), 16)
        event = json.loads(await reader.readexactly(size))
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "told")
    for _, writer in opened:
        writer.transport.abort()
    await asyncio.sleep(0)
    server.until("the memory is given back", lambda: server.memory() < before + (60 << 20))
    assert (await asyncio.to_thread(server.ask, "DELETE", f"{CMS}/told")).code == 200
