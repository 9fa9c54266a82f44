"""Memory cgroups, where this user may make them: v2 below a delegated group, v1 where the memory controller is ours.

A lab's group is made outside (by `launch`), beside the caller's own, and named after the user, the lab and the place of
its sockets (which makes it one of its kind): only that is ever removed, by `destroy` and by the next `launch`.
"""

import contextlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from netlab.sandbox.paths import LabPaths


@dataclass(frozen=True, slots=True)
class CgroupBase:
    """A directory in which this user can make groups with a memory limit."""

    version: Literal[1, 2]
    path: Path


def delegated() -> CgroupBase | None:
    """The place for labs' groups, or None. Changes nothing."""
    for version, own in _own_groups():
        if version == 1 and os.access(own, os.W_OK):
            return CgroupBase(1, own)
        if version == 2:
            base = _delegated_v2(own)
            if base is not None:
                return CgroupBase(2, base)
    return None


def _own_groups() -> list[tuple[Literal[1, 2], Path]]:
    """Where this process is, in the v1 memory hierarchy and in the v2 one, as directories."""
    mounts = _mounts()
    found: list[tuple[Literal[1, 2], Path]] = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _number, controllers, path = line.split(":", 2)
        if controllers == "" and "cgroup2" in mounts:
            found.append((2, mounts["cgroup2"] / path.lstrip("/")))
        elif "memory" in controllers.split(",") and "memory" in mounts:
            found.append((1, mounts["memory"] / path.lstrip("/")))
    return [(version, path) for version, path in found if path.is_dir()]


def _mounts() -> dict[str, Path]:
    """Mount points of the v2 hierarchy ("cgroup2") and of the v1 memory controller ("memory")."""
    found: dict[str, Path] = {}
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return {}
    for line in lines:
        _source, point, kind, options, *_ = line.split()
        if kind == "cgroup2":
            found.setdefault("cgroup2", Path(point))
        elif kind == "cgroup" and "memory" in options.split(","):
            found.setdefault("memory", Path(point))
    return found


def _delegated_v2(own: Path) -> Path | None:
    """The nearest group at or above ours that we own, with the memory controller given to its children.

    A process can be moved only below a common ancestor that its user may write: `cgroup.procs` of it is the test.
    """
    for group in (own, *own.parents):
        try:
            given = "memory" in (group / "cgroup.subtree_control").read_text().split()
        except OSError:
            return None
        if given and os.access(group, os.W_OK) and os.access(group / "cgroup.procs", os.W_OK):
            return group
    return None


def lab_group(lab: LabPaths) -> Path | None:
    """Where the lab's group is or would be."""
    base = delegated()
    place = f"{zlib.crc32(str(lab.runtime).encode()):08x}"
    return None if base is None else base.path / f"netlab-{os.getuid()}-{lab.name}-{place}"


def make_lab_group(lab: LabPaths) -> Path | None:
    """Make it (empty), for PID 1 to make containers' groups below. None where that is not possible."""
    group = lab_group(lab)
    if group is None:
        return None
    try:
        group.mkdir(exist_ok=True)
        if (group / "cgroup.controllers").exists():
            (group / "cgroup.subtree_control").write_text("+memory")
        else:
            (group / "memory.use_hierarchy").write_text("1")
    except OSError:
        with contextlib.suppress(OSError):
            group.rmdir()
        return None
    return group


def remove_lab_group(group: Path | None) -> None:
    """The group and those below it, once their processes have gone."""
    if group is None or not group.is_dir():
        return
    with contextlib.suppress(OSError):
        for child in group.iterdir():
            if child.is_dir():
                with contextlib.suppress(OSError):
                    child.rmdir()
        group.rmdir()


def make_container_group(lab_group_path: str, name: str, memory_limit: int) -> str:
    """Inside the lab: a group with a limit in bytes; its directory. Raises OSError."""
    group = Path(lab_group_path) / name
    group.mkdir(exist_ok=True)
    if (group / "memory.max").exists():
        (group / "memory.max").write_text(str(memory_limit))
        with contextlib.suppress(OSError):
            (group / "memory.swap.max").write_text("0")
            (group / "memory.oom.group").write_text("1")
    else:
        (group / "memory.limit_in_bytes").write_text(str(memory_limit))
    return str(group)
