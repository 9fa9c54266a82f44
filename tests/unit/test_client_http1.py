"""One HTTP/1.1 connection of the client: every framing, however the bytes are cut; what is not HTTP is refused."""

import asyncio

import pytest

from netlab.client.http1 import BEHIND, Connection, Exchange, ProtocolError, request_bytes


class Wire(asyncio.Transport):
    """What the connection writes to, and whether it still reads."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = self.paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def begin(method: str = "GET", *, streaming: bool = False) -> tuple[Connection, Exchange, Wire]:
    connection, wire = Connection(), Wire()
    connection.connection_made(wire)
    return connection, connection.send(method, b"request", streaming=streaming), wire


CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = CHUNKED_HEAD + b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: a\r\n\r\n"
ANSWERS = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world", b"hello world", True),
    "chunks and a trailer": (CHUNKED, b"hello world", True),
    "nothing": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "after 100 Continue": (b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", b"ok", True),
    "told to close": (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
}


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
@pytest.mark.parametrize("name", ANSWERS)
async def test_answers_however_they_arrive(name: str, step: int) -> None:
    data, body, kept = ANSWERS[name]
    connection, exchange, wire = begin()
    for start in range(0, len(data), step):
        connection.data_received(data[start : start + step])
    assert await connection.body(exchange) == body
    assert connection.usable is kept
    assert wire.written == b"request"


async def test_a_body_up_to_the_end_of_the_connection() -> None:
    connection, exchange, _ = begin()
    connection.data_received(b"HTTP/1.1 200 OK\r\n\r\nhello ")
    connection.data_received(b"world")
    connection.connection_lost(None)
    assert await connection.body(exchange) == b"hello world"
    assert not connection.usable


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ntoo much",
        CHUNKED_HEAD + b"zz\r\n",
        CHUNKED_HEAD + b"2\r\ntoo much\r\n",
    ],
)
async def test_what_is_not_http_ends_the_connection(data: bytes) -> None:
    connection, exchange, wire = begin()
    connection.data_received(data)
    with pytest.raises(ProtocolError, match="not HTTP"):
        await connection.body(exchange)
    assert wire.closing
    assert not connection.usable


async def test_an_answer_that_ends_early_and_one_that_nobody_asked_for() -> None:
    connection, exchange, _ = begin()
    connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel")
    connection.connection_lost(None)
    with pytest.raises(ProtocolError, match="closed the connection"):
        await connection.body(exchange)
    connection, exchange, wire = begin()
    connection.data_received(b"HTTP/1.1 204 No Content\r\n\r\n")
    connection.data_received(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert wire.closing


async def test_a_stream_is_read_piece_by_piece_and_not_further_than_its_reader() -> None:
    connection, exchange, wire = begin(streaming=True)
    reading = asyncio.ensure_future(connection.piece(exchange))
    await asyncio.sleep(0)
    connection.data_received(CHUNKED_HEAD + b"3\r\none\r\n")
    assert await reading == b"one"
    big = b"x" * (BEHIND + 1)
    connection.data_received(b"%x\r\n%b\r\n" % (len(big), big))
    assert wire.paused
    assert await connection.piece(exchange) == big
    assert not wire.paused
    connection.data_received(b"0\r\n\r\n")
    assert await connection.piece(exchange) == b""
    assert connection.usable


def test_requests() -> None:
    fixed = b"Host: h\r\n"
    assert request_bytes("GET", "/a?b=c", fixed, None, None) == b"GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n"
    assert request_bytes("POST", "/a", fixed, None, None).endswith(b"Content-Length: 0\r\n\r\n")
    assert request_bytes("PUT", "/a", fixed, {"X": "y"}, b"{}").endswith(b"X: y\r\nContent-Length: 2\r\n\r\n{}")
    with pytest.raises(ValueError, match="percent-encoded"):
        request_bytes("GET", "/a HTTP/1.1\r\nX: y", fixed, None, None)
