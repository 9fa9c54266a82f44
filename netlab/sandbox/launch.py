"""Making and ending a lab, from outside, as the user (or as root, then without a user namespace)."""

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netlab.sandbox import cgroups, idmap, syscalls
from netlab.sandbox.data import spec_data
from netlab.sandbox.enter import enter
from netlab.sandbox.locate import LabNotRunning, lock_is_held, process_start, running_pid
from netlab.sandbox.paths import INIT_SOCKET, LabPaths, images_dir
from netlab.sandbox.removal import remove
from netlab.sandbox.spec import ProcessSpec, SandboxError

__all__ = ["LabNotRunning", "LabRunning", "LaunchError", "Launched", "destroy", "enter", "launch", "running_pid"]

# Without these in the first user namespace, a user namespace of our own it is.
_NEEDED = syscalls.cap_mask(("SYS_ADMIN", "NET_ADMIN", "SYS_CHROOT", "SETPCAP"))


LOCK_PATIENCE = 2.0


class LaunchError(SandboxError):
    """The lab could not be made; the message names the step, the reason and the remedy."""


class LabRunning(LaunchError):  # noqa: N818
    """A lab of that name already runs."""


@dataclass(frozen=True, slots=True)
class Launched:
    """pid: the lab's PID 1 as the machine sees it. user_namespace, subordinate_ids: what it runs in."""

    pid: int
    user_namespace: bool
    subordinate_ids: bool
    own_proc: bool = True


def launch(
    lab: LabPaths,
    main: Sequence[ProcessSpec] = (),
    *,
    fds: Mapping[str, Sequence[int]] | None = None,
    zygote: Sequence[str] = (),
    preload: Sequence[str] = (),
    keep: Iterable[Path] = (),
    user_namespace: bool | None = None,
    timeout: float = 10.0,
) -> Launched:
    """Make the namespaces and PID 1, which starts `main` (labd, …) and keeps `fds` by name ("api", "control").

    Returns when PID 1 answers; it is then a process of its own, in its own session, with its output in
    `<state>/logs/init.log`. Should the caller die before that, nothing is left. `zygote`: modules that the fork
    server imports, in order ("via zygote" processes wait for them); `preload`: light ones that PID 1 imports itself.
    `keep`: directories to keep visible should they lie below /run. `user_namespace`: None means where privileges are
    missing. Raises LabRunning and LaunchError.
    """
    lab.create()
    lock = _lock(lab)
    try:
        _clean(lab)
        held = {name: list(numbers) for name, numbers in (fds or {}).items()}
        own = syscalls.effective_capabilities() & _NEEDED == _NEEDED
        config = {
            "name": lab.name,
            "socket": str(INIT_SOCKET),
            "user_namespace": not own if user_namespace is None else user_namespace,
            "fds": held,
            "lock_fd": lock,
            "keep": [str(p) for p in _kept(lab, keep)],
            "preload": list(preload),
            "cgroup": _cgroup(lab),
            "zygote": list(zygote),
            "zygote_log": str(lab.logs / "zygote.log"),
            "sys_path": [str(Path(p).absolute()) for p in sys.path],
            "main": [spec_data(spec) for spec in main],
        }
        return _Boot(lab, config, timeout).run()
    except BaseException:
        _remove_cgroup(lab)
        raise
    finally:
        os.close(lock)


def _lock(lab: LabPaths) -> int:
    """The lock that PID 1 inherits and keeps: whoever cannot have it looks at a running lab.

    A lab that has just been killed, or whose start has, is given a moment to be gone.
    """
    fd = os.open(lab.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(fd)
                raise
        if running_pid(lab) is not None or time.monotonic() > deadline:
            os.close(fd)
            raise LabRunning(f"lab {lab.name!r} is already running (or another klab is starting it)")
        time.sleep(0.01)


def _clean(lab: LabPaths) -> None:
    """What a lab that was killed has left: logs and volumes of pods that no longer are."""
    with contextlib.suppress(OSError):
        remove(lab.pods)
    lab.pods.mkdir(parents=True, exist_ok=True)
    lab.pid.unlink(missing_ok=True)
    _remove_cgroup(lab)


def _cgroup(lab: LabPaths) -> str:
    """The lab's own group, or "". Its path is kept: whoever ends the lab may itself be in another group."""
    group = cgroups.make_lab_group(lab)
    if group is not None:
        lab.cgroup.write_text(str(group))
    return str(group or "")


def _remove_cgroup(lab: LabPaths) -> None:
    try:
        group = Path(lab.cgroup.read_text())
    except OSError:
        return
    cgroups.remove_lab_group(group)
    lab.cgroup.unlink(missing_ok=True)


def _kept(lab: LabPaths, more: Iterable[Path]) -> list[Path]:
    package = Path(__file__).resolve().parents[2]
    candidates = [lab.state, images_dir(), package, Path(sys.prefix), Path(sys.base_prefix), *more]
    candidates += [Path(p) for p in sys.path if p]
    return list(dict.fromkeys(p for p in candidates if p.is_dir()))


class _Boot:
    """One conversation with boot.py (see there)."""

    def __init__(self, lab: LabPaths, config: dict[str, Any], timeout: float) -> None:
        self.lab, self.config = lab, config
        self.deadline = time.monotonic() + timeout
        self.sock, theirs = socket.socketpair()
        self.buffer = b""
        passed = [theirs.fileno(), config["lock_fd"], *(fd for fds in config["fds"].values() for fd in fds)]
        log = os.open(lab.logs / "init.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(__file__).with_name("boot.py")), str(theirs.fileno()), lab.name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                pass_fds=passed,
                start_new_session=True,
            )
        finally:
            os.close(log)
            theirs.close()

    def run(self) -> Launched:
        pid = 0
        try:
            self.say(self.config)
            self.hear("unshared")
            subordinate = idmap.write_maps(self.process.pid) if self.config["user_namespace"] else True
            self.say({})
            pid = int(self.hear("forked")["pid"])
            facts = self.hear("ready")["facts"]
            self.lab.pid.write_text(f"{pid} {process_start(pid)}\n")
            self.say({})
            return Launched(pid, self.config["user_namespace"], subordinate, facts["own_proc"])
        except BaseException:
            _kill(pid or self.process.pid)
            raise
        finally:
            self.sock.close()
            self.process.wait()

    def say(self, words: dict[str, Any]) -> None:
        try:
            self.sock.sendall(json.dumps(words).encode() + b"\n")
        except OSError:
            raise self.failure() from None

    def hear(self, step: str) -> dict[str, Any]:
        while b"\n" not in self.buffer:
            self.sock.settimeout(max(0.001, self.deadline - time.monotonic()))
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                raise LaunchError(f"the lab's first process did not answer in time (waiting for {step!r})") from None
            except OSError:
                data = b""
            if not data:
                raise self.failure()
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        words: dict[str, Any] = json.loads(line)
        if "error" in words:
            raise LaunchError(_explain(words))
        return words

    def failure(self) -> LaunchError:
        return LaunchError(f"the lab's first process ended unexpectedly; see {self.lab.logs / 'init.log'}")


def _explain(words: dict[str, Any]) -> str:
    """The step that failed, why, and what to do: the first required check that is not met says it best."""
    from netlab.sandbox import doctor

    for check in doctor.required():
        if not check.ok:
            return f"cannot make a lab: {check.name}: {check.found}. {check.remedy}"
    return f"cannot make a lab: {words['error']}: {words['message']} (klab doctor shows what this machine allows)"


def _kill(pid: int) -> None:
    """And wait: a PID 1 is gone when all that it had started is."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            _gone(handle, 10.0)
        finally:
            os.close(handle)


def destroy(lab: LabPaths, *, grace: float = 0.0) -> bool:
    """End the lab: SIGTERM and up to `grace` seconds for an orderly stop, then SIGKILL to PID 1; returns when every
    process is gone. True when there was something to end. Idempotent; safe against pid reuse.

    A start that is at work, or dying because its caller was killed, is waited for a moment."""
    deadline = time.monotonic() + LOCK_PATIENCE
    while (pid := running_pid(lab)) is None and lock_is_held(lab) and time.monotonic() < deadline:
        time.sleep(0.01)
    ended = False
    if pid is not None:
        ended = _end(lab, pid, grace)
    if not lock_is_held(lab):
        lab.pid.unlink(missing_ok=True)
        lab.control_socket.unlink(missing_ok=True)
        _remove_cgroup(lab)
    return ended


def _end(lab: LabPaths, pid: int, grace: float) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if running_pid(lab) != pid:  # the number was given to another process meanwhile
            return False
        if grace > 0:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            if _gone(handle, grace):
                return True
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        # PID 1's end is reported when the kernel has ended every other process of its namespace.
        while not _gone(handle, 1.0):
            pass
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
    return True


def _gone(handle: int, timeout: float) -> bool:
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    return bool(poller.poll(timeout * 1000))
