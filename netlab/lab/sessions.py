"""Labs that belong to a process (a test session): they end with it, or, where it was killed, at the next occasion."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Iterator

from netlab.api.types import Obj
from netlab.lab.bus import ask
from netlab.lab.facade import Lab
from netlab.lab.lifecycle import down
from netlab.lab.record import LabError
from netlab.sandbox.locate import process_start, running_pid
from netlab.sandbox.paths import LabPaths, known_labs, state_root

PREFIX = "pytest-"
OWNER = "owner.json"
LOCK = ".sessions.lock"
ADDONS = 60.0
"""Seconds in which a lab that is up has applied the rest of its add-ons."""


class OwnedLabs:
    """The labs of this process. `label` is part of their names (an xdist worker's id); `keep`: they stay at the end."""

    def __init__(self, label: str = "", *, keep: bool = False) -> None:
        self.label, self.keep = label, keep
        self.token = secrets.token_hex(2)
        self._shared: dict[str, Lab] = {}
        self._own: list[Lab] = []
        self._count = 0
        self._process = os.getpid()

    def shared(self, topology: str) -> Lab:
        """The lab of this topology that the whole session uses, as it was when it had just started."""
        known = self._shared.get(topology)
        if known is not None:
            try:
                known.reset()
                return known
            except LabError:  # a lab that cannot be brought back is of no use to the next test
                self._shared.pop(topology)
                self.end(known)
        made = self.start(topology)
        self._own.remove(made)
        made.remember()
        self._shared[topology] = made
        return made

    def start(self, topology: str) -> Lab:
        """A new lab, with all its add-ons. Raises what `Lab.up` raises; nothing is left of a start that failed."""
        self._count += 1
        name = lab_name(topology, f"{self.token}{self.label}-{self._count}")
        paths = LabPaths.of(name)
        with _alone():
            paths.create()
            (paths.state / OWNER).write_text(json.dumps({"pid": os.getpid(), "start": process_start(os.getpid())}))
        try:
            lab = Lab.up(topology, name=name)
            self._own.append(lab)
            _complete(lab)
        except BaseException:
            down(name, purge=True)
            raise
        return lab

    def end(self, lab: Lab) -> None:
        """One of them, now; with `keep` it goes on, as nobody's."""
        if lab in self._own:
            self._own.remove(lab)
        if self.keep:
            (lab.paths.state / OWNER).write_text(json.dumps({"kept": True}))
            lab.close()
        else:
            lab.down(purge=True)

    def end_all(self) -> list[str]:
        """All of them; their names. A fork of the process (a test may make one) ends nothing."""
        if os.getpid() != self._process:
            return []
        labs = [*self._shared.values(), *self._own]
        self._shared.clear()
        for lab in labs:
            with contextlib.suppress(LabError, OSError):
                self.end(lab)
        return [lab.name for lab in labs]


def lab_name(topology: str, unique: str) -> str:
    """A name of at most 40 characters that says what the lab is for."""
    words = re.sub(r"[^a-z0-9]+", "-", topology.rpartition("/")[2].partition(".")[0].lower()).strip("-")
    return f"{PREFIX}{unique}-{words or 'lab'}"[:40].rstrip("-")


def _complete(lab: Lab) -> None:
    """Until the add-ons that nobody waits for are applied: later they would look like a test's own."""
    deadline = time.monotonic() + ADDONS
    while time.monotonic() < deadline:
        status: Obj = next(ask(lab.paths.control_socket, {"op": "status"}, 10.0))
        if all(process["exit"] for process in status["processes"] if process["id"] == "component/addons"):
            return
        time.sleep(0.05)
    raise LabError(f"lab '{lab.name}': waited {ADDONS:g} s for its add-ons to be applied; see {lab.paths.logs}")


def sweep() -> list[str]:
    """End the labs whose owner is gone; their names."""
    with _alone():
        ended = [name for name in known_labs() if name.startswith(PREFIX) and _abandoned(LabPaths.of(name))]
        for name in ended:
            down(name, purge=True)
    return ended


def _abandoned(paths: LabPaths) -> bool:
    try:
        owner = json.loads((paths.state / OWNER).read_text())
    except (OSError, ValueError):
        owner = {"kept": running_pid(paths) is not None}
    return not owner.get("kept") and (owner.get("start") is None or process_start(owner["pid"]) != owner["start"])


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """No other session (an xdist worker is one) sweeps meanwhile, nor makes a lab that has no owner yet."""
    state_root().mkdir(parents=True, exist_ok=True)
    with (state_root() / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
