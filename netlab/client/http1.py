"""HTTP/1.1 from the client's side, as little of it as an API client needs: RFC 9112 over asyncio streams of bytes.

A general HTTP library costs three times as much for a request as everything else around it, and twenty nodes that
start a thousand pods make twelve thousand requests. Here is one connection and its one exchange at a time; bodies are
of known length, in chunks, or up to the end of the connection. No redirects, no cookies, no compression, no upgrades:
the API server sends none to who asks for none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

MOST_HEAD = 1 << 18
"""Bytes of a status line and headers; more is not an API server."""
BEHIND = 1 << 20
"""A stream whose reader is so many bytes behind is not read on."""


class ProtocolError(ConnectionError):
    """What came is not HTTP as we know it, or ended early."""


class Headers(dict[str, str]):
    """Looked up case-insensitively; of a repeated header the last value."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return super().get(name.lower(), default)


def request_bytes(
    method: str, target: str, fixed: bytes, headers: Mapping[str, str] | None, body: bytes | None
) -> bytes:
    """A whole request. `fixed`: header lines that are the same for every request of a client, Host among them."""
    if any(mark in target for mark in (" ", "\r", "\n")):
        raise ValueError(f"{target!r} is no request target: it must be percent-encoded")
    lines = [f"{method} {target} HTTP/1.1\r\n".encode(), fixed]
    for name, value in (headers or {}).items():
        lines.append(f"{name}: {value}\r\n".encode())
    if body is not None:
        lines += [b"Content-Length: %d\r\n\r\n" % len(body), body]
    elif method in ("POST", "PUT", "PATCH"):
        lines.append(b"Content-Length: 0\r\n\r\n")
    else:
        lines.append(b"\r\n")
    return b"".join(lines)


class Exchange:
    """One answer as it arrives; `status` is 0 before its head has. `problem`: why there will be no more of it."""

    __slots__ = ("complete", "headers", "method", "pieces", "problem", "size", "status", "streaming", "wanted")

    def __init__(self, method: str, *, streaming: bool) -> None:
        self.method, self.streaming = method, streaming
        self.status = 0
        self.headers = Headers()
        self.pieces: list[bytes] = []
        self.size = 0
        self.complete = False
        self.problem: Exception | None = None
        self.wanted: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self.wanted is not None and not self.wanted.done():
            self.wanted.set_result(None)


class Connection(asyncio.Protocol):
    """One connection. `usable`: it is open and its last exchange ended properly."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._rest = b""
        self._left = 0  # bytes to come of the body, or of its current chunk
        self._framing = ""  # "", "length", "chunks", "trailers", "close"
        self._after_chunk = False
        self._keep = True
        self._paused = False

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        exchange = self._exchange
        if exchange is not None and self._framing == "close" and exc is None:
            self._finished()
        else:
            self._fail(exc or ProtocolError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:  # nobody asked: such a connection is not to be trusted
            self.abort()
            return
        try:
            self._parse(exchange, self._rest + data if self._rest else data)
        except (ValueError, LookupError) as error:
            self._fail(ProtocolError(f"the answer is not HTTP: {error}"))
            self.abort()

    # ours

    @property
    def usable(self) -> bool:
        return (
            self._transport is not None and not self._transport.is_closing() and self._keep and self._exchange is None
        )

    def send(self, method: str, request: bytes, *, streaming: bool = False) -> Exchange:
        """Begin an exchange; only a `streaming` one can be read piece by piece. ConnectionError where the connection
        has just ended."""
        if not self.usable or self._transport is None:
            raise ConnectionResetError("the connection has ended")
        self._exchange = exchange = Exchange(method, streaming=streaming)
        self._framing = ""
        self._transport.write(request)
        return exchange

    async def head(self, exchange: Exchange) -> None:
        """Return when status and headers are there."""
        while not exchange.status and not exchange.complete:
            await self._more(exchange)
        if not exchange.status and exchange.problem is not None:
            raise exchange.problem

    async def body(self, exchange: Exchange) -> bytes:
        """The whole body."""
        while not exchange.complete:
            await self._more(exchange)
        if exchange.problem is not None:
            raise exchange.problem
        return exchange.pieces[0] if len(exchange.pieces) == 1 else b"".join(exchange.pieces)

    async def piece(self, exchange: Exchange) -> bytes:
        """What has come since the last call, at least one byte; empty at the end."""
        while not exchange.pieces and not exchange.complete:
            await self._more(exchange)
        if exchange.pieces:
            found = exchange.pieces[0] if len(exchange.pieces) == 1 else b"".join(exchange.pieces)
            exchange.pieces.clear()
            exchange.size = 0
            if self._paused and self._transport is not None:
                self._paused = False
                self._transport.resume_reading()
            return found
        if exchange.problem is not None:
            raise exchange.problem
        return b""

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    async def _more(self, exchange: Exchange) -> None:
        exchange.wanted = self._loop.create_future()
        try:
            await exchange.wanted
        finally:
            exchange.wanted = None

    def _finished(self) -> None:
        exchange, self._exchange = self._exchange, None
        self._rest = b""
        if exchange is not None:
            exchange.complete = True
            exchange.wake()

    def _fail(self, problem: Exception) -> None:
        self._keep = False
        if self._exchange is not None:
            self._exchange.problem = problem
            self._finished()

    # the wire

    def _parse(self, exchange: Exchange, data: bytes) -> None:
        self._rest = b""
        while not self._framing:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > MOST_HEAD:
                    raise ValueError("endless headers")
                self._rest = data
                return
            self._head(exchange, data[:end].decode("latin-1"))
            data = data[end + 4 :]
        if self._framing == "length":
            self._sized(exchange, data)
        elif self._framing == "close":
            self._take(exchange, data)
        else:
            self._chunks(exchange, data)
        if exchange.streaming and self._exchange is exchange:
            exchange.wake()
            if exchange.size > BEHIND and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()

    def _head(self, exchange: Exchange, text: str) -> None:
        line, *fields = text.split("\r\n")
        version, _, rest = line.partition(" ")
        if not version.startswith("HTTP/1."):
            raise ValueError(repr(line[:80]))
        status = int(rest[:3])
        if status < 200:  # 100 Continue and its like come before the answer
            return
        headers = exchange.headers
        for header in fields:
            name, _, value = header.partition(":")
            dict.__setitem__(headers, name.lower(), value.strip())
        connection = (headers.get("connection") or "").lower()
        self._keep = version != "HTTP/1.0" and connection != "close"
        if exchange.method == "HEAD" or status in (204, 304):
            self._framing, self._left = "length", 0
        elif (headers.get("transfer-encoding") or "").lower() == "chunked":
            self._framing, self._left, self._after_chunk = "chunks", 0, False
        elif (length := headers.get("content-length")) is not None:
            self._framing, self._left = "length", int(length)
        else:
            self._framing, self._keep = "close", False
        exchange.status = status

    def _sized(self, exchange: Exchange, data: bytes) -> None:
        if len(data) > self._left:
            raise ValueError("more than it announced")
        self._left -= len(data)
        if data:
            self._take(exchange, data)
        if not self._left:
            self._finished()

    def _take(self, exchange: Exchange, data: bytes) -> None:
        if data:
            exchange.pieces.append(data)
            exchange.size += len(data)

    def _chunks(self, exchange: Exchange, data: bytes) -> None:
        """RFC 9112 section 7.1; what is not complete is kept for the next time."""
        at, end = 0, len(data)
        while self._framing == "chunks":
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                self._take(exchange, piece)
                if self._left:
                    return
                self._after_chunk = True
            if self._after_chunk:
                if end - at < 2:
                    break
                if data[at : at + 2] != b"\r\n":
                    raise ValueError("a chunk is longer than it announced")
                at += 2
                self._after_chunk = False
            line = data.find(b"\r\n", at)
            if line < 0:
                break
            self._left = int(data[at:line].partition(b";")[0], 16)
            at = line + 2
            if not self._left:
                self._framing = "trailers"  # none are sent to us; they are skipped
        while self._framing == "trailers":
            line = data.find(b"\r\n", at)
            if line < 0:
                break
            if line == at:
                self._finished()
                return
            at = line + 2
        self._rest = data[at:]
