# ruff: noqa: SIM105
# (Part of PID 1, which is kept small: no pathlib, no contextlib.)
"""Starting processes from PID 1 and learning how they ended.

A fork into a new PID namespace: PID 1 unshares the namespace of its *future children*, forks once, and sets its own
namespace back for the next: the child is number 1 of the new namespace and a direct child of PID 1, with no helper
process between them. Joining one (exec in a container) is the same with setns.

The child tells by a socket how its set-up went: the end of the stream means that its program runs.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from netlab.sandbox import child, facts, wire
from netlab.sandbox.layers import Trash
from netlab.sandbox.processes import BACKOFF_FIRST, BACKOFF_LIMIT, BACKOFF_RESET, Process
from netlab.sandbox.syscalls import CLONE_NEWPID, setns, unshare
from netlab.sandbox.zygote_client import ZygoteClient

if TYPE_CHECKING:
    from netlab.sandbox.init import Init

Spec = dict[str, Any]
Files = dict[str, int]
Reply = Callable[[dict[str, Any]], None]

STREAMS = ("stdin", "stdout", "stderr")


class Spawner:
    def __init__(self, init: "Init") -> None:
        self.init = init
        self.own_pid_ns = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self.trash = Trash()
        self.zygote = ZygoteClient(init, self)

    # -- starting ---------------------------------------------------------------------------------------------------

    def spawn(self, spec: Spec, fds: Sequence[int], reply: Reply | None) -> None:
        """Start a process whose id is new. Takes over `fds`. `reply` gets {"pid"} or {"error", "stage", …}."""
        process = Process(spec)
        process.fds = list(fds)
        process.reply = reply
        self.init.table.add(process)
        self.start(process, spec)

    def start(self, process: Process, spec: Spec) -> None:
        process.exit = process.error = None
        process.starts += 1
        process.started_at = time.time()
        files: Files = {}
        try:
            self.open_files(process, spec, files)
            if spec.get("via") == "zygote":
                self.zygote.order(process, spec, files)
                return  # it closes the files when the order has gone
            pid = self.fork(spec, files)
        except Exception as error:
            self.failed(process, error)
            self.close_files(files)
            return
        self.close_files(files)
        self.started(process, pid)

    def open_files(self, process: Process, spec: Spec, files: Files) -> None:
        """Everything that the child takes along, by name; ours are kept in the process."""
        for fd in process.stdio.values():
            os.close(fd)
        process.stdio.clear()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process.report = ours.detach()
        os.set_blocking(process.report, False)
        files["report"] = theirs.detach()
        for stream, kind in zip(STREAMS, spec.get("stdio", ("null",) * 3), strict=True):
            if kind == "pipe":
                reader, writer = os.pipe2(os.O_CLOEXEC)
                mine, yours = (writer, reader) if stream == "stdin" else (reader, writer)
                process.stdio[stream], files[stream] = mine, yours
            elif isinstance(kind, int):
                files[stream] = os.dup(process.fds[kind])
        for name, ref in spec.get("join", {}).items():
            descriptor = self.namespace(process, ref)
            if descriptor is not None:
                files[f"join.{name}"] = descriptor
        for index, number in enumerate(spec.get("pass_fds", ())):
            files[f"pass.{index}"] = os.dup(process.fds[number])
        for name in spec.get("hold", ()):
            for index, fd in enumerate(self.init.held.get(name, ())):
                files[f"hold.{name}.{index}"] = os.dup(fd)
        if spec.get("rootfs"):
            files["template"] = os.dup(facts.template_fd)

    def namespace(self, process: Process, ref: int | str) -> int | None:
        """A descriptor for setns: of a namespace, or a pidfd; None where the child opens a path itself."""
        if isinstance(ref, int):
            return os.dup(process.fds[ref])
        if ref.startswith("/"):
            return None
        other = self.init.table.by_id.get(ref)
        if other is None or other.exit is not None or other.pid == 0:
            raise ProcessLookupError(3, f"process {ref!r} is not running")
        return os.pidfd_open(other.pid)

    def fork(self, spec: Spec, files: Files) -> int:
        changed = False
        if "pid" in spec.get("new", ()):
            unshare(CLONE_NEWPID)
            changed = True
        elif "join.pid" in files:
            setns(files["join.pid"], CLONE_NEWPID)
            changed = True
        try:
            pid = os.fork()
        except OSError:
            self.restore_pid_ns(changed)
            raise
        if pid == 0:
            child.run(spec, files)
        self.restore_pid_ns(changed)
        return pid

    def restore_pid_ns(self, changed: bool) -> None:
        while changed:
            try:
                setns(self.own_pid_ns, CLONE_NEWPID)
                return
            except OSError:
                time.sleep(0.001)  # no memory for a moment: no fork may happen before this has worked

    def close_files(self, files: Files) -> None:
        wire.close_all(list(files.values()))
        files.clear()

    def started(self, process: Process, pid: int) -> None:
        process.pid = pid
        self.init.table.by_pid[pid] = process
        if process.report >= 0:
            self.init.watch(process.report, self.on_report)
            self.reports[process.report] = process
        if not process.restart:
            wire.close_all(process.fds)
            process.fds.clear()

    reports: dict[int, Process] = {}  # noqa: RUF012 - one per process image; a fork never uses it

    def on_report(self, fd: int) -> None:
        """The child's word on its set-up: an error, the master of its pty, or the end: it runs."""
        process = self.reports[fd]
        sock = socket.socket(fileno=os.dup(fd))
        try:
            while True:
                received = wire.receive(sock)
                if received is None:
                    break
                packet, fds = received
                if "tty" in packet and fds:
                    process.stdio["tty"] = fds.pop(0)
                elif "errno" in packet:
                    process.error = packet
                wire.close_all(fds)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            pass
        finally:
            sock.close()
        self.close_report(process)
        if process.error is None:
            self.reply(process, {"pid": process.pid})

    def close_report(self, process: Process) -> None:
        if process.report >= 0:
            self.init.unwatch(process.report)
            self.reports.pop(process.report, None)
            os.close(process.report)
            process.report = -1

    def reply(self, process: Process, result: dict[str, Any]) -> None:
        if process.reply is not None:
            reply, process.reply = process.reply, None
            reply(result)

    def failed(self, process: Process, error: Exception) -> None:
        """No process came to be."""
        code = getattr(error, "errno", None) or 0
        process.error = {"stage": "fork", "errno": code, "message": str(error)}
        self.finish(process, 128 << 8)

    # -- ending -----------------------------------------------------------------------------------------------------

    def ended(self, pid: int, status: int) -> None:
        process = self.init.table.by_pid.pop(pid, None)
        if process is None:
            self.zygote.unclaimed(pid, status)
            return
        if process.report >= 0:
            self.on_report(process.report)
        self.finish(process, status)

    def finish(self, process: Process, status: int) -> None:
        self.close_report(process)
        error = process.error or {}
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        process.exit = {
            "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
            "signal": killed,
            "finished_at": time.time(),
            "error": error.get("message", ""),
            "errno": error.get("errno", 0),
            "oom": killed == signal.SIGKILL and child.oom_killed(process.cgroup),
        }
        restarting = process.restart and not process.stopping and self.init.stop_at is None
        if error:
            self.reply(process, {"error": "SpawnError", **error})
        else:  # it ran, and ended before the fork server had let go of its end of the report
            self.reply(process, {"pid": process.pid})
        if process.internal:
            self.zygote.lost()
        self.init.publish(process, restarting=restarting)
        if restarting:
            self.restart(process)

    def restart(self, process: Process) -> None:
        from netlab.sandbox.init import log

        if time.time() - process.started_at > BACKOFF_RESET:
            process.backoff = BACKOFF_FIRST
        delay, process.backoff = process.backoff, min(process.backoff * 2, BACKOFF_LIMIT)
        log(f"{process.id} ended ({process.exit}); again in {delay:g} s")
        self.init.later(delay, lambda: self.start_again(process))

    def start_again(self, process: Process) -> None:
        current = self.init.table.by_id.get(process.id) is process
        if current and process.spec is not None and not process.stopping and self.init.stop_at is None:
            if process.internal:
                self.zygote.start(process)
            else:
                self.start(process, process.spec)

    def signal(self, process: Process, number: int) -> None:
        # Only we reap, so a pid in the table cannot have been given to another process.
        if self.init.table.by_pid.get(process.pid) is process:
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                pass

    def forget(self, process: Process) -> None:
        self.init.table.remove(process)
        process.close()
        if process.layer:
            self.trash.put(process.layer)
        if process.cgroup:
            child.remove_cgroup(process.cgroup)

    def start_zygote(self) -> None:
        self.zygote.begin()
