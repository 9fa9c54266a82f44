"""Where bytes come from and go to: a connection, or whatever is wrapped to look like one."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Wire(Protocol):
    """A bidirectional byte stream."""

    async def read(self) -> bytes:
        """The next bytes; b"" at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError when the other side is gone."""
        ...

    def close(self) -> None: ...


class SocketWire:
    """A Wire over asyncio's streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        try:
            return await self._reader.read(65536)
        except OSError:
            return b""

    async def write(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError("the other side is gone")
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()


class Channel:
    """Bytes received for one stream, waiting to be read."""

    ROOM = 4 << 20
    """How much may wait, bytes, before whoever feeds is to wait, too."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._ended = False
        self._wake, self._read = asyncio.Event(), asyncio.Event()

    def feed(self, data: bytes) -> None:
        if data:
            self._parts.append(data)
            self._size += len(data)
            self._wake.set()

    async def room(self) -> None:
        """Wait while too much is unread; not for what nobody will read any more."""
        while self._size > self.ROOM and not self._ended:
            self._read.clear()
            await self._read.wait()

    def end(self) -> None:
        self._ended = True
        self._wake.set()
        self._read.set()

    async def read(self) -> bytes:
        """What has come; b"" at the end."""
        while not self._parts:
            if self._ended:
                return b""
            self._wake.clear()
            await self._wake.wait()
        data = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        self._read.set()
        return data
