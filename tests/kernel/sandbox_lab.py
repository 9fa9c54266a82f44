"""A lab of PID 1 alone, and a way to run a test's body inside it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import pickle
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netlab.runtime import PRELOAD
from netlab.sandbox import syscalls
from netlab.sandbox.enter import ALL, same_user_namespace
from netlab.sandbox.launch import Launched, destroy, launch, running_pid
from netlab.sandbox.paths import LabPaths


class Box:
    """A running lab. `call` runs a function (or a coroutine function) inside it and returns its result."""

    def __init__(self, paths: LabPaths, launched: Launched) -> None:
        self.paths, self.launched = paths, launched

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        reader, writer = os.pipe()
        middle = os.fork()
        if middle == 0:
            os.close(reader)
            _inside(self.launched.pid, writer, function, arguments)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            data = file.read()
        os.waitpid(middle, 0)
        assert data, "the body inside the lab was killed"
        kind, value = pickle.loads(data)
        if kind == "error":
            pytest.fail(value, pytrace=False)
        return value


def _inside(pid: int, writer: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        user = 0 if same_user_namespace(pid) else syscalls.CLONE_NEWUSER
        syscalls.setns(os.pidfd_open(pid), user | ALL)
        child = os.fork()
        if child == 0:
            os.write(writer, _run(function, arguments))
            os._exit(0)
        os.waitpid(child, 0)
    finally:
        os._exit(0)


def _run(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    try:
        os.chdir("/")
        result = function(*arguments)
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
        return pickle.dumps(("value", result))
    except BaseException:
        return pickle.dumps(("error", traceback.format_exc()))


def new_paths(name: str = "box") -> LabPaths:
    """Not below pytest's own directories: their names get long, and a socket's path may not."""
    place = Path(tempfile.mkdtemp(prefix="netlab-box-"))
    return LabPaths(name, place / "state", place / "run")


@contextlib.contextmanager
def running(name: str = "box", **options: Any) -> Iterator[Box]:
    paths = new_paths(name)
    try:
        yield Box(paths, launch(paths, preload=PRELOAD, **options))
    finally:
        destroy(paths)
        shutil.rmtree(paths.state.parent, ignore_errors=True)


def descendants(pid: int) -> set[int]:
    """Every process in the PID namespace of the lab whose PID 1 this is, as the machine numbers them."""
    space = os.readlink(f"/proc/{pid}/ns/pid")
    return {process for process in processes() if _link(process) == space}


def processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _link(process: int) -> str:
    try:
        return os.readlink(f"/proc/{process}/ns/pid")
    except OSError:
        return ""


def alive(paths: LabPaths) -> bool:
    return running_pid(paths) is not None
