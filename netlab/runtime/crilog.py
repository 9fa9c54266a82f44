"""Container logs as the CRI defines them: `<RFC 3339 nanoseconds> stdout|stderr F|P <line>`, and the pump into them.

kubernetes/design-proposals/node/kubelet-cri-logging.md: P is a part of a line whose end is still to come. The pump is
resumable: pipes are kept by PID 1, so what was not read yet waits for the next pump.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

MAX_LINE = 16 * 1024  # containerd's max_container_log_line_size
CHUNK = 64 * 1024

Tap = Callable[[str, bytes], None]


def timestamp(nanoseconds: int) -> str:
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"


class LineSplitter:
    """Bytes of one stream in, log records out. `rest` is a line whose end has not come."""

    def __init__(self, stream: str) -> None:
        self.stream = stream.encode()
        self.rest = b""

    def feed(self, data: bytes, now: int) -> bytes:
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        head = timestamp(now).encode() + b" " + self.stream
        out = [self._record(head, line, b"F") for line in lines]
        while len(self.rest) >= MAX_LINE:
            out.append(head + b" P " + self.rest[:MAX_LINE] + b"\n")
            self.rest = self.rest[MAX_LINE:]
        return b"".join(out)

    def end(self, now: int) -> bytes:
        """The stream has ended: a line without its end stays a part of one, as containerd has it, so that whoever
        reads the log gets no newline that the process did not write."""
        if not self.rest:
            return b""
        line, self.rest = self.rest, b""
        return self._record(timestamp(now).encode() + b" " + self.stream, line, b"P")

    def _record(self, head: bytes, line: bytes, tag: bytes) -> bytes:
        out = b""
        while len(line) > MAX_LINE:
            out += head + b" P " + line[:MAX_LINE] + b"\n"
            line = line[MAX_LINE:]
        return out + head + b" " + tag + b" " + line + b"\n"


class LogFile:
    """Appended to; opened again after rotation. What the disk refuses is dropped: the container goes on."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1

    def write(self, data: bytes) -> None:
        if not self.path or not data:
            return
        try:
            if self._fd < 0:
                self._open()
            os.write(self._fd, data)
        except OSError:
            self.close()

    def open(self) -> None:
        """A container that writes nothing has an empty log, not none."""
        if self.path and self._fd < 0:
            try:
                self._open()
            except OSError:
                self.close()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            self._fd = os.open(self.path, flags, 0o640)
        except FileNotFoundError:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, flags, 0o640)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Pump:
    """Moves a container's output into its log and to those attached, until all streams have ended.

    `streams`: name → descriptor (taken over). A tty is one stream, "stdout".
    """

    def __init__(self, streams: dict[str, int], log: LogFile) -> None:
        self._loop = asyncio.get_running_loop()
        self.log = log
        self.taps: list[Tap] = []
        self._streams = dict(streams)
        self._splitters = {name: LineSplitter(name) for name in streams}
        self.finished: asyncio.Future[None] = self._loop.create_future()
        for name, fd in self._streams.items():
            os.set_blocking(fd, False)
            self._loop.add_reader(fd, self._readable, name)
        log.open()
        if not self._streams:
            self._finish()

    def _readable(self, name: str) -> bool:
        """One read; True when there may be more."""
        fd = self._streams.get(name)
        if fd is None:
            return False
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # EIO: the last process has closed the terminal
            data = b""
        now = time.time_ns()
        if not data:
            self.log.write(self._splitters[name].end(now))
            self._drop(name)
            return False
        self.log.write(self._splitters[name].feed(data, now))
        for tap in list(self.taps):
            tap(name, data)
        return True

    def drain(self) -> None:
        """Read all that is there now: after this the log holds what the process wrote before it ended."""
        for name in list(self._streams):
            while self._readable(name):
                pass

    def _drop(self, name: str) -> None:
        fd = self._streams.pop(name)
        self._loop.remove_reader(fd)
        os.close(fd)
        if not self._streams:
            self._finish()

    def _finish(self) -> None:
        self.log.close()
        for tap in list(self.taps):
            tap("", b"")
        if not self.finished.done():
            self.finished.set_result(None)

    def close(self) -> None:
        """Stop without reading on; PID 1 keeps what is unread."""
        for name in list(self._streams):
            self._drop(name)
        self.log.close()
