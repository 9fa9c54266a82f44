"""A command inside a running lab, on the caller's terminal: what `klab exec` and `klab shell` do.

The caller forks once to enter the namespaces (setns of a user namespace wants a single thread, and is for good) and
once more so that the command is in the lab's PID namespace. With a terminal the command gets a process group of its
own in the foreground: its number must exist inside the lab, or a shell would refuse job control.
"""

import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from netlab.kernel.programs import with_sbin
from netlab.sandbox import syscalls as sys_
from netlab.sandbox.locate import LabNotRunning, running_pid
from netlab.sandbox.paths import NETNS_DIR, LabPaths

NOT_FOUND, NOT_EXECUTABLE, FAILED = 127, 126, 125
ALL = sys_.CLONE_NEWNS | sys_.CLONE_NEWNET | sys_.CLONE_NEWUTS | sys_.CLONE_NEWIPC | sys_.CLONE_NEWPID


def enter(
    lab: LabPaths,
    argv: Sequence[str],
    *,
    netns: str | None = None,
    hostname: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    process: int | None = None,
) -> int:
    """Run a command inside a running lab on the caller's terminal and return its exit status (128 + signal).

    netns: name below /run/netns (a node, or a pod's cni-…); None: the lab's own network namespace.
    process: pid *in the lab* of a container's process whose mount, UTS, IPC and PID namespaces are joined instead.
    env: replaces the caller's; a machine's PATH has root's directories, too. cwd: kept where it exists, else /.
    127: no such command; 126: not executable; 125: the lab could not be entered. Raises LabNotRunning.
    """
    pid = running_pid(lab)
    if pid is None:
        raise LabNotRunning(lab.name)
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        raise LabNotRunning(lab.name) from None
    env = dict(os.environ if env is None else env)
    if process is None:
        env["PATH"] = with_sbin(env.get("PATH"))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    middle = os.fork()
    if middle == 0:
        try:
            child, gate = _inside(handle, pid, list(argv), env, cwd or str(Path.cwd()), (netns, hostname, process))
        except OSError as error:
            os.write(2, f"klab: cannot enter the lab: {error}\n".encode())
            os._exit(FAILED)
        _relay(child, gate)
    os.close(handle)
    return _wait(middle)


def _inside(
    handle: int,
    pid: int,
    argv: list[str],
    env: dict[str, str],
    cwd: str,
    where: tuple[str | None, str | None, int | None],
) -> tuple[int, int]:
    """Enter, fork the command; its pid, and the descriptor whose closing lets it go."""
    netns, hostname, process = where
    user = 0 if same_user_namespace(pid) else sys_.CLONE_NEWUSER
    sys_.setns(handle, user | ALL)
    if process is not None:
        join_process(process)
    elif netns is not None:
        join_netns(netns)
    if hostname is not None:
        sys_.unshare(sys_.CLONE_NEWUTS)
        socket.sethostname(hostname)
    waiting, gate = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(gate)
        if os.isatty(0):
            os.setpgid(0, 0)
        os.read(waiting, 1)  # until the terminal is ours
        execute(argv, env, cwd)
    os.close(waiting)
    return child, gate


def same_user_namespace(pid: int) -> bool:
    """setns to one's own user namespace is refused, so root must not ask for it."""
    return Path(f"/proc/{pid}/ns/user").stat().st_ino == Path("/proc/self/ns/user").stat().st_ino


def join_process(pid: int) -> None:
    """All namespaces of a process named by its number in the lab: the lab's /proc knows it. Mount last."""
    names = ("net", "uts", "ipc", "pid", "mnt")
    fds = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]
    for fd in fds:
        sys_.setns(fd, 0)
        os.close(fd)


def join_netns(name: str) -> None:
    """The node's network, and a /sys that shows it (as `ip netns exec` does)."""
    fd = os.open(NETNS_DIR / name, os.O_RDONLY | os.O_CLOEXEC)
    sys_.setns(fd, sys_.CLONE_NEWNET)
    os.close(fd)
    sys_.unshare(sys_.CLONE_NEWNS)
    sys_.mount(None, "/", None, sys_.MS_REC | sys_.MS_SLAVE)
    flags = sys_.MS_NOSUID | sys_.MS_NODEV | sys_.MS_NOEXEC | sys_.MS_RDONLY
    with contextlib.suppress(OSError):  # masked outside: the network itself is right all the same
        sys_.mount("sysfs", "/sys", "sysfs", flags)


def execute(argv: list[str], env: dict[str, str], cwd: str) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU, signal.SIGTTIN, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.chdir(cwd)
    except OSError:
        os.chdir("/")
    # Not execvpe: a directory of the PATH that may not be read would hide that there is no such command.
    program = argv[0] if "/" in argv[0] else shutil.which(argv[0], path=env.get("PATH"))
    try:
        if program is None or not Path(program).exists():
            os.write(2, f"klab: {argv[0]}: command not found\n".encode())
            os._exit(NOT_FOUND)
        os.execve(program, argv, env)
    except OSError as error:
        os.write(2, f"klab: {argv[0]}: {error.strerror}\n".encode())
        os._exit(NOT_EXECUTABLE)


def _relay(child: int, gate: int) -> NoReturn:
    """The middle process: hand the terminal over, stop and go on as the command does, end as it ends."""
    terminal = os.isatty(0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _frame: os.kill(child, got))
    if terminal:
        with contextlib.suppress(OSError):  # it was quicker
            os.setpgid(child, child)
        _foreground(child)
    os.close(gate)
    while True:
        _pid, status = os.waitpid(child, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            break
        if terminal:
            _foreground(os.getpgrp())
        os.kill(os.getpid(), signal.SIGSTOP)
        if terminal:
            _foreground(child)
        os.killpg(child, signal.SIGCONT)
    if terminal:
        _foreground(os.getpgrp())
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def _foreground(group: int) -> None:
    with contextlib.suppress(OSError):
        os.tcsetpgrp(0, group)


def _wait(middle: int) -> int:
    """The caller: ignore the keyboard's signals meanwhile, stop when the middle process stops."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        while True:
            _pid, status = os.waitpid(middle, os.WUNTRACED)
            if os.WIFSTOPPED(status):
                os.kill(os.getpid(), signal.SIGSTOP)
                os.kill(middle, signal.SIGCONT)
                continue
            return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
