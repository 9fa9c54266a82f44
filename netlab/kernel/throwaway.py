"""Runs a function in a child process with namespaces of its own, and brings back what it returned.

A fresh user, network and mount namespace, /run an empty tmpfs: what happens there touches nothing and ends with the
child. Works for an ordinary user and, the same way, for root. Capability probes use it, and so do tests and benchmarks.
"""

from __future__ import annotations

import errno
import os
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from netlab.kernel import libc
from netlab.kernel.errors import KernelError

T = TypeVar("T")


class ChildFailed(RuntimeError):  # noqa: N818
    """The function raised; `text` is the child's traceback, `kind` the exception's class name."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        self.text = text
        super().__init__(text)


def enter(*, user: bool = True) -> None:
    """Move this single-threaded process into new user, network and mount namespaces, as their root.

    Without `user` it stays in the user namespace, which only root may, and has what old kernels give only there (IPVS).
    KernelError EPERM or ENOSPC where the machine forbids unprivileged user namespaces.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        libc.unshare((libc.CLONE_NEWUSER if user else 0) | libc.CLONE_NEWNET | libc.CLONE_NEWNS)
        if user:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
            Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        libc.mount("none", "/", flags=libc.MS_REC | libc.MS_PRIVATE)
        libc.mount("tmpfs", "/run", "tmpfs", data="mode=755")
    except OSError as problem:
        code = problem.errno or errno.EPERM
        raise KernelError(code, "user namespace", "unprivileged ones may be forbidden here") from problem


def run(function: Callable[[], T], *, user: bool = True) -> T:
    """`function()` in such a child (see `enter`). Its result must be picklable.

    ChildFailed if it raised or the child died.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: forking beside threads; the child uses none of them
        pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(function, writer, user)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not data:
        raise ChildFailed("", f"the child ended with wait status {status} and said nothing")
    kind, text, result = pickle.loads(data)
    if kind:
        raise ChildFailed(kind, text)
    return result  # type: ignore[no-any-return]


def _child(function: Callable[[], object], writer: int, user: bool) -> None:
    try:
        try:
            enter(user=user)
            data = pickle.dumps(("", "", function()))
        except BaseException as problem:
            data = pickle.dumps((type(problem).__name__, traceback.format_exc(), None))
        sys.stdout.flush()
        sys.stderr.flush()
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(data)
    finally:
        os._exit(0)
