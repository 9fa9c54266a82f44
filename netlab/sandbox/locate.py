"""Finding a running lab's PID 1 from outside, without being fooled by a reused pid."""

import fcntl
import os
from pathlib import Path

from netlab.sandbox.paths import LabPaths
from netlab.sandbox.spec import SandboxError


class LabNotRunning(SandboxError):  # noqa: N818
    """No lab of that name runs."""

    def __init__(self, name: str) -> None:
        super().__init__(f"lab {name!r} is not running")


def process_start(pid: int) -> int | None:
    """Start time in clock ticks since boot: with the pid it names one process for good."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def running_pid(lab: LabPaths) -> int | None:
    """The lab's PID 1 as the machine sees it, or None."""
    try:
        pid, start = map(int, lab.pid.read_text().split())
    except (OSError, ValueError):
        return None
    return pid if process_start(pid) == start else None


def lock_is_held(lab: LabPaths) -> bool:
    """Whether a lab of that name runs or is being started."""
    try:
        fd = os.open(lab.lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False
