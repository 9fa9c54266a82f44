# ruff: noqa: PTH100, PTH103, PTH112, PTH120
# (Part of PID 1, which is kept small: no pathlib, no contextlib.)
"""Run by `launch` as a script in a bare interpreter: enter the namespaces, fork, become the lab's PID 1.

    launch ──Popen──▶ boot: unshare(user) ─"unshared"▶ launch maps the ids ─"mapped"▶ boot: unshare(the rest)
                      boot ──fork──▶ PID 1: mounts, lo, limits, socket ─"ready"▶ launch writes the pid file ─"go"▶ loop
                      boot tells the pid of the fork and ends

Until "go" the death of `launch` (its end of the socket closes) ends this process: an interrupted start leaves nothing.
The interpreter is bare (-I -S: no site, no environment) so that PID 1, and all that is forked from it, stays small.
"""

import os
import sys

if __name__ == "__main__":
    # A script's own directory is not on the path under -I: put the package's parent there.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

import fcntl
import json
import socket
import struct
from typing import Any

from netlab.sandbox import facts
from netlab.sandbox import syscalls as sys_

FATAL = 70

Config = dict[str, Any]


class Channel:
    """Lines of JSON to and from `launch`."""

    def __init__(self, fd: int) -> None:
        self.sock = socket.socket(fileno=fd)
        self.sock.set_inheritable(False)
        self.file = self.sock.makefile("rb")

    def say(self, **words: Any) -> None:
        self.sock.sendall(json.dumps(words).encode() + b"\n")

    def hear(self) -> Config | None:
        """None when `launch` has died."""
        line = self.file.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def close(self) -> None:
        self.file.close()
        self.sock.close()


def main(channel_fd: int) -> int:
    channel = Channel(channel_fd)
    config = channel.hear()
    if config is None:
        return FATAL
    step = "user namespace"
    try:
        if config["user_namespace"]:
            sys_.unshare(sys_.CLONE_NEWUSER)
            facts.user_namespace = True
        channel.say(step="unshared")
        if channel.hear() is None:
            return FATAL
        step = "namespaces"
        sys_.unshare(sys_.CLONE_NEWNS | sys_.CLONE_NEWNET | sys_.CLONE_NEWUTS | sys_.CLONE_NEWIPC | sys_.CLONE_NEWPID)
        step = "fork"
        pid = os.fork()
    except OSError as error:
        channel.say(error=step, errno=error.errno, message=str(error))
        return FATAL
    if pid:
        channel.say(step="forked", pid=pid)
        os._exit(0)
    return first_process(config, channel)


def first_process(config: Config, channel: Channel) -> int:
    step = "set-up"
    try:
        sys_.set_name("netlab-init")
        facts.arguments, facts.environment = sys_.memory_of_arguments()
        raise_limits()
        for fds in config["fds"].values():
            for fd in fds:
                os.set_inheritable(fd, False)
        os.set_inheritable(config["lock_fd"], False)
        step = "mounts"
        make_mounts(config)
        step = "loopback"
        loopback_up()
        step = "host name"
        socket.sethostname(config["name"])
        from netlab.sandbox import init
    except OSError as error:
        channel.say(error=step, errno=error.errno, message=str(error))
        return FATAL
    config["facts"] = {
        "user_namespace": facts.user_namespace,
        "own_proc": facts.own_proc,
        "name": config["name"],
        "cgroup": config["cgroup"],
    }

    def ready() -> bool:
        channel.say(step="ready", facts=config["facts"])
        go = channel.hear()
        channel.close()
        return go is not None

    return init.serve(config, ready)


def raise_limits() -> None:
    import resource

    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(sock, 0x8913, request))[1]  # SIOCGIFFLAGS
        fcntl.ioctl(sock, 0x8914, struct.pack("16sH14x", b"lo", flags | 1))  # SIOCSIFFLAGS, IFF_UP


def make_mounts(config: Config) -> None:
    """Slave to the machine's mounts (an unmount outside is seen here, nothing goes back), private /run and /proc.

    /tmp and the home stay the machine's: the lab's state lives there. Containers get a /tmp of their own.
    """
    sys_.mount(None, "/", None, sys_.MS_REC | sys_.MS_SLAVE)
    flags = sys_.MS_NOSUID | sys_.MS_NODEV | sys_.MS_NOEXEC
    keep = open_kept(config["keep"])
    try:
        sys_.mount("proc", "/proc", "proc", flags)
    except PermissionError:
        facts.own_proc = False
    sys_.mount("tmpfs", "/run", "tmpfs", sys_.MS_NOSUID | sys_.MS_NODEV, "mode=755")
    put_back(keep)
    os.makedirs("/run/lock", exist_ok=True)
    os.makedirs("/run/netlab/layers", mode=0o700)
    from netlab.sandbox import rootfs

    rootfs.prepare_dev()
    facts.template_fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    sys_.unshare(sys_.CLONE_NEWNS)
    os.makedirs("/run/netns")


def open_kept(paths: list[str]) -> list[tuple[str, int]]:
    """What the lab needs of the machine's own /run: state, images, the program itself, should they be there."""
    kept = []
    for path in paths:
        real = os.path.realpath(path)
        if real.startswith("/run/") and os.path.isdir(real):
            kept.append((real, os.open(real, os.O_PATH | os.O_CLOEXEC)))
    return kept


def put_back(kept: list[tuple[str, int]]) -> None:
    for path, fd in kept:
        os.makedirs(path, exist_ok=True)
        sys_.mount(f"/proc/self/fd/{fd}", path, None, sys_.MS_BIND | sys_.MS_REC)
        os.close(fd)


if __name__ == "__main__":
    # As a script this module is __main__: use the importable one, so that its names exist once.
    from netlab.sandbox import boot

    sys.exit(boot.main(int(sys.argv[1])))
