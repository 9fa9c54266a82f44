"""Directories whose files change all at once, as upstream's pkg/volume/util/atomic_writer.go.

`<dir>/name` → `..data/name`, `..data` → `..2006_01_02_15_04_05.123456789/`: an update writes a new timestamped
directory and renames one symbolic link. A reader sees the old files or the new ones, never a mixture.

Written with `os`, not pathlib: every pod's every volume passes here.
"""
# ruff: noqa: PTH102, PTH103, PTH104, PTH108, PTH115, PTH118, PTH120, PTH211

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA = "..data"


@dataclass(frozen=True, slots=True)
class File:
    """Content and permission bits of one projected file."""

    data: bytes
    mode: int = 0o644


Payload = Mapping[str, File]
"""Relative path → file."""


def write(directory: Path, payload: Payload, group: int | None = None) -> bool:
    """Make `directory` hold exactly `payload`; whether anything changed. `group` is the pod's fsGroup."""
    directory.mkdir(parents=True, exist_ok=True)
    root = str(directory)
    link = f"{root}/{DATA}"
    try:
        old = os.readlink(link)
    except OSError:
        old = ""
    if old and _same(f"{root}/{old}", payload):
        return False
    stamp = _stamp()
    target = f"{root}/{stamp}"
    os.mkdir(target, 0o755)
    made: set[str] = set()
    for name, file in payload.items():
        parent = os.path.dirname(name)
        if parent and parent not in made:
            os.makedirs(f"{target}/{parent}", exist_ok=True)
            made.add(parent)
        _write_file(f"{target}/{name}", file, group)
    os.symlink(stamp, f"{root}/{DATA}_tmp")
    os.rename(f"{root}/{DATA}_tmp", link)
    _link_names(root, {name.partition("/")[0] for name in payload})
    if old:
        shutil.rmtree(f"{root}/{old}", ignore_errors=True)
    return True


def _stamp() -> str:
    now = time.time_ns()
    return time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime(now // 1_000_000_000)) + f"{now % 1_000_000_000:09d}"


def _write_file(path: str, file: File, group: int | None) -> None:
    mode = file.mode | 0o440 if group is not None else file.mode
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, file.data)
        os.fchmod(descriptor, mode)
        if group is not None:
            own(descriptor, group)
    finally:
        os.close(descriptor)


def own(target: int | str, group: int) -> None:
    """Give to fsGroup where the id map has that group; a single-id map has only root, which may read all anyway."""
    try:
        os.chown(target, -1, group)
    except OSError:
        return


def _same(current: str, payload: Payload) -> bool:
    found = {
        os.path.relpath(os.path.join(base, name), current) for base, _, names in os.walk(current) for name in names
    }
    if found != set(payload):
        return False
    for name, file in payload.items():
        path = Path(f"{current}/{name}")
        if path.stat().st_size != len(file.data) or path.read_bytes() != file.data:
            return False
    return True


def _link_names(root: str, names: set[str]) -> None:
    present = {entry.name for entry in os.scandir(root) if entry.is_symlink() and entry.name != DATA}
    for name in names - present:
        os.symlink(f"{DATA}/{name}", f"{root}/{name}")
    for name in present - names:
        os.unlink(f"{root}/{name}")
