"""The few system calls Python 3.11 lacks: unshare, setns, mount, umount."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

_libc: ctypes.CDLL | None = None


def _call(name: str, *arguments: object) -> int:
    global _libc
    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
    result: int = getattr(_libc, name)(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def unshare(flags: int) -> None:
    """Move the calling thread into new namespaces."""
    _call("unshare", flags)


def setns(fd: int, kind: int = CLONE_NEWNET) -> None:
    """Move the calling thread into the namespace behind `fd`."""
    _call("setns", fd, kind)


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    _call(
        "mount", source.encode(), target.encode(), fstype.encode() or None, ctypes.c_ulong(flags), data.encode() or None
    )


def umount(target: str, flags: int = MNT_DETACH) -> None:
    """umount2(2), lazily by default."""
    _call("umount2", target.encode(), flags)


def bind(fd: int, address: bytes) -> None:
    """bind(2) with a raw socket address, for what Python's own cannot say."""
    _call("bind", fd, address, len(address))


def getsockopt(fd: int, level: int, option: int, request: bytes, size: int) -> bytes:
    """getsockopt(2) with an argument that goes in as well, which Python's own leaves zero."""
    buffer = ctypes.create_string_buffer(request, size)
    length = ctypes.c_uint32(size)
    _call("getsockopt", fd, level, option, buffer, ctypes.byref(length))
    return buffer.raw[: length.value]
