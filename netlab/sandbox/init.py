# ruff: noqa: PTH101, SIM105
# (Part of PID 1, which is kept small: no pathlib, no contextlib.)
"""PID 1 of a lab: starts, keeps and reaps every process of it, and holds their descriptors.

Everything that must survive the death of anything else lives here, so here is as little as possible: one thread, one
`poll`, no asyncio, no dataclasses, nothing imported that a fork would then carry (each container is a fork of this
process: its size is theirs). A bad order or an unforeseen error is logged and answered; it never ends the loop. When
this process ends, however it ends, the kernel ends every process, mount and namespace of the lab with it.

Rejected: a C program (needs a compiler or binary wheels), signalfd (Python 3.11 has none; a wake-up descriptor does),
one thread per order (setns and fork are per thread, and forks of threads are traps).
"""

import errno
import gc
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from netlab.sandbox import wire
from netlab.sandbox.orders import Orders
from netlab.sandbox.processes import Process, ProcessTable
from netlab.sandbox.spawner import Spawner

STOP_TIMEOUT = 5.0
QUEUE_LIMIT = 20_000  # packets that a connection may leave unread before it is dropped; it then lists again

Handler = Callable[[int], None]


def log(message: str) -> None:
    try:
        os.write(2, f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} init: {message}\n".encode())
    except OSError:
        pass  # a full disk under the log must not end the lab


def log_exception(where: str) -> None:
    log(f"{where}: {traceback.format_exc()}")


class Connection:
    """A client. `prefix` is None until it asks for exits."""

    __slots__ = ("prefix", "queue", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.prefix: str | None = None
        self.queue: list[tuple[bytes, list[int]]] = []


class Init:
    """The loop. `run` returns the exit status when the lab has been stopped in order."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.poll = select.poll()
        self.handlers: dict[int, Handler] = {}
        self.connections: dict[int, Connection] = {}
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self.timer_count = 0
        self.stop_at: float | None = None
        self.held: dict[str, list[int]] = {}
        self.table = ProcessTable()
        self.spawner = Spawner(self)
        self.orders = Orders(self)

    # -- descriptors and timers -------------------------------------------------------------------------------------

    def watch(self, fd: int, handler: Handler, events: int = select.POLLIN) -> None:
        self.handlers[fd] = handler
        self.poll.register(fd, events)

    def unwatch(self, fd: int) -> None:
        if self.handlers.pop(fd, None) is not None:
            self.poll.unregister(fd)

    def later(self, delay: float, call: Callable[[], None]) -> None:
        self.timer_count += 1
        self.timers.append((time.monotonic() + delay, self.timer_count, call))
        self.timers.sort()

    # -- start and loop ---------------------------------------------------------------------------------------------

    def listen(self, path: str) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        sock.bind(path)
        os.chmod(path, 0o600)
        sock.listen(128)
        self.listener = sock
        self.watch(sock.fileno(), self.accept)

    def catch_signals(self) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.wakeup = (reader, writer)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        self.watch(reader, self.on_signal)

    def run(self) -> int:
        while True:
            try:
                if self.finished():
                    return 0
                for fd, _events in self.poll.poll(self.timeout()):
                    handler = self.handlers.get(fd)
                    if handler is not None:
                        self.guard(handler, fd)
                self.run_timers()
            except Exception:
                log_exception("loop")
                time.sleep(0.01)  # an error that repeats must not eat a processor

    def guard(self, call: Callable[..., None], *args: Any) -> None:
        try:
            call(*args)
        except Exception:
            log_exception(getattr(call, "__name__", "handler"))

    def timeout(self) -> int | None:
        deadlines = [self.timers[0][0]] if self.timers else []
        if self.stop_at is not None:
            deadlines.append(self.stop_at)
        if not deadlines:
            return None
        return max(0, int((min(deadlines) - time.monotonic()) * 1000) + 1)

    def run_timers(self) -> None:
        now = time.monotonic()
        while self.timers and self.timers[0][0] <= now:
            _when, _number, call = self.timers.pop(0)
            self.guard(call)

    # -- signals ----------------------------------------------------------------------------------------------------

    def on_signal(self, fd: int) -> None:
        try:
            numbers = os.read(fd, 4096)
        except BlockingIOError:
            return
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self.stop()
        self.reap()

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.guard(self.spawner.ended, pid, status)

    def stop(self) -> None:
        """Ask every restarted process (a component) to end, then leave; the kernel ends the rest."""
        if self.stop_at is not None:
            return
        log("stopping")
        self.stop_at = time.monotonic() + STOP_TIMEOUT
        for process in self.table:
            if process.restart:
                process.stopping = True
                self.spawner.signal(process, signal.SIGTERM)

    def finished(self) -> bool:
        if self.stop_at is None:
            return False
        alive = any(p.restart and p.exit is None and not p.internal for p in self.table)
        return not alive or time.monotonic() >= self.stop_at

    # -- connections ------------------------------------------------------------------------------------------------

    def accept(self, _fd: int) -> None:
        sock, _address = self.listener.accept()
        sock.setblocking(False)
        self.connections[sock.fileno()] = Connection(sock)
        self.watch(sock.fileno(), self.readable)

    def readable(self, fd: int) -> None:
        connection = self.connections[fd]
        for _ in range(32):  # then let the others have a turn
            try:
                received = wire.receive(connection.sock)
            except BlockingIOError:
                break
            except ValueError as error:
                log(f"not a packet: {error}")
                continue
            except OSError:
                self.drop(connection)
                return
            if received is None:
                self.drop(connection)
                return
            self.orders.handle(connection, *received)
            if fd not in self.connections:
                return
        self.flush(connection)

    def drop(self, connection: Connection) -> None:
        fd = connection.sock.fileno()
        if self.connections.pop(fd, None) is None:
            return
        self.unwatch(fd)
        for _data, fds in connection.queue:
            wire.close_all(fds)
        connection.queue.clear()
        connection.sock.close()

    def answer(self, connection: Connection | None, packet: wire.Packet, fds: list[int] | None = None) -> None:
        """Send or queue; `fds` are closed once sent."""
        if connection is None or connection.sock.fileno() not in self.connections:
            wire.close_all(fds or [])
            return
        connection.queue.append((wire.encode(packet), fds or []))
        if len(connection.queue) > QUEUE_LIMIT:
            log("dropping a client that does not read")
            self.drop(connection)
        else:
            self.flush(connection)

    def flush(self, connection: Connection) -> None:
        fd = connection.sock.fileno()
        if fd not in self.connections:
            return
        sent = 0
        try:
            for data, fds in connection.queue:
                wire.send(connection.sock, data, fds)
                sent += 1
                wire.close_all(fds)
        except BlockingIOError:
            pass
        except OSError as error:
            # ETOOMANYREFS: too many descriptors in flight; wait for the client to read.
            if error.errno != errno.ETOOMANYREFS:
                self.drop(connection)
                return
        del connection.queue[:sent]
        self.poll.modify(fd, select.POLLIN | select.POLLOUT if connection.queue else select.POLLIN)
        self.handlers[fd] = self.writable if connection.queue else self.readable

    def writable(self, fd: int) -> None:
        self.flush(self.connections[fd])
        if fd in self.connections:
            self.readable(fd)

    def publish(self, process: Process, *, restarting: bool) -> None:
        packet: wire.Packet | None = None
        for connection in list(self.connections.values()):
            if connection.prefix is not None and process.id.startswith(connection.prefix):
                if packet is None:
                    packet = {"event": "exit", "restarting": restarting, **process.describe()}
                self.answer(connection, packet)


def serve(config: dict[str, Any], ready: Callable[[], bool]) -> int:
    """Run as PID 1: `config` is what `launch` wrote; `ready` tells it and says whether to go on."""
    init = Init(config)
    init.held = {name: list(fds) for name, fds in config["fds"].items()}
    init.catch_signals()
    init.listen(config["socket"])
    if not ready():
        return 1
    for module in config["preload"]:
        try:
            __import__(module)
        except Exception:
            log_exception(f"preload {module}")
    sys.stdout.flush()
    gc.collect()
    gc.freeze()  # forks share these objects: the collector must not write into their headers
    gc.set_threshold(50_000, 20, 20)
    init.spawner.start_zygote()
    for spec in config["main"]:
        init.guard(init.spawner.spawn, spec, [], None)
    return init.run()
