"""A door into a running lab for a program outside: sockets of its namespaces, and commands in them, without a start.

A fresh single-threaded process enters the lab once (setns of a user namespace wants that) and serves one caller over a
socket pair until the caller closes it or dies. Because a socket belongs to the namespace in which it was made, whoever
gets one by SCM_RIGHTS speaks from a node or a pod of the lab without being inside.

A request is one JSON message with descriptors; the first is the socket for its answers:

    {"op": "socket", "netns": NAME, "family": n, "type": n, "proto": n}      → {} and the socket
    {"op": "run", "argv": [...], "netns": NAME | "process": PID, ...} + 3 fds → {"pid": n}, at its end {"status": n}
    {"op": "kill", "pid": n}                                                 → {}

PIDs are the lab's. `netns` "": the lab's own. A failure is {"error": TEXT, "errno": n}.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from netlab.kernel.programs import with_sbin
from netlab.sandbox import syscalls as sys_
from netlab.sandbox.enter import ALL, execute, join_netns, join_process, same_user_namespace
from netlab.sandbox.locate import running_pid
from netlab.sandbox.paths import NETNS_DIR, LabPaths

MESSAGE = 1 << 17
"""Bytes of the longest request."""

Request = dict[str, Any]


def main(name: str, state: str, runtime: str, descriptor: str) -> int:
    """The portal's process. Says {"ready": true} on the caller's socket when it is inside."""
    door = socket.socket(fileno=int(descriptor))
    try:
        child = _enter(LabPaths(name, Path(state), Path(runtime)), door)
    except OSError as problem:
        door.send(_error(problem))
        return 1
    door.close()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: os.kill(child, got))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _enter(lab: LabPaths, door: socket.socket) -> int:
    """Into the lab's namespaces; the serving child's pid as seen from here."""
    pid = running_pid(lab)
    if pid is None:
        raise ProcessLookupError(f"lab '{lab.name}' does not run")
    handle = os.pidfd_open(pid)
    sys_.setns(handle, (0 if same_user_namespace(pid) else sys_.CLONE_NEWUSER) | ALL)
    os.close(handle)
    child = os.fork()
    if child == 0:
        status = 70
        try:
            status = _Portal(door).serve()
        finally:
            os._exit(status)
    return child


def _error(problem: OSError) -> bytes:
    return json.dumps({"error": problem.strerror or str(problem), "errno": problem.errno or 0}).encode()


class _Portal:
    def __init__(self, door: socket.socket) -> None:
        self.door = door
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.children: dict[int, tuple[int, socket.socket]] = {}
        """pidfd → (pid, where its status is wanted)"""
        self.poll = select.poll()
        self.poll.register(door, select.POLLIN)

    def serve(self) -> int:
        """Until the caller is gone; commands that still run are ended with it."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.door.send(b'{"ready": true}')
        while True:
            for fd, _ in self.poll.poll():
                if fd != self.door.fileno():
                    self._ended(fd)
                elif not self._request():
                    for pid, _answers in self.children.values():
                        _kill(pid)
                    return 0

    def _request(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self.door, MESSAGE, 8)
        if not data:
            return False
        answers = socket.socket(fileno=fds[0])
        try:
            request = json.loads(data)
            operations: dict[str, Callable[[Request, socket.socket, list[int]], None]] = {
                "socket": self._socket,
                "run": self._run,
                "kill": self._kill,
            }
            operations[request["op"]](request, answers, fds[1:])
        except OSError as problem:
            with contextlib.suppress(OSError):
                answers.send(_error(problem))
        finally:
            for fd in fds[1:]:
                os.close(fd)
            if not any(kept is answers for _, kept in self.children.values()):
                answers.close()
        return True

    def _socket(self, request: Request, answers: socket.socket, _: list[int]) -> None:
        there = os.open(NETNS_DIR / request["netns"], os.O_RDONLY | os.O_CLOEXEC) if request["netns"] else self.home
        try:
            sys_.setns(there, sys_.CLONE_NEWNET)
            with socket.socket(request["family"], request["type"], request["proto"]) as made:
                socket.send_fds(answers, [b"{}"], [made.fileno()])
        finally:
            sys_.setns(self.home, sys_.CLONE_NEWNET)
            if there != self.home:
                os.close(there)

    def _run(self, request: Request, answers: socket.socket, fds: list[int]) -> None:
        pid = os.fork()
        if pid == 0:
            _become(request, fds)
        answers.send(json.dumps({"pid": pid}).encode())
        pidfd = os.pidfd_open(pid)
        self.children[pidfd] = (pid, answers)
        self.poll.register(pidfd, select.POLLIN)

    def _ended(self, pidfd: int) -> None:
        pid, answers = self.children.pop(pidfd)
        self.poll.unregister(pidfd)
        os.close(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(OSError):  # nobody waits for it any more
            answers.send(json.dumps({"status": code if code >= 0 else 128 - code}).encode())
        answers.close()

    def _kill(self, request: Request, answers: socket.socket, _: list[int]) -> None:
        if any(pid == request["pid"] for pid, _answers in self.children.values()):
            _kill(request["pid"])
        answers.send(b"{}")


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _become(request: Request, fds: list[int]) -> NoReturn:
    """In the child: be where the request says, and the command."""
    try:
        os.setsid()
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
        env, cwd = dict(request.get("env") or {}), request.get("cwd", "/")
        if request.get("process"):
            inside, cwd = _join_container(int(request["process"]))
            env = {**inside, **env}
        else:
            env["PATH"] = with_sbin(env.get("PATH"))
            if request.get("netns"):
                join_netns(request["netns"])
                sys_.unshare(sys_.CLONE_NEWUTS)
                socket.sethostname(request["netns"])
        os.closerange(3, 256)
        execute(list(request["argv"]), env, cwd)
    except BaseException as problem:
        os.write(2, f"cannot run {request['argv'][0]}: {problem}\n".encode())
    os._exit(125)


def _join_container(pid: int) -> tuple[dict[str, str], str]:
    """A container's namespaces, user and groups; its environment and working directory, as `kubectl exec` gives."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    env = dict(pair.decode(errors="surrogateescape").split("=", 1) for pair in pairs if b"=" in pair)
    cwd = str(Path(f"/proc/{pid}/cwd").readlink())
    join_process(pid)
    inner = os.fork()  # a process that was made before is not in the container's PID namespace
    if inner:
        code = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
        os._exit(code if code >= 0 else 128 - code)
    with contextlib.suppress(PermissionError):  # with a map of one id there is one user and nothing to become
        os.setgroups([int(group) for group in status["Groups"].split()])
    gid, uid = int(status["Gid"].split()[1]), int(status["Uid"].split()[1])
    if gid != os.getegid():
        os.setgid(gid)
    if uid != os.geteuid():
        os.setuid(uid)
    return env, cwd


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
