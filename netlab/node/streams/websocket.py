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
NORMAL, PROTOCOL_ERROR, TOO_BIG = 1000, 1002, 1009
MAX_MESSAGE, MAX_FRAGMENTS = 16 << 20, 1 << 16


class _BrokenError(Exception):
    """The client broke the protocol; `code` is the close frame's."""

    def __init__(self, code: int, why: str) -> None:
        self.code = code
        super().__init__(why)


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
        """(opcode, final, payload). Raises _BrokenError for what RFC 6455 forbids (sections 5.1, 5.2, 5.5)."""
        if not await self._need(2):
            return None
        first, second = self._buffer[0], self._buffer[1]
        opcode, final = first & 0x0F, first & 0x80
        size, at = second & 0x7F, 2
        if not second & 0x80:
            raise _BrokenError(PROTOCOL_ERROR, "a client masks what it sends")
        if first & 0x70 or opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise _BrokenError(PROTOCOL_ERROR, f"bits {first & 0x70:#x}, opcode {opcode}")
        if opcode >= CLOSE and (size > 125 or not final):
            raise _BrokenError(PROTOCOL_ERROR, "a control frame is short and whole")
        wide = {126: 2, 127: 8}.get(size, 0)
        if not await self._need(2 + wide + 4):
            return None
        if wide:
            size, at = int.from_bytes(self._buffer[2 : 2 + wide]), 2 + wide
        if size > MAX_MESSAGE:
            raise _BrokenError(TOO_BIG, f"a frame of {size} bytes")
        if not await self._need(at + 4 + size):
            return None
        mask = bytes(self._buffer[at : at + 4])
        payload = bytes(self._buffer[at + 4 : at + 4 + size])
        del self._buffer[: at + 4 + size]
        return opcode, final, unmask(payload, mask)

    async def receive(self) -> tuple[int, bytes] | None:
        """The next message as (opcode, data); None at the end. Who breaks the protocol is told why it ends."""
        try:
            return await self._message()
        except _BrokenError as problem:
            if not self._closed:
                self._closed = True
                await self._quietly(encode(CLOSE, struct.pack(">H", problem.code)))
            self._wire.close()
            return None

    async def _message(self) -> tuple[int, bytes] | None:
        kind, parts, whole = 0, [], 0
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
                if (opcode == CONTINUATION) != bool(kind):
                    raise _BrokenError(PROTOCOL_ERROR, "fragments out of their order")
                kind, whole = opcode or kind, whole + len(payload)
                parts.append(payload)
                if whole > MAX_MESSAGE or len(parts) > MAX_FRAGMENTS:
                    raise _BrokenError(TOO_BIG, f"a message of {whole} bytes in {len(parts)} fragments")
                if final:
                    return kind, b"".join(parts)
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
