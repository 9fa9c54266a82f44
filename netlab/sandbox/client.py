"""Speaking to PID 1 from inside the lab: an asyncio client and a synchronous twin for start-up.

A connection is a SOCK_SEQPACKET socket: one JSON object per packet, descriptors beside it (SCM_RIGHTS). Every order
carries a number which its answer repeats; exits are pushed to connections that asked for them.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netlab.sandbox import wire
from netlab.sandbox.data import exit_event, process_info, spec_data
from netlab.sandbox.paths import INIT_SOCKET
from netlab.sandbox.spec import (
    AlreadyExists,
    ExitEvent,
    InitGone,
    NoSuchProcess,
    ProcessInfo,
    ProcessSpec,
    SandboxError,
    SpawnError,
)

_GONE = "the lab's first process does not answer: the lab is ending"


@dataclass(slots=True)
class StdioFds:
    """Descriptors of a process's stdio, owned by the caller: ours of a pipe, or the master of a pty in `tty`."""

    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None
    tty: int | None = None

    def close(self) -> None:
        wire.close_all([fd for fd in (self.stdin, self.stdout, self.stderr, self.tty) if fd is not None])


def _raise(packet: wire.Packet) -> None:
    kind, message = packet["error"], packet.get("message", "")
    if kind == "SpawnError":
        raise SpawnError(packet["stage"], packet["errno"], message)
    raise {"AlreadyExists": AlreadyExists, "NoSuchProcess": NoSuchProcess, "InitGone": InitGone}.get(
        kind, SandboxError
    )(message)


class InitClient:
    """One connection to PID 1. All methods raise InitGone when PID 1 does not answer any more."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._number = 0
        self._answers: dict[int, asyncio.Future[tuple[wire.Packet, list[int]]]] = {}
        self._listeners: list[tuple[str, asyncio.Queue[ExitEvent | None]]] = []
        self._unsent: list[tuple[bytes, list[int]]] = []
        self._subscribed: asyncio.Future[Any] | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)

    @classmethod
    async def connect(cls, path: Path = INIT_SOCKET) -> "InitClient":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.connect(str(path))
        except OSError as error:
            sock.close()
            raise InitGone(f"{_GONE} ({error})") from None
        sock.setblocking(False)
        return cls(sock)

    async def close(self) -> None:
        self._end()

    def _end(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        for _data, fds in self._unsent:
            wire.close_all(fds)
        for future in self._answers.values():
            if not future.done():
                future.set_exception(InitGone(_GONE))
                future.exception()  # nobody may be waiting any more
        self._answers.clear()
        for _prefix, queue in self._listeners:
            queue.put_nowait(None)

    def _readable(self) -> None:
        for _ in range(64):
            if self._closed:
                return
            try:
                received = wire.receive(self._sock)
            except BlockingIOError:
                return
            except OSError:
                received = None
            if received is None:
                self._end()
                return
            packet, fds = received
            if "event" in packet:
                self._publish(exit_event(packet))
                continue
            future = self._answers.pop(packet.get("n", -1), None)
            if future is None or future.done():
                wire.close_all(fds)
            else:
                future.set_result((packet, fds))

    def _publish(self, event: ExitEvent) -> None:
        for prefix, queue in self._listeners:
            if event.id.startswith(prefix):
                queue.put_nowait(event)

    def _send(self, packet: wire.Packet, fds: Sequence[int]) -> None:
        data = wire.encode(packet)
        if not self._unsent:
            try:
                wire.send(self._sock, data, fds)
                return
            except BlockingIOError:
                self._loop.add_writer(self._sock, self._writable)
            except OSError:
                self._end()
                raise InitGone(_GONE) from None
        self._unsent.append((data, [os.dup(fd) for fd in fds]))

    def _writable(self) -> None:
        while self._unsent:
            data, fds = self._unsent[0]
            try:
                wire.send(self._sock, data, fds)
            except BlockingIOError:
                return
            except OSError:
                self._end()
                return
            wire.close_all(fds)
            self._unsent.pop(0)
        self._loop.remove_writer(self._sock)

    async def _order(self, op: str, fds: Sequence[int] = (), **words: Any) -> tuple[wire.Packet, list[int]]:
        if self._closed:
            raise InitGone(_GONE)
        self._number += 1
        number = self._number
        future: asyncio.Future[tuple[wire.Packet, list[int]]] = self._loop.create_future()
        self._answers[number] = future
        self._send({"n": number, "op": op, **words}, fds)
        packet, got = await future
        if "error" in packet:
            wire.close_all(got)
            _raise(packet)
        return packet, got

    async def spawn(self, spec: ProcessSpec, fds: Sequence[int] = ()) -> int:
        """Start a process and return its pid in the lab, once it runs (its program replaced the fork, or `target`
        is about to be called). Raises SpawnError (the record is kept, with ExitInfo.error) and AlreadyExists."""
        packet, _fds = await self._order("spawn", fds, spec=spec_data(spec))
        return int(packet["pid"])

    async def kill(self, id: str, signal: int, *, stop: bool = False) -> None:  # noqa: A002
        """Send a signal; nothing happens when it has ended. `stop`: do not restart it any more."""
        await self._order("kill", id=id, signal=int(signal), stop=stop)

    async def list(self, prefix: str = "") -> Sequence[ProcessInfo]:
        """The kept processes whose id starts with `prefix`, running and ended."""
        packet, _fds = await self._order("list", prefix=prefix)
        return [process_info(entry) for entry in packet["processes"]]

    async def forget(self, id: str) -> None:  # noqa: A002
        """Drop an ended process's record, stdio and layer. Unknown ids are fine; a running one raises SandboxError."""
        await self._order("forget", id=id)

    async def subscribe(self, prefix: str = "") -> "asyncio.Queue[ExitEvent | None]":
        """As `exits`, but in force when this returns: events go into the queue; None when PID 1 is gone."""
        queue: asyncio.Queue[ExitEvent | None] = asyncio.Queue()
        self._listeners.append((prefix, queue))
        common = os.path.commonprefix([p for p, _queue in self._listeners])  # noqa: RUF071 - ids, not paths
        await self._order("exits", prefix=common)
        return queue

    def unsubscribe(self, queue: "asyncio.Queue[ExitEvent | None]") -> None:
        self._listeners = [entry for entry in self._listeners if entry[1] is not queue]

    async def exits(self, prefix: str = "") -> AsyncIterator[ExitEvent]:
        """Ends of processes from the first step of the iteration on; InitGone when the lab ends.

        To miss nothing: `subscribe`, then `list`."""
        queue = await self.subscribe(prefix)
        try:
            while True:
                event = await queue.get()
                if event is None:
                    raise InitGone(_GONE)
                yield event
        finally:
            self.unsubscribe(queue)

    async def stdio(self, id: str, *, take: bool = False, only: str = "") -> StdioFds:  # noqa: A002
        """Duplicates of what PID 1 keeps of a process's stdio (`only` one stream). `take`: it keeps them no longer."""
        packet, fds = await self._order("stdio", id=id, take=take, only=only)
        return StdioFds(**dict(zip(packet["names"], fds, strict=True)))

    async def hold(self, name: str, fds: Sequence[int]) -> None:
        """Give PID 1 descriptors to keep under a name (replacing what was there; none: drop the name)."""
        await self._order("hold", fds, name=name)

    async def held(self, name: str) -> Sequence[int]:
        """Duplicates of the descriptors kept under a name; empty when there are none."""
        _packet, fds = await self._order("held", name=name)
        return fds

    async def info(self) -> dict[str, Any]:
        """What PID 1 knows of the sandbox: user_namespace, own_proc, name, cgroup (the lab's, or "")."""
        packet, _fds = await self._order("info")
        facts: dict[str, Any] = packet["facts"]
        return facts


class SyncInitClient:
    """The same for code that has no loop (start-up, tests): one order at a time, no events."""

    def __init__(self, path: Path = INIT_SOCKET) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._sock.connect(str(path))
        except OSError as error:
            self._sock.close()
            raise InitGone(f"{_GONE} ({error})") from None
        self._number = 0

    def __enter__(self) -> "SyncInitClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def order(self, op: str, fds: Sequence[int] = (), **words: Any) -> tuple[wire.Packet, list[int]]:
        self._number += 1
        try:
            wire.send(self._sock, wire.encode({"n": self._number, "op": op, **words}), fds)
            received = wire.receive(self._sock)
        except OSError:
            received = None
        if received is None:
            raise InitGone(_GONE)
        packet, got = received
        if "error" in packet:
            wire.close_all(got)
            _raise(packet)
        return packet, got

    def spawn(self, spec: ProcessSpec, fds: Sequence[int] = ()) -> int:
        return int(self.order("spawn", fds, spec=spec_data(spec))[0]["pid"])

    def kill(self, id: str, signal: int, *, stop: bool = False) -> None:  # noqa: A002
        self.order("kill", id=id, signal=int(signal), stop=stop)

    def list(self, prefix: str = "") -> Sequence[ProcessInfo]:
        return [process_info(entry) for entry in self.order("list", prefix=prefix)[0]["processes"]]

    def forget(self, id: str) -> None:  # noqa: A002
        self.order("forget", id=id)

    def hold(self, name: str, fds: Sequence[int]) -> None:
        self.order("hold", fds, name=name)

    def held(self, name: str) -> Sequence[int]:
        return self.order("held", name=name)[1]


def inherited_fds(name: str) -> list[int]:
    """In a process spawned with `hold=(name, …)`: the numbers of those descriptors."""
    pairs = (entry.rpartition("=") for entry in os.environ.get("NETLAB_FDS", "").split())
    return [int(number) for held, _, number in pairs if held == name]
