"""The short way of an ordinary request: one that comes whole is answered without aiohttp's streams and tasks.

Each connection begins here. A request with a plain head (`wire.head`) and a body of known length is gathered, answered
by one task and written as one piece of bytes. At the first thing out of the ordinary (pipelining, chunks, an upgrade,
a bad request, an answer that is a stream) the connection is aiohttp's from then on, beginning with the very bytes that
were out of the ordinary: its parser has seen nothing before them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from netlab.apiserver.wire.answer import head_of
from netlab.apiserver.wire.head import Head, plain_head
from netlab.apiserver.wire.message import Answer, Response

log = logging.getLogger("netlab.apiserver")

BUFFERED = 1 << 20
"""A client that is this far behind is waited for before its next request is answered."""
_LARGEST_BODY = 3 << 20

Quickly = Callable[["QuickConnection", Head, bytes], Awaitable[Answer]]
"""Answers a request from its head and its body."""


class QuickConnection(web.RequestHandler):
    """A connection that takes ordinary requests itself. Set `quickly` before use; None leaves all to aiohttp."""

    quickly: Quickly | None = None
    _quick = True
    _serving: "asyncio.Task[None] | None" = None
    _head: Head | None = None
    _parts: list[bytes]
    _missing = 0
    _early = b""
    _held = False
    _found: Answer | None = None

    @property
    def busy(self) -> bool:
        """A request is being answered."""
        return self._serving is not None or self._current_request is not None

    @property
    def in_body(self) -> bool:
        """A request's head has come, and not all of its body."""
        return self._missing > 0

    def found(self) -> Answer | None:
        """The answer that the short way found to the request that aiohttp sees next; it is given once."""
        found, self._found = self._found, None
        return found

    def data_received(self, data: bytes) -> None:
        if not self._quick or self.quickly is None or self._force_close or self._close:
            super().data_received(data)
        elif self._serving is not None:
            # the next request, before this one has its answer
            self._early += data
            self._hold()
        elif self._missing:
            self._go_on(data)
        else:
            self._begin(data)

    def _begin(self, data: bytes) -> None:
        head = plain_head(data)
        missing = head.size + head.length - len(data) if head is not None else 0
        if head is None or missing < 0 or head.length > _LARGEST_BODY:
            self._leave(data)
        elif missing:
            self._head, self._parts, self._missing = head, [data], missing
        else:
            self._serve(head, data)

    def _go_on(self, data: bytes) -> None:
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return
        head, whole, over = self._head, b"".join(self._parts), self._missing < 0
        self._head, self._parts, self._missing = None, [], 0
        if over or head is None:
            self._leave(whole)
        else:
            self._serve(head, whole)

    def _leave(self, data: bytes) -> None:
        """From here on, aiohttp reads this connection."""
        self._quick = False
        super().data_received(data)

    def _serve(self, head: Head, data: bytes) -> None:
        # aiohttp's watch over idle connections goes on
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        self._serving = self._loop.create_task(self._answer(head, data))

    async def _answer(self, head: Head, data: bytes) -> None:
        try:
            if self.quickly is None:
                return
            found = await self.quickly(self, head, data[head.size :])
            if not isinstance(found, Response):
                early, self._early, self._found, self._serving = self._early, b"", found, None
                self._release()
                self._leave(data + early)
                return
            await self._write(found)
        except ConnectionError:
            self.force_close()
        except Exception:
            log.exception("connection lost: %s %s", head.method, head.path)
            self.force_close()
        finally:
            self._serving = None
        self._read_on()

    async def _write(self, found: Response) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        start = head_of(found, keep_alive=True)
        if found.more:
            transport.writelines([start + found.body, *found.more])
        else:
            transport.write(start + found.body)
        await self.drained()

    async def drained(self) -> None:
        """Wait while the client is far behind."""
        if self.transport is not None and self.transport.get_write_buffer_size() > BUFFERED:
            await self._drain_helper()

    def _read_on(self) -> None:
        early, self._early = self._early, b""
        self._release()
        if early:
            self.data_received(early)

    def _hold(self) -> None:
        if not self._held and self.transport is not None:
            self._held = True
            self.transport.pause_reading()

    def _release(self) -> None:
        if self._held and self.transport is not None:
            self._held = False
            self.transport.resume_reading()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        if self._serving is not None:
            await asyncio.wait([self._serving], timeout=timeout)
        await super().shutdown(timeout)
