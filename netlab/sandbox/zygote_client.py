# ruff: noqa: SIM105
# (Part of PID 1, which is kept small: no pathlib, no contextlib.)
"""PID 1's side of the fork server: orders wait until it is ready, and survive its death.

The fork server answers with the new process's pid; the process itself waits for one byte before it goes on, which
PID 1 writes once it has noted the pid. So an order whose answer was lost with a fork server leaves nothing behind
(the byte never comes) and is simply given to the next one.
"""

import os
import socket
from typing import TYPE_CHECKING, Any

from netlab.sandbox import wire
from netlab.sandbox.processes import Process

if TYPE_CHECKING:
    from netlab.sandbox.init import Init
    from netlab.sandbox.spawner import Files, Spawner, Spec

UNCLAIMED_LIMIT = 256


class Order:
    __slots__ = ("files", "go", "number", "process", "spec")

    def __init__(self, number: int, process: Process, spec: "Spec", files: "Files") -> None:
        self.number, self.process, self.spec, self.files = number, process, spec, files
        self.go = -1


class ZygoteClient:
    def __init__(self, init: "Init", spawner: "Spawner") -> None:
        self.init, self.spawner = init, spawner
        self.sock: socket.socket | None = None
        self.ready = False
        self.number = 0
        self.waiting: list[Order] = []
        self.sent: dict[int, Order] = {}
        self.exits: dict[int, int] = {}
        self.process: Process | None = None

    def begin(self) -> None:
        if self.process is None and self.init.config["zygote"]:
            self.launch()

    def launch(self) -> None:
        config = self.init.config
        spec: dict[str, Any] = {
            "id": "zygote",
            "target": "netlab.sandbox.zygote:main",
            "args": [config["zygote"], config["sys_path"]],
            "restart": True,
            "stdio": ["null", "log", "log"],
            "log": config["zygote_log"],
            "pass_fds": [0],
        }
        process = Process(spec)
        process.internal = True
        self.process = process
        self.init.table.add(process)
        self.start(process)

    def start(self, process: Process) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.sock = ours
        self.init.watch(ours.fileno(), self.readable)
        process.fds = [theirs.detach()]
        assert process.spec is not None  # noqa: S101 - it restarts, so it has one
        self.spawner.start(process, process.spec)
        wire.close_all(process.fds)
        process.fds = []

    def lost(self) -> None:
        """The fork server has ended: what it had not answered goes to the next one."""
        if self.sock is not None:
            self.init.unwatch(self.sock.fileno())
            self.sock.close()
            self.sock = None
        self.ready = False
        for order in self.sent.values():
            self.close_go(order)
        self.waiting = [*self.sent.values(), *self.waiting]
        self.sent.clear()

    def order(self, process: Process, spec: "Spec", files: "Files") -> None:
        self.number += 1
        self.waiting.append(Order(self.number, process, spec, files))
        if self.process is None:
            self.launch()
        self.send()

    def send(self) -> None:
        while self.ready and self.sock is not None and self.waiting:
            order = self.waiting[0]
            reader, writer = os.pipe2(os.O_CLOEXEC)
            packet = {"n": order.number, "spec": order.spec, "names": ["go", *order.files]}
            try:
                wire.send(self.sock, wire.encode(packet), [reader, *order.files.values()])
            except BlockingIOError:
                os.close(writer)
                self.init.later(0.01, self.send)
                return
            except OSError:
                os.close(writer)
                return  # it has died; `lost` comes
            finally:
                os.close(reader)
            order.go = writer
            self.waiting.pop(0)
            self.sent[order.number] = order

    def readable(self, _fd: int) -> None:
        try:
            received = wire.receive(self.sock) if self.sock is not None else None
        except BlockingIOError:
            return
        except OSError:
            received = None
        if received is None:
            if self.sock is not None:
                self.init.unwatch(self.sock.fileno())  # its exit follows
            return
        packet, fds = received
        wire.close_all(fds)
        if packet.get("ready"):
            self.ready = True
        else:
            self.answered(packet)
        self.send()

    def answered(self, packet: wire.Packet) -> None:
        order = self.sent.pop(packet["n"], None)
        if order is None:
            return
        process = order.process
        self.spawner.close_files(order.files)
        if "pid" not in packet:
            self.close_go(order)
            self.spawner.failed(process, OSError(packet.get("errno", 0), packet.get("message", "fork")))
            return
        if process.stopping or self.init.table.by_id.get(process.id) is not process:
            self.close_go(order)
            self.exits.pop(packet["pid"], None)
            self.spawner.failed(process, OSError(4, "stopped before it started"))
            return
        self.spawner.started(process, packet["pid"])
        try:
            os.write(order.go, b"g")
        except OSError:
            pass  # it was killed meanwhile; its exit follows
        self.close_go(order)
        status = self.exits.pop(packet["pid"], None)
        if status is not None:
            self.spawner.ended(packet["pid"], status)

    def close_go(self, order: Order) -> None:
        if order.go >= 0:
            os.close(order.go)
            order.go = -1

    def unclaimed(self, pid: int, status: int) -> None:
        """An adopted process ended: perhaps one whose pid the fork server is about to tell."""
        if self.sent:
            self.exits[pid] = status
            while len(self.exits) > UNCLAIMED_LIMIT:
                self.exits.pop(next(iter(self.exits)))
        else:
            self.exits.clear()
