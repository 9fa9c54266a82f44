"""The labs of this user, found from outside. Every verb begins here: it imports little."""

from __future__ import annotations

from pathlib import Path

from netlab.lab.record import LabError
from netlab.sandbox.locate import running_pid
from netlab.sandbox.paths import LabPaths, known_labs


def running_labs() -> list[str]:
    """Names of this user's labs that run."""
    return [name for name in known_labs() if running_pid(LabPaths.of(name)) is not None]


def pick(name: str | None) -> LabPaths:
    """The lab that a command means: the named one, or the only one that runs. LabError with the choice otherwise."""
    if name is not None:
        paths = LabPaths.of(name)
        if running_pid(paths) is None:
            raise LabError(f"lab '{name}' does not run; 'klab up --name {name}' starts it")
        return paths
    labs = running_labs()
    if not labs:
        raise LabError("no lab runs; 'klab up' starts one")
    if len(labs) > 1:
        raise LabError(f"several labs run ({', '.join(labs)}): choose one with 'klab --lab NAME …' or $KLAB_LAB", 2)
    return LabPaths.of(labs[0])


def log_files(paths: LabPaths) -> dict[str, Path]:
    """Component → its log file."""
    return {file.stem: file for file in sorted(paths.logs.glob("*.log"))}
