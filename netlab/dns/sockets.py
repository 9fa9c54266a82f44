"""The sockets of one port and address: UDP read in handfuls, TCP one connection after the other."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Coroutine
from typing import Any

from netlab.dns.router import Router

HANDFUL = 64
"""Datagrams that are answered before the loop has its turn."""
TCP_IDLE = 10.0
BUFFER = 1 << 20


class Listener:
    """Answers by whatever router it has now."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.router: Router | None = None
        self._udp: socket.socket | None = None
        self._tcp: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> int:
        """Bind both; the port that was bound (for port 0). OSError with the address in its text."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._tcp = await asyncio.start_server(self._connection, self.host, self.port)
        self.port = int(self._tcp.sockets[0].getsockname()[1])
        udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            if family == socket.AF_INET6:
                udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            udp.bind((self.host, self.port))
        except OSError as error:
            udp.close()
            self._tcp.close()
            raise OSError(error.errno, f"listen udp {self.host}:{self.port}: bind: {error.strerror}") from None
        self._udp = udp
        asyncio.get_running_loop().add_reader(udp.fileno(), self._readable)
        return self.port

    def _readable(self) -> None:
        udp, router = self._udp, self.router
        if udp is None or router is None:
            return
        receive, send, ready = udp.recvfrom, udp.sendto, router.ready
        for _ in range(HANDFUL):
            try:
                data, client = receive(4096)
            except OSError:  # nothing more; or an ICMP error of an earlier answer
                return
            answer = ready(data, client)
            if answer is None:
                handled = router.handle(data, "udp", client[:2])
                if isinstance(handled, bytes):
                    answer = handled
                elif handled is not None:
                    self._keep(self._later(udp, handled, client))
                    continue
                else:
                    continue
            with contextlib.suppress(OSError):  # a full buffer or an address that is gone: the asker asks again
                send(answer, client)

    async def _later(self, udp: socket.socket, handled: Awaitable[bytes], client: tuple[str, int]) -> None:
        answer = await handled
        with contextlib.suppress(OSError):
            udp.sendto(answer, client)

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Questions of one connection, answered in parallel: a slow one does not hold up the others."""
        lock = asyncio.Lock()
        client = tuple((writer.get_extra_info("peername") or ("", 0))[:2])
        try:
            while True:
                async with asyncio.timeout(TCP_IDLE):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    data = await reader.readexactly(length)
                handled = self.router.handle(data, "tcp", client) if self.router else None
                if handled is None:
                    return
                if isinstance(handled, bytes):
                    await _write(writer, lock, handled)
                else:
                    self._keep(_write_later(writer, lock, handled))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def close(self) -> None:
        """Close both sockets; what is being answered is given up."""
        if self._udp is not None:
            asyncio.get_running_loop().remove_reader(self._udp.fileno())
            self._udp.close()
            self._udp = None
        if self._tcp is not None:
            self._tcp.close()
        for task in list(self._tasks):
            task.cancel()


async def _write(writer: asyncio.StreamWriter, lock: asyncio.Lock, answer: bytes) -> None:
    async with lock:
        writer.write(struct.pack("!H", len(answer)) + answer)
        await writer.drain()


async def _write_later(writer: asyncio.StreamWriter, lock: asyncio.Lock, handled: Awaitable[bytes]) -> None:
    answer = await handled
    with contextlib.suppress(OSError):
        await _write(writer, lock, answer)
