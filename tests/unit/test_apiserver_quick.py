"""The short way of ordinary requests: every connection is answered the same with and without it."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from netlab.apiserver.assembly import assemble, server_pki
from netlab.apiserver.config import ApiServerConfig
from netlab.apiserver.server import Server
from netlab.apiserver.transport import Connection
from netlab.apiserver.wire.head import plain_head

MAPS = b"/api/v1/namespaces/default/configmaps"
HEAD = b"Host: x\r\nAuthorization: Bearer t\r\nUser-Agent: u/1\r\n"


def get(path: bytes, more: bytes = b"") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + HEAD + more + b"\r\n"


def post(name: bytes, more: bytes = b"", data: bytes = b"") -> bytes:
    body = b'{"metadata":{"name":"%b"},"data":{"k":"%b"}}' % (name, data)
    head = b"POST " + MAPS + b" HTTP/1.1\r\n" + HEAD + more
    return head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


CHUNKED = (
    b"POST " + MAPS + b" HTTP/1.1\r\n" + HEAD + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'1f\r\n{"metadata":{"name":"chunked"}}\r\n0\r\n\r\n'
)
LARGE = post(b"large", data=b"v" * 300_000)
LIST = get(MAPS + b"?labelSelector=a%3Db&limit=5")
CONVERSATIONS: dict[str, tuple[list[bytes], int]] = {
    "one after the other": ([get(b"/version"), post(b"a"), get(MAPS + b"/a"), LIST], 4),
    "a body in pieces": ([post(b"b")[:-20], post(b"b")[-20:-3], post(b"b")[-3:], get(MAPS + b"/b")], 2),
    "a head in pieces": ([post(b"c")[:40], post(b"c")[40:], get(MAPS + b"/c")], 2),
    "a large body": ([LARGE[:70_000], LARGE[70_000:], get(MAPS + b"/large")], 2),
    "two at once": ([get(b"/version") + get(MAPS + b"/none"), get(b"/healthz")], 3),
    "one and a half": ([post(b"d") + get(MAPS + b"/d")[:30], get(MAPS + b"/d")[30:]], 2),
    "the next before the answer": ([post(b"e"), get(MAPS + b"/e"), get(b"/version")], 3),
    "a body in pieces, and the next": ([post(b"f")[:-9], post(b"f")[-9:] + get(b"/version")], 2),
    "chunks": ([get(b"/version"), CHUNKED, get(MAPS + b"/chunked")], 3),
    "HEAD": ([get(b"/version"), get(b"/version").replace(b"GET", b"HEAD"), get(b"/version")], 3),
    "an unknown path": ([get(b"/no/such"), get(b"/api/v1/nope")], 2),
    "not allowed": ([get(b"/api/v1/pods").replace(b"Bearer t", b"Bearer no"), get(b"/version")], 2),
    "not a request": ([b"no request at all\r\n\r\n"], 1),
    "a folded header": ([get(b"/version", b"X-A: b\r\n c\r\n")], 1),
    "a bad header": ([get(b"/version", b"X A: b\r\n")], 1),
    "two lengths": ([post(b"g", b"Content-Length: 3\r\n")], 1),
    "a header twice": ([get(b"/version", b"X-A: 1\r\nX-A: 2\r\n"), get(b"/version")], 2),
    "groups": (
        [get(b"/api/v1/pods", b"Impersonate-User: a\r\nImpersonate-Group: g\r\nImpersonate-Group: h\r\n")] * 2,
        2,
    ),
    "bytes beyond ASCII": ([get(b"/version", b"X-A: \xc3\xa4\r\n"), get(b"/version")], 2),
    "too large": (
        [b"POST " + MAPS + b" HTTP/1.1\r\n" + HEAD + b"Content-Length: 4000000\r\n\r\n" + b"x" * 4_000_000],
        1,
    ),
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    config = ApiServerConfig(state_dir=tmp_path, static_tokens={"t": ("t", ("system:masters",))})
    api = await assemble(config, server_pki(config))
    yield Server(api)
    await api.store.close()


class Speaker:
    """A connection in plain TCP; what it reads is cut into answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self, *, body: bool = True) -> bytes:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        length = re.search(rb"content-length: (\d+)", head, re.I)
        assert length is not None, head
        return head + (await self.reader.readexactly(int(length[1])) if body else b"")


@contextlib.asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Speaker]:
    listener = await asyncio.get_running_loop().create_server(server.http, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname(), limit=1 << 23)
    try:
        yield Speaker(reader, writer)
    finally:
        writer.close()
        listener.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def talk(server: Server, pieces: list[bytes], answers: int, *, pause: float) -> list[bytes]:
    """What a new connection is told; dates, identities, revisions and the order of headers do not count."""
    heads = [b"HEAD " in piece for piece in pieces]
    async with connected(server) as speaker:
        for piece in pieces:
            speaker.writer.write(piece)
            await asyncio.sleep(pause)
        told = [await speaker.answer(body=not (number < len(heads) and heads[number])) for number in range(answers)]
    return [_plain(one) for one in told]


def _plain(answer: bytes) -> bytes:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    kept = sorted(line for line in lines if not re.match(rb"(date|server|content-length):", line, re.I))
    body = re.sub(rb'"(uid|resourceVersion|creationTimestamp|time)":"[^"]*"', rb'"\1":""', body)
    return b"\n".join([first, *kept, body])


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_every_conversation_is_the_same_with_and_without(server: Server, name: str) -> None:
    pieces, answers = CONVERSATIONS[name]
    told = []
    for quickly in (server.http.quickly, None):
        server.http.quickly = quickly
        for pause in (0.0, 0.01):
            told.append(await talk(server, pieces, answers, pause=pause))
            for key in (b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"large", b"chunked"):
                await talk(server, [get(MAPS + b"/" + key).replace(b"GET", b"DELETE")], 1, pause=0)
    assert told == [told[0]] * 4


def is_quick(connection: Connection) -> bool:
    return connection._quick


async def test_a_watch_leaves_the_short_way_and_is_answered_once(server: Server) -> None:
    asked = server.api.measured.total()
    async with connected(server) as speaker:
        speaker.writer.write(get(b"/version"))
        await speaker.answer()
        (connection,) = server.http.connections
        assert isinstance(connection, Connection) and is_quick(connection)
        speaker.writer.write(get(b"/api/v1/namespaces?watch=1&resourceVersion=0"))
        head = await asyncio.wait_for(speaker.reader.readuntil(b"\r\n\r\n"), 10)
        assert head.startswith(b"HTTP/1.1 200") and b"chunked" in head.lower()
        assert b'"type":"ADDED"' in await asyncio.wait_for(speaker.reader.readuntil(b"}\n"), 10)
        assert not is_quick(connection)
        assert server.api.measured.total() == asked + 2
        server.http.end_streams()


async def test_requests_under_way_are_answered_before_the_end(server: Server) -> None:
    async with connected(server) as speaker:
        speaker.writer.write(post(b"last"))
        for _ in range(1000):
            if any(isinstance(one, Connection) and one.busy for one in server.http.connections):
                break
            await asyncio.sleep(0)
        server.http.end_streams()
        await server.http.shutdown(5.0)
        assert (await speaker.answer()).startswith(b"HTTP/1.1 201")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /a HTTP/1.1\r\nHost: x\r\n",
        b"GET /a HTTP/1.0\r\nHost: x\r\n\r\n",
        b"GET a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nUpgrade: SPDY/3.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1_0\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n\r\n",
        b"GET /a HTTP/1.1\nHost: x\n\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nA:\tb\x00\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 4000 + b"\r\n",
    ],
)
def test_what_is_not_ordinary_is_left_to_the_parser(data: bytes) -> None:
    assert plain_head(data) is None


def test_an_ordinary_head() -> None:
    head = plain_head(b"PUT /a%20b?x=1&y=%26&x=2 HTTP/1.1\r\nhost: h\r\nX-Y:  z w \r\nContent-Length: 3\r\n\r\nabc")
    assert head is not None
    assert (head.method, head.path, head.query) == ("PUT", "/a b", {"x": "1", "y": "&"})
    assert (head.headers["x-y"], head.length, head.headers["host"]) == ("z w", 3, "h")
