"""From PID 1's bare interpreter (no site, so none of the installed packages) to labd."""

from __future__ import annotations

import sys


def labd(path: list[str], name: str, state: str, runtime: str, upstream_timing: bool, began: float) -> None:
    """The target of labd's ProcessSpec; `path` is the sys.path of whoever started the lab."""
    sys.path[:] = path
    from netlab.lab.labd import main

    main(name, state, runtime, upstream_timing, began)
