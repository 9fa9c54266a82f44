"""The orders that PID 1 takes: one method each, named as on the wire; every answer repeats the order's number."""

import os
import signal
from typing import TYPE_CHECKING, Any

from netlab.sandbox import wire

if TYPE_CHECKING:
    from netlab.sandbox.init import Connection, Init


class Refused(Exception):  # noqa: N818
    """An order that is not carried out; `kind` is what the client turns into an exception."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Orders:
    def __init__(self, init: "Init") -> None:
        self.init = init
        self.table = {
            "spawn": self.on_spawn,
            "kill": self.on_kill,
            "list": self.on_list,
            "forget": self.on_forget,
            "exits": self.on_exits,
            "stdio": self.on_stdio,
            "hold": self.on_hold,
            "held": self.on_held,
            "info": self.on_info,
        }

    def handle(self, connection: "Connection", packet: wire.Packet, fds: list[int]) -> None:
        """Carry out one order. Handlers take out of `fds` what they keep; the rest is closed here."""
        number = packet.get("n")
        try:
            order = self.table.get(packet.get("op", ""))
            if order is None:
                raise Refused("BadOrder", f"no such order: {packet.get('op')!r}")
            order(connection, packet, fds)
        except Refused as error:
            self.init.answer(connection, {"n": number, "error": error.kind, "message": str(error)})
        except Exception as error:
            from netlab.sandbox.init import log_exception

            log_exception(f"order {packet.get('op')!r}")
            self.init.answer(
                connection, {"n": number, "error": "BadOrder", "message": f"{type(error).__name__}: {error}"}
            )
        finally:
            wire.close_all(fds)

    def _process(self, packet: wire.Packet) -> Any:
        process = self.init.table.by_id.get(packet["id"])
        if process is None:
            raise Refused("NoSuchProcess", f"no process {packet['id']!r}")
        return process

    def on_spawn(self, connection: "Connection", packet: wire.Packet, fds: list[int]) -> None:
        spec = packet["spec"]
        if spec["id"] in self.init.table.by_id:
            raise Refused("AlreadyExists", f"process {spec['id']!r} exists")
        if self.init.stop_at is not None:
            raise Refused("InitGone", "the lab is stopping")
        number = packet["n"]
        mine = fds[:]
        fds.clear()
        self.init.spawner.spawn(spec, mine, lambda result: self.init.answer(connection, {"n": number, **result}))

    def on_kill(self, connection: "Connection", packet: wire.Packet, _fds: list[int]) -> None:
        process = self._process(packet)
        if packet.get("stop"):
            process.stopping = True
        self.init.spawner.signal(process, packet["signal"])
        self.init.answer(connection, {"n": packet["n"]})

    def on_list(self, connection: "Connection", packet: wire.Packet, _fds: list[int]) -> None:
        found = self.init.table.starting_with(packet.get("prefix", ""))
        self.init.answer(connection, {"n": packet["n"], "processes": [p.describe() for p in found]})

    def on_forget(self, connection: "Connection", packet: wire.Packet, _fds: list[int]) -> None:
        process = self.init.table.by_id.get(packet["id"])
        if process is not None:
            if process.exit is None and not process.stopping:
                raise Refused("Running", f"process {packet['id']!r} still runs")
            self.init.spawner.forget(process)
        self.init.answer(connection, {"n": packet["n"]})

    def on_exits(self, connection: "Connection", packet: wire.Packet, _fds: list[int]) -> None:
        connection.prefix = packet.get("prefix", "")
        self.init.answer(connection, {"n": packet["n"]})

    def on_stdio(self, connection: "Connection", packet: wire.Packet, _fds: list[int]) -> None:
        process = self._process(packet)
        names = [name for name in sorted(process.stdio) if packet.get("only") in (None, "", name)]
        take = process.stdio.pop if packet.get("take") else lambda name: os.dup(process.stdio[name])
        fds = [take(name) for name in names]
        self.init.answer(connection, {"n": packet["n"], "names": names}, fds)

    def on_hold(self, connection: "Connection", packet: wire.Packet, fds: list[int]) -> None:
        wire.close_all(self.init.held.pop(packet["name"], []))
        if fds:
            self.init.held[packet["name"]] = fds[:]
            fds.clear()
        self.init.answer(connection, {"n": packet["n"]})

    def on_held(self, connection: "Connection", packet: wire.Packet, _fds: list[int]) -> None:
        fds = [os.dup(fd) for fd in self.init.held.get(packet["name"], [])]
        self.init.answer(connection, {"n": packet["n"]}, fds)

    def on_info(self, connection: "Connection", packet: wire.Packet, _fds: list[int]) -> None:
        self.init.answer(connection, {"n": packet["n"], "facts": self.init.config["facts"], "pid": os.getpid()})


def signal_number(value: int | str) -> int:
    """15, "SIGTERM" or "TERM"."""
    if isinstance(value, int):
        return value
    name = value if value.startswith("SIG") else f"SIG{value}"
    return int(signal.Signals[name])
