"""WebSocket frames (RFC 6455), the server's side, over a Wire."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Sequence

from netlab.node.streams.http import Request, head
from netlab.node.streams.pipe import Wire

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
NORMAL = 1000
MAX_MESSAGE = 16 << 20


def choose(request: Request, supported: Sequence[str]) -> str | None:
    """The first protocol that the client names and we speak; "" when it names none; None when none fits."""
    wanted = request.values("sec-websocket-protocol")
    if not wanted:
        return ""
    return next((protocol for protocol in wanted if protocol in supported), None)


def handshake(request: Request, protocol: str) -> bytes:
    """The 101 answer."""
    key = request.headers.get("sec-websocket-key", "").encode()
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
    headers = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]
    if protocol:
        headers.append(("Sec-WebSocket-Protocol", protocol))
    return head(101, headers)


def encode(opcode: int, data: bytes) -> bytes:
    """One unmasked, final frame."""
    size = len(data)
    if size < 126:
        return struct.pack(">BB", 0x80 | opcode, size) + data
    if size < 1 << 16:
        return struct.pack(">BBH", 0x80 | opcode, 126, size) + data
    return struct.pack(">BBQ", 0x80 | opcode, 127, size) + data


def unmask(data: bytes, mask: bytes) -> bytes:
    """XOR with the repeated mask; as one big number, because that is quick in Python."""
    if not data:
        return data
    repeated = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data) ^ int.from_bytes(repeated)).to_bytes(len(data))


class WebSocket:
    """Messages over a Wire. Pings are answered; a close is answered and ends the reading."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._buffer = bytearray()
        self._closed = False

    async def _need(self, count: int) -> bool:
        while len(self._buffer) < count:
            data = await self._wire.read()
            if not data:
                return False
            self._buffer += data
        return True

    async def _frame(self) -> tuple[int, int, bytes] | None:
        """(opcode, final, payload)."""
        if not await self._need(2):
            return None
        first, second = self._buffer[0], self._buffer[1]
        size, at = second & 0x7F, 2
        wide = {126: 2, 127: 8}.get(size, 0)
        masked = 4 if second & 0x80 else 0
        if not await self._need(2 + wide + masked):
            return None
        if wide:
            size, at = int.from_bytes(self._buffer[2 : 2 + wide]), 2 + wide
        if size > MAX_MESSAGE or not await self._need(at + masked + size):
            return None
        mask = bytes(self._buffer[at : at + masked])
        payload = bytes(self._buffer[at + masked : at + masked + size])
        del self._buffer[: at + masked + size]
        return first & 0x0F, first & 0x80, unmask(payload, mask) if masked else payload

    async def receive(self) -> tuple[int, bytes] | None:
        """The next message as (opcode, data); None at the end."""
        kind, parts = 0, b""
        while (frame := await self._frame()) is not None:
            opcode, final, payload = frame
            if opcode == PING:
                await self._wire.write(encode(PONG, payload))
            elif opcode == CLOSE:
                if not self._closed:
                    self._closed = True
                    await self._quietly(encode(CLOSE, payload[:2]))
                return None
            elif opcode != PONG:
                kind = opcode or kind
                parts += payload
                if final:
                    return kind, parts
        return None

    async def send(self, data: bytes, opcode: int = BINARY) -> None:
        """Raises ConnectionError when the other side is gone."""
        if self._closed:
            raise ConnectionResetError("the WebSocket is closed")
        await self._wire.write(encode(opcode, data))

    async def close(self, code: int = NORMAL) -> None:
        """Send a close frame, wait for its answer, close the connection."""
        if not self._closed:
            self._closed = True
            await self._quietly(encode(CLOSE, struct.pack(">H", code)))
        self._wire.close()

    async def _quietly(self, data: bytes) -> None:
        try:
            await self._wire.write(data)
        except ConnectionError:
            return


class WebSocketWire:
    """A byte stream inside binary messages: SPDY tunnelled through a WebSocket (KEP-4006)."""

    def __init__(self, socket: WebSocket, closer: Wire) -> None:
        self._socket, self._closer = socket, closer

    async def read(self) -> bytes:
        while (message := await self._socket.receive()) is not None:
            if message[1]:
                return message[1]
        return b""

    async def write(self, data: bytes) -> None:
        await self._socket.send(data)

    def close(self) -> None:
        self._closer.close()
