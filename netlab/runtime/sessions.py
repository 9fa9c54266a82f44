"""exec and attach: the caller's end of a process's stdio."""

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import Awaitable, Callable
from typing import Literal

from netlab.runtime.crilog import Pump
from netlab.sandbox.client import StdioFds

CHUNK = 32 * 1024
QUEUE_BYTES = 256 * 1024

Stream = Literal["stdout", "stderr"]


class Output:
    """One stream to read from, with back-pressure: what nobody reads stays in the pipe."""

    def __init__(self, fd: int | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._waiter: asyncio.Future[None] | None = None
        if fd is not None:
            os.set_blocking(fd, False)

    async def read(self) -> bytes:
        while self._fd is not None:
            try:
                data = os.read(self._fd, CHUNK)
            except BlockingIOError:
                await self._readable()
                continue
            except OSError:  # EIO: nobody holds the terminal any more
                data = b""
            if not data:
                self.close()
            return data
        return b""

    async def _readable(self) -> None:
        assert self._fd is not None  # noqa: S101 - read() has looked
        self._waiter = self._loop.create_future()
        self._loop.add_reader(self._fd, self._wake)
        try:
            await self._waiter
        finally:
            if self._fd is not None:
                self._loop.remove_reader(self._fd)
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None
            self._wake()


class Input:
    """stdin: writes wait until the process takes them."""

    def __init__(self, fd: int | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._waiter: asyncio.Future[None] | None = None
        if fd is not None:
            os.set_blocking(fd, False)

    @property
    def is_open(self) -> bool:
        return self._fd is not None

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self._fd is not None:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                await self._writable()
            except OSError:
                self.close()

    async def _writable(self) -> None:
        assert self._fd is not None  # noqa: S101
        self._waiter = self._loop.create_future()
        self._loop.add_writer(self._fd, self._wake)
        try:
            await self._waiter
        finally:
            if self._fd is not None:
                self._loop.remove_writer(self._fd)
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        if self._fd is not None:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = None
            self._wake()


def set_size(fd: int, width: int, height: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", height & 0xFFFF, width & 0xFFFF, 0, 0))


class ExecSession:
    """See contract.Session. `ended`: the process's exit status; `stop`: kill and forget it."""

    def __init__(self, stdio: StdioFds, ended: "asyncio.Future[int]", stop: Callable[[], Awaitable[None]]) -> None:
        self._tty = stdio.tty
        if stdio.tty is not None:
            self._stdin = Input(os.dup(stdio.tty))
            self._outputs = {"stdout": Output(stdio.tty), "stderr": Output(None)}
        else:
            self._stdin = Input(stdio.stdin)
            self._outputs = {"stdout": Output(stdio.stdout), "stderr": Output(stdio.stderr)}
        self._ended = ended
        self._stop = stop
        self._closed = False

    async def read(self, stream: Stream) -> bytes:
        return await self._outputs[stream].read()

    async def write(self, data: bytes) -> None:
        await self._stdin.write(data)

    async def close_stdin(self) -> None:
        if self._tty is None:
            self._stdin.close()

    def resize(self, width: int, height: int) -> None:
        if self._tty is not None and not self._closed:
            set_size(self._tty, width, height)

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._stdin.close()
        for output in self._outputs.values():
            output.close()
        await self._stop()


class AttachSession:
    """Output as the pump reads it, from now on. A reader that is too slow loses the oldest bytes, as upstream's."""

    def __init__(
        self,
        pump: Pump | None,
        stdin: int | None,
        tty: int | None,
        ended: "asyncio.Future[int]",
        end_of_input: Callable[[], Awaitable[None]],
    ) -> None:
        self._pump = pump
        self._stdin = Input(stdin)
        self._tty = tty
        self._ended = ended
        self._end_of_input = end_of_input
        self._buffers: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._wake = asyncio.Event()
        self._finished = pump is None or pump.finished.done()
        if pump is not None:
            pump.taps.append(self._tap)

    def _tap(self, stream: str, data: bytes) -> None:
        if stream:
            buffer = self._buffers[stream]
            buffer += data
            if len(buffer) > QUEUE_BYTES:
                del buffer[: len(buffer) - QUEUE_BYTES]
        else:
            self._finished = True
        self._wake.set()

    async def read(self, stream: Stream) -> bytes:
        buffer = self._buffers[stream]
        while not buffer and not self._finished:
            self._wake.clear()
            await self._wake.wait()
        data = bytes(buffer)
        buffer.clear()
        return data

    async def write(self, data: bytes) -> None:
        await self._stdin.write(data)

    async def close_stdin(self) -> None:
        """Our end; the container sees the end of its input only with stdinOnce."""
        if self._tty is None and self._stdin.is_open:
            self._stdin.close()
            await self._end_of_input()

    def resize(self, width: int, height: int) -> None:
        if self._tty is not None:
            set_size(self._tty, width, height)

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    async def close(self) -> None:
        if self._pump is not None and self._tap in self._pump.taps:
            self._pump.taps.remove(self._tap)
        self._finished = True
        self._wake.set()
        await self.close_stdin()
        if self._tty is not None:
            self._stdin.close()
            os.close(self._tty)
            self._tty = None
