"""The fork server: one process that has imported the heavy modules, so that components start as forks of it.

On an order it forks twice: the middle process makes or joins the PID namespace, forks the real one, tells its pid to
PID 1 and ends; the real one is adopted by PID 1 (the only reaper of the lab) and waits for PID 1's word.

Nobody here may ignore SIGCHLD: the middle process would pass that on to the kernel, which then swallows the end of a
real process that is quicker to die than the middle one to leave, and PID 1 would think that it runs for ever.
"""

import errno
import gc
import os
import select
import socket
import sys
import traceback
from typing import Any

from netlab.sandbox import child, wire
from netlab.sandbox.syscalls import CLONE_NEWPID, set_name, setns, unshare

Received = tuple[wire.Packet, list[int]]


def main(modules: list[str], sys_path: list[str]) -> int:
    """`@ID` among the modules: the process of that id needs only the modules before, and does not wait for the rest."""
    set_name("netlab-zygote")
    sys.path[:] = sys_path
    sock = socket.socket(fileno=3)
    sock.set_inheritable(False)
    early: set[str] = set()
    later: list[Received] = []
    for module in modules:
        if module.startswith("@"):
            early.add(module[1:])
            gc.freeze()
            wire.send(sock, wire.encode({"ready": True}))
            continue
        try:
            __import__(module)
        except Exception:
            traceback.print_exc()
        while early and select.select([sock], [], [], 0)[0]:
            order = wire.receive(sock)
            if order is None:
                return 0
            if order[0]["spec"]["id"] in early:
                obey(sock, order)
            else:
                later.append(order)
    sys.stderr.flush()
    gc.collect()
    gc.freeze()
    wire.send(sock, wire.encode({"ready": True}))
    for order in later:
        obey(sock, order)
    while (received := wire.receive(sock)) is not None:
        obey(sock, received)
    return 0


def obey(sock: socket.socket, order: Received) -> None:
    packet, fds = order
    try:
        middle(sock, packet, dict(zip(packet["names"], fds, strict=True)))
    except OSError as error:
        wire.send(sock, wire.encode({"n": packet["n"], "errno": error.errno, "message": str(error)}))
    finally:
        wire.close_all(fds)


def middle(sock: socket.socket, packet: wire.Packet, files: dict[str, int]) -> None:
    pid = os.fork()
    if pid:
        if os.waitpid(pid, 0)[1]:
            raise InterruptedError(errno.EINTR, "killed between two forks")
        return
    answer: dict[str, Any] = {"n": packet["n"]}
    try:
        spec = packet["spec"]
        if "pid" in spec.get("new", ()):
            unshare(CLONE_NEWPID)
        elif "join.pid" in files:
            setns(files["join.pid"], CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            go = files.pop("go")
            if os.read(go, 1) != b"g":
                os._exit(0)
            os.close(go)
            sock.close()
            child.run(spec, files)
        answer["pid"] = pid
    except OSError as error:
        answer.update(errno=error.errno, message=str(error))
    try:
        wire.send(sock, wire.encode(answer))
    finally:
        os._exit(0)
