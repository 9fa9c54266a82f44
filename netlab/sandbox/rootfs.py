# ruff: noqa: PTH102, PTH103, PTH106, PTH110, PTH116, PTH120, PTH211
# (Part of PID 1, which is kept small: no pathlib, no contextlib.)
"""A container's root: overlay over read-only directories, mounts, pivot. Runs in the child, in a new mount namespace.

While mounts are made, the old root is at OLD below the new one: their targets then resolve inside the new root as the
container itself would resolve them (links like /var/run included), and their sources were resolved before.
"""

import errno
import os
import stat
from typing import Any

from netlab.sandbox import facts
from netlab.sandbox.syscalls import (
    CLONE_NEWNS,
    MNT_DETACH,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    mount,
    pivot_root,
    setns,
    umount,
    unshare,
)

OLD = "/.netlab-old-root"
DEV = "/run/netlab/dev"  # prepared at start, see boot
VIRTUAL_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC

# statvfs's flags and mount's for those that a user namespace may not drop when it remounts.
LOCKED = ((1, MS_RDONLY), (2, MS_NOSUID), (4, MS_NODEV), (8, MS_NOEXEC), (1024, 1024), (2048, 2048), (4096, 1 << 21))

MountData = dict[str, Any]


class MountFailed(OSError):  # noqa: N818
    """In the words of runc."""

    def __init__(self, entry: MountData, error: OSError) -> None:
        reason = os.strerror(error.errno or 0)
        text = (
            f'error mounting "{entry.get("source") or entry["kind"]}" to rootfs at "{entry["target"]}": '
            f"{reason[:1].lower()}{reason[1:]}"
        )
        super().__init__(error.errno, text)


def enter(rootfs: MountData, template: int) -> None:
    """Build it and make it the root of this process."""
    setns(template, CLONE_NEWNS)
    unshare(CLONE_NEWNS)
    layer = rootfs["layer"]
    new, upper = f"{layer}/root", f"{layer}/upper"
    mounts = [dict(entry) for entry in rootfs["mounts"]]
    for entry in mounts:
        if entry["kind"] in ("bind", "overlay"):
            entry["source"] = os.path.realpath(entry["source"])
    for path in (new, upper, f"{layer}/work"):
        os.makedirs(path, exist_ok=True)
    write_files(upper, mounts)
    os.makedirs(upper + OLD, exist_ok=True)
    mount_overlay(rootfs["lower"], upper, f"{layer}/work", new)
    os.chdir(new)
    pivot_root(".", OLD[1:])
    os.chdir("/")
    for entry in mounts:
        try:
            make(entry, layer)
        except OSError as error:
            raise MountFailed(entry, error) from None
    umount(OLD, MNT_DETACH)
    os.rmdir(OLD)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    if rootfs.get("read_only"):
        remount_read_only("/")


def write_files(upper: str, mounts: list[MountData]) -> None:
    """`file` entries go straight into the private layer: no mount, and the container may edit them."""
    for entry in mounts:
        if entry["kind"] == "file":
            path = upper + entry["target"]
            os.makedirs(os.path.dirname(path), exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            try:
                os.write(fd, entry["text"].encode())
            finally:
                os.close(fd)


def mount_overlay(lower: list[str], upper: str, work: str, target: str) -> None:
    options = f"lowerdir={':'.join(map(escape, lower))},upperdir={escape(upper)},workdir={escape(work)}"
    if facts.user_namespace:
        options += ",userxattr"
    try:
        mount("overlay", target, "overlay", 0, options)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENODEV, errno.EINVAL):
            raise
        compose(lower, upper, target)


def escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def compose(lower: list[str], upper: str, target: str) -> None:
    """Where overlayfs is not allowed (before Linux 5.11 in a user namespace): a private copy. Views are small."""
    import shutil

    for directory in [*reversed(lower), upper]:
        shutil.copytree(directory, target, symlinks=True, dirs_exist_ok=True)
    mount(target, target, None, MS_BIND | MS_REC)


# -- single mounts ----------------------------------------------------------------------------------------------------


def make(entry: MountData, layer: str) -> None:
    kind, target = entry["kind"], entry["target"]
    if kind == "bind":
        bind(OLD + entry["source"], target, bool(entry.get("read_only")))
    elif kind == "overlay":
        overlay_directory(entry, layer)
    elif kind == "dev":
        make_dev(entry)
    elif kind == "symlink":
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(entry["source"], target)
    elif kind != "file":
        virtual(kind, target, entry)


def virtual(kind: str, target: str, entry: MountData) -> None:
    os.makedirs(target, exist_ok=True)
    flags = VIRTUAL_FLAGS
    if entry.get("read_only") or kind == "sysfs":
        flags |= MS_RDONLY
    if kind == "devpts":
        flags = MS_NOSUID | MS_NOEXEC
    if kind == "tmpfs":
        flags = MS_NOSUID | MS_NODEV
    try:
        mount(kind, target, kind, flags, None if kind == "proc" else entry.get("options") or None)
    except PermissionError:
        # Something of the machine's own /proc or /sys is masked: the kernel then refuses a fresh one. Show that one.
        if kind not in ("proc", "sysfs"):
            raise
        mount(OLD + target, target, None, MS_BIND | MS_REC)
    if kind == "proc" and entry.get("options") != "unmasked":
        protect_proc()


def protect_proc() -> None:
    """/proc/sys read-only, as in containers that are not privileged; as real root also what could hurt the machine."""
    paths = ["/proc/sys"]
    if not facts.user_namespace:
        paths += ["/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"]
    for path in paths:
        if os.path.exists(path):
            mount(path, path, None, MS_BIND | MS_REC)
            remount_read_only(path)
    if not facts.user_namespace:
        for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list"):
            if os.path.exists(path):
                mount("/dev/null" if os.path.exists("/dev/null") else OLD + "/dev/null", path, None, MS_BIND)


def bind(source: str, target: str, read_only: bool) -> None:
    mode = os.stat(source).st_mode
    make_mount_point(target, stat.S_ISDIR(mode))
    mount(source, target, None, MS_BIND | MS_REC)
    if read_only:
        remount_read_only(target)


def make_mount_point(target: str, directory: bool) -> None:
    if directory:
        os.makedirs(target, exist_ok=True)
        return
    if not os.path.lexists(target):
        os.makedirs(os.path.dirname(target) or "/", exist_ok=True)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def remount_read_only(path: str) -> None:
    flags = os.statvfs(path).f_flag
    keep = 0
    for mine, theirs in LOCKED:
        if flags & mine:
            keep |= theirs
    mount(None, path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | keep)


def overlay_directory(entry: MountData, layer: str) -> None:
    """A directory of the machine, writable in private: `text` names directories to make in it, owned by the container.

    `options` may name one directory (of the lab) to lay between.
    """
    target = entry["target"]
    place = OLD + layer + "/" + target.strip("/").replace("/", "-")
    for name in ("-upper", "-work"):
        os.makedirs(place + name, exist_ok=True)
    for path in filter(None, entry.get("text", "").split("\n")):
        os.makedirs(f"{place}-upper/{path.strip('/')}", exist_ok=True)
    os.makedirs(target, exist_ok=True)
    lower = [OLD + extra for extra in filter(None, [entry.get("options")])] + [OLD + entry["source"]]
    mount_overlay(lower, place + "-upper", place + "-work", target)


def make_dev(entry: MountData) -> None:
    """The prepared /dev (null, zero, …, read-only as a directory), with this container's own terminals; `source` is
    the pod's /dev/shm. Containers that mount something else below /dev ("private") get a directory of their own."""
    os.makedirs("/dev", exist_ok=True)
    if entry.get("options") == "private":
        mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k")
        populate_dev("/dev", OLD + DEV)
    else:
        mount(OLD + DEV, "/dev", None, MS_BIND | MS_REC)
    mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    if entry.get("source"):
        mount(OLD + entry["source"], "/dev/shm", None, MS_BIND)
    else:
        mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=64m")


NODES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
    "core": "/proc/kcore",
}


def populate_dev(directory: str, source: str) -> None:
    for name in NODES:
        os.close(os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CREAT, 0o666))
        mount(f"{source}/{name}", f"{directory}/{name}", None, MS_BIND)
    for name, to in LINKS.items():
        os.symlink(to, f"{directory}/{name}")
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"{directory}/{name}")
    os.close(os.open(f"{directory}/termination-log", os.O_WRONLY | os.O_CREAT, 0o666))


def prepare_dev() -> None:
    """At the lab's start: the /dev that containers share, on a small tmpfs that is read-only afterwards."""
    os.makedirs(DEV, exist_ok=True)
    mount("tmpfs", DEV, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k")
    populate_dev(DEV, "/dev")
    mount(None, DEV, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC)
