"""Network namespaces: made on a worker thread, pinned under /run/netns, held by a kept netlink socket.

`unshare(CLONE_NEWNET)` on the worker thread makes a namespace; a netlink socket opened there belongs to it for good,
and SIOCGSKNS on that socket gives the namespace's file descriptor. No process per namespace, no `setns` on a caller's
thread, no fork. Pinning is a bind mount, so `ip netns` sees the namespace and a later process can adopt it by name.

Everything that lives in a namespace (sockets, child processes) is opened through `NetNs`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from netlab.kernel import libc, worker
from netlab.kernel.errors import KernelError
from netlab.kernel.nlsocket import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket

T = TypeVar("T")

RUN_NETNS = "/run/netns"
SIOCGSKNS = 0x894C
HERE = "/proc/thread-self/ns/net"
CHUNK = 64
"""Namespaces made in one visit to the worker thread."""
DESCRIPTORS = 65536


class NetNs:
    """A network namespace that this process holds. Not shared between threads, except for `socket` and `run`."""

    __slots__ = ("_fd", "_netfilter", "_netlink", "name")

    def __init__(self, name: str, *, netlink: NetlinkSocket | None = None, fd: int = -1) -> None:
        self.name = name
        self._fd = fd
        self._netlink = netlink
        self._netfilter: NetlinkSocket | None = None

    @property
    def fd(self) -> int:
        """A descriptor of the namespace, owned by this object."""
        if self._fd < 0:
            if self._netlink is None:
                raise KernelError(errno.EBADF, f"namespace {self.name}", "it was closed")
            self._fd = fcntl.ioctl(self._netlink.sock.fileno(), SIOCGSKNS)
            os.set_inheritable(self._fd, False)
        return self._fd

    @property
    def netlink(self) -> NetlinkSocket:
        """The kept rtnetlink socket of this namespace."""
        if self._netlink is None:
            self._netlink = NetlinkSocket(self.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE))
        return self._netlink

    @property
    def netfilter(self) -> NetlinkSocket:
        """The kept netfilter netlink socket (conntrack)."""
        if self._netfilter is None:
            self._netfilter = NetlinkSocket(self.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER))
        return self._netfilter

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket:
        """A socket that belongs to this namespace, whoever uses it afterwards."""
        return self.run(lambda: socket.socket(family, kind, proto))

    def run(self, function: Callable[[], T]) -> T:
        """Call `function` on a thread that is inside this namespace. Keep it short: there is one such thread."""
        fd = self.fd

        def inside() -> T:
            libc.setns(fd)
            return function()

        return worker.run(inside)

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process inside this namespace (a child has the network namespace of the thread that forks it)."""
        return self.run(lambda: subprocess.Popen(argv, **options))

    def read_proc(self, path: str) -> str:
        """A file below /proc/sys, /proc/net or /sys as this namespace shows it; FileNotFoundError where absent."""
        real = path.replace("/proc/net/", "/proc/thread-self/net/")
        return self.run(lambda: Path(real).read_text())

    def close(self) -> None:
        """Let go: descriptors and sockets. A pinned namespace stays, another one ends when nobody else holds it."""
        for held in (self._netlink, self._netfilter):
            if held is not None:
                held.close()
        self._netlink = self._netfilter = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> NetNs:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"NetNs({self.name!r})"


def path(name: str) -> str:
    """Where a namespace of that name is pinned."""
    return f"{RUN_NETNS}/{name}"


def create(name: str, *, pin: bool = True, sysctls: Mapping[str, str] | None = None) -> NetNs:
    """Make a namespace. KernelError EEXIST if one of that name is pinned already (see `ensure`)."""
    return many((name,), pin=pin, sysctls=sysctls)[0]


def many(names: Iterable[str], *, pin: bool = True, sysctls: Mapping[str, str] | None = None) -> list[NetNs]:
    """Make many namespaces, about 0.3 ms each. `sysctls`: path below /proc/sys → value, the same for all.

    A setting that this kernel lacks is left out. If one fails, those already made by this call are removed again.
    """
    wanted = list(names)
    _allow_descriptors()
    if pin:
        _prepare_directory()
    made: list[NetNs] = []
    try:
        for start in range(0, len(wanted), CHUNK):
            worker.run(partial(_create_chunk, made, wanted[start : start + CHUNK], pin, sysctls or {}))
    except BaseException:
        for ns in made:
            ns.close()
            if pin:
                remove(ns.name)
        raise
    return made


def _create_chunk(made: list[NetNs], names: Sequence[str], pin: bool, sysctls: Mapping[str, str]) -> None:
    for number, name in enumerate(names):
        made.append(_create_here(name, pin))
        if number == 0:  # what a new namespace has by itself is the same for all of them: write only what differs
            sysctls = {key: value for key, value in sysctls.items() if _read_proc(key) not in (value, None)}
        for key, value in sysctls.items():
            write_proc(f"/proc/sys/{key}", value)


def _create_here(name: str, pin: bool) -> NetNs:
    """On the worker thread, which stays in the namespace it made until its next job."""
    where = path(name)
    if pin:
        _claim(where, name)
    try:
        libc.unshare(libc.CLONE_NEWNET)
        netlink = NetlinkSocket(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE))
        if pin:
            libc.mount(HERE, where, flags=libc.MS_BIND)
    except BaseException:
        if pin:
            Path(where).unlink(missing_ok=True)
        raise
    return NetNs(name, netlink=netlink)


def _claim(where: str, name: str) -> None:
    """The file to mount on. One that is there and no namespace was left by an interrupted creation, and will do."""
    try:
        os.close(os.open(where, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    except FileExistsError:
        if is_namespace(where):
            raise KernelError(errno.EEXIST, f"namespace {name}") from None


def _read_proc(key: str) -> str | None:
    try:
        return Path("/proc/sys", key).read_text().strip()
    except FileNotFoundError:
        return None


def write_proc(where: str, value: str) -> None:
    """Write a /proc/sys file as the calling thread's namespace shows it."""
    fd = os.open(where, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def open(which: str | int, *, name: str = "") -> NetNs:  # noqa: A001 — netns.open, as in the contract
    """Hold an existing namespace: by pinned name or path (str), or by process id (int). KernelError: there is none."""
    if isinstance(which, int):
        return open_fd(_open_path(f"/proc/{which}/ns/net", f"namespace of process {which}"), name or f"pid-{which}")
    where = which if which.startswith("/") else path(which)
    if not which.startswith("/") and not is_namespace(where):
        raise KernelError(errno.ENOENT, f"namespace {which}", f"nothing is pinned at {where}")
    return open_fd(_open_path(where, f"namespace {which}"), name or Path(which).name)


def open_fd(fd: int, name: str) -> NetNs:
    """Hold the namespace behind a descriptor, which becomes the object's."""
    return NetNs(name, fd=fd)


def own(name: str = "own") -> NetNs:
    """The calling thread's own namespace."""
    return open_fd(_open_path(HERE, "own namespace"), name)


def ensure(name: str, *, sysctls: Mapping[str, str] | None = None) -> tuple[NetNs, bool]:
    """Adopt the pinned namespace of that name or make it; the flag says whether it was made."""
    if is_namespace(path(name)):
        return open(name), False
    return create(name, sysctls=sysctls), True


def remove(name: str) -> None:
    """Unpin. The namespace ends with its last socket, process and descriptor. No such name: nothing happens."""
    where = path(name)
    try:
        if is_namespace(where):
            libc.umount(where)
        Path(where).unlink(missing_ok=True)
    except OSError as problem:
        raise KernelError(problem.errno or 0, f"namespace {name}", "could not be unpinned") from problem


def names() -> list[str]:
    """The pinned namespaces, sorted. Files left by an interrupted creation do not count."""
    try:
        with os.scandir(RUN_NETNS) as entries:
            return sorted(entry.name for entry in entries if is_namespace(entry.path))
    except FileNotFoundError:
        return []


def is_namespace(where: str) -> bool:
    """Whether a namespace is mounted there."""
    try:
        return Path(where).stat().st_dev == Path("/proc/self/ns/net").stat().st_dev
    except OSError:
        return False


def _open_path(where: str, what: str) -> int:
    try:
        return os.open(where, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as problem:
        raise KernelError(problem.errno or 0, what) from problem


def _prepare_directory() -> None:
    Path(RUN_NETNS).mkdir(mode=0o755, parents=True, exist_ok=True)


def _allow_descriptors() -> None:
    """Two descriptors per namespace: raise the soft limit towards the hard one, which needs no privilege."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
