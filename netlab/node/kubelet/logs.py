"""Reading CRI log files as `kubectl logs` asks: tail, since, previous, time stamps, limits, and following.

Following waits for inotify, not for a clock. Source: upstream pkg/kubelet/kuberuntime/logs/logs.go.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from netlab.node.kubelet.clock import parse

BLOCK = 64 * 1024
IN_MODIFY, IN_CREATE, IN_MOVED_TO = 0x2, 0x100, 0x80
IN_NONBLOCK, IN_CLOEXEC = 0o4000, 0o2000000


@dataclass(frozen=True, slots=True)
class LogOptions:
    """`tail` None: all lines; `since` in seconds since the epoch; `limit` bytes; `stream`: "stdout", "stderr" or ""."""

    follow: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: float = 0.0
    limit: int | None = None
    stream: str = ""


def parse_line(line: bytes) -> tuple[bytes, bytes, bytes] | None:
    """(time stamp, stream, text with its end of line unless partial) of one record; None for what is no record."""
    fields = line.rstrip(b"\n").split(b" ", 3)
    if len(fields) < 3:
        return None
    text = fields[3] if len(fields) == 4 else b""
    return fields[0], fields[1], text if fields[2].startswith(b"P") else text + b"\n"


def tail_offset(path: Path, lines: int) -> int:
    """Where the last `lines` complete records begin. Partial records count as upstream counts them: each one."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        if lines == 0:
            return position
        found = 0
        skipped_last = False
        while position > 0:
            start = max(0, position - BLOCK)
            file.seek(start)
            block = file.read(position - start)
            at = len(block)
            while (at := block.rfind(b"\n", 0, at)) >= 0:
                if not skipped_last:
                    skipped_last = True
                    continue
                found += 1
                if found == lines:
                    return start + at + 1
            position = start
    return 0


class Inotify:
    """Wakes a waiter when a directory's files change."""

    def __init__(self, directory: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
        self._changed = asyncio.Event()
        if (
            self._fd < 0
            or libc.inotify_add_watch(self._fd, str(directory).encode(), IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0
        ):
            raise OSError(ctypes.get_errno(), f"inotify on {directory}")
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        try:
            os.read(self._fd, 65536)
        except BlockingIOError:
            return
        self._changed.set()

    def clear(self) -> None:
        self._changed.clear()

    async def wait(self, timeout: float) -> None:
        """Until something changed, or the time is over (a safety net: the container may have ended)."""
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)


class _Filter:
    """Applies time, stream, time stamps and the byte limit."""

    def __init__(self, options: LogOptions) -> None:
        self._options = options
        self._left = options.limit
        self._partial = False
        self.done = False

    def take(self, line: bytes) -> bytes:
        options = self._options
        record = parse_line(line)
        if record is None:
            return b""
        stamp, stream, text = record
        if options.stream and stream.decode() != options.stream:
            return b""
        if options.since and parse(stamp.decode()) < options.since:
            return b""
        if options.timestamps and not self._partial:
            text = stamp + b" " + text
        self._partial = not text.endswith(b"\n")
        if self._left is not None:
            text = text[: self._left]
            self._left -= len(text)
            self.done = self._left <= 0
        return text


async def read_log(path: Path, options: LogOptions, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log's text in pieces. While following: until `running()` is false and all was read."""
    filter_ = _Filter(options)
    _make_directory(path)
    watch = Inotify(path.parent) if options.follow else None
    try:
        offset = tail_offset(path, options.tail) if options.tail is not None else 0
        rest = b""
        while True:
            if watch is not None:
                watch.clear()
            alive = running()
            data, offset = _read_from(path, offset)
            lines = (rest + data).split(b"\n")
            rest = lines.pop()
            out = []
            for line in lines:
                out.append(filter_.take(line))
                if filter_.done:
                    break
            if text := b"".join(out):
                yield text
            if filter_.done:
                return
            if data:
                continue
            if watch is None or not alive:
                return
            await watch.wait(0.5)
    finally:
        if watch is not None:
            watch.close()


def _make_directory(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)


def _read_from(path: Path, offset: int) -> tuple[bytes, int]:
    """The next block and the offset after it; a file that was rotated away is begun anew."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < offset:
                offset = 0
            file.seek(offset)
            data = file.read(BLOCK)
    except FileNotFoundError:
        return b"", 0
    return data, offset + len(data)
