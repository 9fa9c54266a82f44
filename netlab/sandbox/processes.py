# ruff: noqa: SIM105
# (Part of PID 1, which is kept small: no pathlib, no contextlib.)
"""What PID 1 remembers of its processes. Kept small: a lab has thousands of them."""

import os
from collections.abc import Callable, Iterator
from typing import Any

BACKOFF_FIRST, BACKOFF_LIMIT, BACKOFF_RESET = 0.1, 5.0, 10.0


class Process:
    """One record. `spec` and `fds` stay only where they are needed again (restart)."""

    __slots__ = (
        "backoff",
        "cgroup",
        "error",
        "exit",
        "fds",
        "id",
        "internal",
        "layer",
        "meta",
        "pid",
        "reply",
        "report",
        "restart",
        "spec",
        "started_at",
        "starts",
        "stdio",
        "stopping",
    )

    def __init__(self, spec: dict[str, Any]) -> None:
        self.id: str = spec["id"]
        self.meta: str = spec.get("meta", "")
        self.restart: bool = bool(spec.get("restart"))
        self.internal = False
        self.stopping = False
        self.pid = 0
        self.started_at = 0.0
        self.starts = 0
        self.backoff = BACKOFF_FIRST
        self.exit: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.spec: dict[str, Any] | None = spec if self.restart else None
        self.fds: list[int] = []
        self.stdio: dict[str, int] = {}
        rootfs = spec.get("rootfs")
        self.layer: str = rootfs["layer"] if rootfs else ""
        self.cgroup: str = spec.get("cgroup") or ""
        self.report = -1
        self.reply: Callable[[dict[str, Any]], None] | None = None

    def describe(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "pid": self.pid,
            "started_at": self.started_at,
            "exit": self.exit,
            "meta": self.meta,
            "starts": self.starts,
        }

    def close(self) -> None:
        for fd in (*self.stdio.values(), *self.fds):
            try:
                os.close(fd)
            except OSError:
                pass
        self.stdio.clear()
        self.fds.clear()


class ProcessTable:
    """By id and, while they live, by pid."""

    def __init__(self) -> None:
        self.by_id: dict[str, Process] = {}
        self.by_pid: dict[int, Process] = {}

    def __iter__(self) -> Iterator[Process]:
        return iter(list(self.by_id.values()))

    def add(self, process: Process) -> None:
        self.by_id[process.id] = process

    def remove(self, process: Process) -> None:
        self.by_id.pop(process.id, None)

    def starting_with(self, prefix: str) -> list[Process]:
        return [p for p in self.by_id.values() if p.id.startswith(prefix)]
