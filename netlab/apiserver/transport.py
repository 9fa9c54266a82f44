"""aiohttp, adapted: a connection that knows its peer and its stream, and answers that are written as they are.

aiohttp parses requests and keeps connections; a whole answer goes to the transport as one piece of bytes, a watch's
frames go there as they come. Building a header map per answer would cost more than all the rest of a GET.
"""

import asyncio
import socket

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from netlab.apiserver.quick import QuickConnection, Quickly
from netlab.apiserver.wire.answer import head_of
from netlab.apiserver.wire.message import Response, Streaming

_PEER_OPTIONS = (
    (socket.TCP_KEEPIDLE, 15),
    (socket.TCP_KEEPINTVL, 5),
    (socket.TCP_KEEPCNT, 3),
    (socket.TCP_USER_TIMEOUT, 30_000),
)
"""A peer behind a cut cable says nothing: its connection, and what waits in it, is given up after half a minute."""


class Connection(QuickConnection):
    """One client's connection. `stream` is the task of a watch on it, which ends with the connection.

    `waiting_since`: since when (loop time) a request is awaited whose first byte has come, or the very first request.
    """

    _peer: bytes | None = None
    _peer_known = False
    stream: asyncio.Task[object] | None = None
    waiting_since: float | None = None

    def peer_certificate(self) -> bytes | None:
        """The client's certificate (DER), not verified; None without one. Asked for once per connection."""
        if not self._peer_known and self.transport is not None:
            tls = self.transport.get_extra_info("ssl_object")
            self._peer = tls.getpeercert(True) if tls is not None else None
            self._peer_known = True
        return self._peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.waiting_since = self._loop.time()
        sock = transport.get_extra_info("socket")
        if sock is not None:
            for option, value in _PEER_OPTIONS:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def data_received(self, data: bytes) -> None:
        if self.waiting_since is None and self.stream is None and not self.busy:
            self.waiting_since = self._loop.time()
        super().data_received(data)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP is answered as Go's server does, in plain text; that is nothing for the log."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        code, text = (431, "Request Header Fields Too Large") if isinstance(exc, LineTooLong) else (400, "Bad Request")
        answer = Ready(Response(code, f"{code} {text}".encode(), "text/plain; charset=utf-8"), request)
        answer.force_close()
        return answer

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.stream is not None:
            self.stream.cancel()
        super().connection_lost(exc)


class HttpServer(web.Server):
    """The protocol factory: `Connection`s that call one handler, or `quickly` for ordinary requests."""

    quickly: Quickly | None = None

    def __call__(self) -> Connection:
        made = Connection(self, loop=self._loop, **self._kwargs)
        made.quickly = self.quickly
        return made

    def end_streams(self) -> None:
        """End watches and connections that wait for a request: aiohttp's shutdown would give each its whole time."""
        for connection in list(self.connections):
            if not isinstance(connection, Connection):
                continue
            if connection.stream is not None:
                connection.stream.cancel()
            elif not connection.busy:
                connection.force_close()


class Ready(web.StreamResponse):
    """A whole answer, as aiohttp's server loop wants to see one; it knows nothing but its bytes."""

    def __init__(self, found: Response, http: web.BaseRequest) -> None:
        self._found, self._http = found, http
        self._keep_alive = http.keep_alive

    def __repr__(self) -> str:
        return f"<Ready {self._found.code}>"

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        found, transport = self._found, self._http.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        head = head_of(found, keep_alive=bool(self._keep_alive))
        if self._http.method == "HEAD":
            transport.write(head)
        elif found.more:
            transport.writelines([head + found.body, *found.more])
        else:
            transport.write(head + found.body)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        connection = self._http.protocol
        if isinstance(connection, Connection):
            await connection.drained()


class TransportSink:
    """A watch's connection, as `netlab.apiserver.wire.message.Sink`."""

    __slots__ = ("_transport", "initial")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.initial = 0

    @property
    def closed(self) -> bool:
        return self._transport.is_closing()

    @property
    def buffered(self) -> int:
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def abort(self) -> None:
        self._transport.abort()


async def stream(http: web.BaseRequest, found: Streaming) -> web.StreamResponse:
    """Send the head, then let `found` write its chunks until it is done or the client is gone."""
    response = web.StreamResponse(status=200, headers={"Content-Type": found.content_type})
    response.headers["Cache-Control"] = "no-cache, private"
    response.headers.update(found.headers)
    response.enable_chunked_encoding()
    await response.prepare(http)
    transport, connection = http.transport, http.protocol
    if transport is None or not isinstance(connection, Connection):
        return response
    connection.stream = asyncio.current_task()
    try:
        await found.run(TransportSink(transport))
    finally:
        connection.stream = None
    # the frames went past aiohttp's writer, which ends the body itself
    return response
