"""A SPDY/3.1 connection, the server's side: the client opens streams, both write to them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping

from netlab.node.streams import spdy
from netlab.node.streams.pipe import Channel, Wire
from netlab.node.streams.spdy import Decoder, Encoder, Frame, SpdyError

log = logging.getLogger(__name__)

PIECE = 32 * 1024
MAX_STREAMS = 4096


class Stream:
    """One stream; `headers` are those of its SYN_STREAM."""

    def __init__(self, session: SpdySession, number: int, headers: Mapping[str, str]) -> None:
        self.number, self.headers = number, headers
        self.received = Channel()
        self._session = session
        self._ended = False

    async def read(self) -> bytes:
        """The next bytes; b"" once the client has finished its side."""
        return await self.received.read()

    async def write(self, data: bytes) -> None:
        """Raises ConnectionError when the client is gone."""
        for start in range(0, len(data), PIECE):
            await self._session.send(Frame(0, self.number, 0, data[start : start + PIECE]))

    async def end(self) -> None:
        """Nothing more will be written."""
        if not self._ended:
            self._ended = True
            await self._session.send(Frame(0, self.number, spdy.FIN))

    async def reset(self) -> None:
        """Drop the stream."""
        if not self._ended:
            self._ended = True
            await self._session.send(Frame(spdy.RST_STREAM, self.number, code=spdy.CANCEL))


class SpdySession:
    """`accept` gives the streams as the client opens them; `run` reads frames until the connection ends."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._encoder, self._decoder = Encoder(), Decoder()
        self._streams: dict[int, Stream] = {}
        self._new: asyncio.Queue[Stream | None] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def accept(self) -> Stream | None:
        """The next stream that the client opens; None when the connection has ended."""
        stream = await self._new.get()
        if stream is None:
            self._new.put_nowait(None)
        return stream

    async def send(self, frame: Frame) -> None:
        """Frames leave in the order of the calls (their headers are compressed with one state)."""
        await self._wire.write(self._encoder.encode(frame))

    async def run(self) -> None:
        """Until the connection ends; a client that breaks the protocol is told so, and ends it."""
        try:
            while data := await self._wire.read():
                for frame in self._decoder.feed(data):
                    await self._handle(frame)
        except ConnectionError:
            pass
        except SpdyError as problem:
            log.debug("a client's SPDY connection ends: %s", problem)
            with contextlib.suppress(ConnectionError):
                await self.send(Frame(spdy.GOAWAY, code=spdy.PROTOCOL_ERROR))
            self._wire.close()
        finally:
            self._end()

    async def _handle(self, frame: Frame) -> None:
        if frame.kind == spdy.SYN_STREAM:
            if frame.stream in self._streams or len(self._streams) >= MAX_STREAMS:
                code = spdy.PROTOCOL_ERROR if frame.stream in self._streams else spdy.REFUSED_STREAM
                await self.send(Frame(spdy.RST_STREAM, frame.stream, code=code))
                return
            stream = self._streams[frame.stream] = Stream(self, frame.stream, frame.headers)
            await self.send(Frame(spdy.SYN_REPLY, frame.stream))
            if frame.flags & spdy.FIN:
                stream.received.end()
            self._new.put_nowait(stream)
        elif frame.kind == spdy.PING and frame.code % 2:
            await self.send(frame)
        elif frame.kind == 0:
            known = self._streams.get(frame.stream)
            if known is not None:
                known.received.feed(frame.data)
                await known.received.room()
                if frame.flags & spdy.FIN:
                    known.received.end()
        elif frame.kind == spdy.RST_STREAM:
            dropped = self._streams.pop(frame.stream, None)
            if dropped is not None:
                dropped.received.end()

    def forget(self, stream: Stream) -> None:
        """The stream is over on both sides."""
        stream.received.end()
        self._streams.pop(stream.number, None)

    def _end(self) -> None:
        for stream in self._streams.values():
            stream.received.end()
        self._new.put_nowait(None)
        self.closed.set()

    async def close(self) -> None:
        """Say goodbye and close the connection."""
        with contextlib.suppress(ConnectionError):
            await self.send(Frame(spdy.GOAWAY))
        self._wire.close()


__all__ = ["SpdyError", "SpdySession", "Stream"]
