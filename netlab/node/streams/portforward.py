"""Port forwarding: a pair of streams (error, data) per connection, over SPDY, over SPDY inside a WebSocket, or over
plain WebSocket channels (upstream staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward).
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass

from netlab.node.streams import websocket
from netlab.node.streams.http import Request, head
from netlab.node.streams.pipe import Channel, Wire
from netlab.node.streams.remotecommand import RefusedError
from netlab.node.streams.spdysession import SpdySession, Stream

SPDY_PROTOCOL = "portforward.k8s.io"
TUNNEL_PROTOCOL = "SPDY/3.1+portforward.k8s.io"
WEBSOCKET_PROTOCOLS = (TUNNEL_PROTOCOL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io")

Dial = Callable[[int], Awaitable[Wire]]
"""Connects to a port of the pod; raises OSError whose text is for the client."""


async def _pump(read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]]) -> None:
    while data := await read():
        await write(data)


async def _quietly(work: Coroutine[None, None, None]) -> None:
    """A client that goes away is nothing to tell of."""
    with contextlib.suppress(ConnectionError):
        await work


@dataclass(slots=True)
class _Pair:
    error: Stream | None = None
    data: Stream | None = None


class SpdyForward:
    """All connections of one client."""

    def __init__(self, session: SpdySession, dial: Dial) -> None:
        self._session, self._dial = session, dial
        self._pairs: dict[str, _Pair] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until the client goes away."""
        reader = asyncio.get_running_loop().create_task(self._session.run())
        try:
            while (stream := await self._session.accept()) is not None:
                self._opened(stream)
        finally:
            reader.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(reader, *self._tasks, return_exceptions=True)

    def _opened(self, stream: Stream) -> None:
        kind, number = stream.headers.get("streamtype"), stream.headers.get("requestid", "")
        port = stream.headers.get("port", "")
        if kind not in ("error", "data") or not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536):
            # upstream: "invalid stream type", "unable to parse … as a port"
            self._later(stream.reset())
            self._session.forget(stream)
            return
        pair = self._pairs.setdefault(number, _Pair())
        if kind == "error":
            pair.error = stream
        else:
            pair.data = stream
        if pair.error is not None and pair.data is not None:
            del self._pairs[number]
            self._later(self._forward(pair.error, pair.data))

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, error: Stream, data: Stream) -> None:
        port = int(data.headers["port"])
        try:
            try:
                target = await self._dial(port)
            except OSError as problem:
                await error.write(str(problem).encode())
                await error.end()
                await data.reset()
                return
            await _both_ways(data.read, data.write, target)
            await error.end()
            await data.end()
        except ConnectionError:
            return
        finally:
            self._session.forget(error)
            self._session.forget(data)


async def _both_ways(
    read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]], target: Wire
) -> None:
    """Until the pod has said all; the client's end of input is passed on."""
    upload = asyncio.get_running_loop().create_task(_upload(read, target))
    try:
        await _pump(target.read, write)
    finally:
        upload.cancel()
        await asyncio.gather(upload, return_exceptions=True)
        target.close()


async def _upload(read: Callable[[], Awaitable[bytes]], target: Wire) -> None:
    await _pump(read, target.write)
    finish = getattr(target, "finish", None)
    if finish is not None:
        finish()


def asked_ports(query: Sequence[tuple[str, str]]) -> list[int]:
    """The ports of plain WebSocket channels; repeated, or several in one parameter (NewV4Options). RefusedError 400."""
    values = [value for key, value in query if key == "port"]
    if not values:
        raise RefusedError(400, 'query parameter "port" is required')
    found = []
    for value in values:
        if not value:
            raise RefusedError(400, 'query parameter "port" cannot be empty')
        for port in value.split(","):
            if not (port.isascii() and port.isdecimal() and int(port[:6]) < 65536):
                raise RefusedError(400, f'unable to parse "{value}" as a port')
            if not int(port):
                raise RefusedError(400, f'port "{value}" must be > 0')
            found.append(int(port))
    return found


class ChannelForward:
    """Plain WebSocket: channels 2i (data) and 2i+1 (error) for the i-th port asked for, each led by the port number."""

    def __init__(self, socket: websocket.WebSocket, ports: Sequence[int], dial: Dial, base64: bool) -> None:
        self._socket, self._ports, self._dial, self._base64 = socket, ports, dial, base64

    async def _send(self, channel: int, data: bytes) -> None:
        if self._base64:
            from base64 import b64encode

            await self._socket.send(str(channel).encode() + b64encode(data), websocket.TEXT)
        else:
            await self._socket.send(bytes((channel,)) + data)

    async def run(self) -> None:
        """Until the client goes away."""
        inputs = [Channel() for _ in self._ports]
        for index, port in enumerate(self._ports):
            await self._send(2 * index, struct.pack("<H", port))
            await self._send(2 * index + 1, struct.pack("<H", port))
        forwarding = asyncio.get_running_loop().create_task(self._forward_all(inputs))
        try:
            while (message := await self._socket.receive()) is not None:
                channel, data = self._split(message[1])
                if channel % 2 == 0 and channel // 2 < len(inputs):
                    inputs[channel // 2].feed(data)
                    await inputs[channel // 2].room()
        except ConnectionError:
            pass
        finally:
            forwarding.cancel()
            await asyncio.gather(forwarding, return_exceptions=True)

    async def _forward_all(self, inputs: Sequence[Channel]) -> None:
        """The WebSocket ends with the last of the connections."""
        async with asyncio.TaskGroup() as group:
            for index, port in enumerate(self._ports):
                group.create_task(_quietly(self._forward(index, port, inputs[index])))
        await _quietly(self._socket.close())

    def _split(self, message: bytes) -> tuple[int, bytes]:
        if not message:
            return 1, b""
        if self._base64:
            from base64 import b64decode

            try:
                return message[0] - ord("0"), b64decode(message[1:])
            except ValueError:
                raise ConnectionResetError("a message is no base64") from None
        return message[0], message[1:]

    async def _forward(self, index: int, port: int, received: Channel) -> None:
        try:
            target = await self._dial(port)
        except OSError as problem:
            await self._send(2 * index + 1, str(problem).encode())
            return

        async def write(data: bytes) -> None:
            await self._send(2 * index, data)

        await _both_ways(received.read, write, target)


async def serve(request: Request, wire: Wire, dial: Dial, write: Callable[[bytes], None]) -> None:
    """Answer the upgrade and forward until the client goes away. Raises RefusedError."""
    if request.wants("websocket"):
        protocol = websocket.choose(request, WEBSOCKET_PROTOCOLS)
        if protocol is None:
            asked = request.headers.get("sec-websocket-protocol", "")
            raise RefusedError(403, f"unable to negotiate a WebSocket protocol: client asked for {asked}")
        ports = [] if protocol == TUNNEL_PROTOCOL else asked_ports(request.query)
        write(websocket.handshake(request, protocol))
        socket = websocket.WebSocket(wire)
        if protocol == TUNNEL_PROTOCOL:
            await SpdyForward(SpdySession(websocket.WebSocketWire(socket, wire)), dial).run()
        else:
            await ChannelForward(socket, ports, dial, "base64" in protocol).run()
        return
    if not request.wants("spdy/3.1"):
        raise RefusedError(400, "unable to upgrade: missing upgrade headers in request")
    wanted = request.values("x-stream-protocol-version")
    if wanted and SPDY_PROTOCOL not in wanted:
        raise RefusedError(403, f"unable to upgrade: unable to negotiate protocol: client supports {wanted}")
    headers = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", SPDY_PROTOCOL)]
    write(head(101, headers))
    await SpdyForward(SpdySession(wire), dial).run()
