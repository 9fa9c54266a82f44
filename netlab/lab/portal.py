"""The caller's side of `netlab.sandbox.portal`: sockets and commands inside a running lab, a few ms each.

Thread-safe: every request brings its own socket for the answer. Nothing of the caller is moved or forked.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from netlab.api.types import Obj
from netlab.lab.record import LabError
from netlab.sandbox.paths import LabPaths

START = 30.0
"""Seconds for a fresh interpreter to be inside, on a machine that has better things to do."""
ANSWER = 30.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a command said. `status` is its exit status (128 + signal)."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Where:
    """A pinned network namespace, or the namespaces of a container by its process (in the lab's numbers)."""

    netns: str = ""
    process: int = 0


class Portal:
    """Opened when first used; `close` ends it and what still runs through it."""

    def __init__(self, paths: LabPaths) -> None:
        self.paths = paths
        self._lock = threading.Lock()
        self._door: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def open_socket(self, netns: str, family: int, kind: int, proto: int = 0) -> socket.socket:
        """A socket of that namespace. LabError where there is no such namespace."""
        request = {"op": "socket", "netns": netns, "family": family, "type": kind, "proto": proto}
        with self._ask(request) as answers:
            data, fds, _, _ = socket.recv_fds(answers, 4096, 1)
            self._check(data, f"a socket in {netns or 'the lab'}")
            return socket.socket(family, kind, proto, fileno=fds[0])

    def run(
        self,
        where: Where,
        argv: Sequence[str],
        *,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        what: str = "",
    ) -> Result:
        """Run a command to its end. LabError after `timeout` seconds: then it and its children are killed."""
        request = {
            "op": "run",
            "argv": list(argv),
            "netns": where.netns,
            "process": where.process,
            "env": dict(env or {}),
        }
        with contextlib.ExitStack() as open_:
            ends = [open_.enter_context(_pipe()) for _ in range(3)]
            theirs = (ends[0].read, ends[1].write, ends[2].write)
            with self._ask(request, theirs) as answers:
                for end, side in zip(ends, ("read", "write", "write"), strict=True):
                    end.close(side)
                pid = self._check(answers.recv(4096), what or argv[0])["pid"]
                out = _converse(ends, stdin, timeout)
                if out is None:
                    self._end(pid)
                    raise LabError(f"{what or 'in the lab'}: {' '.join(argv)}: no end after {timeout:g} s")
                answers.settimeout(ANSWER)
                status = self._check(answers.recv(4096), what or argv[0])["status"]
        return Result(status, *(text.decode(errors="replace") for text in out))

    def _end(self, pid: int) -> None:
        with self._ask({"op": "kill", "pid": pid}) as answers:
            answers.recv(4096)

    def _ask(self, request: Obj, fds: Sequence[int] = ()) -> socket.socket:
        """Send a request; the socket on which its answers come."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mine.settimeout(ANSWER)
        try:
            with theirs, self._lock:
                socket.send_fds(self._opened(), [json.dumps(request).encode()], [theirs.fileno(), *fds])
        except OSError as problem:
            mine.close()
            self.close()
            raise LabError(
                f"lab '{self.paths.name}' cannot be entered: {problem.strerror}; does it still run?"
            ) from None
        return mine

    def _check(self, data: bytes, what: str) -> Obj:
        if not data:
            raise LabError(f"{what}: lab '{self.paths.name}' ended meanwhile")
        answer: Obj = json.loads(data)
        if "error" in answer:
            raise LabError(f"{what}: {answer['error']}")
        return answer

    def _opened(self) -> socket.socket:
        """Called with the lock held."""
        if self._door is not None:
            return self._door
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        paths = self.paths
        command = [sys.executable, "-m", "netlab.sandbox.portal", paths.name, str(paths.state), str(paths.runtime)]
        path = os.pathsep.join(entry or "." for entry in sys.path)
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())], pass_fds=[theirs.fileno()], cwd="/", stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
            )  # fmt: skip
        mine.settimeout(START)
        try:
            answer = json.loads(mine.recv(4096) or b'{"error": "it could not be entered"}')
        except TimeoutError:
            answer = {"error": f"no answer from inside after {START:.0f} s"}
        if "error" in answer:
            mine.close()
            self._process.kill()
            self._process.wait()
            raise LabError(f"lab '{paths.name}': {answer['error']}")
        self._door = mine
        return mine

    def close(self) -> None:
        """End it. Twice is fine."""
        if self._door is not None:
            self._door.close()
            self._door = None
        if self._process is not None:
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


class _pipe:  # noqa: N801 — used as a function
    """A pipe whose ends are closed at the latest with the block."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe2(os.O_CLOEXEC)

    def close(self, side: str) -> None:
        fd = getattr(self, side)
        if fd >= 0:
            setattr(self, side, -1)
            os.close(fd)

    def __enter__(self) -> _pipe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close("read")
        self.close("write")


def _converse(ends: Sequence[_pipe], stdin: str, timeout: float) -> tuple[bytes, bytes] | None:
    """Feed standard input, read the two outputs to their end; None when that took too long."""
    import selectors
    import time

    found = {ends[1].read: bytearray(), ends[2].read: bytearray()}
    rest = memoryview(stdin.encode())
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for fd in found:
            selector.register(fd, selectors.EVENT_READ)
        if rest:
            os.set_blocking(ends[0].write, False)
            selector.register(ends[0].write, selectors.EVENT_WRITE)
        else:
            ends[0].close("write")
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready and time.monotonic() >= deadline:
                return None
            for key, _ in ready:
                if key.fd == ends[0].write:
                    try:
                        rest = rest[os.write(key.fd, rest) :]
                    except BrokenPipeError:
                        rest = rest[:0]
                    if not rest:
                        selector.unregister(key.fd)
                        ends[0].close("write")
                elif data := os.read(key.fd, 65536):
                    found[key.fd] += data
                else:
                    selector.unregister(key.fd)
    return bytes(found[ends[1].read]), bytes(found[ends[2].read])
