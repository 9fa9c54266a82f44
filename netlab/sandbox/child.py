# ruff: noqa: PTH103, PTH106, PTH116, SIM105
# (Part of PID 1, which is kept small: no pathlib, no contextlib.)
"""From a fork of PID 1 (or of the zygote) to the process that was asked for. Runs in the child, never returns.

Everything that can fail is done before the report socket is closed, so that the one who asked learns the stage and
the reason.
"""

import errno
import fcntl
import importlib
import os
import signal
import socket
import stat
import struct
import sys
import termios
import traceback
from typing import Any, NoReturn

from netlab.sandbox import facts, wire
from netlab.sandbox.syscalls import (
    NAMESPACES,
    PR_SET_NO_NEW_PRIVS,
    TIOCGPTPEER,
    cap_mask,
    drop_bounding,
    overwrite,
    prctl,
    set_capabilities,
    set_name,
    setns,
    unshare,
)

Spec = dict[str, Any]
Files = dict[str, int]

FIRST_PASSED = 3
HIGH = 512  # descriptors are first moved out of the way of the numbers they are to have
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIOCSPTLCK = 0x40045431


def run(spec: Spec, files: Files) -> NoReturn:
    stage = ["setup"]
    report = files.pop("report")
    status = 128
    try:
        report = fcntl.fcntl(report, fcntl.F_DUPFD_CLOEXEC, HIGH)
        reset_signals()
        os.setsid()
        prepare(spec, files, stage, report)
        if not spec.get("target"):
            stage[0] = "exec"
            execute(list(spec["argv"]), spec.get("env") or {})
        stage[0] = "target"
        call = find(spec["target"])
    except BaseException as error:
        tell(report, stage[0], error)
        os._exit(status)
    os.close(report)
    close_others(spec, files)
    os._exit(invoke(call, spec))


def tell(report: int, stage: str, error: BaseException) -> None:
    code, message = 0, f"{type(error).__name__}: {error}"
    if isinstance(error, OSError):
        code = error.errno or 0
        message = (error.strerror or str(error)) + (f": {error.filename}" if error.filename else "")
    try:
        with socket.socket(fileno=report) as sock:
            wire.send(sock, wire.encode({"stage": stage, "errno": code, "message": message}))
    except OSError:
        pass


def reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def prepare(spec: Spec, files: Files, stage: list[str], report: int) -> None:
    if spec.get("cgroup"):
        stage[0] = "cgroup"
        join_cgroup(spec["cgroup"])
    if spec.get("oom_score_adj") is not None:
        write_file("/proc/self/oom_score_adj", str(spec["oom_score_adj"]))
    stage[0] = "stdio"
    open_stdio(spec, files)
    stage[0] = "join"
    join_namespaces(spec, files)
    stage[0] = "new"
    flags = 0
    for name in spec.get("new", ()):
        if name != "pid" and not (name == "mnt" and spec.get("rootfs")):
            flags |= NAMESPACES[name]
    if flags:
        unshare(flags)
    if spec.get("hostname"):
        stage[0] = "hostname"
        socket.sethostname(spec["hostname"])
    for name, value in spec.get("sysctls", ()):
        stage[0] = f"sysctl {name}"
        write_file("/proc/sys/" + name.translate(str.maketrans("./", "/.")), value)
    if spec.get("rootfs"):
        stage[0] = "rootfs"
        from netlab.sandbox import rootfs

        rootfs.enter(spec["rootfs"], files["template"])
    stage[0] = "stdio"
    place_files(spec, files, report)
    stage[0] = "cwd"
    change_directory(spec)
    stage[0] = "user"
    change_user(spec)


def write_file(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


# -- cgroups ----------------------------------------------------------------------------------------------------------


def join_cgroup(path: str) -> None:
    write_file(f"{path}/cgroup.procs", "0")


def oom_killed(path: str) -> bool:
    """Whether the kernel killed a process of this cgroup for memory (v2: memory.events; v1: memory.oom_control)."""
    if not path:
        return False
    for name in ("memory.events", "memory.oom_control"):
        try:
            fd = os.open(f"{path}/{name}", os.O_RDONLY)
        except OSError:
            continue
        try:
            words = os.read(fd, 4096).split()
        finally:
            os.close(fd)
        if b"oom_kill" in words:
            return int(words[words.index(b"oom_kill") + 1]) > 0
    return False


def remove_cgroup(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        pass


# -- namespaces -------------------------------------------------------------------------------------------------------


def join_namespaces(spec: Spec, files: Files) -> None:
    """Mount last: paths of the others are the lab's. Namespaces of one process are entered in one call."""
    by_process: dict[str, int] = {}
    join: dict[str, int | str] = spec.get("join", {})
    for name in sorted(join, key=lambda n: n == "mnt"):
        ref = join[name]
        if name == "pid":
            continue  # the parent did it: it holds for children only
        if isinstance(ref, str) and not ref.startswith("/"):
            by_process[ref] = by_process.get(ref, 0) | NAMESPACES[name]
            continue
        fd = files.get(f"join.{name}")
        opened = fd if fd is not None else os.open(str(ref), os.O_RDONLY | os.O_CLOEXEC)
        setns(opened, NAMESPACES[name])
        if fd is None:
            os.close(opened)
    for ref, flags in by_process.items():
        setns(next(files[f"join.{n}"] for n, r in join.items() if r == ref), flags)


# -- descriptors ------------------------------------------------------------------------------------------------------


def open_stdio(spec: Spec, files: Files) -> None:
    """In the lab's own file system, before the root changes."""
    for stream, kind in zip(("stdin", "stdout", "stderr"), spec.get("stdio", ("null",) * 3), strict=True):
        if kind == "log":
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            files[stream] = os.open(spec["log"], flags, 0o644)
        elif kind == "null":
            files[stream] = os.open("/dev/null", os.O_RDWR)


def place_files(spec: Spec, files: Files, report: int) -> None:
    """stdio to 0, 1, 2; passed and held descriptors from 3 on, in order, inheritable."""
    if "pty" in spec.get("stdio", ()):
        open_pty(spec, files, report)
    names = [name for name in files if name.startswith(("pass.", "hold."))]
    moved = {name: fcntl.fcntl(files[name], fcntl.F_DUPFD_CLOEXEC, HIGH) for name in names}
    streams = [fcntl.fcntl(files[s], fcntl.F_DUPFD_CLOEXEC, HIGH) for s in ("stdin", "stdout", "stderr")]
    for number, fd in enumerate(streams):
        os.dup2(fd, number, inheritable=True)
    for offset, name in enumerate(names):
        os.dup2(moved[name], FIRST_PASSED + offset, inheritable=True)
    held = [name for name in names if name.startswith("hold.")]
    if held:
        os.environ["NETLAB_FDS"] = " ".join(f"{n[5:].rsplit('.', 1)[0]}={FIRST_PASSED + names.index(n)}" for n in held)
    files["count"] = len(names)


def open_pty(spec: Spec, files: Files, report: int) -> None:
    """A terminal of the container's own /dev/pts, controlling; its master goes to PID 1."""
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    if spec.get("user"):
        try:
            os.fchown(slave, spec["user"][0], -1)
        except OSError:
            pass
    with socket.socket(fileno=os.dup(report)) as sock:
        wire.send(sock, wire.encode({"tty": True}), [master])
    os.close(master)
    for stream in ("stdin", "stdout", "stderr"):
        files[stream] = slave


def close_others(spec: Spec, files: Files) -> None:
    os.closerange(FIRST_PASSED + files.get("count", 0), 1 << 20)


# -- identity ---------------------------------------------------------------------------------------------------------


def change_directory(spec: Spec) -> None:
    cwd = spec.get("cwd") or "/"
    if spec.get("rootfs") and cwd != "/":
        try:
            os.makedirs(cwd, exist_ok=True)
        except OSError:
            pass  # chdir says it better
    try:
        os.chdir(cwd)
    except OSError as error:
        text = f'chdir to cwd ("{cwd}") set in config.json failed: {go_error(error)}'
        raise OSError(error.errno or 0, text) from None


def change_user(spec: Spec) -> None:
    keep = spec.get("capabilities")
    mask = cap_mask(keep) if keep is not None else None
    if mask is not None:
        drop_bounding(mask)
    user = spec.get("user")
    if user:
        set_groups(list(spec.get("groups") or ()))
        uid, gid = user
        try:
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        except OSError as error:
            if error.errno == errno.EINVAL:
                text = (
                    f"user id {uid} or group id {gid} is not mapped into this lab: it has only the ids that the user "
                    "was given in /etc/subuid and /etc/subgid (see klab doctor)"
                )
                raise OSError(errno.EINVAL, text) from None
            raise
    if mask is not None:
        set_capabilities(0 if user and user[0] else mask)
    if spec.get("no_new_privs"):
        prctl(PR_SET_NO_NEW_PRIVS, 1)


def set_groups(groups: list[int]) -> None:
    try:
        os.setgroups(groups)
    except PermissionError:
        if groups:  # a single-id map forbids setgroups; an empty list is what we have then
            raise OSError(errno.EPERM, "supplemental groups need subordinate ids (see klab doctor)") from None


# -- the program ------------------------------------------------------------------------------------------------------


def go_error(error: OSError) -> str:
    """An errno in the words of Go's syscall package, as runc's messages have it."""
    text = os.strerror(error.errno or 0)
    return text[:1].lower() + text[1:]


def execute(argv: list[str], env: dict[str, str]) -> NoReturn:
    if "NETLAB_FDS" in os.environ:
        env = {**env, "NETLAB_FDS": os.environ["NETLAB_FDS"]}
    program = look_path(argv[0], env.get("PATH", DEFAULT_PATH))
    try:
        os.execve(program, argv, env)
    except OSError as error:
        raise OSError(error.errno or 0, f"exec {program}: {go_error(error)}") from None


def look_path(name: str, path: str) -> str:
    """As Go's exec.LookPath, whose errors users know from runc."""
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if "/" in name:
        try:
            mode = os.stat(name).st_mode
        except OSError as error:
            raise OSError(error.errno or 0, f"exec: {quoted}: stat {name}: {go_error(error)}") from None
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, f"exec: {quoted}: is a directory")
        if not mode & 0o111:
            raise OSError(errno.EACCES, f"exec: {quoted}: permission denied")
        return name
    for directory in path.split(":"):
        candidate = f"{directory or '.'}/{name}"
        try:
            mode = os.stat(candidate).st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode) and mode & 0o111:
            return candidate
    raise OSError(errno.ENOENT, f"exec: {quoted}: executable file not found in $PATH")


def find(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def show(spec: Spec) -> None:
    """What ps and /proc tell of a fork that is no program of its own: its name and arguments, not PID 1's."""
    argv = spec.get("argv") or ["netlab", spec["id"]]
    set_name(argv[0].rpartition("/")[2] if spec.get("argv") else spec["id"].rpartition("/")[2])
    overwrite(facts.arguments, "\0".join(argv).encode(errors="replace"))
    if spec.get("rootfs"):
        # A container does not see the environment of whoever started the lab.
        os.environ.clear()
        overwrite(facts.environment, b"")


def invoke(call: Any, spec: Spec) -> int:
    """Call a Python target; its result is the exit status, as of sys.exit."""
    # as the interpreter does at its own start: who writes to a helper that has ended gets an error, and lives
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    show(spec)
    os.environ.update(spec.get("env") or {})
    try:
        result = call(*spec.get("args", ()))
        code = int(result) if result is not None else 0
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            code = error.code or 0
        else:
            print(error.code, file=sys.stderr)  # noqa: T201
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    return code & 0xFF
